// Where a verified block goes. Small ones are values in LMDB; the leaves of a large file are written at their place in the
// partial file, so that a model that was pulled lies once on the disk and can be mapped.
//
//     node of a file ──▶ partial file begun ──▶ LMDB         leaf ≥ 64 KiB ──▶ its place in the partial file
//     manifest, small leaf, row shard ──▶ LMDB               leaf of no known file ──▶ a file of its own
//
// Unfinished files of an earlier run are taken up at the start: what they hold is found by `BlobStore.block`, so nothing is
// fetched twice after a kill -9. What a peer sends cannot make keeping fail: a plan that makes no sense is not begun, and
// its leaves are kept one by one.

import BlockExchange
package import Primitives
package import Storage
import Synchronization

package final class BlockKeeper: Sendable {
    private struct Partials {
        var files: [CID: PartialFile] = [:]
        /// Leaf → roots of the partial files that have it.
        var roots: [CID: [CID]] = [:]
    }

    private let store: Store
    private let blobs: BlobStore
    private let partials = Mutex(Partials())

    package init(store: Store, blobs: BlobStore) throws(StorageFault) {
        self.store = store
        self.blobs = blobs
        for plan in try blobs.unfinished() { adopt(try blobs.begin(plan)) }
    }

    /// Keeps the block and waits for the disk. Not to be called on the loop.
    package func keep(_ cid: CID, _ bytes: [UInt8]) throws(StorageFault) {
        if let write = try prepare(cid, bytes) { try store.write([write]) }
    }

    /// What is left to do for the block: a write that goes into a set with others, or nothing. Not to be called on the
    /// loop.
    package func prepare(_ cid: CID, _ bytes: [UInt8]) throws(StorageFault) -> StoreWrite? {
        // The partial file first: were the node stored and the file not begun when the power goes, its leaves would find
        // no place.
        if cid.codec == .dagPB { try begin(cid, bytes) }
        if bytes.count < StoreLimits.inlineBlockBytesMax { return try blobs.put(cid, bytes) }
        if cid.codec == .raw, try place(cid, bytes) { return nil }
        try blobs.putAndWait(cid, bytes)
        return nil
    }

    private func begin(_ root: CID, _ bytes: [UInt8]) throws(StorageFault) {
        guard let node = try? FileNode(decoding: bytes), let plan = FileTree.plan(root: root, node: node),
            // Leaves that go into the table do not need a file.
            plan.chunkBytes >= UInt64(StoreLimits.inlineBlockBytesMax), try blobs.file(root) == nil
        else { return }
        do {
            adopt(try blobs.begin(plan))
        } catch .blob {
            // Too many at a time, or begun with another plan: the leaves are kept one by one.
        }
    }

    private func adopt(_ file: PartialFile) {
        partials.withLock { partials in
            guard partials.files.updateValue(file, forKey: file.plan.root) == nil else { return }
            for leaf in Set(file.plan.leaves) { partials.roots[leaf, default: []].append(file.plan.root) }
        }
    }

    private func place(_ leaf: CID, _ bytes: [UInt8]) throws(StorageFault) -> Bool {
        let files = partials.withLock { partials in (partials.roots[leaf] ?? []).compactMap { partials.files[$0] } }
        var isPlaced = false
        for file in files {
            do {
                if try file.write(leaf: leaf, bytes) { isPlaced = true }
            } catch .wrongChunk {
                // The node declared another length for this leaf: it is the node that is wrong.
            }
        }
        return isPlaced
    }

    private func forget(_ root: CID) {
        partials.withLock { partials in
            guard let file = partials.files.removeValue(forKey: root) else { return }
            for leaf in Set(file.plan.leaves) {
                partials.roots[leaf]?.removeAll { $0 == root }
                if partials.roots[leaf]?.isEmpty == true { partials.roots[leaf] = nil }
            }
        }
    }

    /// Makes the file `root` complete: a blob that can be mapped, or one small block. Waits for the disk. Throws
    /// `incomplete` with the first block that is not here.
    func finish(_ root: CID, bytes: UInt64, name: String) throws(ShelfFault) {
        let known = try onDisk { () throws(StorageFault) in try blobs.file(root) }
        if let known {
            guard known.byteCount == bytes else {
                throw .file(name: name, reason: "has \(known.byteCount) bytes, its manifest says \(bytes)")
            }
            return
        }
        guard root.codec != .raw else {
            let count = try onDisk { () throws(StorageFault) in try blobs.byteCount(of: root) }
            guard let count else { throw .incomplete(name: name, missing: root) }
            guard UInt64(count) == bytes else {
                throw .file(name: name, reason: "has \(count) bytes, its manifest says \(bytes)")
            }
            return
        }
        let (leaves, _) = try FileTree.leaves(under: root, name: name) { cid throws(StorageFault) in
            try blobs.block(cid)
        }
        guard let plan = FileTree.plan(root: root, leaves: leaves) else {
            throw .file(name: name, reason: "its chunks are not of one size; import it with chunks of 1 MiB")
        }
        guard plan.byteCount == bytes else {
            throw .file(name: name, reason: "has \(plan.byteCount) bytes, its manifest says \(bytes)")
        }
        let file = try onDisk { () throws(StorageFault) in try blobs.begin(plan) }
        for index in file.missing {
            let leaf = plan.leaves[index]
            let chunk = try onDisk { () throws(StorageFault) in try blobs.block(leaf) }
            guard let chunk else { throw .incomplete(name: name, missing: leaf) }
            try onDisk { () throws(StorageFault) in try file.write(index, chunk) }
        }
        try onDisk { () throws(StorageFault) in try blobs.finish(root) }
        forget(root)
    }
}
