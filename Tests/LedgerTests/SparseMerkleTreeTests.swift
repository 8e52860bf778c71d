import Ledger
import Primitives
import Testing

@Suite struct SparseMerkleTreeTests {
    struct Nodes: NodeReader {
        var nodes: [Digest: [UInt8]] = [:]
        func node(_ digest: Digest) -> [UInt8]? { nodes[digest] }

        mutating func apply(_ update: SparseMerkleTree.Update) {
            for digest in update.stale { nodes[digest] = nil }
            for (digest, bytes) in update.nodes { nodes[digest] = bytes }
        }
    }

    /// The root by the definition: split by the bit, an entry alone is a leaf.
    static func naiveRoot(_ entries: [StateKey: Digest], depth: Int = 0) -> Digest {
        guard let first = entries.first else { return .zero }
        if entries.count == 1 { return SparseMerkleTree.leafDigest(key: first.key, valueDigest: first.value) }
        let left = entries.filter { !$0.key.digest.bit(depth) }
        let right = entries.filter { $0.key.digest.bit(depth) }
        return SparseMerkleTree.branchDigest(naiveRoot(left, depth: depth + 1), naiveRoot(right, depth: depth + 1))
    }

    static func key(_ number: UInt64) -> StateKey { StateKey(digest: Digest(sha256: Array("\(number)".utf8))) }

    /// Two keys that differ in their last bit only.
    static let twins: [StateKey] = [UInt8(0), 1].compactMap { last in
        Digest([UInt8](repeating: 0xaa, count: 31) + [last]).map(StateKey.init(digest:))
    }

    @Test func updatesAgreeWithTheDefinitionAndLeaveNoGarbage() throws {
        var random = SeededRandom(seed: 3)
        var nodes = Nodes()
        var model: [StateKey: Digest] = [:]
        var root = Digest.zero
        for round in 0..<60 {
            var writes: [StateKey: Digest?] = [:]
            for _ in 0..<random.below(8) {
                let pick = random.below(40)
                let key = pick < 2 ? Self.twins[Int(pick)] : Self.key(pick)
                writes[key] = .some(random.below(3) == 0 ? nil : Digest(sha256: random.bytes(8)))
            }
            for (key, value) in writes { model[key] = value }
            let update = try SparseMerkleTree.update(root: root, writes: writes, reader: nodes)
            #expect(update.stale.allSatisfy { nodes.nodes[$0] != nil }, "round \(round): stale nodes were there")
            #expect(update.nodes.allSatisfy { nodes.nodes[$0.0] == nil }, "round \(round): new nodes are new")
            nodes.apply(update)
            root = update.root
            #expect(root == Self.naiveRoot(model), "round \(round)")
            let entries = try SparseMerkleTree.entries(root: root, reader: nodes)
            #expect(entries.map(\.0) == model.keys.sorted())
            #expect(entries.allSatisfy { model[$0.0] == $0.1 })
            // Nothing is stored that the tree does not reach: n leaves, and as many branches as paths need.
            let fresh = try SparseMerkleTree.update(root: .zero, writes: model.mapValues { $0 }, reader: Nodes())
            #expect(Set(fresh.nodes.map(\.0)) == Set(nodes.nodes.keys), "round \(round)")
        }
    }

    @Test func proofsProveAndTamperedOnesDoNot() throws {
        var nodes = Nodes()
        var writes: [StateKey: Digest?] = [:]
        for number in 0..<50 { writes[Self.key(UInt64(number))] = Digest(sha256: [UInt8(number)]) }
        writes[Self.twins[0]] = Digest(sha256: [200])
        writes[Self.twins[1]] = Digest(sha256: [201])
        let update = try SparseMerkleTree.update(root: .zero, writes: writes, reader: nodes)
        nodes.apply(update)
        let root = update.root
        for number in 0..<UInt64(50) {
            let key = Self.key(number)
            let proof = try SparseMerkleTree.proof(of: key, root: root, reader: nodes)
            let value = [UInt8(number)]
            #expect(proof.proves(key, holds: value, root: root))
            #expect(!proof.proves(key, holds: [UInt8(number), 0], root: root))
            #expect(!proof.provesAbsence(of: key, root: root))
            #expect(!proof.proves(Self.key(number + 1), holds: value, root: root))
            #expect(try SparseMerkleProof(decoding: proof.encoded()) == proof)

            let missing = Self.key(number + 1000)
            let absence = try SparseMerkleTree.proof(of: missing, root: root, reader: nodes)
            #expect(absence.provesAbsence(of: missing, root: root))
            #expect(!absence.proves(missing, holds: value, root: root))
            #expect(!absence.provesAbsence(of: key, root: root))

            var bytes = proof.encoded()
            bytes[bytes.count / 2] ^= 1
            if let spoiled = try? SparseMerkleProof(decoding: bytes) {
                #expect(!spoiled.proves(key, holds: value, root: root))
            }
        }
        let deep = try SparseMerkleTree.proof(of: Self.twins[0], root: root, reader: nodes)
        #expect(deep.siblings.count == 256)
        #expect(deep.proves(Self.twins[0], holds: [200], root: root))
        #expect(try SparseMerkleProof(decoding: deep.encoded()) == deep)
    }

    @Test func anEmptyTreeProvesAbsenceOfEverything() throws {
        let proof = try SparseMerkleTree.proof(of: Self.key(1), root: .zero, reader: Nodes())
        #expect(proof.provesAbsence(of: Self.key(1), root: .zero))
        #expect(!proof.provesAbsence(of: Self.key(1), root: Digest(sha256: [1])))
    }

    @Test func aMissingOrDamagedNodeIsNamed() throws {
        var nodes = Nodes()
        let update = try SparseMerkleTree.update(
            root: .zero, writes: [Self.key(1): Digest(sha256: [1]), Self.key(2): Digest(sha256: [2])], reader: nodes)
        #expect(throws: StateFault.missingNode(update.root)) {
            try SparseMerkleTree.proof(of: Self.key(1), root: update.root, reader: nodes)
        }
        nodes.apply(update)
        nodes.nodes[update.root]?[5] ^= 1
        #expect(throws: StateFault.damagedNode(update.root)) {
            try SparseMerkleTree.entries(root: update.root, reader: nodes)
        }
    }
}
