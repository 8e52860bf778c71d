// A file that is being pulled. Chunks arrive in any order, are checked against their leaf, and written where they belong.
//
//     chunk ──wrong hash──▶ refused (`wrongChunk`), nothing written
//       └──right──▶ written ──(every 8 MiB, and at the end)──▶ file synced ──▶ bits in LMDB
//     all bits ──▶ synced ──▶ renamed into the folder ──▶ leaves indexed, `files` entry, partial forgotten
//
// A bit in LMDB therefore means that the chunk is on the disk. After a kill -9 the chunks written since the last sync are
// still in the file without a bit: opening hashes what the file holds and takes them back, so no byte is fetched twice.

import Foundation
package import Primitives

// @unchecked Sendable: `bitmap`, `unsyncedBytes` and `unsynced` are used with `lock` held; the rest is fixed at init.
package final class PartialFile: @unchecked Sendable {
    package let plan: FilePlan
    let path: String
    private let store: Store
    private let descriptor: Int32
    private let lock = UnfairLock()
    private var bitmap: ChunkBitmap
    private var unsyncedBytes: UInt64 = 0
    private let indexOfLeaf: [CID: [Int]]

    init(plan: FilePlan, path: String, store: Store) throws(StorageFault) {
        self.plan = plan
        self.path = path
        self.store = store
        let opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard opened >= 0 else { throw .from(errno, "open", path: path) }
        descriptor = opened
        var indexOfLeaf: [CID: [Int]] = [:]
        for (index, leaf) in plan.leaves.enumerated() { indexOfLeaf[leaf, default: []].append(index) }
        self.indexOfLeaf = indexOfLeaf
        bitmap = ChunkBitmap(count: plan.leaves.count)
        if let bytes = try store.get(BlobTables.bitmaps, plan.root),
            let recorded = ChunkBitmap(count: plan.leaves.count, bytes: bytes)
        {
            bitmap = recorded
        }
        try recover()
    }

    deinit { close(descriptor) }

    /// Chunks still to be fetched, ascending.
    package var missing: [Int] {
        lock.lock()
        defer { lock.unlock() }
        return bitmap.missing
    }

    package var isComplete: Bool {
        lock.lock()
        defer { lock.unlock() }
        return bitmap.isComplete
    }

    package var verifiedBytes: UInt64 {
        lock.lock()
        defer { lock.unlock() }
        return (0..<bitmap.count).reduce(0) { $0 + (bitmap[$1] ? UInt64(plan.range($1).count) : 0) }
    }

    /// Checks `bytes` against leaf `index` and writes them. Throws `wrongChunk` for bytes that do not match: the caller
    /// knows who sent them. A chunk that is there already is ignored.
    package func write(_ index: Int, _ bytes: [UInt8]) throws(StorageFault) {
        guard plan.leaves.indices.contains(index) else {
            throw .blob(file: plan.root.text, reason: "there is no chunk \(index)")
        }
        let range = plan.range(index)
        guard UInt64(bytes.count) == UInt64(range.count), plan.leaves[index].verifies(bytes) else {
            throw .wrongChunk(file: plan.root.text, leaf: index)
        }
        lock.lock()
        defer { lock.unlock() }
        guard !bitmap[index] else { return }
        try writeAll(bytes, at: range.lowerBound)
        bitmap[index] = true
        store.countBlob(bytes.count)
        unsyncedBytes += UInt64(bytes.count)
        if unsyncedBytes >= BlobLimits.syncEveryBytes { try syncLocked() }
    }

    /// Writes `bytes` wherever the file has this leaf. False when it has no such leaf.
    package func write(leaf: CID, _ bytes: [UInt8]) throws(StorageFault) -> Bool {
        guard let indices = indexOfLeaf[leaf] else { return false }
        for index in indices { try write(index, bytes) }
        return true
    }

    /// Makes what was written so far durable.
    package func sync() throws(StorageFault) {
        lock.lock()
        defer { lock.unlock() }
        try syncLocked()
    }

    private func syncLocked() throws(StorageFault) {
        guard fsync(descriptor) == 0 else { throw .from(errno, "fsync", path: path) }
        try store.write([BlobTables.bitmaps.put(plan.root, bitmap.bytes)])
        unsyncedBytes = 0
    }

    /// The bytes of a leaf that is already here, so that a file is served while it is pulled.
    package func read(leaf: CID) throws(StorageFault) -> [UInt8]? {
        guard let index = indexOfLeaf[leaf]?.first else { return nil }
        lock.lock()
        let isHere = bitmap[index]
        lock.unlock()
        guard isHere, let bytes = readChunk(index) else { return nil }
        return bytes
    }

    private func writeAll(_ bytes: [UInt8], at offset: UInt64) throws(StorageFault) {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { raw in
                pwrite(descriptor, raw.baseAddress.map { $0 + done }, raw.count - done, off_t(offset) + off_t(done))
            }
            guard count > 0 else { throw .from(count == 0 ? ENOSPC : errno, "write", path: path) }
            done += count
        }
    }

    private func readChunk(_ index: Int) -> [UInt8]? {
        let range = plan.range(index)
        return FileBytes.read(descriptor, offset: range.lowerBound, count: range.count)
    }

    /// Takes back the chunks that are in the file and have no bit; drops bits that the file's length disproves.
    private func recover() throws(StorageFault) {
        var info = stat()
        guard fstat(descriptor, &info) == 0 else { throw .from(errno, "stat", path: path) }
        let length = UInt64(max(0, info.st_size))
        let before = bitmap
        for index in 0..<bitmap.count {
            let range = plan.range(index)
            if range.upperBound > length {
                bitmap[index] = false
            } else if !bitmap[index], hasData(range), let bytes = readChunk(index), plan.leaves[index].verifies(bytes) {
                bitmap[index] = true
            }
        }
        if bitmap != before { try syncLocked() }
    }

    /// SEEK_DATA of lseek(2), which the C module does not export.
    #if os(macOS)
    private static let seekData: Int32 = 4
    #else
    private static let seekData: Int32 = 3
    #endif

    /// False where the file has a hole; a hole is not worth hashing.
    private func hasData(_ range: Range<UInt64>) -> Bool {
        let next = lseek(descriptor, off_t(range.lowerBound), Self.seekData)
        return next >= 0 && UInt64(next) < range.upperBound
    }
}

enum FileBytes {
    /// Exactly `count` bytes from `offset`; nil when the file is shorter or cannot be read.
    static func read(_ descriptor: Int32, offset: UInt64, count: Int) -> [UInt8]? {
        var complete = true
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            var done = 0
            while done < count {
                let got = pread(
                    descriptor, buffer.baseAddress.map { $0 + done }, count - done, off_t(offset) + off_t(done))
                if got <= 0 {
                    complete = false
                    break
                }
                done += got
            }
            initialized = done
        }
        return complete ? bytes : nil
    }
}
