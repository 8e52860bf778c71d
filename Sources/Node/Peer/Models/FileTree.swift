// The tree between the root of a file and its leaves, without the leaves' bytes: upwards for a file that was imported as
// hashes, downwards for one that was pulled.

import BlockExchange
import Primitives
import Storage

enum FileTree {
    /// The root above `leaves` and the nodes to store, as `FileBuilder` makes them.
    static func root(above leaves: [FileNode.Part]) -> (root: CID, nodes: [Block]) {
        var level = leaves
        var nodes: [Block] = []
        while level.count > 1 {
            var next: [FileNode.Part] = []
            for start in stride(from: 0, to: level.count, by: FileBuilder.linksDefault) {
                let parts = Array(level[start..<min(level.count, start + FileBuilder.linksDefault)])
                let node = FileNode(parts: parts)
                let block = Block(.dagPB, node.encoded())
                nodes.append(block)
                let total = parts.reduce(UInt64(block.bytes.count)) { $0 + $1.totalSize }
                next.append(FileNode.Part(cid: block.cid, size: node.size, totalSize: total))
            }
            level = next
        }
        // An empty file is one empty leaf.
        guard let root = level.first else {
            let empty = Block(.raw, [])
            return (empty.cid, [empty])
        }
        return (root.cid, nodes)
    }

    /// The leaves of one node, where all of them are raw blocks of one size but the last: what a partial file can hold.
    static func plan(root: CID, node: FileNode) -> FilePlan? {
        guard node.inlineData.isEmpty, node.parts.allSatisfy({ $0.cid.codec == .raw }) else { return nil }
        return plan(root: root, leaves: node.parts)
    }

    static func plan(root: CID, leaves: [FileNode.Part]) -> FilePlan? {
        guard let chunk = leaves.first?.size, let last = leaves.last?.size, last > 0, last <= chunk,
            leaves.dropLast().allSatisfy({ $0.size == chunk })
        else { return nil }
        var size: UInt64 = 0
        for leaf in leaves {
            let (sum, overflow) = size.addingReportingOverflow(leaf.size)
            guard !overflow else { return nil }
            size = sum
        }
        return try? FilePlan(root: root, byteCount: size, chunkBytes: chunk, leaves: leaves.map(\.cid))
    }

    /// Every leaf under `root` in order. `read` gives a node's block, nil where it is not here.
    static func leaves(
        under root: CID, name: String, read: (CID) throws(StorageFault) -> [UInt8]?
    ) throws(ShelfFault) -> (leaves: [FileNode.Part], nodes: [CID]) {
        var leaves: [FileNode.Part] = []
        var nodes: [CID] = []
        try descend(root, name, depth: 0, read, &leaves, &nodes)
        return (leaves, nodes)
    }

    private static func descend(
        _ cid: CID, _ name: String, depth: Int, _ read: (CID) throws(StorageFault) -> [UInt8]?,
        _ leaves: inout [FileNode.Part], _ nodes: inout [CID]
    ) throws(ShelfFault) {
        guard depth < ShelfLimits.treeDepthMax else {
            throw .file(name: name, reason: "its tree has more than \(ShelfLimits.treeDepthMax) levels")
        }
        let bytes = try onDisk { () throws(StorageFault) in try read(cid) }
        guard let bytes else { throw .incomplete(name: name, missing: cid) }
        let node: FileNode
        do {
            node = try FileNode(decoding: bytes)
        } catch {
            throw .file(name: name, reason: "block \(cid.text) is no node of a file (\(error))")
        }
        guard node.inlineData.isEmpty else {
            throw .file(name: name, reason: "its nodes carry data of their own; import it with raw leaves")
        }
        nodes.append(cid)
        for part in node.parts {
            if part.cid.codec == .raw {
                guard leaves.count < BlobLimits.leavesMax else {
                    throw .file(name: name, reason: "has more than \(BlobLimits.leavesMax) chunks")
                }
                leaves.append(part)
            } else {
                guard nodes.count < BlobLimits.leavesMax else { throw .file(name: name, reason: "has too many nodes") }
                try descend(part.cid, name, depth: depth + 1, read, &leaves, &nodes)
            }
        }
    }
}
