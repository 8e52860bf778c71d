// The arithmetic of a backward pass, and nothing but arithmetic: no allocation, no input or output, no state.
//
// The rule is that of Kernels: a lane is an independent output, a reduction runs in index order inside its lane with fused
// multiply-add, and whatever must cross lanes does so over sixteen virtual lanes folded by one fixed tree. body.h states
// each kernel once; scalar.c, avx2.c, avx512.c and neon.c compile that text for their instruction set. The numbers of an
// instruction set are those of kernels.h. Protocol/training.md is the specification.
#ifndef OPENLEDGER_GRADIENTS_H
#define OPENLEDGER_GRADIENTS_H

#include <stddef.h>
#include <stdint.h>

/// What a product does with what its output holds: starts from +0; goes on from it; adds the whole sum to it.
enum { GRADIENT_REPLACE = 0, GRADIENT_CONTINUE = 1, GRADIENT_ADD = 2 };
/// How the elements of a frozen matrix are stored, in the tiles of kernels.h.
enum { GRADIENT_F32 = 0, GRADIENT_BF16 = 1, GRADIENT_INT8 = 2, GRADIENT_INT4 = 3 };

/// y[n][i] = start + sum over k of m[k][i] x[n][k], k in order. All strides are free, so one kernel serves products with a
/// matrix, with its transpose, and sums over tokens.
typedef struct {
    /// Element (k, i) is m[i / 16 * tile_stride + k * depth_stride + i % 16].
    const float *m;
    size_t tile_stride, depth_stride;
    /// Element (n, k) is x[n * x_stride + k * x_step].
    const float *x;
    size_t x_stride, x_step;
    /// Element (n, i) is y[n * y_stride + i]; whole tiles of 16 are written.
    float *y;
    size_t y_stride;
    size_t tiles, depth, rows;
    int32_t mode;
} gradient_product;
void gradient_multiply(int32_t isa, const gradient_product *product);

/// Of out = x / sqrt(mean(x^2) + eps) * weight. dx = that of out, or dx += it where `adds`. dx may be dout.
void gradient_rmsnorm(int32_t isa, const float *x, const float *dout, size_t count, const float *weight, float eps,
                      int32_t adds, float *dx);
/// Of gated = activation(gate) * up, SiLU or GELU by tanh. Writes gated anew, and the two gradients.
void gradient_gate(int32_t isa, int32_t is_gelu, const float *gate, const float *up, const float *dgated, size_t count,
                   float *gated, float *dgate, float *dup);
/// One query of softmax(cap(scale * dots)) over positions [from, to]. On entry `dots` holds query times keys and `dp` the
/// gradients of the probabilities; on return the probabilities, and the gradients of the dots. Both are zero outside [from,
/// to], up to `count`, a multiple of 16. `room` holds `count` floats. No cap where it is 0.
void gradient_attention(int32_t isa, float *dots, float *dp, size_t from, size_t to, size_t count, float scale, float cap,
                        float *room);
/// Logits to the gradient of -weight * log softmax(logits)[target]; `cap` is the soft cap that they went through, 0 for
/// none. Answers the sum of exp(logit - greatest) in `sum` and the greatest in `greatest`.
void gradient_cross_entropy(int32_t isa, float *logits, size_t count, size_t target, float weight, float cap,
                            float *greatest, float *sum);
/// Sum of squares over 16 virtual lanes.
float gradient_squares(int32_t isa, const float *x, size_t count);

/// One step of AdamW with decoupled decay (arXiv 1711.05101), in PyTorch's order of operations.
typedef struct {
    /// Of the gradient, for clipping.
    float factor;
    /// 1 - rate * weight decay; beta_1 and 1 - beta_1; beta_2 and 1 - beta_2; rate / (1 - beta_1^step); sqrt(1 - beta_2^step).
    float keep, keep_first, take_first, keep_second, take_second, rate, root, eps;
} gradient_adam_step;
void gradient_adam(int32_t isa, const gradient_adam_step *step, const float *gradient, size_t count, float *weights,
                   float *first, float *second);

// The same on every machine by being plain C.

/// Rows [first_row, first_row + rows) of columns [first_column, first_column + width) of a frozen matrix as floats, row by
/// row: out[row * width + column]. first_row and first_column are multiples of 32, width of 16; what lies behind the matrix's
/// last column is zero. `columns` is the matrix's own.
void gradient_unpack(const void *tiles, const uint16_t *scales, int32_t kind, size_t columns, size_t first_row, size_t rows,
                     size_t first_column, size_t width, float *out);
/// out[column][row] = x[row][column].
void gradient_transpose(const float *x, size_t rows, size_t columns, size_t x_stride, float *out, size_t out_stride);

#endif
