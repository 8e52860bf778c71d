// OpenAI's request bodies, read into `GenerationRequest`s. What is not supported is refused by name; what is unknown is
// ignored, as their clients expect.

import Primitives

struct OpenAIRequest {
    /// More than one for `/v1/completions` with several prompts only; answered one after the other.
    var generations: [GenerationRequest]
    var isStreamed = false
    var includesUsage = false

    static func chat(_ fields: RequestFields, limits: GatewayLimits) throws(NodeFault) -> OpenAIRequest {
        try refuseUnsupported(fields)
        let items = try fields.required("messages", try fields.list("messages", countMax: limits.messagesMax))
        let messages = try messages(items, limits: limits)
        var request = GenerationRequest(model: try model(fields), prompt: .messages(messages))
        try readShared(fields, into: &request, limits: limits)
        request.tools = try ToolSet(fields, limits: limits)
        if request.tools != nil, request.format != nil {
            throw fields.fault("response_format", "and tools cannot both be given")
        }
        let completionTokensMax = try fields.integer("max_completion_tokens", in: 1...limits.promptTokensMax)
        let tokensMax = try fields.integer("max_tokens", in: 1...limits.promptTokensMax)
        request.tokensMax = completionTokensMax ?? tokensMax
        let alternatives = try fields.integer("top_logprobs", in: 0...limits.logProbabilitiesMax)
        if try fields.flag("logprobs") ?? false {
            request.logProbabilities = alternatives ?? 0
        } else if alternatives != nil {
            throw fields.fault("top_logprobs", "needs \"logprobs\": true")
        }
        return try finished(fields, [request])
    }

    static func completion(_ fields: RequestFields, limits: GatewayLimits) throws(NodeFault) -> OpenAIRequest {
        if fields["suffix"] != nil, fields["suffix"] != .string("") { throw unsupported(fields, "suffix") }
        let model = try model(fields)
        let prompts = try prompts(fields, limits: limits)
        var shared = GenerationRequest(model: model, prompt: .text(""))
        try readShared(fields, into: &shared, limits: limits)
        if let best = try fields.integer("best_of", in: 1...limits.choicesMax), best > shared.choices {
            throw unsupported(fields, "best_of")
        }
        shared.echo = try fields.flag("echo") ?? false
        shared.tokensMax = try fields.integer("max_tokens", in: (shared.echo ? 0 : 1)...limits.promptTokensMax) ?? 16
        shared.logProbabilities = try fields.integer("logprobs", in: 0...limits.logProbabilitiesMax)
        return try finished(
            fields,
            prompts.map { prompt in
                var request = shared
                request.prompt = prompt
                return request
            })
    }

    // MARK: Parts

    private static func finished(
        _ fields: RequestFields, _ generations: [GenerationRequest]
    ) throws(NodeFault) -> OpenAIRequest {
        var request = OpenAIRequest(generations: generations)
        request.isStreamed = try fields.flag("stream") ?? false
        if let options = try fields.fields("stream_options") {
            guard request.isStreamed else { throw fields.fault("stream_options", "needs \"stream\": true") }
            request.includesUsage = try options.flag("include_usage") ?? false
        }
        return request
    }

    /// `model`, with LoRAX's `adapter_id` folded in.
    static func model(_ fields: RequestFields) throws(NodeFault) -> String {
        let model = try fields.name("model")
        guard let adapter = try fields.text("adapter_id", bytesMax: 256), !adapter.isEmpty else { return model }
        guard !model.contains(":") else {
            throw fields.fault("adapter_id", "and an adapter in \"model\" cannot both be given")
        }
        return "\(model):\(adapter)"
    }

    static func readShared(
        _ fields: RequestFields, into request: inout GenerationRequest, limits: GatewayLimits
    ) throws(NodeFault) {
        let defaults = SamplingParameters()
        request.sampling.temperature = try fields.number("temperature", in: 0...2) ?? defaults.temperature
        request.sampling.topP = try fields.number("top_p", in: 0...1) ?? defaults.topP
        request.sampling.topK = try fields.integer("top_k", in: 0...1_000_000) ?? defaults.topK
        request.sampling.minP = try fields.number("min_p", in: 0...1) ?? defaults.minP
        request.sampling.presencePenalty = try fields.number("presence_penalty", in: -2...2) ?? 0
        request.sampling.frequencyPenalty = try fields.number("frequency_penalty", in: -2...2) ?? 0
        request.sampling.repetitionPenalty = try fields.number("repetition_penalty", in: 0.01...10) ?? 1
        request.sampling.seed = try fields.integer("seed", in: .min ... .max).map { UInt64(bitPattern: Int64($0)) }
        if let bias = try fields.fields("logit_bias") {
            for member in bias.object.memberList ?? [] {
                guard let token = UInt32(member.key) else { throw bias.fault(member.key, "must be a token id") }
                request.sampling.logitBias[token] = try bias.number(member.key, in: -100...100)
            }
        }
        request.choices = try fields.integer("n", in: 1...limits.choicesMax) ?? 1
        request.stop = try stops(fields, limits: limits)
        request.ignoreEndOfSequence = try fields.flag("ignore_eos") ?? false
        request.format = try AnswerFormat(openAI: fields, limits: limits)
        request.merge = try AdapterMerge(fields, limits: limits)
        request.datanet = try fields.text("datanet", bytesMax: 256)
        request.peer = try fields.text("peer", bytesMax: 128)
        request.priceMax = try fields.amount("max_price")
    }

    static func stops(_ fields: RequestFields, limits: GatewayLimits) throws(NodeFault) -> [String] {
        if let single = fields["stop"]?.text { return single.isEmpty ? [] : [single] }
        var stops: [String] = []
        for (index, item) in (try fields.list("stop", countMax: limits.stopsMax) ?? []).enumerated() {
            guard let text = item.text, !text.isEmpty, text.utf8.count <= 1_024 else {
                throw fields.fault("stop[\(index)]", "must be a text of 1 to 1024 bytes", code: "invalid_type")
            }
            stops.append(text)
        }
        return stops
    }

    /// - Parameter isOllama: whose calls have no ids, and whose tools answer by name.
    static func messages(
        _ items: [JSONValue], isOllama: Bool = false, limits: GatewayLimits
    ) throws(NodeFault) -> [ChatMessage] {
        guard !items.isEmpty else {
            throw NodeFault(.invalid, "messages must not be empty", param: "messages", code: "missing")
        }
        var messages: [ChatMessage] = []
        for (index, item) in items.enumerated() {
            let fields = try RequestFields(item, path: "messages[\(index)].")
            let role: ChatMessage.Role
            switch try fields.name("role") {
            case "system", "developer": role = .system
            case "user": role = .user
            case "assistant": role = .assistant
            case "tool": role = .tool
            case let other:
                throw fields.fault(
                    "role", "\"\(other.prefix(40))\" is not supported; use system, developer, user, assistant or tool",
                    code: "unsupported_value")
            }
            var message = ChatMessage(role, try content(fields, isOptional: role == .assistant, limits: limits))
            switch role {
            case .assistant: message.toolCalls = try ToolSet.calls(fields, isOllama: isOllama)
            case .tool:
                message.toolCallID = isOllama ? nil : try fields.name("tool_call_id")
                message.name = try fields.text(isOllama ? "tool_name" : "name", bytesMax: 64)
            case .system, .user: break
            }
            messages.append(message)
        }
        return messages
    }

    private static func content(
        _ fields: RequestFields, isOptional: Bool, limits: GatewayLimits
    ) throws(NodeFault) -> String {
        guard let value = fields["content"] else {
            if isOptional { return "" }
            throw fields.fault("content", "is missing", code: "missing")
        }
        if let text = value.text { return text }
        guard let parts = try? fields.list("content", countMax: limits.messagesMax) else {
            throw fields.fault("content", "must be a text or a list of parts", code: "invalid_type")
        }
        var text = ""
        for (index, part) in parts.enumerated() {
            let part = try RequestFields(part, path: "\(fields.path)content[\(index)].")
            let type = try part.name("type")
            guard type == "text" else {
                throw part.fault(
                    "type", "\"\(type.prefix(40))\" is not supported; parts must be text", code: "unsupported_value")
            }
            text += try part.required("text", try part.text("text", bytesMax: limits.jsonBytesMax))
        }
        return text
    }

    private static func prompts(_ fields: RequestFields, limits: GatewayLimits) throws(NodeFault) -> [GenerationPrompt]
    {
        let value = try fields.required("prompt", fields["prompt"])
        if let text = value.text { return [.text(text)] }
        guard let items = value.items, let first = items.first else {
            throw fields.fault(
                "prompt", "must be a text, a list of texts, a list of token ids or a list of such lists",
                code: "invalid_type")
        }
        if case .number = first {
            return [.tokens(try fields.tokens(value, "prompt", countMax: limits.promptTokensMax))]
        }
        guard items.count <= limits.promptsMax else {
            throw fields.fault(
                "prompt", "may have \(limits.promptsMax) prompts; it has \(items.count)", code: "too_long")
        }
        var prompts: [GenerationPrompt] = []
        for (index, item) in items.enumerated() {
            if let text = item.text {
                prompts.append(.text(text))
            } else {
                prompts.append(.tokens(try fields.tokens(item, "prompt[\(index)]", countMax: limits.promptTokensMax)))
            }
        }
        return prompts
    }

    static func unsupported(_ fields: RequestFields, _ key: String) -> NodeFault {
        fields.fault(key, "is not supported by this peer", code: "unsupported_parameter")
    }

    private static func refuseUnsupported(_ fields: RequestFields) throws(NodeFault) {
        if let value = fields["functions"], value != .array([]) { throw unsupported(fields, "functions") }
        if let value = fields["function_call"], value != .string("none"), value != .string("auto") {
            throw unsupported(fields, "function_call")
        }
        for key in ["audio", "prediction", "web_search_options"] where fields[key] != nil {
            throw unsupported(fields, key)
        }
        if let modalities = fields["modalities"], modalities != .strings(["text"]) {
            throw unsupported(fields, "modalities")
        }
    }
}

extension AnswerFormat {
    /// OpenAI's `response_format`, and vLLM's names for the same and for grammars.
    fileprivate init?(openAI fields: RequestFields, limits: GatewayLimits) throws(NodeFault) {
        for key in ["guided_regex", "guided_choice", "structured_outputs"] where fields[key] != nil {
            throw OpenAIRequest.unsupported(fields, key)
        }
        let given = ["response_format", "guided_json", "guided_grammar"].filter { fields[$0] != nil }
        if given.count > 1 { throw fields.fault(given[1], "and \(given[0]) cannot both be given") }
        if let schema = fields["guided_json"] {
            self = .jsonSchema(try Self.schema(schema, fields, "guided_json"))
        } else if let grammar = try fields.text("guided_grammar", bytesMax: limits.grammarBytesMax) {
            self = .grammar(grammar)
        } else if let format = try fields.fields("response_format") {
            switch try format.name("type") {
            case "text": return nil
            case "json_object": self = .jsonObject
            case "json_schema":
                let inner = try format.required("json_schema", try format.fields("json_schema"))
                let schema = try inner.required("schema", inner["schema"])
                self = .jsonSchema(try Self.schema(schema, inner, "schema"))
            case "grammar":
                let text = try format.text("grammar", bytesMax: limits.grammarBytesMax)
                self = .grammar(try format.required("grammar", text))
            case let other:
                throw format.fault(
                    "type", "\"\(other.prefix(40))\" is not supported; use text, json_object or json_schema",
                    code: "unsupported_value")
            }
        } else {
            return nil
        }
    }

    static func schema(_ value: JSONValue, _ fields: RequestFields, _ key: String) throws(NodeFault) -> JSONValue {
        switch value {
        case .members, .bool: return value
        case .string(let text):
            guard let schema = try? JSONValue.parse(text), schema.memberList != nil else {
                throw fields.fault(key, "must be a JSON Schema")
            }
            return schema
        default: throw fields.fault(key, "must be a JSON Schema: an object", code: "invalid_type")
        }
    }
}

extension AdapterMerge {
    init?(_ fields: RequestFields, limits: GatewayLimits) throws(NodeFault) {
        guard let merge = try fields.fields("merged_adapters") else { return nil }
        if fields["adapter_id"] != nil || fields["model"]?.text?.contains(":") == true {
            throw fields.fault("merged_adapters", "and another adapter cannot both be given")
        }
        var adapters: [String] = []
        let ids = try merge.required("ids", try merge.list("ids", countMax: limits.mergedAdaptersMax))
        for (index, id) in ids.enumerated() {
            guard let text = id.text, (1...256).contains(text.utf8.count) else {
                throw merge.fault("ids[\(index)]", "must be the name of an adapter", code: "invalid_type")
            }
            adapters.append(text)
        }
        guard !adapters.isEmpty else { throw merge.fault("ids", "must name at least one adapter", code: "missing") }
        guard Set(adapters).count == adapters.count else { throw merge.fault("ids", "names an adapter twice") }
        var weights = [Double](repeating: 1, count: adapters.count)
        if let given = try merge.list("weights", countMax: limits.mergedAdaptersMax), !given.isEmpty {
            guard given.count == adapters.count else {
                throw merge.fault("weights", "must have \(adapters.count) numbers, one for each of ids")
            }
            for (index, value) in given.enumerated() {
                guard let weight = value.double, abs(weight) <= 16 else {
                    throw merge.fault("weights[\(index)]", "must be a number between -16 and 16", code: "out_of_range")
                }
                weights[index] = weight
            }
        }
        let strategy = try Self.word(merge, "merge_strategy", Strategy.linear)
        let majority = try Self.word(merge, "majority_sign_method", MajoritySign.total)
        var density = try merge.number("density", in: 0...1) ?? 0
        if strategy == .linear {
            density = 1
        } else if density == 0 {
            throw merge.fault("density", "must be above 0, up to 1, for \(strategy.rawValue)", code: "missing")
        }
        self.init(
            adapters: adapters, weights: weights, strategy: strategy, density: density, majoritySign: majority)
    }

    private static func word<Word: RawRepresentable & CaseIterable>(
        _ fields: RequestFields, _ key: String, _ fallback: Word
    ) throws(NodeFault) -> Word where Word.RawValue == String {
        guard let text = try fields.text(key, bytesMax: 64) else { return fallback }
        guard let word = Word(rawValue: text) else {
            let known = Word.allCases.map(\.rawValue).joined(separator: ", ")
            throw fields.fault(key, "\"\(text)\" is not supported; use one of \(known)", code: "unsupported_value")
        }
        return word
    }
}

extension TokenizeRequest {
    init(_ fields: RequestFields, limits: GatewayLimits) throws(NodeFault) {
        let model = try OpenAIRequest.model(fields)
        if let items = try fields.list("messages", countMax: limits.messagesMax) {
            guard fields["prompt"] == nil else { throw fields.fault("prompt", "and messages cannot both be given") }
            let own: Set = ["model", "messages", "add_generation_prompt", "adapter_id"]
            var extras: [String: JSONValue] = [:]
            for member in fields.object.memberList ?? [] where !own.contains(member.key) {
                extras[member.key] = member.value
            }
            let messages = try OpenAIRequest.messages(items, limits: limits)
            let isOpen = try fields.flag("add_generation_prompt") ?? true
            self.init(model: model, input: .messages(messages, addGenerationPrompt: isOpen, extras: extras))
        } else {
            let text = try fields.required("prompt", try fields.text("prompt", bytesMax: limits.jsonBytesMax))
            let addsSpecials = try fields.flag("add_special_tokens") ?? true
            self.init(model: model, input: .text(text, addSpecialTokens: addsSpecials))
        }
    }
}
