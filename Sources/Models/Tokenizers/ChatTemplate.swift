// A model's chat template: messages to the text that the model was trained to continue.

package import ModelFiles
package import Primitives

package struct ChatMessage: Hashable, Sendable {
    package var role: String
    package var content: String
    /// Further members: tool calls and their like.
    package var more: [JSONMember] = []

    package init(role: String, content: String) {
        self.role = role
        self.content = content
    }
}

package struct ChatTemplate: Sendable {
    private static let settingsFile = "tokenizer_config.json"
    private static let templateFile = "chat_template.jinja"
    private static let tokenKeys = [
        "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
    ]

    private let body: [Statement]
    /// For conversations with tools, where the model names one ("tool_use").
    private let toolBody: [Statement]?
    /// How this model calls tools; nil for a template that takes none.
    package let toolForm: ToolForm?
    /// bos_token and its like, by the names that templates use.
    private let tokens: [String: String]

    /// Reads chat_template.jinja, where transformers 5 puts it, or tokenizer_config.json, where transformers 4 does;
    /// nil where neither has one.
    package init?(folder: any ModelFolder) throws(ModelFault) {
        var settings: JSONValue?
        var sources: (plain: String, tools: String?)?
        if let bytes = folder.bytes(of: Self.settingsFile) {
            let json = try parseJSON(bytes, file: Self.settingsFile)
            sources = Self.sources(json["chat_template"])
            settings = json
        }
        var file = Self.settingsFile
        if let bytes = folder.bytes(of: Self.templateFile) {
            file = Self.templateFile
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw .malformed(file: file, reason: "is not UTF-8")
            }
            sources = (text, nil)
        }
        guard let sources else { return nil }
        var tokens: [String: String] = [:]
        for key in Self.tokenKeys { tokens[key] = settings?[key]?.text ?? settings?[key]?["content"]?.text }
        try self.init(sources, tokens, file: file)
    }

    /// The template of a GGUF file; nil where it has none.
    package init?(metadata: some VocabularyMetadata, file: String) throws(ModelFault) {
        guard let source = metadata.string("tokenizer.chat_template") else { return nil }
        let texts = metadata.strings("tokenizer.ggml.tokens") ?? []
        var tokens: [String: String] = [:]
        for (key, name) in [
            ("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding"),
        ] {
            guard let id = metadata.integer("tokenizer.ggml.\(name)_token_id"), texts.indices.contains(id) else {
                continue
            }
            tokens[key] = String(decoding: texts[id], as: UTF8.self)
        }
        try self.init((source, metadata.string("tokenizer.chat_template.tool_use")), tokens, file: file)
    }

    private init(
        _ sources: (plain: String, tools: String?), _ tokens: [String: String], file: String
    ) throws(ModelFault) {
        do {
            body = try TemplateParser.parse(sources.plain)
            toolBody = try sources.tools.map { source throws(TemplateFault) in try TemplateParser.parse(source) }
            toolForm = try ToolForm(template: sources.tools ?? sources.plain)
        } catch {
            throw .unsupported(file: file, feature: "this template (\(error))")
        }
        self.tokens = tokens
    }

    package init(source: String, beginText: String? = nil, endText: String? = nil) throws(TemplateFault) {
        body = try TemplateParser.parse(source)
        toolBody = nil
        toolForm = try ToolForm(template: source)
        var tokens: [String: String] = [:]
        tokens["bos_token"] = beginText
        tokens["eos_token"] = endText
        self.tokens = tokens
    }

    /// A text, or a list of named ones of which "default" and "tool_use" are known.
    private static func sources(_ json: JSONValue?) -> (plain: String, tools: String?)? {
        if let text = json?.text { return (text, nil) }
        var named: [String: String] = [:]
        for item in json?.items ?? [] {
            if let name = item["name"]?.text, let text = item["template"]?.text { named[name] = text }
        }
        let tools = named["tool_use"]
        return (named["default"] ?? tools).map { ($0, tools) }
    }

    package func render(
        _ messages: [ChatMessage], tools: [JSONValue] = [], addGenerationPrompt: Bool = true, extra: [JSONMember] = []
    ) throws(TemplateFault) -> String {
        try render(
            messages: messages.map { message in
                // A message that only calls has no content.
                let isBare = message.content.isEmpty && message.more.contains { $0.key == "tool_calls" }
                let members = [
                    JSONMember("role", .string(message.role)),
                    JSONMember("content", isBare ? .null : .string(message.content)),
                ]
                return .members(members + message.more)
            }, tools: tools.isEmpty ? nil : tools,
            addGenerationPrompt: addGenerationPrompt, extra: extra)
    }

    /// Messages as objects, for those that carry more than role and content.
    /// - Parameters:
    ///   - extra: becomes variables of the template, over those of the model.
    ///   - now: what `strftime_now` shows, in UTC; a template that asks without one ends in a fault.
    package func render(
        messages: [JSONValue], tools: [JSONValue]? = nil, addGenerationPrompt: Bool = true,
        extra: [JSONMember] = [], now: WallTime? = nil
    ) throws(TemplateFault) -> String {
        var variables: [String: TemplateValue] = [:]
        for (key, text) in tokens { variables[key] = .text(text) }
        variables["documents"] = TemplateValue.none
        variables["tools"] = TemplateValue.none
        for member in extra { variables[member.key] = TemplateValue(member.value) }
        if let tools { variables["tools"] = TemplateValue(.array(tools)) }
        variables["messages"] = TemplateValue(.array(messages))
        variables["add_generation_prompt"] = .bool(addGenerationPrompt)
        let hasTools = variables["tools"]?.isTrue ?? false
        return try TemplateInterpreter.render(hasTools ? toolBody ?? body : body, variables, now: now)
    }
}
