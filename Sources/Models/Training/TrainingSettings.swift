// How an adapter is trained: what people choose, with bounds, and the learning rate of a step.

import Kernels

package enum TrainingLimit {
    package static let stepsMax = 1_000_000
    package static let batchRowsMax = 4096
    package static let rowsMax = 1 << 22
    package static let rowTokensMax = 4096
    /// Tokens that are computed at once, unless one row is longer.
    package static let packedTokensMax = 1024
    package static let heldOutEveryMax = 1000
}

package struct TrainingSettings: Hashable, Sendable {
    package enum Schedule: String, Hashable, Sendable, CaseIterable {
        case constant
        /// From the learning rate to a twentieth of it along half a cosine.
        case cosine
    }

    /// Of an adapter that begins anew; one that goes on keeps its own.
    package var rank = 8
    package var alpha = 16.0
    package var rootScaled = false
    package var steps = 1
    /// Rows of a step.
    package var batch = 8
    package var learningRate = 1e-3
    package var schedule = Schedule.constant
    /// Steps over which the learning rate rises.
    package var warmup = 0
    package var weightDecay = 0.01
    package var firstBeta = 0.9
    package var secondBeta = 0.999
    package var epsilon = 1e-8
    /// The greatest norm of a gradient; 0 for any.
    package var clip = 0.0
    package var seed: UInt64 = 0
    package var shuffles = true
    /// Every so manieth row was kept for evaluation and not trained on; 0: none, and it says nothing of other files.
    package var heldOutEvery = 0

    package init() {}

    /// Step counted from 0.
    package func learningRate(at step: Int) -> Double {
        let rise = warmup > 0 ? min(1, Double(step + 1) / Double(warmup)) : 1
        switch schedule {
        case .constant: return learningRate * rise
        case .cosine:
            var sine = 0.0, cosine = 0.0
            kernel_sincos(Double.pi * Double(step) / Double(max(1, steps)), &sine, &cosine)
            return learningRate * rise * (0.05 + 0.95 * 0.5 * (1 + cosine))
        }
    }

    /// What is wrong, nil where nothing is.
    package var fault: String? {
        func finite(_ value: Double, _ range: ClosedRange<Double>) -> Bool { value.isFinite && range.contains(value) }
        if !(1...256).contains(rank) { return "the rank is not between 1 and 256" }
        if !finite(alpha, -1e6...1e6) || alpha == 0 { return "alpha is out of range" }
        if !(1...TrainingLimit.stepsMax).contains(steps) {
            return "the number of steps is not between 1 and \(TrainingLimit.stepsMax)"
        }
        if !(1...TrainingLimit.batchRowsMax).contains(batch) {
            return "the batch is not between 1 and \(TrainingLimit.batchRowsMax) rows"
        }
        if !finite(learningRate, 0...100) { return "the learning rate is not between 0 and 100" }
        if !(0...TrainingLimit.stepsMax).contains(warmup) { return "the warm-up is out of range" }
        if !finite(weightDecay, 0...100) { return "the weight decay is not between 0 and 100" }
        if !finite(firstBeta, 0...0.999_999) || !finite(secondBeta, 0...0.999_999_9) {
            return "a beta is not at least 0 and below 1"
        }
        if !finite(epsilon, 1e-30...1) { return "epsilon is not between 1e-30 and 1" }
        if !finite(clip, 0...1e9) { return "the clip is negative" }
        if heldOutEvery != 0, !(2...TrainingLimit.heldOutEveryMax).contains(heldOutEvery) {
            return "rows are held out every 2 to every \(TrainingLimit.heldOutEveryMax)"
        }
        return nil
    }
}
