import Foundation
import Primitives
import Testing

@testable import Storage

@Suite struct BlobTests {
    let home = TemporaryHome()

    private func open() throws -> (Store, BlobStore) {
        let store = try Store(home: home.path, schema: Schema(version: 1, tables: BlobTables.all))
        return (store, try BlobStore(store))
    }

    private let chunkBytes = 64 << 10

    /// A file of `count` bytes cut into chunks; its root is any CID, as a UnixFS root would be.
    private func make(_ count: Int, seed: UInt64) throws -> (plan: FilePlan, chunks: [[UInt8]]) {
        var random = SeededRandom(seed: seed)
        let bytes = random.bytes(count)
        let chunks = stride(from: 0, to: count, by: chunkBytes).map { Array(bytes[$0..<min(count, $0 + chunkBytes)]) }
        let root = CID(.dagPB, hashing: random.bytes(32))
        let plan = try FilePlan(
            root: root, byteCount: UInt64(count), chunkBytes: UInt64(chunkBytes),
            leaves: chunks.map { CID(.raw, hashing: $0) })
        return (plan, chunks)
    }

    @Test func smallBlocksLiveInTheStoreAndLargeOnesInFiles() throws {
        let (store, blobs) = try open()
        let small = [UInt8](repeating: 1, count: 1000)
        let large = [UInt8](repeating: 2, count: 300_000)
        let (smallCID, largeCID) = (CID(.dagCBOR, hashing: small), CID(.raw, hashing: large))
        try blobs.putAndWait(smallCID, small)
        try blobs.putAndWait(largeCID, large)
        try blobs.putAndWait(largeCID, large)
        #expect(try blobs.block(smallCID) == small)
        #expect(try blobs.block(largeCID) == large)
        #expect(try blobs.byteCount(of: largeCID) == 300_000)
        #expect(try store.get(BlobTables.blocks, largeCID) == nil)
        #expect(try blobs.has(CID(.raw, hashing: [9])) == false)
        #expect(throws: StorageFault.wrongChunk(file: smallCID.text, leaf: 0)) { try blobs.put(smallCID, [1]) }
    }

    @Test func aPulledFileIsServedLeafByLeafAndMapped() throws {
        let (store, blobs) = try open()
        let (plan, chunks) = try make(300_001, seed: 1)
        let file = try blobs.begin(plan)
        #expect(file.missing == [0, 1, 2, 3, 4])
        var bad = chunks[2]
        bad[100] ^= 1
        #expect(throws: StorageFault.wrongChunk(file: plan.root.text, leaf: 2)) { try file.write(2, bad) }
        for index in [3, 0, 4, 2] { try file.write(index, chunks[index]) }
        #expect(try blobs.block(plan.leaves[3]) == chunks[3])
        #expect(try blobs.block(plan.leaves[1]) == nil)
        #expect(throws: StorageFault.blob(file: plan.root.text, reason: "1 chunks are missing")) {
            try blobs.finish(plan.root)
        }
        #expect(try file.write(leaf: plan.leaves[1], chunks[1]))
        try blobs.finish(plan.root)
        try blobs.finish(plan.root)
        for (index, leaf) in plan.leaves.enumerated() { #expect(try blobs.block(leaf) == chunks[index]) }
        #expect((try blobs.map(plan.root).withUnsafeBytes(Array.init)) == chunks.flatMap { $0 })
        #expect(try blobs.file(plan.root) == plan)
        #expect(try blobs.unfinished().isEmpty)
        #expect(store.statistics.writtenBytes > 300_001)
        let mapped = try blobs.map(plan.root)
        try blobs.remove(plan.root)
        #expect(mapped.byteCount == 300_001)
        #expect(try blobs.block(plan.leaves[0]) == nil)
    }

    /// Nothing is synced here, as at a kill -9: the chunks are taken back by their hashes, the torn one is not.
    @Test func aPullIsTakenUpAgainWhereItStopped() throws {
        let (plan, chunks) = try make(400_000, seed: 2)
        do {
            let (_, blobs) = try open()
            let file = try blobs.begin(plan)
            for index in [0, 2, 5] { try file.write(index, chunks[index]) }
            let handle = try #require(FileHandle(forUpdatingAtPath: file.path))
            try handle.seek(toOffset: UInt64(5 * chunkBytes + 7))
            handle.write(Data([1, 2, 3]))
        }
        let (_, blobs) = try open()
        #expect(try blobs.unfinished() == [plan])
        let file = try blobs.begin(plan)
        #expect(file.missing == [1, 3, 4, 5, 6])
        for index in file.missing { try file.write(index, chunks[index]) }
        try blobs.finish(plan.root)
        #expect((try blobs.map(plan.root).withUnsafeBytes(Array.init)) == chunks.flatMap { $0 })
    }

    @Test func aCrashBetweenRenameAndEntryLosesNothing() throws {
        let (plan, chunks) = try make(200_000, seed: 3)
        do {
            let (_, blobs) = try open()
            let file = try blobs.begin(plan)
            for (index, chunk) in chunks.enumerated() { try file.write(index, chunk) }
            try file.sync()
            try FileManager.default.moveItem(atPath: file.path, toPath: blobs.path(of: plan.root))
        }
        let (_, blobs) = try open()
        let file = try blobs.begin(plan)
        #expect(file.missing.isEmpty)
        try blobs.finish(plan.root)
        #expect(try blobs.block(plan.leaves[2]) == chunks[2])
    }

    @Test func aLeafOfTwoFilesOutlivesOneOfThem() throws {
        let (_, blobs) = try open()
        let chunk = [UInt8](repeating: 5, count: 70_000)
        let leaf = CID(.raw, hashing: chunk)
        let roots = [CID(.dagPB, hashing: [1]), CID(.dagPB, hashing: [2])]
        for root in roots {
            let plan = try FilePlan(root: root, byteCount: 70_000, chunkBytes: 70_000, leaves: [leaf])
            try blobs.begin(plan).write(0, chunk)
            try blobs.finish(root)
        }
        try blobs.remove(roots[0])
        #expect(try blobs.block(leaf) == chunk)
        try blobs.remove(roots[1])
        #expect(try blobs.block(leaf) == nil)
    }

    @Test func aLocalFileIsImported() throws {
        let (_, blobs) = try open()
        var random = SeededRandom(seed: 9)
        let bytes = random.bytes(150_000)
        let source = "\(home.path)/model.bin"
        try Data(bytes).write(to: URL(fileURLWithPath: source))
        let staged = try blobs.stage(source, chunkBytes: chunkBytes)
        #expect(staged.leaves.count == 3)
        let root = CID(.dagPB, hashing: [7])
        let plan = try blobs.adopt(staged, as: root)
        #expect(plan.byteCount == 150_000)
        #expect((try blobs.map(root).withUnsafeBytes(Array.init)) == bytes)
        #expect(throws: StorageFault.self) { try blobs.stage("\(home.path)/absent") }
    }

    @Test func aPullThatDoesNotFitTheDiskIsRefusedBeforeItBegins() throws {
        let (_, blobs) = try open()
        let leaf = CID(.raw, hashing: [1])
        let plan = try FilePlan(
            root: CID(.dagPB, hashing: [3]), byteCount: 128 << 30, chunkBytes: 2 << 20,
            leaves: Array(repeating: leaf, count: 65_536))
        guard let free = Disk.freeBytes(at: home.path), free < 128 << 30 else { return }
        do {
            _ = try blobs.begin(plan)
            Issue.record("a pull of 128 GiB was begun with \(free) bytes free")
        } catch {
            guard case .diskFull = error else {
                Issue.record("\(error)")
                return
            }
        }
    }

    @Test func plansThatDoNotAddUpAreRefused() {
        #expect(throws: StorageFault.self) {
            try FilePlan(root: CID(.raw, hashing: []), byteCount: 10, chunkBytes: 4, leaves: [])
        }
        #expect(throws: StorageFault.self) {
            try FilePlan(root: CID(.raw, hashing: []), byteCount: 10, chunkBytes: 0, leaves: [])
        }
    }
}
