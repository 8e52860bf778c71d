// Tool calls out of an answer's text as it comes. What is no call of an offered tool in the model's own form stays text; what
// might become a call is held until that is known.
//
//     [text] ──mark──▶ [call, held] ──end mark──▶ call, or the held text after all ──▶ [text]
//
// A form without marks is a call as a whole or not at all: an answer that begins with a brace is held to its end.

package import Primitives
package import Tokenizers

package struct ToolCallParser: Sendable {
    package enum Piece: Hashable, Sendable {
        case text(String)
        /// The arguments are a JSON object, in its shortest writing.
        case call(name: String, arguments: String)
    }

    /// Held for one call or list of calls; a longer one stays text.
    package static let heldBytesMax = 256 << 10
    package static let callsMax = 128

    private enum State {
        case beginning
        case text
        case held
    }

    private let form: ToolForm
    private let names: Set<String>
    private var state: State
    private var pending = ""
    private var calls = 0
    /// Between two calls there are line ends, which are nobody's words.
    private var isAfterCall = false

    package init(_ form: ToolForm, names: Set<String>) {
        self.form = form
        self.names = names
        state = form == .bare ? .beginning : .text
    }

    package mutating func add(_ text: String) -> [Piece] {
        pending += text
        var pieces: [Piece] = []
        while let next = step() { pieces += next }
        return pieces
    }

    package mutating func finish() -> [Piece] {
        defer { pending = "" }
        guard !pending.isEmpty else { return [] }
        guard case .held = state else { return [.text(pending)] }
        return read(pending, isWhole: false) ?? [.text(pending)]
    }

    /// nil where more text is needed.
    private mutating func step() -> [Piece]? {
        guard !pending.isEmpty else { return nil }
        switch state {
        case .beginning:
            guard let first = pending.first(where: { !$0.isWhitespace }) else { return nil }
            state = first == "{" ? .held : .text
            return []
        case .text:
            if isAfterCall {
                pending = String(pending.drop { $0.isNewline })
                guard !pending.isEmpty else { return nil }
                isAfterCall = false
            }
            guard form != .bare else { return take(pending.endIndex) }
            let open = form.marks[0]
            if let range = pending.firstRange(of: open) {
                state = .held
                return take(range.lowerBound)
            }
            // The end may be the beginning of a mark.
            var end = pending.endIndex
            for length in stride(from: min(open.count - 1, pending.count), to: 0, by: -1)
            where open.hasPrefix(pending.suffix(length)) {
                end = pending.index(pending.endIndex, offsetBy: -length)
                break
            }
            return end == pending.startIndex ? nil : take(end)
        case .held:
            guard pending.utf8.count <= Self.heldBytesMax else {
                state = .text
                // Past the mark, or it would be found again.
                return take(pending.endIndex)
            }
            guard let close = closing, let range = pending.firstRange(of: close) else { return nil }
            let held = String(pending[..<range.upperBound])
            pending.removeSubrange(..<range.upperBound)
            state = .text
            let found = read(held, isWhole: true)
            isAfterCall = found != nil
            return found ?? [.text(held)]
        }
    }

    /// nil where a call ends with the answer.
    private var closing: String? {
        switch form {
        case .tagged, .fenced: form.marks.last
        case .bracketed, .bare: nil
        }
    }

    private mutating func take(_ end: String.Index) -> [Piece]? {
        let text = String(pending[..<end])
        pending.removeSubrange(..<end)
        return text.isEmpty ? [] : [.text(text)]
    }

    // MARK: One call, or a list of them

    private mutating func read(_ held: String, isWhole: Bool) -> [Piece]? {
        let found: [Piece]?
        switch form {
        case .tagged:
            var inner = held.dropFirst(form.marks[0].count)
            if isWhole { inner = inner.dropLast(form.marks[1].count) }
            found = object(inner).map { [$0] }
        case .bare: found = object(held[...]).map { [$0] }
        case .bracketed: found = bracketed(held)
        case .fenced: found = fenced(held)
        }
        guard let found, !found.isEmpty, calls + found.count <= Self.callsMax else { return nil }
        calls += found.count
        return found
    }

    private func bracketed(_ held: String) -> [Piece]? {
        let parts = held.split(separator: form.marks[0])
        if parts.count == 1, let list = try? JSONValue.parse(parts[0].trimmed), let items = list.items {
            let calls = items.compactMap(call)
            return calls.count == items.count ? calls : nil
        }
        let calls = parts.compactMap { part -> Piece? in
            let plain = part.replacing(form.marks[1], with: "")
            guard let brace = plain.firstIndex(of: "{") else { return nil }
            return call(plain[..<brace].trimmed, plain[brace...])
        }
        return calls.count == parts.count ? calls : nil
    }

    private func fenced(_ held: String) -> [Piece]? {
        let begin = form.marks[1], separator = form.marks[2], end = form.marks[3]
        let parts = held.split(separator: begin).dropFirst()
        let calls = parts.compactMap { part -> Piece? in
            guard let cut = part.firstRange(of: separator) else { return nil }
            let first = part[..<cut.lowerBound].trimmed
            var rest = part[cut.upperBound...]
            if let close = rest.firstRange(of: end) { rest = rest[..<close.lowerBound] }
            // R1 and V3 write `function`, the name, and the arguments as a fenced block; V3.1 the name and the arguments.
            guard first == "function", let line = rest.firstIndex(where: \.isNewline) else { return call(first, rest) }
            let name = rest[..<line].trimmed
            var block = rest[line...].trimmed
            if block.hasPrefix("```json") { block = String(block.dropFirst(7)) }
            if block.hasSuffix("```") { block = String(block.dropLast(3)) }
            return call(name, block[...])
        }
        return calls.count == parts.count ? calls : nil
    }

    private func object(_ text: Substring) -> Piece? { (try? JSONValue.parse(text.trimmed)).flatMap(call) }

    private func call(_ value: JSONValue) -> Piece? {
        guard let name = value["name"]?.text else { return nil }
        return call(name, value["arguments"] ?? value["parameters"] ?? .members([]))
    }

    private func call(_ name: String, _ arguments: Substring) -> Piece? {
        (try? JSONValue.parse(arguments.trimmed)).flatMap { call(name, $0) }
    }

    private func call(_ name: String, _ arguments: JSONValue) -> Piece? {
        guard names.contains(name), arguments.memberList != nil else { return nil }
        return .call(name: name, arguments: String(decoding: arguments.serialized(), as: UTF8.self))
    }
}

/// A call that must be made: the answer is JSON and nothing else, so that no token can leave the form.
package enum ForcedToolCall: Hashable, Sendable {
    /// The answer is this tool's arguments.
    case named(String)
    /// The answer is a list of calls.
    case any

    /// The JSON Schema that the answer must keep to.
    /// - Parameter tools: each with the schema of its arguments.
    package func schema(_ tools: [(name: String, parameters: JSONValue)], isParallel: Bool) -> JSONValue? {
        switch self {
        case .named(let name): return tools.first { $0.name == name }?.parameters
        case .any:
            // References are from the root: each tool's schema moves below it whole, and its references with it.
            let definitions = tools.enumerated().map { index, tool in
                JSONMember("tool\(index)", Self.moved(tool.parameters, below: "#/$defs/tool\(index)"))
            }
            let calls = tools.enumerated().map { index, tool in
                JSONValue.object([
                    "type": .string("object"),
                    "properties": .members([
                        JSONMember("name", .object(["const": .string(tool.name)])),
                        JSONMember("arguments", .object(["$ref": .string("#/$defs/tool\(index)")])),
                    ]), "required": .strings(["name", "arguments"]), "additionalProperties": .bool(false),
                ])
            }
            return .object([
                "$defs": .members(definitions), "type": .string("array"), "items": .object(["anyOf": .array(calls)]),
                "minItems": .integer(1), "maxItems": .integer(isParallel ? ToolCallParser.callsMax / 8 : 1),
            ])
        }
    }

    private static func moved(_ schema: JSONValue, below root: String) -> JSONValue {
        switch schema {
        case .members(let members):
            .members(
                members.map { member in
                    if member.key == "$ref", case .string(let place) = member.value, place.hasPrefix("#") {
                        return JSONMember("$ref", .string(root + place.dropFirst()))
                    }
                    return JSONMember(member.key, moved(member.value, below: root))
                })
        case .array(let items): .array(items.map { moved($0, below: root) })
        default: schema
        }
    }

    /// The calls of a whole answer; nil where it is not whole.
    package func calls(_ text: String, names: Set<String>) -> [ToolCallParser.Piece]? {
        guard let value = try? JSONValue.parse(text) else { return nil }
        func piece(_ name: String?, _ arguments: JSONValue?) -> ToolCallParser.Piece? {
            guard let name, names.contains(name), let arguments, arguments.memberList != nil else { return nil }
            return .call(name: name, arguments: String(decoding: arguments.serialized(), as: UTF8.self))
        }
        switch self {
        case .named(let name): return piece(name, value).map { [$0] }
        case .any:
            guard let items = value.items else { return nil }
            let calls = items.compactMap { piece($0["name"]?.text, $0["arguments"]) }
            return calls.count == items.count && !calls.isEmpty ? calls : nil
        }
    }
}

extension StringProtocol {
    fileprivate var trimmed: String {
        var text = self[...]
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return String(text.drop { $0.isWhitespace })
    }
}
