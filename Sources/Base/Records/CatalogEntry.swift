// What peers tell each other on the catalog topic: this content exists under this name, its owner says so. An entry is
// small and signed; the content behind its CID is fetched and verified block by block.

package import Primitives

package enum CatalogKind: String, Hashable, Sendable, CaseIterable {
    case model, adapter
    /// `root` is the datanet's signed manifest.
    case datanet
    /// `root` is a signed contribution waiting for the owner of `subject`.
    case contribution
}

package struct CatalogEntry: Hashable, Sendable {
    package static let bytesMax = 1024
    package static let version: UInt64 = 1

    package var kind: CatalogKind
    package var name: String
    package var root: CID
    package var owner: AccountID
    /// Grows with every change by the owner; the highest counts.
    package var revision: UInt64
    /// The datanet that a manifest or contribution belongs to.
    package var subject: Digest?
    /// What is behind `root`, in bytes: so that a peer can decide before it fetches.
    package var totalBytes: UInt64

    package init(
        kind: CatalogKind, name: String, root: CID, owner: AccountID, revision: UInt64, subject: Digest? = nil,
        totalBytes: UInt64
    ) {
        self.kind = kind
        self.name = name
        self.root = root
        self.owner = owner
        self.revision = revision
        self.subject = subject
        self.totalBytes = totalBytes
    }

    package func encoded() -> [UInt8] {
        var pairs: [(String, CBOR)] = [
            ("v", .unsigned(Self.version)), ("kind", .text(kind.rawValue)), ("name", .text(name)),
            ("root", .link(root)),
            ("owner", .account(owner)), ("revision", .unsigned(revision)), ("bytes", .unsigned(totalBytes)),
        ]
        if let subject { pairs.append(("subject", .digest(subject))) }
        return CBOR.map(pairs).encoded()
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        var fields = try CBORFields(decoding: bytes, "CatalogEntry", limits: CBORLimits(bytesMax: Self.bytesMax))
        guard try fields.unsigned("v") == Self.version else {
            throw fields.fault("v", "is a version that is not known")
        }
        guard let kind = CatalogKind(rawValue: try fields.text("kind", max: 16)) else {
            throw fields.fault("kind", "is not model, adapter, datanet or contribution")
        }
        self.kind = kind
        name = try fields.text("name", max: FolderManifest.nameBytesMax)
        root = try fields.link("root")
        owner = try fields.account("owner")
        revision = try fields.unsigned("revision")
        totalBytes = try fields.unsigned("bytes", max: 1 << 48)
        var subject: Digest?
        if let value = fields.optionalValue("subject") {
            guard case .bytes(let raw) = value, let digest = Digest(raw) else {
                throw fields.fault("subject", "is not a digest")
            }
            subject = digest
        }
        self.subject = subject
        try fields.finish()
    }
}
