// Every kernel once, over sixteen-lane vectors. The including file defines
//   FN(name), TARGET                          as for Kernels/body.h
//   PRODUCT_TILES, PRODUCT_ROWS               the panel of a product that its registers hold
#include "../Kernels/vectors.h"

/// Depth of a product that is summed before the next rows come: so much of the matrix stays in the first-level cache.
enum { DEPTH_KEPT = 128 };

/// `tiles_n` tiles for `rows_n` rows, both literals, over depths [from, to).
INLINE void FN(gradient_panel)(const gradient_product *p, size_t tile, size_t row, size_t from, size_t to, int mode,
                               int tiles_n, int rows_n) {
    lanes acc[PRODUCT_TILES][PRODUCT_ROWS];
    const size_t tile_stride = p->tile_stride, depth_stride = p->depth_stride, step = p->x_step, stride = p->x_stride;
    const float *m = p->m + tile * tile_stride + from * depth_stride;
    const float *x = p->x + row * stride + from * step;
    float *y = p->y + row * p->y_stride + tile * 16;
#pragma clang loop unroll(full)
    for (int t = 0; t < tiles_n; t++)
#pragma clang loop unroll(full)
        for (int n = 0; n < rows_n; n++)
            acc[t][n] = mode == GRADIENT_CONTINUE ? FN(load)(y + n * p->y_stride + t * 16) : (lanes)0.0f;
    for (size_t k = from; k < to; k++, m += depth_stride, x += step) {
        lanes v[PRODUCT_TILES];
#pragma clang loop unroll(full)
        for (int t = 0; t < tiles_n; t++) v[t] = FN(load)(m + t * tile_stride);
#pragma clang loop unroll(full)
        for (int n = 0; n < rows_n; n++) {
            const lanes s = FN(splat)(x[n * stride]);
#pragma clang loop unroll(full)
            for (int t = 0; t < tiles_n; t++) acc[t][n] = FN(fused)(v[t], s, acc[t][n]);
        }
    }
#pragma clang loop unroll(full)
    for (int t = 0; t < tiles_n; t++)
#pragma clang loop unroll(full)
        for (int n = 0; n < rows_n; n++) {
            float *at = y + n * p->y_stride + t * 16;
            FN(store)(at, mode == GRADIENT_ADD ? FN(load)(at) + acc[t][n] : acc[t][n]);
        }
}

INLINE void FN(gradient_rows)(const gradient_product *p, size_t tile, size_t from, size_t to, int mode, int tiles_n) {
    for (size_t row = 0; row < p->rows;) {
        const size_t left = p->rows - row;
        // Eight are two fours, not six and two: ranks are eights.
        if (PRODUCT_ROWS >= 6 && left >= 6 && left != 8) {
            FN(gradient_panel)(p, tile, row, from, to, mode, tiles_n, PRODUCT_ROWS >= 6 ? 6 : 1);
            row += 6;
        } else if (PRODUCT_ROWS >= 4 && left >= 4) {
            FN(gradient_panel)(p, tile, row, from, to, mode, tiles_n, PRODUCT_ROWS >= 4 ? 4 : 1);
            row += 4;
        } else if (left >= 2) {
            FN(gradient_panel)(p, tile, row, from, to, mode, tiles_n, 2);
            row += 2;
        } else {
            FN(gradient_panel)(p, tile, row, from, to, mode, tiles_n, 1);
            row += 1;
        }
    }
}

INLINE void FN(gradient_tiles)(const gradient_product *p, size_t from, size_t to, int mode) {
    size_t tile = 0;
#if PRODUCT_TILES >= 4
    for (; tile + 4 <= p->tiles; tile += 4) FN(gradient_rows)(p, tile, from, to, mode, 4);
#endif
#if PRODUCT_TILES >= 2
    for (; tile + 2 <= p->tiles; tile += 2) FN(gradient_rows)(p, tile, from, to, mode, 2);
#endif
    for (; tile < p->tiles; tile++) FN(gradient_rows)(p, tile, from, to, mode, 1);
}

TARGET static void FN(gradient_replace)(const gradient_product *p, size_t to) {
    FN(gradient_tiles)(p, 0, to, GRADIENT_REPLACE);
}
TARGET static void FN(gradient_continue)(const gradient_product *p, size_t from, size_t to) {
    FN(gradient_tiles)(p, from, to, GRADIENT_CONTINUE);
}

TARGET void FN(gradient_multiply)(const gradient_product *p) {
    if (p->mode == GRADIENT_ADD) {
        FN(gradient_tiles)(p, 0, p->depth, GRADIENT_ADD);
        return;
    }
    size_t from = 0;
    if (p->mode == GRADIENT_REPLACE) {
        from = p->depth < DEPTH_KEPT ? p->depth : DEPTH_KEPT;
        FN(gradient_replace)(p, from);
    }
    for (; from < p->depth; from += DEPTH_KEPT)
        FN(gradient_continue)(p, from, p->depth - from < DEPTH_KEPT ? p->depth : from + DEPTH_KEPT);
}

/// Sixteen of p[0, left), the rest zero.
INLINE lanes FN(some)(const float *p, size_t left) { return left >= 16 ? FN(load)(p) : FN(load_part)(p, left); }
INLINE void FN(put)(float *p, lanes v, size_t left) {
    if (left >= 16) FN(store)(p, v);
    else FN(store_part)(p, v, left);
}
/// Lanes behind `left` become zero.
INLINE lanes FN(first_of)(lanes v, size_t left) {
    for (size_t j = left; j < 16; j++) v[j] = 0.0f;
    return v;
}

TARGET void FN(gradient_rmsnorm)(const float *x, const float *dout, size_t count, const float *weight, float eps,
                                 int32_t adds, float *dx) {
    lanes squares = (lanes)0.0f, dots = (lanes)0.0f;
    for (size_t i = 0; i < count; i += 16) {
        lanes v = FN(some)(x + i, count - i);
        squares = FN(fused)(v, v, squares);
        dots = FN(fused)(FN(some)(dout + i, count - i) * FN(some)(weight + i, count - i), v, dots);
    }
    const float f = 1.0f / __builtin_sqrtf(FN(tree)(squares) / (float)count + eps);
    const float c = f * f * f * (FN(tree)(dots) / (float)count);
    for (size_t i = 0; i < count; i += 16) {
        const size_t left = count - i;
        lanes g = FN(some)(dout + i, left) * FN(some)(weight + i, left) * FN(splat)(f);
        g = FN(fused)(FN(some)(x + i, left), FN(splat)(-c), g);
        FN(put)(dx + i, adds ? FN(some)(dx + i, left) + g : g, left);
    }
}

TARGET void FN(gradient_gate)(int32_t is_gelu, const float *gate, const float *up, const float *dgated, size_t count,
                              float *gated, float *dgate, float *dup) {
    for (size_t i = 0; i < count; i += 16) {
        const size_t left = count - i;
        lanes g = FN(some)(gate + i, left), u = FN(some)(up + i, left), d = FN(some)(dgated + i, left);
        lanes bend = (lanes)1.0f, minus = -g;
        if (is_gelu) {
            minus = FN(fused)(g * g * g, (lanes)0.044715f, g) * (lanes)-1.5957691216057308f;
            bend = FN(fused)(g * g, (lanes)0.21406897f, (lanes)1.5957691216057308f);
        }
        lanes one = (lanes)1.0f + FN(exponential)(minus), activated = g / one, s = (lanes)1.0f / one;
        // d/dg g s = s + g s (1 - s) bend.
        lanes slope = FN(fused)(activated * ((lanes)1.0f - s), bend, s);
        FN(put)(gated + i, activated * u, left);
        FN(put)(dup + i, d * activated, left);
        FN(put)(dgate + i, d * u * slope, left);
    }
}

TARGET void FN(gradient_attention)(float *dots, float *dp, size_t from, size_t to, size_t count, float scale, float cap,
                                   float *room) {
    const words lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const float nothing = -__builtin_inff();
    lanes greatest = FN(splat)(nothing), total = (lanes)0.0f, weighted = (lanes)0.0f;
    const size_t first = from / 16 * 16;
    for (size_t i = 0; i < first; i += 16) {
        FN(store)(dots + i, (lanes)0.0f);
        FN(store)(dp + i, (lanes)0.0f);
    }
    size_t end = first;
    for (size_t i = first; i <= to; i += 16, end = i) {
        lanes s = FN(load)(dots + i) * FN(splat)(scale);
        if (cap != 0.0f) s = FN(hyperbolic_tangent)(s / FN(splat)(cap)) * FN(splat)(cap);
        const words position = lane + (words)(int32_t)i;
        s = FN(choose)(position < (words)(int32_t)from, FN(splat)(nothing), s);
        s = FN(choose)(position > (words)(int32_t)to, FN(splat)(nothing), s);
        FN(store)(dots + i, s);
        greatest = FN(choose)(s > greatest, s, greatest);
    }
    const float peak = FN(greatest)(greatest);
    for (size_t i = first; i < end; i += 16) {
        lanes e = FN(exponential)(FN(load)(dots + i) - FN(splat)(peak));
        FN(store)(room + i, e);
        total = total + e;
    }
    const float inverse = 1.0f / FN(tree)(total);
    for (size_t i = first; i < end; i += 16) {
        lanes p = FN(load)(room + i) * FN(splat)(inverse);
        FN(store)(room + i, p);
        const words inside = (lane + (words)(int32_t)i >= (words)(int32_t)from) & (lane + (words)(int32_t)i <= (words)(int32_t)to);
        lanes d = FN(choose)(inside, FN(load)(dp + i), (lanes)0.0f);
        FN(store)(dp + i, d);
        weighted = FN(fused)(p, d, weighted);
    }
    const float mean = FN(tree)(weighted);
    for (size_t i = first; i < end; i += 16) {
        lanes p = FN(load)(room + i), d = p * (FN(load)(dp + i) - FN(splat)(mean));
        if (cap != 0.0f) {
            // Where nothing is seen the score is -inf and p is zero.
            lanes t = FN(choose)(p == (lanes)0.0f, (lanes)0.0f, FN(load)(dots + i) / FN(splat)(cap));
            d = d * ((lanes)1.0f - t * t);
        }
        FN(store)(dots + i, p);
        FN(store)(dp + i, d * FN(splat)(scale));
    }
    for (size_t i = end; i < count; i += 16) {
        FN(store)(dots + i, (lanes)0.0f);
        FN(store)(dp + i, (lanes)0.0f);
    }
}

TARGET void FN(gradient_cross_entropy)(float *logits, size_t count, size_t target, float weight, float cap, float *greatest,
                                       float *sum) {
    lanes high = FN(splat)(-__builtin_inff()), total = (lanes)0.0f;
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        lanes v = FN(load)(logits + i);
        high = FN(choose)(v > high, v, high);
    }
    float peak = FN(greatest)(high);
    for (; i < count; i++) peak = logits[i] > peak ? logits[i] : peak;
    for (i = 0; i < count; i += 16)
        total = total + FN(first_of)(FN(exponential)(FN(some)(logits + i, count - i) - FN(splat)(peak)), count - i);
    const float whole = FN(tree)(total), share = weight / whole;
    const float at_target = cap != 0.0f ? logits[target] / cap : 0.0f;
    for (i = 0; i < count; i += 16) {
        const size_t left = count - i;
        lanes v = FN(some)(logits + i, left), d = FN(exponential)(v - FN(splat)(peak)) * FN(splat)(share);
        if (cap != 0.0f) {
            lanes t = v / FN(splat)(cap);
            d = d * ((lanes)1.0f - t * t);
        }
        FN(put)(logits + i, d, left);
    }
    logits[target] = logits[target] - weight * (1.0f - at_target * at_target);
    *greatest = peak;
    *sum = whole;
}

TARGET float FN(gradient_squares)(const float *x, size_t count) {
    lanes squares = (lanes)0.0f;
    for (size_t i = 0; i < count; i += 16) {
        lanes v = FN(some)(x + i, count - i);
        squares = FN(fused)(v, v, squares);
    }
    return FN(tree)(squares);
}

TARGET void FN(gradient_adam)(const gradient_adam_step *step, const float *gradient, size_t count, float *weights,
                              float *first, float *second) {
    for (size_t i = 0; i < count; i += 16) {
        const size_t left = count - i;
        lanes g = FN(some)(gradient + i, left) * FN(splat)(step->factor);
        lanes w = FN(some)(weights + i, left) * FN(splat)(step->keep);
        lanes m = FN(fused)(FN(some)(first + i, left), FN(splat)(step->keep_first), g * FN(splat)(step->take_first));
        lanes v = FN(fused)(FN(some)(second + i, left), FN(splat)(step->keep_second), g * g * FN(splat)(step->take_second));
        lanes slope = m / (__builtin_elementwise_sqrt(v) / FN(splat)(step->root) + FN(splat)(step->eps));
        FN(put)(weights + i, FN(fused)(FN(splat)(-step->rate), slope, w), left);
        FN(put)(first + i, m, left);
        FN(put)(second + i, v, left);
    }
}
