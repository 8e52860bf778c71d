// From an answer's tokens to tool calls: the marks that text leaves out are put back, the parser says what is a call.

import Decoding
import Gateway
import Primitives
import Tokenizers

/// One choice's.
struct ToolTelling {
    private let form: ToolForm
    private let names: Set<String>
    private let forced: ForcedToolCall?
    private let isParallel: Bool
    private var parser: ToolCallParser
    /// Of a call that must be made: the whole answer.
    private var whole = ""
    private(set) var calls = 0

    init(_ tools: AnswerTools, form: ToolForm) {
        self.form = form
        names = Set(tools.functions.map(\.name))
        forced = ForcedToolCall(tools.choice)
        isParallel = tools.isParallel
        parser = ToolCallParser(form, names: names)
    }

    /// - Parameter id: the token, which may be a mark that the text leaves out.
    mutating func add(_ text: String, _ id: Int32, _ tokenizer: Tokenizer?) -> (text: String, calls: [AnswerCall]) {
        guard forced == nil else {
            whole += text
            return ("", [])
        }
        var text = text
        if let tokenizer, tokenizer.isSpecial(id) {
            let mark = tokenizer.decode([id], skipSpecial: false)
            if form.marks.contains(mark) { text += mark }
        }
        return sorted(parser.add(text))
    }

    mutating func finish() -> (text: String, calls: [AnswerCall]) {
        guard let forced else { return sorted(parser.finish()) }
        // An answer that was cut is no call: it is told as the text that it is.
        return sorted(forced.calls(whole, names: names) ?? [.text(whole)])
    }

    private mutating func sorted(_ pieces: [ToolCallParser.Piece]) -> (text: String, calls: [AnswerCall]) {
        var text = ""
        var found: [AnswerCall] = []
        for piece in pieces {
            switch piece {
            case .text(let more): text += more
            case .call(let name, let arguments):
                guard isParallel || calls == 0 else { continue }
                calls += 1
                found.append(AnswerCall(id: Self.id(), name: name, arguments: arguments))
            }
        }
        return (text, found)
    }

    private static func id() -> String {
        let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
        var random = SystemRandomNumberGenerator()
        return String((0..<9).map { _ in letters[Int.random(in: letters.indices, using: &random)] })
    }
}

extension ForcedToolCall {
    /// nil where the model decides.
    init?(_ choice: AnswerTools.Choice) {
        switch choice {
        case .auto: return nil
        case .required: self = .any
        case .named(let name): self = .named(name)
        }
    }
}

extension Tokenizers.ChatMessage {
    /// With what a template is given of calls: their arguments as objects, as the models' authors write them.
    init(_ message: AnswerMessage) {
        self.init(role: message.role.rawValue, content: message.content)
        if !message.toolCalls.isEmpty {
            let calls = message.toolCalls.map { call in
                JSONValue.object([
                    "id": .string(call.id), "type": .string("function"),
                    "function": .object([
                        "name": .string(call.name), "arguments": (try? JSONValue.parse(call.arguments)) ?? .members([]),
                    ]),
                ])
            }
            more.append(JSONMember("tool_calls", .array(calls)))
        }
        if let id = message.toolCallID { more.append(JSONMember("tool_call_id", .string(id))) }
        if let name = message.name { more.append(JSONMember("name", .string(name))) }
    }
}
