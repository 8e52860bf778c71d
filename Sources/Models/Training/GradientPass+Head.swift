// From the last stream to losses, and back: only the rows that predict a scored token, some at a time, so that the logits of a
// batch never lie in memory together.

import Arithmetic
import GradientKernels
import Inference
import Kernels

extension GradientPass {
    /// The loss of every scored row; with `weight`, the stream's gradient behind the last layer of each loss times that.
    func head(weight: Float?) -> [Double] {
        let scored = batch.scored
        let losses = UnsafeMutableBufferPointer<Double>.allocate(capacity: max(1, scored.count))
        losses.initialize(repeating: 0)
        defer { losses.deallocate() }
        if weight != nil {
            space.streamGradient.values.update(repeating: 0, count: rows * space.streamGradient.stride)
        }
        pool.run(count: width) { slice in
            let own = space.heads[slice], end = scored.count * (slice + 1) / width
            for first in stride(from: scored.count * slice / width, to: end, by: own.rows) {
                head(scored[first..<min(end, first + own.rows)], own, weight: weight, slice: slice, losses)
            }
        }
        return Array(losses.prefix(scored.count))
    }

    private func head(
        _ scored: ArraySlice<(row: Int, target: Int32)>, _ own: HeadSpace, weight: Float?, slice: Int,
        _ losses: UnsafeMutableBufferPointer<Double>
    ) {
        let stream = streams[config.layers], matrix = model.frozenHead, norm = model.frozenFinalNorm
        for (place, item) in scored.enumerated() {
            kernel_rmsnorm(isa, stream[item.row], config.hidden, norm, config.epsilon, own.last[place])
        }
        if matrix.precision.isQuantized {
            kernel_quantize(
                isa, own.last.values, own.last.stride, 0, scored.count, (config.hidden + 31) / 32, own.quants)
        }
        multiply(
            matrix, own.last.values, own.last.stride, quants: own.quants, into: own.logits.values, own.logits.stride,
            tokens: scored.count)
        for (place, item) in scored.enumerated() {
            let logits = own.logits[place], target = Int(item.target)
            if let cap = config.logitCap { kernel_soft_cap(isa, logits, config.vocabulary, cap) }
            let chosen = logits[target]
            var greatest: Float = 0, sum: Float = 0
            gradient_cross_entropy(
                isa, logits, config.vocabulary, target, weight ?? 0, config.logitCap ?? 0, &greatest, &sum)
            losses[scored.startIndex + place] = Double(greatest) + DoubleMath.log(Double(sum)) - Double(chosen)
        }
        guard weight != nil else { return }
        multiplyBack(
            matrix, own.logits.values, own.logits.stride, into: own.gradient.values, own.gradient.stride,
            continues: false, slice: slice, tokens: scored.count)
        for (place, item) in scored.enumerated() {
            gradient_rmsnorm(
                isa, stream[item.row], own.gradient[place], config.hidden, norm, config.epsilon, 0,
                space.streamGradient[item.row])
        }
    }
}
