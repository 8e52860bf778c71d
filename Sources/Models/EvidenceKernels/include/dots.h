// Dot products of one row of 8-bit integers with many. Sums of integers are exact, so every form gives the same numbers.
#ifndef OPENLEDGER_DOTS_H
#define OPENLEDGER_DOTS_H

#include <stddef.h>
#include <stdint.h>

// Columns of a row at most: 2^13 products below 2^14 stay far within 32 bits.
#define DOTS_COLUMNS_MAX 8192

// The widest form that this processor has: 0 plain C, 1 AVX2, 2 AVX-512.
int32_t dots_widest(void);

// out[i] = sum over c < columns of query[c] * rows[i * stride + c], for i < count.
// columns <= DOTS_COLUMNS_MAX and <= stride; form <= dots_widest().
void dots_int8(int32_t form, const int8_t *query, const int8_t *rows, size_t stride, size_t columns, size_t count,
               int32_t *out);

#endif
