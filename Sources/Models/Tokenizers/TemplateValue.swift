// What a chat template computes with. Strings are UTF-8 bytes: Python compares, searches and cuts by code points, where
// Swift's String works by what people see.

import Primitives

indirect enum TemplateValue: Sendable {
    /// With the words that a fault will say.
    case undefined(String)
    case none
    case bool(Bool)
    case integer(Int)
    case float(Double)
    case string([UInt8])
    case list(TemplateList)
    case dictionary(TemplateDictionary)
    /// `namespace()`: an index into the interpreter's cells, since namespaces are shared.
    case namespace(Int)
    case macro(Int)
    /// A method that is named but not called: true, and nothing more.
    case method(String)
    case loop(TemplateLoop)

    init(_ json: JSONValue) {
        switch json {
        case .null: self = .none
        case .bool(let flag): self = .bool(flag)
        case .number(let text):
            let isWhole = !text.utf8.contains { $0 == 0x2e || $0 | 0x20 == 0x65 }
            self = isWhole ? json.integer.map(Self.integer) ?? .float(json.double ?? 0) : .float(json.double ?? 0)
        case .string(let text): self = .string(Array(text.utf8))
        case .array(let items): self = .list(TemplateList(items.map(Self.init)))
        case .members(let members):
            self = .dictionary(
                TemplateDictionary(members.map { TemplateMember(key: Array($0.key.utf8), value: Self($0.value)) }))
        }
    }

    static func text(_ text: String) -> TemplateValue { .string(Array(text.utf8)) }

    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let flag): flag
        case .integer(let value): value != 0
        case .float(let value): value != 0
        case .string(let text): !text.isEmpty
        case .list(let list): !list.items.isEmpty
        case .dictionary(let dictionary): !dictionary.members.isEmpty
        case .namespace, .macro, .method, .loop: true
        }
    }

    /// How deep lists and objects lie in one another here.
    var depth: Int {
        switch self {
        case .list(let list): list.depth
        case .dictionary(let dictionary): dictionary.depth
        case .loop(let loop): loop.items.depth
        default: 0
        }
    }

    var number: Double? {
        switch self {
        case .bool(let flag): flag ? 1 : 0
        case .integer(let value): Double(value)
        case .float(let value): value
        default: nil
        }
    }

    /// As Python names its type.
    var kind: String {
        switch self {
        case .undefined: "undefined"
        case .none: "None"
        case .bool: "bool"
        case .integer: "int"
        case .float: "float"
        case .string: "str"
        case .list(let list): list.isTuple ? "tuple" : "list"
        case .dictionary: "dict"
        case .namespace: "namespace"
        case .macro: "macro"
        case .method: "method"
        case .loop: "loop"
        }
    }
}

struct TemplateList: Sendable {
    let items: [TemplateValue]
    let isTuple: Bool
    let depth: Int

    init(_ items: [TemplateValue], isTuple: Bool = false) {
        self.items = items
        self.isTuple = isTuple
        depth = items.reduce(0) { max($0, $1.depth) } + 1
    }
}

struct TemplateMember: Sendable {
    let key: [UInt8]
    let value: TemplateValue
}

struct TemplateDictionary: Sendable {
    let members: [TemplateMember]
    let depth: Int

    init(_ members: [TemplateMember]) {
        self.members = members
        depth = members.reduce(0) { max($0, $1.value.depth) } + 1
    }

    subscript(key: [UInt8]) -> TemplateValue? { members.first { $0.key == key }?.value }
}

/// The `loop` variable.
struct TemplateLoop: Sendable {
    let items: TemplateList
    let index: Int
    let nesting: Int

    func member(_ name: String) -> TemplateValue? {
        let count = items.items.count
        switch name {
        case "index": return .integer(index + 1)
        case "index0": return .integer(index)
        case "revindex": return .integer(count - index)
        case "revindex0": return .integer(count - index - 1)
        case "first": return .bool(index == 0)
        case "last": return .bool(index == count - 1)
        case "length": return .integer(count)
        case "depth": return .integer(nesting)
        case "depth0": return .integer(nesting - 1)
        case "previtem": return index > 0 ? items.items[index - 1] : .undefined("there is no previous item")
        case "nextitem": return index + 1 < count ? items.items[index + 1] : .undefined("there is no next item")
        case "cycle": return .method(name)
        default: return nil
        }
    }
}
