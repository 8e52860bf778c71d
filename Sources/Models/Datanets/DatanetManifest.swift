// The datanet itself: what its owner says it is, and which contributions, in which order, make it up. Each change is a
// new revision that names the one before; the signed envelope is a block, and its CID is the snapshot that a receipt
// commits to. Contributions are only ever added: an address or a snapshot, once given out, stays true.

package import Primitives
import Records

/// Names a datanet for ever: the hash of owner, name and a nonce at its founding.
package struct DatanetID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let digest: Digest

    package init(_ digest: Digest) { self.digest = digest }

    package init(owner: AccountID, name: String, nonce: [UInt8]) {
        let founding = CBOR.map(["owner": .account(owner), "name": .text(name), "nonce": .bytes(nonce)])
        digest = Digest(sha256Of: [Array("openledger/1/datanet\n".utf8), founding.encoded()])
    }

    /// - Returns: nil unless `text` is 64 hexadecimal digits.
    package init?(text: String) {
        guard let bytes = Hex.decode(text), let digest = Digest(bytes) else { return nil }
        self.digest = digest
    }

    package var text: String { digest.hex }
    package var description: String { text }
    package static func < (one: Self, other: Self) -> Bool { one.digest < other.digest }
}

/// Who may add rows.
package enum DatanetPolicy: String, Hashable, Sendable, CaseIterable {
    /// The owner's node accepts whatever passes validation.
    case open
    /// The owner accepts each contribution by hand.
    case approval
    /// Reserved: encrypted to grantees. Refused by this version.
    case `private`
}

package struct DatanetManifest: Hashable, Sendable {
    package static let version: UInt64 = 1

    package let owner: AccountID
    package let name: String
    package let nonce: [UInt8]
    package var summary: String
    /// Ascending, each once.
    package private(set) var tags: [String]
    package var licence: String
    package var policy: DatanetPolicy
    /// 0 at the founding, then one more with each change.
    package private(set) var revision: UInt64
    /// The snapshot before; nil exactly at revision 0.
    package private(set) var previous: CID?
    /// Accepted contributions (signed envelopes), in the order of acceptance.
    package private(set) var contributions: [CID]
    package private(set) var rowCount: UInt64
    package private(set) var byteCount: UInt64

    package var id: DatanetID { DatanetID(owner: owner, name: name, nonce: nonce) }

    /// A new datanet. Throws `invalid` with the field that is wrong.
    package init(
        owner: AccountID, name: String, nonce: [UInt8], summary: String = "", tags: [String] = [],
        licence: String, policy: DatanetPolicy
    ) throws(DatanetFault) {
        self.owner = owner
        self.name = name
        self.nonce = nonce
        self.summary = summary
        self.tags = Set(tags).sorted()
        self.licence = licence
        self.policy = policy
        revision = 0
        previous = nil
        contributions = []
        rowCount = 0
        byteCount = 0
        try validate()
    }

    private func validate() throws(DatanetFault) {
        func check(_ field: String, _ holds: Bool, _ reason: String) throws(DatanetFault) {
            guard holds else { throw .invalid(field: field, reason: reason) }
        }
        let isName =
            (1...DatanetLimits.nameBytesMax).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: "-")
            } && !name.hasPrefix("-")
        try check("name", isName, "has 1 to \(DatanetLimits.nameBytesMax) of a-z, 0-9 and -, and does not begin with -")
        try check("nonce", nonce.count == DatanetLimits.nonceBytes, "has \(DatanetLimits.nonceBytes) bytes")
        try check(
            "summary", summary.utf8.count <= DatanetLimits.summaryBytesMax,
            "has at most \(DatanetLimits.summaryBytesMax) bytes")
        try check(
            "licence", (1...DatanetLimits.licenceBytesMax).contains(licence.utf8.count),
            "has 1 to \(DatanetLimits.licenceBytesMax) bytes")
        try check("tags", tags.count <= DatanetLimits.tagsMax, "has at most \(DatanetLimits.tagsMax)")
        for tag in tags {
            try check(
                "tags", (1...DatanetLimits.tagBytesMax).contains(tag.utf8.count),
                "each have 1 to \(DatanetLimits.tagBytesMax) bytes")
        }
        guard policy != .private else { throw .privateIsReserved }
    }

    /// The next revision, with one more contribution. `snapshot` is this revision's.
    package func adding(
        _ contribution: CID, _ content: Contribution, after snapshot: CID
    ) throws(DatanetFault) -> DatanetManifest {
        guard contributions.count < DatanetLimits.contributionsMax else {
            throw .full(what: "the datanet", limit: DatanetLimits.contributionsMax)
        }
        guard !contributions.contains(contribution) else { throw .alreadyThere }
        var next = self
        next.revision += 1
        next.previous = snapshot
        next.contributions.append(contribution)
        next.rowCount += content.rowCount
        next.byteCount += content.byteCount
        return next
    }

    package func encoded() -> [UInt8] {
        var pairs: [(String, CBOR)] = [
            ("v", .unsigned(Self.version)), ("owner", .account(owner)), ("name", .text(name)), ("nonce", .bytes(nonce)),
            ("summary", .text(summary)), ("tags", .array(tags.map { .text($0) })), ("license", .text(licence)),
            ("policy", .text(policy.rawValue)), ("revision", .unsigned(revision)),
            ("contributions", .array(contributions.map { .link($0) })), ("rows", .unsigned(rowCount)),
            ("bytes", .unsigned(byteCount)),
        ]
        if let previous { pairs.append(("previous", .link(previous))) }
        return CBOR.map(pairs).encoded()
    }

    package init(decoding bytes: [UInt8]) throws(DatanetFault) {
        do throws(CBORFault) {
            let limits = CBORLimits(bytesMax: DatanetLimits.manifestBytesMax, depthMax: 4)
            var fields = try CBORFields(decoding: bytes, "DatanetManifest", limits: limits)
            guard try fields.unsigned("v") == Self.version else {
                throw fields.fault("v", "is a version that is not known")
            }
            owner = try fields.account("owner")
            name = try fields.text("name", max: DatanetLimits.nameBytesMax)
            nonce = try fields.bytes("nonce", count: DatanetLimits.nonceBytes)
            summary = try fields.text("summary", max: DatanetLimits.summaryBytesMax)
            tags = try fields.texts("tags", max: DatanetLimits.tagsMax, bytesMax: DatanetLimits.tagBytesMax)
            licence = try fields.text("license", max: DatanetLimits.licenceBytesMax)
            guard let policy = DatanetPolicy(rawValue: try fields.text("policy", max: 16)) else {
                throw fields.fault("policy", "is not open, approval or private")
            }
            self.policy = policy
            revision = try fields.unsigned("revision", max: .max - 1)
            previous = try fields.optionalLink("previous")
            contributions = try fields.links("contributions", max: DatanetLimits.contributionsMax)
            rowCount = try fields.unsigned("rows", max: 1 << 48)
            byteCount = try fields.unsigned("bytes", max: 1 << 48)
            guard (revision == 0) == (previous == nil) else {
                throw fields.fault("previous", "belongs to every revision but the first")
            }
            guard Set(contributions).count == contributions.count else {
                throw fields.fault("contributions", "names one twice")
            }
            guard tags == Set(tags).sorted() else { throw fields.fault("tags", "is not in order") }
            try fields.finish()
        } catch {
            throw .malformed(error)
        }
        try validate()
    }

    /// Signs; the envelope's bytes are the block, and the block's CID the snapshot.
    package func signed(by key: SigningKey, network: NetworkID) -> (snapshot: CID, block: [UInt8]) {
        let block = SignedEnvelope(encoded(), by: key, domain: .manifest, network: network).encoded()
        return (CID(.dagCBOR, hashing: block), block)
    }

    /// Reads a signed manifest and checks that its owner signed it.
    package static func open(_ block: [UInt8], network: NetworkID) throws(DatanetFault) -> DatanetManifest {
        let (payload, signer) = try openEnvelope(
            block, .manifest, network, payloadBytesMax: DatanetLimits.manifestBytesMax)
        let manifest = try DatanetManifest(decoding: payload)
        guard manifest.owner == signer else { throw .wrongSigner(expected: manifest.owner, found: signer) }
        return manifest
    }

    /// Whether this may take the place of `known`, whose snapshot is `snapshot`. A peer may have missed revisions.
    package func checkFollows(_ known: DatanetManifest, snapshot: CID) throws(DatanetFault) {
        guard id == known.id else { throw .wrongDatanet(expected: known.id, found: id) }
        guard revision > known.revision else { throw .staleRevision(known: known.revision, found: revision) }
        guard revision > known.revision + 1 || previous == snapshot else { throw .wrongPrevious }
        guard contributions.starts(with: known.contributions) else { throw .rewritten }
    }
}

extension CBORFields {
    mutating func optionalLink(_ key: String) throws(CBORFault) -> CID? {
        guard let value = optionalValue(key) else { return nil }
        guard case .link(let cid) = value else { throw fault(key, "is not a link") }
        return cid
    }

    mutating func texts(_ key: String, max: Int, bytesMax: Int) throws(CBORFault) -> [String] {
        var texts: [String] = []
        for item in try array(key, max: max) {
            guard case .text(let text) = item, text.utf8.count <= bytesMax else {
                throw fault(key, "holds something that is not a text of at most \(bytesMax) bytes")
            }
            texts.append(text)
        }
        return texts
    }
}
