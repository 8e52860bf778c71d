// A proof that a state holds a value under a key, or holds none: the siblings on the key's path from the root down, and
// the leaf at which the path ends, if it ends at one.

public import Primitives

public struct SparseMerkleProof: ChainObject {
    public static let bytesMax = 16_384
    public static let version: UInt64 = 1

    /// From the root down; `Digest.zero` for an empty one.
    public let siblings: [Digest]
    /// The leaf where the path ends; nil where it ends at nothing.
    public let leaf: Leaf?

    public struct Leaf: Hashable, Sendable {
        public let key: StateKey
        /// SHA-256 of the value's encoding.
        public let valueDigest: Digest
    }

    init(siblings: [Digest], leaf: (key: StateKey, valueDigest: Digest)?) {
        self.siblings = siblings
        self.leaf = leaf.map { Leaf(key: $0.key, valueDigest: $0.valueDigest) }
    }

    /// Whether the state with `root` holds `value` (its encoding) under `key`.
    public func proves(_ key: StateKey, holds value: [UInt8], root: Digest) -> Bool {
        guard let leaf, leaf.key == key, leaf.valueDigest == Digest(sha256: value) else { return false }
        return computedRoot(key) == root
    }

    /// Whether the state with `root` holds nothing under `key`.
    public func provesAbsence(of key: StateKey, root: Digest) -> Bool {
        if let leaf {
            guard leaf.key != key, siblings.count <= 256,
                siblings.indices.allSatisfy({ leaf.key.digest.bit($0) == key.digest.bit($0) })
            else { return false }
        }
        return computedRoot(key) == root
    }

    private func computedRoot(_ key: StateKey) -> Digest? {
        guard siblings.count <= SparseMerkleTree.depthMax else { return nil }
        var digest = leaf.map { SparseMerkleTree.leafDigest(key: $0.key, valueDigest: $0.valueDigest) } ?? .zero
        for (depth, sibling) in siblings.enumerated().reversed() {
            // The canonical shape has no branch over two empty subtrees, nor over a leaf and an empty one.
            guard sibling != .zero || depth < siblings.count - 1 else { return nil }
            digest =
                key.digest.bit(depth)
                ? SparseMerkleTree.branchDigest(sibling, digest) : SparseMerkleTree.branchDigest(digest, sibling)
        }
        return digest
    }

    public var cbor: CBOR {
        var pairs: [(String, CBOR)] = [
            ("v", .unsigned(Self.version)), ("siblings", .array(siblings.map { .bytes($0 == .zero ? [] : $0.bytes) })),
        ]
        pairs.add("leaf", ifPresent: leaf.map { .array([.digest($0.key.digest), .digest($0.valueDigest)]) })
        return .map(pairs)
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "SparseMerkleProof")
        try fields.version(Self.version)
        let malformed = fields.fault("siblings", "holds something that is not a digest")
        siblings = try fields.items("siblings", max: SparseMerkleTree.depthMax) { item throws(CBORFault) in
            guard case .bytes(let bytes) = item else { throw malformed }
            if bytes.isEmpty { return .zero }
            guard let digest = Digest(bytes), digest != .zero else { throw malformed }
            return digest
        }
        leaf = try fields.optional("leaf") { fields throws(CBORFault) in
            let parts = try fields.array("leaf", max: 2)
            guard parts.count == 2, case .bytes(let key) = parts[0], case .bytes(let value) = parts[1],
                let keyDigest = Digest(key), let valueDigest = Digest(value)
            else { throw fields.fault("leaf", "is not [key, value digest]") }
            return Leaf(key: StateKey(digest: keyDigest), valueDigest: valueDigest)
        }
        try fields.finish()
    }
}
