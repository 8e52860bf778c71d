// Tools as OpenAI's clients offer them, the calls that a model makes, and what came of them in the conversation that follows.

package import Primitives

package struct ToolFunction: Sendable, Hashable {
    package var name: String
    /// JSON Schema of its arguments, an object's.
    package var parameters: JSONValue
    /// As the client wrote it: `{"type":"function","function":{…}}`. The template is given this.
    package var json: JSONValue

    package init(name: String, parameters: JSONValue, json: JSONValue) {
        self.name = name
        self.parameters = parameters
        self.json = json
    }
}

package struct ToolSet: Sendable, Hashable {
    package enum Choice: Sendable, Hashable {
        /// The model decides.
        case auto
        /// At least one call, and nothing else.
        case required
        case named(String)
    }

    package var functions: [ToolFunction]
    package var choice: Choice
    /// Whether an answer may make several calls.
    package var isParallel: Bool

    package init(functions: [ToolFunction], choice: Choice = .auto, isParallel: Bool = true) {
        self.functions = functions
        self.choice = choice
        self.isParallel = isParallel
    }
}

package struct ToolCall: Sendable, Hashable {
    /// Nine letters and digits, as the strictest templates want them.
    package var id: String
    package var name: String
    /// A JSON object, as text.
    package var arguments: String

    package init(id: String, name: String, arguments: String) {
        self.id = id
        self.name = name
        self.arguments = arguments
    }
}

extension ToolCall {
    /// As Ollama writes it: without an id, its arguments an object.
    var ollama: JSONValue {
        .object([
            "function": .object([
                "name": .string(name), "arguments": (try? JSONValue.parse(arguments)) ?? .members([]),
            ])
        ])
    }

    var json: JSONValue {
        .object([
            "id": .string(id), "type": .string("function"),
            "function": .object(["name": .string(name), "arguments": .string(arguments)]),
        ])
    }
}

extension ToolSet {
    private static let functionsMax = 128
    private static let callsMax = 128

    /// nil where there are none, or the model is not to use them.
    init?(_ fields: RequestFields, limits: GatewayLimits) throws(NodeFault) {
        let items = try fields.list("tools", countMax: Self.functionsMax) ?? []
        let isParallel = try fields.flag("parallel_tool_calls") ?? true
        var functions: [ToolFunction] = []
        for (index, item) in items.enumerated() {
            functions.append(try Self.function(item, path: "tools[\(index)].", fields))
        }
        guard Set(functions.map(\.name)).count == functions.count else {
            throw fields.fault("tools", "has two of one name")
        }
        guard let choice = try Self.choice(fields, functions) else { return nil }
        guard !functions.isEmpty else { return nil }
        self.init(functions: functions, choice: choice, isParallel: isParallel)
    }

    private static func function(
        _ item: JSONValue, path: String, _ fields: RequestFields
    ) throws(NodeFault) -> ToolFunction {
        let tool = try RequestFields(item, path: path)
        let type = try tool.name("type")
        guard type == "function" else {
            throw tool.fault(
                "type", "\"\(type.prefix(40))\" is not supported; tools are functions", code: "unsupported_value")
        }
        let inner = try tool.required("function", try tool.fields("function"))
        let name = try inner.name("name", bytesMax: 64)
        guard name.utf8.allSatisfy({ $0.isNamePart }) else {
            throw inner.fault("name", "may have letters, digits, \"_\", \"-\" and \".\" only")
        }
        _ = try inner.text("description", bytesMax: 16_384)
        var parameters = inner["parameters"] ?? .members([])
        guard var members = parameters.memberList else {
            throw inner.fault("parameters", "must be a JSON Schema: an object", code: "invalid_type")
        }
        switch parameters["type"]?.text {
        case "object": break
        case nil where parameters["type"] == nil:
            members.insert(JSONMember("type", .string("object")), at: 0)
            parameters = .members(members)
        default: throw inner.fault("parameters", "must be the schema of an object")
        }
        return ToolFunction(name: name, parameters: parameters, json: item)
    }

    /// nil for "none".
    private static func choice(_ fields: RequestFields, _ functions: [ToolFunction]) throws(NodeFault) -> Choice? {
        guard let value = fields["tool_choice"] else { return .auto }
        switch value.text {
        case "auto": return .auto
        case "none": return nil
        case "required":
            guard !functions.isEmpty else { throw fields.fault("tool_choice", "needs tools") }
            return .required
        case let other?:
            throw fields.fault(
                "tool_choice", "\"\(other.prefix(40))\" is not supported; use none, auto, required or a function",
                code: "unsupported_value")
        case nil: break
        }
        let chosen = try fields.required("tool_choice", try fields.fields("tool_choice"))
        guard try chosen.name("type") == "function" else {
            throw chosen.fault("type", "must be \"function\"", code: "unsupported_value")
        }
        let name = try chosen.required("function", try chosen.fields("function")).name("name", bytesMax: 64)
        guard functions.contains(where: { $0.name == name }) else {
            throw chosen.fault("function.name", "\"\(name)\" is none of tools")
        }
        return .named(name)
    }

    /// `tool_calls` of a message of the assistant's.
    static func calls(_ fields: RequestFields, isOllama: Bool) throws(NodeFault) -> [ToolCall] {
        var calls: [ToolCall] = []
        for (index, item) in (try fields.list("tool_calls", countMax: callsMax) ?? []).enumerated() {
            let call = try RequestFields(item, path: "\(fields.path)tool_calls[\(index)].")
            let inner = try call.required("function", try call.fields("function"))
            var value = inner["arguments"] ?? .members([])
            if !isOllama {
                let text = try inner.text("arguments", bytesMax: 1 << 20) ?? ""
                value = (try? JSONValue.parse(text.isEmpty ? "{}" : text)) ?? .null
            }
            guard value.memberList != nil else {
                throw inner.fault("arguments", isOllama ? "must be an object" : "must be a JSON object, as text")
            }
            calls.append(
                ToolCall(
                    id: isOllama ? "" : try call.name("id"), name: try inner.name("name", bytesMax: 64),
                    arguments: String(decoding: value.serialized(), as: UTF8.self)))
        }
        return calls
    }
}

extension UInt8 {
    fileprivate var isNamePart: Bool {
        switch self {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."):
            true
        default: false
        }
    }
}
