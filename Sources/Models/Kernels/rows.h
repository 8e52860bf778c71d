// Kernels over one token's row that every family has.

TARGET void FN(rmsnorm)(const float *x, size_t count, const float *weight, float eps, float *out) {
    lanes squares = (lanes)0.0f;
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        lanes v = FN(load)(x + i);
        squares = FN(fused)(v, v, squares);
    }
    if (i < count) {
        lanes v = FN(load_part)(x + i, count - i);
        squares = FN(fused)(v, v, squares);
    }
    float factor = 1.0f / __builtin_sqrtf(FN(tree)(squares) / (float)count + eps);
    for (i = 0; i + 16 <= count; i += 16)
        FN(store)(out + i, FN(load)(x + i) * FN(splat)(factor) * FN(load)(weight + i));
    for (; i < count; i++) out[i] = x[i] * factor * weight[i];
}

TARGET void FN(silu_multiply)(float *gate, const float *up, size_t count) {
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        lanes g = FN(load)(gate + i);
        FN(store)(gate + i, g / ((lanes)1.0f + FN(exponential)(-g)) * FN(load)(up + i));
    }
    if (i < count) {
        lanes g = FN(load_part)(gate + i, count - i);
        g = g / ((lanes)1.0f + FN(exponential)(-g)) * FN(load_part)(up + i, count - i);
        FN(store_part)(gate + i, g, count - i);
    }
}

TARGET void FN(add)(float *x, const float *y, size_t count) {
    size_t i = 0;
    for (; i + 16 <= count; i += 16) FN(store)(x + i, FN(load)(x + i) + FN(load)(y + i));
    for (; i < count; i++) x[i] = x[i] + y[i];
}

TARGET float FN(exp_sum)(const float *x, size_t count, float shift, float *out) {
    lanes sum = (lanes)0.0f;
    for (size_t i = 0; i < count; i += 16) {
        size_t left = count - i;
        lanes e = FN(exponential)((left >= 16 ? FN(load)(x + i) : FN(load_part)(x + i, left)) - FN(splat)(shift));
        if (left >= 16) {
            if (out) FN(store)(out + i, e);
        } else {
            for (size_t j = left; j < 16; j++) e[j] = 0.0f;
            if (out) FN(store_part)(out + i, e, left);
        }
        sum = sum + e;
    }
    return FN(tree)(sum);
}
