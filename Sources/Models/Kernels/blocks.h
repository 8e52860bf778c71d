// int8 activations, and products with int8 and int4 weights: per block an exact integer dot, then one fused
// multiply-add.

TARGET void FN(quantize)(const float *x, size_t x_stride, size_t first, size_t end, size_t blocks, void *activations) {
    const lanes magic = (lanes)12582912.0f;
    for (size_t n = first; n < end; n++) {
        char *group = (char *)activations + n / GROUP_TOKENS * blocks * KERNEL_ACTIVATION_BLOCK_BYTES;
        const size_t slot = n % GROUP_TOKENS;
        for (size_t b = 0; b < blocks; b++, group += KERNEL_ACTIVATION_BLOCK_BYTES) {
            const float *p = x + n * x_stride + b * 32;
            lanes v0 = FN(load)(p), v1 = FN(load)(p + 16);
            words m0 = (words)v0 & 0x7fffffff, m1 = (words)v1 & 0x7fffffff;  // magnitudes order as integers, NaN last
            int32_t bits = __builtin_reduce_max(__builtin_elementwise_max(m0, m1));
            float peak, inverse = 0.0f, scale = 0.0f;
            __builtin_memcpy(&peak, &bits, 4);
            if (bits >= 0x7f800000) {
                scale = __builtin_nanf("");
            } else if (peak >= 1e-30f) {
                scale = peak / 127.0f;
                inverse = 127.0f / peak;
            }
            if (inverse == 0.0f) v0 = v1 = (lanes)0.0f;
            words w0 = (words)(v0 * FN(splat)(inverse) + magic) - (words)magic;
            words w1 = (words)(v1 * FN(splat)(inverse) + magic) - (words)magic;
            bytes b0 = __builtin_convertvector(w0, bytes), b1 = __builtin_convertvector(w1, bytes);
            __builtin_memcpy(group + slot * 32, &b0, 16);
            __builtin_memcpy(group + slot * 32 + 16, &b1, 16);
            int32_t sum = __builtin_reduce_add(w0 + w1), start_i8 = -128 * sum, start_i4 = -8 * sum;
            __builtin_memcpy(group + GROUP_SCALES + slot * 4, &scale, 4);
            __builtin_memcpy(group + GROUP_STARTS_I8 + slot * 4, &start_i8, 4);
            __builtin_memcpy(group + GROUP_STARTS_I4 + slot * 4, &start_i4, 4);
        }
    }
}

#ifndef OWN_BLOCK_PRODUCTS
/// One tile for one group of tokens. int4 blocks are spread to bytes once for all tokens.
INLINE void FN(tile_blocks)(const uint8_t *w, const uint16_t *ws, size_t blocks, const char *group, size_t tokens, float *y,
                            size_t y_stride, int is_i4) {
    lanes acc[GROUP_TOKENS];
    for (size_t n = 0; n < tokens; n++) acc[n] = (lanes)0.0f;
    for (size_t b = 0; b < blocks; b++, group += KERNEL_ACTIVATION_BLOCK_BYTES) {
        uint8_t spread[512];
        const uint8_t *block = w + b * 512;
        if (is_i4) {
            const uint8_t *packed = w + b * 256;
            for (int i = 0; i < 256; i++) {
                spread[i] = packed[i] & 15;
                spread[i + 256] = packed[i] >> 4;
            }
            block = spread;
        }
        lanes weight_scale = FN(halves)(ws + b * 16);
        for (size_t n = 0; n < tokens; n++) {
            int32_t start;
            float scale;
            __builtin_memcpy(&start, group + (is_i4 ? GROUP_STARTS_I4 : GROUP_STARTS_I8) + n * 4, 4);
            __builtin_memcpy(&scale, group + GROUP_SCALES + n * 4, 4);
            words dot = FN(dot_block)(block, (const int8_t *)group + n * 32, start, is_i4);
            acc[n] = FN(fused)(__builtin_convertvector(dot, lanes), weight_scale * FN(splat)(scale), acc[n]);
        }
    }
    for (size_t n = 0; n < tokens; n++) FN(store)(y + n * y_stride, acc[n]);
}

INLINE void FN(matmul_blocks)(const uint8_t *quants, const uint16_t *weight_scales, size_t tile_begin, size_t tile_end,
                              size_t blocks, const void *activations, size_t tokens, float *y, size_t y_stride, int is_i4) {
    const size_t block_bytes = is_i4 ? 256 : 512;
    for (size_t t = tile_begin; t < tile_end; t++)
        for (size_t n = 0; n < tokens; n += GROUP_TOKENS) {
            const char *group = (const char *)activations + n / GROUP_TOKENS * blocks * KERNEL_ACTIVATION_BLOCK_BYTES;
            size_t count = tokens - n < GROUP_TOKENS ? tokens - n : GROUP_TOKENS;
            FN(tile_blocks)(quants + t * blocks * block_bytes, weight_scales + t * blocks * 16, blocks, group, count,
                            y + n * y_stride + t * 16, y_stride, is_i4);
        }
}

TARGET void FN(matmul_i8)(const uint8_t *quants, const uint16_t *weight_scales, size_t tile_begin, size_t tile_end,
                          size_t blocks, const void *activations, size_t tokens, float *y, size_t y_stride) {
    FN(matmul_blocks)(quants, weight_scales, tile_begin, tile_end, blocks, activations, tokens, y, y_stride, 0);
}

TARGET void FN(matmul_i4)(const uint8_t *quants, const uint16_t *weight_scales, size_t tile_begin, size_t tile_end,
                          size_t blocks, const void *activations, size_t tokens, float *y, size_t y_stride) {
    FN(matmul_blocks)(quants, weight_scales, tile_begin, tile_end, blocks, activations, tokens, y, y_stride, 1);
}
#endif
