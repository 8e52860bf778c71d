// Attention backwards. A key/value head of a sequence is one piece of work: scores are made again, some queries at a time, and
// keys and values sum over the heads that share them and over queries, both in order.
//
//     P = softmax(Q K^T)   dP = dO V^T   dS = P (dP - sum P dP)   dQ = dS K   dK += dS^T Q   dV += P^T dO

import Arithmetic
import GradientKernels
import Inference
import Kernels

extension GradientPass {
    func backAttention(_ layer: Int) {
        let items = batch.sequences.count * keyValueHeads
        pool.run(count: width) { slice in
            for item in stride(from: slice, to: items, by: width) {
                backAttention(
                    layer, batch.sequences[item / keyValueHeads], keyHead: item % keyValueHeads, space.attention[slice])
            }
        }
    }

    private func backAttention(_ layer: Int, _ sequence: PackedBatch.Sequence, keyHead: Int, _ own: AttentionSpace) {
        let tape = tape(layer), count = sequence.count, group = heads / keyValueHeads, keyAt = keyHead * dimension
        gather(tape.key, at: keyAt, sequence, into: own.key)
        gather(tape.value, at: keyAt, sequence, into: own.value)
        gradient_transpose(own.key.values, count, dimension, own.key.stride, own.turnedKey.values, own.turnedKey.stride)
        gradient_transpose(
            own.value.values, count, dimension, own.value.stride, own.turnedValue.values, own.turnedValue.stride)
        own.keyGradient.values.update(repeating: 0, count: count * own.keyGradient.stride)
        own.valueGradient.values.update(repeating: 0, count: count * own.valueGradient.stride)
        for head in keyHead * group..<(keyHead + 1) * group {
            gather(tape.query, at: head * dimension, sequence, into: own.query)
            gather(space.attendedGradient, at: head * dimension, sequence, into: own.answerGradient)
            for first in stride(from: 0, to: count, by: AttentionSpace.queriesAtOnce) {
                backQueries(layer, first: first, end: min(count, first + AttentionSpace.queriesAtOnce), own)
            }
            scatter(own.queryGradient, sequence, into: tape.query, at: head * dimension)
        }
        scatter(own.keyGradient, sequence, into: tape.key, at: keyAt)
        scatter(own.valueGradient, sequence, into: tape.value, at: keyAt)
    }

    private func gather(_ rows: FloatRows, at column: Int, _ sequence: PackedBatch.Sequence, into out: FloatRows) {
        for position in 0..<sequence.count {
            out[position].update(from: rows[sequence.start + position] + column, count: dimension)
        }
    }

    private func scatter(_ rows: FloatRows, _ sequence: PackedBatch.Sequence, into out: FloatRows, at column: Int) {
        for position in 0..<sequence.count {
            (out[sequence.start + position] + column).update(from: rows[position], count: dimension)
        }
    }

    /// Queries [first, end) of one head.
    private func backQueries(_ layer: Int, first: Int, end: Int, _ own: AttentionSpace) {
        let window = config.plans[layer].window ?? 0, plan = config.attention
        let from = (window > 0 ? max(0, first + 1 - window) : 0) / 16 * 16, positions = (end - from).rounded(to: 16)
        let channels = dimension.rounded(to: 16)
        // Queries and answers' gradients times keys and values: a lane is a position.
        for (rows, turned, out) in [
            (own.query, own.turnedKey, own.scores), (own.answerGradient, own.turnedValue, own.scoreGradients),
        ] {
            multiply(
                turned.values + from, 16, turned.stride, rows[first], rows.stride, 1, out.values, out.stride,
                tiles: positions / 16, depth: dimension, rows: end - first, mode: GRADIENT_REPLACE)
        }
        for query in first..<end {
            let begin = window > 0 ? max(0, query + 1 - window) : 0
            gradient_attention(
                isa, own.scores[query - first], own.scoreGradients[query - first], begin - from, query - from,
                positions,
                plan.scale, plan.scoreCap ?? 0, own.room)
        }
        // A lane is a channel.
        multiply(
            own.key[from], 16, own.key.stride, own.scoreGradients.values, own.scoreGradients.stride, 1,
            own.queryGradient[first], own.queryGradient.stride, tiles: channels / 16, depth: end - from,
            rows: end - first, mode: GRADIENT_REPLACE)
        for (rows, weights, out) in [
            (own.query, own.scoreGradients, own.keyGradient), (own.answerGradient, own.scores, own.valueGradient),
        ] {
            multiply(
                rows[first], 16, rows.stride, weights.values, 1, weights.stride, out[from], out.stride,
                tiles: channels / 16, depth: end - first, rows: end - from, mode: GRADIENT_CONTINUE)
        }
    }

    private func multiply(
        _ m: UnsafePointer<Float>, _ tileStride: Int, _ depthStride: Int, _ x: UnsafePointer<Float>, _ xStride: Int,
        _ xStep: Int, _ y: UnsafeMutablePointer<Float>, _ yStride: Int, tiles: Int, depth: Int, rows: Int,
        mode: some BinaryInteger
    ) {
        var product = gradient_product(
            m: m, tile_stride: tileStride, depth_stride: depthStride, x: x, x_stride: xStride, x_step: xStep, y: y,
            y_stride: yStride, tiles: tiles, depth: depth, rows: rows, mode: Int32(mode))
        gradient_multiply(isa, &product)
    }
}
