// x86-64 with AVX-512 F, BW, DQ, VL and VNNI. vpdpbusd multiplies unsigned by signed without saturating: the weights
// are the unsigned side. Few tokens wait for memory, many for the
// multipliers: two shapes of panel.
#if defined(__x86_64__)
#include <immintrin.h>

#include "lanes.h"

#define FN(name) name##_avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")))
#define TILES_AT_ONCE 4
#define TOKENS_AT_ONCE 4
#define UNITS_AT_ONCE 8
#define PAGES_AT_ONCE 2
#define ROWS_AT_ONCE 4
#define CHANNELS_AT_ONCE 4
#define OWN_BLOCK_PRODUCTS

KERNELS_OF(avx512)

TARGET static inline __attribute__((always_inline)) lanes halves_avx512(const uint16_t *p) {
    return (lanes)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

#include "body.h"

// Bytes of weights that are asked for ahead of their use, and of activations that stay in the second-level cache.
enum { AHEAD = 2048, ACTIVATION_BYTES_KEPT = 512 << 10, NARROW_TOKENS = 8, WIDE_TILES = 4, WIDE_TOKENS = 4,
       STRIP_BLOCKS = 8 };

/// Weights of one tile's block, four columns: int8, or the low or high half of int4's bytes.
INLINE __m512i FN(four_columns)(const uint8_t *w, int g, int is_i4) {
    if (!is_i4) return _mm512_loadu_si512(w + g * 64);
    const __m512i both = _mm512_loadu_si512(w + g % 4 * 64);
    return _mm512_and_si512(g < 4 ? both : _mm512_srli_epi16(both, 4), _mm512_set1_epi8(15));
}

/// Where a product stands: tiles from `w` on, blocks [begin, end) of `blocks`.
typedef struct {
    const uint8_t *w;
    const uint16_t *ws;
    size_t blocks, begin, end;
    float *y;
    size_t y_stride;
} FN(strip);

INLINE __m512i FN(splat_word)(const char *p) { return _mm512_set1_epi32(*(const int32_t *)p); }

/// sum += float(dot) * (weight scale * activation scale).
INLINE __m512 FN(add_block)(__m512 sum, __m512i dot, __m512 weight_scale, const char *scale) {
    const __m512 product = _mm512_mul_ps(weight_scale, _mm512_set1_ps(*(const float *)scale));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), product, sum);
}

/// One tile for the first `tokens_n` (a literal) tokens of a group, of which `count` are kept: a batch that waits for
/// memory, which one tile at a time reads as one stream.
INLINE void FN(narrow_panel)(const FN(strip) *s, const char *group, size_t count, int is_i4, int tokens_n) {
    const size_t block_bytes = is_i4 ? 256 : 512, starts = is_i4 ? GROUP_STARTS_I4 : GROUP_STARTS_I8;
    const uint8_t *w = s->w;
    __m512 acc[NARROW_TOKENS];
#pragma clang loop unroll(full)
    for (int n = 0; n < tokens_n; n++) acc[n] = _mm512_setzero_ps();
    for (size_t b = 0; b < s->blocks; b++, w += block_bytes, group += KERNEL_ACTIVATION_BLOCK_BYTES) {
        __m512i v[8], dot[NARROW_TOKENS];
#pragma clang loop unroll(full)
        for (int g = 0; g < 8; g++) v[g] = FN(four_columns)(w, g, is_i4);
#pragma clang loop unroll(full)
        for (size_t line = 0; line < block_bytes; line += 64) _mm_prefetch((const char *)w + line + AHEAD, _MM_HINT_T0);
        const __m512 weight_scale = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(s->ws + b * 16)));
#pragma clang loop unroll(full)
        for (int n = 0; n < tokens_n; n++) dot[n] = FN(splat_word)(group + starts + n * 4);
#pragma clang loop unroll(full)
        for (int g = 0; g < 8; g++)
#pragma clang loop unroll(full)
            for (int n = 0; n < tokens_n; n++)
                dot[n] = _mm512_dpbusd_epi32(dot[n], v[g], FN(splat_word)(group + n * 32 + g * 4));
#pragma clang loop unroll(full)
        for (int n = 0; n < tokens_n; n++)
            acc[n] = FN(add_block)(acc[n], dot[n], weight_scale, group + GROUP_SCALES + n * 4);
    }
#pragma clang loop unroll(full)
    for (int n = 0; n < tokens_n; n++)
        if ((size_t)n < count) _mm512_storeu_ps(s->y + n * s->y_stride, acc[n]);
}

/// `tiles_n` tiles (a literal) for four tokens of a group from `first` on, of which `count` are kept. Of one block, all
/// dots go abreast: enough chains of vpdpbusd to hide its latency.
INLINE void FN(wide_panel)(const FN(strip) *s, const char *group, size_t first, size_t count, int is_i4, int tiles_n) {
    const size_t block_bytes = is_i4 ? 256 : 512, tile_bytes = s->blocks * block_bytes;
    const size_t starts = is_i4 ? GROUP_STARTS_I4 : GROUP_STARTS_I8;
    const char *quants = group + s->begin * KERNEL_ACTIVATION_BLOCK_BYTES + first * 32;
    const char *numbers = group + s->begin * KERNEL_ACTIVATION_BLOCK_BYTES + first * 4;
    const uint8_t *w = s->w + s->begin * block_bytes;
    const uint16_t *ws = s->ws + s->begin * 16;
    float *y = s->y + first * s->y_stride;
    __m512 acc[WIDE_TILES][WIDE_TOKENS];
#pragma clang loop unroll(full)
    for (int t = 0; t < tiles_n; t++)
#pragma clang loop unroll(full)
        for (int n = 0; n < WIDE_TOKENS; n++)
            acc[t][n] = s->begin == 0 || (size_t)n >= count ? _mm512_setzero_ps()
                                                            : _mm512_loadu_ps(y + n * s->y_stride + t * 16);
    for (size_t b = s->begin; b < s->end; b++) {
        __m512i dot[WIDE_TILES][WIDE_TOKENS];
#pragma clang loop unroll(full)
        for (int n = 0; n < WIDE_TOKENS; n++)
#pragma clang loop unroll(full)
            for (int t = 0; t < tiles_n; t++) dot[t][n] = FN(splat_word)(numbers + starts + n * 4);
#pragma clang loop unroll(full)
        for (int g = 0; g < 8; g++) {
            __m512i v[WIDE_TILES];
#pragma clang loop unroll(full)
            for (int t = 0; t < tiles_n; t++) v[t] = FN(four_columns)(w + t * tile_bytes, g, is_i4);
#pragma clang loop unroll(full)
            for (int n = 0; n < WIDE_TOKENS; n++) {
                const __m512i four = FN(splat_word)(quants + n * 32 + g * 4);
#pragma clang loop unroll(full)
                for (int t = 0; t < tiles_n; t++) dot[t][n] = _mm512_dpbusd_epi32(dot[t][n], v[t], four);
            }
            // Keeps the compiler from mixing the columns: it would run out of registers.
            __asm__ volatile("" ::: "memory");
        }
#pragma clang loop unroll(full)
        for (int t = 0; t < tiles_n; t++) {
            const __m512 weight_scale = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(ws + t * s->blocks * 16)));
#pragma clang loop unroll(full)
            for (int n = 0; n < WIDE_TOKENS; n++)
                acc[t][n] = FN(add_block)(acc[t][n], dot[t][n], weight_scale, numbers + GROUP_SCALES + n * 4);
        }
        w += block_bytes;
        ws += 16;
        quants += KERNEL_ACTIVATION_BLOCK_BYTES;
        numbers += KERNEL_ACTIVATION_BLOCK_BYTES;
    }
#pragma clang loop unroll(full)
    for (int t = 0; t < tiles_n; t++)
#pragma clang loop unroll(full)
        for (int n = 0; n < WIDE_TOKENS; n++)
            if ((size_t)n < count) _mm512_storeu_ps(y + n * s->y_stride + t * 16, acc[t][n]);
}

/// Many tokens: blocks go in strips whose weights stay in the first-level cache while the tokens pass.
INLINE void FN(wide)(FN(strip) s, const char *groups, size_t tokens, int is_i4, int tiles_n) {
    float *y = s.y;
    for (s.begin = 0; s.begin < s.blocks; s.begin = s.end) {
        s.end = s.begin + STRIP_BLOCKS < s.blocks ? s.begin + STRIP_BLOCKS : s.blocks;
        for (size_t n = 0; n < tokens; n += WIDE_TOKENS) {
            const char *group = groups + n / GROUP_TOKENS * s.blocks * KERNEL_ACTIVATION_BLOCK_BYTES;
            s.y = y + n / GROUP_TOKENS * GROUP_TOKENS * s.y_stride;
            FN(wide_panel)(&s, group, n % GROUP_TOKENS, tokens - n, is_i4, tiles_n);
        }
    }
}

INLINE void FN(matmul_blocks)(const uint8_t *quants, const uint16_t *weight_scales, size_t tile_begin, size_t tile_end,
                              size_t blocks, const void *activations, size_t tokens, float *y, size_t y_stride, int is_i4) {
    const size_t tile_bytes = blocks * (is_i4 ? 256 : 512), group_bytes = blocks * KERNEL_ACTIVATION_BLOCK_BYTES;
    const size_t kept = ACTIVATION_BYTES_KEPT / group_bytes > 0 ? ACTIVATION_BYTES_KEPT / group_bytes : 1;
    for (size_t first = 0; first < tokens; first += kept * GROUP_TOKENS) {
        const size_t count = tokens - first < kept * GROUP_TOKENS ? tokens - first : kept * GROUP_TOKENS;
        const char *group = (const char *)activations + first / GROUP_TOKENS * group_bytes;
        size_t t = tile_begin;
        while (t < tile_end) {
            const FN(strip) s = {quants + t * tile_bytes, weight_scales + t * blocks * 16, blocks, 0, blocks,
                                 y + first * y_stride + t * 16, y_stride};
            const int is_wide = count > NARROW_TOKENS && t + WIDE_TILES <= tile_end;
            if (is_wide) FN(wide)(s, group, count, is_i4, WIDE_TILES);
            else if (count > NARROW_TOKENS) FN(wide)(s, group, count, is_i4, 1);
            else if (count > 4) FN(narrow_panel)(&s, group, count, is_i4, NARROW_TOKENS);
            else if (count > 2) FN(narrow_panel)(&s, group, count, is_i4, 4);
            else if (count > 1) FN(narrow_panel)(&s, group, count, is_i4, 2);
            else FN(narrow_panel)(&s, group, count, is_i4, 1);
            t += is_wide ? WIDE_TILES : 1;
        }
    }
}

TARGET void FN(matmul_i8)(const uint8_t *quants, const uint16_t *weight_scales, size_t tile_begin, size_t tile_end,
                          size_t blocks, const void *activations, size_t tokens, float *y, size_t y_stride) {
    FN(matmul_blocks)(quants, weight_scales, tile_begin, tile_end, blocks, activations, tokens, y, y_stride, 0);
}

TARGET void FN(matmul_i4)(const uint8_t *quants, const uint16_t *weight_scales, size_t tile_begin, size_t tile_end,
                          size_t blocks, const void *activations, size_t tokens, float *y, size_t y_stride) {
    FN(matmul_blocks)(quants, weight_scales, tile_begin, tile_end, blocks, activations, tokens, y, y_stride, 1);
}
#endif
