import Datanets
import Primitives
import Testing

@testable import Attribution

@Suite struct WeightTests {
    private func passage(_ row: UInt32, _ contributor: UInt8, _ score: UInt64) throws -> Passage {
        Passage(
            row: RowAddress(shard: CID(.dagCBOR, hashing: [UInt8(truncatingIfNeeded: row & 3)]), index: row),
            contributor: try SigningKey(seed: [UInt8](repeating: contributor, count: 32)).publicKey.account,
            score: score)
    }

    @Test func noPassagesNoContributors() {
        let nothing = Attributed([])
        #expect(nothing.rows.isEmpty)
        #expect(nothing.contributors.isEmpty)
        #expect(nothing.rowRoot == MerkleTree.root(of: []))
        #expect(nothing.proof(of: RowAddress(shard: CID(.raw, hashing: []), index: 0)) == nil)
    }

    @Test(arguments: 1...50 as ClosedRange<UInt64>) func sharesSumToOneMillionWhateverTheScores(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let passages = try (0..<1 + random.below(6)).map { _ in
            try passage(
                UInt32(random.below(5)), UInt8(1 + random.below(3)), 1 + random.next() >> (random.below(60) + 1))
        }
        let attributed = Attributed(passages)
        #expect(attributed.rows.reduce(0) { $0 + $1.share.value } == 1_000_000)
        #expect(attributed.contributors.reduce(0) { $0 + $1.share.value } == 1_000_000)
        #expect(attributed.rows.map(\.row) == attributed.rows.map(\.row).sorted())
        #expect(attributed.contributors.map(\.contributor) == attributed.contributors.map(\.contributor).sorted())
        #expect(attributed == Attributed(passages.shuffled(using: &random)) || hasTwoOwners(passages))
        for row in attributed.rows {
            let (weight, proof) = try #require(attributed.proof(of: row.row))
            #expect(proof.verifies(leaf: weight.leaf, root: attributed.rowRoot))
            // The canary: one millionth more must not verify.
            let more = RowWeight(
                row: weight.row, contributor: weight.contributor, share: PartsPerMillion(weight.share.value + 1))
            #expect(!proof.verifies(leaf: more.leaf, root: attributed.rowRoot))
        }
    }

    /// Random passages may name two contributors for one row, which an index never does.
    private func hasTwoOwners(_ passages: [Passage]) -> Bool {
        Set(passages.map(\.row)).count != passages.count
    }

    @Test func equalScoresAreSplitByLowerAddress() throws {
        let attributed = Attributed([try passage(0, 1, 5), try passage(4, 2, 5), try passage(8, 3, 5)])
        #expect(attributed.rows.map(\.share.value) == [333_334, 333_333, 333_333])
        #expect(attributed.rows.map(\.row.index) == [0, 4, 8])
    }

    @Test func theQuestionIsHiddenBehindItsSalt() {
        let salt = [UInt8](repeating: 1, count: 32)
        let commitment = Attributed.queryCommitment(salt: salt, question: "Define tea.")
        #expect(
            commitment != Attributed.queryCommitment(salt: [UInt8](repeating: 2, count: 32), question: "Define tea."))
        #expect(commitment != Attributed.queryCommitment(salt: salt, question: "Define tea"))
    }
}
