// arm64 with the dot-product instructions: sdot takes four columns of four rows. int8 weights go back to signed by
// flipping the top bit.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lanes.h"

#define FN(name) name##_neon_dot
#define TARGET __attribute__((target("dotprod")))
#define TILES_AT_ONCE 2
#define TOKENS_AT_ONCE 2
#define UNITS_AT_ONCE 4
#define PAGES_AT_ONCE 1
#define ROWS_AT_ONCE 4
#define CHANNELS_AT_ONCE 1

KERNELS_OF(neon_dot)

TARGET static inline __attribute__((always_inline)) lanes halves_neon_dot(const uint16_t *p) {
    union { float32x4_t quarter[4]; lanes all; } v;
    for (int i = 0; i < 4; i++) v.quarter[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + i * 4)));
    return v.all;
}

TARGET static inline __attribute__((always_inline)) words dot_block_neon_dot(const uint8_t *w, const int8_t *a,
                                                                             int32_t start, int is_i4) {
    const uint8x16_t flip = vdupq_n_u8(is_i4 ? 0 : 128);
    int32x4_t sum[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
    int32x4_t total = vdupq_n_s32(0);
    for (int g = 0; g < 8; g++) {
        int32_t four;
        __builtin_memcpy(&four, a + g * 4, 4);
        const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));
        total = vdotq_s32(total, x, vdupq_n_s8(1));
        for (int r = 0; r < 4; r++)
            sum[r] = vdotq_s32(sum[r], vreinterpretq_s8_u8(veorq_u8(vld1q_u8(w + g * 64 + r * 16), flip)), x);
    }
    // `start` undoes the +128 that the flip has already undone: give it back.
    const int32_t first = is_i4 ? start : start + 128 * vgetq_lane_s32(total, 0);
    union { int32x4_t quarter[4]; words all; } out;
    for (int r = 0; r < 4; r++) out.quarter[r] = vaddq_s32(vdupq_n_s32(first), sum[r]);
    return out.all;
}

#include "body.h"
#endif
