// Rows laid end to end, without padding: each attends to itself alone and counts its positions from 0, so what a row computes
// does not depend on who shares the batch.

/// One row of training data.
package struct TrainingRow: Hashable, Sendable {
    package let tokens: [Int32]
    /// Token that each position should have been predicted as, nil where that is not scored; the first never is.
    package let labels: [Int32?]

    package init(tokens: [Int32], labels: [Int32?]) {
        precondition(tokens.count == labels.count)
        self.tokens = tokens
        self.labels = labels
    }

    /// Positions that are computed: up to the one that predicts the last scored token.
    package var inputCount: Int { labels.lastIndex { $0 != nil } ?? 0 }
    /// What comes before the first scored token, and what comes from it on.
    package var prompt: [Int32] { Array(tokens[..<(labels.firstIndex { $0 != nil } ?? tokens.count)]) }
    package var completion: [Int32] { Array(tokens[prompt.count...]) }
    package var scoredCount: Int { labels.dropFirst().reduce(0) { $0 + ($1 == nil ? 0 : 1) } }
}

/// A part of a step's rows, as many as there is room for.
struct PackedBatch {
    struct Sequence {
        let start: Int
        let count: Int
    }

    static let sequencesMax = 64

    private(set) var tokens: [Int32] = []
    private(set) var sequences: [Sequence] = []
    /// Rows of the batch that predict a scored token, ascending, and that token.
    private(set) var scored: [(row: Int, target: Int32)] = []

    var longest: Int { sequences.reduce(0) { max($0, $1.count) } }

    mutating func append(_ row: TrainingRow) {
        let count = row.inputCount, start = tokens.count
        guard count > 0 else { return }
        sequences.append(Sequence(start: start, count: count))
        tokens += row.tokens[..<count]
        for position in 0..<count {
            if let target = row.labels[position + 1] { scored.append((start + position, target)) }
        }
    }

    /// Rows in their order, cut where more than `tokensMax` would lie together.
    static func cut(_ rows: [TrainingRow], tokensMax: Int) -> [PackedBatch] {
        var batches: [PackedBatch] = [], current = PackedBatch()
        for row in rows {
            let isFull =
                current.tokens.count + row.inputCount > tokensMax || current.sequences.count == sequencesMax
            if !current.tokens.isEmpty, isFull {
                batches.append(current)
                current = PackedBatch()
            }
            current.append(row)
        }
        if !current.tokens.isEmpty { batches.append(current) }
        return batches
    }
}
