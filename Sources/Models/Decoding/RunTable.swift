// Where a run of tokens was seen last: for runs of 8, 5, 4 and 3 tokens, by hash, one place each. What follows such a place
// is a guess at what comes next.

struct RunTable: Sendable {
    /// Lengths of the runs that are looked up, the longest first.
    static let lengths = [8, 5, 4, 3]

    private(set) var tokens: [Int32] = []
    /// Tokens that are indexed; later ones are not found.
    private let indexMax: Int
    /// For each length: where a run of so many tokens ended last, plus one; zero is empty.
    private var tables: [[Int32]] = []
    private var tableBits = 0
    private var indexed = 0

    init(_ tokens: [Int32], indexMax: Int) {
        self.indexMax = indexMax
        self.tokens.reserveCapacity(tokens.count + 256)
        self.tokens += tokens
        index()
    }

    mutating func append(_ token: Int32) {
        tokens.append(token)
        index()
    }

    /// What the tables take.
    var bytes: Int { tables.reduce(0) { $0 + $1.count * MemoryLayout<Int32>.stride } }

    private func slot(_ end: Int, _ length: Int) -> Int {
        slot(tokens[end - length..<end])
    }

    private func slot(_ run: ArraySlice<Int32>) -> Int {
        var hash = UInt64(run.count)
        for token in run {
            hash = (hash ^ UInt64(UInt32(bitPattern: token))) &* 0x9e37_79b9_7f4a_7c15
            hash ^= hash >> 29
        }
        return Int(truncatingIfNeeded: (hash &* 0xbf58_476d_1ce4_e5b9) >> UInt64(64 - tableBits))
    }

    /// Indexes every run that has a successor by now.
    private mutating func index() {
        let end = min(tokens.count, indexMax)
        if tableBits == 0 || (end > 1 << (tableBits - 1) && 1 << tableBits < indexMax * 2) {
            tableBits = max(10, Int.bitWidth - (end * 2).leadingZeroBitCount)
            tables = Self.lengths.map { _ in Array(repeating: 0, count: 1 << tableBits) }
            indexed = 0
        }
        while indexed + 1 < end {
            indexed += 1
            for (table, length) in Self.lengths.enumerated() where length <= indexed {
                tables[table][slot(indexed, length)] = Int32(truncatingIfNeeded: indexed)
            }
        }
    }

    /// What followed the longest end of `tokens` that is found here, and how long that end is.
    /// - Parameter least: tokens that must be equal.
    func continuation(of end: ArraySlice<Int32>, least: Int, count: Int) -> (tokens: ArraySlice<Int32>, match: Int) {
        for (table, length) in Self.lengths.enumerated() where length <= end.count && length >= least {
            let run = end.suffix(length)
            let found = Int(tables[table][slot(run)])
            guard found >= length, found < tokens.count, tokens[found - length..<found] == run else { continue }
            return (tokens[found..<min(tokens.count, found + count)], length)
        }
        return ([], 0)
    }
}
