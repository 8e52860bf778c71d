// Speculation without a second model: what followed the last few tokens earlier, in the prompt, in the answer or in a
// datanet's rows, is proposed as a draft. The model reads the whole draft in one pass and samples at each of its
// positions as ever; the draft counts as far as it says the same. So a draft changes the speed and never a token: chance
// is a function of position. ("Prompt lookup decoding"; Leviathan et al., 2023, for the idea of verified drafts.)
//
//     append(token) … -> draft() -> [the engine verifies] -> append(accepted tokens), verified(drafted, accepted)
//
// A draft costs a wider pass: a row more costs up to half of a pass, so what is accepted must outweigh what is not. Each
// sequence keeps that balance, one for guesses after four equal tokens or fewer and one for those after more, which are
// right far more often. Where it is below zero the next such guess waits, twice as long each time, and begins small. On
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
    /// Equal tokens from which on a guess is a strong one.
    private static let strongMatchTokens = 5

    /// What guesses of one kind have earned.
    private struct Trust {
        var draftTokens: Int
        var balance = 0
        var wait = 0
        var nextWait: Int
    }

    private enum Kind { case weak, strong }

    private let limits: LookupLimits
    private var runs: RunTable
    private var weak: Trust
    private var strong: Trust
    /// Of the last draft.
    private var kind = Kind.weak

    package init(prompt: [Int32], limits: LookupLimits = LookupLimits()) {
        self.limits = limits
        weak = Trust(draftTokens: max(1, limits.draftTokensMin), nextWait: limits.waitTokensMin)
        strong = Trust(draftTokens: max(1, min(4, limits.draftTokensMax)), nextWait: limits.waitTokensMin)
        runs = RunTable(prompt, indexMax: limits.indexTokensMax)
    }

    /// Tokens of the longest draft.
    package var tokensMax: Int { limits.draftTokensMax }

    /// Takes a token of the answer.
    package mutating func append(_ token: Int32) {
        runs.append(token)
        if weak.wait > 0 { weak.wait -= 1 }
        if strong.wait > 0 { strong.wait -= 1 }
    }

    /// Likely next tokens, at most `max` of them; empty where there is no reason to expect any.
    package mutating func draft(max room: Int, spans: (any SpanIndex)? = nil) -> ArraySlice<Int32> {
        guard min(room, limits.draftTokensMax) >= limits.draftTokensMin, runs.tokens.count >= limits.matchTokensMin
        else {
            return []
        }
        let own = runs.continuation(
            of: runs.tokens[...], least: limits.matchTokensMin, count: min(room, limits.draftTokensMax))
        if own.match >= Self.strongMatchTokens { return offer(own.tokens, .strong, room) }
        if let spans, strong.wait == 0 {
            let found = spans.continuation(
                of: runs.tokens.suffix(Self.spanTokensMax), max: min(room, strong.draftTokens))
            if found.count >= limits.draftTokensMin { return offer(found, .strong, room) }
        }
        return own.match > 0 ? offer(own.tokens, .weak, room) : []
    }

    private mutating func offer(_ tokens: ArraySlice<Int32>, _ kind: Kind, _ room: Int) -> ArraySlice<Int32> {
        let trust = kind == .weak ? weak : strong
        let draft = tokens.prefix(min(room, trust.draftTokens))
        guard trust.wait == 0, draft.count >= limits.draftTokensMin else { return [] }
        self.kind = kind
        return draft
    }

    /// How the last draft fared: `accepted` of its first tokens were what the model chose.
    package mutating func verified(drafted: Int, accepted: Int) {
        guard drafted > 0 else { return }
        var trust = kind == .weak ? weak : strong
        if accepted >= drafted {
            trust.draftTokens = min(limits.draftTokensMax, trust.draftTokens * 2)
        } else {
            trust.draftTokens = max(limits.draftTokensMin, min(trust.draftTokens, accepted + 1))
        }
        trust.balance = min(limits.balanceMax, trust.balance + accepted - (drafted - accepted))
        if trust.balance < 0 {
            trust.balance = 0
            trust.draftTokens = limits.draftTokensMin
            trust.wait = trust.nextWait
            trust.nextWait = min(limits.waitTokensMax, trust.nextWait * 2)
        } else if accepted >= drafted {
            trust.nextWait = limits.waitTokensMin
        }
        if kind == .weak { weak = trust } else { strong = trust }
    }

    /// What the index holds, at most 32 bytes an indexed token.
    package var indexBytes: Int { runs.bytes }
}
