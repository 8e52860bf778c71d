// Speculation without a second model: what followed the last few tokens earlier, in the prompt, in the answer or in a
// datanet's rows, is proposed as a draft. The model reads the whole draft in one pass and samples at each of its
// positions as ever; the draft counts as far as it says the same. So a draft changes the speed and never a token: chance
// is a function of position. ("Prompt lookup decoding"; Leviathan et al., 2023, for the idea of verified drafts.)
//
//     append(token) … -> draft() -> [the engine verifies] -> append(accepted tokens), verified(drafted, accepted)
//
// A draft costs a wider pass: a row more costs up to half of a pass, so what is accepted must outweigh what is not. Each
// sequence keeps that balance; when it is below zero the next draft waits, twice as long each time, and begins small. On
// random text few are tried at all, since a draft needs three equal tokens before it.

/// Text that may continue a sequence: a datanet's rows.
package protocol SpanIndex: Sendable {
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
    /// Accepted tokens above those that were not, that may be spent on drafts that fail.
    package var balanceMax = 6
    /// Tokens to wait after the balance first falls below zero, and at most.
    package var waitTokensMin = 16
    package var waitTokensMax = 512
    /// Tokens that are indexed; later ones are not found.
    package var indexTokensMax = 1 << 17

    package init() {}
}

package struct LookupDraft: Sendable {
    /// How much of the end is offered to a span index.
    private static let spanTokensMax = 32

    private let limits: LookupLimits
    private var runs: RunTable
    private var draftTokens: Int
    private var balance = 0
    private var wait = 0
    private var nextWait: Int

    package init(prompt: [Int32], limits: LookupLimits = LookupLimits()) {
        self.limits = limits
        draftTokens = max(1, min(4, limits.draftTokensMax))
        nextWait = limits.waitTokensMin
        runs = RunTable(prompt, indexMax: limits.indexTokensMax)
    }

    /// Takes a token of the answer.
    package mutating func append(_ token: Int32) {
        runs.append(token)
        if wait > 0 { wait -= 1 }
    }

    /// Likely next tokens, at most `max` of them; empty where there is no reason to expect any.
    package func draft(max room: Int, spans: (any SpanIndex)? = nil) -> ArraySlice<Int32> {
        let count = min(room, draftTokens)
        guard wait == 0, count >= limits.draftTokensMin, runs.tokens.count >= limits.matchTokensMin else { return [] }
        let own = runs.continuation(of: runs.tokens[...], least: limits.matchTokensMin, count: count)
        if own.count == count { return own }
        if let spans {
            let found = spans.continuation(of: runs.tokens.suffix(Self.spanTokensMax), max: count).prefix(count)
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
        balance = min(limits.balanceMax, balance + accepted - (drafted - accepted))
        if balance < 0 {
            balance = 0
            draftTokens = limits.draftTokensMin
            wait = nextWait
            nextWait = min(limits.waitTokensMax, nextWait * 2)
        } else if accepted >= drafted {
            nextWait = limits.waitTokensMin
        }
    }

    /// What the index holds, at most 24 bytes an indexed token.
    package var indexBytes: Int { runs.bytes }
}
