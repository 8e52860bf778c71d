// x86-64 with AVX2, FMA and F16C. The int8 dot widens to 16 bits and uses vpmaddwd: vpmaddubsw would saturate.
#if defined(__x86_64__)
#include <immintrin.h>

#include "lanes.h"

#define FN(name) name##_avx2
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define TILES_AT_ONCE 2
#define TOKENS_AT_ONCE 2

KERNELS_OF(avx2)

TARGET static inline __attribute__((always_inline)) lanes halves_avx2(const uint16_t *p) {
    union { __m256 half[2]; lanes all; } v;
    v.half[0] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
    v.half[1] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)));
    return v.all;
}

TARGET static inline __attribute__((always_inline)) words dot_block_avx2(const uint8_t *w, const int8_t *a,
                                                                          int32_t start) {
    __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int g = 0; g < 8; g++) {
        int32_t four;
        __builtin_memcpy(&four, a + g * 4, 4);
        __m256i x = _mm256_cvtepi8_epi16(_mm_set1_epi32(four));
        for (int r = 0; r < 4; r++) {
            __m256i v = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(w + g * 64 + r * 16)));
            sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(v, x));
        }
    }
    // Pairs of one row lie side by side; hadd works within 128-bit halves, so the quarters are put back in row order.
    union { __m256i half[2]; words all; } out;
    const __m256i first = _mm256_set1_epi32(start);
    out.half[0] = _mm256_add_epi32(first, _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[0], sum[1]), 0xd8));
    out.half[1] = _mm256_add_epi32(first, _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[2], sum[3]), 0xd8));
    return out.all;
}

#include "body.h"
#endif
