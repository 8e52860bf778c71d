// x86-64 with AVX-512 F, BW, DQ, VL and VNNI. vpdpbusd multiplies unsigned by signed without saturating: the weights are the
// unsigned side, stored with +128.
#if defined(__x86_64__)
#include <immintrin.h>

#include "lanes.h"

#define FN(name) name##_avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")))
#define TILES_AT_ONCE 4
#define TOKENS_AT_ONCE 4

KERNELS_OF(avx512)

TARGET static inline __attribute__((always_inline)) lanes halves_avx512(const uint16_t *p) {
    return (lanes)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

TARGET static inline __attribute__((always_inline)) words dot_block_avx512(const uint8_t *w, const int8_t *a,
                                                                            int32_t start) {
    __m512i sum = _mm512_set1_epi32(start);
    for (int g = 0; g < 8; g++) {
        int32_t four;
        __builtin_memcpy(&four, a + g * 4, 4);
        sum = _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(w + g * 64), _mm512_set1_epi32(four));
    }
    return (words)sum;
}

#include "body.h"
#endif
