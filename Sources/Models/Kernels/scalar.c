// The reference: no instruction beyond the platform's baseline. Slow, and right by being plain.
#include "lanes.h"

#define FN(name) name##_scalar
#define TARGET
#define TILES_AT_ONCE 1
#define TOKENS_AT_ONCE 1

KERNELS_OF(scalar)

static inline __attribute__((always_inline)) lanes halves_scalar(const uint16_t *p) {
    lanes v;
    for (int i = 0; i < 16; i++) v[i] = half_to_float(p[i]);
    return v;
}

static inline __attribute__((always_inline)) words dot_block_scalar(const uint8_t *w, const int8_t *a, int32_t start) {
    words sum = (words)start;
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 16; i++)
            for (int j = 0; j < 4; j++) sum[i] += (int32_t)w[g * 64 + i * 4 + j] * (int32_t)a[g * 4 + j];
    return sum;
}

#include "body.h"
