// Products with float weights. A panel holds tiles x tokens in registers; single tokens go several tiles at once, each
// with its own weights and input, since one tile alone would wait for its own sum at every column.

/// Sixteen weights from element `at`, widened exactly. `kind` is a literal at every call.
INLINE lanes FN(weights)(const void *tiles, size_t at, int kind) {
    if (kind == KERNEL_F32) return FN(load)((const float *)tiles + at);
    if (kind == KERNEL_F16) return FN(halves)((const uint16_t *)tiles + at);
    halfwords h = *(const halfwords_unaligned *)((const uint16_t *)tiles + at);
    return (lanes)(__builtin_convertvector(h, words) << 16);
}

INLINE void FN(finish)(const kernel_product *p, size_t tile, float *y, lanes v) {
    if (p->scales) v = v * FN(load)(p->scales + tile * 16);
    FN(store)(y, p->add ? FN(load)(y) + v : v);
}

/// `tiles_n` tiles for `tokens_n` tokens: both literals, so that the sums live in registers.
INLINE void FN(panel)(const kernel_product *p, size_t tile, size_t token, int kind, int tiles_n, int tokens_n) {
    lanes acc[TILES_AT_ONCE][TOKENS_AT_ONCE];
    const size_t columns = p->columns, stride = p->x_stride;
    const float *x = p->x + token * stride;
    const size_t base = tile * columns * 16;
#pragma clang loop unroll(full)
    for (int t = 0; t < tiles_n; t++)
#pragma clang loop unroll(full)
        for (int n = 0; n < tokens_n; n++) acc[t][n] = (lanes)0.0f;
    for (size_t k = 0; k < columns; k++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tiles_n; t++) {
            lanes v = FN(weights)(p->tiles, base + (t * columns + k) * 16, kind);
#pragma clang loop unroll(full)
            for (int n = 0; n < tokens_n; n++) acc[t][n] = FN(fused)(v, FN(splat)(x[n * stride + k]), acc[t][n]);
        }
    }
#pragma clang loop unroll(full)
    for (int t = 0; t < tiles_n; t++)
#pragma clang loop unroll(full)
        for (int n = 0; n < tokens_n; n++)
            FN(finish)(p, tile + t, p->y + (token + n) * p->y_stride + (tile + t) * 16, acc[t][n]);
}

INLINE void FN(panels)(const kernel_product *p, int kind) {
    size_t t = p->tile_begin;
    for (; t + TILES_AT_ONCE <= p->tile_end; t += TILES_AT_ONCE) {
        size_t n = 0;
        for (; n + TOKENS_AT_ONCE <= p->tokens; n += TOKENS_AT_ONCE)
            FN(panel)(p, t, n, kind, TILES_AT_ONCE, TOKENS_AT_ONCE);
        for (; n < p->tokens; n++) FN(panel)(p, t, n, kind, TILES_AT_ONCE, 1);
    }
    for (; t < p->tile_end; t++) {
        size_t n = 0;
        for (; n + TOKENS_AT_ONCE <= p->tokens; n += TOKENS_AT_ONCE) FN(panel)(p, t, n, kind, 1, TOKENS_AT_ONCE);
        for (; n < p->tokens; n++) FN(panel)(p, t, n, kind, 1, 1);
    }
}

// Bytes of weights that are asked for ahead of their use.
enum { UNIT_AHEAD = 4096 };

/// One tile for one token.
typedef struct {
    const kernel_product *product;
    const void *tile;
    const float *x;
    size_t index;
} FN(unit);

INLINE void FN(run_units)(const FN(unit) *units, int kind, int units_n) {
    lanes acc[UNITS_AT_ONCE];
    const size_t columns = units[0].product->columns, whole = columns / 4 * 4;
#pragma clang loop unroll(full)
    for (int u = 0; u < units_n; u++) acc[u] = (lanes)0.0f;
    for (size_t k = 0; k < whole; k += 4) {
#pragma clang loop unroll(full)
        for (int u = 0; u < units_n; u++) {
            const void *tile = units[u].tile;
            const float *x = units[u].x + k;
            for (size_t line = 0; line < (kind == KERNEL_F32 ? 256 : 128); line += 64)
                __builtin_prefetch((const char *)tile + k * (kind == KERNEL_F32 ? 64 : 32) + line + UNIT_AHEAD);
#pragma clang loop unroll(full)
            for (int j = 0; j < 4; j++)
                acc[u] = FN(fused)(FN(weights)(tile, (k + j) * 16, kind), FN(splat)(x[j]), acc[u]);
        }
    }
    for (size_t k = whole; k < columns; k++)
#pragma clang loop unroll(full)
        for (int u = 0; u < units_n; u++)
            acc[u] = FN(fused)(FN(weights)(units[u].tile, k * 16, kind), FN(splat)(units[u].x[k]), acc[u]);
#pragma clang loop unroll(full)
    for (int u = 0; u < units_n; u++)
        FN(finish)(units[u].product, units[u].index, units[u].product->y + units[u].index * 16, acc[u]);
}

INLINE void FN(flush)(const FN(unit) *units, size_t count, int kind) {
    if (count == UNITS_AT_ONCE) {
        FN(run_units)(units, kind, UNITS_AT_ONCE);
        return;
    }
    size_t at = 0;
    if (count - at >= UNITS_AT_ONCE / 2) {
        FN(run_units)(units, kind, UNITS_AT_ONCE / 2);
        at = UNITS_AT_ONCE / 2;
    }
    for (; count - at >= 2; at += 2) FN(run_units)(units + at, kind, 2);
    if (at < count) FN(run_units)(units + at, kind, 1);
}

/// All consecutive products of one kind.
TARGET static void FN(single_f32)(const FN(unit) *units, size_t count) { FN(flush)(units, count, KERNEL_F32); }
TARGET static void FN(single_bf16)(const FN(unit) *units, size_t count) { FN(flush)(units, count, KERNEL_BF16); }
TARGET static void FN(single_f16)(const FN(unit) *units, size_t count) { FN(flush)(units, count, KERNEL_F16); }
TARGET static void FN(many_f32)(const kernel_product *p) { FN(panels)(p, KERNEL_F32); }
TARGET static void FN(many_bf16)(const kernel_product *p) { FN(panels)(p, KERNEL_BF16); }
TARGET static void FN(many_f16)(const kernel_product *p) { FN(panels)(p, KERNEL_F16); }

TARGET static void FN(single)(const FN(unit) *units, size_t count) {
    if (count == 0) return;
    int32_t kind = units[0].product->kind;
    if (kind == KERNEL_F32) FN(single_f32)(units, count);
    else if (kind == KERNEL_BF16) FN(single_bf16)(units, count);
    else FN(single_f16)(units, count);
}

TARGET void FN(products)(const kernel_product *products, size_t count) {
    FN(unit) units[UNITS_AT_ONCE];
    size_t held = 0;
    for (size_t i = 0; i < count; i++) {
        const kernel_product *p = products + i;
        if (p->tokens != 1) {
            if (p->kind == KERNEL_F32) FN(many_f32)(p);
            else if (p->kind == KERNEL_BF16) FN(many_bf16)(p);
            else FN(many_f16)(p);
            continue;
        }
        if (held > 0 && (units[0].product->kind != p->kind || units[0].product->columns != p->columns)) {
            FN(single)(units, held);
            held = 0;
        }
        const size_t tile_bytes = p->columns * 16 * (p->kind == KERNEL_F32 ? 4 : 2);
        for (size_t t = p->tile_begin; t < p->tile_end; t++) {
            units[held++] = (FN(unit)){p, (const char *)p->tiles + t * tile_bytes, p->x, t};
            if (held == UNITS_AT_ONCE) {
                FN(single)(units, held);
                held = 0;
            }
        }
    }
    FN(single)(units, held);
}
