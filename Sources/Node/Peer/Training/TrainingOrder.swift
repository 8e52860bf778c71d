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
    /// As it was named, for people.
    package var datanetName: String?
    package var settings: TrainingSettings
    /// Steps between two evaluations; 0 for one before and one after.
    package var evaluationSteps = 0
    /// A folder of this machine that gets the files too.
    package var out: String?
    /// Whether the adapter stays this peer's own until it is published.
    package var isWithheld = false

    package init(model: CID, modelName: String, name: String, settings: TrainingSettings) {
        self.model = model
        self.modelName = modelName
        self.name = name
        self.settings = settings
    }

    var json: JSONValue {
        var members = [
            JSONMember("model", .string(model.text)), JSONMember("model_name", .string(modelName)),
            JSONMember("name", .string(name)), JSONMember("precision", .string(precision.rawValue)),
            JSONMember("datanet", .text(datanet?.text)),
            JSONMember("settings", .members(settings.named.map { JSONMember($0.name, .string($0.value)) })),
            JSONMember("eval_every", .integer(evaluationSteps)), JSONMember("out", .text(out)),
        ]
        if let datanetName { members.append(JSONMember("datanet_name", .string(datanetName))) }
        if isWithheld { members.append(JSONMember("withheld", .bool(true))) }
        return .members(members)
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
        datanetName = json["datanet_name"]?.text
        out = json["out"]?.text
        isWithheld = json["withheld"]?.flag ?? false
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
    /// Estimates that wait for one another.
    static let estimatesMax = 8
    /// Tokens of the rows that the last estimate read, which are kept for the next one.
    static let estimateTokensKept = 4 << 20
    /// Bases whose speed is remembered.
    static let speedsMax = 32
    /// Above it layers are computed a second time rather than kept.
    static let keptBytesMax = 2 << 30
}
