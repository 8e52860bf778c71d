// Merkle trees over lists, hashed as in RFC 6962 §2.1: leaf = SHA-256(0x00 ‖ data), node = SHA-256(0x01 ‖ left ‖ right),
// a list of n splits at the largest power of two below n; the empty list is SHA-256(""). Leaf and node cannot be confused.

public enum MerkleTree {
    public static func leafDigest(_ leaf: [UInt8]) -> Digest { Digest(sha256Of: [[0], leaf]) }
    public static func nodeDigest(_ left: Digest, _ right: Digest) -> Digest {
        Digest(sha256Of: [[1], left.bytes, right.bytes])
    }

    public static func root(of leaves: [[UInt8]]) -> Digest { root(ofDigests: leaves.map(leafDigest)) }

    public static func root(ofDigests digests: [Digest]) -> Digest {
        guard !digests.isEmpty else { return Digest(sha256: []) }
        // Level by level, an odd last node carried up: the same tree as RFC 6962's recursion.
        var level = digests
        while level.count > 1 {
            var next: [Digest] = []
            next.reserveCapacity((level.count + 1) / 2)
            var index = 0
            while index + 1 < level.count {
                next.append(nodeDigest(level[index], level[index + 1]))
                index += 2
            }
            if index < level.count { next.append(level[index]) }
            level = next
        }
        return level[0]
    }

    /// - Precondition: `index` is one of the leaves.
    public static func proof(_ leaves: [[UInt8]], index: Int) -> MerkleProof {
        proof(ofDigests: leaves.map(leafDigest), index: index)
    }

    public static func proof(ofDigests digests: [Digest], index: Int) -> MerkleProof {
        precondition(digests.indices.contains(index), "no such leaf")
        var path: [Digest] = []
        var level = digests
        var position = index
        while level.count > 1 {
            let sibling = position ^ 1
            if sibling < level.count { path.append(level[sibling]) }
            var next: [Digest] = []
            var cursor = 0
            while cursor + 1 < level.count {
                next.append(nodeDigest(level[cursor], level[cursor + 1]))
                cursor += 2
            }
            if cursor < level.count { next.append(level[cursor]) }
            level = next
            position /= 2
        }
        return MerkleProof(index: UInt64(index), count: UInt64(digests.count), path: path)
    }
}

/// An audit path of RFC 6962 §2.1.1, leaf to root.
public struct MerkleProof: Hashable, Sendable {
    public static let pathMax = 64
    public let index: UInt64
    public let count: UInt64
    public let path: [Digest]

    public init(index: UInt64, count: UInt64, path: [Digest]) {
        self.index = index
        self.count = count
        self.path = path
    }

    public func verifies(leaf: [UInt8], root: Digest) -> Bool {
        verifies(leafDigest: MerkleTree.leafDigest(leaf), root: root)
    }

    /// RFC 9162 §2.1.3.2, with the path's length checked exactly.
    public func verifies(leafDigest: Digest, root: Digest) -> Bool {
        guard index < count, path.count <= Self.pathMax else { return false }
        var position = index
        var last = count - 1
        var digest = leafDigest
        var rest = path[...]
        while last > 0 {
            if position & 1 == 1 {
                guard let sibling = rest.popFirst() else { return false }
                digest = MerkleTree.nodeDigest(sibling, digest)
            } else if position < last {
                guard let sibling = rest.popFirst() else { return false }
                digest = MerkleTree.nodeDigest(digest, sibling)
            }
            position >>= 1
            last >>= 1
        }
        return rest.isEmpty && digest == root
    }

    public var cbor: CBOR {
        .map(["i": .unsigned(index), "n": .unsigned(count), "path": .array(path.map(CBOR.digest))])
    }

    public init(cbor value: CBOR) throws(CBORFault) {
        var fields = try CBORFields(value, "MerkleProof")
        index = try fields.unsigned("i")
        count = try fields.unsigned("n")
        var path: [Digest] = []
        for item in try fields.array("path", max: Self.pathMax) {
            guard case .bytes(let bytes) = item, let digest = Digest(bytes) else {
                throw fields.fault("path", "holds something that is not a digest")
            }
            path.append(digest)
        }
        self.path = path
        try fields.finish()
    }
}
