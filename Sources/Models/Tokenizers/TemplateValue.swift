// What a chat template computes with, and the filters, tests and methods that it may use.

import Primitives

indirect enum TemplateValue: Hashable, Sendable {
    case undefined
    case none
    case bool(Bool)
    case integer(Int)
    case float(Double)
    case string(String)
    case list([TemplateValue])
    case dictionary([TemplateMember])
    /// `namespace()`: an index into the interpreter's cells, since namespaces are shared.
    case namespace(Int)

    static let filters: Set<String> = [
        "trim", "upper", "lower", "length", "count", "tojson", "default", "d", "join", "first", "last", "string", "int",
        "list", "items", "safe", "replace", "capitalize",
    ]
    static let tests: Set<String> = [
        "defined", "undefined", "none", "string", "mapping", "sequence", "iterable", "number", "integer", "boolean",
        "true", "false", "even", "odd",
    ]

    init(_ json: JSONValue) {
        switch json {
        case .null: self = .none
        case .bool(let flag): self = .bool(flag)
        case .number: self = json.integer.map(Self.integer) ?? .float(json.double ?? 0)
        case .string(let text): self = .string(text)
        case .array(let items): self = .list(items.map(Self.init))
        case .members(let members):
            self = .dictionary(members.map { TemplateMember(key: $0.key, value: Self($0.value)) })
        }
    }

    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let flag): flag
        case .integer(let value): value != 0
        case .float(let value): value != 0
        case .string(let text): !text.isEmpty
        case .list(let items): !items.isEmpty
        case .dictionary(let members): !members.isEmpty
        case .namespace: true
        }
    }

    var sizeIsBounded: Bool {
        switch self {
        case .string(let text): text.utf8.count <= TemplateLimit.outputBytesMax
        case .list(let items): items.count <= TemplateLimit.elementsMax
        case .dictionary(let members): members.count <= TemplateLimit.elementsMax
        default: true
        }
    }

    /// As `{{ }}` prints it.
    var printed: String {
        switch self {
        case .undefined, .namespace: ""
        case .none: "None"
        case .bool(let flag): flag ? "True" : "False"
        case .integer(let value): "\(value)"
        case .float(let value): "\(value)"
        case .string(let text): text
        case .list(let items): "[" + items.map(\.quoted).joined(separator: ", ") + "]"
        case .dictionary(let members):
            "{" + members.map { "'\($0.key)': " + $0.value.quoted }.joined(separator: ", ") + "}"
        }
    }

    private var quoted: String { if case .string(let text) = self { "'\(text)'" } else { printed } }

    /// As `tojson` writes it: Python's separators, nothing escaped for HTML.
    var json: String {
        switch self {
        case .undefined, .none, .namespace: "null"
        case .bool(let flag): flag ? "true" : "false"
        case .integer, .float: printed
        case .string(let text): JSONValue.string(text).serializedText
        case .list(let items): "[" + items.map(\.json).joined(separator: ", ") + "]"
        case .dictionary(let members):
            "{" + members.map { Self.string($0.key).json + ": " + $0.value.json }.joined(separator: ", ") + "}"
        }
    }

    func member(_ key: String) -> TemplateValue? {
        guard case .dictionary(let members) = self else { return nil }
        return members.first { $0.key == key }?.value
    }

    /// Elements in order: of a list, the keys of a dictionary, the characters of a string.
    var elements: [TemplateValue]? {
        switch self {
        case .list(let items): items
        case .dictionary(let members): members.map { .string($0.key) }
        case .string(let text): text.unicodeScalars.map { .string(String($0)) }
        case .undefined: []
        default: nil
        }
    }

    func passes(_ test: String) -> Bool {
        switch (test, self) {
        case ("undefined", .undefined), ("none", .none), ("string", .string), ("mapping", .dictionary),
            ("boolean", .bool),
            ("number", .integer), ("number", .float), ("integer", .integer), ("true", .bool(true)),
            ("false", .bool(false)),
            ("sequence", .list), ("sequence", .string), ("sequence", .dictionary), ("iterable", .list),
            ("iterable", .string), ("iterable", .dictionary):
            true
        case ("defined", let value): value != .undefined
        case ("even", .integer(let value)): value.isMultiple(of: 2)
        case ("odd", .integer(let value)): !value.isMultiple(of: 2)
        default: false
        }
    }

    func filtered(_ name: String, _ arguments: [TemplateValue]) throws(TemplateFault) -> TemplateValue {
        switch (name, self) {
        case ("safe", _): return self
        case ("string", _): return .string(printed)
        case ("tojson", _): return .string(json)
        case ("default", _), ("d", _):
            let wanted = self == .undefined || (arguments.count > 1 && arguments[1].isTrue && !isTrue)
            return wanted ? arguments.first ?? .string("") : self
        case ("trim", _): return .string(Self.strip(printed, arguments.first, left: true, right: true))
        case ("upper", _): return .string(printed.uppercased())
        case ("lower", _): return .string(printed.lowercased())
        case ("capitalize", _): return .string(printed.prefix(1).uppercased() + printed.dropFirst().lowercased())
        case ("int", .integer): return self
        case ("int", .float(let value)) where abs(value) < 1e15: return .integer(Int(value))
        case ("int", .string(let text)): return .integer(Int(text) ?? 0)
        case ("items", .dictionary(let members)): return .list(members.map { .list([.string($0.key), $0.value]) })
        case ("replace", .string(let text)):
            guard case .string(let from)? = arguments.first, case .string(let to)? = arguments.dropFirst().first,
                text.utf8.count <= TemplateLimit.outputBytesMax / max(1, to.utf8.count)
            else { break }
            return .string(text.replacing(from, with: to))
        case ("length", _), ("count", _), ("join", _), ("first", _), ("last", _), ("list", _):
            guard let elements else { break }
            switch name {
            case "length", "count": return .integer(elements.count)
            case "first": return elements.first ?? .undefined
            case "last": return elements.last ?? .undefined
            case "list": return .list(elements)
            default:
                let separator = arguments.first?.printed.utf8.count ?? 0
                guard elements.count <= TemplateLimit.outputBytesMax / max(1, separator) else { break }
                return .string(elements.map(\.printed).joined(separator: arguments.first?.printed ?? ""))
            }
        default: break
        }
        throw .evaluation("filter \"\(name)\" does not apply to \(json.prefix(40))")
    }

    /// Python's string and dictionary methods.
    func calling(_ method: String, _ arguments: [TemplateValue]) throws(TemplateFault) -> TemplateValue {
        switch (self, method) {
        case (.string(let text), "strip"): return .string(Self.strip(text, arguments.first, left: true, right: true))
        case (.string(let text), "lstrip"): return .string(Self.strip(text, arguments.first, left: true, right: false))
        case (.string(let text), "rstrip"): return .string(Self.strip(text, arguments.first, left: false, right: true))
        case (.string(let text), "upper"): return .string(text.uppercased())
        case (.string(let text), "lower"): return .string(text.lowercased())
        case (.string, "replace"): return try filtered("replace", arguments)
        case (.string(let text), "split"):
            guard let first = arguments.first else {
                return .list(text.split(whereSeparator: \.isWhitespace).map { .string(String($0)) })
            }
            guard case .string(let separator) = first, !separator.isEmpty else { break }
            return .list(text.split(separator: separator, omittingEmptySubsequences: false).map { .string(String($0)) })
        case (.string(let text), "startswith"):
            guard case .string(let other)? = arguments.first else { break }
            return .bool(Array(text.utf8).starts(with: Array(other.utf8)))
        case (.string(let text), "endswith"):
            guard case .string(let other)? = arguments.first else { break }
            return .bool(Array(text.utf8.reversed()).starts(with: Array(other.utf8.reversed())))
        case (.dictionary, "get"):
            guard case .string(let key)? = arguments.first else { break }
            return member(key) ?? arguments.dropFirst().first ?? .none
        case (.dictionary, "items"): return try filtered("items", [])
        case (.dictionary, "keys"): return .list(elements ?? [])
        case (.dictionary(let members), "values"): return .list(members.map(\.value))
        default: break
        }
        throw .unsupported("method \"\(method)\" of \(json.prefix(40))")
    }

    private static func strip(_ text: String, _ characters: TemplateValue?, left: Bool, right: Bool) -> String {
        var scalars = Substring(text).unicodeScalars
        let set: [Unicode.Scalar]? =
            if case .string(let wanted)? = characters { Array(wanted.unicodeScalars) } else { nil }
        func drops(_ scalar: Unicode.Scalar) -> Bool { set?.contains(scalar) ?? scalar.properties.isWhitespace }
        if left { while let first = scalars.first, drops(first) { scalars.removeFirst() } }
        if right { while let last = scalars.last, drops(last) { scalars.removeLast() } }
        return String(scalars)
    }
}

struct TemplateMember: Hashable, Sendable {
    let key: String
    var value: TemplateValue
}
