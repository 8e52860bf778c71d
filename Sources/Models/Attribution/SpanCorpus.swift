// The rows of a snapshot as one model's tokens, and which runs of an answer they have: evidence of whom it quotes, and
// drafts of how it may go on. One index serves both. Protocol/attribution.md, Spans.

import Datanets
import Decoding

/// A run of an answer that some row has, and that no longer one contains.
package struct MatchedSpan: Hashable, Sendable {
    /// In the answer.
    package let start: Int
    package let count: Int
    /// Bits of surprise by the corpus's unigrams, with `SpanCorpus.weightFractionBits` bits behind the point.
    package let weight: UInt64
    /// Rows that own the clusters which hold it, ascending; empty where it is so common that it is nobody's.
    package let owners: [UInt32]
}

package struct SpanCorpus: SpanIndex {
    package static let spanTokensMin = 4
    /// A longer run is as many spans of this length: what a place of the answer costs is bounded.
    package static let spanTokensMax = 256
    package static let occurrencesMax = 1024
    package static let weightFractionBits = 16
    package static let answerTokensMax = 1 << 17
    package static let tokensMax = 1 << 25
    package static let segmentsMax = 64
    /// Drafts are made behind so many equal tokens, at least and at most.
    private static let draftMatchMin = 5
    private static let draftMatchMax = 32

    private let segments: [SpanSegment]
    /// Of the snapshot's first rows; those behind them had no room.
    package let rowCount: Int
    package let tokenCount: Int

    fileprivate init(segments: [SpanSegment]) {
        self.segments = segments
        rowCount = segments.reduce(0) { $0 + $1.rowCount }
        tokenCount = segments.reduce(0) { $0 + $1.tokenCount }
    }

    /// What the index holds.
    package var bytes: Int { segments.reduce(0) { $0 + $1.bytes } }

    /// The maximal spans of `answer`, ascending by start.
    /// - Parameter owners: of each row, the row that owns its cluster (`NearDuplicates.owners`).
    package func spans(in answer: [Int32], owners: [UInt32]) -> [MatchedSpan] {
        var work = 0
        return spans(in: answer, owners: owners, work: &work)
    }

    /// - Parameter work: grows by the tokens that are compared to find the spans.
    func spans(in answer: [Int32], owners: [UInt32], work: inout Int) -> [MatchedSpan] {
        precondition(owners.count >= rowCount, "owners of other rows")
        let answer = answer.prefix(Self.answerTokensMax)
        let ranks = segments.map { $0.ranks(of: answer) }
        var found: [MatchedSpan] = []
        var reached = 0
        // Where a run that was cut goes on.
        var next = 0
        var surprise = Surprise(self)
        for start in answer.indices where start >= next {
            let end = min(answer.count, start + Self.spanTokensMax)
            var length = 0
            for (segment, ranks) in zip(segments, ranks) {
                length = max(length, segment.longest(ranks[start..<end], &work))
            }
            guard length >= Self.spanTokensMin, start + length > reached else { continue }
            reached = start + length
            if length == Self.spanTokensMax { next = reached }
            found.append(
                MatchedSpan(
                    start: start, count: length, weight: surprise.bits(answer[start..<reached]),
                    owners: holders(ranks, start..<reached, owners)))
        }
        return found
    }

    private func holders(_ ranks: [[UInt16]], _ span: Range<Int>, _ owners: [UInt32]) -> [UInt32] {
        var holders: [UInt32] = []
        let ranges = zip(segments, ranks).map { $0.range(of: $1[span]) }
        guard ranges.reduce(0, { $0 + $1.count }) <= Self.occurrencesMax else { return [] }
        for (segment, range) in zip(segments, ranges) { holders += segment.rows(range).map { owners[Int($0)] } }
        return Set(holders).sorted()
    }

    /// Each span's weight divided among the clusters that hold it: row that owns, weight; ascending by row.
    package static func evidence(_ spans: [MatchedSpan]) -> [(row: UInt32, weight: UInt64)] {
        var weights: [UInt32: UInt64] = [:]
        for span in spans {
            for owner in span.owners { weights[owner, default: 0] += span.weight / UInt64(span.owners.count) }
        }
        return weights.keys.sorted().map { ($0, weights[$0] ?? 0) }
    }

    /// log2(N) − log2(n) of tokens, each computed once.
    private struct Surprise {
        private let corpus: SpanCorpus
        private let whole: UInt64
        private var known: [Int32: UInt64] = [:]

        init(_ corpus: SpanCorpus) {
            self.corpus = corpus
            whole = FixedPoint.log2(UInt64(max(1, corpus.tokenCount)))
        }

        mutating func bits(_ span: ArraySlice<Int32>) -> UInt64 {
            var sum: UInt64 = 0
            for token in span {
                if let bits = known[token] {
                    sum += bits
                    continue
                }
                let count = corpus.segments.reduce(0) { $0 + $1.count(of: token) }
                let bits = whole - FixedPoint.log2(max(1, count))
                known[token] = bits
                sum += bits
            }
            return sum >> UInt64(FixedPoint.fractionBits - SpanCorpus.weightFractionBits)
        }
    }

    // MARK: Drafts

    package func continuation(of tokens: ArraySlice<Int32>, max count: Int) -> ArraySlice<Int32> {
        let end = tokens.suffix(Self.draftMatchMax)
        var best: (segment: SpanSegment, range: SuffixRange, length: Int)?
        for segment in segments {
            let ranks = segment.ranks(of: end)
            var length = max(best.map { $0.length + 1 } ?? 0, Self.draftMatchMin)
            // If the last n tokens are somewhere, so are the last n - 1.
            var high = ranks.count
            while length <= high {
                let middle = (length + high + 1) / 2
                let range = segment.range(of: ranks.suffix(middle))
                if range.count > 0 {
                    best = (segment, range, middle)
                    length = middle + 1
                } else {
                    high = middle - 1
                }
            }
        }
        guard let best, count > 0 else { return [] }
        return best.segment.continuation(best.range, behind: best.length, max: count)[...]
    }
}

/// Takes the rows of a snapshot in their order, as tokens, and sorts them as segments fill up.
package struct SpanCorpusBuilder: Sendable {
    /// Tokens of a row, so that any row fits a segment. A longer one has none: no tokenizer gives so many for the bytes of a row.
    package static let rowTokensMax = 65_534

    private let segmentTokensMax: Int
    private let segmentDistinctMax: Int
    private var segments: [SpanSegment] = []
    private var text: [Int32] = []
    private var rowStarts: [UInt32] = []
    private var distinct: Set<Int32> = []
    private var rows = 0
    private var tokens = 0
    private var isFull = false

    package init() { self.init(segmentTokensMax: SpanSegment.tokensMax) }

    /// Smaller segments change no result.
    init(segmentTokensMax: Int, segmentDistinctMax: Int = SpanSegment.distinctTokensMax) {
        self.segmentTokensMax = min(segmentTokensMax, SpanSegment.tokensMax)
        self.segmentDistinctMax = min(segmentDistinctMax, SpanSegment.distinctTokensMax)
    }

    /// - Returns: false where there is no room for the row, nor for any that follows. One that no tokenizer gave (a token
    ///   below 0, too many of them) is taken as an empty one.
    @discardableResult
    package mutating func add(_ row: [Int32]) -> Bool {
        let isRow = row.count <= Self.rowTokensMax && row.allSatisfy { $0 >= 0 }
        isFull = isFull || !take(isRow ? row : [])
        return !isFull
    }

    private mutating func take(_ row: [Int32]) -> Bool {
        guard tokens + row.count <= SpanCorpus.tokensMax, rows < RetrievalLimits.rowsMax else { return false }
        var more: Set<Int32> = []
        for token in row where !distinct.contains(token) { more.insert(token) }
        if !rowStarts.isEmpty,
            text.count + row.count + 1 > segmentTokensMax || distinct.count + more.count > segmentDistinctMax
        {
            guard segments.count + 1 < SpanCorpus.segmentsMax else { return false }
            close()
            more = Set(row)
        }
        distinct.formUnion(more)
        rowStarts.append(UInt32(text.count))
        text += row
        text.append(-1)
        rows += 1
        tokens += row.count
        return true
    }

    private mutating func close() {
        segments.append(SpanSegment(text: text, rowStarts: rowStarts, firstRow: rows - rowStarts.count))
        text = []
        rowStarts = []
        distinct = []
    }

    package consuming func finish() -> SpanCorpus {
        if !rowStarts.isEmpty { close() }
        return SpanCorpus(segments: segments)
    }
}
