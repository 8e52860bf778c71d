// From what was asked to the tokens that go in: passages before the question in the form that models learn, the model's
// chat template around the messages, the tokenizer without tokens of its own where the template has written them.

import Attribution
import Inference
import Primitives
import Tokenizers

enum PromptForm: Sendable {
    /// - tools: as the template is given them.
    case messages([Tokenizers.ChatMessage], tools: [JSONValue] = [])
    case text(String)
    case tokens([UInt32])

    /// What is looked up in a datanet: the last thing that the user said.
    var question: String? {
        switch self {
        case .messages(let messages, _): messages.last { $0.role == "user" }?.content
        case .text(let text): text
        case .tokens: nil
        }
    }
}

struct WrittenPrompt: Sendable {
    var tokens: [Int32]
    /// Those that found room.
    var passages: [FoundPassage]
}

enum PromptWriter {
    /// What is kept free for an answer before passages are left out, as a part of the context.
    private static let answerPart = 4

    /// - Parameter answerTokensMax: what the answer may take, where that is known.
    static func write(
        _ form: PromptForm, _ found: Found?, model: LoadedModel, answerTokensMax: Int?
    ) throws(JobFault) -> WrittenPrompt {
        let context = model.config.contextTokens
        let room = min(answerTokensMax ?? .max, max(1, context / answerPart))
        var passages = found?.passages ?? []
        while true {
            let tokens = try tokens(form, passages.map(\.text), model)
            // The last passages fit the question least.
            guard tokens.count + room > context, !passages.isEmpty else {
                guard tokens.count < context || (answerTokensMax == 0 && tokens.count == context) else {
                    throw JobFault(.promptTooLong(tokens: tokens.count, contextTokens: context))
                }
                return WrittenPrompt(tokens: tokens, passages: passages)
            }
            passages.removeLast()
        }
    }

    static func tokens(
        _ form: PromptForm, _ passages: [String], _ model: LoadedModel
    ) throws(JobFault) -> [Int32] {
        if case .tokens(let tokens) = form {
            return try tokens.map { token throws(JobFault) in
                guard let id = Int32(exactly: token) else {
                    throw JobFault(
                        .invalid, "token_out_of_range", "token \(token) is in no vocabulary", parameter: "prompt")
                }
                return id
            }
        }
        guard let tokenizer = model.tokenizer else {
            throw JobFault(.invalid, "tokenizer", "this model has no tokenizer; send token ids", parameter: "prompt")
        }
        switch form {
        case .messages(var messages, let tools):
            if !passages.isEmpty, let last = messages.lastIndex(where: { $0.role == "user" }) {
                messages[last].content = RetrievalPrompt.build(passages: passages, question: messages[last].content)
            }
            return tokenizer.encode(try text(messages, tools, model.template), addSpecial: false)
        case .text(let text):
            return tokenizer.encode(RetrievalPrompt.build(passages: passages, question: text), addSpecial: true)
        case .tokens: return []
        }
    }

    static func text(
        _ messages: [Tokenizers.ChatMessage], _ tools: [JSONValue], _ template: ChatTemplate?
    ) throws(JobFault) -> String {
        guard let template else {
            throw JobFault(.invalid, "template", "this model has no chat template; send a text", parameter: "messages")
        }
        guard template.toolForm != nil || tools.isEmpty else { throw Self.noTools("tools") }
        guard template.toolForm != nil || !messages.contains(where: { $0.role == "tool" || !$0.more.isEmpty }) else {
            throw Self.noTools("messages")
        }
        do {
            return try template.render(messages, tools: tools)
        } catch {
            throw JobFault(.invalid, "template", "the model's chat template refuses: \(error)", parameter: "messages")
        }
    }

    private static func noTools(_ parameter: String) -> JobFault {
        JobFault(
            .invalid, "unsupported_parameter", "this model's chat template takes no tools", parameter: parameter)
    }
}
