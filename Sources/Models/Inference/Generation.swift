// What goes into the engine and what comes out of it.

package import Decoding
package import Primitives

package struct SequenceID: Hashable, Comparable, Sendable {
    package let value: UInt64

    package static func < (left: Self, right: Self) -> Bool { left.value < right.value }
}

/// Strict: a place is never kept from a higher class for the sake of a lower one. Within a class tenants share.
package enum ServingPriority: Int, Comparable, CaseIterable, Hashable, Sendable {
    /// What yields to every request at every step: training's evaluations, audits.
    case background
    case low
    case normal
    case high

    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

package struct GenerationRequest: Sendable {
    /// Token ids, taken as they are: nothing is put before them.
    package var prompt: [Int32]
    package var adapter: String?
    /// Several adapters at once; then `adapter` is nil.
    package var fusion: AdapterFusion?
    /// Zero only scores the prompt.
    package var tokensMax: Int
    /// Before so many no end token is drawn.
    package var tokensMin: Int
    package var sampling: Sampling
    /// What the answer's text must conform to.
    package var grammar: Grammar?
    /// Whether tokens that are likely to come may be computed ahead; the answer is the same.
    package var speculates: Bool
    /// Where guesses are looked up besides the prompt and the answer.
    package var spans: (any SpanIndex)?
    package var stop: [String]
    package var ignoresEnd: Bool
    /// Nil: none are computed. Otherwise that of each token and of so many alternatives.
    package var logProbabilities: Int?
    /// Also those of the prompt's tokens, the first of which has none.
    package var scoresPrompt: Bool
    /// Of a scored prompt, tokens at its beginning that need no score: they may come from the cache.
    package var unscoredTokens = 0
    /// Whose share of the engine it takes.
    package var tenant: String
    package var priority: ServingPriority
    /// A request that has not begun by then ends with `.expired`.
    package var deadline: Instant?
    /// Prompts share cached beginnings within a domain only: how fast an answer begins tells what others have asked.
    package var cacheDomain: UInt32
    /// An answer to be checked. Its tokens are computed ahead, many in one pass, and drawn as ever: the first one that is
    /// not drawn ends the sequence with `.differs`, and so does the last one, with `.repeated`, if nothing ended it before.
    package var repeats: [Int32]?

    package init(
        prompt: [Int32], adapter: String? = nil, tokensMax: Int, sampling: Sampling = .greedy, stop: [String] = [],
        ignoresEnd: Bool = false, logProbabilities: Int? = nil, scoresPrompt: Bool = false,
        fusion: AdapterFusion? = nil, tenant: String = "", priority: ServingPriority = .normal,
        deadline: Instant? = nil, cacheDomain: UInt32 = 0, grammar: Grammar? = nil, tokensMin: Int = 0,
        speculates: Bool = true, repeats: [Int32]? = nil
    ) {
        self.prompt = prompt
        self.adapter = adapter
        self.fusion = fusion
        self.tokensMax = tokensMax
        self.sampling = sampling
        self.stop = stop
        self.ignoresEnd = ignoresEnd
        self.logProbabilities = logProbabilities
        self.scoresPrompt = scoresPrompt
        self.tenant = tenant
        self.priority = priority
        self.deadline = deadline
        self.cacheDomain = cacheDomain
        self.grammar = grammar
        self.tokensMin = tokensMin
        self.speculates = speculates
        self.repeats = repeats
    }
}

package enum FinishReason: Hashable, Sendable {
    /// The model ended its answer: the token that says so is the last one reported.
    case end
    /// A stop string appeared; the text stops before it, the tokens include it.
    case stop
    /// `tokensMax`, or the context, is used up.
    case length
    /// A logit was not finite; this sequence alone ends.
    case notFinite
    /// No token can follow that the grammar allows, for this reason.
    case grammar(String)
    /// It waited past its deadline; nothing was generated.
    case expired
    /// Its adapter could not be loaded, for this reason; nothing was generated.
    case adapterFailed(String)
    /// The last token is not the one of the answer that was to be repeated.
    case differs
    /// The answer that was to be repeated was, to its last token; generation would go on.
    case repeated
}

package struct GeneratedToken: Hashable, Sendable {
    package let id: Int32
    /// Present where the request asked for it.
    package let logProbability: Float?
    package let alternatives: [TokenProbability]
}

/// What one step did for one sequence.
package struct SequenceOutput: Hashable, Sendable {
    package let id: SequenceID
    package var token: GeneratedToken?
    /// Whole characters only; empty while a character or a possible stop string is incomplete.
    package var text = ""
    package var finish: FinishReason?
    /// With the first output of a request that scores its prompt: one entry a prompt token.
    package var prompt: [GeneratedToken] = []

    package init(id: SequenceID) { self.id = id }
}

/// What a receipt commits to: tokens, as 4 little-endian bytes each. Text is a rendering of them.
package enum AnswerBytes {
    package static func canonical(_ tokens: [Int32]) -> [UInt8] {
        tokens.flatMap { token in withUnsafeBytes(of: UInt32(bitPattern: token).littleEndian, Array.init) }
    }
}
