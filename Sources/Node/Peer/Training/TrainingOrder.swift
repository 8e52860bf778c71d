// What somebody wants trained, as it is kept with the run: everything that decides the weights but the rows themselves.

package import Arithmetic
package import Primitives
package import Training

package struct TrainingOrder: Sendable, Hashable {
    package var model: CID
    /// As it was named, for people and for the PEFT folder.
    package var modelName: String
    /// The adapter's.
    package var name: String
    package var precision = Precision.f32
    /// The snapshot that the rows are.
    package var datanet: CID?
    package var settings: TrainingSettings
    /// Steps between two evaluations; 0 for one before and one after.
    package var evaluationSteps = 0
    /// A folder of this machine that gets the files too.
    package var out: String?

    package init(model: CID, modelName: String, name: String, settings: TrainingSettings) {
        self.model = model
        self.modelName = modelName
        self.name = name
        self.settings = settings
    }

    var json: JSONValue {
        .object([
            "model": .string(model.text), "model_name": .string(modelName), "name": .string(name),
            "precision": .string(precision.rawValue), "datanet": .text(datanet?.text),
            "settings": .members(settings.named.map { JSONMember($0.name, .string($0.value)) }),
            "eval_every": .integer(evaluationSteps), "out": .text(out),
        ])
    }

    /// What `json` gave; nil for anything else.
    init?(_ json: JSONValue) {
        var named: [String: String] = [:]
        for member in json["settings"]?.memberList ?? [] { named[member.key] = member.value.text }
        guard let model = json["model"]?.text.flatMap({ try? CID(text: $0) }), let modelName = json["model_name"]?.text,
            let name = json["name"]?.text, let precision = json["precision"]?.text.flatMap(Precision.init),
            let settings = TrainingSettings(named: named), let evaluationSteps = json["eval_every"]?.integer
        else { return nil }
        self.init(model: model, modelName: modelName, name: name, settings: settings)
        self.precision = precision
        self.evaluationSteps = evaluationSteps
        datanet = json["datanet"]?.text.flatMap { try? CID(text: $0) }
        out = json["out"]?.text
    }
}

/// Where a run stands.
package enum TrainingState: String, Sendable, Hashable {
    case waiting, running, paused, done, failed, cancelled

    var isOver: Bool { self == .done || self == .failed || self == .cancelled }
}

package enum TrainingDeskLimit {
    /// Runs that are kept, over or not; the oldest that is over makes room.
    package static let runsMax = 64
    /// Runs that are not over.
    package static let openMax = 8
    /// Rows of a run as they are kept.
    package static let rowBytesMax = 256 << 20
    /// Between two checkpoints at least, and so many times what the last one took.
    static let checkpointSecondsMin = 1.0
    static let checkpointShare = 20.0
    /// How long a step waits for answers that are being computed.
    static let yieldSeconds = 2.0
    /// Of an influence index; runs of more have none.
    static let influenceRowsMax = 1 << 18
    /// Above it layers are computed a second time rather than kept.
    static let keptBytesMax = 2 << 30
}
