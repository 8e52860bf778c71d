// Sixteen-lane vectors: loads, the fixed tree and exp, for the kernels of body.h.
#pragma STDC FP_CONTRACT OFF

#define INLINE TARGET static inline __attribute__((always_inline))

INLINE lanes FN(load)(const float *p) { return *(const lanes_unaligned *)p; }
INLINE void FN(store)(float *p, lanes v) { *(lanes_unaligned *)p = v; }
INLINE lanes FN(splat)(float v) { return (lanes)v; }
INLINE lanes FN(fused)(lanes a, lanes b, lanes c) { return __builtin_elementwise_fma(a, b, c); }
INLINE lanes FN(choose)(words mask, lanes a, lanes b) { return (lanes)((mask & (words)a) | (~mask & (words)b)); }

/// First `count` lanes from p, the rest zero.
INLINE lanes FN(load_part)(const float *p, size_t count) {
    lanes v = (lanes)0.0f;
    for (size_t i = 0; i < count; i++) v[i] = p[i];
    return v;
}

INLINE void FN(store_part)(float *p, lanes v, size_t count) {
    for (size_t i = 0; i < count; i++) p[i] = v[i];
}

/// The fixed tree: 16 lanes to 8, 4, 2, 1, always lane i with lane i + half.
INLINE float FN(tree)(lanes v) {
    lanes8 a = v.lo + v.hi;
    lanes4 b = a.lo + a.hi;
    return (b.x + b.z) + (b.y + b.w);
}

/// The greatest lane; none may be NaN.
INLINE float FN(greatest)(lanes v) {
    lanes8 a = __builtin_elementwise_max(v.lo, v.hi);
    lanes4 b = __builtin_elementwise_max(a.lo, a.hi);
    float x = b.x > b.z ? b.x : b.z, y = b.y > b.w ? b.y : b.w;
    return x > y ? x : y;
}

/// exp with relative error below 2e-7: x = n ln 2 + r, a degree-6 polynomial in r, n put into the exponent. Below -87.3
/// it is zero, above 88 it is exp(88); NaN stays NaN.
INLINE lanes FN(exponential)(lanes x) {
    const lanes low = (lanes)-87.3f, high = (lanes)88.0f, magic = (lanes)12582912.0f;
    words zero = x < low, nan = x != x;
    lanes kept = x;
    x = FN(choose)(x < low, low, x);
    x = FN(choose)(x > high, high, x);
    lanes shifted = FN(fused)(x, (lanes)1.44269504f, magic);
    words n = (words)shifted - (words)magic;
    lanes whole = shifted - magic;
    lanes r = FN(fused)(whole, (lanes)-0.693359375f, x);
    r = FN(fused)(whole, (lanes)2.12194440e-4f, r);
    lanes p = FN(fused)((lanes)1.9875691500e-4f, r, (lanes)1.3981999507e-3f);
    p = FN(fused)(p, r, (lanes)8.3334519073e-3f);
    p = FN(fused)(p, r, (lanes)4.1665795894e-2f);
    p = FN(fused)(p, r, (lanes)1.6666665459e-1f);
    p = FN(fused)(p, r, (lanes)5.0000001201e-1f);
    p = FN(fused)(p, r * r, r) + (lanes)1.0f;
    lanes scaled = p * (lanes)((n + 127) << 23);
    scaled = FN(choose)(zero, (lanes)0.0f, scaled);
    return FN(choose)(nan, kept, scaled);
}

/// tanh = 1 - 2 / (exp(2 x) + 1); the exponential saturates at both ends.
INLINE lanes FN(hyperbolic_tangent)(lanes x) {
    return (lanes)1.0f - (lanes)2.0f / (FN(exponential)(x + x) + (lanes)1.0f);
}
