// What a run says, a line an event:
//
//     start ──▶ (step | evaluation)* ──▶ done
//
// Lines are kept in the run's folder; whoever listens reads them there.

import Arithmetic
import Attribution
import Dispatch
import Inference
import Primitives
import Training

final class Speaker {
    private let run: TrainingRun
    private let trainer: Trainer
    private let rows: TrainingRows
    private let heldOut: TrainingRows?
    private let start: UInt64
    private var tokens = 0
    private var seconds = 0.0

    init(
        run: TrainingRun, trainer: Trainer, rows: TrainingRows, heldOut: TrainingRows?, start: UInt64
    ) {
        self.run = run
        self.trainer = trainer
        self.rows = rows
        self.heldOut = heldOut
        self.start = start
    }

    func begin(model: LoadedModel, pool: any WorkerPool, initial: AdapterFactors?, memory: Int) throws {
        let base = try heldOut.flatMap { heldOut in
            try Evaluator(model: model, adapter: nil, rows: heldOut.rows, pool: pool)
                .loss(of: heldOut.rows) { [run] in !run.isWished }
        }
        try run.checkWish()
        try run.folder.append(
            .object([
                "event": .string("start"), "run": .string(run.id), "name": .string(run.order.name),
                "model": .string(run.order.modelName), "precision": .string(run.order.precision.rawValue),
                "rows": .integer(rows.rows.count), "row_tokens": .integer(rows.tokenCount),
                "rows_cut": .integer(rows.cutCount), "steps": .integer(run.order.settings.steps),
                "batch": .integer(run.order.settings.batch), "parameters": .integer(trainer.parameters.layout.count),
                "memory_bytes": .integer(memory),
                "base_eval_loss": base.map { .double($0.loss) } ?? .null,
                "base_perplexity": base.map { .double($0.perplexity) } ?? .null,
            ]))
    }

    func say(_ step: TrainingStep, seconds: Double) throws {
        tokens += step.tokens
        self.seconds += seconds
        try run.folder.append(
            .object([
                "event": .string("step"), "step": .integer(step.step), "loss": .double(step.loss),
                "tokens_per_second": .double((Double(step.tokens) / max(seconds, 1e-9)).rounded()),
                "learning_rate": .double(step.learningRate), "gradient_norm": .double(step.gradientNorm),
                "tokens": .integer(step.tokens), "scored_tokens": .integer(step.scored),
            ]))
        let every = run.order.evaluationSteps
        if step.step == run.order.settings.steps || (every > 0 && step.step.isMultiple(of: every)) {
            try evaluate(step.step)
        }
    }

    private func evaluate(_ step: Int) throws {
        guard let heldOut else { return }
        // Cut off here, the run goes on from the checkpoint before this step, and says it again.
        guard let loss = try trainer.heldOutLoss(of: heldOut.rows, while: { [run] in !run.isWished }) else {
            return try run.checkWish()
        }
        try run.folder.append(
            .object([
                "event": .string("evaluation"), "step": .integer(step), "eval_loss": .double(loss.loss),
                "perplexity": .double(loss.perplexity), "scored_tokens": .integer(loss.scored),
            ]))
    }

    /// Every tenth of the rows; with the index at the end.
    func sayInfluence(_ done: Int, of count: Int, seconds: Double, index: InfluenceIndex? = nil) throws {
        try run.folder.append(
            .object([
                "event": .string("influence"), "rows_done": .integer(done), "rows": .integer(count),
                "seconds": .double((seconds * 1000).rounded() / 1000),
                "index": .text(index?.cid.text), "bytes": index.map { .integer($0.bytes.count) } ?? .null,
                "row_bytes": index.map { .integer($0.shape.rowBytes) } ?? .null,
            ]))
    }

    func sayNoInfluence(_ reason: String) throws {
        try run.folder.append(
            .object([
                "event": .string("influence"), "rows_done": .integer(0), "rows": .integer(rows.rows.count),
                "index": .null, "reason": .string("no influence index: \(reason)"),
            ]))
    }

    func end(_ adapter: CID, out: String?) throws {
        let wall = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
        // A run that was cut off after its last step has said these before.
        let said = (run.folder.bytes(run.folder.eventsPath) ?? []).split(separator: 0x0a)
            .compactMap { try? JSONValue.parse(Array($0)) }
        let last = said.last { $0["event"]?.text == "step" }, first = said.first { $0["event"]?.text == "start" }
        let evaluation = said.last { $0["event"]?.text == "evaluation" }
        try run.folder.append(
            .object([
                "event": .string("done"), "run": .string(run.id), "name": .string(run.order.name),
                "id": .string(adapter.text), "steps": .integer(trainer.step), "loss": last?["loss"] ?? .null,
                "eval_loss": evaluation?["eval_loss"] ?? .null, "perplexity": evaluation?["perplexity"] ?? .null,
                "base_eval_loss": first?["base_eval_loss"] ?? .null,
                "tokens_per_second": seconds > 0 ? .double((Double(tokens) / seconds).rounded()) : .null,
                "seconds": .double((wall * 1000).rounded() / 1000), "out": .text(out),
            ]))
    }
}
