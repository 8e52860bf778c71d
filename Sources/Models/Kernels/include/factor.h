// LoRA factors on their way from a file into tiles. Plain C, the same on every machine: nothing is computed.
#ifndef OPENLEDGER_FACTOR_H
#define OPENLEDGER_FACTOR_H

#include <stddef.h>
#include <stdint.h>

/// Puts a row-major matrix of 16-bit elements into tiles[row / 16][column][row % 16]; lanes past the last row are zero.
/// `exponent` masks an element's exponent bits: 0x7f80 for bf16, 0x7c00 for f16. Answers 1 where every element is finite.
int32_t kernel_tile_16(const void *source, size_t rows, size_t columns, uint16_t exponent, void *tiles);
/// The same for f32.
int32_t kernel_tile_32(const void *source, size_t rows, size_t columns, void *tiles);
/// f32 to the 16-bit type of that exponent mask, half to even; what is too great becomes infinite.
void kernel_to_16(const float *x, size_t count, uint16_t exponent, uint16_t *out);

#endif
