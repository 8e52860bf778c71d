// The loss of rows that were not trained on, of a base alone or with an adapter.

package import Arithmetic
package import Inference
import ModelFiles

package final class Evaluator {
    private let gradient: GradientPass
    private let tokensMax: Int
    private let rowTokensMax: Int

    /// - Parameter adapter: nil for the base alone.
    package init(
        model: LoadedModel, adapter: AdapterFactors?, rows: [TrainingRow], pool: any WorkerPool = SerialPool(),
        instructionSet: InstructionSet = .best, tokensMax: Int = TrainingLimit.packedTokensMax
    ) throws {
        let (layout, longest) = try Self.plan(model.config, adapter, rows)
        let parameters = AdapterParameters(layout)
        parameters.read(adapter?.modules ?? [])
        gradient = try GradientPass(
            model: model, parameters: parameters, pool: pool, instructionSet: instructionSet, tokensMax: tokensMax,
            rowTokensMax: longest, keptBytesMax: 0)
        self.tokensMax = tokensMax
        rowTokensMax = longest
    }

    private static func plan(
        _ config: ModelConfig, _ adapter: AdapterFactors?, _ rows: [TrainingRow]
    ) throws -> (AdapterLayout, longest: Int) {
        try config.checkTrainable()
        let longest = rows.reduce(0) { max($0, $1.inputCount) }
        guard longest <= min(TrainingLimit.rowTokensMax, config.contextTokens) else {
            throw TrainingFault.rows("a row has \(longest + 1) tokens, more than the model takes")
        }
        return (AdapterLayout(adapter?.chosen ?? [], config: config), longest)
    }

    /// Bytes that it takes beside the base, before it is made.
    package static func byteCount(
        base: TrainingBase, adapter: AdapterFactors?, rows: [TrainingRow], width: Int,
        tokensMax: Int = TrainingLimit.packedTokensMax
    ) throws -> Int {
        let (layout, longest) = try plan(base.config, adapter, rows), memory = FloatMemory(measures: true)
        _ = try GradientPass(
            measuring: base, parameters: AdapterParameters(layout, memory: memory), width: width, tokensMax: tokensMax,
            rowTokensMax: longest, keptBytesMax: 0, memory: memory)
        return memory.byteCount
    }

    package var byteCount: Int { gradient.byteCount + gradient.parameters.byteCount }

    /// - Parameter isWanted: asked before each packed batch; false ends it without an answer.
    package func loss(of rows: [TrainingRow], while isWanted: () -> Bool = { true }) -> HeldOutLoss? {
        precondition(rows.allSatisfy { $0.inputCount <= rowTokensMax })
        return gradient.heldOutLoss(of: rows, tokensMax: tokensMax, while: isWanted)
    }
}

extension GradientPass {
    func heldOutLoss(of rows: [TrainingRow], tokensMax: Int, while isWanted: () -> Bool) -> HeldOutLoss? {
        var sum = 0.0, scored = 0
        for batch in PackedBatch.cut(rows, tokensMax: tokensMax) {
            guard isWanted() else { return nil }
            let losses = run(batch, weight: nil)
            sum += losses.reduce(0, +)
            scored += losses.count
        }
        return HeldOutLoss(loss: sum / Double(max(1, scored)), scored: scored)
    }
}
