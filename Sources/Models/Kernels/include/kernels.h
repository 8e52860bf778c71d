// The engine's arithmetic, and nothing but arithmetic: no allocation, no input or output, no state.
//
// One rule makes the bits the same on every machine: a lane is an independent output, a reduction runs in index order
// inside its lane with fused multiply-add, and whatever must cross lanes does so over sixteen virtual lanes folded by one
// fixed tree. body.h states each kernel once over sixteen-lane vectors; scalar.c, avx2.c, avx512.c and neon.c compile that
// text for their instruction set. Only the exact int8 block dot is written per set, where order cannot matter.
// Protocol/numerics.md is the specification.
//
// Matrices are in tiles of 16 rows. f32: tiles[row / 16][column][row % 16]. int8: blocks of 32 columns,
// quants[row / 16][block][column / 4 % 8][row % 16][column % 4], each stored as value + 128 (offset binary), and
// scales[row / 16][block][row % 16] as IEEE half. Every output row stride is a multiple of 16 floats, so a kernel always
// stores whole tiles.
#ifndef OPENLEDGER_KERNELS_H
#define OPENLEDGER_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { KERNEL_SCALAR = 0, KERNEL_AVX2 = 1, KERNEL_AVX512 = 2, KERNEL_NEON = 3 };

/// 1 where this processor can run the instruction set, else 0.
int32_t kernel_available(int32_t isa);
/// The fastest instruction set of this processor.
int32_t kernel_best(void);

// Matrices times vectors. Each computes tiles [tile_begin, tile_end) for every token.

/// y[token][row] = sum over k of w[row][k] x[token][k].
void kernel_matmul_f32(int32_t isa, const float *tiles, size_t tile_begin, size_t tile_end, size_t columns,
                       const float *x, size_t x_stride, size_t tokens, float *y, size_t y_stride);
/// y[token][row] = fma(scale, sum over k of w[row][k] x[token][k], y[token][row]).
void kernel_matmul_add_f32(int32_t isa, const float *tiles, size_t tile_begin, size_t tile_end, size_t columns,
                           const float *x, size_t x_stride, size_t tokens, float scale, float *y, size_t y_stride);
/// Activations to int8, symmetric, per token and block of 32, half to even. q: [token][blocks * 32], scales and sums (of a
/// block's quants): [token][blocks]. x rows hold blocks * 32 floats. A block with a value that is not finite gets scale NaN.
void kernel_quantize(int32_t isa, const float *x, size_t x_stride, size_t tokens, size_t blocks, int8_t *q,
                     float *scales, int32_t *sums);
/// y[token][row] = sum over blocks of dot(block) * (weight scale * activation scale), in block order.
void kernel_matmul_i8(int32_t isa, const uint8_t *quants, const uint16_t *weight_scales, size_t tile_begin,
                      size_t tile_end, size_t blocks, const int8_t *q, const float *scales, const int32_t *sums,
                      size_t tokens, float *y, size_t y_stride);

// One token.

/// out = x / sqrt(mean(x^2) + eps) * weight, the mean over 16 virtual lanes.
void kernel_rmsnorm(int32_t isa, const float *x, size_t count, const float *weight, float eps, float *out);
/// Rotates the first 2 * pairs channels of each head in place: pairs are (i, i + pairs), or (2 i, 2 i + 1) where interleaved.
void kernel_rotate(int32_t isa, float *x, size_t heads, size_t head_stride, size_t pairs, int32_t interleaved,
                   const float *cosines, const float *sines);
/// gate = gate / (1 + exp(-gate)) * up.
void kernel_silu_multiply(int32_t isa, float *gate, const float *up, size_t count);
/// x += y.
void kernel_add(int32_t isa, float *x, const float *y, size_t count);
/// x = factor * x; x = factor * y + x.
void kernel_scale(int32_t isa, float *x, size_t count, float factor);
void kernel_add_scaled(int32_t isa, float *x, const float *y, size_t count, float factor);
/// gate = gelu(gate) * up, gelu by tanh.
void kernel_gelu_tanh_multiply(int32_t isa, float *gate, const float *up, size_t count);
/// x = gelu(x), gelu by erf.
void kernel_gelu_erf(int32_t isa, float *x, size_t count);
/// x = cap * tanh(x / cap).
void kernel_soft_cap(int32_t isa, float *x, size_t count, float cap);
/// x = 1 / (1 + exp(-x)).
void kernel_sigmoid(int32_t isa, float *x, size_t count);
/// out = (x - mean) / sqrt(variance + eps) * weight + bias, both over 16 virtual lanes.
void kernel_layernorm(int32_t isa, const float *x, size_t count, const float *weight, const float *bias, float eps,
                      float *out);
/// Attention of one query position for the `group` heads that share a key/value head. Pages hold 16 positions: keys
/// [key_dim][16] at key_offset, values [16][value_dim rounded up to 16] at value_offset, in floats. Reads positions
/// first...last. A soft_cap above zero caps scaled scores at cap * tanh(score / cap). scores: room for 16 * (last / 16 + 1).
void kernel_attention(int32_t isa, const float *q, size_t q_stride, size_t group, size_t key_dim, size_t value_dim,
                      const float *const *pages, size_t key_offset, size_t value_offset, size_t first, size_t last,
                      float scale, float soft_cap, float *scores, float *out, size_t out_stride);
/// out[i] = exp(x[i] - shift); answers their sum over 16 virtual lanes. out may be x, or NULL.
float kernel_exp_sum(int32_t isa, const float *x, size_t count, float shift, float *out);

// The same on every machine by being plain C.

/// Index of the greatest value, the lowest on a tie; count where some value is not finite.
size_t kernel_argmax(const float *x, size_t count);
/// 1 where every value is finite.
int32_t kernel_all_finite(const float *x, size_t count);
void kernel_from_bf16(const void *bytes, size_t count, float *out);
void kernel_from_f16(const void *bytes, size_t count, float *out);
void kernel_from_f32(const void *bytes, size_t count, float *out);
/// Puts one row into f32 tiles.
void kernel_pack_f32(const float *row_values, size_t row, size_t columns, float *tiles);
/// Quantises one row into int8 tiles; answers 0 where a block's scale is beyond the range of a half.
int32_t kernel_pack_i8(const float *row_values, size_t row, size_t columns, uint8_t *quants, uint16_t *scales);
/// Writes one position's key and value into a page.
void kernel_store_kv(float *keys, float *values, size_t slot, size_t key_dim, size_t value_dim, const float *key,
                     const float *value);
/// Double-precision functions of our own: libm differs from machine to machine. Errors below 1e-14, relative for log and pow.
double kernel_log(double x);
double kernel_pow(double base, double exponent);
void kernel_sincos(double angle, double *sine, double *cosine);

#endif
