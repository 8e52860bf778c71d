// A model's chat template: messages to the text that the model was trained to continue.

package import ModelFiles
package import Primitives

package struct ChatMessage: Hashable, Sendable {
    package var role: String
    package var content: String

    package init(role: String, content: String) {
        self.role = role
        self.content = content
    }
}

package struct ChatTemplate: Sendable {
    private let body: [Statement]
    private let beginText: String?
    private let endText: String?

    /// Reads chat_template.jinja, where transformers 5 puts it, or tokenizer_config.json, where transformers 4 does;
    /// nil where
    /// neither has one.
    package init?(folder: any ModelFolder) throws(ModelFault) {
        var settings: JSONValue?, source: String?
        if let bytes = folder.bytes(of: "tokenizer_config.json") {
            settings = try parseJSON(bytes, file: "tokenizer_config.json")
            source = settings?["chat_template"]?.text
        }
        var file = "tokenizer_config.json"
        if let bytes = folder.bytes(of: "chat_template.jinja") {
            file = "chat_template.jinja"
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw .malformed(file: file, reason: "is not UTF-8")
            }
            source = text
        }
        guard let source else { return nil }
        func token(_ key: String) -> String? { settings?[key]?.text ?? settings?[key]?["content"]?.text }
        do {
            try self.init(source: source, beginText: token("bos_token"), endText: token("eos_token"))
        } catch {
            throw .unsupported(file: file, feature: "this template (\(error))")
        }
    }

    package init(source: String, beginText: String? = nil, endText: String? = nil) throws(TemplateFault) {
        body = try TemplateParser.parse(source)
        self.beginText = beginText
        self.endText = endText
    }

    package func render(
        _ messages: [ChatMessage], addGenerationPrompt: Bool = true, extra: [JSONMember] = []
    ) throws(TemplateFault) -> String {
        try render(
            messages: messages.map {
                .members([JSONMember("role", .string($0.role)), JSONMember("content", .string($0.content))])
            },
            addGenerationPrompt: addGenerationPrompt, extra: extra)
    }

    /// Messages as objects, for those that carry more than role and content. `extra` becomes variables of the template.
    package func render(
        messages: [JSONValue], addGenerationPrompt: Bool = true, extra: [JSONMember] = []
    ) throws(TemplateFault) -> String {
        var variables: [String: TemplateValue] = [:]
        for member in extra { variables[member.key] = TemplateValue(member.value) }
        variables["messages"] = .list(messages.map(TemplateValue.init))
        variables["add_generation_prompt"] = .bool(addGenerationPrompt)
        if let beginText { variables["bos_token"] = .string(beginText) }
        if let endText { variables["eos_token"] = .string(endText) }
        return try TemplateInterpreter.render(body, variables)
    }
}
