// Tokens that are cut out of a text before anything else happens to it: control tokens, and words that were added to a
// vocabulary later. The leftmost match counts, the longest of those that begin there.
//
// Source: github.com/huggingface/tokenizers, tokenizer/added_vocabulary.

struct AddedToken: Hashable, Sendable {
    var text: [UInt8]
    var id: Int32
    /// Only between characters that are no part of a word.
    var singleWord = false
    /// Takes the white space before or behind it along.
    var stripsLeft = false
    var stripsRight = false
    /// Found in the normalised text, not in the text as it came.
    var normalized = false
    var special = false
}

struct AddedTokens: Sendable {
    static let textBytesMax = 512

    private let tokens: [AddedToken]
    /// (node << 8 | byte) to the next node of the trie.
    private let edges: PairTable
    /// Of each node, the token that ends there, or -1.
    private let ends: [Int32]
    /// Bytes that some token begins with.
    private let begins: [Bool]

    /// Nil if the texts fill the table's neighbourhoods: a hostile file.
    init?(_ tokens: [AddedToken]) {
        self.tokens = tokens
        var edges = PairTable(count: tokens.reduce(0) { $0 + $1.text.count })
        var ends: [Int32] = [-1]
        var begins = [Bool](repeating: false, count: 256)
        for (index, token) in tokens.enumerated() {
            guard let first = token.text.first else { continue }
            begins[Int(first)] = true
            var node: UInt64 = 0
            for byte in token.text {
                let key = node << 8 | UInt64(byte), known = edges[key]
                if known == PairTable.none {
                    node = UInt64(ends.count)
                    guard edges.set(key, node) else { return nil }
                    ends.append(-1)
                } else {
                    node = known
                }
            }
            if ends[Int(node)] < 0 { ends[Int(node)] = Int32(index) }
        }
        self.edges = edges
        self.ends = ends
        self.begins = begins
    }

    var isEmpty: Bool { tokens.isEmpty }

    enum Part {
        case text(Range<Int>)
        case token(Int32)
    }

    /// The longest token that begins at `at`.
    private func longest(_ text: UnsafeBufferPointer<UInt8>, _ start: Int) -> (token: AddedToken, end: Int)? {
        var node: UInt64 = 0, at = start
        var found: (token: Int32, end: Int)?
        while at < text.count {
            node = edges[node << 8 | UInt64(text[at])]
            guard node != PairTable.none else { break }
            at += 1
            if ends[Int(node)] >= 0 { found = (ends[Int(node)], at) }
        }
        return found.map { (tokens[Int($0.token)], $0.end) }
    }

    /// Calls `visit` for the tokens and what lies between them, in order.
    func visit(_ text: [UInt8], _ visit: (Part) -> Void) {
        guard !tokens.isEmpty else {
            if !text.isEmpty { visit(.text(0..<text.count)) }
            return
        }
        text.withUnsafeBufferPointer { text in
            var behind = 0, at = 0
            while at < text.count {
                guard begins[Int(text[at])], let match = longest(text, at) else {
                    at += 1
                    continue
                }
                var start = at, end = match.end
                at = match.end
                if match.token.singleWord, Self.isInWord(text, start, end) { continue }
                if match.token.stripsLeft { start = Self.spaceBefore(text, start, from: behind) }
                if match.token.stripsRight { end = Self.spaceBehind(text, end) }
                if start > behind { visit(.text(behind..<start)) }
                visit(.token(match.token.id))
                behind = end
            }
            if behind < text.count { visit(.text(behind..<text.count)) }
        }
    }

    private static let word = ScalarSet([.word(joiners: true, negated: false)])
    private static let space = ScalarSet([.space(negated: false)])

    private static func holds(_ set: ScalarSet, _ text: UnsafeBufferPointer<UInt8>, _ at: Int) -> Bool {
        var at = at
        let value = UTF8Reading.scalar(text, &at, end: text.count)
        return ScalarCategory.basicPlane.withUnsafeBufferPointer { set.holds(value, $0) }
    }

    private static func isInWord(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int) -> Bool {
        if start > 0, holds(word, text, UTF8Reading.before(text, start, start: 0)) { return true }
        return end < text.count && holds(word, text, end)
    }

    private static func spaceBefore(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, from first: Int) -> Int {
        var at = start
        while at > first {
            let before = UTF8Reading.before(text, at, start: first)
            guard holds(space, text, before) else { break }
            at = before
        }
        return at
    }

    private static func spaceBehind(_ text: UnsafeBufferPointer<UInt8>, _ end: Int) -> Int {
        var at = end
        while at < text.count, holds(space, text, at) { at = min(at + UTF8Reading.width(text[at]), text.count) }
        return at
    }
}
