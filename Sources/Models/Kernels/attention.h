// Attention over a paged cache, block by block of 64 positions. The blocks lie at absolute positions and each query
// walks its own from the first to the last, so neither the chunks of a prompt nor company in a batch can change a bit:
//
//     block's scores -> greatest so far -> exp -> (sum, weighted values) scaled down where the greatest grew -> next
//     block
//
// A lane of a score is a position, a lane of a value is a channel. The weighted values rest in `out` between blocks.

/// Sixteen keys of one channel, or sixteen channels of one value.
INLINE lanes FN(cached)(const void *p, size_t at, int is_int8) {
    if (!is_int8) return FN(load)((const float *)p + at);
    bytes b = *(const bytes_unaligned *)((const int8_t *)p + at);
    return __builtin_convertvector(__builtin_convertvector(b, words), lanes);
}

/// Scores of `pages_n` pages for `rows_n` heads, into scores[row][position of the block].
INLINE void FN(page_scores)(const kernel_attention_job *job, const float *q, size_t page, float *scores, int is_int8,
                            int pages_n, int rows_n) {
    lanes acc[PAGES_AT_ONCE][ROWS_AT_ONCE];
    const char *keys[PAGES_AT_ONCE];
    const size_t dim = job->key_dim, stride = job->q_head_stride;
#pragma clang loop unroll(full)
    for (int p = 0; p < pages_n; p++) {
        keys[p] = (const char *)job->pages[page + p] + job->key_offset;
#pragma clang loop unroll(full)
        for (int r = 0; r < rows_n; r++) acc[p][r] = (lanes)0.0f;
    }
    for (size_t d = 0; d < dim; d++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < pages_n; p++) {
            lanes k = FN(cached)(keys[p], d * 16, is_int8);
#pragma clang loop unroll(full)
            for (int r = 0; r < rows_n; r++) acc[p][r] = FN(fused)(FN(splat)(q[r * stride + d]), k, acc[p][r]);
        }
    }
#pragma clang loop unroll(full)
    for (int p = 0; p < pages_n; p++)
#pragma clang loop unroll(full)
        for (int r = 0; r < rows_n; r++) {
            lanes s = acc[p][r];
            if (is_int8) s = s * FN(load)((const float *)(keys[p] + dim * 16));
            FN(store)(scores + r * KERNEL_SOFTMAX_BLOCK + (page + p) % 4 * 16, s * FN(splat)(job->scale));
        }
}

/// Adds the values of positions [from, to] to `vectors_n` vectors of channels of `rows_n` heads, after scaling what was
/// there.
INLINE void FN(weigh_values)(const kernel_attention_job *job, size_t from, size_t to, size_t channel, const float *scores,
                             const float *shrink, float *out, int is_int8, int vectors_n, int rows_n) {
    lanes acc[ROWS_AT_ONCE][CHANNELS_AT_ONCE];
    const size_t stride = (job->value_dim + 15) / 16 * 16, left = job->value_dim - channel;
    const int whole = left >= (size_t)vectors_n * 16;
#pragma clang loop unroll(full)
    for (int r = 0; r < rows_n; r++)
#pragma clang loop unroll(full)
        for (int c = 0; c < vectors_n; c++) {
            const float *o = out + r * job->out_head_stride + channel + c * 16;
            acc[r][c] = (whole ? FN(load)(o) : FN(load_part)(o, left)) * FN(splat)(shrink[r]);
        }
    for (size_t position = from; position <= to;) {
        const size_t page = position / 16, end = to / 16 == page ? to % 16 : 15;
        const char *values = (const char *)job->pages[page] + job->value_offset;
        for (size_t i = position % 16; i <= end; i++) {
            lanes v[CHANNELS_AT_ONCE];
#pragma clang loop unroll(full)
            for (int c = 0; c < vectors_n; c++) v[c] = FN(cached)(values, i * stride + channel + c * 16, is_int8);
#pragma clang loop unroll(full)
            for (int r = 0; r < rows_n; r++) {
                lanes e = FN(splat)(scores[r * KERNEL_SOFTMAX_BLOCK + page % 4 * 16 + i]);
#pragma clang loop unroll(full)
                for (int c = 0; c < vectors_n; c++) acc[r][c] = FN(fused)(e, v[c], acc[r][c]);
            }
        }
        position = (page + 1) * 16;
    }
#pragma clang loop unroll(full)
    for (int r = 0; r < rows_n; r++)
#pragma clang loop unroll(full)
        for (int c = 0; c < vectors_n; c++) {
            float *o = out + r * job->out_head_stride + channel + c * 16;
            if (whole)
                FN(store)(o, acc[r][c]);
            else
                FN(store_part)(o, acc[r][c], left);
        }
}

INLINE void FN(attend_rows)(const kernel_attention_job *job, size_t token, size_t head, int is_int8, int rows_n) {
    float scores[ROWS_AT_ONCE * KERNEL_SOFTMAX_BLOCK], shrink[ROWS_AT_ONCE], peak[ROWS_AT_ONCE];
    lanes total[ROWS_AT_ONCE];
    const float nothing = -__builtin_inff();
    const size_t last = job->position + token;
    const size_t first = job->window && last + 1 > job->window ? last + 1 - job->window : 0;
    const float *q = job->q + token * job->q_token_stride + head * job->q_head_stride;
    float *out = job->out + token * job->out_token_stride + head * job->out_head_stride;
    const size_t value_stride = (job->value_dim + 15) / 16 * 16;
    const words lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int r = 0; r < rows_n; r++) {
        peak[r] = nothing;
        total[r] = (lanes)0.0f;
        for (size_t c = 0; c < job->value_dim; c++) out[r * job->out_head_stride + c] = 0.0f;
    }
    for (size_t block = first / KERNEL_SOFTMAX_BLOCK; block <= last / KERNEL_SOFTMAX_BLOCK; block++) {
        const size_t from = block * 64 > first ? block * 64 : first, to = block * 64 + 63 < last ? block * 64 + 63 : last;
        const size_t page_first = from / 16, page_last = to / 16;
        size_t page = page_first;
        for (; page + PAGES_AT_ONCE <= page_last + 1; page += PAGES_AT_ONCE)
            FN(page_scores)(job, q, page, scores, is_int8, PAGES_AT_ONCE, rows_n);
        for (; page <= page_last; page++) FN(page_scores)(job, q, page, scores, is_int8, 1, rows_n);
        for (int r = 0; r < rows_n; r++) {
            float *row = scores + r * KERNEL_SOFTMAX_BLOCK;
            lanes greatest = FN(splat)(nothing);
            for (page = page_first; page <= page_last; page++) {
                lanes s = FN(load)(row + page % 4 * 16);
                if (job->soft_cap != 0.0f)
                    s = FN(hyperbolic_tangent)(s / FN(splat)(job->soft_cap)) * FN(splat)(job->soft_cap);
                if (page * 16 < from)
                    s = FN(choose)(lane < (words)(int32_t)(from % 16), FN(splat)(nothing), s);
                if (page * 16 + 15 > to)
                    s = FN(choose)(lane > (words)(int32_t)(to % 16), FN(splat)(nothing), s);
                FN(store)(row + page % 4 * 16, s);
                greatest = FN(choose)(s > greatest, s, greatest);
            }
            float highest = FN(greatest)(greatest);
            shrink[r] = 1.0f;
            if (highest > peak[r]) {
                shrink[r] = FN(exponential)(FN(splat)(peak[r] - highest))[0];
                peak[r] = highest;
            }
            lanes sum = total[r] * FN(splat)(shrink[r]);
            for (page = page_first; page <= page_last; page++) {
                lanes e = FN(exponential)(FN(load)(row + page % 4 * 16) - FN(splat)(peak[r]));
                sum = sum + e;
                if (is_int8)
                    e = e * FN(load)((const float *)((const char *)job->pages[page] + job->value_offset +
                                                     16 * value_stride));
                FN(store)(row + page % 4 * 16, e);
            }
            total[r] = sum;
        }
        size_t c = 0;
        for (; c + CHANNELS_AT_ONCE * 16 <= job->value_dim; c += CHANNELS_AT_ONCE * 16)
            FN(weigh_values)(job, from, to, c, scores, shrink, out, is_int8, CHANNELS_AT_ONCE, rows_n);
        for (; c < job->value_dim; c += 16)
            FN(weigh_values)(job, from, to, c, scores, shrink, out, is_int8, 1, rows_n);
    }
    for (int r = 0; r < rows_n; r++) {
        const float sum = FN(tree)(total[r]);
        for (size_t c = 0; c < job->value_dim; c++)
            out[r * job->out_head_stride + c] = out[r * job->out_head_stride + c] / sum;
    }
}

INLINE void FN(attend_all)(const kernel_attention_job *job, int is_int8) {
    for (size_t token = 0; token < job->tokens; token++) {
        size_t head = 0;
        for (; head + ROWS_AT_ONCE <= job->group; head += ROWS_AT_ONCE)
            FN(attend_rows)(job, token, head, is_int8, ROWS_AT_ONCE);
        for (; head + 2 <= job->group; head += 2) FN(attend_rows)(job, token, head, is_int8, 2);
        if (head < job->group) FN(attend_rows)(job, token, head, is_int8, 1);
    }
}

TARGET static void FN(attend_f32)(const kernel_attention_job *job) { FN(attend_all)(job, 0); }
TARGET static void FN(attend_int8)(const kernel_attention_job *job) { FN(attend_all)(job, 1); }
TARGET void FN(attend)(const kernel_attention_job *job) {
    if (job->is_int8) FN(attend_int8)(job);
    else FN(attend_f32)(job);
}
