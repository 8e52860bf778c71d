// The engine's arithmetic, and nothing but arithmetic: no allocation, no input or output, no state.
//
// One rule makes the bits the same on every machine: a lane is an independent output, a reduction runs in index order
// inside its lane with fused multiply-add, and whatever must cross lanes does so over sixteen virtual lanes folded by
// one fixed tree. body.h states each kernel once over sixteen-lane vectors; scalar.c, avx2.c, avx512.c and neon.c
// compile that text for their instruction set. Only exact integer dots are written per set, where order cannot matter.
// Protocol/numerics.md is the specification.
//
// Matrices are in tiles of 16 rows.
//     f32, bf16, f16   tiles[row / 16][column][row % 16]
//     int8             blocks of 32 columns, quants[row / 16][block][column / 4 % 8][row % 16][column % 4] as value +
//     128
//     int4             quants[row / 16][block][column / 4 % 4][row % 16][column % 4] as value + 8: a byte's low half is
//                      column 0..15 of the block, its high half the column 16 further on
//     int8, int4       scales[row / 16][block][row % 16] as IEEE half
// Every output row stride is a multiple of 16 floats, so a kernel always stores whole tiles.
//
// int8 activations are in groups of 16 tokens, so that one pointer reaches all of a panel:
//     [token / 16][block] { int8 quants[16][32]; float scales[16]; int32 starts_i8[16]; int32 starts_i4[16] }
// The starts are -128 and -8 times the sum of a block's quants: what the offsets of the weights add to a dot.
#ifndef OPENLEDGER_KERNELS_H
#define OPENLEDGER_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum {
    KERNEL_SCALAR = 0,
    KERNEL_AVX2 = 1,
    KERNEL_AVX512 = 2,
    KERNEL_NEON = 3,
    KERNEL_NEON_DOT = 4,
};

/// Element types of float tiles.
enum { KERNEL_F32 = 0, KERNEL_BF16 = 1, KERNEL_F16 = 2 };
/// Positions of a page, positions of a softmax block, bytes of a block of 16 tokens' activations.
enum { KERNEL_PAGE = 16, KERNEL_SOFTMAX_BLOCK = 64, KERNEL_ACTIVATION_BLOCK_BYTES = 704 };

/// 1 where this processor can run the instruction set, else 0.
int32_t kernel_available(int32_t isa);
/// The fastest instruction set of this processor.
int32_t kernel_best(void);

// Matrices times vectors. Each computes tiles [tile_begin, tile_end) for every token.

/// A product with float weights: v = sum over k of w[row][k] x[token][k]; v = v * scales[row] where there are scales;
/// y[token][row] = add ? y[token][row] + v : v.
typedef struct {
    /// Of tile 0, elements of `kind`.
    const void *tiles;
    size_t tile_begin, tile_end, columns;
    const float *x;
    size_t x_stride, tokens;
    /// One a row, or NULL.
    const float *scales;
    float *y;
    size_t y_stride;
    int32_t kind, add;
} kernel_product;
/// Independent products, such as those of the adapters of one batch: short ones are computed side by side.
void kernel_products(int32_t isa, const kernel_product *products, size_t count);

/// Activations to int8, symmetric, per token and block of 32, half to even, for tokens [first, end). x is the row of
/// token 0; rows hold blocks * 32 floats. A block with a value that is not finite gets scale NaN.
void kernel_quantize(int32_t isa, const float *x, size_t x_stride, size_t first, size_t end, size_t blocks,
                     void *activations);
/// y[token][row] = sum over blocks of dot(block) * (weight scale * activation scale), in block order.
void kernel_matmul_i8(int32_t isa, const uint8_t *quants, const uint16_t *weight_scales, size_t tile_begin,
                      size_t tile_end, size_t blocks, const void *activations, size_t tokens, float *y, size_t y_stride);
void kernel_matmul_i4(int32_t isa, const uint8_t *quants, const uint16_t *weight_scales, size_t tile_begin,
                      size_t tile_end, size_t blocks, const void *activations, size_t tokens, float *y, size_t y_stride);

// One token.

/// out = x / sqrt(mean(x^2) + eps) * weight, the mean over 16 virtual lanes.
void kernel_rmsnorm(int32_t isa, const float *x, size_t count, const float *weight, float eps, float *out);
/// Rotates the first 2 * pairs channels of each head in place: pairs are (i, i + pairs), or (2 i, 2 i + 1) where
/// interleaved.
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
/// out[i] = exp(x[i] - shift); answers their sum over 16 virtual lanes. out may be x, or NULL.
float kernel_exp_sum(int32_t isa, const float *x, size_t count, float shift, float *out);

/// Attention of consecutive positions of one sequence, for the `group` heads that share a key/value head. Pages hold 16
/// positions; offsets are bytes into a page. Strides are in floats.
///     f32    keys [key_dim][16], values [16][value_dim rounded up to 16]
///     int8   keys [key_dim][16], float scales[16]; values [16][value_dim rounded up to 16], float scales[16]
typedef struct {
    const float *q;
    size_t q_token_stride, q_head_stride;
    size_t tokens, group, key_dim, value_dim;
    /// Of the first token. Token t reads positions up to position + t, and the last `window` of them only, 0 for all.
    size_t position, window;
    float scale;
    /// Scores become soft_cap * tanh(score / soft_cap); 0 for not.
    float soft_cap;
    const void *const *pages;
    size_t key_offset, value_offset;
    /// 1 where keys and values are int8, 0 where they are f32.
    int32_t is_int8;
    float *out;
    size_t out_token_stride, out_head_stride;
} kernel_attention_job;
void kernel_attend(int32_t isa, const kernel_attention_job *job);

// The same on every machine by being plain C.

/// Writes one position's key and value of one head into a page.
void kernel_store_kv(void *keys, void *values, size_t slot, size_t key_dim, size_t value_dim, int32_t is_int8,
                     const float *key, const float *value);
/// Index of the greatest value, the lowest on a tie; count where some value is not finite.
size_t kernel_argmax(const float *x, size_t count);
/// 1 where every value is finite.
int32_t kernel_all_finite(const float *x, size_t count);
void kernel_from_bf16(const void *bytes, size_t count, float *out);
void kernel_from_f16(const void *bytes, size_t count, float *out);
void kernel_from_f32(const void *bytes, size_t count, float *out);
/// Puts one row into f32 tiles, or into bf16 tiles, half to even.
void kernel_pack_f32(const float *row_values, size_t row, size_t columns, float *tiles);
void kernel_pack_bf16(const float *row_values, size_t row, size_t columns, uint16_t *tiles);
/// Quantises one row into int8 or int4 tiles; answers 0 where a block's scale is beyond the range of a half.
int32_t kernel_pack_i8(const float *row_values, size_t row, size_t columns, uint8_t *quants, uint16_t *scales);
int32_t kernel_pack_i4(const float *row_values, size_t row, size_t columns, uint8_t *quants, uint16_t *scales);
/// Puts one row of GGUF's Q8_0 or Q4_0 blocks (a half, then 32 quants) into tiles as they are; answers 0 where a scale
/// is not finite.
int32_t kernel_pack_q8_0(const void *row_blocks, size_t row, size_t blocks, uint8_t *quants, uint16_t *scales);
int32_t kernel_pack_q4_0(const void *row_blocks, size_t row, size_t blocks, uint8_t *quants, uint16_t *scales);
/// Double-precision functions of our own: libm differs from machine to machine. Errors below 1e-14, relative for log
/// and pow.
double kernel_log(double x);
double kernel_pow(double base, double exponent);
void kernel_sincos(double angle, double *sine, double *cosine);

#endif
