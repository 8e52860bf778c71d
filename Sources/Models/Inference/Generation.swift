// What goes into the engine and what comes out of it.

package import Decoding

package struct SequenceID: Hashable, Comparable, Sendable {
    package let value: UInt64

    package static func < (left: Self, right: Self) -> Bool { left.value < right.value }
}

package struct EngineLimits: Hashable, Sendable {
    /// Sequences that share a batch.
    package var sequencesMax = 32
    /// Requests that wait for a place.
    package var queueMax = 256
    /// Tokens of one step: the chunk that a prompt is cut into.
    package var stepTokensMax = 256
    /// The key/value cache; never exceeded.
    package var cacheBytesMax = 256 << 20
    package var adaptersMax = 1024
    package var stopStringsMax = 16
    package var stopStringBytesMax = 256
    package var topLogProbabilitiesMax = 20

    package init() {}
}

package enum EngineFault: Error, Hashable, CustomStringConvertible {
    case queueFull(limit: Int)
    case promptEmpty
    case promptTooLong(tokens: Int, contextTokens: Int)
    case tokenOutOfRange(token: Int32, vocabulary: Int)
    case exceedsCache(pages: Int, pagesMax: Int)
    case parameter(name: String, reason: String)
    case adapterUnknown(String)
    case adapterKnown(String)
    case adaptersFull(limit: Int)

    package var description: String {
        switch self {
        case .queueFull(let limit): "\(limit) requests are waiting already; try again later"
        case .promptEmpty: "the prompt has no tokens"
        case .promptTooLong(let tokens, let context):
            "the prompt has \(tokens) tokens; this model's context holds \(context), one of them for the answer"
        case .tokenOutOfRange(let token, let vocabulary): "token \(token) is not in a vocabulary of \(vocabulary)"
        case .exceedsCache(let pages, let pagesMax):
            "the request needs \(pages) cache pages of 16 tokens; this peer allows \(pagesMax)"
        case .parameter(let name, let reason): "\(name) \(reason)"
        case .adapterUnknown(let name): "adapter \"\(name)\" is not loaded"
        case .adapterKnown(let name): "adapter \"\(name)\" is loaded already"
        case .adaptersFull(let limit): "\(limit) adapters are loaded already; unload one first"
        }
    }
}

package struct GenerationRequest: Sendable {
    /// Token ids, taken as they are: nothing is put before them.
    package var prompt: [Int32]
    package var adapter: String?
    /// Zero only scores the prompt.
    package var tokensMax: Int
    package var sampling: Sampling
    package var stop: [String]
    package var ignoresEnd: Bool
    /// Nil: none are computed. Otherwise that of each token and of so many alternatives.
    package var logProbabilities: Int?
    /// Also those of the prompt's tokens, the first of which has none.
    package var scoresPrompt: Bool

    package init(
        prompt: [Int32], adapter: String? = nil, tokensMax: Int, sampling: Sampling = .greedy, stop: [String] = [],
        ignoresEnd: Bool = false, logProbabilities: Int? = nil, scoresPrompt: Bool = false
    ) {
        self.prompt = prompt
        self.adapter = adapter
        self.tokensMax = tokensMax
        self.sampling = sampling
        self.stop = stop
        self.ignoresEnd = ignoresEnd
        self.logProbabilities = logProbabilities
        self.scoresPrompt = scoresPrompt
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
