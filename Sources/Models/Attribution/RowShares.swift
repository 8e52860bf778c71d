// The last step from evidence to pay: which rows have what part of an answer, and of each row that stood in the prompt and
// has none, why. Protocol/attribution.md, Fusion and Echoes.

package import Primitives

/// Why a row has no share.
package enum NoShare: Hashable, Sendable {
    /// A near duplicate of an earlier row, which has what both would have.
    case duplicate(of: UInt32)
    /// Its evidence stands out too little among all rows.
    case threshold
    /// It says in other words what an earlier row says that is paid as well.
    case echo(of: UInt32)
    /// Others stand out more, and there are too many of them.
    case rank
    /// Less than a millionth.
    case rounding
}

package struct RowShares: Sendable {
    /// Positive, one million together or none; the greatest first, ties to the lower row.
    package let paid: [(row: UInt32, share: PartsPerMillion)]
    /// Of the prompt's rows those that have none, in the order given.
    package let unpaid: [(row: UInt32, reason: NoShare)]

    /// - Parameters:
    ///   - owners, influence, spans, retrieval, weights: as `Fusion.weights`.
    ///   - prompt: rows that stood in the prompt.
    ///   - words, rarity: as `Echoes.settle`.
    package init(
        owners: [UInt32], influence: [Int64]?, spans: SparseEvidence?, retrieval: SparseEvidence?,
        by weights: FusionWeights = FusionWeights(), prompt: [UInt32], words: (UInt32) -> [String],
        rarity: (String) -> UInt64
    ) {
        let fused = Fusion.fused(owners: owners, influence: influence, spans: spans, retrieval: retrieval, by: weights)
        let candidates = Fusion.weights(of: fused)
        let settled = Echoes.settle(candidates, words: words, rarity: rarity)
        let ascending = settled.paid.sorted { $0.row < $1.row }
        let shares = PartsPerMillion.shares(of: ascending.map(\.weight))
        let paid = zip(ascending, shares).filter { $0.1 > .none }.map { (row: $0.0.row, share: $0.1) }
            .sorted { $0.share == $1.share ? $0.row < $1.row : $0.share > $1.share }
        let paidRows = Set(paid.map(\.row))
        let compared = Set(candidates.map(\.row)), settledRows = Set(settled.paid.map(\.row))
        self.paid = paid
        unpaid = prompt.filter { !paidRows.contains($0) }.map { row in
            precondition(Int(row) < owners.count, "a passage that is no row of the snapshot")
            let owner = owners[Int(row)]
            if owner != row { return (row, .duplicate(of: owner)) }
            if let other = settled.echoes[row] { return (row, .echo(of: other)) }
            if fused[Int(row)] <= Fusion.floor { return (row, .threshold) }
            return (row, compared.contains(row) && settledRows.contains(row) ? .rounding : .rank)
        }
    }
}
