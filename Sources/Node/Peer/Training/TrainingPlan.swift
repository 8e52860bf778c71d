// What a run takes and how long it computes, before anything of it is made. The estimate asks here, and so does the run when
// it claims its memory: they cannot differ.

import Arithmetic
import Inference
import ModelFiles
import Primitives
import Training

struct TrainingPlan {
    let base: TrainingBase
    let rows: TrainingRows
    let heldOut: TrainingRows?
    let initial: AdapterFactors?
    let settings: TrainingSettings
    let evaluationSteps: Int
    /// Threads.
    let width: Int

    /// Bytes beside the base's weights.
    struct Buffers {
        /// What is claimed before it is allocated.
        let bytes: Int
        /// For the influence index, which is left out where there is no room.
        let index: Int
        let keptBytesMax: Int
    }

    /// The forward halves of all layers are kept, or, in less memory, computed twice: the same bits.
    private static let waysOfKeeping = [TrainingDeskLimit.keptBytesMax, 0]

    /// The first way that there is room for; nil, and the least that it takes, where there is none.
    func fit<Room>(_ take: (Int) -> Room?) throws -> (room: Room?, Buffers) {
        let evaluation = try heldOut.map {
            try Evaluator.byteCount(base: base, adapter: nil, rows: $0.rows, width: width)
        }
        var buffers = Buffers(bytes: 0, index: 0, keptBytesMax: 0)
        for keptBytesMax in Self.waysOfKeeping {
            let counts = try Trainer.byteCounts(
                base: base, rows: rows.rows, heldOut: heldOut?.rows ?? [], settings: settings, initial: initial,
                width: width, keptBytesMax: keptBytesMax)
            buffers = Buffers(
                bytes: counts.influence + (evaluation ?? 0),
                index: rows.rows.count <= TrainingDeskLimit.influenceRowsMax ? counts.index : 0,
                keptBytesMax: keptBytesMax)
            if let room = take(buffers.bytes) { return (room, buffers) }
        }
        return (nil, buffers)
    }

    func noRoom(_ buffers: Buffers, model: String, left: Int) -> String {
        "training takes \(buffers.bytes) bytes beside the weights of \(model); memory.models leaves \(left). "
            + "Shorter rows, a lower rank or a lower precision take less"
    }

    static func noRoom(weights: Int, model: String, left: Int) -> String {
        "\(model) takes \(weights) bytes to train beside; memory.models leaves \(left)"
    }

    var work: TrainingWork {
        var work = TrainingWork()
        let mean = Double(rows.tokenCount) / Double(max(1, rows.rows.count))
        work.steps = Double(settings.steps) * Double(settings.batch) * mean
        if let heldOut {
            // The base's, those on the way, and one after the last step.
            let every = evaluationSteps, onTheWay = every > 0 ? (settings.steps - 1) / every : 0
            work.evaluation = Double(heldOut.tokenCount) * Double(onTheWay + 2)
        }
        if rows.rows.count <= TrainingDeskLimit.influenceRowsMax { work.influence = Double(rows.tokenCount) }
        return work
    }
}

/// What was foretold of a run, or measured: Protocol/training.md, "What a run is said to take".
struct TrainingFigures: Hashable, Sendable {
    /// Nil where it cannot be measured.
    var memoryBytes: Int?
    var seconds: Double
    /// Of a prediction: whether this base was timed here in this precision.
    var isMeasured: Bool?

    var json: JSONValue {
        var members = [
            JSONMember("memory_bytes", memoryBytes.map { .integer($0) } ?? .null),
            JSONMember("seconds", .double((seconds * 10).rounded() / 10)),
        ]
        if let isMeasured { members.append(JSONMember("measured", .bool(isMeasured))) }
        return .members(members)
    }

    init(memoryBytes: Int?, seconds: Double, isMeasured: Bool? = nil) {
        self.memoryBytes = memoryBytes
        self.seconds = seconds
        self.isMeasured = isMeasured
    }

    init?(_ json: JSONValue?) {
        guard let json, let seconds = json["seconds"]?.double else { return nil }
        self.init(memoryBytes: json["memory_bytes"]?.integer, seconds: seconds, isMeasured: json["measured"]?.flag)
    }
}

/// What is known of a run beside its state.
struct TrainingSummary: Hashable, Sendable {
    var predicted: TrainingFigures?
    var actual: TrainingFigures?
    /// Seconds of computing so far, over all its stretches, and those that are left as far as its pace says.
    var elapsed = 0.0
    var remaining: Double?
    var evaluationLoss: Double?
    var baseEvaluationLoss: Double?
    var adapter: CID?

    var members: [JSONMember] {
        [
            JSONMember("elapsed_s", .double((elapsed * 10).rounded() / 10)),
            JSONMember("predicted", predicted?.json ?? .null), JSONMember("actual", actual?.json ?? .null),
            JSONMember("eval_loss", evaluationLoss.map { .double($0) } ?? .null),
            JSONMember("base_eval_loss", baseEvaluationLoss.map { .double($0) } ?? .null),
            JSONMember("adapter", .text(adapter?.text)),
        ]
    }

    init() {}

    init(_ json: JSONValue) {
        predicted = TrainingFigures(json["predicted"])
        actual = TrainingFigures(json["actual"])
        elapsed = json["elapsed_s"]?.double ?? 0
        evaluationLoss = json["eval_loss"]?.double
        baseEvaluationLoss = json["base_eval_loss"]?.double
        adapter = json["adapter"]?.text.flatMap { try? CID(text: $0) }
    }
}
