// Run-time choice of an instruction set.
#include "kernels.h"

#include "lanes.h"

KERNELS_OF(scalar)
#if defined(__x86_64__)
KERNELS_OF(avx2)
KERNELS_OF(avx512)
#define CALL(name, ...)                                \
    (isa == KERNEL_AVX512 ? name##_avx512(__VA_ARGS__) \
     : isa == KERNEL_AVX2 ? name##_avx2(__VA_ARGS__)   \
                          : name##_scalar(__VA_ARGS__))
#elif defined(__aarch64__)
KERNELS_OF(neon)
KERNELS_OF(neon_dot)
#define CALL(name, ...)                                    \
    (isa == KERNEL_NEON_DOT ? name##_neon_dot(__VA_ARGS__) \
     : isa == KERNEL_NEON   ? name##_neon(__VA_ARGS__)     \
                            : name##_scalar(__VA_ARGS__))
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
    if (isa == KERNEL_NEON_DOT) {
#if defined(__linux__)
        // Linux answers for the processor where this register is out of reach.
        uint64_t features;
        __asm__("mrs %0, ID_AA64ISAR0_EL1" : "=r"(features));
        return (features >> 44 & 15) != 0;
#else
        return 1;  // every Apple processor has it
#endif
    }
#endif
    return 0;
}

int32_t kernel_best(void) {
    for (int32_t isa = KERNEL_NEON_DOT; isa > KERNEL_SCALAR; isa--)
        if (kernel_available(isa)) return isa;
    return KERNEL_SCALAR;
}

void kernel_products(int32_t isa, const kernel_product *products, size_t count) { CALL(products, products, count); }

void kernel_quantize(int32_t isa, const float *x, size_t x_stride, size_t first, size_t end, size_t blocks,
                     void *activations) {
    CALL(quantize, x, x_stride, first, end, blocks, activations);
}

void kernel_matmul_i8(int32_t isa, const uint8_t *quants, const uint16_t *weight_scales, size_t tile_begin,
                      size_t tile_end, size_t blocks, const void *activations, size_t tokens, float *y, size_t y_stride) {
    CALL(matmul_i8, quants, weight_scales, tile_begin, tile_end, blocks, activations, tokens, y, y_stride);
}

void kernel_matmul_i4(int32_t isa, const uint8_t *quants, const uint16_t *weight_scales, size_t tile_begin,
                      size_t tile_end, size_t blocks, const void *activations, size_t tokens, float *y, size_t y_stride) {
    CALL(matmul_i4, quants, weight_scales, tile_begin, tile_end, blocks, activations, tokens, y, y_stride);
}

void kernel_rmsnorm(int32_t isa, const float *x, size_t count, const float *weight, float eps, float *out) {
    CALL(rmsnorm, x, count, weight, eps, out);
}

void kernel_silu_multiply(int32_t isa, float *gate, const float *up, size_t count) {
    CALL(silu_multiply, gate, up, count);
}

void kernel_add(int32_t isa, float *x, const float *y, size_t count) { CALL(add, x, y, count); }

float kernel_exp_sum(int32_t isa, const float *x, size_t count, float shift, float *out) {
    return CALL(exp_sum, x, count, shift, out);
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

void kernel_attend(int32_t isa, const kernel_attention_job *job) { CALL(attend, job); }
