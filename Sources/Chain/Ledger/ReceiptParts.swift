// The parts of a receipt: which model, how it decoded, on whose data, at what price.

public import Primitives

/// SHA-256("openledger/1/commitment\n" ‖ salt ‖ content): says nothing of the content without the 32-byte salt, which
/// the requester chooses and keeps through the dispute window. Content of a prompt or an answer is its token ids, each as
/// four big-endian bytes.
public struct Commitment: Hashable, Sendable {
    public static let saltBytes = 32
    public let digest: Digest

    public init(_ digest: Digest) { self.digest = digest }

    /// - Returns: nil unless the salt has 32 bytes.
    public init?(salt: [UInt8], content: [UInt8]) {
        guard salt.count == Self.saltBytes else { return nil }
        digest = Digest(sha256Of: [Array("openledger/1/commitment\n".utf8), salt, content])
    }

    public static func content(tokens: [UInt32]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(tokens.count * 4)
        for token in tokens {
            for shift in [UInt32(24), 16, 8, 0] { bytes.append(UInt8(truncatingIfNeeded: token >> shift)) }
        }
        return bytes
    }
}

/// One adapter of a request.
public struct AdapterUse: Hashable, Sendable {
    public let adapter: CID
    /// Fusion weight in millionths; 1,000,000 for an adapter used alone.
    public let weight: Int64
    /// The owner registered on the chain; nil for an adapter that nobody registered.
    public let owner: AccountID?

    public init(adapter: CID, weight: Int64 = 1_000_000, owner: AccountID?) {
        self.adapter = adapter
        self.weight = weight
        self.owner = owner
    }

    package var cbor: CBOR {
        var pairs: [(String, CBOR)] = [("cid", .link(adapter)), ("weight", .integer(weight))]
        pairs.add("owner", ifPresent: owner.map(CBOR.account))
        return .map(pairs)
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "AdapterUse")
        adapter = try fields.link("cid")
        weight = try fields.signed("weight")
        guard (-LedgerLimits.adapterWeightMax...LedgerLimits.adapterWeightMax).contains(weight) else {
            throw fields.fault("weight", "is out of its bounds")
        }
        owner = try fields.optional("owner") { fields throws(CBORFault) in try fields.account("owner") }
        try fields.finish()
    }
}

/// Everything that must be equal for a re-execution to give the same bits.
public struct ModelUse: Hashable, Sendable {
    public var weights: CID
    /// The owner of `weights` registered on the chain; nil for a model that nobody registered.
    public var owner: AccountID?
    /// nil for a model that takes token ids only.
    public var tokenizer: CID?
    public var template: CID?
    public var adapters: [AdapterUse]
    /// How several adapters are fused ("linear", "ties", "dare"); nil for none or one.
    public var fusion: String?
    /// "f32", "bf16", "int8" or "int4".
    public var precision: String
    /// Revision of the arithmetic (Protocol/numerics.md): two peers of one revision give the same bits.
    public var numerics: UInt64

    public init(
        weights: CID, owner: AccountID?, tokenizer: CID?, template: CID?, adapters: [AdapterUse] = [],
        fusion: String? = nil, precision: String, numerics: UInt64
    ) {
        self.weights = weights
        self.owner = owner
        self.tokenizer = tokenizer
        self.template = template
        self.adapters = adapters
        self.fusion = fusion
        self.precision = precision
        self.numerics = numerics
    }

    package var cbor: CBOR {
        var pairs: [(String, CBOR)] = [
            ("weights", .link(weights)), ("adapters", .array(adapters.map(\.cbor))), ("precision", .text(precision)),
            ("numerics", .unsigned(numerics)),
        ]
        pairs.add("owner", ifPresent: owner.map(CBOR.account))
        pairs.add("tokenizer", ifPresent: tokenizer.map(CBOR.link))
        pairs.add("template", ifPresent: template.map(CBOR.link))
        pairs.add("fusion", ifPresent: fusion.map(CBOR.text))
        return .map(pairs)
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "ModelUse")
        weights = try fields.link("weights")
        owner = try fields.optional("owner") { fields throws(CBORFault) in try fields.account("owner") }
        tokenizer = try fields.optional("tokenizer") { fields throws(CBORFault) in try fields.link("tokenizer") }
        template = try fields.optional("template") { fields throws(CBORFault) in try fields.link("template") }
        adapters = try fields.items("adapters", max: LedgerLimits.adaptersPerReceiptMax) { item throws(CBORFault) in
            try AdapterUse(cbor: item)
        }
        fusion = try fields.optional("fusion") { fields throws(CBORFault) in
            try fields.text("fusion", max: LedgerLimits.nameBytesMax)
        }
        precision = try fields.text("precision", max: LedgerLimits.nameBytesMax)
        numerics = try fields.unsigned("numerics")
        try fields.finish()
    }
}

/// The sampler's settings. Fractions are in millionths: no floating point is signed.
public struct Decoding: Hashable, Sendable {
    public var seed: UInt64
    /// Millionths; 0 is greedy.
    public var temperature: UInt64
    /// 0 is off.
    public var topK: UInt64
    /// Millionths; 1,000,000 is off.
    public var topP: UInt64
    /// Millionths; 0 is off.
    public var minP: UInt64
    /// Millionths; 1,000,000 is off.
    public var repetitionPenalty: UInt64
    /// Millionths, either sign.
    public var frequencyPenalty: Int64
    public var presencePenalty: Int64
    /// The most answer tokens that were asked for.
    public var maxTokens: UInt64
    /// Commitment to further settings (stop strings, bias, grammar), which may say something of the prompt; nil for none.
    public var extra: Commitment?

    public init(
        seed: UInt64 = 0, temperature: UInt64 = 0, topK: UInt64 = 0, topP: UInt64 = 1_000_000, minP: UInt64 = 0,
        repetitionPenalty: UInt64 = 1_000_000, frequencyPenalty: Int64 = 0, presencePenalty: Int64 = 0,
        maxTokens: UInt64, extra: Commitment? = nil
    ) {
        self.seed = seed
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.minP = minP
        self.repetitionPenalty = repetitionPenalty
        self.frequencyPenalty = frequencyPenalty
        self.presencePenalty = presencePenalty
        self.maxTokens = maxTokens
        self.extra = extra
    }

    package var cbor: CBOR {
        var pairs: [(String, CBOR)] = [
            ("seed", .unsigned(seed)), ("temperature", .unsigned(temperature)), ("topK", .unsigned(topK)),
            ("topP", .unsigned(topP)), ("minP", .unsigned(minP)), ("repetitionPenalty", .unsigned(repetitionPenalty)),
            ("frequencyPenalty", .integer(frequencyPenalty)), ("presencePenalty", .integer(presencePenalty)),
            ("maxTokens", .unsigned(maxTokens)),
        ]
        pairs.add("extra", ifPresent: extra.map { .digest($0.digest) })
        return .map(pairs)
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Decoding")
        seed = try fields.unsigned("seed")
        temperature = try fields.unsigned("temperature")
        topK = try fields.unsigned("topK")
        topP = try fields.unsigned("topP", max: 1_000_000)
        minP = try fields.unsigned("minP", max: 1_000_000)
        repetitionPenalty = try fields.unsigned("repetitionPenalty")
        frequencyPenalty = try fields.signed("frequencyPenalty")
        presencePenalty = try fields.signed("presencePenalty")
        maxTokens = try fields.unsigned("maxTokens", max: LedgerLimits.tokensMax)
        extra = try fields.optional("extra") { fields throws(CBORFault) in Commitment(try fields.digest("extra")) }
        try fields.finish()
    }
}

/// How passages were found.
public struct Retrieval: Hashable, Sendable {
    /// "bm25"
    public var method: String
    public var revision: UInt64
    /// Passages asked for.
    public var passages: UInt64
    /// The method's numbers, by name, fractions in millionths ("k1": 1200000).
    public var settings: [String: UInt64]

    public init(method: String, revision: UInt64, passages: UInt64, settings: [String: UInt64] = [:]) {
        self.method = method
        self.revision = revision
        self.passages = passages
        self.settings = settings
    }

    package var cbor: CBOR {
        .map([
            "method": .text(method), "revision": .unsigned(revision), "passages": .unsigned(passages),
            "settings": .map(settings.sorted { $0.key < $1.key }.map { ($0.key, CBOR.unsigned($0.value)) }),
        ])
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Retrieval")
        method = try fields.text("method", max: LedgerLimits.nameBytesMax)
        revision = try fields.unsigned("revision")
        passages = try fields.unsigned("passages")
        guard case .entries(let entries) = try fields.value("settings"),
            entries.count <= LedgerLimits.retrievalSettingsMax
        else { throw fields.fault("settings", "is not a map of at most \(LedgerLimits.retrievalSettingsMax)") }
        settings = [:]
        for entry in entries {
            guard case .unsigned(let number) = entry.value, entry.key.utf8.count <= LedgerLimits.nameBytesMax else {
                throw fields.fault("settings", "holds something that is not a named number")
            }
            settings[entry.key] = number
        }
        try fields.finish()
    }
}

/// A contributor's part in an answer.
public struct Contributor: Hashable, Sendable {
    public let account: AccountID
    public let share: PartsPerMillion

    public init(account: AccountID, share: PartsPerMillion) {
        self.account = account
        self.share = share
    }
}

/// Whose data helped. Rows are not named: `rows` is the RFC 6962 root over the encodings of `RowWeight`, opened row by
/// row when disputed.
public struct DataUse: Hashable, Sendable {
    /// Datanet snapshots that the answer drew on.
    public var snapshots: [CID]
    public var retrieval: Retrieval?
    /// Indexes that the attribution used.
    public var indexes: [CID]
    /// Commitment to the query that the attribution was computed for.
    public var query: Commitment?
    /// There exactly when there are contributors.
    public var rows: Digest?
    /// Ascending by account, shares positive and one million together; or empty.
    public var contributors: [Contributor]

    public static let none = DataUse()

    public init(
        snapshots: [CID] = [], retrieval: Retrieval? = nil, indexes: [CID] = [], query: Commitment? = nil,
        rows: Digest? = nil, contributors: [Contributor] = []
    ) {
        self.snapshots = snapshots
        self.retrieval = retrieval
        self.indexes = indexes
        self.query = query
        self.rows = rows
        self.contributors = contributors.sorted { $0.account < $1.account }
    }

    package var cbor: CBOR {
        var pairs: [(String, CBOR)] = [
            ("snapshots", .array(snapshots.map(CBOR.link))), ("indexes", .array(indexes.map(CBOR.link))),
            (
                "contributors",
                .array(contributors.map { .array([.account($0.account), .partsPerMillion($0.share)]) })
            ),
        ]
        pairs.add("retrieval", ifPresent: retrieval?.cbor)
        pairs.add("query", ifPresent: query.map { .digest($0.digest) })
        pairs.add("rows", ifPresent: rows.map(CBOR.digest))
        return .map(pairs)
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "DataUse")
        snapshots = try fields.links("snapshots", max: LedgerLimits.snapshotsPerReceiptMax)
        retrieval = try fields.optional("retrieval") { fields throws(CBORFault) in
            try Retrieval(cbor: try fields.value("retrieval"))
        }
        indexes = try fields.links("indexes", max: LedgerLimits.indexesPerReceiptMax)
        query = try fields.optional("query") { fields throws(CBORFault) in Commitment(try fields.digest("query")) }
        rows = try fields.optional("rows") { fields throws(CBORFault) in try fields.digest("rows") }
        let malformed = fields.fault("contributors", "holds something that is not [account, ppm]")
        let limit = LedgerLimits.contributorsPerReceiptMax
        contributors = try fields.items("contributors", max: limit) { item throws(CBORFault) in
            guard case .array(let parts) = item, parts.count == 2, case .bytes(let bytes) = parts[0],
                case .unsigned(let share) = parts[1], share <= 1_000_000, let account = try? AccountID(bytes)
            else { throw malformed }
            return Contributor(account: account, share: PartsPerMillion(UInt32(share)))
        }
        try fields.finish()
    }
}

/// One row's weight, a leaf under `DataUse.rows`. The salt keeps others from testing guesses of the row.
public struct RowWeight: Hashable, Sendable {
    public static let saltBytes = 16
    public let snapshot: CID
    /// The row's number in the snapshot.
    public let row: UInt64
    public let contributor: AccountID
    public let share: PartsPerMillion
    public let salt: [UInt8]

    public init(snapshot: CID, row: UInt64, contributor: AccountID, share: PartsPerMillion, salt: [UInt8]) {
        self.snapshot = snapshot
        self.row = row
        self.contributor = contributor
        self.share = share
        self.salt = salt
    }

    public func encoded() -> [UInt8] {
        CBOR.map([
            "v": .unsigned(1), "snapshot": .link(snapshot), "row": .unsigned(row), "contributor": .account(contributor),
            "share": .partsPerMillion(share), "salt": .bytes(salt),
        ]).encoded()
    }
}

/// What a server asks: a sum for the request and one for each token.
public struct PriceSchedule: Hashable, Sendable {
    public let request: Amount
    public let promptToken: Amount
    public let answerToken: Amount

    public init(request: Amount, promptToken: Amount, answerToken: Amount) {
        self.request = request
        self.promptToken = promptToken
        self.answerToken = answerToken
    }

    public func cost(promptTokens: UInt64, answerTokens: UInt64) throws(AmountFault) -> Amount {
        try request.adding(promptToken.multiplied(by: promptTokens))
            .adding(answerToken.multiplied(by: answerTokens))
    }

    public var cbor: CBOR {
        .map(["request": .amount(request), "prompt": .amount(promptToken), "answer": .amount(answerToken)])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "PriceSchedule")
        request = try fields.amount("request")
        promptToken = try fields.amount("prompt")
        answerToken = try fields.amount("answer")
        try fields.finish()
    }
}
