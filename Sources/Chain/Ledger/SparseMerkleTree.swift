// A compact sparse Merkle tree over 256-bit keys. A subtree with one entry is that entry's leaf, so a leaf lies at the
// shortest prefix that no other key shares, and a tree of n entries is about log2 n deep.
//
//   empty  = 32 zero bytes, stored nowhere
//   leaf   = SHA-256(0x10 ‖ key ‖ SHA-256(value))       stored as those 65 bytes
//   branch = SHA-256(0x11 ‖ left ‖ right)               stored as those 65 bytes; the key's bit at this depth, from the
//                                                       most significant on, chooses left (0) or right (1)
//
// Shape is canonical: a branch never has two empty children, nor one empty child and one leaf. So the root depends on the
// entries alone and not on the order in which they came. A node is at one place in a tree at most, so that what an update
// replaces is stale without counting references.

package import Primitives

package enum SparseMerkleTree {
    static let leafTag: UInt8 = 0x10
    static let branchTag: UInt8 = 0x11
    static let nodeBytes = 65
    /// Keys have 256 bits; no path is longer.
    package static let depthMax = 256

    enum Node {
        case leaf(key: Digest, value: Digest)
        case branch(left: Digest, right: Digest)

        var encoded: [UInt8] {
            switch self {
            case .leaf(let key, let value): [leafTag] + key.bytes + value.bytes
            case .branch(let left, let right): [branchTag] + left.bytes + right.bytes
            }
        }
    }

    package static func leafDigest(key: StateKey, valueDigest: Digest) -> Digest {
        Digest(sha256: Node.leaf(key: key.digest, value: valueDigest).encoded)
    }

    package static func branchDigest(_ left: Digest, _ right: Digest) -> Digest {
        Digest(sha256: Node.branch(left: left, right: right).encoded)
    }

    static func read(_ digest: Digest, from reader: some NodeReader) throws(StateFault) -> Node {
        guard let bytes = try reader.node(digest) else { throw .missingNode(digest) }
        guard bytes.count == nodeBytes, Digest(sha256: bytes) == digest, let first = Digest(bytes[1..<33]),
            let second = Digest(bytes[33..<65])
        else { throw .damagedNode(digest) }
        switch bytes[0] {
        case leafTag: return .leaf(key: first, value: second)
        case branchTag: return .branch(left: first, right: second)
        default: throw .damagedNode(digest)
        }
    }

    // MARK: Update

    package struct Update: Sendable {
        package let root: Digest
        /// Nodes of the new tree that the old one did not have, ascending by hash.
        package let nodes: [(Digest, [UInt8])]
        /// Nodes of the old tree that the new one does not have, ascending. A store that keeps old roots for a while
        /// forgets them later, unless a later update brings a node back.
        package let stale: [Digest]
    }

    /// Writes values (by their SHA-256) or removes entries (nil).
    package static func update(
        root: Digest, writes: [StateKey: Digest?], reader: some NodeReader
    ) throws(StateFault) -> Update {
        var builder = Builder(reader: reader)
        let sorted = writes.map { Write(key: $0.key.digest, value: $0.value) }.sorted { $0.key < $1.key }
        let subtree = try builder.update(root, depth: 0, sorted[...])
        let newRoot = builder.attach(subtree)
        let nodes = builder.created.filter { !builder.visited.contains($0.key) }.sorted { $0.key < $1.key }
        let stale = builder.visited.filter { builder.created[$0] == nil }.sorted()
        return Update(root: newRoot, nodes: nodes.map { ($0.key, $0.value) }, stale: stale)
    }

    private struct Write {
        let key: Digest
        let value: Digest?
    }

    private enum Subtree {
        case empty
        case leaf(key: Digest, value: Digest)
        case branch(Digest)
        /// Of the old tree, not looked at: a leaf or a branch.
        case untouched(Digest)
    }

    private struct Builder<Reader: NodeReader> {
        let reader: Reader
        var created: [Digest: [UInt8]] = [:]
        var visited: Set<Digest> = []

        mutating func update(_ digest: Digest, depth: Int, _ writes: ArraySlice<Write>) throws(StateFault) -> Subtree {
            guard !writes.isEmpty else { return digest == .zero ? .empty : .untouched(digest) }
            guard digest != .zero else { return try build(writes.filter { $0.value != nil }[...], depth: depth) }
            let node = try SparseMerkleTree.read(digest, from: reader)
            visited.insert(digest)
            switch node {
            case .leaf(let key, let value):
                var merged = writes.filter { $0.value != nil }
                if !writes.contains(where: { $0.key == key }) {
                    merged.insert(Write(key: key, value: value), at: merged.firstIndex { $0.key > key } ?? merged.count)
                }
                return try build(merged[...], depth: depth)
            case .branch(let left, let right):
                guard depth < depthMax else { throw .tooDeep }
                let middle = writes.firstIndex { $0.key.bit(depth) } ?? writes.endIndex
                let newLeft = try update(left, depth: depth + 1, writes[..<middle])
                let newRight = try update(right, depth: depth + 1, writes[middle...])
                return try join(newLeft, newRight)
            }
        }

        private mutating func build(_ leaves: ArraySlice<Write>, depth: Int) throws(StateFault) -> Subtree {
            guard let first = leaves.first else { return .empty }
            if leaves.count == 1, let value = first.value { return .leaf(key: first.key, value: value) }
            guard depth < depthMax else { throw .tooDeep }
            let middle = leaves.firstIndex { $0.key.bit(depth) } ?? leaves.endIndex
            let left = try build(leaves[..<middle], depth: depth + 1)
            let right = try build(leaves[middle...], depth: depth + 1)
            return try join(left, right)
        }

        private mutating func join(_ left: Subtree, _ right: Subtree) throws(StateFault) -> Subtree {
            switch (left, right) {
            case (.empty, .empty): return .empty
            case (.empty, .untouched(let digest)), (.untouched(let digest), .empty):
                if case .leaf(let key, let value) = try SparseMerkleTree.read(digest, from: reader) {
                    visited.insert(digest)
                    return .leaf(key: key, value: value)
                }
            case (.empty, .leaf), (.leaf, .empty):
                if case .leaf = left { return left }
                return right
            default: break
            }
            return .branch(record(.branch(left: attach(left), right: attach(right))))
        }

        mutating func attach(_ subtree: Subtree) -> Digest {
            switch subtree {
            case .empty: .zero
            case .leaf(let key, let value): record(.leaf(key: key, value: value))
            case .branch(let digest), .untouched(let digest): digest
            }
        }

        private mutating func record(_ node: Node) -> Digest {
            let bytes = node.encoded
            let digest = Digest(sha256: bytes)
            created[digest] = bytes
            return digest
        }
    }

    // MARK: Reading

    /// The path to `key`: proof that it has its value, or that it has none.
    package static func proof(
        of key: StateKey, root: Digest, reader: some NodeReader
    ) throws(StateFault) -> SparseMerkleProof {
        var siblings: [Digest] = []
        var digest = root
        while digest != .zero {
            switch try read(digest, from: reader) {
            case .leaf(let leafKey, let value):
                return SparseMerkleProof(siblings: siblings, leaf: (StateKey(digest: leafKey), value))
            case .branch(let left, let right):
                guard siblings.count < depthMax else { throw .tooDeep }
                let goRight = key.digest.bit(siblings.count)
                siblings.append(goRight ? left : right)
                digest = goRight ? right : left
            }
        }
        return SparseMerkleProof(siblings: siblings, leaf: nil)
    }

    /// Every entry of the tree, ascending by key, with the SHA-256 of its value.
    package static func entries(root: Digest, reader: some NodeReader) throws(StateFault) -> [(StateKey, Digest)] {
        var entries: [(StateKey, Digest)] = []
        var open = [root]
        while let digest = open.popLast() {
            guard digest != .zero else { continue }
            guard open.count <= depthMax + 1 else { throw .tooDeep }
            switch try read(digest, from: reader) {
            case .leaf(let key, let value): entries.append((StateKey(digest: key), value))
            case .branch(let left, let right):
                open.append(right)
                open.append(left)
            }
        }
        return entries
    }
}
