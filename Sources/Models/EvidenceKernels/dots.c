// See dots.h. Rows are read once, in order: memory is what takes the time.
#include "dots.h"

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx2"))) static void dots_avx2(const int16_t *query, const int8_t *rows, size_t stride,
                                                      size_t columns, size_t count, int32_t *out) {
    size_t whole = columns & ~(size_t)31;
    for (size_t i = 0; i < count; i++) {
        const int8_t *row = rows + i * stride;
        __m256i one = _mm256_setzero_si256(), two = one;
        for (size_t c = 0; c < whole; c += 32) {
            __m256i low = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(row + c)));
            __m256i high = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(row + c + 16)));
            one = _mm256_add_epi32(one, _mm256_madd_epi16(low, _mm256_loadu_si256((const __m256i *)(query + c))));
            two = _mm256_add_epi32(two, _mm256_madd_epi16(high, _mm256_loadu_si256((const __m256i *)(query + c + 16))));
        }
        int32_t lanes[8];
        _mm256_storeu_si256((__m256i *)lanes, _mm256_add_epi32(one, two));
        int32_t sum = 0;
        for (int lane = 0; lane < 8; lane++) sum += lanes[lane];
        for (size_t c = whole; c < columns; c++) sum += (int32_t)query[c] * row[c];
        out[i] = sum;
    }
}

__attribute__((target("avx512f,avx512bw"))) static void dots_avx512(const int16_t *query, const int8_t *rows,
                                                                    size_t stride, size_t columns, size_t count,
                                                                    int32_t *out) {
    size_t whole = columns & ~(size_t)63;
    for (size_t i = 0; i < count; i++) {
        const int8_t *row = rows + i * stride;
        __m512i one = _mm512_setzero_si512(), two = one;
        for (size_t c = 0; c < whole; c += 64) {
            __m512i low = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(row + c)));
            __m512i high = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(row + c + 32)));
            one = _mm512_add_epi32(one, _mm512_madd_epi16(low, _mm512_loadu_si512(query + c)));
            two = _mm512_add_epi32(two, _mm512_madd_epi16(high, _mm512_loadu_si512(query + c + 32)));
        }
        int32_t sum = _mm512_reduce_add_epi32(_mm512_add_epi32(one, two));
        for (size_t c = whole; c < columns; c++) sum += (int32_t)query[c] * row[c];
        out[i] = sum;
    }
}
#endif

static void dots_plain(const int16_t *query, const int8_t *rows, size_t stride, size_t columns, size_t count,
                       int32_t *out) {
    for (size_t i = 0; i < count; i++) {
        const int8_t *row = rows + i * stride;
        int32_t sum = 0;
        for (size_t c = 0; c < columns; c++) sum += (int32_t)query[c] * row[c];
        out[i] = sum;
    }
}

int32_t dots_widest(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return 2;
    if (__builtin_cpu_supports("avx2")) return 1;
#endif
    return 0;
}

void dots_int8(int32_t form, const int8_t *query, const int8_t *rows, size_t stride, size_t columns, size_t count,
               int32_t *out) {
    int16_t wide[DOTS_COLUMNS_MAX];
    for (size_t c = 0; c < columns; c++) wide[c] = query[c];
#if defined(__x86_64__)
    if (form == 2) return dots_avx512(wide, rows, stride, columns, count, out);
    if (form == 1) return dots_avx2(wide, rows, stride, columns, count, out);
#endif
    (void)form;
    dots_plain(wide, rows, stride, columns, count, out);
}
