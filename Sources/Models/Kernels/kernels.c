// Run-time choice of an instruction set, and the arithmetic that needs none.
#include "kernels.h"

#include "lanes.h"

#pragma STDC FP_CONTRACT OFF

KERNELS_OF(scalar)
#if defined(__x86_64__)
KERNELS_OF(avx2)
KERNELS_OF(avx512)
#define CALL(name, ...)                              \
    (isa == KERNEL_AVX512 ? name##_avx512(__VA_ARGS__) \
     : isa == KERNEL_AVX2 ? name##_avx2(__VA_ARGS__)   \
                          : name##_scalar(__VA_ARGS__))
#elif defined(__aarch64__)
KERNELS_OF(neon)
#define CALL(name, ...) (isa == KERNEL_NEON ? name##_neon(__VA_ARGS__) : name##_scalar(__VA_ARGS__))
#else
#define CALL(name, ...) name##_scalar(__VA_ARGS__)
#endif

int32_t kernel_available(int32_t isa) {
    if (isa == KERNEL_SCALAR) return 1;
#if defined(__x86_64__)
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (isa == KERNEL_AVX2) return avx2 != 0;
    if (isa == KERNEL_AVX512)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__)
    if (isa == KERNEL_NEON) return 1;
#endif
    return 0;
}

int32_t kernel_best(void) {
    for (int32_t isa = KERNEL_NEON; isa > KERNEL_SCALAR; isa--)
        if (kernel_available(isa)) return isa;
    return KERNEL_SCALAR;
}

void kernel_matmul_f32(int32_t isa, const float *tiles, size_t tile_begin, size_t tile_end, size_t columns,
                       const float *x, size_t x_stride, size_t tokens, float *y, size_t y_stride) {
    CALL(matmul_f32, tiles, tile_begin, tile_end, columns, x, x_stride, tokens, y, y_stride);
}

void kernel_matmul_add_f32(int32_t isa, const float *tiles, size_t tile_begin, size_t tile_end, size_t columns,
                           const float *x, size_t x_stride, size_t tokens, float scale, float *y, size_t y_stride) {
    CALL(matmul_add_f32, tiles, tile_begin, tile_end, columns, x, x_stride, tokens, scale, y, y_stride);
}

void kernel_quantize(int32_t isa, const float *x, size_t x_stride, size_t tokens, size_t blocks, int8_t *q,
                     float *scales, int32_t *sums) {
    CALL(quantize, x, x_stride, tokens, blocks, q, scales, sums);
}

void kernel_matmul_i8(int32_t isa, const uint8_t *quants, const uint16_t *weight_scales, size_t tile_begin,
                      size_t tile_end, size_t blocks, const int8_t *q, const float *scales, const int32_t *sums,
                      size_t tokens, float *y, size_t y_stride) {
    CALL(matmul_i8, quants, weight_scales, tile_begin, tile_end, blocks, q, scales, sums, tokens, y, y_stride);
}

void kernel_rmsnorm(int32_t isa, const float *x, size_t count, const float *weight, float eps, float *out) {
    CALL(rmsnorm, x, count, weight, eps, out);
}

void kernel_silu_multiply(int32_t isa, float *gate, const float *up, size_t count) {
    CALL(silu_multiply, gate, up, count);
}

void kernel_add(int32_t isa, float *x, const float *y, size_t count) { CALL(add, x, y, count); }

void kernel_attention(int32_t isa, const float *q, size_t q_stride, size_t group, size_t key_dim, size_t value_dim,
                      const float *const *pages, size_t key_offset, size_t value_offset, size_t first, size_t last,
                      float scale, float soft_cap, float *scores, float *out, size_t out_stride) {
    CALL(attention, q, q_stride, group, key_dim, value_dim, pages, key_offset, value_offset, first, last, scale,
         soft_cap, scores, out, out_stride);
}

void kernel_rotate(int32_t isa, float *x, size_t heads, size_t head_stride, size_t pairs, int32_t interleaved,
                   const float *cosines, const float *sines) {
    CALL(rotate, x, heads, head_stride, pairs, interleaved, cosines, sines);
}

void kernel_gelu_tanh_multiply(int32_t isa, float *gate, const float *up, size_t count) {
    CALL(gelu_tanh_multiply, gate, up, count);
}

void kernel_gelu_erf(int32_t isa, float *x, size_t count) { CALL(gelu_erf, x, count); }

void kernel_soft_cap(int32_t isa, float *x, size_t count, float cap) { CALL(soft_cap, x, count, cap); }

void kernel_sigmoid(int32_t isa, float *x, size_t count) { CALL(sigmoid, x, count); }

void kernel_scale(int32_t isa, float *x, size_t count, float factor) { CALL(scale, x, count, factor); }

void kernel_add_scaled(int32_t isa, float *x, const float *y, size_t count, float factor) {
    CALL(add_scaled, x, y, count, factor);
}

void kernel_layernorm(int32_t isa, const float *x, size_t count, const float *weight, const float *bias, float eps,
                      float *out) {
    CALL(layernorm, x, count, weight, bias, eps, out);
}

float kernel_exp_sum(int32_t isa, const float *x, size_t count, float shift, float *out) {
    return CALL(exp_sum, x, count, shift, out);
}

int32_t kernel_all_finite(const float *x, size_t count) {
    uint32_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        __builtin_memcpy(&bits, x + i, 4);
        bad |= (bits & 0x7f800000) == 0x7f800000;
    }
    return !bad;
}

size_t kernel_argmax(const float *x, size_t count) {
    if (!kernel_all_finite(x, count)) return count;
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

void kernel_from_bf16(const void *source, size_t count, float *out) {
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        __builtin_memcpy(&half, (const char *)source + i * 2, 2);
        uint32_t bits = (uint32_t)half << 16;
        __builtin_memcpy(out + i, &bits, 4);
    }
}

void kernel_from_f16(const void *source, size_t count, float *out) {
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        __builtin_memcpy(&half, (const char *)source + i * 2, 2);
        out[i] = half_to_float(half);
    }
}

void kernel_from_f32(const void *source, size_t count, float *out) { __builtin_memcpy(out, source, count * 4); }

void kernel_pack_f32(const float *row_values, size_t row, size_t columns, float *tiles) {
    float *out = tiles + row / 16 * columns * 16 + row % 16;
    for (size_t k = 0; k < columns; k++) out[k * 16] = row_values[k];
}

/// A non-negative float below 65520 to IEEE half, half to even.
static uint16_t half_from_float(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    if (bits < 0x38800000) {  // below the least normal half: count units of 2^-24
        float units = value * 0x1p24f + 12582912.0f;
        __builtin_memcpy(&bits, &units, 4);
        return (uint16_t)(bits & 0x7ff);
    }
    bits += 0xfff + ((bits >> 13) & 1);
    return (uint16_t)((bits - 0x38000000) >> 13);
}

int32_t kernel_pack_i8(const float *row_values, size_t row, size_t columns, uint8_t *quants, uint16_t *scales) {
    size_t blocks = (columns + 31) / 32, tile = row / 16, lane = row % 16;
    for (size_t b = 0; b < blocks; b++) {
        const float *p = row_values + b * 32;
        size_t n = columns - b * 32 < 32 ? columns - b * 32 : 32;
        float peak = 0.0f;
        for (size_t i = 0; i < n; i++) {
            float magnitude = __builtin_fabsf(p[i]);
            peak = magnitude > peak ? magnitude : peak;
        }
        float wanted = peak / 127.0f;
        if (!(wanted < 65504.0f)) return 0;
        uint16_t half = half_from_float(wanted);
        float scale = half_to_float(half);
        scales[(tile * blocks + b) * 16 + lane] = half;
        uint8_t *out = quants + (tile * blocks + b) * 512 + lane * 4;
        for (size_t i = 0; i < 32; i++) {
            float quotient = i < n && scale > 0.0f ? p[i] / scale : 0.0f;
            quotient = quotient > 127.0f ? 127.0f : quotient < -127.0f ? -127.0f : quotient;
            int32_t q = (int32_t)((quotient + 12582912.0f) - 12582912.0f);
            out[i / 4 * 64 + i % 4] = (uint8_t)(q + 128);
        }
    }
    return 1;
}

void kernel_store_kv(float *keys, float *values, size_t slot, size_t key_dim, size_t value_dim, const float *key,
                     const float *value) {
    size_t value_stride = (value_dim + 15) / 16 * 16;
    for (size_t d = 0; d < key_dim; d++) keys[d * 16 + slot] = key[d];
    for (size_t d = 0; d < value_dim; d++) values[slot * value_stride + d] = value[d];
}

// Double precision, by plain IEEE operations only.

double kernel_log(double x) {
    int64_t bits;
    __builtin_memcpy(&bits, &x, 8);
    if (bits <= 0 || bits >= 0x7ff0000000000000) return x > 0 ? x : x == 0 ? -__builtin_inf() : __builtin_nan("");
    int64_t exponent = 0;
    if (bits < 0x0010000000000000) {  // subnormal
        x = x * 0x1p54;
        exponent = -54;
        __builtin_memcpy(&bits, &x, 8);
    }
    exponent += (bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffff) | 0x3ff0000000000000;
    double m;
    __builtin_memcpy(&m, &bits, 8);
    if (m > 1.4142135623730951) {
        m = m * 0.5;
        exponent += 1;
    }
    // log m = 2 artanh((m - 1) / (m + 1)), |s| < 0.1716: 13 terms leave less than 1e-20.
    double s = (m - 1) / (m + 1), z = s * s, sum = 0;
    for (int n = 25; n >= 1; n -= 2) sum = sum * z + 1.0 / n;
    return (double)exponent * 0.6931471805599453 + 2 * s * sum;
}

static double exp_double(double x) {
    if (x < -700) return 0;
    if (x > 700) x = 700;
    double n = (x * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0;
    double r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10, sum = 1;
    for (int i = 16; i >= 1; i--) sum = 1 + r * sum / i;
    int64_t bits = ((int64_t)n + 1023) << 52;
    double scale;
    __builtin_memcpy(&scale, &bits, 8);
    return sum * scale;
}

double kernel_pow(double base, double exponent) { return exp_double(exponent * kernel_log(base)); }

void kernel_sincos(double angle, double *sine, double *cosine) {
    // pi / 2 in three parts of 33 bits: exact products up to 2^20 quarter turns.
    double turns = (angle * 0.6366197723675814 + 6755399441055744.0) - 6755399441055744.0;
    double r = angle - turns * 1.57079632673412561417e+00;
    r = r - turns * 6.07710050630396597660e-11;
    r = r - turns * 2.02226624879595063154e-21;
    double z = r * r, s = 1, c = 1;
    for (int i = 20; i >= 2; i -= 2) {
        s = 1 - s * z / (double)(i * (i + 1));
        c = 1 - c * z / (double)(i * (i - 1));
    }
    s = s * r;
    switch ((int64_t)turns & 3) {
        case 0: *sine = s; *cosine = c; break;
        case 1: *sine = c; *cosine = -s; break;
        case 2: *sine = -s; *cosine = -c; break;
        default: *sine = -c; *cosine = s; break;
    }
}
