// The names of the kernels that each instruction set fills.
#ifndef OPENLEDGER_GRADIENT_NAMES_H
#define OPENLEDGER_GRADIENT_NAMES_H

#include "gradients.h"

#include "../Kernels/lanes.h"

#define GRADIENTS_OF(suffix)                                                                                             \
    void gradient_multiply_##suffix(const gradient_product *);                                                           \
    void gradient_rmsnorm_##suffix(const float *, const float *, size_t, const float *, float, int32_t, float *);        \
    void gradient_gate_##suffix(int32_t, const float *, const float *, const float *, size_t, float *, float *,          \
                                float *);                                                                                \
    void gradient_attention_##suffix(float *, float *, size_t, size_t, size_t, float, float, float *);                   \
    void gradient_cross_entropy_##suffix(float *, size_t, size_t, float, float, float *, float *);                       \
    float gradient_squares_##suffix(const float *, size_t);                                                              \
    void gradient_adam_##suffix(const gradient_adam_step *, const float *, size_t, float *, float *, float *);

#endif
