// A whole model with nothing but the kernels: the step that Transformer.swift makes, for models whose layers have grouped
// attention and one gated unit, over the description and the weights in `model` (ModelHashTests writes them). Prints a hash
// of all logits for each precision and instruction set: "f32 neon 0123456789abcdef". Another implementation of the same page
// (Protocol/numerics.md), it must say what the engine says, here and on another processor.
//
// No libc, as hashes.c: clang --target=aarch64-linux-gnu -O2 -ffreestanding -nostdlib -static …
#include <kernels.h>

extern const uint32_t model[];
extern const uint32_t model_end[];

enum { WEIGHTS = 64 << 20, SCALES = 4 << 20, ROWS = 64, WIDTH = 2048, PAGES = ROWS / 16, PAGE_BYTES = 1 << 20 };
static uint8_t weights[WEIGHTS] __attribute__((aligned(64)));
static uint16_t scales[SCALES] __attribute__((aligned(64)));
static float stream[ROWS * WIDTH], delta[ROWS * WIDTH], normed[ROWS * WIDTH], query[ROWS * WIDTH], key[ROWS * WIDTH],
    value[ROWS * WIDTH], attended[ROWS * WIDTH], gate[ROWS * WIDTH], up[ROWS * WIDTH], logits[1 << 16];
static float cosines[ROWS * WIDTH], sines[ROWS * WIDTH];
static uint8_t activations[ROWS / 16 * (WIDTH / 32) * KERNEL_ACTIVATION_BLOCK_BYTES] __attribute__((aligned(64)));
static uint8_t pages[PAGES * PAGE_BYTES] __attribute__((aligned(64)));

enum { F32, BF16, INT8, INT4 };
static int32_t isa;
static const uint32_t *at;

static uint32_t word(void) { return *at++; }
static float number(void) {
    union { uint32_t bits; float value; } both = {word()};
    return both.value;
}
static const float *floats(size_t count) {
    const float *found = (const float *)at;
    at += count;
    return found;
}
/// NULL where the model has none.
static const float *optional(size_t count) { return word() ? floats(count) : NULL; }
static size_t rounded(size_t count) { return (count + 31) / 32 * 32; }

typedef struct {
    size_t rows, columns;
    const float *source, *bias;
} linear;

static linear read_linear(void) {
    linear found = {word(), word(), NULL, NULL};
    found.source = floats(found.rows * found.columns);
    found.bias = optional((found.rows + 15) / 16 * 16);
    return found;
}

/// Inputs become int8 blocks where the weights are.
static void prepare(int precision, const float *x, size_t columns, size_t rows) {
    const size_t stride = rounded(columns);
    if (precision >= INT8) kernel_quantize(isa, x, stride, 0, rows, stride / 32, activations);
}

/// Packs the matrix anew for each product: nothing here is fast.
static void multiply(int precision, linear matrix, const float *x, size_t rows, float *y, size_t y_stride) {
    const size_t tiles = (matrix.rows + 15) / 16, blocks = (matrix.columns + 31) / 32;
    for (size_t i = 0; i < WEIGHTS && i < tiles * 16 * rounded(matrix.columns) * 4; i++)
        weights[i] = precision == INT8 ? 0x80 : precision == INT4 ? 0x88 : 0;
    for (size_t i = 0; i < tiles * blocks * 16; i++) scales[i] = 0;
    for (size_t row = 0; row < matrix.rows; row++) {
        const float *values = matrix.source + row * matrix.columns;
        if (precision == F32) kernel_pack_f32(values, row, matrix.columns, (float *)weights);
        if (precision == BF16) kernel_pack_bf16(values, row, matrix.columns, (uint16_t *)weights);
        if (precision == INT8) kernel_pack_i8(values, row, matrix.columns, weights, scales);
        if (precision == INT4) kernel_pack_i4(values, row, matrix.columns, weights, scales);
    }
    if (precision == INT8) kernel_matmul_i8(isa, weights, scales, 0, tiles, blocks, activations, rows, y, y_stride);
    if (precision == INT4) kernel_matmul_i4(isa, weights, scales, 0, tiles, blocks, activations, rows, y, y_stride);
    if (precision < INT8) {
        const kernel_product product = {weights, 0, tiles, matrix.columns, x, rounded(matrix.columns), rows, NULL, y,
                                        y_stride, precision == F32 ? KERNEL_F32 : KERNEL_BF16, 0};
        kernel_products(isa, &product, 1);
    }
    if (matrix.bias)
        for (size_t row = 0; row < rows; row++) kernel_add(isa, y + row * y_stride, matrix.bias, tiles * 16);
}

static void norm_heads(float *x, size_t heads, size_t dimension, const float *norm, float epsilon) {
    for (size_t head = 0; norm && head < heads; head++)
        kernel_rmsnorm(isa, x + head * dimension, dimension, norm, epsilon, x + head * dimension);
}

static uint64_t hash_of(int precision) {
    at = model + 1;
    const size_t layers = word(), hidden = word(), heads = word(), shared = word(), dimension = word(), rows = word();
    const uint32_t is_gelu = word(), interleaved = word(), ropes = word();
    const float epsilon = number(), scale = number(), score_cap = number(), logit_cap = number(), embedding = number();
    const size_t h = rounded(hidden), q = rounded(heads * dimension), k = rounded(shared * dimension);
    size_t pairs[4];
    for (size_t rope = 0; rope < ropes; rope++) {
        pairs[rope] = word();
        const float factor = number(), *frequencies = floats(pairs[rope]);
        for (size_t row = 0; row < rows; row++)
            for (size_t pair = 0; pair < pairs[rope]; pair++) {
                double sine, cosine;
                kernel_sincos((double)((float)row * frequencies[pair]), &sine, &cosine);
                cosines[(rope * ROWS + row) * 256 + pair] = (float)cosine * factor;
                sines[(rope * ROWS + row) * 256 + pair] = (float)sine * factor;
            }
    }
    for (size_t i = 0; i < sizeof stream / 4; i++)
        stream[i] = normed[i] = query[i] = key[i] = value[i] = attended[i] = gate[i] = up[i] = delta[i] = 0;
    for (size_t row = 0; row < rows; row++) {
        const float *source = floats(hidden);
        for (size_t i = 0; i < hidden; i++) stream[row * h + i] = source[i];
        if (embedding != 0) kernel_scale(isa, stream + row * h, hidden, embedding);
    }
    const size_t key_bytes = dimension * 64, part = key_bytes + (dimension + 15) / 16 * 16 * 64;
    const void *table[PAGES];
    for (size_t page = 0; page < PAGES; page++) table[page] = pages + page * PAGE_BYTES;
    const float *pending = NULL;
    for (size_t layer = 0; layer < layers; layer++) {
        const size_t window = word(), rope = word();
        const float *before_attention = floats(hidden), *after_attention = optional(hidden);
        const float *before_unit = floats(hidden), *after_unit = optional(hidden);
        const float *query_norm = optional(dimension), *key_norm = optional(dimension);
        linear matrices[7];
        for (int i = 0; i < 7; i++) matrices[i] = read_linear();
        for (size_t row = 0; row < rows; row++) {
            if (layer > 0) {
                if (pending) kernel_rmsnorm(isa, delta + row * h, hidden, pending, epsilon, delta + row * h);
                kernel_add(isa, stream + row * h, delta + row * h, hidden);
            }
            kernel_rmsnorm(isa, stream + row * h, hidden, before_attention, epsilon, normed + row * h);
        }
        prepare(precision, normed, hidden, rows);
        multiply(precision, matrices[0], normed, rows, query, q);
        multiply(precision, matrices[1], normed, rows, key, k);
        multiply(precision, matrices[2], normed, rows, value, k);
        for (size_t row = 0; row < rows; row++) {
            const float *turn = cosines + (rope * ROWS + row) * 256, *lean = sines + (rope * ROWS + row) * 256;
            norm_heads(query + row * q, heads, dimension, query_norm, epsilon);
            norm_heads(key + row * k, shared, dimension, key_norm, epsilon);
            kernel_rotate(isa, query + row * q, heads, dimension, pairs[rope], (int32_t)interleaved, turn, lean);
            kernel_rotate(isa, key + row * k, shared, dimension, pairs[rope], (int32_t)interleaved, turn, lean);
            for (size_t head = 0; head < shared; head++) {
                uint8_t *place = pages + row / 16 * PAGE_BYTES + (layer * shared + head) * part;
                kernel_store_kv(place, place + key_bytes, row % 16, dimension, dimension, 0,
                                key + row * k + head * dimension, value + row * k + head * dimension);
            }
        }
        for (size_t row = 0; row < rows; row++)
            for (size_t head = 0; head < shared; head++) {
                const size_t group = heads / shared, offset = (layer * shared + head) * part;
                const kernel_attention_job job = {query + row * q + head * group * dimension, q, dimension, 1, group,
                                                  dimension, dimension, row, window, scale, score_cap, table, offset,
                                                  offset + key_bytes, 0, attended + row * q + head * group * dimension, q,
                                                  dimension};
                kernel_attend(isa, &job);
            }
        prepare(precision, attended, heads * dimension, rows);
        multiply(precision, matrices[3], attended, rows, delta, h);
        for (size_t row = 0; row < rows; row++) {
            if (after_attention) kernel_rmsnorm(isa, delta + row * h, hidden, after_attention, epsilon, delta + row * h);
            kernel_add(isa, stream + row * h, delta + row * h, hidden);
            kernel_rmsnorm(isa, stream + row * h, hidden, before_unit, epsilon, normed + row * h);
        }
        const size_t width = matrices[4].rows, g = rounded(width);
        prepare(precision, normed, hidden, rows);
        multiply(precision, matrices[4], normed, rows, gate, g);
        multiply(precision, matrices[5], normed, rows, up, g);
        for (size_t row = 0; row < rows; row++) {
            if (is_gelu) kernel_gelu_tanh_multiply(isa, gate + row * g, up + row * g, width);
            else kernel_silu_multiply(isa, gate + row * g, up + row * g, width);
        }
        prepare(precision, gate, width, rows);
        multiply(precision, matrices[6], gate, rows, delta, h);
        pending = after_unit;
    }
    const float *final_norm = floats(hidden);
    const linear head = read_linear();
    // The head of an int4 model is int8.
    const int head_precision = precision == INT4 ? INT8 : precision;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t row = 0; row < rows; row++) {
        if (pending) kernel_rmsnorm(isa, delta + row * h, hidden, pending, epsilon, delta + row * h);
        kernel_add(isa, stream + row * h, delta + row * h, hidden);
        kernel_rmsnorm(isa, stream + row * h, hidden, final_norm, epsilon, normed + row * h);
    }
    for (size_t row = 0; row < rows; row++) {
        prepare(head_precision, normed + row * h, hidden, 1);
        if (row == 0) multiply(head_precision, head, normed, 1, logits, rounded(head.rows));
        else {
            // Packed already.
            const size_t tiles = (head.rows + 15) / 16, blocks = (hidden + 31) / 32;
            if (head_precision == INT8)
                kernel_matmul_i8(isa, weights, scales, 0, tiles, blocks, activations, 1, logits, rounded(head.rows));
            else {
                const kernel_product product = {weights, 0, tiles, hidden, normed + row * h, h, 1, NULL, logits,
                                                rounded(head.rows), head_precision == F32 ? KERNEL_F32 : KERNEL_BF16, 0};
                kernel_products(isa, &product, 1);
            }
        }
        if (logit_cap != 0) kernel_soft_cap(isa, logits, (head.rows + 15) / 16 * 16, logit_cap);
        for (size_t i = 0; i < head.rows * 4; i++) hash = (hash ^ ((const uint8_t *)logits)[i]) * 0x100000001b3u;
    }
    return at == model_end ? hash : 0;
}

static void print(const char *text);

int run(int planted) {
    static const char *const sets[] = {"scalar", "avx2", "avx512", "neon", "neon-dot"};
    static const char *const precisions[] = {"f32", "bf16", "int8", "int4"};
    for (int precision = F32; precision <= INT4; precision++)
        for (isa = 0; isa < 5; isa++) {
            if (!kernel_available(isa)) continue;
            const uint64_t hash = hash_of(precision) ^ (uint64_t)planted;
            char digits[18];
            for (int i = 0; i < 16; i++) digits[i] = "0123456789abcdef"[hash >> (60 - 4 * i) & 15];
            digits[16] = '\n';
            digits[17] = 0;
            print(precisions[precision]);
            print(" ");
            print(sets[isa]);
            print(" ");
            print(digits);
        }
    return 0;
}

#include "freestanding.h"
