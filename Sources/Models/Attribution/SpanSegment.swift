// A suffix array over consecutive rows of a corpus: every run of tokens that any of them has is found in a logarithm of
// their number. Tokens are ranks of 16 bits whose big-endian bytes libdivsufsort sorts, so that the order of bytes is the
// order of tokens (Manber and Myers, 1990, for the searches; Mori for the library). 5 bytes a token, and a place a row.

internal import CDivSufSort

/// Where a run was found: places of the suffix array, next to each other.
struct SuffixRange: Hashable, Sendable {
    var first: Int
    var end: Int
    var count: Int { end - first }
}

struct SpanSegment: Sendable {
    /// Sorting takes 26 bytes a token for a while: 55 MB.
    static let tokensMax = 1 << 21
    /// Ranks are 1 to this; 0 stands between rows and one more for tokens that are in no row.
    static let distinctTokensMax = 65_534
    private static let foreign = UInt16.max

    /// The corpus's number of this segment's first row.
    let firstRow: Int
    /// The segment's tokens, ascending, each once; where the suffixes begin that begin with each, and their number.
    private let tokens: [Int32]
    private let firsts: [UInt32]
    /// Ranks, each row followed by 0.
    private let ranks: [UInt16]
    /// Places of `ranks` in the order of what stands from there on, 3 bytes each; edges are left out.
    private let suffixes: [UInt8]
    /// Where each row begins.
    private let rowStarts: [UInt32]

    /// - Parameters:
    ///   - text: rows of tokens of at least 0, each followed by -1; at most `tokensMax` in all, of at most
    ///     `distinctTokensMax` different ones.
    ///   - rowStarts: where each row begins, ascending.
    init(text: [Int32], rowStarts: [UInt32], firstRow: Int) {
        precondition(
            text.count <= Self.tokensMax && text.last ?? -1 == -1, "a segment of another size or without its end")
        self.firstRow = firstRow
        self.rowStarts = rowStarts
        var tokens = text.filter { $0 >= 0 }
        let total = tokens.count
        tokens.sort()
        var firsts: [UInt32] = []
        var kept = 0
        for place in tokens.indices where place == 0 || tokens[place] != tokens[kept - 1] {
            tokens[kept] = tokens[place]
            kept += 1
            firsts.append(UInt32(place))
        }
        firsts.append(UInt32(total))
        precondition(kept <= Self.distinctTokensMax, "a segment of more tokens than it has ranks for")
        let distinct = Array(tokens[0..<kept])
        tokens = []
        let ranks = text.map { $0 < 0 ? 0 : Self.rank($0, distinct) }
        self.tokens = distinct
        self.firsts = firsts
        self.ranks = ranks
        suffixes = Self.sorted(ranks, total)
    }

    private static func sorted(_ ranks: [UInt16], _ total: Int) -> [UInt8] {
        guard total > 0 else { return [] }
        let bytes = [UInt8](unsafeUninitializedCapacity: ranks.count * 2) { bytes, count in
            for rank in ranks {
                bytes[count] = UInt8(rank >> 8)
                bytes[count + 1] = UInt8(truncatingIfNeeded: rank)
                count += 2
            }
        }
        let order = [Int32](unsafeUninitializedCapacity: bytes.count) { order, count in
            let outcome = divsufsort(bytes, order.baseAddress, Int32(bytes.count))
            // It fails for a missing argument or missing memory; the first is ours, of the second Swift dies as well.
            precondition(outcome == 0, "a suffix array of \(bytes.count) bytes found no memory")
            count = bytes.count
        }
        return [UInt8](unsafeUninitializedCapacity: total * 3) { suffixes, count in
            for byte in order where byte & 1 == 0 {
                let place = Int(byte >> 1)
                guard ranks[place] != 0 else { continue }
                suffixes[count] = UInt8(truncatingIfNeeded: place)
                suffixes[count + 1] = UInt8(truncatingIfNeeded: place >> 8)
                suffixes[count + 2] = UInt8(truncatingIfNeeded: place >> 16)
                count += 3
            }
        }
    }

    var rowCount: Int { rowStarts.count }
    /// Without edges.
    var tokenCount: Int { suffixes.count / 3 }
    /// What the index holds.
    var bytes: Int { tokens.count * 4 + firsts.count * 4 + ranks.count * 2 + suffixes.count + rowStarts.count * 4 }

    private static func rank(_ token: Int32, _ tokens: [Int32]) -> UInt16 {
        var low = 0
        var high = tokens.count
        while low < high {
            let middle = (low + high) / 2
            if tokens[middle] < token { low = middle + 1 } else { high = middle }
        }
        return low < tokens.count && tokens[low] == token ? UInt16(low + 1) : foreign
    }

    func ranks(of query: ArraySlice<Int32>) -> [UInt16] { query.map { Self.rank($0, tokens) } }

    /// How often a token is in the segment's rows.
    func count(of token: Int32) -> UInt64 {
        let rank = Self.rank(token, tokens)
        return rank == Self.foreign ? 0 : UInt64(firsts[Int(rank)] - firsts[Int(rank) - 1])
    }

    private func place(_ index: Int) -> Int {
        let at = index * 3
        return Int(suffixes[at]) | Int(suffixes[at + 1]) << 8 | Int(suffixes[at + 2]) << 16
    }

    /// Tokens that the suffix at `place` and the query have in common, of which `known` are known. A row's edge is no
    /// token of a query, so nothing is read beyond the end.
    private func common(_ place: Int, _ query: ArraySlice<UInt16>, from known: Int) -> Int {
        var length = known
        while length < query.count, ranks[place + length] == query[query.startIndex + length] { length += 1 }
        return length
    }

    /// The suffixes that begin with the first token of `query`; none for an empty one.
    private func beginning(_ query: ArraySlice<UInt16>) -> Range<Int> {
        guard let rank = query.first, rank != Self.foreign else { return 0..<0 }
        return Int(firsts[Int(rank) - 1])..<Int(firsts[Int(rank)])
    }

    /// The first of `suffixes`, which share their first token with `query`, that is not below it, and how much of it that
    /// one and the one before begin with.
    private func lowerBound(_ query: ArraySlice<UInt16>, in suffixes: Range<Int>, _ work: inout Int) -> (
        index: Int, longest: Int
    ) {
        var low = suffixes.lowerBound
        var high = suffixes.upperBound
        // Every suffix between two has at least what both of them have in common with the query.
        var before = 1
        var at = 1
        while low < high {
            let middle = (low + high) / 2
            let place = place(middle)
            let known = min(before, at)
            let length = common(place, query, from: known)
            work += length - known + 1
            if length < query.count, ranks[place + length] < query[query.startIndex + length] {
                low = middle + 1
                before = length
            } else {
                high = middle
                at = length
            }
        }
        return (low, max(before, at))
    }

    /// How much of `query` some row has from its beginning on.
    /// - Parameter work: grows by the tokens that are compared.
    func longest(_ query: ArraySlice<UInt16>, _ work: inout Int) -> Int {
        let suffixes = beginning(query)
        return suffixes.isEmpty ? 0 : lowerBound(query, in: suffixes, &work).longest
    }

    /// The suffixes that begin with the whole of `query`, which is not empty.
    func range(of query: ArraySlice<UInt16>) -> SuffixRange {
        let suffixes = beginning(query)
        guard !suffixes.isEmpty else { return SuffixRange(first: 0, end: 0) }
        var work = 0
        let first = lowerBound(query, in: suffixes, &work).index
        var low = first
        var high = suffixes.upperBound
        while low < high {
            let middle = (low + high) / 2
            if common(place(middle), query, from: 1) == query.count { low = middle + 1 } else { high = middle }
        }
        return SuffixRange(first: first, end: low)
    }

    /// The corpus's numbers of the rows that those suffixes are in, with repetitions.
    func rows(_ range: SuffixRange) -> [UInt32] {
        (range.first..<range.end).map { index in
            let place = UInt32(place(index))
            var low = 0
            var high = rowStarts.count - 1
            while low < high {
                let middle = (low + high + 1) / 2
                if rowStarts[middle] <= place { low = middle } else { high = middle - 1 }
            }
            return UInt32(firstRow + low)
        }
    }

    /// What follows the middle one of those suffixes behind its first `length` tokens, to the end of its row. Places in
    /// suffix order are in the order of what follows, so the middle one has a continuation that is common.
    func continuation(_ range: SuffixRange, behind length: Int, max: Int) -> [Int32] {
        var place = place(range.first + range.count / 2) + length
        var following: [Int32] = []
        while following.count < max, ranks[place] != 0 {
            following.append(tokens[Int(ranks[place]) - 1])
            place += 1
        }
        return following
    }
}
