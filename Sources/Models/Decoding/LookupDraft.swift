// Speculation without a second model: what followed the last few tokens earlier, in the prompt, in the answer or in a
// datanet's rows, is proposed as a draft. The model reads the whole draft in one pass and samples at each of its
// positions as ever; the draft counts as far as it says the same. So a draft changes the speed and never a token: chance
// is a function of position. ("Prompt lookup decoding"; Leviathan et al., 2023, for the idea of verified drafts.)
//
//     append(token) … -> draft() -> [the engine verifies] -> append(accepted tokens), verified(drafted, accepted)
//
// Drafts that fail cost a wider pass. After one that fails whole the next waits, twice as long each time; one that
// succeeds ends the wait. On random text few are tried at all, since a draft needs three equal tokens before it.

/// Text that may continue a sequence: a datanet's span index.
package protocol SpanIndex {
    /// What followed `tokens` (the end of a sequence) where their longest end was found, at most `max`; empty where too
    /// little of it was.
    func continuation(of tokens: ArraySlice<Int32>, max: Int) -> ArraySlice<Int32>
}

package struct LookupLimits: Hashable, Sendable {
    /// Tokens of a draft: a verification reads one more.
    package var draftTokensMax = 12
    package var draftTokensMin = 2
    /// Tokens that must be equal before a draft is made.
    package var matchTokensMin = 3
    /// Tokens to wait after the first draft that fails whole, and at most.
    package var waitTokensMin = 16
    package var waitTokensMax = 512
    /// Tokens that are indexed; later ones are not found.
    package var indexTokensMax = 1 << 17

    package init() {}
}

package struct LookupDraft: Sendable {
    /// Lengths of the ends that are looked up, the longest first.
    private static let matchLengths = [8, 5, 3]
    /// How much of the end is offered to a span index.
    private static let spanTokensMax = 32

    private let limits: LookupLimits
    package private(set) var tokens: [Int32] = []
    /// For each length: where a run of so many tokens (by hash, one place each) ended last, plus one; zero is empty.
    private var tables: [[Int32]] = []
    private var tableBits = 0
    private var indexed = 0
    private var draftTokens: Int
    private var wait = 0
    private var nextWait: Int

    package init(prompt: [Int32], limits: LookupLimits = LookupLimits()) {
        self.limits = limits
        draftTokens = max(1, min(4, limits.draftTokensMax))
        nextWait = limits.waitTokensMin
        tokens.reserveCapacity(prompt.count + 256)
        for token in prompt { tokens.append(token) }
        index()
    }

    /// Takes a token of the answer.
    package mutating func append(_ token: Int32) {
        tokens.append(token)
        if wait > 0 { wait -= 1 }
        index()
    }

    /// Likely next tokens, at most `max` of them; empty where there is no reason to expect any.
    package func draft(max room: Int, spans: (any SpanIndex)? = nil) -> ArraySlice<Int32> {
        let count = min(room, draftTokens)
        guard wait == 0, count >= limits.draftTokensMin, tokens.count >= limits.matchTokensMin else { return [] }
        let own = ownContinuation(max: count)
        if own.count == count { return own }
        if let spans {
            let found = spans.continuation(of: tokens.suffix(Self.spanTokensMax), max: count).prefix(count)
            if found.count > own.count { return found }
        }
        return own.count >= limits.draftTokensMin ? own : []
    }

    /// How a draft fared: `accepted` of its first tokens were what the model chose.
    package mutating func verified(drafted: Int, accepted: Int) {
        guard drafted > 0 else { return }
        if accepted >= drafted {
            draftTokens = min(limits.draftTokensMax, draftTokens * 2)
        } else {
            draftTokens = max(limits.draftTokensMin, min(draftTokens, accepted + 1))
        }
        if accepted == 0 {
            wait = nextWait
            nextWait = min(limits.waitTokensMax, nextWait * 2)
        } else if accepted * 2 >= drafted {
            nextWait = limits.waitTokensMin
        }
    }

    /// What the index holds, at most 24 bytes an indexed token.
    package var indexBytes: Int { tables.reduce(0) { $0 + $1.count * MemoryLayout<Int32>.stride } }

    // MARK: The index

    private func slot(_ end: Int, _ length: Int) -> Int {
        var hash: UInt64 = UInt64(length)
        for place in end - length..<end {
            hash = (hash ^ UInt64(UInt32(bitPattern: tokens[place]))) &* 0x9e37_79b9_7f4a_7c15
            hash ^= hash >> 29
        }
        return Int(truncatingIfNeeded: (hash &* 0xbf58_476d_1ce4_e5b9) >> UInt64(64 - tableBits))
    }

    /// Indexes every run that has a successor by now.
    private mutating func index() {
        let end = min(tokens.count, limits.indexTokensMax)
        if tableBits == 0 || (end > 1 << (tableBits - 1) && 1 << tableBits < limits.indexTokensMax * 2) {
            tableBits = max(10, Int.bitWidth - (end * 2).leadingZeroBitCount)
            tables = Self.matchLengths.map { _ in Array(repeating: 0, count: 1 << tableBits) }
            indexed = 0
        }
        while indexed + 1 < end {
            indexed += 1
            for (table, length) in Self.matchLengths.enumerated() where length <= indexed {
                tables[table][slot(indexed, length)] = Int32(truncatingIfNeeded: indexed)
            }
        }
    }

    /// What followed the longest end that was found before.
    private func ownContinuation(max count: Int) -> ArraySlice<Int32> {
        let end = tokens.count
        for (table, length) in Self.matchLengths.enumerated()
        where length <= end && length >= limits.matchTokensMin {
            let found = Int(tables[table][slot(end, length)])
            guard found >= length, found < end else { continue }
            guard tokens[found - length..<found] == tokens[end - length..<end] else { continue }
            return tokens[found..<min(end, found + count)]
        }
        return []
    }
}
