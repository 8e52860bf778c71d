// See factor.h. Sixteen rows are read side by side and written as one stream.
#include "factor.h"

#define TILE(NAME, TYPE)                                                                                     \
    static uint32_t NAME(const char *source, size_t rows, size_t columns, TYPE exponent, TYPE *out) {        \
        uint32_t bad = 0;                                                                                    \
        size_t lanes = rows < 16 ? rows : 16;                                                                \
        for (size_t c = 0; c < columns; c += 16) {                                                           \
            size_t n = columns - c < 16 ? columns - c : 16;                                                  \
            for (size_t lane = 0; lane < lanes; lane++) {                                                    \
                TYPE row[16];                                                                                \
                __builtin_memcpy(row, source + (lane * columns + c) * sizeof(TYPE), n * sizeof(TYPE));       \
                for (size_t i = 0; i < n; i++) {                                                             \
                    bad |= (row[i] & exponent) == exponent;                                                  \
                    out[(c + i) * 16 + lane] = row[i];                                                       \
                }                                                                                            \
            }                                                                                                \
            for (size_t lane = lanes; lane < 16; lane++)                                                     \
                for (size_t i = 0; i < n; i++) out[(c + i) * 16 + lane] = 0;                                 \
        }                                                                                                    \
        return bad;                                                                                          \
    }

TILE(tile_16_any, uint16_t)
TILE(tile_32, uint32_t)

typedef uint16_t square_row __attribute__((vector_size(32)));

#define LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)

// Sixteen rows and sixteen columns: to shuffle rows i and i + 8 together four times is to transpose.
static uint32_t square(const char *source, size_t stride, uint16_t exponent, uint16_t *out) {
    square_row rows[16], mixed[16], bad = {0};
    for (int i = 0; i < 16; i++) {
        __builtin_memcpy(&rows[i], source + (size_t)i * stride, 32);
        bad |= (square_row)((rows[i] & exponent) == exponent);
    }
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 8; i++) {
            mixed[2 * i] = LOW(rows[i], rows[i + 8]);
            mixed[2 * i + 1] = HIGH(rows[i], rows[i + 8]);
        }
        for (int i = 0; i < 16; i++) rows[i] = mixed[i];
    }
    // Past the caches: an adapter is larger than they are, and lines that are written whole need not be read first.
    for (int i = 0; i < 16; i++) __builtin_nontemporal_store(rows[i], (square_row *)out + i);
    uint32_t any = 0;
    for (int i = 0; i < 16; i++) any |= bad[i];
    return any;
}

static uint32_t tile_16(const char *source, size_t rows, size_t columns, uint16_t exponent, uint16_t *out) {
    // Such stores trap where they are not aligned.
    if (rows < 16 || columns % 16 || (uintptr_t)out % 32) return tile_16_any(source, rows, columns, exponent, out);
    uint32_t bad = 0;
    for (size_t c = 0; c < columns; c += 16) bad |= square(source + c * 2, columns * 2, exponent, out + c * 16);
    return bad;
}

int32_t kernel_tile_16(const void *source, size_t rows, size_t columns, uint16_t exponent, void *tiles) {
    uint32_t bad = 0;
    for (size_t row = 0; row < rows; row += 16)
        bad |= tile_16((const char *)source + row * columns * 2, rows - row, columns, exponent,
                       (uint16_t *)tiles + row * columns);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);  // such stores pass others: whoever is told afterwards sees them
    return !bad;
}

int32_t kernel_tile_32(const void *source, size_t rows, size_t columns, void *tiles) {
    uint32_t bad = 0;
    for (size_t row = 0; row < rows; row += 16)
        bad |= tile_32((const char *)source + row * columns * 4, rows - row, columns, 0x7f800000,
                       (uint32_t *)tiles + row * columns);
    return !bad;
}

static uint16_t to_bf16(uint32_t bits) {
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16) | 0x40;  // not a number stays one
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static uint16_t to_f16(uint32_t bits) {
    uint16_t sign = (uint16_t)(bits >> 16) & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return sign | 0x7e00;
    if (magnitude >= 0x477ff000) return sign | 0x7c00;  // 65520 and above
    if (magnitude < 0x38800000) {                       // below the least normal half: count units of 2^-24
        float value;
        __builtin_memcpy(&value, &magnitude, 4);
        float units = value * 0x1p24f + 12582912.0f;
        uint32_t count;
        __builtin_memcpy(&count, &units, 4);
        return sign | (uint16_t)(count & 0x7ff);
    }
    magnitude += 0xfff + ((magnitude >> 13) & 1);
    return sign | (uint16_t)((magnitude - 0x38000000) >> 13);
}

void kernel_to_16(const float *x, size_t count, uint16_t exponent, uint16_t *out) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        __builtin_memcpy(&bits, x + i, 4);
        out[i] = exponent == 0x7f80 ? to_bf16(bits) : to_f16(bits);
    }
}
