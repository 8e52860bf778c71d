// Sixteen lanes, whatever the registers are wide, and the names of the kernels that each instruction set fills.
#ifndef OPENLEDGER_LANES_H
#define OPENLEDGER_LANES_H

#include "kernels.h"

// The helpers that take vectors are always inlined within one translation unit; no vector crosses a call.
#pragma clang diagnostic ignored "-Wpsabi"

typedef float lanes __attribute__((ext_vector_type(16)));
typedef float lanes_unaligned __attribute__((ext_vector_type(16), aligned(4)));
typedef float lanes8 __attribute__((ext_vector_type(8)));
typedef float lanes4 __attribute__((ext_vector_type(4)));
typedef int32_t words __attribute__((ext_vector_type(16)));
typedef int8_t bytes __attribute__((ext_vector_type(16)));
typedef int8_t bytes_unaligned __attribute__((ext_vector_type(16), aligned(1)));
typedef uint16_t halfwords __attribute__((ext_vector_type(16)));
typedef uint16_t halfwords_unaligned __attribute__((ext_vector_type(16), aligned(2)));

/// Where the parts of one block of sixteen tokens' activations lie: kernels.h.
enum { GROUP_TOKENS = 16, GROUP_SCALES = 512, GROUP_STARTS_I8 = 576, GROUP_STARTS_I4 = 640 };

/// IEEE half to float, exact; the reference for the instruction sets that have an instruction for it.
static inline __attribute__((always_inline)) float half_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 1023, bits;
    if (exponent == 31)
        bits = sign | 0x7f800000 | fraction << 13;
    else if (exponent != 0)
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    else {
        float tiny = (float)fraction * 0x1p-24f;
        return sign ? -tiny : tiny;
    }
    float out;
    __builtin_memcpy(&out, &bits, 4);
    return out;
}

#define KERNELS_OF(suffix)                                                                                             \
    void products_##suffix(const kernel_product *, size_t);                                                            \
    void quantize_##suffix(const float *, size_t, size_t, size_t, size_t, void *);                                     \
    void matmul_i8_##suffix(const uint8_t *, const uint16_t *, size_t, size_t, size_t, const void *, size_t, float *,  \
                            size_t);                                                                                   \
    void matmul_i4_##suffix(const uint8_t *, const uint16_t *, size_t, size_t, size_t, const void *, size_t, float *,  \
                            size_t);                                                                                   \
    void rmsnorm_##suffix(const float *, size_t, const float *, float, float *);                                       \
    void silu_multiply_##suffix(float *, const float *, size_t);                                                       \
    void add_##suffix(float *, const float *, size_t);                                                                 \
    float exp_sum_##suffix(const float *, size_t, float, float *);                                                     \
    void attend_##suffix(const kernel_attention_job *);                                                                \
    void rotate_##suffix(float *, size_t, size_t, size_t, int32_t, const float *, const float *);                      \
    void gelu_tanh_multiply_##suffix(float *, const float *, size_t);                                                  \
    void gelu_erf_##suffix(float *, size_t);                                                                           \
    void soft_cap_##suffix(float *, size_t, float);                                                                    \
    void sigmoid_##suffix(float *, size_t);                                                                            \
    void scale_##suffix(float *, size_t, float);                                                                       \
    void add_scaled_##suffix(float *, const float *, size_t, float);                                                   \
    void layernorm_##suffix(const float *, size_t, const float *, const float *, float, float *);

#endif
