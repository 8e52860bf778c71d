// Reads a JSON Schema (2020-12, the part that OpenAI's structured outputs use and some more) into shapes that can be
// written down as rules. Where several schemas apply to one value ($ref with siblings, allOf) their demands are joined;
// where one of several may apply (anyOf, oneOf) there is a shape for each. What is not understood is refused by name and
// place: leaving out a demand would let answers through that the schema forbids.
//
// Narrower than the standard, on purpose: an object with "properties" and without "additionalProperties" takes no others;
// a schema without "type" takes only the types that its other words speak of; oneOf is read as anyOf.

import Primitives

/// Which kinds of value.
struct JSONKinds: OptionSet, Hashable {
    let rawValue: UInt8

    static let null = JSONKinds(rawValue: 1)
    static let boolean = JSONKinds(rawValue: 2)
    static let integer = JSONKinds(rawValue: 4)
    /// Numbers that are not whole.
    static let fraction = JSONKinds(rawValue: 8)
    static let string = JSONKinds(rawValue: 16)
    static let array = JSONKinds(rawValue: 32)
    static let object = JSONKinds(rawValue: 64)
    static let number: JSONKinds = [.integer, .fraction]
    static let all = JSONKinds(rawValue: 127)

    static let named: [String: JSONKinds] = [
        "null": .null, "boolean": .boolean, "integer": .integer, "number": .number, "string": .string,
        "array": .array, "object": .object,
    ]
}

/// All that is demanded of one value. A `Meet` names the schemas that a part must satisfy; none is any value.
struct JSONDemands {
    typealias Meet = [Int]

    struct Members {
        var properties: [(name: String, schema: Int)] = []
        /// Nil where it is not said.
        var additional: Int?
    }

    struct Items {
        var prefix: [Int] = []
        var rest: Int?
    }

    let place: String
    var kinds = JSONKinds.all
    var isTyped = false
    /// The kinds that the other words speak of.
    var spokenOf: JSONKinds = []
    var isNullable = false
    var values: [JSONValue]?
    /// A word that cannot stand beside "enum".
    var otherWord: String?
    var lengthMin = 0
    var lengthMax: Int?
    var pattern: String?
    var range = NumberRange()
    var wholeOnly = false
    var items: [Items] = []
    var itemsMin = 0
    var itemsMax: Int?
    var members: [Members] = []
    var required: [String] = []

    /// The kinds that are left.
    var effectiveKinds: JSONKinds {
        var kinds = kinds
        if !isTyped, values == nil, !spokenOf.isEmpty { kinds = spokenOf }
        if wholeOnly { kinds.remove(.fraction) }
        if isNullable { kinds.insert(.null) }
        return kinds
    }
}

struct JSONSchema {
    static let shapesMax = 512
    private static let annotations: Set<String> = [
        "title", "description", "default", "example", "examples", "$schema", "$id", "$comment", "deprecated",
        "readOnly",
        "writeOnly", "$defs", "definitions", "discriminator", "contentMediaType", "contentEncoding",
    ]
    private static let supported =
        "type, enum, const, properties, required, additionalProperties, items, prefixItems, minItems, maxItems, "
        + "minLength, maxLength, pattern, format, minimum, maximum, exclusiveMinimum, exclusiveMaximum, anyOf, oneOf, "
        + "allOf, $ref, $defs"

    private let root: JSONValue
    private(set) var schemas: [(value: JSONValue, place: String)] = []
    private var names: [String: Int] = [:]
    private var enumerated = 0

    init(_ root: JSONValue) { self.root = root }

    mutating func schema(_ value: JSONValue, at place: String) -> Int {
        if let known = names[place] { return known }
        names[place] = schemas.count
        schemas.append((value, place))
        return schemas.count - 1
    }

    private func fault(_ place: String, _ reason: String) -> GrammarFault {
        GrammarFault(place: place, reason: reason)
    }

    static func escape(_ key: String) -> String {
        var text = ""
        for character in key.unicodeScalars {
            switch character {
            case "~": text += "~0"
            case "/": text += "~1"
            default: text.unicodeScalars.append(character)
            }
        }
        return text
    }

    /// Whether a schema takes nothing at all.
    func isNever(_ meet: JSONDemands.Meet) -> Bool { meet.contains { schemas[$0].value == .bool(false) } }

    // MARK: Shapes

    /// The alternatives that a value may follow to satisfy all schemas of `meet`.
    mutating func shapes(of meet: JSONDemands.Meet) throws(GrammarFault) -> [JSONDemands] {
        let place = meet.first.map { schemas[$0].place } ?? "#"
        var done: [JSONDemands] = []
        var open = [Pending(demands: JSONDemands(place: place), waiting: meet.map { Waiting(schema: $0, path: []) })]
        while var pending = open.popLast() {
            guard let next = pending.waiting.popLast() else {
                done.append(pending.demands)
                guard done.count <= Self.shapesMax else {
                    throw fault(place, "combines more than \(Self.shapesMax) alternatives; use fewer")
                }
                continue
            }
            let (value, place) = schemas[next.schema]
            guard !next.path.contains(next.schema) else {
                throw fault(place, "refers to itself without going deeper, so it says nothing")
            }
            guard pending.seen.insert(next.schema).inserted else {
                open.append(pending)
                continue
            }
            if value == .bool(true) {
                open.append(pending)
                continue
            }
            if value == .bool(false) { continue }
            guard let words = value.memberList else { throw fault(place, "must be an object, true or false") }
            guard open.count <= Self.shapesMax else {
                throw fault(place, "combines more than \(Self.shapesMax) alternatives; use fewer")
            }
            let path = next.path + [next.schema]
            var branches: [[Int]] = []
            for word in words {
                let at = "\(place)/\(Self.escape(word.key))"
                switch word.key {
                case "$ref":
                    pending.waiting.append(Waiting(schema: try resolve(word.value, at), path: path))
                case "allOf":
                    for schema in try list(word.value, at) {
                        pending.waiting.append(Waiting(schema: schema, path: path))
                    }
                case "anyOf", "oneOf": branches.append(try list(word.value, at))
                default: try read(word.key, word.value, at, &pending.demands)
                }
            }
            try readParts(value, place, &pending.demands)
            var combined = [pending]
            for choices in branches {
                var next: [Pending] = []
                for base in combined {
                    for choice in choices {
                        var copy = base
                        copy.waiting.append(Waiting(schema: choice, path: path))
                        next.append(copy)
                    }
                }
                guard next.count <= Self.shapesMax else {
                    throw fault(place, "combines more than \(Self.shapesMax) alternatives; use fewer")
                }
                combined = next
            }
            open += combined
        }
        return done.reversed()
    }

    private struct Waiting {
        let schema: Int
        /// The schemas whose words led here for this very value.
        let path: [Int]
    }

    private struct Pending {
        var demands: JSONDemands
        var waiting: [Waiting]
        var seen: Set<Int> = []
    }

    private mutating func list(_ value: JSONValue, _ place: String) throws(GrammarFault) -> [Int] {
        guard let items = value.items, !items.isEmpty else { throw fault(place, "must be a list of schemas") }
        var schemas: [Int] = []
        for (index, item) in items.enumerated() { schemas.append(schema(item, at: "\(place)/\(index)")) }
        return schemas
    }

    private mutating func resolve(_ value: JSONValue, _ place: String) throws(GrammarFault) -> Int {
        guard let text = value.text else { throw fault(place, "must be a text") }
        guard text.utf8.first == UInt8(ascii: "#") else {
            throw fault(place, "refers to \"\(text.prefix(80))\"; only places in this schema (#/$defs/…) can be used")
        }
        var target = root, at = "#"
        for part in text.dropFirst().split(separator: "/", omittingEmptySubsequences: true) {
            let key = Self.unescape(part)
            at += "/\(Self.escape(key))"
            if let member = target[key] {
                target = member
            } else if let index = Int(key), let items = target.items, items.indices.contains(index) {
                target = items[index]
            } else {
                throw fault(place, "refers to \"\(text.prefix(80))\", which is not in this schema")
            }
        }
        return schema(target, at: at)
    }

    /// ~1, ~0 and percent escapes of a pointer in a URI fragment.
    private static func unescape(_ part: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(part.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), rest.count >= 2,
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else if byte == UInt8(ascii: "~"), let next = rest.first, next == 0x30 || next == 0x31 {
                bytes.append(next == 0x30 ? UInt8(ascii: "~") : UInt8(ascii: "/"))
                rest = rest.dropFirst()
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    // MARK: Words

    private mutating func read(
        _ word: String, _ value: JSONValue, _ at: String, _ demands: inout JSONDemands
    ) throws(GrammarFault) {
        if Self.annotations.contains(word) || word.hasPrefix("x-") { return }
        switch word {
        case "type": try readType(value, at, &demands)
        case "nullable": if value.flag == true { demands.isNullable = true }
        case "enum":
            guard let values = value.items, !values.isEmpty else { throw fault(at, "must be a list of values") }
            try readValues(values, at, &demands)
        case "const": try readValues([value], at, &demands)
        case "minLength", "maxLength", "pattern", "format":
            demands.spokenOf.insert(.string)
            demands.otherWord = word
            try readText(word, value, at, &demands)
        case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf":
            demands.spokenOf.formUnion(.number)
            demands.otherWord = word
            try readNumber(word, value, at, &demands)
        case "items", "prefixItems", "minItems", "maxItems":
            demands.spokenOf.insert(.array)
            demands.otherWord = word
            if word == "minItems" { demands.itemsMin = max(demands.itemsMin, try count(value, at)) }
            if word == "maxItems" { demands.itemsMax = min(demands.itemsMax ?? .max, try count(value, at)) }
        case "properties", "required", "additionalProperties":
            demands.spokenOf.insert(.object)
            demands.otherWord = word
        case "uniqueItems" where value == .bool(false): return
        case "minProperties" where value.integer == 0: return
        default:
            throw fault(at, "\"\(word)\" is not supported; leave it out, or say it with: \(Self.supported)")
        }
    }

    private func readType(_ value: JSONValue, _ at: String, _ demands: inout JSONDemands) throws(GrammarFault) {
        var kinds: JSONKinds = []
        for item in value.items ?? [value] {
            guard let name = item.text, let kind = JSONKinds.named[name] else {
                throw fault(at, "must be one or a list of \(JSONKinds.named.keys.sorted().joined(separator: ", "))")
            }
            kinds.formUnion(kind)
        }
        demands.kinds.formIntersection(kinds)
        demands.isTyped = true
    }

    private mutating func readValues(
        _ values: [JSONValue], _ at: String, _ demands: inout JSONDemands
    ) throws(GrammarFault) {
        enumerated += values.count
        guard enumerated <= GrammarLimit.enumerationMax else {
            throw fault(at, "brings the enumerated values to more than \(GrammarLimit.enumerationMax)")
        }
        if let before = demands.values {
            let known = Set(before.map(Self.canonical))
            demands.values = values.filter { known.contains(Self.canonical($0)) }
        } else {
            demands.values = values
        }
    }

    /// Equal for equal JSON values: numbers by value, objects whatever the order.
    private static func canonical(_ value: JSONValue) -> JSONValue {
        switch value {
        case .number(let text): value.double.map { .double($0) } ?? .number(text)
        case .array(let items): .array(items.map(canonical))
        case .members(let members):
            .members(
                members.map { JSONMember($0.key, canonical($0.value)) }
                    .sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) })
        default: value
        }
    }

    private func count(_ value: JSONValue, _ at: String) throws(GrammarFault) -> Int {
        guard let count = value.integer, count >= 0 else { throw fault(at, "must be a whole number from 0 on") }
        return min(count, 1 << 40)
    }

    private func readText(
        _ word: String, _ value: JSONValue, _ at: String, _ demands: inout JSONDemands
    ) throws(GrammarFault) {
        switch word {
        case "minLength": demands.lengthMin = max(demands.lengthMin, try count(value, at))
        case "maxLength": demands.lengthMax = min(demands.lengthMax ?? .max, try count(value, at))
        default:
            guard let text = value.text else { throw fault(at, "must be a text") }
            var expression = text
            if word == "format" {
                guard let known = StringFormats.expression(text) else {
                    throw fault(
                        at,
                        "the format \"\(text.prefix(40))\" is not supported; known are "
                            + StringFormats.names.joined(separator: ", ") + ", or give a pattern")
                }
                expression = known
            }
            guard demands.pattern == nil || demands.pattern == expression else {
                throw fault(at, "is a second pattern or format for one text; say both in one pattern")
            }
            demands.pattern = expression
        }
    }

    private func readNumber(
        _ word: String, _ value: JSONValue, _ at: String, _ demands: inout JSONDemands
    ) throws(GrammarFault) {
        guard case .number(let text) = value else { throw fault(at, "must be a number") }
        if word == "multipleOf" {
            guard value.integer == 1 else { throw fault(at, "is supported for 1 only (whole numbers)") }
            demands.wholeOnly = true
            return
        }
        guard let bound = Decimal(text) else {
            throw fault(at, "must be a bound of at most \(Decimal.digitsMax) decimal digits")
        }
        switch word {
        case "minimum": demands.range.raise(Bound(value: bound, isExclusive: false))
        case "exclusiveMinimum": demands.range.raise(Bound(value: bound, isExclusive: true))
        case "maximum": demands.range.lower(Bound(value: bound, isExclusive: false))
        default: demands.range.lower(Bound(value: bound, isExclusive: true))
        }
    }

    /// The words that only mean something together: those of objects, and those of arrays.
    private mutating func readParts(
        _ schema: JSONValue, _ place: String, _ demands: inout JSONDemands
    ) throws(GrammarFault) {
        if schema["properties"] != nil || schema["additionalProperties"] != nil {
            var members = JSONDemands.Members()
            if let properties = schema["properties"] {
                guard let list = properties.memberList else {
                    throw fault("\(place)/properties", "must be an object of schemas")
                }
                for member in list {
                    let at = "\(place)/properties/\(Self.escape(member.key))"
                    members.properties.append((member.key, self.schema(member.value, at: at)))
                }
            }
            if let additional = schema["additionalProperties"] {
                members.additional = self.schema(additional, at: "\(place)/additionalProperties")
            }
            demands.members.append(members)
        }
        if schema["items"] != nil || schema["prefixItems"] != nil {
            var items = JSONDemands.Items()
            if let prefix = schema["prefixItems"] { items.prefix = try list(prefix, "\(place)/prefixItems") }
            if let rest = schema["items"] {
                guard rest.items == nil else {
                    throw fault("\(place)/items", "must be one schema for all items; a list is named prefixItems now")
                }
                items.rest = self.schema(rest, at: "\(place)/items")
            }
            demands.items.append(items)
        }
        if let required = schema["required"] {
            guard let names = required.items else { throw fault("\(place)/required", "must be a list of names") }
            var known = Set(demands.required.map { Array($0.utf8) })
            for item in names {
                guard let name = item.text else { throw fault("\(place)/required", "must be a list of names") }
                if known.insert(Array(name.utf8)).inserted { demands.required.append(name) }
            }
        }
    }
}
