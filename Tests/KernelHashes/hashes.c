// Hashes of what every kernel answers, over odd sizes, for each instruction set of the processor it runs on: one line a
// kernel and set. The same lines must come out everywhere. No libc, so that it builds for another processor with a
// compiler alone:
//     clang --target=aarch64-linux-gnu -O2 -ffreestanding -nostdlib -static -fuse-ld=lld …
// With an argument it flips one bit of the last set's first answer: whoever compares must notice.
#include <kernels.h>

static uint64_t state;
static uint32_t random_word(void) {
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}
/// Within ±scale, a multiple of scale / 2^20.
static float random_float(float scale) { return (float)((int32_t)(random_word() >> 11) - (1 << 20)) * 0x1p-20f * scale; }
static void fill(float *x, size_t count, float scale) {
    for (size_t i = 0; i < count; i++) x[i] = random_float(scale);
}

enum { ROOM = 1 << 16 };
static float a[ROOM], b[ROOM], c[ROOM], out[ROOM];
static uint8_t quants[1 << 18], pages[1 << 20], activations[1 << 18];
static uint16_t scales[ROOM], halves[ROOM * 2];

static uint64_t hash_bytes(uint64_t hash, const void *p, size_t count) {
    for (size_t i = 0; i < count; i++) hash = (hash ^ ((const uint8_t *)p)[i]) * 0x100000001b3u;
    return hash;
}
static uint64_t hash_floats(uint64_t hash, size_t count) { return hash_bytes(hash, out, count * 4); }
static void clear(size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = (float)(i % 7) - 3.0f;
}

static uint64_t blocks_case(int32_t isa, uint64_t hash, int is_i4, size_t tiles, size_t columns, size_t tokens) {
    const size_t blocks = (columns + 31) / 32, stride = blocks * 32;
    for (size_t i = 0; i < sizeof quants; i++) quants[i] = 128;
    for (size_t row = 0; row < tiles * 16; row++) {
        fill(a, columns, row == 1 ? 3e-6f : 0.3f);
        if (row == 2) for (size_t i = 0; i < columns; i++) a[i] = i % 2 ? 1.0f : -1.0f;
        int32_t ok = is_i4 ? kernel_pack_i4(a, row, columns, quants, scales) : kernel_pack_i8(a, row, columns, quants, scales);
        hash = hash_bytes(hash, &ok, 4);
    }
    // What a file's Q8_0 may hold and our quantiser never writes.
    if (!is_i4) quants[5] = 0;
    for (size_t n = 0; n < tokens; n++) {
        for (size_t i = 0; i < stride; i++) b[n * stride + i] = i < columns ? random_float(i < 32 ? 1e-3f : 5.0f) : 0.0f;
        if (n == 1) for (size_t i = 0; i < columns; i++) b[n * stride + i] = -1.0f;
    }
    for (size_t i = 0; i < sizeof activations; i++) activations[i] = 0;
    kernel_quantize(isa, b, stride, 0, tokens / 2, blocks, activations);
    kernel_quantize(isa, b, stride, tokens / 2, tokens, blocks, activations);
    hash = hash_bytes(hash, activations, (tokens + 15) / 16 * blocks * KERNEL_ACTIVATION_BLOCK_BYTES);
    clear(tokens * tiles * 16);
    const size_t cut = tiles / 3;
    for (int half = 0; half < 2; half++) {
        size_t begin = half ? cut : 0, end = half ? tiles : cut;
        if (is_i4) kernel_matmul_i4(isa, quants, scales, begin, end, blocks, activations, tokens, out, tiles * 16);
        else kernel_matmul_i8(isa, quants, scales, begin, end, blocks, activations, tokens, out, tiles * 16);
    }
    return hash_floats(hash, tokens * tiles * 16);
}

static uint64_t blocks_hash(int32_t isa, int is_i4) {
    static const size_t cases[][3] = {{1, 32, 1}, {5, 64, 2}, {6, 70, 9}, {9, 257, 3}, {4, 600, 17}, {7, 288, 35}, {3, 33, 8}};
    uint64_t hash = 1;
    state = 7;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        hash = blocks_case(isa, hash, is_i4, cases[i][0], cases[i][1], cases[i][2]);
    return hash;
}

static const void *packed(int32_t kind, size_t tiles, size_t columns) {
    for (size_t row = 0; row < tiles * 16; row++) {
        fill(a, columns, 1.0f);
        if (kind == KERNEL_F32) kernel_pack_f32(a, row, columns, c);
        if (kind == KERNEL_BF16) kernel_pack_bf16(a, row, columns, halves);
        if (kind == KERNEL_F16)
            for (size_t k = 0; k < columns; k++)
                halves[(row / 16 * columns + k) * 16 + row % 16] = (uint16_t)(random_word() % 0x7c00 | (random_word() & 0x8000));
    }
    return kind == KERNEL_F32 ? (const void *)c : halves;
}

static uint64_t products_hash(int32_t isa, int32_t kind) {
    static const size_t cases[][3] = {{1, 16, 1}, {5, 33, 3}, {9, 64, 4}, {7, 100, 6}, {4, 31, 17}, {11, 7, 1}};
    uint64_t hash = 1;
    state = 11;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t tiles = cases[i][0], columns = cases[i][1], tokens = cases[i][2];
        const void *w = packed(kind, tiles, columns);
        fill(a, tiles * 16, 1.0f);
        fill(b, tokens * columns + 64, 1.0f);
        clear(tokens * tiles * 16);
        const size_t y = tiles * 16;
        kernel_product p[3] = {
            {w, 0, tiles / 2, columns, b, columns, tokens, NULL, out, y, kind, 0},
            {w, tiles / 2, tiles, columns, b, columns, tokens, a, out, y, kind, 1},
            {w, 0, 1, columns, b + 1, columns, 1, a, out, y, kind, 1},
        };
        kernel_products(isa, p, 3);
        hash = hash_floats(hash, tokens * y);
    }
    return hash;
}

static uint64_t rows_hash(int32_t isa) {
    static const size_t counts[] = {1, 2, 15, 16, 64, 100, 257};
    uint64_t hash = 1;
    state = 13;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        const size_t n = counts[i];
        fill(a, n, 20.0f);
        fill(b, n, 1.0f);
        fill(c, n, 3.0f);
#define EACH(...)                                \
    for (size_t j = 0; j < n; j++) out[j] = a[j]; \
    __VA_ARGS__;                                 \
    hash = hash_floats(hash, n);
        EACH(kernel_rmsnorm(isa, a, n, b, 1e-5f, out))
        EACH(kernel_layernorm(isa, a, n, b, c, 1e-5f, out))
        EACH(kernel_rotate(isa, out, 1, n, n / 2, 0, b, c))
        EACH(kernel_rotate(isa, out, 1, n, n / 2, 1, b, c))
        EACH(kernel_silu_multiply(isa, out, b, n))
        EACH(kernel_gelu_tanh_multiply(isa, out, b, n))
        EACH(kernel_gelu_erf(isa, out, n))
        EACH(kernel_soft_cap(isa, out, n, 30.0f))
        EACH(kernel_sigmoid(isa, out, n))
        EACH(kernel_scale(isa, out, n, 0.3f))
        EACH(kernel_add_scaled(isa, out, b, n, 0.7f))
        EACH(kernel_add(isa, out, b, n))
        float sum;
        EACH(sum = kernel_exp_sum(isa, a, n, 3.0f, out); hash = hash_bytes(hash, &sum, 4))
    }
    return hash;
}

static uint64_t attention_hash(int32_t isa, int32_t is_int8) {
    // key and value dimensions, heads of a group, position of the first token, tokens, window, soft cap
    static const size_t cases[][7] = {{16, 16, 1, 0, 1, 0, 0},  {32, 32, 2, 40, 3, 0, 0},    {8, 24, 3, 33, 2, 9, 0},
                                      {64, 64, 4, 60, 9, 0, 5}, {24, 40, 7, 190, 2, 100, 0}, {96, 80, 5, 255, 2, 0, 30}};
    uint64_t hash = 1;
    state = 17;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t kd = cases[i][0], vd = cases[i][1], group = cases[i][2], start = cases[i][3], tokens = cases[i][4];
        const size_t stride = (vd + 15) / 16 * 16, size = is_int8 ? 1 : 4, key_bytes = kd * 16 * size + (is_int8 ? 64 : 0);
        const size_t page_bytes = key_bytes + stride * 16 * size + (is_int8 ? 64 : 0);
        const void *table[32];
        // What lies in positions that nobody may read must not matter, whatever it is.
        for (size_t j = 0; j < sizeof pages; j++) pages[j] = 255;
        for (size_t p = 0; p < 32; p++) table[p] = pages + p * page_bytes;
        for (size_t p = 0; p < start + tokens; p++) {
            fill(a, kd, 1.0f);
            fill(b, vd, 1.0f);
            uint8_t *page = pages + p / 16 * page_bytes;
            kernel_store_kv(page, page + key_bytes, p % 16, kd, vd, is_int8, a, b);
        }
        fill(c, tokens * group * kd, 3.0f);
        const kernel_attention_job job = {c, group * kd, kd, tokens, group, kd, vd, start, cases[i][5], 0.25f,
                                          (float)cases[i][6], table, 0, key_bytes, is_int8, out, group * vd, vd};
        kernel_attend(isa, &job);
        hash = hash_floats(hash, tokens * group * vd);
        // One token at a time, and one head at a time.
        for (size_t t = 0; t < tokens; t++)
            for (size_t h = 0; h < group; h++) {
                kernel_attention_job one = job;
                one.q += t * group * kd + h * kd;
                one.tokens = one.group = 1;
                one.position += t;
                one.out = out + ROOM / 2 + t * group * vd + h * vd;
                kernel_attend(isa, &one);
            }
        if (hash_bytes(1, out, tokens * group * vd * 4) != hash_bytes(1, out + ROOM / 2, tokens * group * vd * 4)) hash = 0;
    }
    return hash;
}

static void print(const char *text);

static void report(const char *kernel, const char *set, uint64_t hash) {
    char digits[19];
    for (int i = 0; i < 16; i++) digits[i] = "0123456789abcdef"[hash >> (60 - 4 * i) & 15];
    digits[16] = '\n';
    digits[17] = 0;
    print(kernel);
    print(" ");
    print(set);
    print(" ");
    print(digits);
}

int run(int planted) {
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon", "neon-dot"};
    const int32_t best = kernel_best();
    for (int32_t isa = 0; isa < 5; isa++) {
        if (!kernel_available(isa)) continue;
        report("int8", names[isa], blocks_hash(isa, 0) ^ (uint64_t)(planted && isa == best));
        report("int4", names[isa], blocks_hash(isa, 1));
        report("f32", names[isa], products_hash(isa, KERNEL_F32));
        report("bf16", names[isa], products_hash(isa, KERNEL_BF16));
        report("f16", names[isa], products_hash(isa, KERNEL_F16));
        report("rows", names[isa], rows_hash(isa));
        report("attention", names[isa], attention_hash(isa, 0));
        report("attention-int8", names[isa], attention_hash(isa, 1));
    }
    return 0;
}

#include "freestanding.h"
