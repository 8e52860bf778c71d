// The eight-leaf tree of the Certificate Transparency reference tests (RFC 6962 §2.1.3), paths by an independent program.

import Primitives
import Testing

@Suite struct MerkleTreeTests {
    static let leaves = [
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    ].map { bytes($0) }

    static let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]

    @Test(arguments: 0...8)
    func foreignRoots(count: Int) {
        #expect(MerkleTree.root(of: Array(Self.leaves.prefix(count))).hex == Self.roots[count])
    }

    @Test(arguments: [
        (
            0, 8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        ),
        (
            5, 8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        ),
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        (
            1, 5,
            [
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ]
        ),
        (4, 5, ["d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
        (
            6, 7,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        ),
    ])
    func foreignPaths(index: Int, count: Int, path: [String]) throws {
        let proof = MerkleTree.proof(Array(Self.leaves.prefix(count)), index: index)
        #expect(proof.path.map(\.hex) == path)
        let root = try #require(Digest(bytes(Self.roots[count])))
        #expect(proof.verifies(leaf: Self.leaves[index], root: root))
    }

    @Test func everyProofOfEveryTreeHoldsAndNoOther() throws {
        for count in 1...20 {
            let leaves = (0..<count).map { [UInt8($0)] }
            let root = MerkleTree.root(of: leaves)
            for index in 0..<count {
                let proof = MerkleTree.proof(leaves, index: index)
                #expect(proof.verifies(leaf: leaves[index], root: root))
                #expect(!proof.verifies(leaf: [UInt8(index) ^ 0x40], root: root))
                #expect(!proof.verifies(leaf: leaves[index], root: .zero))
                for other in 0..<count where other != index {
                    let moved = MerkleProof(index: UInt64(other), count: UInt64(count), path: proof.path)
                    #expect(!moved.verifies(leaf: leaves[index], root: root))
                }
                let outside = MerkleProof(index: UInt64(count), count: UInt64(count), path: proof.path)
                #expect(!outside.verifies(leaf: leaves[index], root: root))
                let longer = MerkleProof(index: proof.index, count: proof.count, path: proof.path + [.zero])
                #expect(!longer.verifies(leaf: leaves[index], root: root))
                if !proof.path.isEmpty {
                    let shorter = MerkleProof(
                        index: proof.index, count: proof.count, path: Array(proof.path.dropLast()))
                    #expect(!shorter.verifies(leaf: leaves[index], root: root))
                }
                #expect(try MerkleProof(cbor: CBOR.decode(proof.cbor.encoded())) == proof)
            }
        }
    }

    /// A node must not pass for a leaf, or a proof could be cut short (CVE-2012-2459 and its kind).
    @Test func aNodeIsNoLeaf() {
        let root = MerkleTree.root(of: [[1], [2]])
        let node = [MerkleTree.leafDigest([1]), MerkleTree.leafDigest([2])].flatMap(\.bytes)
        #expect(MerkleTree.leafDigest(node) != root)
        #expect(!MerkleProof(index: 0, count: 1, path: []).verifies(leaf: node, root: root))
        #expect(MerkleTree.root(of: [[1], [2], [2]]) != MerkleTree.root(of: [[1], [2]]))
    }

    @Test func hugeNumbersFromOutsideDoNotTrap() {
        let path = [Digest](repeating: .zero, count: 64)
        #expect(!MerkleProof(index: .max - 1, count: .max, path: path).verifies(leaf: [], root: .zero))
        #expect(!MerkleProof(index: .max, count: .max, path: path).verifies(leaf: [], root: .zero))
        #expect(!MerkleProof(index: 0, count: 0, path: []).verifies(leaf: [], root: .zero))
        #expect(!MerkleProof(index: 0, count: .max, path: path + path).verifies(leaf: [], root: .zero))
    }
}
