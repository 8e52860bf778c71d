// From what was found to who is paid: rows get millionths by their score, contributors the sum of their rows. Rows are
// not gossiped (they would tell the topic); a receipt carries the root of a tree over them, and a row's weight is opened
// with a proof when it is disputed.

package import Datanets
package import Primitives

package struct RowWeight: Hashable, Sendable {
    package let row: RowAddress
    package let contributor: AccountID
    package let share: PartsPerMillion

    /// The leaf of this row in the row-weight tree.
    package var leaf: [UInt8] {
        CBOR.map([
            "shard": .link(row.shard), "index": .unsigned(UInt64(row.index)), "contributor": .account(contributor),
            "ppm": .partsPerMillion(share),
        ]).encoded()
    }
}

package struct ContributorWeight: Hashable, Sendable {
    package let contributor: AccountID
    package let share: PartsPerMillion
}

/// The answer to "whose rows, how much": empty, or shares that sum to exactly one million, twice.
package struct Attributed: Hashable, Sendable {
    /// Ascending by address, each row once.
    package let rows: [RowWeight]
    /// Ascending by account, each once, no zero share.
    package let contributors: [ContributorWeight]

    /// Shares by score, by largest remainder, ties to the lower address.
    package init(_ passages: [Passage]) {
        var scores: [RowAddress: (contributor: AccountID, score: UInt64)] = [:]
        for passage in passages {
            let before = scores[passage.row]?.score ?? 0
            let (sum, overflow) = before.addingReportingOverflow(passage.score)
            scores[passage.row] = (passage.contributor, overflow ? .max : sum)
        }
        let addresses = scores.keys.sorted()
        let shares = PartsPerMillion.shares(of: addresses.map { scores[$0]?.score ?? 0 })
        var rows: [RowWeight] = []
        var sums: [AccountID: UInt32] = [:]
        for (address, share) in zip(addresses, shares) where share > .none {
            guard let contributor = scores[address]?.contributor else { continue }
            rows.append(RowWeight(row: address, contributor: contributor, share: share))
            sums[contributor, default: 0] += share.value
        }
        self.rows = rows
        contributors = sums.keys.sorted().map {
            ContributorWeight(contributor: $0, share: PartsPerMillion(sums[$0] ?? 0))
        }
    }

    /// RFC 6962 root over the rows' leaves; of no rows, the hash of nothing.
    package var rowRoot: Digest { MerkleTree.root(of: rows.map(\.leaf)) }

    /// Opens the weight of one row against `rowRoot`; nil when it has none.
    package func proof(of row: RowAddress) -> (weight: RowWeight, proof: MerkleProof)? {
        guard let index = rows.firstIndex(where: { $0.row == row }) else { return nil }
        return (rows[index], MerkleTree.proof(rows.map(\.leaf), index: index))
    }

    /// What a receipt says about the question without giving it away: salted, 32 bytes of the requester's.
    package static func queryCommitment(salt: [UInt8], question: String) -> Digest {
        Digest(sha256Of: [Array("openledger/1/query\n".utf8), salt, Array(question.utf8)])
    }
}
