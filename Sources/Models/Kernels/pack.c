// Between a file's numbers and the kernels' tiles and pages; once a weight or a position, so plain C for every machine.
#include "kernels.h"

#include "lanes.h"

#pragma STDC FP_CONTRACT OFF

int32_t kernel_all_finite(const float *x, size_t count) {
    uint32_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        __builtin_memcpy(&bits, x + i, 4);
        bad |= (bits & 0x7f800000) == 0x7f800000;
    }
    return !bad;
}

size_t kernel_argmax(const float *x, size_t count) {
    if (!kernel_all_finite(x, count)) return count;
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

void kernel_from_bf16(const void *source, size_t count, float *out) {
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        __builtin_memcpy(&half, (const char *)source + i * 2, 2);
        uint32_t bits = (uint32_t)half << 16;
        __builtin_memcpy(out + i, &bits, 4);
    }
}

void kernel_from_f16(const void *source, size_t count, float *out) {
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        __builtin_memcpy(&half, (const char *)source + i * 2, 2);
        out[i] = half_to_float(half);
    }
}

void kernel_from_f32(const void *source, size_t count, float *out) { __builtin_memcpy(out, source, count * 4); }

void kernel_pack_f32(const float *row_values, size_t row, size_t columns, float *tiles) {
    float *out = tiles + row / 16 * columns * 16 + row % 16;
    for (size_t k = 0; k < columns; k++) out[k * 16] = row_values[k];
}

void kernel_pack_bf16(const float *row_values, size_t row, size_t columns, uint16_t *tiles) {
    uint16_t *out = tiles + row / 16 * columns * 16 + row % 16;
    for (size_t k = 0; k < columns; k++) {
        uint32_t bits;
        __builtin_memcpy(&bits, row_values + k, 4);
        out[k * 16] = (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
}

/// A finite float of magnitude below 65520 to IEEE half, half to even.
static uint16_t half_from_float(float value) {
    uint32_t bits, sign;
    __builtin_memcpy(&bits, &value, 4);
    sign = (bits >> 16) & 0x8000;
    bits &= 0x7fffffff;
    if (bits < 0x38800000) {  // below the least normal half: count units of 2^-24
        float magnitude, units;
        __builtin_memcpy(&magnitude, &bits, 4);
        units = magnitude * 0x1p24f + 12582912.0f;
        __builtin_memcpy(&bits, &units, 4);
        return (uint16_t)(sign | (bits & 0x7ff));
    }
    bits += 0xfff + ((bits >> 13) & 1);
    return (uint16_t)(sign | (bits - 0x38000000) >> 13);
}

/// Half to even; |x| below 2^22.
static float rounded(float x) { return (x + 12582912.0f) - 12582912.0f; }

int32_t kernel_pack_i8(const float *row_values, size_t row, size_t columns, uint8_t *quants, uint16_t *scales) {
    size_t blocks = (columns + 31) / 32, tile = row / 16, lane = row % 16;
    for (size_t b = 0; b < blocks; b++) {
        const float *p = row_values + b * 32;
        size_t n = columns - b * 32 < 32 ? columns - b * 32 : 32;
        float peak = 0.0f;
        for (size_t i = 0; i < n; i++) {
            float magnitude = __builtin_fabsf(p[i]);
            peak = magnitude > peak ? magnitude : peak;
        }
        float wanted = peak / 127.0f;
        if (!(wanted < 65504.0f)) return 0;
        uint16_t half = half_from_float(wanted);
        float scale = half_to_float(half);
        scales[(tile * blocks + b) * 16 + lane] = half;
        uint8_t *out = quants + (tile * blocks + b) * 512 + lane * 4;
        for (size_t i = 0; i < 32; i++) {
            float quotient = i < n && scale > 0.0f ? p[i] / scale : 0.0f;
            quotient = quotient > 127.0f ? 127.0f : quotient < -127.0f ? -127.0f : quotient;
            out[i / 4 * 64 + i % 4] = (uint8_t)((int32_t)rounded(quotient) + 128);
        }
    }
    return 1;
}

/// Quants of a block of 32 for one scale, -8 to 7 as floats, and the sum of their squared errors over 16 lanes and the
/// tree.
static float quantize_i4(const float *p, float scale, float *quants) {
    float inverse = 1.0f / scale, errors[16];
    for (int i = 0; i < 16; i++) errors[i] = 0.0f;
    for (int half = 0; half < 32; half += 16)
        for (int i = 0; i < 16; i++) {
            float q = p[half + i] * inverse;
            q = q > 7.0f ? 7.0f : q < -8.0f ? -8.0f : q;
            q = rounded(q);
            quants[half + i] = q;
            float error = p[half + i] - q * scale;
            errors[i] += error * error;
        }
    for (int half = 8; half > 0; half >>= 1)
        for (int i = 0; i < half; i++) errors[i] += errors[i + half];
    return errors[0];
}

enum { SCALES_TRIED = 12 };

int32_t kernel_pack_i4(const float *row_values, size_t row, size_t columns, uint8_t *quants, uint16_t *scales) {
    size_t blocks = (columns + 31) / 32, tile = row / 16, lane = row % 16;
    for (size_t b = 0; b < blocks; b++) {
        const float *p = row_values + b * 32;
        float block[32], extreme = 0.0f, best[32];
        size_t n = columns - b * 32 < 32 ? columns - b * 32 : 32;
        for (size_t i = 0; i < 32; i++) {
            block[i] = i < n ? p[i] : 0.0f;
            if (__builtin_fabsf(block[i]) > __builtin_fabsf(extreme)) extreme = block[i];
        }
        uint16_t chosen = 0;
        float least = 0.0f;
        for (size_t i = 0; i < 32; i++) {
            best[i] = 0.0f;
            least += block[i] * block[i];
        }
        if (!(__builtin_fabsf(extreme) < 7.0f * 65504.0f)) return 0;
        // The value of greatest magnitude becomes -8, or a little more or less: the first of the least squared error
        // stays.
        for (int i = 0; i < SCALES_TRIED; i++) {
            uint16_t half = half_from_float(extreme / (-9.0f + 0.25f * (float)i));
            float scale = half_to_float(half), trial[32];
            if (scale == 0.0f) continue;
            float error = quantize_i4(block, scale, trial);
            if (error < least) {
                least = error;
                chosen = half;
                __builtin_memcpy(best, trial, sizeof best);
            }
        }
        scales[(tile * blocks + b) * 16 + lane] = chosen;
        uint8_t *out = quants + (tile * blocks + b) * 256 + lane * 4;
        for (size_t i = 0; i < 16; i++) {
            uint32_t low = (uint32_t)((int32_t)best[i] + 8), high = (uint32_t)((int32_t)best[i + 16] + 8);
            out[i / 4 * 64 + i % 4] = (uint8_t)(low | high << 4);
        }
    }
    return 1;
}

/// A GGUF block begins with its scale; 0 where that is not finite.
static int32_t take_scale(const uint8_t *block, uint16_t *out) {
    __builtin_memcpy(out, block, 2);
    return (*out & 0x7c00) != 0x7c00;
}

int32_t kernel_pack_q8_0(const void *row_blocks, size_t row, size_t blocks, uint8_t *quants, uint16_t *scales) {
    size_t tile = row / 16, lane = row % 16;
    const uint8_t *block = row_blocks;
    for (size_t b = 0; b < blocks; b++, block += 34) {
        if (!take_scale(block, scales + (tile * blocks + b) * 16 + lane)) return 0;
        uint8_t *out = quants + (tile * blocks + b) * 512 + lane * 4;
        for (size_t i = 0; i < 32; i++) out[i / 4 * 64 + i % 4] = block[2 + i] ^ 128;
    }
    return 1;
}

int32_t kernel_pack_q4_0(const void *row_blocks, size_t row, size_t blocks, uint8_t *quants, uint16_t *scales) {
    size_t tile = row / 16, lane = row % 16;
    const uint8_t *block = row_blocks;
    for (size_t b = 0; b < blocks; b++, block += 18) {
        if (!take_scale(block, scales + (tile * blocks + b) * 16 + lane)) return 0;
        uint8_t *out = quants + (tile * blocks + b) * 256 + lane * 4;
        // GGUF too pairs column i with column i + 16 in one byte.
        for (size_t i = 0; i < 16; i++) out[i / 4 * 64 + i % 4] = block[2 + i];
    }
    return 1;
}

/// One row of a page to int8: the same rule as activations, one block being the whole row.
static float quantize_row(const float *x, size_t count, int8_t *out, size_t stride) {
    float peak = 0.0f;
    for (size_t i = 0; i < count; i++) {
        float magnitude = __builtin_fabsf(x[i]);
        peak = magnitude > peak ? magnitude : peak;
    }
    if (!kernel_all_finite(x, count)) {
        for (size_t i = 0; i < count; i++) out[i * stride] = 0;
        return __builtin_nanf("");
    }
    float inverse = peak >= 1e-30f ? 127.0f / peak : 0.0f;
    for (size_t i = 0; i < count; i++) out[i * stride] = (int8_t)rounded(x[i] * inverse);
    return peak >= 1e-30f ? peak / 127.0f : 0.0f;
}

void kernel_store_kv(void *keys, void *values, size_t slot, size_t key_dim, size_t value_dim, int32_t is_int8,
                     const float *key, const float *value) {
    const size_t stride = (value_dim + 15) / 16 * 16;
    if (is_int8) {
        float key_scale = quantize_row(key, key_dim, (int8_t *)keys + slot, 16);
        float value_scale = quantize_row(value, value_dim, (int8_t *)values + slot * stride, 1);
        __builtin_memcpy((char *)keys + key_dim * 16 + slot * 4, &key_scale, 4);
        __builtin_memcpy((char *)values + stride * 16 + slot * 4, &value_scale, 4);
        return;
    }
    for (size_t d = 0; d < key_dim; d++) ((float *)keys)[d * 16 + slot] = key[d];
    for (size_t d = 0; d < value_dim; d++) ((float *)values)[slot * stride + d] = value[d];
}
