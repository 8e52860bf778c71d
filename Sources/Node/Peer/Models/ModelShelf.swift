// The models and adapters that this peer holds complete. A folder comes in by import or by a pull; either way its files are
// in the blob folder, its manifest and nodes are blocks, and the engine has read it, before it is on the shelf. A restart
// finds the shelf as it was.
//
//     folder on this machine ──hash, check, stage──▶ blobs ──┐
//     pull done ──finish the files──▶ blobs ──check──────────┴──▶ shelf (LMDB) ──▶ list, folder

package import Arithmetic
import BlockExchange
import Inference
import ModelFiles
package import Primitives
package import Records
package import Storage
import Synchronization

/// A line of the shelf.
package struct Shelved: Hashable, Sendable {
    package let manifest: CID
    package let folder: FolderManifest
    fileprivate let facts: FolderFacts
    /// Numbers in the weight files.
    package var parameters: UInt64 { facts.parameters }
    /// Tokens; 0 for an adapter whose base was not here when it came.
    package var contextLength: Int { facts.contextLength }
    /// As "llama"; empty for such an adapter.
    package var family: String { facts.family }
    /// Of adapters.
    package var rank: Int? { facts.rank }
    package var alpha: Double? { facts.alpha.map { Double($0) / 1e6 } }
    /// What a model is served in; nil: in what the peer's settings say.
    package var precision: Precision? { facts.precision }
    /// Whether it is this peer's own: not told to the network, and not served to others, until it is published.
    package var isWithheld: Bool { facts.isWithheld }
    package var bytes: UInt64 { folder.totalBytes }
    package var kind: FolderKind { folder.kind }
    package var name: String { folder.name }

    init(manifest: CID, folder: FolderManifest, facts: FolderFacts) {
        self.manifest = manifest
        self.folder = folder
        self.facts = facts
    }
}

package final class ModelShelf: Sendable {
    private static let table: TableID = "shelf"
    package static let tables: [TableID] = [table]
    private static let version: UInt64 = 1

    package let keeper: BlockKeeper
    private let store: Store
    private let blobs: BlobStore
    private let entries: Mutex<[CID: Shelved]>
    /// Imports, completions and removals come one after the other.
    private let changing = Mutex(())

    package init(store: Store, blobs: BlobStore) throws(ShelfFault) {
        self.store = store
        self.blobs = blobs
        keeper = try onDisk { () throws(StorageFault) in try BlockKeeper(store: store, blobs: blobs) }
        entries = Mutex(try Self.load(store, blobs))
    }

    private static func load(_ store: Store, _ blobs: BlobStore) throws(ShelfFault) -> [CID: Shelved] {
        var entries: [CID: Shelved] = [:]
        let page = try onDisk { () throws(StorageFault) in
            try store.scan(Scan(table, limit: ShelfLimits.entriesMax))
        }
        for entry in page.entries {
            let cid: CID, facts: FolderFacts
            do {
                cid = try CID(bytes: entry.key)
                facts = try decode(entry.value)
            } catch {
                throw .storage(
                    .undecodable(table: table, key: Hex.encode(entry.key), reason: "not a line of the shelf: \(error)"))
            }
            entries[cid] = Shelved(manifest: cid, folder: try manifest(cid, in: blobs), facts: facts)
        }
        return entries
    }

    // MARK: Reading

    /// Ascending by kind, name and manifest.
    package func list() -> [Shelved] {
        entries.withLock { Array($0.values) }.sorted {
            ($0.kind.rawValue, $0.name, $0.manifest) < ($1.kind.rawValue, $1.name, $1.manifest)
        }
    }

    package func entry(_ manifest: CID) -> Shelved? { entries.withLock { $0[manifest] } }

    /// The files, for the engine.
    package func folder(_ manifest: CID) throws(ShelfFault) -> MappedFolder {
        guard let entry = entry(manifest) else { throw .unknown(manifest) }
        return try MappedFolder(entry.folder, in: blobs)
    }

    private static func manifest(_ cid: CID, in blobs: BlobStore) throws(ShelfFault) -> FolderManifest {
        let bytes = try onDisk { () throws(StorageFault) in try blobs.block(cid) }
        guard let bytes else { throw .incomplete(name: "manifest", missing: cid) }
        do {
            return try FolderManifest(decoding: bytes)
        } catch {
            throw .manifest(cid, reason: "\(error)")
        }
    }

    // MARK: Taking in

    /// Copies a folder of this machine onto the shelf. Blocking, for as long as disk and engine take; importing the same
    /// folder again gives the same manifest.
    /// - Parameter precision: what a model is to be served in. Where it is nil, that of an earlier import stays; a GGUF of
    ///   one kind of blocks that are ours is served in them.
    /// - Parameter isWithheld: whether it stays this peer's own; what is published already stays published.
    package func importFolder(
        path: String, kind: FolderKind, name: String, base: CID? = nil, precision: Precision? = nil,
        isWithheld: Bool = false
    ) throws(ShelfFault) -> (CID, FolderManifest) {
        try changing.withLock { _ throws(ShelfFault) in try take(path, kind, name, base, precision, isWithheld) }
    }

    private func take(
        _ path: String, _ kind: FolderKind, _ name: String, _ base: CID?, _ precision: Precision?, _ isWithheld: Bool
    ) throws(ShelfFault) -> (CID, FolderManifest) {
        guard (base != nil) == (kind == .adapter) else {
            throw .folder(path: path, reason: "an adapter has a base model, and a model has none")
        }
        let baseConfig = try base.map { base throws(ShelfFault) in try config(of: base) }
        let files = try FolderFiles.list(path, kind: kind)
        // Nothing is copied that the engine does not take.
        let local = try MappedFolder(files)
        let bytes = files.reduce(UInt64(0)) { $0 + UInt64(local.bytes(of: $1.name)?.count ?? 0) }
        var facts = try FolderCheck.facts(
            kind, files: files.map(\.name), bytes: bytes, folder: local, base: baseConfig)
        var imported: [FolderFile] = []
        for file in files { imported.append(try take(file.name, file.path)) }
        let manifest = try FolderHasher.checked(
            FolderManifest(kind: kind, name: name, base: base, files: imported), path: path)
        let cid = manifest.cid
        facts.precision = precision ?? (entry(cid) ?? Shelved(manifest: cid, folder: manifest, facts: facts)).precision
        facts.isWithheld = isWithheld && entry(cid)?.isWithheld ?? true
        try onDisk { () throws(StorageFault) in try blobs.putAndWait(cid, manifest.encoded()) }
        try put(Shelved(manifest: cid, folder: manifest, facts: facts), facts)
        return (cid, manifest)
    }

    /// One file into the blob folder, or, where it is small, into the table.
    private func take(_ name: String, _ path: String) throws(ShelfFault) -> FolderFile {
        let mapped = try onDisk { () throws(StorageFault) in try MappedFile(path: path) }
        if mapped.byteCount < StoreLimits.inlineBlockBytesMax {
            let block = Block(.raw, mapped.withUnsafeBytes { [UInt8]($0) })
            try onDisk { () throws(StorageFault) in try blobs.putAndWait(block.cid, block.bytes) }
            return FolderFile(name: name, root: block.cid, bytes: UInt64(block.bytes.count))
        }
        let staged = try onDisk { () throws(StorageFault) in
            try blobs.stage(path, chunkBytes: FileBuilder.chunkBytesDefault)
        }
        let parts = staged.leaves.enumerated().map { index, leaf in
            let start = UInt64(index) * staged.chunkBytes
            let size = min(staged.chunkBytes, staged.byteCount - start)
            return FileNode.Part(cid: leaf, size: size, totalSize: size)
        }
        let (root, nodes) = FileTree.root(above: parts)
        for node in nodes { try onDisk { () throws(StorageFault) in try blobs.putAndWait(node.cid, node.bytes) } }
        _ = try onDisk { () throws(StorageFault) in try blobs.adopt(staged, as: root) }
        return FolderFile(name: name, root: root, bytes: staged.byteCount)
    }

    /// Takes what a pull has brought: every file made complete, read by the engine, remembered. Blocking. Doing it again
    /// is no fault. Throws `incomplete` where a block is not here.
    @discardableResult
    package func complete(manifest cid: CID) throws(ShelfFault) -> FolderManifest {
        try changing.withLock { _ throws(ShelfFault) in
            if let entry = entry(cid) { return entry.folder }
            let manifest = try Self.manifest(cid, in: blobs)
            for file in manifest.files { try keeper.finish(file.root, bytes: file.bytes, name: file.name) }
            let folder = try MappedFolder(manifest, in: blobs)
            let base = manifest.base.flatMap { entry($0) == nil ? nil : $0 }
            let baseConfig = try base.map { base throws(ShelfFault) in try config(of: base) }
            let facts = try FolderCheck.facts(
                manifest.kind, files: manifest.files.map(\.name), bytes: manifest.totalBytes, folder: folder,
                base: baseConfig)
            try put(Shelved(manifest: cid, folder: manifest, facts: facts), facts)
            return manifest
        }
    }

    private func config(of base: CID) throws(ShelfFault) -> ModelConfig {
        guard let entry = entry(base), entry.kind == .model else { throw .baseMissing(base) }
        let folder = try MappedFolder(entry.folder, in: blobs)
        return try inModel { () throws(ModelFault) in try ModelConfig(folder: folder) }
    }

    private func put(_ entry: Shelved, _ facts: FolderFacts) throws(ShelfFault) {
        let isFull = entries.withLock { $0[entry.manifest] == nil && $0.count >= ShelfLimits.entriesMax }
        guard !isFull else { throw .full(limit: ShelfLimits.entriesMax) }
        try onDisk { () throws(StorageFault) in
            try store.write([StoreWrite(table: Self.table, key: entry.manifest.bytes, value: Self.encode(facts))])
        }
        entries.withLock { $0[entry.manifest] = entry }
    }

    /// - Parameter precision: nil for what the peer's settings say.
    package func setPrecision(_ precision: Precision?, of cid: CID) throws(ShelfFault) {
        try changing.withLock { _ throws(ShelfFault) in
            guard let entry = entry(cid), entry.kind == .model else { throw .unknown(cid) }
            var facts = entry.facts
            facts.precision = precision
            try put(Shelved(manifest: cid, folder: entry.folder, facts: facts), facts)
        }
    }

    /// From now on the network is told of it. Doing it again is no fault.
    package func publish(_ cid: CID) throws(ShelfFault) {
        try changing.withLock { _ throws(ShelfFault) in
            guard let entry = entry(cid) else { throw .unknown(cid) }
            guard entry.isWithheld else { return }
            var facts = entry.facts
            facts.isWithheld = false
            try put(Shelved(manifest: cid, folder: entry.folder, facts: facts), facts)
        }
    }

    // MARK: Removing

    /// Takes a model or an adapter off the shelf and its files off the disk, but for those that others share. Engines that
    /// have it loaded keep it until they let go.
    package func remove(_ cid: CID) throws(ShelfFault) {
        try changing.withLock { _ throws(ShelfFault) in
            guard let entry = entry(cid) else { throw .unknown(cid) }
            let users = list().filter { $0.folder.base == cid }.map(\.name)
            guard users.isEmpty else { throw .inUse(name: entry.name, by: users) }
            // Off the shelf first: what is left behind by a crash takes room, and nothing else.
            try onDisk { () throws(StorageFault) in
                try store.write([StoreWrite(table: Self.table, key: cid.bytes, value: nil)])
            }
            let kept = entries.withLock { entries in
                entries[cid] = nil
                return Set(entries.values.flatMap { $0.folder.files.map(\.root) })
            }
            var blocks = [cid]
            for file in entry.folder.files where !kept.contains(file.root) {
                if file.root.codec == .raw {
                    blocks.append(file.root)
                } else {
                    blocks +=
                        (try? FileTree.leaves(under: file.root, name: file.name) { cid throws(StorageFault) in
                            try blobs.block(cid)
                        })?.nodes ?? []
                }
                try onDisk { () throws(StorageFault) in try blobs.remove(file.root) }
            }
            try onDisk { () throws(StorageFault) in try store.write(blocks.map { BlobTables.blocks.delete($0) }) }
        }
    }

    // MARK: Codec

    private static func encode(_ facts: FolderFacts) -> [UInt8] {
        var pairs: [(String, CBOR)] = [
            ("v", .unsigned(version)), ("parameters", .unsigned(facts.parameters)),
            ("context", .unsigned(UInt64(max(0, facts.contextLength)))), ("family", .text(facts.family)),
        ]
        if let rank = facts.rank { pairs.append(("rank", .unsigned(UInt64(max(0, rank))))) }
        if let alpha = facts.alpha { pairs.append(("alpha", .unsigned(alpha))) }
        if let precision = facts.precision { pairs.append(("precision", .text(precision.rawValue))) }
        if facts.isWithheld { pairs.append(("withheld", .bool(true))) }
        return CBOR.map(pairs).encoded()
    }

    /// A line of before models had a precision of their own has none.
    static func decode(_ bytes: [UInt8]) throws(CBORFault) -> FolderFacts {
        var fields = try CBORFields(decoding: bytes, "Shelf")
        guard try fields.unsigned("v") == version else { throw fields.fault("v", "is a version that is not known") }
        var facts = FolderFacts()
        facts.parameters = try fields.unsigned("parameters")
        facts.contextLength = Int(try fields.unsigned("context", max: 1 << 32))
        facts.family = try fields.text("family", max: 64)
        if case .unsigned(let rank) = fields.optionalValue("rank") { facts.rank = Int(clamping: rank) }
        if case .unsigned(let alpha) = fields.optionalValue("alpha") { facts.alpha = alpha }
        if case .text(let name) = fields.optionalValue("precision") {
            guard let precision = Precision(rawValue: name) else {
                throw fields.fault("precision", "is not one that is known")
            }
            facts.precision = precision
        }
        if case .bool(let isWithheld) = fields.optionalValue("withheld") { facts.isWithheld = isWithheld }
        try fields.finish()
        return facts
    }
}
