// The first half of a layer. Grouped: q, k and v are made, rotated and cached, and heads share keys. Latent (DeepSeek):
// only the latent and one rotated key are cached; the query is taken into the latent's space and the answer out of it.
//
//     grouped   x -> q k v -> (head norms) -> rotate -> cache -> softmax(q k) v -> o
//     latent    x -> q, c = norm(W_D x), r = rotate(W_R x) -> cache [c r]
//               q -> [W_UK^T q, rotate(q)] -> softmax(q [c r]) c -> W_UV -> o

import Arithmetic
import Kernels

extension Transformer {
    // MARK: Grouped

    func attend(_ weights: GroupedAttention, _ steps: LayerSteps, _ input: NormedInput, layer: Int) {
        prepare(space.normed, for: steps.attentionInput, layer: layer) { makeInput($0, input) }
        multiply(space.normed, by: steps.attentionInput, layer: layer)
        let dimension = config.headDimension, plan = config.plans[layer]
        let heads = config.heads, keyValueHeads = config.keyValueHeads
        pool.run(count: width) { slice in
            let (from, to) = part(rows, slice)
            for row in from..<to {
                let query = space.query[row], key = space.key[row]
                if let norm = weights.queryNorm { normHeads(query, heads, dimension, norm) }
                if let norm = weights.keyNorm { normHeads(key, keyValueHeads, dimension, norm) }
                rotate(query, heads: heads, stride: dimension, rope: plan.rope, row: row)
                rotate(key, heads: keyValueHeads, stride: dimension, rope: plan.rope, row: row)
                for head in 0..<keyValueHeads {
                    store(
                        layer: layer, head: head, row: row, key: key + head * dimension,
                        value: space.value[row] + head * dimension)
                }
            }
        }
        let attended = Rows(values: space.attended.values, stride: space.attended.stride)
        attendCache(
            space.query, headStride: dimension, into: attended, outStride: dimension, layer: layer)
        prepare(space.attended, for: steps.attentionOutput, layer: layer) { _ in }
        multiply(space.attended, by: steps.attentionOutput, layer: layer)
    }

    private func normHeads(_ x: UnsafeMutablePointer<Float>, _ heads: Int, _ dimension: Int, _ norm: [Float]) {
        for head in 0..<heads {
            let at = x + head * dimension
            kernel_rmsnorm(isa, at, dimension, norm, config.epsilon, at)
        }
    }

    // MARK: Latent

    func attend(_ weights: LatentAttention, _ steps: LayerSteps, _ input: NormedInput, layer: Int) {
        guard let latent = space.latent else { preconditionFailure("the plan has no latent attention") }
        prepare(space.normed, for: steps.attentionInput, layer: layer) { makeInput($0, input) }
        multiply(space.normed, by: steps.attentionInput, layer: layer)
        if case .bottleneck(_, let norm, _) = weights.query, let bottleneck = latent.bottleneck {
            prepare(bottleneck, for: steps.queryUp, layer: layer) { row in
                let at = bottleneck.values + row * bottleneck.stride
                kernel_rmsnorm(isa, at, norm.count, norm, config.epsilon, at)
            }
            multiply(bottleneck, by: steps.queryUp, layer: layer)
        }
        let plan = weights.plan, rope = config.plans[layer].rope
        let each = plan.plain + plan.rotated
        pool.run(count: width) { slice in
            let (from, to) = part(rows, slice)
            guard from < to else { return }
            for row in from..<to { cacheLatent(weights, latent, layer: layer, row: row) }
            for (head, linear) in weights.keys.enumerated() {
                let output = Rows(
                    values: latent.query.values + head * latent.queryHeadStride, stride: latent.query.stride)
                multiplyWhole(
                    Product(linear: linear, output: output, lane: 0), heads(space.query, at: head * each),
                    layer: layer, from: from, to: to)
                for row in from..<to {
                    let turned = output[row] + plan.paddedRank
                    turned.update(from: space.query[row] + head * each + plan.plain, count: plan.rotated)
                    rotate(turned, heads: 1, stride: plan.rotated, rope: rope, row: row)
                }
            }
        }
        attendCache(
            latent.query, headStride: latent.queryHeadStride, into: latent.answer, outStride: config.valueDimension,
            layer: layer)
        prepareLatentAnswer(weights, latent, steps, layer: layer)
        multiply(space.attended, by: steps.attentionOutput, layer: layer)
    }

    /// Part of each row as a matrix's input; what stays exact at every precision reads no int8 blocks.
    private func heads(_ rows: Rows, at offset: Int) -> Activations {
        Activations(values: rows.values + offset, stride: rows.stride, quants: space.normed.quants)
    }

    private func cacheLatent(_ weights: LatentAttention, _ latent: LatentSpace, layer: Int, row: Int) {
        let plan = weights.plan, down = latent.down[row], key = space.key[row]
        kernel_rmsnorm(isa, down, plan.rank, weights.norm, config.epsilon, key)
        let turned = key + plan.paddedRank
        turned.update(from: down + plan.rank, count: plan.rotated)
        rotate(turned, heads: 1, stride: plan.rotated, rope: config.plans[layer].rope, row: row)
        store(layer: layer, head: 0, row: row, key: key, value: key)
    }

    private func prepareLatentAnswer(
        _ weights: LatentAttention, _ latent: LatentSpace, _ steps: LayerSteps, layer: Int
    ) {
        let plan = weights.plan, attended = space.attended
        pool.run(count: width) { slice in
            let (from, to) = part(rows, slice)
            guard from < to else { return }
            for (head, linear) in weights.values.enumerated() {
                let output = Rows(
                    values: latent.value.values + head * latent.valueHeadStride, stride: latent.value.stride)
                multiplyWhole(
                    Product(linear: linear, output: output, lane: 0),
                    heads(latent.answer, at: head * config.valueDimension), layer: layer, from: from, to: to)
                for row in from..<to {
                    (attended.values + row * attended.stride + head * plan.value)
                        .update(from: output[row], count: plan.value)
                }
            }
        }
        prepare(attended, for: steps.attentionOutput, layer: layer) { _ in }
    }

    // MARK: Positions and the cache

    private func rotate(_ x: UnsafeMutablePointer<Float>, heads: Int, stride: Int, rope: Int, row: Int) {
        kernel_rotate(
            isa, x, heads, stride, config.ropes[rope].pairs, config.attention.interleaved ? 1 : 0,
            space.cosines[rope][row], space.sines[rope][row])
    }

    /// Bytes into a page.
    private func offset(layer: Int, head: Int) -> Int {
        ((layer - firstCached) * config.keyValueHeads + head) * cache.layout.headBytes
    }

    private var isInt8: Int32 { cache.layout.precision == .int8 ? 1 : 0 }

    private func store(
        layer: Int, head: Int, row: Int, key: UnsafePointer<Float>, value: UnsafePointer<Float>
    ) {
        let segment = segments[space.rowSegment[row]]
        let position = segment.start + row - segment.row
        guard let page = segment.pages.pages[position / PagePool.positionsPerPage] else { return }
        let at = UnsafeMutableRawPointer(mutating: page) + offset(layer: layer, head: head)
        kernel_store_kv(
            at, at + cache.layout.keyBytes, position % PagePool.positionsPerPage, config.headDimension,
            config.valueDimension, isInt8, key, value)
    }

    /// Softmax of every head's query over what its sequence has cached, summed over values.
    private func attendCache(_ queries: Rows, headStride: Int, into out: Rows, outStride: Int, layer: Int) {
        let plan = config.attention, window = config.plans[layer].window
        let keyValueHeads = config.keyValueHeads, group = config.heads / keyValueHeads
        // Where few keys are shared by many heads, the heads are cut so that every slice has work.
        var parts = 1
        while keyValueHeads * parts < width, group.isMultiple(of: parts * 2) { parts *= 2 }
        let count = group / parts
        pool.run(count: width) { slice in
            for item in stride(from: slice, to: rows * keyValueHeads * parts, by: width) {
                let row = item / (keyValueHeads * parts), first = item % (keyValueHeads * parts) * count
                let segment = segments[space.rowSegment[row]]
                let position = segment.start + row - segment.row
                let keyOffset = offset(layer: layer, head: first / group)
                var job = kernel_attention_job(
                    q: queries[row] + first * headStride, q_token_stride: queries.stride, q_head_stride: headStride,
                    tokens: 1, group: count, key_dim: config.headDimension, value_dim: config.valueDimension,
                    position: position, window: window ?? 0, scale: plan.scale, soft_cap: plan.scoreCap ?? 0,
                    pages: segment.pages.pages, key_offset: keyOffset, value_offset: keyOffset + cache.layout.keyBytes,
                    is_int8: isInt8,
                    out: out[row] + first * outStride, out_token_stride: out.stride, out_head_stride: outStride)
                kernel_attend(isa, &job)
            }
        }
    }
}
