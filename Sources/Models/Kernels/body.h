// Every kernel once, over sixteen-lane vectors. The including file defines
//   FN(name)        the symbol's name for its instruction set
//   TARGET          its function attribute
//   TILES_AT_ONCE   tiles held in registers while the columns stream by
//   TOKENS_AT_ONCE  tokens that share a load of weights
// and, before including this, the vector types of lanes.h with FN(dot_block) and FN(halves).
#pragma STDC FP_CONTRACT OFF

#define INLINE TARGET static inline __attribute__((always_inline))

INLINE lanes FN(load)(const float *p) { return *(const lanes_unaligned *)p; }
INLINE void FN(store)(float *p, lanes v) { *(lanes_unaligned *)p = v; }
INLINE lanes FN(splat)(float v) { return (lanes)v; }
INLINE lanes FN(fused)(lanes a, lanes b, lanes c) { return __builtin_elementwise_fma(a, b, c); }
INLINE lanes FN(choose)(words mask, lanes a, lanes b) { return (lanes)((mask & (words)a) | (~mask & (words)b)); }

/// First `count` lanes from p, the rest zero.
INLINE lanes FN(load_part)(const float *p, size_t count) {
    lanes v = (lanes)0.0f;
    for (size_t i = 0; i < count; i++) v[i] = p[i];
    return v;
}

/// The fixed tree: 16 lanes to 8, 4, 2, 1, always lane i with lane i + half.
INLINE float FN(tree)(lanes v) {
    float s[16];
    FN(store)(s, v);
    for (int half = 8; half > 0; half >>= 1)
        for (int i = 0; i < half; i++) s[i] = s[i] + s[i + half];
    return s[0];
}

/// exp with relative error below 2e-7: x = n ln 2 + r, a degree-6 polynomial in r, n put into the exponent. Below -87.3 it is
/// zero, above 88 it is exp(88); NaN stays NaN.
INLINE lanes FN(exponential)(lanes x) {
    const lanes low = (lanes)-87.3f, high = (lanes)88.0f, magic = (lanes)12582912.0f;
    words zero = x < low;
    x = FN(choose)(x < low, low, x);
    x = FN(choose)(x > high, high, x);
    lanes shifted = FN(fused)(x, (lanes)1.44269504f, magic);
    words n = (words)shifted - (words)magic;
    lanes whole = shifted - magic;
    lanes r = FN(fused)(whole, (lanes)-0.693359375f, x);
    r = FN(fused)(whole, (lanes)2.12194440e-4f, r);
    lanes p = FN(fused)((lanes)1.9875691500e-4f, r, (lanes)1.3981999507e-3f);
    p = FN(fused)(p, r, (lanes)8.3334519073e-3f);
    p = FN(fused)(p, r, (lanes)4.1665795894e-2f);
    p = FN(fused)(p, r, (lanes)1.6666665459e-1f);
    p = FN(fused)(p, r, (lanes)5.0000001201e-1f);
    p = FN(fused)(p, r * r, r) + (lanes)1.0f;
    lanes scaled = p * (lanes)((n + 127) << 23);
    scaled = FN(choose)(zero, (lanes)0.0f, scaled);
    return FN(choose)(x != x, x, scaled);
}

// Matrices. `tiles_n` and `tokens_n` are literals at every call, so the accumulators live in registers.

INLINE void FN(panel_f32)(const float *w, size_t columns, const float *x, size_t x_stride, float *y, size_t y_stride,
                          int add, float scale, int tiles_n, int tokens_n) {
    lanes acc[TILES_AT_ONCE][TOKENS_AT_ONCE];
#pragma clang loop unroll(full)
    for (int t = 0; t < tiles_n; t++)
#pragma clang loop unroll(full)
        for (int n = 0; n < tokens_n; n++) acc[t][n] = (lanes)0.0f;
    for (size_t k = 0; k < columns; k++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tiles_n; t++) {
            lanes v = FN(load)(w + (t * columns + k) * 16);
#pragma clang loop unroll(full)
            for (int n = 0; n < tokens_n; n++) acc[t][n] = FN(fused)(v, FN(splat)(x[n * x_stride + k]), acc[t][n]);
        }
    }
#pragma clang loop unroll(full)
    for (int t = 0; t < tiles_n; t++)
#pragma clang loop unroll(full)
        for (int n = 0; n < tokens_n; n++) {
            float *out = y + n * y_stride + t * 16;
            FN(store)(out, add ? FN(fused)(FN(splat)(scale), acc[t][n], FN(load)(out)) : acc[t][n]);
        }
}

INLINE void FN(all_f32)(const float *tiles, size_t tile_begin, size_t tile_end, size_t columns, const float *x,
                        size_t x_stride, size_t tokens, int add, float scale, float *y, size_t y_stride) {
    size_t t = tile_begin;
    for (; t + TILES_AT_ONCE <= tile_end; t += TILES_AT_ONCE) {
        const float *w = tiles + t * columns * 16;
        size_t n = 0;
        for (; n + TOKENS_AT_ONCE <= tokens; n += TOKENS_AT_ONCE)
            FN(panel_f32)(w, columns, x + n * x_stride, x_stride, y + n * y_stride + t * 16, y_stride, add, scale,
                          TILES_AT_ONCE, TOKENS_AT_ONCE);
        for (; n < tokens; n++)
            FN(panel_f32)(w, columns, x + n * x_stride, x_stride, y + n * y_stride + t * 16, y_stride, add, scale,
                          TILES_AT_ONCE, 1);
    }
    for (; t < tile_end; t++) {
        const float *w = tiles + t * columns * 16;
        size_t n = 0;
        for (; n + TOKENS_AT_ONCE <= tokens; n += TOKENS_AT_ONCE)
            FN(panel_f32)(w, columns, x + n * x_stride, x_stride, y + n * y_stride + t * 16, y_stride, add, scale, 1,
                          TOKENS_AT_ONCE);
        for (; n < tokens; n++)
            FN(panel_f32)(w, columns, x + n * x_stride, x_stride, y + n * y_stride + t * 16, y_stride, add, scale, 1, 1);
    }
}

TARGET void FN(matmul_f32)(const float *tiles, size_t tile_begin, size_t tile_end, size_t columns, const float *x,
                           size_t x_stride, size_t tokens, float *y, size_t y_stride) {
    FN(all_f32)(tiles, tile_begin, tile_end, columns, x, x_stride, tokens, 0, 0.0f, y, y_stride);
}

TARGET void FN(matmul_add_f32)(const float *tiles, size_t tile_begin, size_t tile_end, size_t columns, const float *x,
                               size_t x_stride, size_t tokens, float scale, float *y, size_t y_stride) {
    FN(all_f32)(tiles, tile_begin, tile_end, columns, x, x_stride, tokens, 1, scale, y, y_stride);
}

TARGET void FN(quantize)(const float *x, size_t x_stride, size_t tokens, size_t blocks, int8_t *q, float *scales,
                         int32_t *sums) {
    for (size_t n = 0; n < tokens; n++)
        for (size_t b = 0; b < blocks; b++) {
            const float *p = x + n * x_stride + b * 32;
            lanes v0 = FN(load)(p), v1 = FN(load)(p + 16);
            words m0 = (words)v0 & 0x7fffffff, m1 = (words)v1 & 0x7fffffff;  // magnitudes order as integers, NaN last
            words greatest = ((m0 > m1) & m0) | (~(m0 > m1) & m1);
            int32_t bits = 0;
            for (int i = 0; i < 16; i++) bits = greatest[i] > bits ? greatest[i] : bits;
            float peak, inverse = 0.0f, scale = 0.0f;
            __builtin_memcpy(&peak, &bits, 4);
            if (bits >= 0x7f800000) {
                scale = __builtin_nanf("");
            } else if (peak >= 1e-30f) {
                scale = peak / 127.0f;
                inverse = 127.0f / peak;
            }
            if (inverse == 0.0f) v0 = v1 = (lanes)0.0f;
            const lanes magic = (lanes)12582912.0f;
            words w0 = (words)(v0 * FN(splat)(inverse) + magic) - (words)magic;
            words w1 = (words)(v1 * FN(splat)(inverse) + magic) - (words)magic;
            int8_t *out = q + (n * blocks + b) * 32;
            bytes b0 = __builtin_convertvector(w0, bytes), b1 = __builtin_convertvector(w1, bytes);
            __builtin_memcpy(out, &b0, 16);
            __builtin_memcpy(out + 16, &b1, 16);
            int32_t sum = 0;
            for (int i = 0; i < 16; i++) sum += w0[i] + w1[i];
            scales[n * blocks + b] = scale;
            sums[n * blocks + b] = sum;
        }
}

INLINE void FN(panel_i8)(const uint8_t *w, const uint16_t *ws, size_t blocks, const int8_t *q, const float *scales,
                         const int32_t *sums, float *y, size_t y_stride, int tiles_n, int tokens_n) {
    lanes acc[TILES_AT_ONCE][TOKENS_AT_ONCE];
#pragma clang loop unroll(full)
    for (int t = 0; t < tiles_n; t++)
#pragma clang loop unroll(full)
        for (int n = 0; n < tokens_n; n++) acc[t][n] = (lanes)0.0f;
    for (size_t b = 0; b < blocks; b++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tiles_n; t++) {
            size_t at = t * blocks + b;
            lanes weight_scale = FN(halves)(ws + at * 16);
#pragma clang loop unroll(full)
            for (int n = 0; n < tokens_n; n++) {
                size_t a = n * blocks + b;
                // Stored quants carry +128: take 128 times the activations' sum away first.
                words dot = FN(dot_block)(w + at * 512, q + a * 32, -128 * sums[a]);
                lanes scale = weight_scale * FN(splat)(scales[a]);
                acc[t][n] = FN(fused)(__builtin_convertvector(dot, lanes), scale, acc[t][n]);
            }
        }
    }
#pragma clang loop unroll(full)
    for (int t = 0; t < tiles_n; t++)
#pragma clang loop unroll(full)
        for (int n = 0; n < tokens_n; n++) FN(store)(y + n * y_stride + t * 16, acc[t][n]);
}

TARGET void FN(matmul_i8)(const uint8_t *quants, const uint16_t *weight_scales, size_t tile_begin, size_t tile_end,
                          size_t blocks, const int8_t *q, const float *scales, const int32_t *sums, size_t tokens,
                          float *y, size_t y_stride) {
    size_t t = tile_begin;
    for (; t + TILES_AT_ONCE <= tile_end; t += TILES_AT_ONCE) {
        const uint8_t *w = quants + t * blocks * 512;
        const uint16_t *ws = weight_scales + t * blocks * 16;
        size_t n = 0;
        for (; n + TOKENS_AT_ONCE <= tokens; n += TOKENS_AT_ONCE)
            FN(panel_i8)(w, ws, blocks, q + n * blocks * 32, scales + n * blocks, sums + n * blocks,
                         y + n * y_stride + t * 16, y_stride, TILES_AT_ONCE, TOKENS_AT_ONCE);
        for (; n < tokens; n++)
            FN(panel_i8)(w, ws, blocks, q + n * blocks * 32, scales + n * blocks, sums + n * blocks,
                         y + n * y_stride + t * 16, y_stride, TILES_AT_ONCE, 1);
    }
    for (; t < tile_end; t++) {
        const uint8_t *w = quants + t * blocks * 512;
        const uint16_t *ws = weight_scales + t * blocks * 16;
        for (size_t n = 0; n < tokens; n++)
            FN(panel_i8)(w, ws, blocks, q + n * blocks * 32, scales + n * blocks, sums + n * blocks,
                         y + n * y_stride + t * 16, y_stride, 1, 1);
    }
}

// One token.

TARGET void FN(rmsnorm)(const float *x, size_t count, const float *weight, float eps, float *out) {
    lanes squares = (lanes)0.0f;
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        lanes v = FN(load)(x + i);
        squares = FN(fused)(v, v, squares);
    }
    if (i < count) {
        lanes v = FN(load_part)(x + i, count - i);
        squares = FN(fused)(v, v, squares);
    }
    float factor = 1.0f / __builtin_sqrtf(FN(tree)(squares) / (float)count + eps);
    for (i = 0; i < count; i++) out[i] = x[i] * factor * weight[i];
}

TARGET void FN(silu_multiply)(float *gate, const float *up, size_t count) {
    for (size_t i = 0; i < count; i += 16) {
        size_t left = count - i;
        lanes g = left >= 16 ? FN(load)(gate + i) : FN(load_part)(gate + i, left);
        lanes u = left >= 16 ? FN(load)(up + i) : FN(load_part)(up + i, left);
        lanes r = g / ((lanes)1.0f + FN(exponential)(-g)) * u;
        if (left >= 16)
            FN(store)(gate + i, r);
        else
            for (size_t j = 0; j < left; j++) gate[i + j] = r[j];
    }
}

TARGET void FN(add)(float *x, const float *y, size_t count) {
    for (size_t i = 0; i < count; i++) x[i] = x[i] + y[i];
}

TARGET float FN(exp_sum)(const float *x, size_t count, float shift, float *out) {
    lanes sum = (lanes)0.0f;
    for (size_t i = 0; i < count; i += 16) {
        size_t left = count - i;
        lanes e = FN(exponential)((left >= 16 ? FN(load)(x + i) : FN(load_part)(x + i, left)) - FN(splat)(shift));
        if (left >= 16) {
            if (out) FN(store)(out + i, e);
        } else {
            for (size_t j = left; j < 16; j++) e[j] = 0.0f;
            if (out)
                for (size_t j = 0; j < left; j++) out[i + j] = e[j];
        }
        sum = sum + e;
    }
    return FN(tree)(sum);
}

/// tanh = 1 - 2 / (exp(2 x) + 1); the exponential saturates at both ends.
INLINE lanes FN(hyperbolic_tangent)(lanes x) {
    return (lanes)1.0f - (lanes)2.0f / (FN(exponential)(x + x) + (lanes)1.0f);
}

INLINE lanes FN(page_scores)(const float *keys, const float *q, size_t key_dim, float scale, float soft_cap) {
    lanes s = (lanes)0.0f;
    for (size_t d = 0; d < key_dim; d++) s = FN(fused)(FN(splat)(q[d]), FN(load)(keys + d * 16), s);
    s = s * FN(splat)(scale);
    return soft_cap > 0.0f ? FN(splat)(soft_cap) * FN(hyperbolic_tangent)(s / FN(splat)(soft_cap)) : s;
}

TARGET void FN(attention)(const float *q, size_t q_stride, size_t group, size_t key_dim, size_t value_dim,
                          const float *const *pages, size_t key_offset, size_t value_offset, size_t first, size_t last,
                          float scale, float soft_cap, float *scores, float *out, size_t out_stride) {
    const float nothing = -__builtin_inff();
    const size_t value_stride = (value_dim + 15) / 16 * 16;
    const size_t page_first = first / 16, page_last = last / 16;
    for (size_t h = 0; h < group; h++) {
        const float *query = q + h * q_stride;
        // A lane is a position: scores of page p are at scores[16 p].
        lanes greatest = FN(splat)(nothing);
        for (size_t p = page_first; p <= page_last; p++) {
            lanes s = FN(page_scores)(pages[p] + key_offset, query, key_dim, scale, soft_cap);
            if (p == page_first || p == page_last)
                for (size_t i = 0; i < 16; i++)
                    if (p * 16 + i < first || p * 16 + i > last) s[i] = nothing;
            FN(store)(scores + p * 16, s);
            greatest = FN(choose)(s > greatest, s, greatest);
        }
        float peak = nothing;
        for (int i = 0; i < 16; i++) peak = greatest[i] > peak ? greatest[i] : peak;
        lanes sum = (lanes)0.0f;
        for (size_t p = page_first; p <= page_last; p++) {
            lanes e = FN(exponential)(FN(load)(scores + p * 16) - FN(splat)(peak));
            FN(store)(scores + p * 16, e);
            sum = sum + e;
        }
        float total = FN(tree)(sum);
        // A lane is a channel: positions add in order.
        float *o = out + h * out_stride;
        for (size_t c = 0; c < value_dim; c += 16) {
            lanes acc = (lanes)0.0f;
            for (size_t p = page_first; p <= page_last; p++) {
                const float *values = pages[p] + value_offset + c;
                size_t from = p == page_first ? first % 16 : 0, to = p == page_last ? last % 16 : 15;
                for (size_t i = from; i <= to; i++)
                    acc = FN(fused)(FN(splat)(scores[p * 16 + i]), FN(load)(values + i * value_stride), acc);
            }
            lanes r = acc / FN(splat)(total);
            for (size_t i = 0; i < 16 && c + i < value_dim; i++) o[c + i] = r[i];
        }
    }
}

#include "body_families.h"
