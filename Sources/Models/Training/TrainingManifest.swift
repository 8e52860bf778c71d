// What an adapter was made of: the payload that its maker signs and that travels with it. Protocol/training.md.

package import Primitives

package struct TrainingManifest: Hashable, Sendable {
    package static let fileName = "adapter_training.cbor"
    package static let version: UInt64 = 1
    package static let bytesMax = 16 << 10
    private static let settingsMax = 64

    /// The base model's manifest.
    package let base: CID
    /// The datanet's snapshot, where the rows are one's.
    package let datanet: CID?
    /// Merkle root of the rows, in their order.
    package let rows: Digest
    package let rowCount: UInt64
    /// Of the kernels.
    package let numerics: UInt64
    package let precision: String
    /// Ascending by name; numbers as decimal text.
    package let settings: [(name: String, value: String)]
    /// The weights that the run went on from.
    package let initial: CID?
    package let weights: Digest
    package let steps: UInt64
    /// The index of its rows' influence, where one was made.
    package let influence: CID?

    package static func == (a: Self, b: Self) -> Bool { a.encoded() == b.encoded() }
    package func hash(into hasher: inout Hasher) { hasher.combine(encoded()) }

    package init(
        base: CID, datanet: CID?, rows: Digest, rowCount: Int, numerics: UInt64, precision: String,
        settings: TrainingSettings, initial: CID?, weights: Digest, steps: Int, influence: CID? = nil
    ) {
        self.base = base
        self.datanet = datanet
        self.rows = rows
        self.rowCount = UInt64(rowCount)
        self.numerics = numerics
        self.precision = precision
        self.settings = settings.named
        self.initial = initial
        self.weights = weights
        self.steps = UInt64(steps)
        self.influence = influence
    }

    package func encoded() -> [UInt8] {
        CBOR.map([
            ("v", .unsigned(Self.version)), ("base", .link(base)), ("datanet", datanet.map { .link($0) } ?? .null),
            ("rows", .bytes(rows.bytes)), ("count", .unsigned(rowCount)), ("numerics", .unsigned(numerics)),
            ("precision", .text(precision)),
            ("settings", .map(settings.map { ($0.name, CBOR.text($0.value)) })),
            ("init", initial.map { .link($0) } ?? .null), ("weights", .bytes(weights.bytes)),
            ("steps", .unsigned(steps)), ("influence", influence.map { .link($0) } ?? .null),
        ]).encoded()
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        let name = "TrainingManifest"
        var fields = try CBORFields(CBOR.decode(bytes, limits: CBORLimits(bytesMax: Self.bytesMax)), name)
        guard try fields.unsigned("v") == Self.version else { throw fields.fault("v", "is not \(Self.version)") }
        base = try fields.link("base")
        datanet = try Self.link("datanet", &fields)
        rows = try fields.digest("rows")
        rowCount = try fields.unsigned("count")
        numerics = try fields.unsigned("numerics")
        precision = try fields.text("precision", max: 32)
        guard case .entries(let entries) = try fields.value("settings"), entries.count <= Self.settingsMax else {
            throw fields.fault("settings", "is no map of settings")
        }
        var settings: [(name: String, value: String)] = []
        for entry in entries {
            guard case .text(let value) = entry.value else { throw fields.fault("settings", "holds what is no text") }
            settings.append((entry.key, value))
        }
        self.settings = settings.sorted { $0.name < $1.name }
        initial = try Self.link("init", &fields)
        weights = try fields.digest("weights")
        steps = try fields.unsigned("steps")
        influence = try Self.link("influence", &fields)
        try fields.finish()
    }

    private static func link(_ key: String, _ fields: inout CBORFields) throws(CBORFault) -> CID? {
        switch try fields.value(key) {
        case .null: return nil
        case .link(let cid): return cid
        default: throw fields.fault(key, "is neither a link nor null")
        }
    }
}

extension TrainingSettings {
    /// Ascending by name, numbers as decimal text.
    package var named: [(name: String, value: String)] {
        let heldOut = heldOutEvery > 0 ? [(name: "eval_nth", value: "\(heldOutEvery)")] : []
        return [
            ("alpha", "\(alpha)"), ("batch", "\(batch)"), ("beta1", "\(firstBeta)"), ("beta2", "\(secondBeta)"),
            ("clip", "\(clip)"), ("eps", "\(epsilon)"),
        ] + heldOut + [
            ("lr", "\(learningRate)"), ("rank", "\(rank)"), ("rslora", "\(rootScaled)"),
            ("schedule", schedule.rawValue), ("seed", "\(seed)"), ("shuffle", "\(shuffles)"),
            ("steps", "\(steps)"), ("warmup", "\(warmup)"), ("weight_decay", "\(weightDecay)"),
        ]
    }

    /// What `named` gave.
    package init?(named values: [String: String]) {
        self.init()
        func number(_ key: String) -> Double? { values[key].flatMap(Double.init) }
        guard let alpha = number("alpha"), let batch = values["batch"].flatMap({ Int($0) }),
            let first = number("beta1"),
            let second = number("beta2"), let clip = number("clip"), let epsilon = number("eps"),
            let rate = number("lr"), let rank = values["rank"].flatMap({ Int($0) }),
            let rootScaled = values["rslora"].flatMap(Bool.init),
            let schedule = values["schedule"].flatMap(Schedule.init), let seed = values["seed"].flatMap({ UInt64($0) }),
            let shuffles = values["shuffle"].flatMap(Bool.init), let steps = values["steps"].flatMap({ Int($0) }),
            let warmup = values["warmup"].flatMap({ Int($0) }), let decay = number("weight_decay")
        else { return nil }
        self.alpha = alpha
        self.batch = batch
        firstBeta = first
        secondBeta = second
        self.clip = clip
        self.epsilon = epsilon
        learningRate = rate
        self.rank = rank
        self.rootScaled = rootScaled
        self.schedule = schedule
        self.seed = seed
        self.shuffles = shuffles
        self.steps = steps
        self.warmup = warmup
        weightDecay = decay
        if let text = values["eval_nth"] {
            guard let every = Int(text) else { return nil }
            heldOutEvery = every
        }
    }
}
