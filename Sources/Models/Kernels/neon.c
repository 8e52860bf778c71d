// arm64 with Advanced SIMD, its baseline. int8 weights go back to signed by flipping the top bit, int4 weights are at
// most 15:
// products fit 16 bits and are added in pairs to 32.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lanes.h"

#define FN(name) name##_neon
#define TARGET
#define TILES_AT_ONCE 2
#define TOKENS_AT_ONCE 2
#define UNITS_AT_ONCE 4
#define PAGES_AT_ONCE 1
#define ROWS_AT_ONCE 4
#define CHANNELS_AT_ONCE 1

KERNELS_OF(neon)

static inline __attribute__((always_inline)) lanes halves_neon(const uint16_t *p) {
    union { float32x4_t quarter[4]; lanes all; } v;
    for (int i = 0; i < 4; i++) v.quarter[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + i * 4)));
    return v.all;
}

static inline __attribute__((always_inline)) words dot_block_neon(const uint8_t *w, const int8_t *a, int32_t start,
                                                                   int is_i4) {
    const uint8x8_t flip = vdup_n_u8(is_i4 ? 0 : 128);
    int32x4_t sum[8];
    for (int r = 0; r < 8; r++) sum[r] = vdupq_n_s32(0);
    int32_t total = 0;
    for (int g = 0; g < 8; g++) {
        int32_t four;
        __builtin_memcpy(&four, a + g * 4, 4);
        int8x8_t x = vreinterpret_s8_s32(vdup_n_s32(four));
        for (int j = 0; j < 4; j++) total += a[g * 4 + j];
        for (int r = 0; r < 8; r++) {
            int8x8_t v = vreinterpret_s8_u8(veor_u8(vld1_u8(w + g * 64 + r * 8), flip));
            sum[r] = vpadalq_s16(sum[r], vmull_s8(v, x));
        }
    }
    // `start` undoes the +128 that the flip has already undone: give it back.
    const int32x4_t first = vdupq_n_s32(is_i4 ? start : start + 128 * total);
    union { int32x4_t quarter[4]; words all; } out;
    for (int r = 0; r < 4; r++) out.quarter[r] = vaddq_s32(first, vpaddq_s32(sum[2 * r], sum[2 * r + 1]));
    return out.all;
}

#include "body.h"
#endif
