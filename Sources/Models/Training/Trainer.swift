// LoRA fine-tuning over a frozen base, one step at a time: whoever runs it does as much between two steps as it likes. What a
// step computes is a function of the base, the rows, the settings and the step's number; a checkpoint holds the weights, the
// moments and that number, so a run that was cut off ends in the same weights.

package import Arithmetic
import GradientKernels
package import Inference
import ModelFiles

package struct TrainingStep: Hashable, Sendable {
    /// Counted from 1.
    package let step: Int
    /// Mean over the step's scored tokens, before the step.
    package let loss: Double
    package let gradientNorm: Double
    package let learningRate: Double
    /// Tokens of the step's rows, and those that are scored.
    package let tokens: Int
    package let scored: Int
}

package struct HeldOutLoss: Hashable, Sendable {
    package let loss: Double
    package let scored: Int
    package var perplexity: Double { DoubleMath.pow(2.718281828459045, loss) }
}

package enum TrainingFault: Error, Hashable, CustomStringConvertible {
    case settings(String)
    case rows(String)
    case diverged(step: Int)

    package var description: String {
        switch self {
        case .settings(let what): what
        case .rows(let what): what
        case .diverged(let step):
            "the loss or the weights of step \(step) are no numbers: take a lower learning rate (--lr), a longer warm-up or "
                + "a clip; an adapter to go on from must be finite"
        }
    }
}

package final class Trainer {
    package let settings: TrainingSettings
    package let config: ModelConfig
    package let parameters: AdapterParameters
    package private(set) var step = 0
    let gradient: GradientPass
    private let rows: [TrainingRow]
    private var order: RowOrder
    let tokensMax: Int

    package var isDone: Bool { step >= settings.steps }
    /// Bytes that the buffers and the parameters take beside the base.
    package var byteCount: Int { gradient.byteCount + parameters.byteCount }

    /// - Parameters:
    ///   - heldOut: rows that `heldOutLoss` will be asked of; others may be no longer than the longest of both.
    ///   - initial: an adapter to go on from; nil to begin anew with the settings' rank and alpha.
    ///   - keptBytesMax: where the forward halves of all layers take more, each is made a second time rather than kept: less
    ///     memory, the same bits.
    package init(
        model: LoadedModel, rows: [TrainingRow], heldOut: [TrainingRow] = [], settings: TrainingSettings,
        initial: AdapterFactors? = nil, pool: any WorkerPool = SerialPool(), instructionSet: InstructionSet = .best,
        tokensMax: Int = TrainingLimit.packedTokensMax, keptBytesMax: Int = 1 << 30
    ) throws {
        let (layout, longest) = try Self.plan(TrainingBase(model), rows, heldOut, settings, initial)
        parameters = AdapterParameters(layout)
        if let initial {
            parameters.read(initial.modules)
        } else {
            parameters.initialise(seed: settings.seed)
        }
        gradient = try GradientPass(
            model: model, parameters: parameters, pool: pool, instructionSet: instructionSet, tokensMax: tokensMax,
            rowTokensMax: longest, keptBytesMax: keptBytesMax)
        self.rows = rows
        self.settings = settings
        self.tokensMax = tokensMax
        config = model.config
        order = RowOrder(rows: rows.count, seed: settings.seed, shuffles: settings.shuffles)
    }

    /// Bytes that a run takes beside the base, before anything is made: for its steps, with its influence pass after the
    /// last one, and for the index that this pass makes (0 where there would be none).
    package static func byteCounts(
        base: TrainingBase, rows: [TrainingRow], heldOut: [TrainingRow] = [], settings: TrainingSettings,
        initial: AdapterFactors? = nil, width: Int, tokensMax: Int = TrainingLimit.packedTokensMax, keptBytesMax: Int
    ) throws -> (steps: Int, influence: Int, index: Int) {
        let (layout, longest) = try plan(base, rows, heldOut, settings, initial)
        let memory = FloatMemory(measures: true)
        _ = try GradientPass(
            measuring: base, parameters: AdapterParameters(layout, memory: memory), width: width, tokensMax: tokensMax,
            rowTokensMax: longest, keptBytesMax: keptBytesMax, memory: memory)
        let influence = InfluencePass.byteCount(layout, rowsMax: max(tokensMax, longest), width: width)
        return (
            memory.byteCount, memory.byteCount + influence, InfluencePass.indexByteCount(layout, rows: rows.count)
        )
    }

    /// Numbers that a run changes.
    package static func parameterCount(
        base: TrainingBase, settings: TrainingSettings, initial: AdapterFactors? = nil
    ) -> Int { layout(base, settings, initial).count }

    /// What is trained, and the tokens of the longest row. Nothing is laid out for what cannot be trained.
    private static func plan(
        _ base: TrainingBase, _ rows: [TrainingRow], _ heldOut: [TrainingRow], _ settings: TrainingSettings,
        _ initial: AdapterFactors?
    ) throws -> (AdapterLayout, longest: Int) {
        if let fault = settings.fault { throw TrainingFault.settings(fault) }
        let config = base.config
        try config.checkTrainable()
        let kept = rows.filter { $0.scoredCount > 0 }
        guard !kept.isEmpty, rows.count <= TrainingLimit.rowsMax else {
            throw TrainingFault.rows(
                kept.isEmpty
                    ? "no row has a token to learn: each needs a completion, a text or a label other than -100"
                    : "more than \(TrainingLimit.rowsMax) rows")
        }
        let longest = (kept + heldOut).reduce(0) { max($0, $1.inputCount) }
        guard longest <= min(TrainingLimit.rowTokensMax, config.contextTokens) else {
            throw TrainingFault.rows(
                "a row has \(longest + 1) tokens, the model and this peer take at most "
                    + "\(min(TrainingLimit.rowTokensMax, config.contextTokens))")
        }
        for row in rows + heldOut where row.tokens.contains(where: { $0 < 0 || Int($0) >= config.vocabulary }) {
            throw TrainingFault.rows("a row has a token id outside the vocabulary of \(config.vocabulary)")
        }
        return (layout(base, settings, initial), longest)
    }

    private static func layout(
        _ base: TrainingBase, _ settings: TrainingSettings, _ initial: AdapterFactors?
    ) -> AdapterLayout {
        let chosen =
            if let initial {
                initial.chosen
            } else {
                base.config.allModules.map {
                    (layer: $0.layer, module: $0.module, rank: settings.rank, scale: settings.scale)
                }
            }
        return AdapterLayout(chosen, config: base.config)
    }

    /// The gradients of a step's rows, left in the parameters.
    func computeGradients(of rows: [TrainingRow]) -> (losses: [Double], scored: Int) {
        parameters.clearGradients()
        let scored = rows.reduce(0) { $0 + $1.scoredCount }
        guard scored > 0 else { return ([], 0) }
        var losses: [Double] = []
        for batch in PackedBatch.cut(rows, tokensMax: tokensMax) {
            losses += gradient.run(batch, weight: 1 / Float(scored))
        }
        return (losses, scored)
    }

    /// The gradient of a row's mean loss at the weights as they are, whole: of every module A's, then B's.
    package func gradientMatrices(of row: TrainingRow) -> [[Float]] {
        _ = computeGradients(of: [row])
        return parameters.layout.modules.flatMap { module in
            let (down, up) = parameters.gradients(of: module)
            return [down, up]
        }
    }

    package func advance() throws(TrainingFault) -> TrainingStep {
        precondition(!isDone)
        let chosen = order.rows(of: step, batch: settings.batch).map { rows[$0] }
        let (losses, scored) = computeGradients(of: chosen)
        let loss = losses.reduce(0, +) / Double(max(1, scored)), norm = gradientNorm()
        guard loss.isFinite, norm.isFinite else { throw .diverged(step: step + 1) }
        let rate = settings.learningRate(at: step)
        if scored > 0 { update(rate: rate, norm: norm) }
        step += 1
        // Before the last step the next one's loss tells.
        if isDone, !parameters.areFinite { throw .diverged(step: step) }
        return TrainingStep(
            step: step, loss: loss, gradientNorm: norm, learningRate: rate,
            tokens: chosen.reduce(0) { $0 + $1.tokens.count }, scored: scored)
    }

    /// Mean loss of other rows at the weights as they are.
    /// - Parameter isWanted: asked before each packed batch; false ends it without an answer.
    package func heldOutLoss(
        of rows: [TrainingRow], while isWanted: () -> Bool = { true }
    ) throws(TrainingFault) -> HeldOutLoss? {
        for row in rows where row.inputCount > gradient.rowTokensMax {
            throw .rows("a row has \(row.tokens.count) tokens, more than the longest to train on")
        }
        return gradient.heldOutLoss(of: rows, tokensMax: tokensMax, while: isWanted)
    }

    // MARK: The optimiser

    /// Sum of squares piece by piece: within a piece over lanes, pieces in order in double precision.
    private func gradientNorm() -> Double {
        let piece = 4096
        var sum = 0.0
        for start in stride(from: 0, to: parameters.layout.count, by: piece) {
            let count = min(piece, parameters.layout.count - start)
            sum += Double(gradient_squares(gradient.isa, parameters.gradients + start, count))
        }
        return sum.squareRoot()
    }

    private func update(rate: Double, norm: Double) {
        let number = Double(step + 1), first = settings.firstBeta, second = settings.secondBeta
        let factor = settings.clip > 0 ? min(1, settings.clip / (norm + 1e-6)) : 1
        var values = gradient_adam_step(
            factor: Float(factor), keep: Float(1 - rate * settings.weightDecay), keep_first: Float(first),
            take_first: Float(1 - first), keep_second: Float(second), take_second: Float(1 - second),
            rate: Float(rate / (1 - DoubleMath.power(first, number))),
            root: Float((1 - DoubleMath.power(second, number)).squareRoot()), eps: Float(settings.epsilon))
        let pool = gradient.pool, width = gradient.width, isa = gradient.isa, parameters = parameters
        let groups = (parameters.layout.count + 15) / 16
        withUnsafePointer(to: &values) { step in
            pool.run(count: width) { slice in
                let from = groups * slice / width * 16
                let to = min(parameters.layout.count, groups * (slice + 1) / width * 16)
                guard from < to else { return }
                gradient_adam(
                    isa, step, parameters.gradients + from, to - from, parameters.weights + from,
                    parameters.first + from, parameters.second + from)
            }
        }
        parameters.turn()
    }

    /// Takes what a checkpoint holds.
    func restore(
        step: Int, weights: UnsafeRawBufferPointer, first: UnsafeRawBufferPointer, second: UnsafeRawBufferPointer
    ) {
        for (target, source) in [
            (parameters.weights, weights), (parameters.first, first), (parameters.second, second),
        ] {
            UnsafeMutableRawBufferPointer(start: target, count: parameters.layout.count * 4).copyMemory(from: source)
        }
        self.step = step
        parameters.turn()
    }
}

extension TrainingSettings {
    package var scale: Double { rootScaled ? alpha / Double(rank).squareRoot() : alpha / Double(rank) }
}

extension DoubleMath {
    /// base^exponent, of a base that may be 0.
    static func power(_ base: Double, _ exponent: Double) -> Double { base == 0 ? 0 : pow(base, exponent) }
}
