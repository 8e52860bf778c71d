// x86-64 with AVX2, FMA and F16C. The int8 dot widens to 16 bits and uses vpmaddwd: vpmaddubsw would saturate. int4
// weights are at most 15, so there vpmaddubsw is exact, and eight of its sums still fit 16 bits: 8 * 2 * 15 * 127 =
// 30480.
#if defined(__x86_64__)
#include <immintrin.h>

#include "lanes.h"

#define FN(name) name##_avx2
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define TILES_AT_ONCE 2
#define TOKENS_AT_ONCE 2
#define UNITS_AT_ONCE 4
#define PAGES_AT_ONCE 1
#define ROWS_AT_ONCE 4
#define CHANNELS_AT_ONCE 1

KERNELS_OF(avx2)

TARGET static inline __attribute__((always_inline)) lanes halves_avx2(const uint16_t *p) {
    union { __m256 half[2]; lanes all; } v;
    v.half[0] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
    v.half[1] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)));
    return v.all;
}

TARGET static inline __attribute__((always_inline)) words dot_block_avx2(const uint8_t *w, const int8_t *a, int32_t start,
                                                                          int is_i4) {
    const __m256i first = _mm256_set1_epi32(start);
    union { __m256i half[2]; words all; } out;
    if (is_i4) {
        __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (int g = 0; g < 8; g++) {
            int32_t four;
            __builtin_memcpy(&four, a + g * 4, 4);
            const __m256i x = _mm256_set1_epi32(four);
            for (int r = 0; r < 2; r++)
                sum[r] = _mm256_add_epi16(
                    sum[r], _mm256_maddubs_epi16(_mm256_loadu_si256((const __m256i *)(w + g * 64 + r * 32)), x));
        }
        for (int r = 0; r < 2; r++)
            out.half[r] = _mm256_add_epi32(first, _mm256_madd_epi16(sum[r], _mm256_set1_epi16(1)));
        return out.all;
    }
    __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int g = 0; g < 8; g++) {
        int32_t four;
        __builtin_memcpy(&four, a + g * 4, 4);
        __m256i x = _mm256_cvtepi8_epi16(_mm_set1_epi32(four));
        for (int r = 0; r < 4; r++) {
            __m256i v = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(w + g * 64 + r * 16)));
            sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(v, x));
        }
    }
    // Pairs of one row lie side by side; hadd works within 128-bit halves, so the quarters are put back in row order.
    out.half[0] = _mm256_add_epi32(first, _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[0], sum[1]), 0xd8));
    out.half[1] = _mm256_add_epi32(first, _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[2], sum[3]), 0xd8));
    return out.all;
}

#include "body.h"
#endif
