// How a model writes that it calls a tool. A template that takes `tools` tells the model so, and thereby us: the marks that
// it shows for calls are those that the model was trained to write.

/// The form of tool calls in an answer's text.
package enum ToolForm: String, Hashable, Sendable, CaseIterable {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Qwen, Hermes.
    case tagged
    /// `[TOOL_CALLS][{"name": …, "arguments": {…}}]`, and `[TOOL_CALLS]name{…}`: Mistral.
    case bracketed
    /// `<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>name<｜tool▁sep｜>{…}<｜tool▁call▁end｜>…`: DeepSeek.
    case fenced
    /// The whole answer is `{"name": …, "parameters": {…}}`: LLaMA 3.1 and others without marks.
    case bare

    /// Marks that a tokenizer may count among the special tokens, which text leaves out otherwise.
    package var marks: [String] {
        switch self {
        case .tagged: ["<tool_call>", "</tool_call>"]
        case .bracketed: ["[TOOL_CALLS]", "[ARGS]"]
        case .fenced:
            [
                "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>",
                "<｜tool▁calls▁end｜>",
            ]
        case .bare: []
        }
    }

    /// nil for a template that never reads `tools`.
    init?(template source: String) throws(TemplateFault) {
        guard try Self.readsTools(source) else { return nil }
        self = [.tagged, .bracketed, .fenced].first { source.contains($0.marks[0]) } ?? .bare
    }

    private static func readsTools(_ source: String) throws(TemplateFault) -> Bool {
        for segment in try TemplateLexer.segments(source) {
            switch segment.kind {
            case .text: break
            case .output(let tokens), .block(let tokens):
                for (index, token) in tokens.enumerated() where token.kind == .name("tools") {
                    // `message.tools` is another thing.
                    if index == 0 || tokens[index - 1].kind != .symbol(".") { return true }
                }
            }
        }
        return false
    }
}
