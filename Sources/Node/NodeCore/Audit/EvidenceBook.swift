// Evidence that servers signed answers which their models do not give. What is in the book was checked in form; whether it
// is true, this peer's own kernels say, and until they have, nobody is judged by it.
//
//   offered ──checked──▶ unverified ──re-executed here──▶ confirmed (server not chosen any more) · refuted
//                             └── the model is not here: stays

package import Ledger
package import Primitives
package import Records

/// A server whose signed answer this peer's own kernels do not give.
package struct Distrust: Hashable, Sendable {
    package var receipt: Digest
    package var since: WallTime
}

package struct EvidenceBook: Sendable {
    package static let entriesMax = 256
    package static let entriesPerPublisherMax = 16
    package static let distrustedMax = 1024
    package static let ageMillisecondsMax: Int64 = 30 * 86_400_000
    static let aheadMillisecondsMax: Int64 = 600_000
    static let evidencePrefix: [UInt8] = [2]
    static let distrustPrefix: [UInt8] = [3]

    package enum Standing: String, Hashable, Sendable, CaseIterable { case unverified, confirmed, refuted }

    package struct Entry: Sendable {
        package let evidence: AuditEvidence
        package let envelope: SignedEnvelope
        package internal(set) var standing: Standing
        /// Own evidence stays at home until its payer says otherwise.
        package internal(set) var isPublished: Bool

        var time: WallTime { evidence.verdicts.map(\.verdict.time).max() ?? WallTime(milliseconds: 0) }

        func encoded() -> [UInt8] {
            CBOR.map([
                "envelope": envelope.cbor, "standing": .text(standing.rawValue), "published": .bool(isPublished),
            ]).encoded()
        }
    }

    enum Answer {
        case taken(Digest, NodeWrite)
        case known
        case refused(String)
    }

    /// By receipt.
    package private(set) var entries: [Digest: Entry] = [:]
    package private(set) var distrusted: [AccountID: Distrust] = [:]
    /// Not looked at in this run, oldest first.
    private var untried: [Digest] = []

    package init() {}

    // MARK: Storage

    init(entries stored: [[UInt8]], distrusted: [(key: [UInt8], value: [UInt8])]) {
        for bytes in stored {
            guard let entry = try? Self.entry(bytes) else { continue }
            entries[entry.evidence.receipt.id] = entry
            if entry.standing == .unverified { untried.append(entry.evidence.receipt.id) }
        }
        for (key, value) in distrusted {
            guard let server = try? PublicKey(key.dropFirst(Self.distrustPrefix.count)),
                var fields = try? CBORFields(decoding: value, "Distrust", limits: CBORLimits(bytesMax: 256)),
                let receipt = try? fields.digest("receipt"), let since = try? fields.wallTime("since")
            else { continue }
            self.distrusted[server.account] = Distrust(receipt: receipt, since: since)
        }
    }

    private static func entry(_ bytes: [UInt8]) throws -> Entry {
        let limits = CBORLimits(bytesMax: AuditEvidence.bytesMax + 1024)
        var fields = try CBORFields(decoding: bytes, "EvidenceEntry", limits: limits)
        let envelope = try SignedEnvelope(
            cbor: try fields.value("envelope"), payloadBytesMax: AuditEvidence.bytesMax)
        let standing = Standing(rawValue: try fields.text("standing", max: 16)) ?? .unverified
        let isPublished = try fields.bool("published")
        return Entry(
            evidence: try AuditEvidence(decoding: envelope.payload), envelope: envelope, standing: standing,
            isPublished: isPublished)
    }

    private static func key(_ receipt: Digest) -> [UInt8] { evidencePrefix + receipt.bytes }

    private func write(_ receipt: Digest) -> [NodeWrite] {
        entries[receipt].map { [.put(.audits, key: Self.key(receipt), value: $0.encoded())] } ?? []
    }

    // MARK: Taking in

    /// What was signed by somebody, or nil where the bytes are no evidence at all.
    mutating func offer(_ bytes: [UInt8], network: NetworkID, now: WallTime) -> Answer? {
        guard let envelope = try? SignedEnvelope(decoding: bytes, payloadBytesMax: AuditEvidence.bytesMax),
            let evidence = try? AuditEvidence(decoding: envelope.payload)
        else { return nil }
        let id = evidence.receipt.id
        guard entries[id] == nil else { return .known }
        guard envelope.isValid(.evidence, network: network) else { return .refused("a bad signature") }
        let entry = Entry(evidence: evidence, envelope: envelope, standing: .unverified, isPublished: true)
        guard entry.time >= now.adding(milliseconds: -Self.ageMillisecondsMax),
            entry.time <= now.adding(milliseconds: Self.aheadMillisecondsMax), hasRoom(for: envelope.signer)
        else { return .known }
        do { try evidence.check(network: network) } catch { return .refused("evidence: \(error)") }
        entries[id] = entry
        untried.append(id)
        return .taken(id, .put(.audits, key: Self.key(id), value: entry.encoded()))
    }

    /// This peer's own, which holds.
    mutating func add(_ evidence: AuditEvidence, _ envelope: SignedEnvelope, standing: Standing) -> [NodeWrite] {
        let id = evidence.receipt.id
        guard entries[id] == nil, hasRoom(for: envelope.signer) else { return [] }
        entries[id] = Entry(evidence: evidence, envelope: envelope, standing: standing, isPublished: false)
        if standing == .unverified { untried.append(id) }
        return write(id)
    }

    private func hasRoom(for publisher: PublicKey) -> Bool {
        entries.count < Self.entriesMax
            && entries.values.count(where: { $0.envelope.signer == publisher }) < Self.entriesPerPublisherMax
    }

    /// The bytes to publish and what to write; nil where it is not here or was published.
    mutating func publish(_ receipt: Digest) -> (bytes: [UInt8], writes: [NodeWrite])? {
        guard let entry = entries[receipt], !entry.isPublished else { return nil }
        entries[receipt]?.isPublished = true
        return (entry.envelope.encoded(), write(receipt))
    }

    /// Everything that may be told, for a peer that has just come.
    var envelopes: [SignedEnvelope] {
        entries.sorted { $0.key < $1.key }.filter(\.value.isPublished).map(\.value.envelope)
    }

    // MARK: Judging

    var hasUntried: Bool { !untried.isEmpty }

    /// The next to be re-executed here; each is tried once in a run.
    mutating func nextUntried() -> Entry? {
        while !untried.isEmpty {
            if let entry = entries[untried.removeFirst()], entry.standing == .unverified { return entry }
        }
        return nil
    }

    mutating func settle(_ receipt: Digest, _ standing: Standing) -> [NodeWrite] {
        entries[receipt]?.standing = standing
        return write(receipt)
    }

    mutating func distrust(_ server: AccountID, _ receipt: Digest, _ now: WallTime) -> [NodeWrite] {
        guard distrusted[server] == nil else { return [] }
        var writes: [NodeWrite] = []
        if distrusted.count >= Self.distrustedMax {
            let oldest = distrusted.min { ($0.value.since, $0.key) < ($1.value.since, $1.key) }
            if let oldest {
                distrusted[oldest.key] = nil
                writes.append(.delete(.audits, key: Self.distrustPrefix + oldest.key.bytes))
            }
        }
        distrusted[server] = Distrust(receipt: receipt, since: now)
        let value = CBOR.map(["receipt": .digest(receipt), "since": .wallTime(now)]).encoded()
        return writes + [.put(.audits, key: Self.distrustPrefix + server.bytes, value: value)]
    }

    /// Lets go of what is too old.
    mutating func expire(_ now: WallTime) -> [NodeWrite] {
        let limit = now.adding(milliseconds: -Self.ageMillisecondsMax)
        var writes: [NodeWrite] = []
        for (id, entry) in entries.sorted(by: { $0.key < $1.key }) where entry.time < limit {
            entries[id] = nil
            writes.append(.delete(.audits, key: Self.key(id)))
        }
        for (server, distrust) in distrusted.sorted(by: { $0.key < $1.key })
        where distrust.since < limit {
            distrusted[server] = nil
            writes.append(.delete(.audits, key: Self.distrustPrefix + server.bytes))
        }
        return writes
    }
}
