// Ollama's request bodies (github.com/ollama/ollama, docs/api.md), read into `GenerationRequest`s. Options that only say how
// Ollama's own runner uses its machine are ignored; options that would change the answer are honoured or refused by name.

import Primitives

struct OllamaRequest: Sendable {
    var generation: GenerationRequest
    var isStreamed: Bool
    /// The model as the client wrote it, which is what it wants to hear back.
    var model: String
    /// Nothing to answer: Ollama's way to ask that a model be loaded or let go.
    var isEmpty = false
    var unloads = false

    static func chat(_ fields: RequestFields, limits: GatewayLimits) throws(NodeFault) -> OllamaRequest {
        let items = try fields.list("messages", countMax: limits.messagesMax) ?? []
        for (index, item) in items.enumerated() {
            if let images = item["images"], images != .array([]), !images.isNull {
                throw fields.fault("messages[\(index)].images", "are not supported", code: "unsupported_parameter")
            }
        }
        let messages = items.isEmpty ? [] : try OpenAIRequest.messages(items, isOllama: true, limits: limits)
        var request = try read(fields, prompt: .messages(messages), isEmpty: messages.isEmpty, limits: limits)
        request.generation.tools = try ToolSet(fields, limits: limits)
        if request.generation.tools != nil, request.generation.format != nil {
            throw fields.fault("format", "and tools cannot both be given")
        }
        return request
    }

    static func generate(_ fields: RequestFields, limits: GatewayLimits) throws(NodeFault) -> OllamaRequest {
        if let images = fields["images"], images != .array([]) { throw OpenAIRequest.unsupported(fields, "images") }
        for key in ["suffix", "template"] where fields[key] != nil && fields[key] != .string("") {
            throw OpenAIRequest.unsupported(fields, key)
        }
        if let context = fields["context"], context != .array([]) {
            throw fields.fault("context", "is not supported; use /api/chat", code: "unsupported_parameter")
        }
        let text = try fields.text("prompt", bytesMax: limits.jsonBytesMax) ?? ""
        let prompt: GenerationPrompt
        if try fields.flag("raw") ?? false {
            prompt = .text(text)
        } else {
            let system = try fields.text("system", bytesMax: limits.jsonBytesMax) ?? ""
            prompt = .messages((system.isEmpty ? [] : [ChatMessage(.system, system)]) + [ChatMessage(.user, text)])
        }
        return try read(fields, prompt: prompt, isEmpty: text.isEmpty, limits: limits)
    }

    private static func read(
        _ fields: RequestFields, prompt: GenerationPrompt, isEmpty: Bool, limits: GatewayLimits
    ) throws(NodeFault) -> OllamaRequest {
        if let think = fields["think"], think != .bool(false) { throw OpenAIRequest.unsupported(fields, "think") }
        let name = try fields.name("model")
        var request = GenerationRequest(model: model(name), prompt: prompt)
        request.format = try format(fields)
        request.datanet = try fields.text("datanet", bytesMax: 256)
        try readOptions(try fields.fields("options"), into: &request, limits: limits)
        let alternatives = try fields.integer("top_logprobs", in: 0...limits.logProbabilitiesMax)
        if try fields.flag("logprobs") ?? false { request.logProbabilities = alternatives ?? 0 }
        return OllamaRequest(
            generation: request, isStreamed: try fields.flag("stream") ?? true, model: name, isEmpty: isEmpty,
            unloads: fields["keep_alive"]?.double == 0)
    }

    /// Ollama's names end in a tag; ours need none.
    static func model(_ name: String) -> String {
        name.hasSuffix(":latest") ? String(name.dropLast(7)) : name
    }

    private static func format(_ fields: RequestFields) throws(NodeFault) -> AnswerFormat? {
        switch fields["format"] {
        case nil, .string(""): return nil
        case .string("json"): return .jsonObject
        case .members?: return fields["format"].map { .jsonSchema($0) }
        default: throw fields.fault("format", "must be \"json\" or a JSON Schema", code: "unsupported_value")
        }
    }

    /// Defaults are Ollama's, but for `repeat_penalty`, which is off: its window of 64 tokens is not ours.
    private static func readOptions(
        _ options: RequestFields?, into request: inout GenerationRequest, limits: GatewayLimits
    ) throws(NodeFault) {
        request.sampling.temperature = 0.8
        request.sampling.topK = 40
        request.sampling.topP = 0.9
        guard let options else { return }
        for (key, off) in [("mirostat", 0.0), ("tfs_z", 1), ("typical_p", 1)] {
            if let value = options[key], value.double != off { throw OpenAIRequest.unsupported(options, key) }
        }
        request.sampling.temperature = try options.number("temperature", in: 0...2) ?? 0.8
        request.sampling.topK = try options.integer("top_k", in: 0...1_000_000) ?? 40
        request.sampling.topP = try options.number("top_p", in: 0...1) ?? 0.9
        request.sampling.minP = try options.number("min_p", in: 0...1) ?? 0
        request.sampling.presencePenalty = try options.number("presence_penalty", in: -2...2) ?? 0
        request.sampling.frequencyPenalty = try options.number("frequency_penalty", in: -2...2) ?? 0
        if try options.integer("repeat_last_n", in: -1...Int(Int32.max)) != 0 {
            request.sampling.repetitionPenalty = try options.number("repeat_penalty", in: 0.01...10) ?? 1
        }
        let seed = try options.integer("seed", in: .min ... .max)
        request.sampling.seed = seed == -1 ? nil : seed.map { UInt64(bitPattern: Int64($0)) }
        let tokensMax = try options.integer("num_predict", in: -2...limits.promptTokensMax) ?? -1
        request.tokensMax = tokensMax > 0 ? tokensMax : nil
        request.stop = try OpenAIRequest.stops(options, limits: limits)
    }
}

extension EmbeddingRequest {
    /// `/api/embed`, and the older `/api/embeddings` with its `prompt`.
    init(ollama fields: RequestFields, key: String, limits: GatewayLimits) throws(NodeFault) {
        self.init(
            model: OllamaRequest.model(try fields.name("model")),
            inputs: try EmbeddingRoutes.inputs(fields, key, limits: limits),
            truncates: try fields.flag("truncate") ?? true)
    }
}
