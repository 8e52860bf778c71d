// The forward half: serving's, with what the backward half needs kept.

import Arithmetic
import Inference
import Kernels

extension GradientPass {
    /// Pages of the batch's sequences, and every row's position.
    func preparePages() {
        var page = 0
        for sequence in batch.sequences {
            for position in 0..<sequence.count { space.rowPosition[sequence.start + position] = position }
            for _ in 0..<(sequence.count + 15) / 16 {
                space.pageTable[page] = UnsafeRawPointer(space.pages + page * space.pageBytes)
                page += 1
            }
        }
        precondition(page <= space.pageCount)
    }

    func forward() {
        eachPart { slice, from, to in
            for row in from..<to { model.embed(batch.tokens[row], into: streams[0][row], isa: isa) }
            beginLayer(0, slice: slice, from: from, to: to)
        }
        for layer in 0..<config.layers {
            guard goesOn() else { return }
            attend(layer)
            eachPart { slice, from, to in
                endLayer(layer, slice: slice, from: from, to: to, leavesStream: true)
                if layer + 1 < config.layers { beginLayer(layer + 1, slice: slice, from: from, to: to) }
            }
        }
    }

    /// The forward half of one layer once more, from the stream before it.
    func repeatForward(_ layer: Int) {
        eachPart { slice, from, to in beginLayer(layer, slice: slice, from: from, to: to) }
        attend(layer)
        eachPart { slice, from, to in endLayer(layer, slice: slice, from: from, to: to, leavesStream: false) }
    }

    /// From the stream to rotated queries and keys, and values.
    func beginLayer(_ layer: Int, slice: Int, from: Int, to: Int) {
        let weights = layers[layer], tape = tape(layer), normed = space.normed
        for row in from..<to {
            kernel_rmsnorm(
                isa, streams[layer][row], config.hidden, weights.beforeAttention, config.epsilon, normed[row])
        }
        prepare(normed, .attentionInput, columns: config.hidden, layer: layer, slice: slice, from: from, to: to)
        for (slot, matrix, output) in [
            (0, weights.query, tape.rawQuery ?? tape.query), (1, weights.key, tape.rawKey ?? tape.key),
            (2, weights.value, tape.value),
        ] {
            multiply(matrix, slot: slot, normed, into: output, layer: layer, slice: slice, from: from, to: to)
        }
        for row in from..<to {
            if let raw = tape.rawQuery, let norm = weights.queryNorm {
                normHeads(raw[row], into: tape.query[row], heads, norm)
            }
            if let raw = tape.rawKey, let norm = weights.keyNorm {
                normHeads(raw[row], into: tape.key[row], keyValueHeads, norm)
            }
            rotate(tape.query[row], heads, layer: layer, row: row, back: false)
            rotate(tape.key[row], keyValueHeads, layer: layer, row: row, back: false)
        }
    }

    private func normHeads(
        _ raw: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>, _ count: Int, _ norm: [Float]
    ) {
        for head in 0..<count {
            kernel_rmsnorm(isa, raw + head * dimension, dimension, norm, config.epsilon, out + head * dimension)
        }
    }

    func rotate(_ x: UnsafeMutablePointer<Float>, _ count: Int, layer: Int, row: Int, back: Bool) {
        let rope = config.plans[layer].rope, position = space.rowPosition[row]
        kernel_rotate(
            isa, x, count, dimension, config.ropes[rope].pairs, config.attention.interleaved ? 1 : 0,
            space.cosines[rope][position], (back ? space.negatedSines : space.sines)[rope][position])
    }

    /// Each key/value head of each sequence by itself: its keys and values go into pages, its queries read them.
    func attend(_ layer: Int) {
        let items = batch.sequences.count * keyValueHeads, group = heads / keyValueHeads, tape = tape(layer)
        pool.run(count: width) { slice in
            for item in stride(from: slice, to: items, by: width) {
                let index = item / keyValueHeads, head = item % keyValueHeads
                attend(layer, tape, sequence: index, head: head, group: group)
            }
        }
    }

    private func attend(_ layer: Int, _ tape: LayerTape, sequence index: Int, head: Int, group: Int) {
        let sequence = batch.sequences[index], plan = config.attention
        let pages = space.pageTable + firstPage(of: index)
        for position in 0..<sequence.count {
            guard let page = pages[position / 16] else { continue }
            let at = UnsafeMutableRawPointer(mutating: page) + head * space.headBytes, row = sequence.start + position
            kernel_store_kv(
                at, at + space.keyBytes, position % 16, dimension, dimension, 0, tape.key[row] + head * dimension,
                tape.value[row] + head * dimension)
        }
        var job = kernel_attention_job(
            q: tape.query[sequence.start] + head * group * dimension, q_token_stride: tape.query.stride,
            q_head_stride: dimension, tokens: sequence.count, group: group, key_dim: dimension, value_dim: dimension,
            position: 0, window: config.plans[layer].window ?? 0, scale: plan.scale, soft_cap: plan.scoreCap ?? 0,
            pages: pages, key_offset: head * space.headBytes, value_offset: head * space.headBytes + space.keyBytes,
            is_int8: 0, out: tape.attended[sequence.start] + head * group * dimension,
            out_token_stride: tape.attended.stride, out_head_stride: dimension)
        kernel_attend(isa, &job)
    }

    private func firstPage(of index: Int) -> Int {
        batch.sequences[..<index].reduce(0) { $0 + ($1.count + 15) / 16 }
    }

    /// From attention's answer to the next layer's stream.
    func endLayer(_ layer: Int, slice: Int, from: Int, to: Int, leavesStream: Bool) {
        let weights = layers[layer], tape = tape(layer), hidden = config.hidden, epsilon = config.epsilon
        let answer = tape.attentionAnswer ?? space.delta
        prepare(
            tape.attended, .attentionOutput, columns: heads * dimension, layer: layer, slice: slice, from: from, to: to)
        multiply(
            weights.output, slot: 3, tape.attended, into: answer, layer: layer, slice: slice, from: from, to: to)
        let normed = space.normedMiddle
        for row in from..<to {
            add(answer[row], norm: weights.afterAttention, to: streams[layer][row], into: tape.middle[row], row: row)
            kernel_rmsnorm(isa, tape.middle[row], hidden, weights.beforeFeedForward, epsilon, normed[row])
        }
        prepare(normed, .feedForwardInput, columns: hidden, layer: layer, slice: slice, from: from, to: to)
        multiply(weights.gate, slot: 4, normed, into: tape.gate, layer: layer, slice: slice, from: from, to: to)
        multiply(weights.up, slot: 5, normed, into: tape.up, layer: layer, slice: slice, from: from, to: to)
        let width = weights.gate.rows, gated = space.gated
        for row in from..<to {
            gated[row].update(from: tape.gate[row], count: width)
            switch config.activation {
            case .silu: kernel_silu_multiply(isa, gated[row], tape.up[row], width)
            case .geluTanh: kernel_gelu_tanh_multiply(isa, gated[row], tape.up[row], width)
            }
        }
        prepare(gated, .feedForwardOutput, columns: width, layer: layer, slice: slice, from: from, to: to)
        guard leavesStream || tape.feedForwardAnswer != nil else { return }
        let last = tape.feedForwardAnswer ?? space.delta
        multiply(weights.down, slot: 6, gated, into: last, layer: layer, slice: slice, from: from, to: to)
        guard leavesStream else { return }
        for row in from..<to {
            add(
                last[row], norm: weights.afterFeedForward, to: tape.middle[row], into: streams[layer + 1][row], row: row
            )
        }
    }

    /// out = x + norm(delta).
    private func add(
        _ delta: UnsafeMutablePointer<Float>, norm: [Float]?, to x: UnsafePointer<Float>,
        into out: UnsafeMutablePointer<Float>, row: Int
    ) {
        out.update(from: x, count: config.hidden)
        guard let norm else {
            kernel_add(isa, out, delta, config.hidden)
            return
        }
        let normed = space.delta[row]
        kernel_rmsnorm(isa, delta, config.hidden, norm, config.epsilon, normed)
        kernel_add(isa, out, normed, config.hidden)
    }
}
