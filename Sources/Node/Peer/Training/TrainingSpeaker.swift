// What a run says, a line an event:
//
//     start ──▶ (step | evaluation)* ──▶ influence* ──▶ done
//
// Lines are kept in the run's folder; whoever listens reads them there. Whoever speaks has the clock: what was foretold, what
// it took, and how fast this base is trained here.

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
    private let plan: TrainingPlan
    private let means: TrainingMeans
    private let start: UInt64
    private var watch: MemoryWatch
    /// Of this stretch: tokens, and seconds that they took.
    private var steps = (count: 0, tokens: 0, seconds: 0.0)
    private var evaluation = (tokens: 0, seconds: 0.0)
    private var influenceSeconds: Double?
    /// Before the first step of this stretch.
    private var beginSeconds: Double?
    /// Of the stretches before this one.
    private var earlier = 0.0

    init(
        run: TrainingRun, trainer: Trainer, rows: TrainingRows, heldOut: TrainingRows?, plan: TrainingPlan,
        means: TrainingMeans, start: UInt64, watch: MemoryWatch
    ) {
        self.run = run
        self.trainer = trainer
        self.rows = rows
        self.heldOut = heldOut
        self.plan = plan
        self.means = means
        self.start = start
        self.watch = watch
    }

    private var wall: Double { Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9 }

    private static func rounded(_ seconds: Double) -> JSONValue { .double((seconds * 1000).rounded() / 1000) }

    // MARK: Beginning

    func begin(model: LoadedModel, pool: any WorkerPool, weights: Int, _ buffers: TrainingPlan.Buffers) throws {
        let (speed, isMeasured) = means.speed(run.order)
        let predicted = TrainingFigures(
            memoryBytes: weights + buffers.bytes + buffers.index, seconds: speed.seconds(of: plan.work),
            isMeasured: isMeasured)
        run.note { summary in
            summary = TrainingSummary()
            summary.predicted = predicted
            summary.remaining = predicted.seconds
        }
        let before = wall
        let base = try heldOut.flatMap { heldOut in
            try Evaluator(model: model, adapter: nil, rows: heldOut.rows, pool: pool)
                .loss(of: heldOut.rows) { [run] in !run.isWished }
        }
        try run.checkWish()
        if let heldOut { timed(evaluation: heldOut.tokenCount, seconds: wall - before) }
        run.note { $0.baseEvaluationLoss = base?.loss }
        watch.look()
        try run.folder.append(
            .object([
                "event": .string("start"), "run": .string(run.id), "name": .string(run.order.name),
                "model": .string(run.order.modelName), "precision": .string(run.order.precision.rawValue),
                "rows": .integer(rows.rows.count), "row_tokens": .integer(rows.tokenCount),
                "rows_cut": .integer(rows.cutCount), "steps": .integer(run.order.settings.steps),
                "batch": .integer(run.order.settings.batch), "parameters": .integer(trainer.parameters.layout.count),
                "memory_bytes": .integer(weights + buffers.bytes), "predicted": predicted.json,
                "base_eval_loss": base.map { .double($0.loss) } ?? .null,
                "base_perplexity": base.map { .double($0.perplexity) } ?? .null,
            ]))
        beginSeconds = wall - evaluation.seconds
    }

    /// After a restart: what was foretold, and how long it has computed, stand in what was said.
    func goOn() {
        let said = run.folder.said
        let first = said.first { $0["event"]?.text == "start" }
        earlier = said.reduce(0) { max($0, $1["elapsed_s"]?.double ?? 0) }
        let (elapsed, evaluated) = (earlier, said.last { $0["event"]?.text == "evaluation" })
        run.note { summary in
            summary.predicted = TrainingFigures(first?["predicted"])
            summary.baseEvaluationLoss = first?["base_eval_loss"]?.double
            summary.evaluationLoss = evaluated?["eval_loss"]?.double
            summary.elapsed = elapsed
        }
        beginSeconds = wall
    }

    // MARK: Time

    func timed(influence seconds: Double) { influenceSeconds = seconds }

    private func timed(evaluation tokens: Int, seconds: Double) {
        evaluation.tokens += tokens
        evaluation.seconds += seconds
    }

    private var elapsed: Double { earlier + wall }

    /// Of the steps so far; nil before the second, which is the first that is not cold.
    private var speed: TrainingSpeed? {
        guard steps.count > 1, steps.seconds > 0, steps.tokens > 0 else { return nil }
        func rate(_ tokens: Int, _ seconds: Double) -> Double? { seconds > 0 ? Double(tokens) / seconds : nil }
        return TrainingSpeed(
            weights: means.weights(run.order), steps: Double(steps.tokens) / steps.seconds,
            evaluation: evaluation.tokens > 0 ? rate(evaluation.tokens, evaluation.seconds) : nil,
            influence: influenceSeconds.flatMap { rate(rows.tokenCount, $0) }, begin: beginSeconds ?? 1)
    }

    /// The next prediction of this base is made from what this run has shown.
    func teach() {
        if let speed { means.speeds.learn(run.order.model, run.order.precision, speed) }
    }

    /// Keeps the summary as it stands now; what is left is told by the pace of this stretch.
    private func note(step: Int) {
        watch.look()
        var left = plan.work
        left.steps *= 1 - Double(step) / Double(max(1, run.order.settings.steps))
        let known = means.speed(run.order).speed, pace = speed
        let elapsed = elapsed
        run.note { summary in
            summary.elapsed = elapsed
            if let pace {
                var both = known
                both.steps = pace.steps
                summary.remaining = left.steps / both.steps + both.tail(of: left)
            }
        }
    }

    // MARK: Lines

    func say(_ step: TrainingStep, seconds: Double) throws {
        steps.count += 1
        // The first step of a stretch also touches its memory for the first time.
        if steps.count > 1 || run.order.settings.steps == 1 {
            steps.tokens += step.tokens
            steps.seconds += seconds
        }
        note(step: step.step)
        try run.folder.append(
            .object([
                "event": .string("step"), "step": .integer(step.step), "loss": .double(step.loss),
                "tokens_per_second": .double((Double(step.tokens) / max(seconds, 1e-9)).rounded()),
                "learning_rate": .double(step.learningRate), "gradient_norm": .double(step.gradientNorm),
                "tokens": .integer(step.tokens), "scored_tokens": .integer(step.scored),
                "elapsed_s": Self.rounded(elapsed),
            ]))
        let every = run.order.evaluationSteps
        if step.step == run.order.settings.steps || (every > 0 && step.step.isMultiple(of: every)) {
            try evaluate(step.step)
        }
    }

    private func evaluate(_ step: Int) throws {
        guard let heldOut else { return }
        let before = wall
        // Cut off here, the run goes on from the checkpoint before this step, and says it again.
        guard let loss = try trainer.heldOutLoss(of: heldOut.rows, while: { [run] in !run.isWished }) else {
            return try run.checkWish()
        }
        timed(evaluation: heldOut.tokenCount, seconds: wall - before)
        run.note { $0.evaluationLoss = loss.loss }
        try run.folder.append(
            .object([
                "event": .string("evaluation"), "step": .integer(step), "eval_loss": .double(loss.loss),
                "perplexity": .double(loss.perplexity), "scored_tokens": .integer(loss.scored),
                "elapsed_s": Self.rounded(elapsed),
            ]))
    }

    /// Every tenth of the rows; with the index at the end.
    func sayInfluence(_ done: Int, of count: Int, seconds: Double, index: InfluenceIndex? = nil) throws {
        watch.look()
        let elapsed = elapsed, left = done > 0 ? seconds / Double(done) * Double(count - done) : nil
        run.note { summary in
            summary.elapsed = elapsed
            if let left { summary.remaining = left }
        }
        try run.folder.append(
            .object([
                "event": .string("influence"), "rows_done": .integer(done), "rows": .integer(count),
                "seconds": Self.rounded(seconds),
                "index": .text(index?.cid.text), "bytes": index.map { .integer($0.bytes.count) } ?? .null,
                "row_bytes": index.map { .integer($0.shape.rowBytes) } ?? .null, "elapsed_s": Self.rounded(elapsed),
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
        watch.look()
        teach()
        let elapsed = elapsed, actual = TrainingFigures(memoryBytes: watch.growth, seconds: elapsed)
        run.note { summary in
            summary.actual = actual
            summary.elapsed = elapsed
            summary.remaining = nil
            summary.adapter = adapter
        }
        // A run that was cut off after its last step has said these before.
        let said = run.folder.said
        let last = said.last { $0["event"]?.text == "step" }, first = said.first { $0["event"]?.text == "start" }
        let evaluation = said.last { $0["event"]?.text == "evaluation" }
        try run.folder.append(
            .object([
                "event": .string("done"), "run": .string(run.id), "name": .string(run.order.name),
                "id": .string(adapter.text), "steps": .integer(trainer.step), "loss": last?["loss"] ?? .null,
                "eval_loss": evaluation?["eval_loss"] ?? .null, "perplexity": evaluation?["perplexity"] ?? .null,
                "base_eval_loss": first?["base_eval_loss"] ?? .null,
                "tokens_per_second": steps.seconds > 0
                    ? .double((Double(steps.tokens) / steps.seconds).rounded()) : .null,
                "seconds": Self.rounded(elapsed), "predicted": first?["predicted"] ?? .null,
                "actual": actual.json, "out": .text(out),
            ]))
    }
}
