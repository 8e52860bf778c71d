// The rules of JSON itself (RFC 8259): text, numbers, any value. Blanks between tokens are at most one space, or a line
// break and up to 32 spaces, so that a model cannot go on writing blanks for ever. Numbers have at most 16 digits before and
// after the point and an exponent of two, so that every reader holds them.

struct JSONRules {
    private static let controls = ScalarSet([0...0x1f])
    private static let escaped = ScalarSet([0...0x1f, 0x22...0x22, 0x5c...0x5c])
    static let indentMax = 32

    var builder = GrammarBuilder()
    private var shared: [String: GrammarBuilder.Rule] = [:]

    /// A rule that is made once.
    mutating func rule(
        _ name: String, _ fill: (inout Self, GrammarBuilder.Node, GrammarBuilder.Node) throws(GrammarFault) -> Void
    ) throws(GrammarFault) -> GrammarBuilder.Rule {
        if let known = shared[name] { return known }
        let rule = try builder.rule(name, place: "")
        shared[name] = rule
        try fill(&self, builder.start(rule), builder.end(rule))
        return rule
    }

    mutating func blanks() throws(GrammarFault) -> GrammarBuilder.Rule {
        try rule("blanks") { (rules, start, end) throws(GrammarFault) in
            try rules.builder.skip(start, end)
            try rules.builder.edge(start, 0x20...0x20, end)
            var at = try rules.builder.node()
            try rules.builder.edge(start, 0x0a...0x0a, at)
            for _ in 0..<Self.indentMax {
                try rules.builder.skip(at, end)
                let next = try rules.builder.node()
                try rules.builder.edge(at, 0x20...0x20, next)
                at = next
            }
            try rules.builder.skip(at, end)
        }
    }

    /// Blanks, a punctuation mark, blanks; answers where that ends.
    mutating func mark(_ from: GrammarBuilder.Node, _ mark: UInt8) throws(GrammarFault) -> GrammarBuilder.Node {
        let blanks = try blanks()
        let before = try builder.node(), after = try builder.node(), end = try builder.node()
        try builder.call(from, blanks, before)
        try builder.edge(before, mark...mark, after)
        try builder.call(after, blanks, end)
        return end
    }

    /// An opening bracket and blanks; answers where that ends.
    mutating func open(_ from: GrammarBuilder.Node, _ mark: UInt8) throws(GrammarFault) -> GrammarBuilder.Node {
        let after = try builder.node(), end = try builder.node()
        try builder.edge(from, mark...mark, after)
        try builder.call(after, try blanks(), end)
        return end
    }

    /// Blanks and a closing bracket.
    mutating func close(
        _ from: GrammarBuilder.Node, _ mark: UInt8, to end: GrammarBuilder.Node
    ) throws(GrammarFault) {
        let before = try builder.node()
        try builder.call(from, try blanks(), before)
        try builder.edge(before, mark...mark, end)
    }

    // MARK: Text

    mutating func string() throws(GrammarFault) -> GrammarBuilder.Rule {
        try rule("string") { (rules, start, end) throws(GrammarFault) in
            let inside = try rules.builder.node()
            try rules.builder.edge(start, 0x22...0x22, inside)
            try rules.character(inside, .all, inside)
            try rules.builder.edge(inside, 0x22...0x22, end)
        }
    }

    /// One character of a text. Where it is any character, in any spelling; else in the usual one, so that what a
    /// pattern says of characters is what the reader of the JSON will see.
    mutating func character(
        _ from: GrammarBuilder.Node, _ set: ScalarSet, _ to: GrammarBuilder.Node
    ) throws(GrammarFault) {
        try builder.scalar(from, set.subtracting(Self.escaped), to)
        if set == .all { return try anyEscape(from, to) }
        var spellings: [[UInt8]] = []
        let short: [UInt32: Character] = [
            0x22: "\"", 0x5c: "\\", 0x08: "b", 0x0c: "f", 0x0a: "n", 0x0d: "r", 0x09: "t",
        ]
        for range in set.intersection(Self.escaped).ranges {
            for scalar in range {
                if let letter = short[scalar] {
                    spellings.append(Array("\\\(letter)".utf8))
                } else {
                    let digits = String(scalar, radix: 16)
                    let padding = String(repeating: "0", count: max(0, 4 - digits.count))
                    spellings.append(Array("\\u\(padding)\(digits)".utf8))
                }
            }
        }
        try builder.oneOf(from, spellings, to: to)
    }

    private mutating func anyEscape(
        _ from: GrammarBuilder.Node, _ to: GrammarBuilder.Node
    ) throws(GrammarFault) {
        let kind = try builder.node()
        try builder.edge(from, 0x5c...0x5c, kind)
        for letter in "\"\\/bfnrt".utf8 { try builder.edge(kind, letter...letter, to) }
        let unit = try builder.node()
        try builder.edge(kind, 0x75...0x75, unit)
        let last = try builder.node(), third = try builder.node(), second = try builder.node()
        try hexadecimal(last, 0...15, to)
        try hexadecimal(third, 0...15, last)
        try hexadecimal(second, 0...15, third)
        try hexadecimal(unit, 0...12, second)
        try hexadecimal(unit, 14...15, second)
        // d000 to d7ff are characters; d800 to dbff need their other half.
        let plane = try builder.node(), high = try builder.node(), highLast = try builder.node()
        try hexadecimal(unit, 13...13, plane)
        try hexadecimal(plane, 0...7, third)
        try hexadecimal(plane, 8...11, high)
        try hexadecimal(high, 0...15, highLast)
        let half = try builder.node()
        try hexadecimal(highLast, 0...15, half)
        let backslash = try builder.node(), low = try builder.node(), lowKind = try builder.node()
        try builder.edge(half, 0x5c...0x5c, backslash)
        try builder.edge(backslash, 0x75...0x75, low)
        try hexadecimal(low, 13...13, lowKind)
        try hexadecimal(lowKind, 12...15, third)
    }

    private mutating func hexadecimal(
        _ from: GrammarBuilder.Node, _ values: ClosedRange<UInt8>, _ to: GrammarBuilder.Node
    ) throws(GrammarFault) {
        let low = values.lowerBound, high = values.upperBound
        if low <= 9 { try builder.edge(from, 0x30 + low...0x30 + min(high, 9), to) }
        guard high >= 10 else { return }
        let first = max(low, 10) - 10, last = high - 10
        try builder.edge(from, 0x61 + first...0x61 + last, to)
        try builder.edge(from, 0x41 + first...0x41 + last, to)
    }

    /// A text of `least` to `most` characters that an automaton takes, quotes included.
    mutating func string(
        _ automaton: CharacterAutomaton, least: Int, most: Int?, from: GrammarBuilder.Node, to: GrammarBuilder.Node
    ) throws(GrammarFault) {
        let width = automaton.edges.count
        let layers = most ?? least
        guard layers <= GrammarLimit.repetitionsMax else {
            throw GrammarFault(
                place: builder.place,
                reason: "counts more than \(GrammarLimit.repetitionsMax) characters; lower the length")
        }
        let inside = Int(try builder.node())
        for _ in 1..<(layers + 1) * width { _ = try builder.node() }
        func node(_ layer: Int, _ state: Int) -> GrammarBuilder.Node {
            GrammarBuilder.Node(truncatingIfNeeded: inside + layer * width + state)
        }
        try builder.edge(from, 0x22...0x22, node(0, 0))
        for layer in 0...layers {
            let helpers = builder.states.count
            for (state, edges) in automaton.edges.enumerated() where layer < layers || most == nil {
                let next = min(layer + 1, layers)
                for edge in edges { try character(node(layer, state), edge.set, node(next, edge.target)) }
            }
            let room = layer < least ? least - layer : (most ?? layer) - layer
            for state in 0..<width {
                builder.setCopies(node(layer, state), room: room, stride: width)
                if layer >= least, automaton.isFinal[state] {
                    try builder.edge(node(layer, state), 0x22...0x22, to)
                }
            }
            let added = builder.states.count - helpers
            for helper in helpers..<builder.states.count {
                builder.setCopies(GrammarBuilder.Node(truncatingIfNeeded: helper), room: room, stride: added)
            }
        }
    }

    // MARK: Numbers

    mutating func integer() throws(GrammarFault) -> GrammarBuilder.Rule {
        try rule("integer") { (rules, start, end) throws(GrammarFault) in
            let unsigned = try rules.builder.node()
            try rules.builder.skip(start, unsigned)
            try rules.builder.edge(start, 0x2d...0x2d, unsigned)
            try rules.builder.edge(unsigned, 0x30...0x30, end)
            let first = try rules.builder.node()
            try rules.builder.edge(unsigned, 0x31...0x39, first)
            try rules.digits(first, 0, 15, end)
        }
    }

    mutating func number() throws(GrammarFault) -> GrammarBuilder.Rule {
        let integer = try integer()
        return try rule("number") { (rules, start, end) throws(GrammarFault) in
            let whole = try rules.builder.node(), point = try rules.builder.node(), scaled = try rules.builder.node()
            try rules.builder.call(start, integer, whole)
            try rules.builder.skip(whole, scaled)
            try rules.builder.edge(whole, 0x2e...0x2e, point)
            try rules.digits(point, 1, 16, scaled)
            try rules.builder.skip(scaled, end)
            let sign = try rules.builder.node(), exponent = try rules.builder.node()
            for letter in "eE".utf8 { try rules.builder.edge(scaled, letter...letter, sign) }
            try rules.builder.skip(sign, exponent)
            for mark in "+-".utf8 { try rules.builder.edge(sign, mark...mark, exponent) }
            try rules.digits(exponent, 1, 2, end)
        }
    }

    private mutating func digits(
        _ from: GrammarBuilder.Node, _ least: Int, _ most: Int, _ to: GrammarBuilder.Node
    ) throws(GrammarFault) {
        var at = from
        for count in 0...most {
            if count >= least { try builder.skip(at, to) }
            guard count < most else { break }
            let next = try builder.node()
            try builder.edge(at, 0x30...0x39, next)
            at = next
        }
    }

    // MARK: Values

    /// Any value whatever.
    mutating func value() throws(GrammarFault) -> GrammarBuilder.Rule {
        let string = try string(), number = try number()
        return try rule("value") { (rules, start, end) throws(GrammarFault) in
            let object = try rules.object(), array = try rules.array()
            for rule in [string, number, object, array] { try rules.builder.call(start, rule, end) }
            try rules.builder.oneOf(start, ["true", "false", "null"].map { Array($0.utf8) }, to: end)
        }
    }

    mutating func object() throws(GrammarFault) -> GrammarBuilder.Rule {
        let string = try string()
        return try rule("object") { (rules, start, end) throws(GrammarFault) in
            let value = try rules.value()
            let inside = try rules.open(start, UInt8(ascii: "{"))
            let key = try rules.builder.node(), named = try rules.builder.node(), member = try rules.builder.node()
            try rules.builder.skip(inside, key)
            try rules.builder.call(key, string, named)
            try rules.builder.call(try rules.mark(named, UInt8(ascii: ":")), value, member)
            try rules.builder.skip(try rules.mark(member, UInt8(ascii: ",")), key)
            try rules.builder.edge(inside, UInt8(ascii: "}")...UInt8(ascii: "}"), end)
            try rules.close(member, UInt8(ascii: "}"), to: end)
        }
    }

    mutating func array() throws(GrammarFault) -> GrammarBuilder.Rule {
        try rule("array") { (rules, start, end) throws(GrammarFault) in
            let value = try rules.value()
            let inside = try rules.open(start, UInt8(ascii: "["))
            let item = try rules.builder.node(), member = try rules.builder.node()
            try rules.builder.skip(inside, item)
            try rules.builder.call(item, value, member)
            try rules.builder.skip(try rules.mark(member, UInt8(ascii: ",")), item)
            try rules.builder.edge(inside, UInt8(ascii: "]")...UInt8(ascii: "]"), end)
            try rules.close(member, UInt8(ascii: "]"), to: end)
        }
    }
}

package enum JSONShape: Hashable, Sendable {
    /// Any JSON value.
    case value
    /// Any JSON object: OpenAI's JSON mode.
    case object
}

extension Grammar {
    package static func json(_ shape: JSONShape) throws(GrammarFault) -> Grammar {
        var rules = JSONRules()
        let root = shape == .value ? try rules.value() : try rules.object()
        return try rules.builder.finish(root: root)
    }
}
