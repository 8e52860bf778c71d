// OpenAI's answers, whole and in chunks, from the node's events. The two routes differ in the shape of a choice only.
//
//     chunk of a stream:  role ▸ (text | text …) per choice ▸ empty delta with finish_reason ▸ [usage] ▸ [DONE]
//
// The last delta is held back until the events end: sources and receipt, which come last, belong into it.

import Primitives

enum OpenAIShape: Sendable {
    case chat, completion

    var idPrefix: String { self == .chat ? "chatcmpl-" : "cmpl-" }
    var object: String { self == .chat ? "chat.completion" : "text_completion" }
    var chunkObject: String { self == .chat ? "chat.completion.chunk" : "text_completion" }
}

/// What is gathered of one choice.
struct AnswerChoice {
    var text = ""
    var tokens: [UInt32] = []
    var logProbabilities: [TokenEvent] = []
    var toolCalls: [ToolCall] = []
    var finish: FinishReason?
}

extension AnswerChoice {
    fileprivate var message: [JSONMember] {
        let isBare = text.isEmpty && !toolCalls.isEmpty
        var members = [
            JSONMember("role", .string("assistant")), JSONMember("content", isBare ? .null : .string(text)),
            JSONMember("refusal", .null),
        ]
        if !toolCalls.isEmpty { members.append(JSONMember("tool_calls", .array(toolCalls.map(\.json)))) }
        return members
    }
}

/// What is gathered of one generation, and how it looks.
struct Answer {
    let shape: OpenAIShape
    let id: String
    let createdSeconds: Int64
    let numericsRevision: UInt64
    let generation: Generation
    let request: GenerationRequest
    /// The index of its first choice; more than 0 for a later prompt of several.
    let firstChoice: Int

    private(set) var choices: [AnswerChoice]
    private(set) var sources: [AnswerSource] = []
    /// One for each choice that was paid for.
    private(set) var receipts: [ReceiptNote] = []
    private(set) var promptTokens: Int?
    private(set) var completionTokens = 0

    init(
        shape: OpenAIShape, id: String, createdSeconds: Int64, numericsRevision: UInt64, generation: Generation,
        request: GenerationRequest, firstChoice: Int
    ) {
        self.shape = shape
        self.id = id
        self.createdSeconds = createdSeconds
        self.numericsRevision = numericsRevision
        self.generation = generation
        self.request = request
        self.firstChoice = firstChoice
        choices = Array(repeating: AnswerChoice(), count: request.choices)
    }

    /// Takes an event in.
    /// - Parameter keepsText: false while streaming, where the text is gone already.
    mutating func take(_ event: GenerationEvent, keepsText: Bool) {
        switch event {
        case .token(let token):
            guard choices.indices.contains(token.choice) else { return }
            if !token.isPrompt { completionTokens += 1 }
            guard keepsText else { return }
            choices[token.choice].text += token.text
            choices[token.choice].tokens.append(token.id)
            if request.logProbabilities != nil { choices[token.choice].logProbabilities.append(token) }
        case .toolCall(let choice, let call):
            guard choices.indices.contains(choice) else { return }
            choices[choice].toolCalls.append(call)
        case .finished(let choice, let reason):
            guard choices.indices.contains(choice) else { return }
            choices[choice].finish = reason
        case .sources(let sources): self.sources = sources
        case .receipt(let receipt): receipts.append(receipt)
        case .usage(let promptTokens, let completionTokens):
            self.promptTokens = promptTokens
            self.completionTokens = completionTokens
        }
    }

    var receipt: ReceiptNote? { receipts.last }

    // MARK: JSON

    var usage: JSONValue {
        .object([
            "prompt_tokens": .integer(promptTokens ?? 0), "completion_tokens": .integer(completionTokens),
            "total_tokens": .integer((promptTokens ?? 0) + completionTokens),
        ])
    }

    /// `served_by`, `sources`, `receipt`; `receipts` where there are several.
    var provenance: [JSONMember] { provenance(receipts) }

    func provenance(_ receipts: [ReceiptNote]) -> [JSONMember] {
        var members = [
            JSONMember(
                "served_by", .object(["peer": .string(generation.servedBy), "local": .bool(generation.isLocal)])),
            JSONMember("sources", .array(sources.map(\.json))),
            JSONMember("receipt", receipts.last?.json ?? .null),
        ]
        if receipts.count > 1 { members.append(JSONMember("receipts", .array(receipts.map(\.json)))) }
        return members
    }

    func head(object: String) -> [JSONMember] {
        [
            JSONMember("id", .string(id)), JSONMember("object", .string(object)),
            JSONMember("created", .integer(createdSeconds)), JSONMember("model", .string(generation.model)),
            JSONMember("system_fingerprint", .string("ol-kernels-\(numericsRevision)")),
        ]
    }

    func wholeChoices() -> [JSONValue] {
        choices.enumerated().map { index, choice in
            let logProbabilities =
                choice.logProbabilities.isEmpty ? JSONValue.null : json(choice.logProbabilities, textOffset: 0)
            let body: JSONMember =
                switch shape {
                case .chat: JSONMember("message", .members(choice.message))
                case .completion: JSONMember("text", .string(choice.text))
                }
            return .members([
                JSONMember("index", .integer(firstChoice + index)), body, JSONMember("logprobs", logProbabilities),
                JSONMember("finish_reason", .string((choice.finish ?? .stop).rawValue)),
                JSONMember("token_ids", .array(choice.tokens.map(JSONValue.integer))),
            ])
        }
    }

    // MARK: Chunks

    func chunk(choices: [JSONValue], usage: JSONValue?, tail: [JSONMember] = []) -> JSONValue {
        var members = head(object: shape.chunkObject)
        members.append(JSONMember("choices", .array(choices)))
        if let usage { members.append(JSONMember("usage", usage)) }
        return .members(members + tail)
    }

    /// The role, before any text.
    func openingChoices() -> [JSONValue] {
        guard shape == .chat else { return [] }
        return choices.indices.map { index in
            choice(index, delta: .object(["role": .string("assistant"), "content": .string("")]))
        }
    }

    func choice(_ token: TokenEvent, textOffset: Int) -> JSONValue {
        let logProbabilities = request.logProbabilities == nil ? JSONValue.null : json([token], textOffset: textOffset)
        let ids = [JSONMember("token_ids", .array([.integer(token.id)]))]
        switch shape {
        case .chat:
            return choice(
                token.choice, delta: .object(["content": .string(token.text)]), logProbabilities: logProbabilities,
                tail: ids)
        case .completion:
            return choice(token.choice, text: token.text, logProbabilities: logProbabilities, tail: ids)
        }
    }

    /// A call as one delta: it was told when it was whole.
    func choice(_ index: Int, _ call: ToolCall) -> JSONValue {
        let place = choices.indices.contains(index) ? choices[index].toolCalls.count - 1 : 0
        let members = [JSONMember("index", .integer(place))] + (call.json.memberList ?? [])
        return choice(index, delta: .object(["tool_calls": .array([.members(members)])]))
    }

    func closingChoice(_ index: Int) -> JSONValue {
        let reason = JSONValue.string((choices[index].finish ?? .stop).rawValue)
        switch shape {
        case .chat: return choice(index, delta: .object([:]), finish: reason)
        case .completion: return choice(index, text: "", finish: reason)
        }
    }

    private func choice(
        _ index: Int, delta: JSONValue? = nil, text: String? = nil, logProbabilities: JSONValue = .null,
        finish: JSONValue = .null, tail: [JSONMember] = []
    ) -> JSONValue {
        var members = [JSONMember("index", .integer(firstChoice + index))]
        if let delta { members.append(JSONMember("delta", delta)) }
        if let text { members.append(JSONMember("text", .string(text))) }
        members.append(JSONMember("logprobs", logProbabilities))
        members.append(JSONMember("finish_reason", finish))
        return .members(members + tail)
    }

    // MARK: Log-probabilities

    private func json(_ tokens: [TokenEvent], textOffset: Int) -> JSONValue {
        switch shape {
        case .chat: .object(["content": .array(tokens.compactMap(\.chatLogProbability)), "refusal": .null])
        case .completion: completionLogProbabilities(tokens, textOffset: textOffset)
        }
    }

    private func completionLogProbabilities(_ tokens: [TokenEvent], textOffset: Int) -> JSONValue {
        var offset = textOffset
        var offsets: [JSONValue] = []
        for token in tokens {
            offsets.append(.integer(offset))
            offset += token.text.unicodeScalars.count
        }
        return .object([
            "tokens": .array(tokens.map { .string($0.chosen?.text ?? $0.text) }),
            "token_logprobs": .array(tokens.map { $0.chosen.map { .double($0.logProbability) } ?? .null }),
            "top_logprobs": .array(
                tokens.map { token in
                    guard token.chosen != nil else { return .null }
                    var seen: Set<String> = []
                    return .members(
                        token.alternatives.filter { seen.insert($0.text).inserted }
                            .map { JSONMember($0.text, .double($0.logProbability)) })
                }),
            "text_offset": .array(offsets),
        ])
    }
}

extension TokenEvent {
    fileprivate var chatLogProbability: JSONValue? {
        guard let chosen else { return nil }
        return .members(
            chosen.members + [JSONMember("top_logprobs", .array(alternatives.map { .members($0.members) }))])
    }
}

extension TokenCandidate {
    var members: [JSONMember] {
        [
            JSONMember("token", .string(text)), JSONMember("logprob", .double(logProbability)),
            JSONMember("bytes", .array(bytes.map(JSONValue.integer))),
        ]
    }
}

extension AnswerSource {
    var json: JSONValue {
        .object([
            "row": .string(row), "datanet": .string(datanet), "datanet_name": .string(datanetName),
            "contributor": .string(contributor), "ppm": .integer(share.value), "text": .string(text),
            "row_id": rowID.map(JSONValue.string) ?? .null, "license": license.map(JSONValue.string) ?? .null,
            "reason": reason.map(JSONValue.string) ?? .null,
        ])
    }
}

extension ReceiptNote {
    var json: JSONValue {
        .object(["id": .string(id), "cost": .string(cost.text), "state": .string(state)])
    }
}
