// A JSON Schema as grammar rules: one rule for each set of schemas that some value must satisfy, so that recursion in the
// schema is recursion of rules. Members come in the order of the schema, those that are not required may be left out.

package import Primitives

extension Grammar {
    /// Values of a JSON Schema.
    package static func schema(_ schema: JSONValue) throws(GrammarFault) -> Grammar {
        try JSONSchemaRules.check(schema)
        var writer = JSONSchemaRules(schema)
        let root = try writer.root()
        return try writer.rules.builder.finish(root: root)
    }
}

struct JSONSchemaRules {
    private typealias Node = GrammarBuilder.Node

    var rules = JSONRules()
    private var schema: JSONSchema
    private let source: JSONValue
    private var known: [JSONDemands.Meet: GrammarBuilder.Rule] = [:]
    private var waiting: [(meet: JSONDemands.Meet, rule: GrammarBuilder.Rule)] = []

    init(_ source: JSONValue) {
        self.source = source
        schema = JSONSchema(source)
    }

    /// What comes from outside is measured before it is read.
    static func check(_ schema: JSONValue) throws(GrammarFault) {
        var open: [(value: JSONValue, depth: Int)] = [(schema, 0)]
        var values = 0
        while let (value, depth) = open.popLast() {
            values += 1
            guard depth <= GrammarLimit.schemaDepthMax else {
                throw GrammarFault(place: "#", reason: "nests deeper than \(GrammarLimit.schemaDepthMax) levels")
            }
            for item in value.items ?? [] { open.append((item, depth + 1)) }
            for member in value.memberList ?? [] { open.append((member.value, depth + 1)) }
        }
        guard values <= GrammarLimit.schemaValuesMax, schema.serialized().count <= GrammarLimit.sourceBytesMax else {
            throw GrammarFault(
                place: "#",
                reason: "is larger than \(GrammarLimit.sourceBytesMax) bytes or \(GrammarLimit.schemaValuesMax) values")
        }
    }

    mutating func root() throws(GrammarFault) -> GrammarBuilder.Rule {
        let root = try rule(for: [schema.schema(source, at: "#")])
        while let next = waiting.popLast() { try write(next.meet, next.rule) }
        return root
    }

    private mutating func rule(for meet: JSONDemands.Meet) throws(GrammarFault) -> GrammarBuilder.Rule {
        let meet = Array(Set(meet)).sorted().filter { schema.schemas[$0].value != .bool(true) }
        guard let first = meet.first else { return try rules.value() }
        if let rule = known[meet] { return rule }
        let place = schema.schemas[first].place
        rules.builder.place = place
        let rule = try rules.builder.rule(place, place: place)
        known[meet] = rule
        waiting.append((meet, rule))
        return rule
    }

    private mutating func write(_ meet: JSONDemands.Meet, _ rule: GrammarBuilder.Rule) throws(GrammarFault) {
        let start = rules.builder.start(rule), end = rules.builder.end(rule)
        for demands in try schema.shapes(of: meet) {
            rules.builder.place = demands.place
            if let values = demands.values {
                try write(values, demands, start, end)
            } else {
                try write(demands, start, end)
            }
        }
    }

    private func fault(_ demands: JSONDemands, _ reason: String) -> GrammarFault {
        GrammarFault(place: demands.place, reason: reason)
    }

    // MARK: Values by name

    private mutating func write(
        _ values: [JSONValue], _ demands: JSONDemands, _ start: Node, _ end: Node
    ) throws(GrammarFault) {
        if let word = demands.otherWord {
            throw fault(demands, "has \"enum\" or \"const\" together with \"\(word)\"; keep one of them")
        }
        let kinds = demands.effectiveKinds
        var texts: [[UInt8]] = []
        for value in values where kinds.contains(Self.kind(of: value)) {
            switch value {
            case .array, .members: try write(value, start, end)
            default: texts.append(value.serialized())
            }
        }
        if demands.isNullable { texts.append(Array("null".utf8)) }
        try rules.builder.oneOf(start, texts, to: end)
    }

    /// Just this value, with any blanks between its parts.
    private mutating func write(_ value: JSONValue, _ start: Node, _ end: Node) throws(GrammarFault) {
        switch value {
        case .array(let items):
            var at = try rules.open(start, UInt8(ascii: "["))
            for (index, item) in items.enumerated() {
                if index > 0 { at = try rules.mark(at, UInt8(ascii: ",")) }
                let after = try rules.builder.node()
                try write(item, at, after)
                at = after
            }
            try rules.close(at, UInt8(ascii: "]"), to: end)
        case .members(let members):
            var at = try rules.open(start, UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                if index > 0 { at = try rules.mark(at, UInt8(ascii: ",")) }
                let named = try rules.builder.literal(at, JSONValue.string(member.key).serialized())
                let after = try rules.builder.node()
                try write(member.value, try rules.mark(named, UInt8(ascii: ":")), after)
                at = after
            }
            try rules.close(at, UInt8(ascii: "}"), to: end)
        default: try rules.builder.literal(start, value.serialized(), to: end)
        }
    }

    private static func kind(of value: JSONValue) -> JSONKinds {
        switch value {
        case .null: .null
        case .bool: .boolean
        case .number: value.double.map { $0.rounded() == $0 } == true ? .integer : .fraction
        case .string: .string
        case .array: .array
        case .members: .object
        }
    }

    // MARK: Values by kind

    private mutating func write(_ demands: JSONDemands, _ start: Node, _ end: Node) throws(GrammarFault) {
        let kinds = demands.effectiveKinds
        if kinds.contains(.null) { try rules.builder.literal(start, "null".utf8, to: end) }
        if kinds.contains(.boolean) {
            try rules.builder.oneOf(start, [Array("true".utf8), Array("false".utf8)], to: end)
        }
        if kinds.contains(.fraction) {
            if demands.range.isOpen {
                try rules.builder.call(start, try rules.number(), end)
            } else {
                try rules.builder.decimals(demands.range, from: start, to: end)
            }
        } else if kinds.contains(.integer) {
            if demands.range.isOpen {
                try rules.builder.call(start, try rules.integer(), end)
            } else {
                try rules.builder.integers(demands.range, from: start, to: end)
            }
        }
        if kinds.contains(.string) { try writeText(demands, start, end) }
        if kinds.contains(.array) { try writeArray(demands, start, end) }
        if kinds.contains(.object) { try writeObject(demands, start, end) }
    }

    private mutating func writeText(_ demands: JSONDemands, _ start: Node, _ end: Node) throws(GrammarFault) {
        guard demands.pattern != nil || demands.lengthMin > 0 || demands.lengthMax != nil else {
            return try rules.builder.call(start, try rules.string(), end)
        }
        if let most = demands.lengthMax, most < demands.lengthMin { return }
        guard max(demands.lengthMin, demands.lengthMax ?? 0) <= GrammarLimit.repetitionsMax else {
            throw fault(
                demands, "counts more than \(GrammarLimit.repetitionsMax) characters; lower the length")
        }
        let pattern: Pattern =
            if let text = demands.pattern { try PatternParser.parse(text, place: demands.place) } else { .anything }
        let automaton = try CharacterAutomaton(pattern, place: demands.place)
        try rules.string(
            automaton, least: demands.lengthMin, most: demands.lengthMax, from: start, to: end)
    }

    private mutating func writeArray(_ demands: JSONDemands, _ start: Node, _ end: Node) throws(GrammarFault) {
        let prefix = demands.items.map(\.prefix.count).max() ?? 0
        func meet(_ index: Int) -> JSONDemands.Meet {
            demands.items.compactMap { index < $0.prefix.count ? $0.prefix[index] : $0.rest }
        }
        var most = demands.itemsMax
        for index in 0...prefix where schema.isNever(meet(index)) {
            most = min(most ?? .max, index)
            break
        }
        if let most, most < demands.itemsMin { return }
        let last = most ?? max(demands.itemsMin, prefix, 1)
        guard last <= GrammarLimit.repetitionsMax else {
            throw fault(demands, "counts more than \(GrammarLimit.repetitionsMax) items; lower the count")
        }
        let bracket = UInt8(ascii: "]")
        var at = try rules.open(start, UInt8(ascii: "["))
        if demands.itemsMin == 0 { try rules.builder.edge(at, bracket...bracket, end) }
        for index in 0..<last {
            let item = index == 0 ? at : try rules.mark(at, UInt8(ascii: ","))
            let after = try rules.builder.node()
            try rules.builder.call(item, try rule(for: meet(index)), after)
            if index + 1 >= demands.itemsMin { try rules.close(after, bracket, to: end) }
            at = after
        }
        guard most == nil else { return }
        let item = try rules.mark(at, UInt8(ascii: ","))
        try rules.builder.call(item, try rule(for: meet(last)), at)
    }

    // MARK: Objects

    private struct Property {
        let name: String
        let meet: JSONDemands.Meet
        let isRequired: Bool
    }

    private mutating func writeObject(_ demands: JSONDemands, _ start: Node, _ end: Node) throws(GrammarFault) {
        guard let (properties, declared, additional) = members(of: demands) else { return }
        let brace = UInt8(ascii: "}")
        let inside = try rules.open(start, UInt8(ascii: "{"))
        // first[i]: nothing is written yet, the i-th is next; key[i]: after a comma; after[i]: something is written.
        let count = properties.count
        var key: [Node] = [], after: [Node] = []
        for _ in 0...count {
            key.append(try rules.builder.node())
            after.append(try rules.builder.node())
        }
        var isLastRequired = true
        for index in stride(from: count, through: 0, by: -1) {
            // From here on everything may be left out.
            if isLastRequired { try rules.close(after[index], brace, to: end) }
            if index < count || additional != nil {
                try rules.builder.skip(try rules.mark(after[index], UInt8(ascii: ",")), key[index])
            }
            if index > 0, properties[index - 1].isRequired { isLastRequired = false }
        }
        if isLastRequired { try rules.builder.edge(inside, brace...brace, end) }
        try rules.builder.skip(inside, key[0])
        for (index, property) in properties.enumerated() {
            if !property.isRequired { try rules.builder.skip(key[index], key[index + 1]) }
            let named = try rules.builder.literal(key[index], JSONValue.string(property.name).serialized())
            let value = try rules.mark(named, UInt8(ascii: ":"))
            try rules.builder.call(value, try rule(for: property.meet), after[index + 1])
        }
        guard let additional else { return }
        let named = try rules.builder.node()
        try writeOtherKey(than: declared, from: key[count], to: named)
        let value = try rules.mark(named, UInt8(ascii: ":"))
        try rules.builder.call(value, try rule(for: additional), after[count])
    }

    /// The members that an object may have, all names that are spoken of, and the schemas of further members (nil:
    /// none). Nil where no object fits.
    private func members(
        of demands: JSONDemands
    ) -> (properties: [Property], declared: [String], additional: JSONDemands.Meet?)? {
        var names: [String] = [], seen: Set<[UInt8]> = []
        for part in demands.members {
            for property in part.properties where seen.insert(Array(property.name.utf8)).inserted {
                names.append(property.name)
            }
        }
        let isDeclared = !names.isEmpty
        for name in demands.required where seen.insert(Array(name.utf8)).inserted { names.append(name) }
        let required = Set(demands.required.map { Array($0.utf8) })
        var properties: [Property] = []
        for name in names {
            var meet: JSONDemands.Meet = []
            for part in demands.members {
                let own = part.properties.first { $0.name.utf8.elementsEqual(name.utf8) }
                if let schema = own?.schema ?? part.additional { meet.append(schema) }
            }
            let isRequired = required.contains(Array(name.utf8))
            if schema.isNever(meet) {
                if isRequired { return nil }
                continue
            }
            properties.append(Property(name: name, meet: meet, isRequired: isRequired))
        }
        let said = demands.members.compactMap(\.additional)
        let additional: JSONDemands.Meet? = said.isEmpty && isDeclared || schema.isNever(said) ? nil : said
        return (properties, names, additional)
    }

    /// A key that is none of `names`: free once it differs, and without escapes until then.
    private mutating func writeOtherKey(than names: [String], from: Node, to: Node) throws(GrammarFault) {
        let quote: ClosedRange<UInt8> = 0x22...0x22
        guard !names.isEmpty else { return try rules.builder.call(from, try rules.string(), to) }
        let free = try rules.builder.node()
        try rules.builder.edge(free, quote, to)
        try rules.character(free, .all, free)
        // A tree of the names' characters; off it the key is free.
        var nodes: [Node] = [try rules.builder.node()], children: [[UInt32: Int]] = [[:]], isName = [false]
        for name in names {
            var at = 0
            for scalar in name.unicodeScalars {
                if let next = children[at][scalar.value] {
                    at = next
                } else {
                    children[at][scalar.value] = nodes.count
                    at = nodes.count
                    nodes.append(try rules.builder.node())
                    children.append([:])
                    isName.append(false)
                }
            }
            isName[at] = true
        }
        try rules.builder.edge(from, quote, nodes[0])
        let plain = ScalarSet([0x20...0x21, 0x23...0x5b, 0x5d...0x10_ffff])
        for index in nodes.indices {
            if !isName[index] { try rules.builder.edge(nodes[index], quote, to) }
            let taken = children[index].keys.sorted()
            try rules.character(
                nodes[index], plain.subtracting(ScalarSet(taken.map { $0...$0 })), free)
            for scalar in taken {
                guard let child = children[index][scalar] else { continue }
                let set = ScalarSet([scalar...scalar]).intersection(plain)
                if !set.isEmpty { try rules.builder.scalar(nodes[index], set, nodes[child]) }
            }
        }
    }
}
