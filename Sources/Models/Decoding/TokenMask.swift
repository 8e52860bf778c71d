// Which tokens may come next, one bit each.

package struct TokenMask: Hashable, Sendable {
    /// Bit `id % 64` of word `id / 64`. Tokens beyond the last word are not allowed.
    package private(set) var words: [UInt64]

    package init(vocabulary: Int) { words = Array(repeating: 0, count: (max(0, vocabulary) + 63) / 64) }

    package var isEmpty: Bool { !words.contains { $0 != 0 } }
    package var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

    package func contains(_ token: Int32) -> Bool {
        let word = Int(token) >> 6
        return token >= 0 && word < words.count && words[word] >> UInt64(token & 63) & 1 == 1
    }

    /// Nothing happens where the token is outside the vocabulary.
    package mutating func insert(_ token: Int32) {
        let word = Int(token) >> 6
        guard token >= 0, word < words.count else { return }
        words[word] |= 1 << UInt64(token & 63)
    }

    mutating func formUnion(_ other: TokenMask) {
        for word in 0..<min(words.count, other.words.count) { words[word] |= other.words[word] }
    }
}
