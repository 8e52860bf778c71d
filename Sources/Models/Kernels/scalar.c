// The reference: no instruction beyond the platform's baseline. Slow, and right by being plain.
#include "lanes.h"

#define FN(name) name##_scalar
#define TARGET
#define TILES_AT_ONCE 1
#define TOKENS_AT_ONCE 1
#define UNITS_AT_ONCE 2
#define PAGES_AT_ONCE 1
#define ROWS_AT_ONCE 2
#define CHANNELS_AT_ONCE 1

KERNELS_OF(scalar)

static inline __attribute__((always_inline)) lanes halves_scalar(const uint16_t *p) {
    lanes v;
    for (int i = 0; i < 16; i++) v[i] = half_to_float(p[i]);
    return v;
}

static inline __attribute__((always_inline)) words dot_block_scalar(const uint8_t *w, const int8_t *a, int32_t start,
                                                                     int is_i4) {
    (void)is_i4;
    int32_t sum[16];
    for (int i = 0; i < 16; i++) sum[i] = start;
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 16; i++)
            for (int j = 0; j < 4; j++) sum[i] += (int32_t)w[g * 64 + i * 4 + j] * (int32_t)a[g * 4 + j];
    words out;
    __builtin_memcpy(&out, sum, sizeof out);
    return out;
}

#include "body.h"
