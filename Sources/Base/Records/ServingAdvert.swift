// What a peer offers to serve, at which price, until when: signed, expiring, gossiped on the catalog topic. Nobody has
// to believe it; the price becomes binding when the server accepts a request under it.

package import Primitives

package struct ServedModel: Hashable, Sendable {
    /// The model's manifest.
    package var model: CID
    package var name: String
    package var precision: String
    /// Adapters of this model that are ready, by manifest.
    package var adapters: [CID]

    package init(model: CID, name: String, precision: String, adapters: [CID]) {
        self.model = model
        self.name = name
        self.precision = precision
        self.adapters = adapters
    }
}

/// Disk that a peer lends to other people's datanets (Protocol/keeping.md), in bytes.
package struct LentDisk: Hashable, Sendable {
    package static let lentMin: UInt64 = 16 << 20

    package let lent: UInt64
    package let used: UInt64

    package init(lent: UInt64, used: UInt64) {
        self.lent = lent
        self.used = used
    }

    var cbor: CBOR { .map(["lent": .unsigned(lent), "used": .unsigned(used)]) }

    init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "ServingAdvert.keeps")
        lent = try fields.unsigned("lent")
        used = try fields.unsigned("used")
        guard lent >= Self.lentMin else { throw fields.fault("lent", "is less than \(Self.lentMin) bytes") }
        guard used <= lent else { throw fields.fault("used", "is more than is lent") }
        try fields.finish()
    }
}

package struct ServingAdvert: Hashable, Sendable {
    package static let bytesMax = 16_384
    package static let modelsMax = 64
    package static let adaptersMax = 256
    package static let stagesMax = 32
    package static let version: UInt64 = 1

    package var server: AccountID
    package var peer: PeerID
    package var models: [ServedModel]
    /// Layers that this peer computes for others (Protocol/layers.md).
    package var stages: [ServedLayers]
    /// nil: none.
    package var keeps: LentDisk?
    /// Datanets (by id) whose rows this peer can retrieve from.
    package var datanets: [Digest]
    package var pricePerRequest: Amount
    package var pricePerPromptToken: Amount
    package var pricePerAnswerToken: Amount
    /// Requests that wait, when this was signed.
    package var queued: UInt64
    package var issued: WallTime
    package var expires: WallTime

    package init(
        server: AccountID, peer: PeerID, models: [ServedModel], datanets: [Digest], pricePerRequest: Amount,
        pricePerPromptToken: Amount, pricePerAnswerToken: Amount, queued: UInt64, issued: WallTime, expires: WallTime,
        stages: [ServedLayers] = [], keeps: LentDisk? = nil
    ) {
        self.server = server
        self.peer = peer
        self.models = models
        self.stages = stages
        self.keeps = keeps
        self.datanets = datanets
        self.pricePerRequest = pricePerRequest
        self.pricePerPromptToken = pricePerPromptToken
        self.pricePerAnswerToken = pricePerAnswerToken
        self.queued = queued
        self.issued = issued
        self.expires = expires
    }

    package func encoded() -> [UInt8] {
        let served = models.map { model in
            CBOR.map([
                "model": .link(model.model), "name": .text(model.name), "precision": .text(model.precision),
                "adapters": .array(model.adapters.map(CBOR.link)),
            ])
        }
        var pairs: [(String, CBOR)] = [
            ("v", .unsigned(Self.version)), ("server", .account(server)), ("peer", .peer(peer)),
            ("models", .array(served)), ("datanets", .array(datanets.map(CBOR.digest))),
            ("perRequest", .amount(pricePerRequest)), ("perPromptToken", .amount(pricePerPromptToken)),
            ("perAnswerToken", .amount(pricePerAnswerToken)), ("queued", .unsigned(queued)),
            ("issued", .wallTime(issued)), ("expires", .wallTime(expires)),
        ]
        if !stages.isEmpty { pairs.append(("stages", .array(stages.map(\.cbor)))) }
        if let keeps { pairs.append(("keeps", keeps.cbor)) }
        return CBOR.map(pairs).encoded()
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        var fields = try CBORFields(decoding: bytes, "ServingAdvert", limits: CBORLimits(bytesMax: Self.bytesMax))
        guard try fields.unsigned("v") == Self.version else {
            throw fields.fault("v", "is a version that is not known")
        }
        server = try fields.account("server")
        peer = try fields.peer("peer")
        var models: [ServedModel] = []
        for item in try fields.array("models", max: Self.modelsMax) {
            var entry = try CBORFields(item, "ServingAdvert.models")
            var adapters: [CID] = []
            let served = (
                model: try entry.link("model"), name: try entry.text("name", max: FolderManifest.nameBytesMax),
                precision: try entry.text("precision", max: 16)
            )
            for adapter in try entry.array("adapters", max: Self.adaptersMax) {
                guard case .link(let cid) = adapter else {
                    throw entry.fault("adapters", "holds something that is no link")
                }
                adapters.append(cid)
            }
            try entry.finish()
            models.append(
                ServedModel(model: served.model, name: served.name, precision: served.precision, adapters: adapters))
        }
        self.models = models
        stages = []
        if case .array(let items) = fields.optionalValue("stages") {
            guard (1...Self.stagesMax).contains(items.count) else {
                throw fields.fault("stages", "does not have 1 to \(Self.stagesMax) items")
            }
            for item in items { stages.append(try ServedLayers(cbor: item)) }
        }
        keeps = nil
        if let disk = fields.optionalValue("keeps") { keeps = try LentDisk(cbor: disk) }
        var datanets: [Digest] = []
        for item in try fields.array("datanets", max: Self.adaptersMax) {
            guard case .bytes(let raw) = item, let digest = Digest(raw) else {
                throw fields.fault("datanets", "holds something that is not a digest")
            }
            datanets.append(digest)
        }
        self.datanets = datanets
        pricePerRequest = try fields.amount("perRequest")
        pricePerPromptToken = try fields.amount("perPromptToken")
        pricePerAnswerToken = try fields.amount("perAnswerToken")
        queued = try fields.unsigned("queued")
        issued = try fields.wallTime("issued")
        expires = try fields.wallTime("expires")
        try fields.finish()
    }
}
