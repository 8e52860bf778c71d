// The backward half, layer by layer from the last. Where a buffer's old content is not needed any more the gradient takes its
// place: gate and up, query, key and value hold their own gradients after their step.

import Arithmetic
import GradientKernels
import Inference
import Kernels

extension GradientPass {
    func backward() {
        for layer in (0..<config.layers).reversed() {
            guard goesOn() else { return }
            if !keepsLayers { repeatForward(layer) }
            eachPart { slice, from, to in
                backFeedForward(layer, slice: slice, from: from, to: to)
                backAttentionOutput(layer, slice: slice, from: from, to: to)
            }
            backAttention(layer)
            eachPart { slice, from, to in backAttentionInput(layer, slice: slice, from: from, to: to) }
            pool.run(count: width) { slice in
                if let projector {
                    project(layer, projector, slice: slice)
                } else {
                    addGradients(layer, slice: slice)
                }
            }
        }
    }

    /// From the stream's gradient behind the layer to that between its halves.
    private func backFeedForward(_ layer: Int, slice: Int, from: Int, to: Int) {
        let weights = layers[layer], tape = tape(layer), hidden = config.hidden, count = to - from
        let answer = space.feedForwardGradient
        backNorm(
            tape.feedForwardAnswer, weights.afterFeedForward, of: space.streamGradient, into: answer, from: from, to: to
        )
        lowRankBack(.feedForwardOutput, layer: layer, from: from, to: to) { _ in answer }
        let gated = space.gated
        multiplyBack(
            weights.down, answer[from], answer.stride, into: gated[from], gated.stride, continues: false, slice: slice,
            tokens: count)
        addLowRankBack(.feedForwardOutput, into: gated, layer: layer, from: from, to: to)
        let isGELU: Int32 = config.activation == .geluTanh ? 1 : 0
        for row in from..<to {
            gradient_gate(
                isa, isGELU, tape.gate[row], tape.up[row], gated[row], weights.gate.rows, gated[row], tape.gate[row],
                tape.up[row])
            kernel_rmsnorm(
                isa, tape.middle[row], hidden, weights.beforeFeedForward, config.epsilon, space.normedMiddle[row])
        }
        lowRankBack(.feedForwardInput, layer: layer, from: from, to: to) { $0 == 4 ? tape.gate : tape.up }
        let input = space.normedGradient
        multiplyBack(
            weights.gate, tape.gate[from], tape.gate.stride, into: input[from], input.stride, continues: false,
            slice: slice, tokens: count)
        multiplyBack(
            weights.up, tape.up[from], tape.up.stride, into: input[from], input.stride, continues: true, slice: slice,
            tokens: count)
        addLowRankBack(.feedForwardInput, into: input, layer: layer, from: from, to: to)
        for row in from..<to {
            gradient_rmsnorm(
                isa, tape.middle[row], input[row], hidden, weights.beforeFeedForward, config.epsilon, 1,
                space.streamGradient[row])
        }
    }

    /// From the stream's gradient between the halves to that of attention's answer.
    private func backAttentionOutput(_ layer: Int, slice: Int, from: Int, to: Int) {
        let weights = layers[layer], tape = tape(layer), answer = space.attentionGradient
        backNorm(
            tape.attentionAnswer, weights.afterAttention, of: space.streamGradient, into: answer, from: from, to: to)
        lowRankBack(.attentionOutput, layer: layer, from: from, to: to) { _ in answer }
        let attended = space.attendedGradient
        multiplyBack(
            weights.output, answer[from], answer.stride, into: attended[from], attended.stride, continues: false,
            slice: slice, tokens: to - from)
        addLowRankBack(.attentionOutput, into: attended, layer: layer, from: from, to: to)
    }

    /// Through the norm that follows a half, where there is one.
    private func backNorm(
        _ x: FloatRows?, _ norm: [Float]?, of gradient: FloatRows, into out: FloatRows, from: Int, to: Int
    ) {
        for row in from..<to {
            if let x, let norm {
                gradient_rmsnorm(isa, x[row], gradient[row], config.hidden, norm, config.epsilon, 0, out[row])
            } else {
                out[row].update(from: gradient[row], count: config.hidden)
            }
        }
    }

    /// From the gradients of rotated queries and keys, and of values, to that of the stream before the layer.
    private func backAttentionInput(_ layer: Int, slice: Int, from: Int, to: Int) {
        let weights = layers[layer], tape = tape(layer), hidden = config.hidden
        for row in from..<to {
            rotate(tape.query[row], heads, layer: layer, row: row, back: true)
            rotate(tape.key[row], keyValueHeads, layer: layer, row: row, back: true)
            if let raw = tape.rawQuery, let norm = weights.queryNorm {
                backHeads(raw[row], tape.query[row], heads, norm)
            }
            if let raw = tape.rawKey, let norm = weights.keyNorm {
                backHeads(raw[row], tape.key[row], keyValueHeads, norm)
            }
            kernel_rmsnorm(
                isa, streams[layer][row], hidden, weights.beforeAttention, config.epsilon, space.normed[row])
        }
        lowRankBack(.attentionInput, layer: layer, from: from, to: to) { [tape.query, tape.key, tape.value][$0] }
        // Nobody asks for the gradient of the embeddings.
        guard layer > 0 else { return }
        let input = space.normedGradient
        for (place, pair) in [(weights.query, tape.query), (weights.key, tape.key), (weights.value, tape.value)]
            .enumerated()
        {
            multiplyBack(
                pair.0, pair.1[from], pair.1.stride, into: input[from], input.stride, continues: place > 0,
                slice: slice, tokens: to - from)
        }
        addLowRankBack(.attentionInput, into: input, layer: layer, from: from, to: to)
        for row in from..<to {
            gradient_rmsnorm(
                isa, streams[layer][row], input[row], hidden, weights.beforeAttention, config.epsilon, 1,
                space.streamGradient[row])
        }
    }

    private func backHeads(
        _ raw: UnsafePointer<Float>, _ gradient: UnsafeMutablePointer<Float>, _ count: Int, _ norm: [Float]
    ) {
        for head in 0..<count {
            let at = head * dimension
            gradient_rmsnorm(
                isa, raw + at, gradient + at, dimension, norm, config.epsilon, 0, gradient + at)
        }
    }

    private func addGradients(_ layer: Int, slice: Int) {
        let tape = tape(layer)
        addGradients(.attentionInput, input: space.normed, layer: layer, slice: slice) {
            [tape.query, tape.key, tape.value][$0]
        }
        addGradients(.attentionOutput, input: tape.attended, layer: layer, slice: slice) { _ in space.attentionGradient
        }
        addGradients(.feedForwardInput, input: space.normedMiddle, layer: layer, slice: slice) {
            $0 == 4 ? tape.gate : tape.up
        }
        addGradients(.feedForwardOutput, input: space.gated, layer: layer, slice: slice) { _ in
            space.feedForwardGradient
        }
    }
}
