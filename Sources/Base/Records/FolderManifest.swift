// A model or an adapter as content: a folder of files, each a UnixFS root. The manifest is a dag-cbor block whose CID
// names the model (or adapter) everywhere: in catalogs, adverts and receipts. It holds nothing that changes.

package import Primitives

package struct FolderFile: Hashable, Sendable {
    /// A plain file name: no separators, not hidden.
    package let name: String
    package let root: CID
    package let bytes: UInt64

    package init(name: String, root: CID, bytes: UInt64) {
        self.name = name
        self.root = root
        self.bytes = bytes
    }

    package static func isPlain(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= FolderManifest.nameBytesMax && !name.hasPrefix(".")
            && name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "\\") }
    }
}

package enum FolderKind: String, Hashable, Sendable, CaseIterable {
    case model, adapter
}

package struct FolderManifest: Hashable, Sendable {
    package static let bytesMax = 65_536
    package static let filesMax = 256
    package static let nameBytesMax = 128
    package static let version: UInt64 = 1

    package let kind: FolderKind
    package let name: String
    /// The manifest of the base model; there exactly for an adapter.
    package let base: CID?
    /// Ascending by name, each name once.
    package let files: [FolderFile]

    package init(kind: FolderKind, name: String, base: CID?, files: [FolderFile]) {
        self.kind = kind
        self.name = name
        self.base = base
        self.files = files.sorted { $0.name < $1.name }
    }

    package var totalBytes: UInt64 { files.reduce(0) { $0 &+ $1.bytes } }
    package var cid: CID { CID(.dagCBOR, hashing: encoded()) }

    package func file(_ name: String) -> FolderFile? { files.first { $0.name == name } }

    package func encoded() -> [UInt8] {
        var pairs: [(String, CBOR)] = [
            ("v", .unsigned(Self.version)), ("kind", .text(kind.rawValue)), ("name", .text(name)),
            (
                "files",
                .array(
                    files.map { .map(["name": .text($0.name), "root": .link($0.root), "bytes": .unsigned($0.bytes)]) })
            ),
        ]
        if let base { pairs.append(("base", .link(base))) }
        return CBOR.map(pairs).encoded()
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        var fields = try CBORFields(decoding: bytes, "FolderManifest", limits: CBORLimits(bytesMax: Self.bytesMax))
        guard try fields.unsigned("v") == Self.version else {
            throw fields.fault("v", "is a version that is not known")
        }
        guard let kind = FolderKind(rawValue: try fields.text("kind", max: 16)) else {
            throw fields.fault("kind", "is not model or adapter")
        }
        self.kind = kind
        name = try fields.text("name", max: Self.nameBytesMax)
        var base: CID?
        if let value = fields.optionalValue("base") {
            guard case .link(let cid) = value else { throw fields.fault("base", "is not a link") }
            base = cid
        }
        guard (base != nil) == (kind == .adapter) else {
            throw fields.fault("base", "belongs to an adapter, and only there")
        }
        self.base = base
        var files: [FolderFile] = []
        for item in try fields.array("files", max: Self.filesMax) {
            var entry = try CBORFields(item, "FolderManifest.files")
            let file = FolderFile(
                name: try entry.text("name", max: Self.nameBytesMax), root: try entry.link("root"),
                bytes: try entry.unsigned("bytes", max: 1 << 48))
            try entry.finish()
            guard FolderFile.isPlain(file.name) else {
                throw fields.fault("files", "holds a name that is no plain file name")
            }
            if let last = files.last, last.name >= file.name { throw fields.fault("files", "is out of order") }
            files.append(file)
        }
        self.files = files
        try fields.finish()
    }
}
