// What the blob folder keeps in LMDB: which files are complete, which chunks of an unfinished one are verified, and in
// which file, where, each leaf lies.

package import Primitives

/// The chunks of one file: leaf CIDs in order, every chunk but the last of the same size.
package struct FilePlan: Hashable, Sendable {
    /// The UnixFS root that names the file, or the leaf itself for a file of one chunk.
    package let root: CID
    package let byteCount: UInt64
    package let chunkBytes: UInt64
    package let leaves: [CID]

    /// Throws unless the number of leaves is what size and chunk size make.
    package init(root: CID, byteCount: UInt64, chunkBytes: UInt64, leaves: [CID]) throws(StorageFault) {
        guard chunkBytes > 0, chunkBytes <= BlobLimits.chunkBytesMax, byteCount <= BlobLimits.fileBytesMax,
            leaves.count <= BlobLimits.leavesMax,
            UInt64(leaves.count) == (byteCount + chunkBytes - 1) / chunkBytes
        else {
            throw .blob(
                file: root.text, reason: "\(leaves.count) chunks of \(chunkBytes) bytes do not make \(byteCount) bytes")
        }
        self.root = root
        self.byteCount = byteCount
        self.chunkBytes = chunkBytes
        self.leaves = leaves
    }

    /// Where chunk `index` lies in the file.
    package func range(_ index: Int) -> Range<UInt64> {
        precondition(leaves.indices.contains(index), "no such chunk")
        let start = UInt64(index) * chunkBytes
        return start..<min(byteCount, start + chunkBytes)
    }

    static let codec = Codec<FilePlan>(
        encode: { plan in
            CBOR.map([
                "root": .link(plan.root), "size": .unsigned(plan.byteCount), "chunk": .unsigned(plan.chunkBytes),
                "leaves": .array(plan.leaves.map { .link($0) }),
            ]).encoded()
        },
        decode: { bytes in try? decode(bytes) })

    private static func decode(_ bytes: [UInt8]) throws -> FilePlan {
        var fields = try CBORFields(decoding: bytes, "FilePlan")
        let root = try fields.link("root")
        let size = try fields.unsigned("size")
        let chunk = try fields.unsigned("chunk")
        var leaves: [CID] = []
        for leaf in try fields.array("leaves", max: BlobLimits.leavesMax) {
            guard case .link(let cid) = leaf else { throw fields.fault("leaves", "holds something that is not a link") }
            leaves.append(cid)
        }
        try fields.finish()
        return try FilePlan(root: root, byteCount: size, chunkBytes: chunk, leaves: leaves)
    }
}

package enum BlobLimits {
    package static let chunkBytesMax: UInt64 = 2 << 20
    package static let leavesMax = 65_536
    package static let fileBytesMax: UInt64 = 128 << 30
    /// A pulled file's bytes reach the disk, and its bitmap LMDB, at least this often.
    package static let syncEveryBytes: UInt64 = 8 << 20
    /// Unfinished files at one time.
    package static let partialsMax = 256
    /// Files that may hold the same leaf and are tried for it.
    package static let filesPerLeafTriedMax = 16
    /// Index entries written in one set when a file is completed.
    package static let leavesPerWriteMax = 8192
}

/// Which chunks of a file are on disk and verified. One bit a chunk, chunk 0 the lowest bit of the first byte.
package struct ChunkBitmap: Hashable, Sendable {
    package let count: Int
    package private(set) var bytes: [UInt8]

    package init(count: Int) {
        self.count = count
        bytes = [UInt8](repeating: 0, count: (count + 7) / 8)
    }

    /// Nil for bytes that are not a bitmap of `count` chunks.
    init?(count: Int, bytes: [UInt8]) {
        guard bytes.count == (count + 7) / 8 else { return nil }
        self.count = count
        self.bytes = bytes
    }

    package subscript(index: Int) -> Bool {
        get { bytes[index / 8] >> UInt8(index % 8) & 1 == 1 }
        set {
            let bit: UInt8 = 1 << UInt8(index % 8)
            if newValue { bytes[index / 8] |= bit } else { bytes[index / 8] &= ~bit }
        }
    }

    package var setCount: Int { bytes.reduce(0) { $0 + $1.nonzeroBitCount } }
    package var missing: [Int] { (0..<count).filter { !self[$0] } }
    package var isComplete: Bool { setCount == count }
}

/// Where a leaf's bytes lie in a complete file.
package struct LeafLocation: Hashable, Sendable {
    package let file: CID
    package let offset: UInt64
    package let byteCount: UInt64

    /// Leaf and file, so that a leaf that two files share is found as long as one of them is there.
    static func key(leaf: CID, file: CID) -> [UInt8] { leaf.bytes + file.bytes }

    static func value(offset: UInt64, byteCount: UInt64) -> [UInt8] {
        Codec.uint64.encode(offset) + Codec.uint64.encode(byteCount)
    }

    init?(key: [UInt8], value: [UInt8]) {
        guard key.count == 2 * CID.byteCount, value.count == 16, let file = try? CID(bytes: key[CID.byteCount...]),
            let offset = Codec.uint64.decode(Array(value[..<8])), let count = Codec.uint64.decode(Array(value[8...]))
        else { return nil }
        self.file = file
        self.offset = offset
        byteCount = count
    }
}

/// The tables of `BlobStore`; a schema that has one includes these.
package enum BlobTables {
    /// Small blocks: CID → bytes.
    package static let blocks = Table<CID, [UInt8]>("blocks", keys: .cid, values: .bytes)
    /// Complete files: root → plan.
    package static let files = Table<CID, FilePlan>("files", keys: .cid, values: FilePlan.codec)
    /// Unfinished files: root → plan.
    package static let partials = Table<CID, FilePlan>("partials", keys: .cid, values: FilePlan.codec)
    /// Unfinished files: root → verified chunks.
    package static let bitmaps = Table<CID, [UInt8]>("bitmaps", keys: .cid, values: .bytes)
    /// Leaf and file → offset and length.
    package static let leaves: TableID = "leaves"

    package static let all: [TableID] = [blocks.id, files.id, partials.id, bitmaps.id, leaves]
}
