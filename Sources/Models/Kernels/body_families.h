// What some families need beyond the common path: general rotation, GeGLU, soft caps, layer norm, exact GELU, experts'
// scores. Included at the end of body.h, under the same rule: a lane is an independent output.

/// Every lane of p[0, count) through the expression, which reads and writes `v`; a short tail is padded with zeros.
#define EACH_LANE(p, count, ...)                                                 \
    for (size_t i = 0; i < (count); i += 16) {                                   \
        size_t left = (count) - i;                                               \
        lanes v = left >= 16 ? FN(load)((p) + i) : FN(load_part)((p) + i, left); \
        __VA_ARGS__;                                                             \
        if (left >= 16)                                                          \
            FN(store)((p) + i, v);                                               \
        else                                                                     \
            for (size_t j = 0; j < left; j++) (p)[i + j] = v[j];                 \
    }

TARGET void FN(rotate)(float *x, size_t heads, size_t head_stride, size_t pairs, int32_t interleaved,
                       const float *cosines, const float *sines) {
    size_t step = interleaved ? 2 : 1, apart = interleaved ? 1 : pairs;
    for (size_t h = 0; h < heads; h++) {
        float *head = x + h * head_stride;
        for (size_t i = 0; i < pairs; i++) {
            float u = head[i * step], v = head[i * step + apart];
            head[i * step] = __builtin_fmaf(-v, sines[i], u * cosines[i]);
            head[i * step + apart] = __builtin_fmaf(u, sines[i], v * cosines[i]);
        }
    }
}

/// gate = gate * sigmoid(2 u) * up with u = sqrt(2 / pi) (gate + 0.044715 gate^3): 0.5 (1 + tanh u) is sigmoid(2 u).
TARGET void FN(gelu_tanh_multiply)(float *gate, const float *up, size_t count) {
    EACH_LANE(gate, count, {
        lanes u = left >= 16 ? FN(load)(up + i) : FN(load_part)(up + i, left);
        lanes inner = FN(fused)(v * v * v, (lanes)0.044715f, v) * (lanes)-1.5957691216057308f;
        v = v / ((lanes)1.0f + FN(exponential)(inner)) * u;
    })
}

/// x = x (1 + erf(x / sqrt 2)) / 2. Source: Abramowitz and Stegun 7.1.26, error below 1.5e-7.
TARGET void FN(gelu_erf)(float *x, size_t count) {
    EACH_LANE(x, count, {
        lanes z = (lanes)((words)v & 0x7fffffff) * (lanes)0.70710678118654752f;
        lanes t = (lanes)1.0f / FN(fused)(z, (lanes)0.3275911f, (lanes)1.0f);
        lanes p = FN(fused)((lanes)1.061405429f, t, (lanes)-1.453152027f);
        p = FN(fused)(p, t, (lanes)1.421413741f);
        p = FN(fused)(p, t, (lanes)-0.284496736f);
        p = FN(fused)(p, t, (lanes)0.254829592f);
        lanes tail = p * t * FN(exponential)(-(z * z));  // 1 - erf z
        v = v * (lanes)0.5f * FN(choose)(v < (lanes)0.0f, tail, (lanes)2.0f - tail);
    })
}

TARGET void FN(soft_cap)(float *x, size_t count, float cap) {
    EACH_LANE(x, count, { v = FN(splat)(cap) * FN(hyperbolic_tangent)(v / FN(splat)(cap)); })
}

TARGET void FN(sigmoid)(float *x, size_t count) {
    EACH_LANE(x, count, { v = (lanes)1.0f / ((lanes)1.0f + FN(exponential)(-v)); })
}

TARGET void FN(scale)(float *x, size_t count, float factor) {
    EACH_LANE(x, count, { v = v * FN(splat)(factor); })
}

TARGET void FN(add_scaled)(float *x, const float *y, size_t count, float factor) {
    EACH_LANE(x, count, {
        v = FN(fused)(FN(splat)(factor), left >= 16 ? FN(load)(y + i) : FN(load_part)(y + i, left), v);
    })
}

TARGET void FN(layernorm)(const float *x, size_t count, const float *weight, const float *bias, float eps, float *out) {
    lanes sum = (lanes)0.0f, squares = (lanes)0.0f;
    for (size_t i = 0; i < count; i += 16)
        sum = sum + (count - i >= 16 ? FN(load)(x + i) : FN(load_part)(x + i, count - i));
    float mean = FN(tree)(sum) / (float)count;
    for (size_t i = 0; i < count; i += 16) {
        lanes v = (count - i >= 16 ? FN(load)(x + i) : FN(load_part)(x + i, count - i)) - FN(splat)(mean);
        for (size_t j = count - i; j < 16; j++) v[j] = 0.0f;
        squares = FN(fused)(v, v, squares);
    }
    float factor = 1.0f / __builtin_sqrtf(FN(tree)(squares) / (float)count + eps);
    for (size_t i = 0; i < count; i++) out[i] = __builtin_fmaf((x[i] - mean) * factor, weight[i], bias[i]);
}
#undef EACH_LANE
