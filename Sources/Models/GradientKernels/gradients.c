// Run-time choice of an instruction set, and what is plain C.
#include "gradients.h"

#include "kernels.h"
#include "names.h"

GRADIENTS_OF(scalar)
#if defined(__x86_64__)
GRADIENTS_OF(avx2)
GRADIENTS_OF(avx512)
#define CALL(name, ...)                                \
    (isa == KERNEL_AVX512 ? name##_avx512(__VA_ARGS__) \
     : isa == KERNEL_AVX2 ? name##_avx2(__VA_ARGS__)   \
                          : name##_scalar(__VA_ARGS__))
#elif defined(__aarch64__)
GRADIENTS_OF(neon)
#define CALL(name, ...) (isa == KERNEL_SCALAR ? name##_scalar(__VA_ARGS__) : name##_neon(__VA_ARGS__))
#else
#define CALL(name, ...) name##_scalar(__VA_ARGS__)
#endif

void gradient_multiply(int32_t isa, const gradient_product *product) { CALL(gradient_multiply, product); }

void gradient_rmsnorm(int32_t isa, const float *x, const float *dout, size_t count, const float *weight, float eps,
                      int32_t adds, float *dx) {
    CALL(gradient_rmsnorm, x, dout, count, weight, eps, adds, dx);
}

void gradient_gate(int32_t isa, int32_t is_gelu, const float *gate, const float *up, const float *dgated, size_t count,
                   float *gated, float *dgate, float *dup) {
    CALL(gradient_gate, is_gelu, gate, up, dgated, count, gated, dgate, dup);
}

void gradient_attention(int32_t isa, float *dots, float *dp, size_t from, size_t to, size_t count, float scale, float cap,
                        float *room) {
    CALL(gradient_attention, dots, dp, from, to, count, scale, cap, room);
}

void gradient_cross_entropy(int32_t isa, float *logits, size_t count, size_t target, float weight, float cap,
                            float *greatest, float *sum) {
    CALL(gradient_cross_entropy, logits, count, target, weight, cap, greatest, sum);
}

float gradient_squares(int32_t isa, const float *x, size_t count) { return CALL(gradient_squares, x, count); }

void gradient_adam(int32_t isa, const gradient_adam_step *step, const float *gradient, size_t count, float *weights,
                   float *first, float *second) {
    CALL(gradient_adam, step, gradient, count, weights, first, second);
}

static inline float widened(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float out;
    __builtin_memcpy(&out, &bits, 4);
    return out;
}

/// Sixteen rows and columns of float tiles, turned.
static void unpack_floats(const void *tiles, int32_t kind, size_t columns, size_t row, size_t rows, size_t column,
                          size_t count, size_t width, float *out) {
    const size_t at = row * columns + column * 16;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < count; c++)
            out[r * width + c] = kind == GRADIENT_F32 ? ((const float *)tiles)[at + c * 16 + r]
                                                      : widened(((const uint16_t *)tiles)[at + c * 16 + r]);
}

/// Sixteen rows and half a block of 32 columns.
static void unpack_blocks(const uint8_t *quants, const uint16_t *scales, int32_t kind, size_t columns, size_t row,
                          size_t rows, size_t column, size_t count, size_t width, float *out) {
    const size_t blocks = (columns + 31) / 32, block = row / 16 * blocks + column / 32, half = column % 32 / 16;
    for (size_t r = 0; r < rows; r++) {
        const float scale = half_to_float(scales[block * 16 + r]);
        for (size_t c = 0; c < count; c++) {
            int32_t q;
            if (kind == GRADIENT_INT8) {
                q = (int32_t)quants[block * 512 + (half * 4 + c / 4) * 64 + r * 4 + c % 4] - 128;
            } else {
                const uint8_t both = quants[block * 256 + c / 4 * 64 + r * 4 + c % 4];
                q = (int32_t)(half ? both >> 4 : both & 15) - 8;
            }
            out[r * width + c] = (float)q * scale;
        }
    }
}

void gradient_unpack(const void *tiles, const uint16_t *scales, int32_t kind, size_t columns, size_t first_row, size_t rows,
                     size_t first_column, size_t width, float *out) {
    for (size_t row = 0; row < rows; row += 16) {
        const size_t height = rows - row < 16 ? rows - row : 16;
        for (size_t column = 0; column < width; column += 16) {
            const size_t at = first_column + column, left = at < columns ? columns - at : 0, count = left < 16 ? left : 16;
            float *to = out + row * width + column;
            if (kind == GRADIENT_F32 || kind == GRADIENT_BF16)
                unpack_floats(tiles, kind, columns, first_row + row, height, at, count, width, to);
            else if (count > 0)
                unpack_blocks(tiles, scales, kind, columns, first_row + row, height, at, count, width, to);
            for (size_t r = 0; r < height; r++)
                for (size_t c = count; c < 16; c++) to[r * width + c] = 0.0f;
        }
    }
}

void gradient_transpose(const float *x, size_t rows, size_t columns, size_t x_stride, float *out, size_t out_stride) {
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) out[c * out_stride + r] = x[r * x_stride + c];
}
