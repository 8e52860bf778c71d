// A fine-tuning as a client describes it. Paths are this machine's, absolute; what is left out is the node's to choose.

import Primitives

package struct TrainingDescription: Sendable, Hashable {
    package var name: String
    package var model: String
    /// Either a datanet or a file of rows.
    package var datanet: String?
    package var rows: String?
    package var evaluationRows: String?
    /// A PEFT folder to go on from, and one to write.
    package var initial: String?
    package var out: String?
    package var precision: String?
    package var rank: Int?
    package var alpha: Double?
    package var rootScaled: Bool?
    /// Either, or neither.
    package var epochs: Double?
    package var steps: Int?
    package var batch: Int?
    package var learningRate: Double?
    package var schedule: String?
    package var warmup: Int?
    package var weightDecay: Double?
    package var betas: [Double]?
    package var epsilon: Double?
    package var clip: Double?
    package var seed: Int?
    package var shuffles: Bool?
    package var evaluationSteps: Int?
    /// Every so manieth row is kept to evaluate on and not trained on; 0 or nil: none.
    package var heldOutEvery: Int?
    /// Whether the network is told of the adapter when it is done; nil: yes.
    package var publishes: Bool?

    package init(name: String, model: String) {
        self.name = name
        self.model = model
    }
}

package enum TrainingAction: String, Sendable, Hashable, CaseIterable {
    case pause, resume, cancel
}

/// Whether an adapter is what its maker signed.
package struct VerificationDescription: Sendable, Hashable {
    package var adapter: String
    /// A file of this machine; nil for the rows of the snapshot that the maker names.
    package var rows: String?
    /// A PEFT folder that the training went on from.
    package var initial: String?
    package var trainsAgain: Bool

    package init(adapter: String, rows: String? = nil, initial: String? = nil, trainsAgain: Bool = false) {
        self.adapter = adapter
        self.rows = rows
        self.initial = initial
        self.trainsAgain = trainsAgain
    }
}

/// Base against adapter on rows that neither was trained on.
package struct EvaluationDescription: Sendable, Hashable {
    package var adapter: String
    package var rows: String
    /// Rows whose answers are generated and compared; 0 for none.
    package var answers: Int
    package var precision: String?

    package init(adapter: String, rows: String, answers: Int, precision: String?) {
        self.adapter = adapter
        self.rows = rows
        self.answers = answers
        self.precision = precision
    }
}

extension TrainingDescription {
    init(_ fields: RequestFields) throws(NodeFault) {
        self.init(name: try fields.name("name", bytesMax: 128), model: try fields.name("model"))
        datanet = try fields.text("datanet", bytesMax: 256)
        rows = try fields.optionalPath("rows")
        guard (datanet == nil) != (rows == nil) else {
            throw fields.fault("rows", "or datanet must be given, and not both", code: "missing")
        }
        evaluationRows = try fields.optionalPath("eval_rows")
        initial = try fields.optionalPath("init")
        out = try fields.optionalPath("out")
        precision = try fields.text("precision", bytesMax: 16)
        rank = try fields.integer("rank", in: 1...256)
        alpha = try fields.number("alpha", in: -1e6...1e6)
        rootScaled = try fields.flag("rslora")
        epochs = try fields.number("epochs", in: 0.001...10_000)
        steps = try fields.integer("steps", in: 1...1_000_000)
        guard epochs == nil || steps == nil else {
            throw fields.fault("steps", "and epochs cannot both be given", code: "unsupported_value")
        }
        batch = try fields.integer("batch", in: 1...4096)
        learningRate = try fields.number("lr", in: 0...100)
        schedule = try fields.text("schedule", bytesMax: 16)
        warmup = try fields.integer("warmup", in: 0...1_000_000)
        weightDecay = try fields.number("weight_decay", in: 0...100)
        if let items = try fields.list("betas", countMax: 2) {
            let numbers = items.compactMap(\.double).filter { (0..<1).contains($0) }
            guard items.count == 2, numbers.count == 2 else {
                throw fields.fault("betas", "must be two numbers, each at least 0 and below 1", code: "out_of_range")
            }
            betas = numbers
        }
        epsilon = try fields.number("eps", in: 1e-30...1)
        clip = try fields.number("clip", in: 0...1e9)
        seed = try fields.integer("seed", in: 0...Int.max)
        shuffles = try fields.flag("shuffle")
        evaluationSteps = try fields.integer("eval_every", in: 0...1_000_000)
        heldOutEvery = try fields.integer("eval_nth", in: 0...1_000)
        guard heldOutEvery != 1 else {
            throw fields.fault("eval_nth", "must be 0, or between 2 and 1000; it is 1", code: "out_of_range")
        }
        guard heldOutEvery ?? 0 == 0 || evaluationRows == nil else {
            throw fields.fault("eval_nth", "and eval_rows cannot both be given", code: "unsupported_value")
        }
        publishes = try fields.flag("publish")
    }
}

extension VerificationDescription {
    init(_ fields: RequestFields, adapter: String) throws(NodeFault) {
        self.init(
            adapter: adapter, rows: try fields.optionalPath("rows"), initial: try fields.optionalPath("init"),
            trainsAgain: try fields.flag("retrain") ?? false)
    }
}

extension EvaluationDescription {
    init(_ fields: RequestFields, adapter: String) throws(NodeFault) {
        guard let rows = try fields.optionalPath("rows") else {
            throw fields.fault("rows", "is missing", code: "missing")
        }
        self.init(
            adapter: adapter, rows: rows, answers: try fields.integer("answers", in: 0...100_000) ?? 0,
            precision: try fields.text("precision", bytesMax: 16))
    }
}

extension RequestFields {
    fileprivate func optionalPath(_ key: String) throws(NodeFault) -> String? {
        guard let path = try text(key, bytesMax: 4_096) else { return nil }
        guard path.hasPrefix("/"), !path.utf8.contains(0) else { throw fault(key, "must be an absolute path") }
        return path
    }
}
