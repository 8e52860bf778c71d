// The typed half of the interface to the node: one prompt in, tokens, sources and a receipt out.

package import Primitives

/// One message of a conversation. `developer` has become `system` by the time it is here.
package struct ChatMessage: Sendable, Hashable {
    package enum Role: String, Sendable, Hashable {
        case system, user, assistant, tool
    }

    package var role: Role
    package var content: String
    /// Of the assistant.
    package var toolCalls: [ToolCall] = []
    /// Of a tool: which call it answers.
    package var toolCallID: String?
    package var name: String?

    package init(_ role: Role, _ content: String) {
        self.role = role
        self.content = content
    }
}

package enum GenerationPrompt: Sendable, Hashable {
    /// To be put through the model's chat template.
    case messages([ChatMessage])
    /// Tokenized as it is, with the beginning-of-sequence token where the tokenizer adds one.
    case text(String)
    /// Used as they are; nothing is added.
    case tokens([UInt32])
}

/// How tokens are chosen. The defaults are OpenAI's.
package struct SamplingParameters: Sendable, Hashable {
    /// 0 is greedy; to 2.
    package var temperature = 1.0
    package var topP = 1.0
    /// 0: off.
    package var topK = 0
    package var minP = 0.0
    package var presencePenalty = 0.0
    package var frequencyPenalty = 0.0
    package var repetitionPenalty = 1.0
    /// Added to the logit of a token, -100 to 100.
    package var logitBias: [UInt32: Double] = [:]
    /// nil: the node draws one and writes it into the receipt.
    package var seed: UInt64?

    package init() {}
}

package struct GenerationRequest: Sendable, Hashable {
    /// `base`, `base:adapter` or `base:adapter@revision`.
    package var model: String
    package var prompt: GenerationPrompt
    package var sampling = SamplingParameters()
    /// nil: as many as the context leaves room for. 0 only with `echo`.
    package var tokensMax: Int?
    package var choices = 1
    /// The text ends before the first of these.
    package var stop: [String] = []
    package var ignoreEndOfSequence = false
    /// nil: any text.
    package var format: AnswerFormat?
    /// nil: none are offered.
    package var tools: ToolSet?
    /// Instead of an adapter in `model`.
    package var merge: AdapterMerge?
    /// Whether tokens carry log-probabilities, and how many alternatives with each.
    package var logProbabilities: Int?
    /// The prompt's tokens come first, as events of their own.
    package var echo = false
    /// Name or CID of the datanet to retrieve from.
    package var datanet: String?
    /// Ask this neighbour only.
    package var peer: String?
    /// The most that the answer may cost.
    package var priceMax: Amount?
    /// Whether the caller holds the home's token. Without it the node answers with what its own kernels do free of
    /// charge, and throws `NodeFault.tokenRequired` where it would have to spend.
    package var maySpend = false
    /// Whether the answer is to be paid for and receipted even where this peer's own kernels could give it free.
    package var isPaid = false
    /// The caller's API key, as the first 16 hexadecimal digits of its SHA-256; nil on loopback. For fairness and limits.
    package var tenant: String?

    package init(model: String, prompt: GenerationPrompt) {
        self.model = model
        self.prompt = prompt
    }
}

package enum FinishReason: String, Sendable, Hashable {
    case stop, length
    case contentFilter = "content_filter"
    case toolCalls = "tool_calls"
}

/// A token that could have been.
package struct TokenCandidate: Sendable, Hashable {
    package var id: UInt32
    package var text: String
    /// The token's own bytes, which need not be whole characters.
    package var bytes: [UInt8]
    /// Natural logarithm, before temperature, penalties and bias.
    package var logProbability: Double

    package init(id: UInt32, text: String, bytes: [UInt8], logProbability: Double) {
        self.id = id
        self.text = text
        self.bytes = bytes
        self.logProbability = logProbability
    }
}

package struct TokenEvent: Sendable, Hashable {
    /// Which of the request's `choices`.
    package var choice: Int
    package var id: UInt32
    /// What this token adds to the text: whole characters only, empty while a character or a possible stop is open.
    package var text: String
    /// True for the prompt's tokens under `echo`.
    package var isPrompt: Bool
    /// The token's own form, where log-probabilities were asked for. nil for the first token of an echoed prompt.
    package var chosen: TokenCandidate?
    /// Likeliest first.
    package var alternatives: [TokenCandidate]

    package init(
        choice: Int = 0, id: UInt32, text: String, isPrompt: Bool = false, chosen: TokenCandidate? = nil,
        alternatives: [TokenCandidate] = []
    ) {
        self.choice = choice
        self.id = id
        self.text = text
        self.isPrompt = isPrompt
        self.chosen = chosen
        self.alternatives = alternatives
    }
}

/// A row that the answer is owed to, and its share.
package struct AnswerSource: Sendable, Hashable {
    package var row: String
    package var rowID: String?
    package var datanet: String
    package var datanetName: String
    package var contributor: String
    package var share: PartsPerMillion
    package var text: String
    package var license: String?
    /// Why it has no share though it stood in the prompt: `duplicate`, `threshold`, `echo`, `rank`, `rounding` or `unweighed`.
    package var reason: String?

    package init(
        row: String, rowID: String?, datanet: String, datanetName: String, contributor: String,
        share: PartsPerMillion, text: String, license: String?, reason: String? = nil
    ) {
        self.row = row
        self.rowID = rowID
        self.datanet = datanet
        self.datanetName = datanetName
        self.contributor = contributor
        self.share = share
        self.text = text
        self.license = license
        self.reason = reason
    }
}

package struct ReceiptNote: Sendable, Hashable {
    package var id: String
    package var cost: Amount
    /// `signed`, `pooled` or `batched`.
    package var state: String

    package init(id: String, cost: Amount, state: String) {
        self.id = id
        self.cost = cost
        self.state = state
    }
}

package enum GenerationEvent: Sendable, Hashable {
    case token(TokenEvent)
    /// Whole; its text is in no token.
    case toolCall(choice: Int, ToolCall)
    /// Exactly one a choice.
    case finished(choice: Int, FinishReason)
    /// Sums to the whole, heaviest first, or nobody has a share; after the last token, at most once.
    case sources([AnswerSource])
    /// At most once.
    case receipt(ReceiptNote)
    /// At most once; without it the gateway counts what it saw.
    case usage(promptTokens: Int, completionTokens: Int)
}

/// An answer on its way. Ending or cancelling the iteration ends generation and billing.
package struct Generation: Sendable {
    /// Unique; becomes `chatcmpl-<id>`. 1 to 64 characters of a-z, A-Z, 0-9, "-" and "_".
    package var requestID: String
    /// The model as it was resolved, `starter:food@bafy…` or shorter.
    package var model: String
    /// Who serves: a peer ID, and whether it is this peer.
    package var servedBy: String
    package var isLocal: Bool
    /// Where the receipt's name is known before the first token.
    package var receiptID: String?
    /// Ends after every choice finished; throws `NodeFault`.
    package var events: any AsyncSequence<GenerationEvent, any Error> & Sendable

    package init(
        requestID: String, model: String, servedBy: String, isLocal: Bool, receiptID: String?,
        events: any AsyncSequence<GenerationEvent, any Error> & Sendable
    ) {
        self.requestID = requestID
        self.model = model
        self.servedBy = servedBy
        self.isLocal = isLocal
        self.receiptID = receiptID
        self.events = events
    }
}

/// A line of `/v1/models`.
package struct ModelCard: Sendable, Hashable {
    package var id: String
    package var createdSeconds: Int64
    package var owner: String
    /// The base model of an adapter.
    package var parent: String?
    /// The CID.
    package var root: String?
    package var contextLength: Int
    package var isLocal: Bool
    package var facts: ModelFacts?

    package init(
        id: String, createdSeconds: Int64, owner: String, parent: String?, root: String?, contextLength: Int,
        isLocal: Bool, facts: ModelFacts? = nil
    ) {
        self.id = id
        self.createdSeconds = createdSeconds
        self.owner = owner
        self.parent = parent
        self.root = root
        self.contextLength = contextLength
        self.isLocal = isLocal
        self.facts = facts
    }
}

/// What only whoever holds a model knows of it.
package struct ModelFacts: Sendable, Hashable {
    /// As `llama`.
    package var family: String
    package var parameters: UInt64
    package var bytes: UInt64
    /// As `int8`: how this peer serves it.
    package var precision: String
    /// Whether it is in memory now.
    package var isLoaded: Bool
    /// Whether it gives vectors rather than text.
    package var isEmbedder: Bool

    package init(
        family: String, parameters: UInt64, bytes: UInt64, precision: String, isLoaded: Bool, isEmbedder: Bool = false
    ) {
        self.family = family
        self.parameters = parameters
        self.bytes = bytes
        self.precision = precision
        self.isLoaded = isLoaded
        self.isEmbedder = isEmbedder
    }
}
