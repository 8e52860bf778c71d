// What the network says it has: models, adapters, datanets and contributions under their owners' signatures, and what
// peers offer to serve. The newest revision of each counts; adverts expire.

package import Primitives
package import Records

package enum CatalogNews: Sendable {
    case entry(CatalogEntry)
    case advert(ServingAdvert)
}

enum CatalogAnswer: Sendable {
    case taken(CatalogNews, NodeWrite)
    case known
    case refused(String)
}

package struct Catalog: Sendable {
    package static let entriesMax = 8192
    package static let entriesPerOwnerMax = 1024
    package static let advertsMax = 1024
    /// An advert that claims to live longer is cut to this.
    static let advertLifeMaxMilliseconds: Int64 = 3_600_000

    private struct Held: Sendable {
        let entry: CatalogEntry
        let envelope: SignedEnvelope
    }

    private let network: NetworkID
    /// By kind, owner and name or subject.
    private var entries: [[UInt8]: Held] = [:]
    private var perOwner: [AccountID: Int] = [:]
    package private(set) var adverts: [PeerID: ServingAdvert] = [:]
    private var advertEnvelopes: [PeerID: SignedEnvelope] = [:]

    init(network: NetworkID, entries envelopes: [SignedEnvelope]) {
        self.network = network
        for envelope in envelopes {
            guard let entry = try? CatalogEntry(decoding: envelope.payload) else { continue }
            insert(entry, envelope)
        }
    }

    static func key(_ entry: CatalogEntry) -> [UInt8] {
        let name: [UInt8] =
            switch entry.kind {
            case .contribution: entry.root.bytes
            case .datanet: entry.subject?.bytes ?? Array(entry.name.utf8)
            case .model, .adapter: Array(entry.name.utf8)
            }
        return Digest(sha256Of: [Array(entry.kind.rawValue.utf8), [0], entry.owner.bytes, name]).bytes
    }

    package func all(_ kind: CatalogKind) -> [CatalogEntry] {
        entries.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map(\.value.entry).filter { $0.kind == kind }
    }

    package func entry(_ kind: CatalogKind, root: CID) -> CatalogEntry? {
        all(kind).first { $0.root == root }
    }

    /// Everything, as it was signed: for a peer that has just come.
    var envelopes: [SignedEnvelope] {
        entries.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map(\.value.envelope)
            + advertEnvelopes.sorted { $0.key < $1.key }.map(\.value)
    }

    private mutating func insert(_ entry: CatalogEntry, _ envelope: SignedEnvelope) {
        let key = Self.key(entry)
        if entries.updateValue(Held(entry: entry, envelope: envelope), forKey: key) == nil {
            perOwner[entry.owner, default: 0] += 1
        }
    }

    mutating func offer(_ bytes: [UInt8], now: WallTime) -> CatalogAnswer {
        let limit = ServingAdvert.bytesMax
        guard let envelope = try? SignedEnvelope(decoding: bytes, payloadBytesMax: limit) else {
            return .refused("no signed envelope")
        }
        if let entry = try? CatalogEntry(decoding: envelope.payload) { return offer(entry, envelope) }
        if let advert = try? ServingAdvert(decoding: envelope.payload) { return offer(advert, envelope, now) }
        return .refused("neither an entry nor an advert")
    }

    private mutating func offer(_ entry: CatalogEntry, _ envelope: SignedEnvelope) -> CatalogAnswer {
        let key = Self.key(entry)
        if let held = entries[key]?.entry, held.revision >= entry.revision { return .known }
        guard entry.owner.foundingKey == envelope.signer else { return .refused("not signed by its owner") }
        guard envelope.isValid(.catalog, network: network) else { return .refused("a bad signature") }
        guard
            entries[key] != nil
                || (entries.count < Self.entriesMax && perOwner[entry.owner, default: 0] < Self.entriesPerOwnerMax)
        else { return .known }
        insert(entry, envelope)
        return .taken(.entry(entry), .put(.catalog, key: key, value: envelope.encoded()))
    }

    private mutating func offer(_ advert: ServingAdvert, _ envelope: SignedEnvelope, _ now: WallTime) -> CatalogAnswer {
        if let held = adverts[advert.peer], held.issued >= advert.issued { return .known }
        guard advert.expires > now, advert.issued <= now.adding(milliseconds: 60_000),
            advert.expires <= now.adding(milliseconds: Self.advertLifeMaxMilliseconds)
        else { return .known }
        guard advert.server.foundingKey == envelope.signer, advert.peer == envelope.signer.peerID else {
            return .refused("not signed by its server")
        }
        guard envelope.isValid(.advert, network: network) else { return .refused("a bad signature") }
        expire(now)
        guard adverts[advert.peer] != nil || adverts.count < Self.advertsMax else { return .known }
        adverts[advert.peer] = advert
        advertEnvelopes[advert.peer] = envelope
        let key = Digest(sha256Of: [Array("advert".utf8), advert.peer.bytes]).bytes
        return .taken(.advert(advert), .delete(.catalog, key: key))
    }

    mutating func expire(_ now: WallTime) {
        for (peer, advert) in adverts where advert.expires <= now {
            adverts[peer] = nil
            advertEnvelopes[peer] = nil
        }
    }
}

extension Node {
    /// Asks a peer for all it knows: gossip reaches only those who are there.
    mutating func askCatalog(_ peer: PeerID) {
        let stream = links.open(peer, .catalogAsked)
        effects.append(.open(stream, peer, protocols: [NodeProtocol.catalog]))
        send(CBOR.map(["type": .text("all")]).encoded(), on: stream)
    }

    mutating func serveCatalog(_ bytes: [UInt8], on stream: StreamID, to peer: PeerID) {
        guard var fields = try? CBORFields(decoding: bytes, "CatalogWanted", limits: CBORLimits(bytesMax: 256)),
            let type = try? fields.text("type", max: 16), (try? fields.finish()) != nil,
            ["all", "peers"].contains(type)
        else {
            blame(peer, "catalog: a malformed request")
            effects.append(.reset(stream))
            ended(stream)
            return
        }
        if type == "peers" { return servePeers(on: stream, to: peer) }
        for envelope in catalog.envelopes + audits.book.envelopes { send(envelope.encoded(), on: stream) }
        finish(stream)
    }

    mutating func catalogReceived(_ bytes: [UInt8], from peer: PeerID) {
        switch catalog.offer(bytes, now: moment.wall) {
        case .taken(let news, let write):
            persist([write])
            noticed(news)
        case .known: break
        case .refused(let reason):
            if offerEvidence(bytes, from: peer) == nil { blame(peer, "catalog: \(reason)") }
        }
    }

    mutating func announce(_ entry: CatalogEntry) {
        guard entry.owner == account else { return }
        announce(SignedEnvelope(entry.encoded(), by: configuration.key, domain: .catalog, network: network))
    }

    mutating func advertise(_ advert: ServingAdvert) {
        announce(SignedEnvelope(advert.encoded(), by: configuration.key, domain: .advert, network: network))
    }

    private mutating func announce(_ envelope: SignedEnvelope) {
        let bytes = envelope.encoded()
        guard case .taken(let news, let write) = catalog.offer(bytes, now: moment.wall) else { return }
        persist([write], then: [.publish(Topics.catalog(network), bytes)])
        noticed(news)
    }
}
