// Blocks by CID, whatever their size. Small ones are values in LMDB. Large content is files in the folder `blobs`,
// named by their root; a leaf of such a file is served from the file itself through the leaf index, so nothing is stored
// twice. Models are mapped from there by the engine.
//
//     blobs/<root>            complete
//     blobs/partial/<root>    being pulled or imported

import Foundation
package import Primitives

/// The blobs of a home. Thread-safe.
// @unchecked Sendable: `partials` is used with `lock` held; the rest is fixed at init.
package final class BlobStore: @unchecked Sendable {
    private let store: Store
    private let folder: String
    private let lock = UnfairLock()
    private var partials: [CID: PartialFile] = [:]

    /// The store's schema must include `BlobTables.all`.
    package init(_ store: Store) throws(StorageFault) {
        self.store = store
        folder = "\(store.home)/blobs"
        try Disk.makeDirectory(folder)
        try Disk.makeDirectory("\(folder)/partial")
    }

    package func path(of root: CID) -> String { "\(folder)/\(root.text)" }
    private func partialPath(_ root: CID) -> String { "\(folder)/partial/\(root.text)" }

    // MARK: blocks

    /// The write that stores a block below 64 KiB, to go into a set with others. Throws for a larger one (`putLarge`)
    /// and for bytes that are not the CID's.
    package func put(_ cid: CID, _ block: [UInt8]) throws(StorageFault) -> StoreWrite {
        guard block.count < StoreLimits.inlineBlockBytesMax else {
            throw .valueTooLarge(
                table: BlobTables.blocks.id, byteCount: block.count, limitBytes: StoreLimits.inlineBlockBytesMax)
        }
        guard cid.verifies(block) else { throw .wrongChunk(file: cid.text, leaf: 0) }
        return BlobTables.blocks.put(cid, block)
    }

    /// The write that forgets a block below 64 KiB.
    package func dropping(_ cid: CID) -> StoreWrite {
        StoreWrite(table: BlobTables.blocks.id, key: cid.bytes, value: nil)
    }

    /// Stores a block of any size up to a chunk's limit and waits for the disk.
    package func putAndWait(_ cid: CID, _ block: [UInt8]) throws(StorageFault) {
        if block.count < StoreLimits.inlineBlockBytesMax { return try store.write([try put(cid, block)]) }
        if try has(cid) { return }
        let size = UInt64(block.count)
        let file = try begin(try FilePlan(root: cid, byteCount: size, chunkBytes: size, leaves: [cid]))
        try file.write(0, block)
        try finish(cid)
    }

    /// The bytes of a block: from LMDB, from the file that holds it as a leaf, or from one that is being pulled.
    package func block(_ cid: CID) throws(StorageFault) -> [UInt8]? {
        if let small = try store.get(BlobTables.blocks, cid) { return small }
        if let location = try location(of: cid) { return try read(location) }
        for file in activePartials() {
            if let bytes = try file.read(leaf: cid) { return bytes }
        }
        return nil
    }

    /// The length of a block without reading it; nil when it is not here.
    package func byteCount(of cid: CID) throws(StorageFault) -> Int? {
        if let count = try store.withValue(BlobTables.blocks.id, cid.bytes, { $0?.byteCount }) { return count }
        if let location = try location(of: cid) { return Int(location.byteCount) }
        for file in activePartials() {
            if let bytes = try file.read(leaf: cid) { return bytes.count }
        }
        return nil
    }

    package func has(_ cid: CID) throws(StorageFault) -> Bool { try byteCount(of: cid) != nil }

    /// In which complete file a leaf lies, and where.
    package func location(of leaf: CID) throws(StorageFault) -> LeafLocation? {
        let page = try store.scan(
            Scan(BlobTables.leaves, prefix: leaf.bytes, limit: BlobLimits.filesPerLeafTriedMax))
        for entry in page.entries {
            guard let location = LeafLocation(key: entry.key, value: entry.value) else {
                throw .undecodable(table: BlobTables.leaves, key: Hex.encode(entry.key), reason: "not a location")
            }
            if Disk.exists(path(of: location.file)) { return location }
        }
        return nil
    }

    private func read(_ location: LeafLocation) throws(StorageFault) -> [UInt8] {
        let path = path(of: location.file)
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .from(errno, "open", path: path) }
        defer { close(descriptor) }
        guard let bytes = FileBytes.read(descriptor, offset: location.offset, count: Int(clamping: location.byteCount))
        else { throw .damaged(path: path, reason: "it is shorter than its index says") }
        return bytes
    }

    private func activePartials() -> [PartialFile] {
        lock.lock()
        defer { lock.unlock() }
        return partials.sorted { $0.key < $1.key }.map(\.value)
    }

    // MARK: files

    /// The plan of a complete file; nil when it is not here.
    package func file(_ root: CID) throws(StorageFault) -> FilePlan? { try store.get(BlobTables.files, root) }

    /// A complete file, mapped.
    package func map(_ root: CID) throws(StorageFault) -> MappedFile {
        guard let plan = try file(root) else { throw .blob(file: root.text, reason: "is not here; pull it first") }
        let mapped = try MappedFile(path: path(of: root))
        guard UInt64(mapped.byteCount) == plan.byteCount else {
            throw .damaged(path: mapped.path, reason: "it has \(mapped.byteCount) bytes of \(plan.byteCount)")
        }
        return mapped
    }

    /// Begins a pull, or resumes the one that an earlier run began. Waits for the disk.
    package func begin(_ plan: FilePlan) throws(StorageFault) -> PartialFile {
        lock.lock()
        defer { lock.unlock() }
        if let active = partials[plan.root] { return active }
        guard partials.count < BlobLimits.partialsMax else {
            throw .blob(file: plan.root.text, reason: "\(BlobLimits.partialsMax) files are being pulled already")
        }
        if let known = try store.get(BlobTables.partials, plan.root), known != plan {
            throw .blob(file: plan.root.text, reason: "is being pulled with other chunks")
        }
        if try file(plan.root) != nil { throw .blob(file: plan.root.text, reason: "is here already") }
        try store.write([BlobTables.partials.put(plan.root, plan)])
        // A crash after the rename and before the `files` entry: the bytes are here, under the final name.
        if !Disk.exists(partialPath(plan.root)), Disk.exists(path(of: plan.root)) {
            try Disk.move(path(of: plan.root), to: partialPath(plan.root))
        }
        let file = try PartialFile(plan: plan, path: partialPath(plan.root), store: store)
        try store.checkRoom(for: plan.byteCount - min(plan.byteCount, file.verifiedBytes))
        partials[plan.root] = file
        return file
    }

    /// The pulls that an earlier run left unfinished.
    package func unfinished() throws(StorageFault) -> [FilePlan] {
        var plans: [FilePlan] = []
        for entry in try store.scan(Scan(BlobTables.partials.id, limit: BlobLimits.partialsMax)).entries {
            plans.append(try BlobTables.partials.decodeValue(entry.value, key: entry.key))
        }
        return plans
    }

    /// Makes a complete pull a file: synced, renamed, indexed. Waits for the disk. Doing it again is no fault.
    package func finish(_ root: CID) throws(StorageFault) {
        lock.lock()
        let active = partials[root]
        lock.unlock()
        guard let active else {
            if try file(root) != nil { return }
            throw .blob(file: root.text, reason: "is not being pulled")
        }
        guard active.isComplete else {
            throw .blob(file: root.text, reason: "\(active.missing.count) chunks are missing")
        }
        try active.sync()
        try publish(active.plan, from: active.path)
        lock.lock()
        partials[root] = nil
        lock.unlock()
    }

    /// Gives up a pull and its bytes.
    package func abandon(_ root: CID) throws(StorageFault) {
        lock.lock()
        partials[root] = nil
        lock.unlock()
        try Disk.remove(partialPath(root))
        try store.write([BlobTables.partials.delete(root), BlobTables.bitmaps.delete(root)])
    }

    private func publish(_ plan: FilePlan, from partial: String) throws(StorageFault) {
        // The index may be ahead of the file (`location` looks whether the file is there); the `files` entry may not.
        var writes: [StoreWrite] = []
        for (index, leaf) in plan.leaves.enumerated() {
            let range = plan.range(index)
            writes.append(
                StoreWrite(
                    table: BlobTables.leaves, key: LeafLocation.key(leaf: leaf, file: plan.root),
                    value: LeafLocation.value(offset: range.lowerBound, byteCount: UInt64(range.count))))
            if writes.count == BlobLimits.leavesPerWriteMax {
                try store.write(writes)
                writes = []
            }
        }
        try store.write(writes)
        try Disk.move(partial, to: path(of: plan.root))
        try Disk.syncDirectory(folder)
        try store.write([
            BlobTables.files.put(plan.root, plan), BlobTables.partials.delete(plan.root),
            BlobTables.bitmaps.delete(plan.root),
        ])
    }

    // MARK: import

    /// Copies a file of this machine into the folder and hashes its chunks; `adopt` gives it its name once the caller
    /// has made the root from the leaves. Blocking, for as long as the disk takes.
    package func stage(_ source: String, chunkBytes: Int = 1 << 20) throws(StorageFault) -> StagedFile {
        guard chunkBytes > 0, chunkBytes <= Int(BlobLimits.chunkBytesMax) else {
            throw .blob(file: source, reason: "chunks have 1 to \(BlobLimits.chunkBytesMax) bytes")
        }
        let input = open(source, O_RDONLY | O_CLOEXEC)
        guard input >= 0 else { throw .from(errno, "open", path: source) }
        defer { close(input) }
        // Named by the input's identity: a second import of the same file begins anew, two at once do not collide.
        var info = stat()
        guard fstat(input, &info) == 0 else { throw .from(errno, "stat", path: source) }
        try store.checkRoom(for: UInt64(max(0, info.st_size)))
        let path = "\(folder)/partial/import-\(info.st_dev)-\(info.st_ino)"
        let output = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard output >= 0 else { throw .from(errno, "open", path: path) }
        defer { close(output) }

        var leaves: [CID] = []
        var total: UInt64 = 0
        while true {
            let wanted = min(UInt64(chunkBytes), UInt64(max(0, info.st_size)) - total)
            if wanted == 0 { break }
            guard leaves.count < BlobLimits.leavesMax else { throw .blob(file: source, reason: "is too large") }
            guard let chunk = FileBytes.read(input, offset: total, count: Int(wanted)) else {
                throw .blob(file: source, reason: "changed while it was read")
            }
            let written = chunk.withUnsafeBytes { pwrite(output, $0.baseAddress, $0.count, off_t(total)) }
            guard written == chunk.count else { throw .from(written < 0 ? errno : ENOSPC, "write", path: path) }
            store.countBlob(chunk.count)
            leaves.append(CID(.raw, hashing: chunk))
            total += wanted
        }
        guard fsync(output) == 0 else { throw .from(errno, "fsync", path: path) }
        return StagedFile(path: path, byteCount: total, chunkBytes: UInt64(chunkBytes), leaves: leaves)
    }

    /// Makes a staged file the file `root`. Waits for the disk.
    package func adopt(_ staged: StagedFile, as root: CID) throws(StorageFault) -> FilePlan {
        let plan = try FilePlan(
            root: root, byteCount: staged.byteCount, chunkBytes: staged.chunkBytes, leaves: staged.leaves)
        try publish(plan, from: staged.path)
        return plan
    }

    /// Forgets a complete file. Who has it mapped keeps it until they let go.
    package func remove(_ root: CID) throws(StorageFault) {
        guard let plan = try file(root) else { return }
        try store.write([BlobTables.files.delete(root)])
        try Disk.remove(path(of: root))
        for start in stride(from: 0, to: plan.leaves.count, by: BlobLimits.leavesPerWriteMax) {
            let part = plan.leaves[start..<min(plan.leaves.count, start + BlobLimits.leavesPerWriteMax)]
            try store.write(
                part.map {
                    StoreWrite(table: BlobTables.leaves, key: LeafLocation.key(leaf: $0, file: root), value: nil)
                })
        }
    }
}

/// A local file copied into the blob folder, with the hashes of its chunks.
package struct StagedFile: Sendable {
    let path: String
    package let byteCount: UInt64
    package let chunkBytes: UInt64
    package let leaves: [CID]
}
