// A request on its way to an answer.
//
//     queued ⇄ (preempted) ⇄ live: pages held ── prompt computed ──▶ answering ──▶ finished
//
// What a preemption takes is the pages; tokens, text and scores stay, so that nothing is said twice.

import Decoding
import Tokenizers

final class LiveSequence {
    let id: SequenceID
    let request: GenerationRequest
    let tokensMax: Int
    let tenant: TenantIndex
    let adapter: AdapterEntry?
    /// Present while it is live.
    var weights: LoadedAdapter?
    /// Present while it is live.
    var cursor: CacheCursor?
    /// Prompt and answer; the first `cached` of them are in the cache.
    var tokens: [Int32]
    var cached = 0
    /// Positions that were computed at some time: they are neither charged nor counted again.
    var computed = 0
    var isFinished = false
    var promptScores: [GeneratedToken] = []
    var decoder: StreamingDecoder?
    var stop: StopText
    /// Present where the sampler asks what was said.
    var history: TokenHistory?
    var constraint: Constraint?
    var lookup: LookupDraft?

    init(
        id: SequenceID, request: GenerationRequest, tokensMax: Int, tenant: TenantIndex, adapter: AdapterEntry?,
        decoder: StreamingDecoder?, constraint: Constraint?
    ) {
        self.id = id
        self.request = request
        self.tokensMax = tokensMax
        self.tenant = tenant
        self.adapter = adapter
        self.decoder = decoder
        self.constraint = constraint
        stop = StopText(request.stop)
        tokens = request.prompt
        let unscored = min(request.unscoredTokens, request.prompt.count) - 1
        if request.scoresPrompt, unscored > 0 {
            promptScores = request.prompt[1...unscored].map {
                GeneratedToken(id: $0, logProbability: nil, alternatives: [])
            }
        }
        history = request.sampling.readsHistory ? TokenHistory(prompt: request.prompt) : nil
        let looksUp = request.speculates && request.repeats == nil && tokensMax > 1
        lookup = looksUp ? LookupDraft(prompt: request.prompt) : nil
    }

    var waiting: Waiting {
        Waiting(id: id, priority: request.priority, cost: request.prompt.count + tokensMax)
    }

    /// Only its last token is not in the cache, and the model wrote that.
    var isAnswering: Bool { tokens.count > request.prompt.count && tokens.count - cached == 1 }

    /// No part of its prompt is left to compute: also where its row is in the step that is being made.
    var hasBegun: Bool { tokens.count > request.prompt.count && tokens.count - cached <= 1 }

    var scoresPrompt: Bool { request.scoresPrompt && promptScores.count < request.prompt.count - 1 }

    /// Positions that need not be computed where the cache has them: the last one's logits are always wanted, and those
    /// of a prompt that is scored.
    var cacheableMax: Int { scoresPrompt ? promptScores.count : tokens.count - 1 }

    /// What is still to be repeated after the tokens so far, which are those of the answer to be checked.
    func remainder(max room: Int, vocabulary: Int) -> ArraySlice<Int32> {
        guard let repeats = request.repeats else { return [] }
        let from = tokens.count - request.prompt.count
        guard from > 0, from < repeats.count else { return [] }
        // What is in no vocabulary is not drawn, and is not computed.
        return repeats[from..<min(repeats.count, from + max(0, room))].prefix { $0 >= 0 && Int($0) < vocabulary }
    }

    /// Pages for all that it may become. The last token generated is never read back: it needs no place.
    var pagesMax: Int { PagePool.pages(positions: request.prompt.count + max(0, tokensMax - 1)) }

    /// The live sequences are kept in this order: the last one gives way first.
    func isMoreImportant(than other: LiveSequence) -> Bool { waiting.precedes(other.waiting) }
}
