// Cuts a stream of bytes into raw leaves and builds the balanced tree above them, as kubo does with `--raw-leaves
// --cid-version 1`: all leaves at one depth, nodes filled from the left. The root depends on the bytes, the chunk size
// and the number of links only, never on how the bytes were cut when they were handed in. Memory: one chunk and one
// unfinished node a level.

package import Primitives

package struct FileBuilder: Sendable {
    package static let chunkBytesDefault = 1 << 20
    package static let linksDefault = 1_024

    package struct File: Hashable, Sendable {
        package let root: CID
        /// Bytes of the file.
        package let size: UInt64
        /// Bytes of all blocks, counted as often as they are linked.
        package let totalSize: UInt64
    }

    private let chunkBytes: Int
    private let linksMax: Int
    private var chunk: [UInt8] = []
    private var levels: [[FileNode.Part]] = [[]]
    private var size: UInt64 = 0

    /// - Parameters:
    ///   - chunkBytes: bytes of a leaf, at most 2 MiB; py-libp2p takes blocks up to 512 KiB.
    ///   - linksMax: links of a node, at least 2; kubo's own default is 174.
    package init(chunkBytes: Int = chunkBytesDefault, linksMax: Int = linksDefault) {
        precondition(chunkBytes > 0 && chunkBytes <= 2 << 20, "a leaf is a block")
        precondition(linksMax >= 2 && linksMax <= DagNode.linksMax, "a tree needs at least two branches")
        self.chunkBytes = chunkBytes
        self.linksMax = linksMax
    }

    /// - Returns: the blocks that are complete now, leaves before the nodes above them.
    package mutating func append(_ bytes: some Collection<UInt8>) -> [Block] {
        var blocks: [Block] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let piece = rest.prefix(chunkBytes - chunk.count)
            chunk += piece
            rest = rest.dropFirst(piece.count)
            if chunk.count == chunkBytes { closeChunk(&blocks) }
        }
        return blocks
    }

    /// - Returns: the file, and the blocks not yet returned; the root is the last.
    package mutating func finish() -> (file: File, blocks: [Block]) {
        var blocks: [Block] = []
        // An empty file is one empty leaf.
        if !chunk.isEmpty || size == 0 { closeChunk(&blocks) }
        var level = 0
        while true {
            let isTop = levels[(level + 1)...].allSatisfy(\.isEmpty)
            if isTop, levels[level].count == 1 { break }
            if !levels[level].isEmpty { closeNode(level, &blocks) }
            level += 1
        }
        let root = levels[level][0]
        return (File(root: root.cid, size: size, totalSize: root.totalSize), blocks)
    }

    /// The whole of `bytes` at once.
    package static func build(
        _ bytes: [UInt8], chunkBytes: Int = chunkBytesDefault, linksMax: Int = linksDefault
    ) -> (file: File, blocks: [Block]) {
        var builder = FileBuilder(chunkBytes: chunkBytes, linksMax: linksMax)
        let first = builder.append(bytes)
        let (file, last) = builder.finish()
        return (file, first + last)
    }

    private mutating func closeChunk(_ blocks: inout [Block]) {
        let block = Block(.raw, chunk)
        let bytes = UInt64(chunk.count)
        size += bytes
        chunk = []
        blocks.append(block)
        add(FileNode.Part(cid: block.cid, size: bytes, totalSize: bytes), to: 0, &blocks)
    }

    /// Closes a full level only when one more comes, so that a full top level can still be the root.
    private mutating func add(_ part: FileNode.Part, to level: Int, _ blocks: inout [Block]) {
        if levels.count == level { levels.append([]) }
        if levels[level].count == linksMax { closeNode(level, &blocks) }
        levels[level].append(part)
    }

    private mutating func closeNode(_ level: Int, _ blocks: inout [Block]) {
        let parts = levels[level]
        levels[level] = []
        let node = FileNode(parts: parts)
        let block = Block(.dagPB, node.encoded())
        blocks.append(block)
        let total = parts.reduce(UInt64(block.bytes.count)) { $0 + $1.totalSize }
        add(FileNode.Part(cid: block.cid, size: node.size, totalSize: total), to: level + 1, &blocks)
    }
}
