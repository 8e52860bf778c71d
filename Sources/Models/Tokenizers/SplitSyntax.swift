// Reads the regular expressions that tokenizer.json splits words with. Only what can be matched in about linear time is
// understood: sets of characters with quantifiers, alternatives, groups that are optional at most, looking ahead. What
// else an expression holds is named in the refusal.
//
// Source: the expressions of the supported families; Oniguruma's doc/RE (Ruby syntax), which the reference runs.

indirect enum SplitNode {
    case set(ScalarSet)
    case run(ScalarSet, min: Int, max: Int, keeps: Bool)
    case sequence([SplitNode])
    case either([SplitNode])
    case optional(SplitNode)
    case ahead(SplitNode, negated: Bool)
    case lineStart
    case lineEnd

    /// Whether it can match no character at all.
    var canBeEmpty: Bool {
        switch self {
        case .set: false
        case .run(_, let min, _, _): min == 0
        case .sequence(let nodes): nodes.allSatisfy(\.canBeEmpty)
        case .either(let nodes): nodes.contains(where: \.canBeEmpty)
        case .optional, .ahead, .lineStart, .lineEnd: true
        }
    }
}

struct SplitSyntaxFault: Error {
    let reason: String
}

struct SplitParser {
    static let sourceBytesMax = 1 << 14
    private static let nodesMax = 512
    private static let depthMax = 16
    private static let countMax = 1 << 16

    private let text: [Unicode.Scalar]
    private var at = 0
    private var depth = 0
    private var nodes = 0
    private var ignoresCase = false

    static func parse(_ source: String) throws(SplitSyntaxFault) -> SplitNode {
        guard source.utf8.count <= sourceBytesMax else { throw SplitSyntaxFault(reason: "it is too long") }
        var parser = Self(text: Array(source.unicodeScalars))
        let node = try parser.alternatives()
        guard parser.at == parser.text.count else { throw SplitSyntaxFault(reason: "\")\" closes nothing") }
        guard !node.canBeEmpty else { throw SplitSyntaxFault(reason: "it matches the empty text") }
        return node
    }

    private init(text: [Unicode.Scalar]) { self.text = text }

    private var current: Unicode.Scalar? { at < text.count ? text[at] : nil }

    private mutating func accept(_ scalar: Unicode.Scalar) -> Bool {
        guard current == scalar else { return false }
        at += 1
        return true
    }

    private mutating func accept(_ word: String) -> Bool {
        let scalars = Array(word.unicodeScalars)
        guard text[at...].starts(with: scalars) else { return false }
        at += scalars.count
        return true
    }

    private var hexDigit: UInt32? {
        guard let value = current?.value else { return nil }
        switch value {
        case 0x30...0x39: return value - 0x30
        case 0x41...0x46, 0x61...0x66: return (value | 0x20) - 0x61 + 10
        default: return nil
        }
    }

    private mutating func alternatives() throws(SplitSyntaxFault) -> SplitNode {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.depthMax else { throw SplitSyntaxFault(reason: "it is nested too deep") }
        var all = [try sequence()]
        while accept("|") { all.append(try sequence()) }
        return all.count == 1 ? all[0] : .either(all)
    }

    private mutating func sequence() throws(SplitSyntaxFault) -> SplitNode {
        var all: [SplitNode] = []
        while let scalar = current, scalar != "|", scalar != ")" { all.append(try quantified()) }
        return all.count == 1 ? all[0] : .sequence(all)
    }

    private mutating func quantified() throws(SplitSyntaxFault) -> SplitNode {
        nodes += 1
        guard nodes <= Self.nodesMax else { throw SplitSyntaxFault(reason: "it has more than \(Self.nodesMax) parts") }
        let atom = try atom()
        guard let (min, max, isCount) = try quantifier() else { return atom }
        var keeps = false
        if current == "+" {
            guard !isCount else { throw SplitSyntaxFault(reason: "a quantifier follows a quantifier") }
            keeps = accept("+")
        }
        if current == "?" || current == "*" || current == "+" || (current == "{" && isCount) {
            throw SplitSyntaxFault(reason: "a quantifier follows a quantifier")
        }
        if case .set(let set) = atom { return .run(set, min: min, max: max, keeps: keeps) }
        guard min == 0, max == 1, !keeps, !atom.canBeEmpty else {
            throw SplitSyntaxFault(reason: "a group is repeated")
        }
        return .optional(atom)
    }

    private mutating func quantifier() throws(SplitSyntaxFault) -> (min: Int, max: Int, isCount: Bool)? {
        if accept("?") { return (0, 1, false) }
        if accept("*") { return (0, .max, false) }
        if accept("+") { return (1, .max, false) }
        guard current == "{" else { return nil }
        at += 1
        let first = number()
        var last = first
        if accept(",") { last = number() ?? .max }
        guard accept("}"), let last, first != nil || last != .max, (first ?? 0) <= last, last > 0 else {
            throw SplitSyntaxFault(reason: "\"{\" is no count")
        }
        return (first ?? 0, last, true)
    }

    private mutating func number() -> Int? {
        var value: Int?
        while let digit = current?.value, digit >= 0x30, digit <= 0x39 {
            value = min((value ?? 0) * 10 + Int(digit - 0x30), Self.countMax)
            at += 1
        }
        return value
    }

    private mutating func atom() throws(SplitSyntaxFault) -> SplitNode {
        guard let scalar = current else { throw SplitSyntaxFault(reason: "it ends early") }
        at += 1
        switch scalar {
        case "(": return try group()
        case "[": return .set(try bracket())
        case "\\": return .set(ScalarSet(try escaped(inBracket: false)))
        case ".": return .set(ScalarSet([.range(0x0a, 0x0a)], negated: true))
        case "^": return .lineStart
        case "$": return .lineEnd
        case "?", "*", "+": throw SplitSyntaxFault(reason: "\"\(scalar)\" repeats nothing")
        default: return .set(literal(scalar.value))
        }
    }

    private mutating func group() throws(SplitSyntaxFault) -> SplitNode {
        let outer = ignoresCase
        defer { ignoresCase = outer }
        var isAhead = false, negated = false
        if accept("?") {
            if accept("i:") {
                ignoresCase = true
            } else if accept("=") {
                isAhead = true
            } else if accept("!") {
                isAhead = true
                negated = true
            } else if !accept(":") {
                throw SplitSyntaxFault(reason: "a group begins with \"(?\(current.map(String.init) ?? "")\"")
            }
        }
        let node = try alternatives()
        guard accept(")") else { throw SplitSyntaxFault(reason: "\")\" is missing") }
        return isAhead ? .ahead(node, negated: negated) : node
    }

    /// A character, and under (?i: those that fold to it.
    private func literal(_ value: UInt32) -> ScalarSet {
        var items: [ScalarSet.Item] = [.range(value, value)]
        if ignoresCase, let scalar = Unicode.Scalar(value) {
            for mapped in [scalar.properties.lowercaseMapping, scalar.properties.uppercaseMapping] {
                let scalars = Array(mapped.unicodeScalars)
                if scalars.count == 1 { items.append(.range(scalars[0].value, scalars[0].value)) }
            }
            if scalar == "s" || scalar == "S" { items.append(.range(0x17f, 0x17f)) }
            if scalar == "k" || scalar == "K" { items.append(.range(0x212a, 0x212a)) }
        }
        return ScalarSet(items)
    }

    private mutating func bracket() throws(SplitSyntaxFault) -> ScalarSet {
        let negated = accept("^")
        var items: [ScalarSet.Item] = []
        while !accept("]") {
            guard let scalar = current else { throw SplitSyntaxFault(reason: "\"]\" is missing") }
            at += 1
            var low: UInt32?
            switch scalar {
            case "[": throw SplitSyntaxFault(reason: "a set stands in a set")
            case "&" where current == "&": throw SplitSyntaxFault(reason: "sets are intersected")
            case "\\":
                let parts = try escaped(inBracket: true)
                if case .range(let first, let last)? = parts.first, parts.count == 1, first == last {
                    low = first
                } else {
                    items += parts
                }
            default: low = scalar.value
            }
            guard let low else { continue }
            var high = low
            if current == "-", at + 1 < text.count, text[at + 1] != "]" {
                at += 1
                guard let end = current else { throw SplitSyntaxFault(reason: "\"]\" is missing") }
                at += 1
                high = end.value
                if end == "\\" {
                    guard case .range(let value, _)? = try escaped(inBracket: true).first else {
                        throw SplitSyntaxFault(reason: "a range has no end")
                    }
                    high = value
                }
                guard low <= high else { throw SplitSyntaxFault(reason: "a range ends before it begins") }
            }
            items.append(.range(low, high))
        }
        guard !items.isEmpty else { throw SplitSyntaxFault(reason: "a set is empty") }
        if ignoresCase {
            for case .range(let first, let last) in items {
                guard last < 0x80 else { throw SplitSyntaxFault(reason: "a set under (?i: reaches beyond ASCII") }
                for value in first...last { items += literal(value).items }
            }
        }
        return ScalarSet(items, negated: negated)
    }

    private mutating func escaped(inBracket: Bool) throws(SplitSyntaxFault) -> [ScalarSet.Item] {
        guard let scalar = current else { throw SplitSyntaxFault(reason: "it ends in a backslash") }
        at += 1
        func one(_ value: UInt32) -> [ScalarSet.Item] { [.range(value, value)] }
        switch scalar {
        case "s", "S": return [.space(negated: scalar == "S")]
        case "d", "D": return [.categories(ScalarCategory.mask("Nd") ?? 0, negated: scalar == "D")]
        case "w", "W": return [.word(joiners: false, negated: scalar == "W")]
        case "n": return one(0x0a)
        case "r": return one(0x0d)
        case "t": return one(0x09)
        case "f": return one(0x0c)
        case "v": return one(0x0b)
        case "u", "x":
            let isBraced = scalar == "x" && accept("{")
            let digitsMax = isBraced ? 6 : scalar == "u" ? 4 : 2
            var value: UInt32 = 0, digits = 0
            while digits < digitsMax, let digit = hexDigit {
                value = value << 4 | digit
                digits += 1
                at += 1
            }
            guard digits > 0, !isBraced || accept("}") else {
                throw SplitSyntaxFault(reason: "\"\\\(scalar)\" names no character")
            }
            return one(value)
        case "p", "P":
            guard accept("{") else { throw SplitSyntaxFault(reason: "\"\\p\" names no property") }
            var negated = scalar == "P"
            if accept("^") { negated.toggle() }
            var name = ""
            while let letter = current, letter != "}", name.utf8.count < 32 {
                name.unicodeScalars.append(letter)
                at += 1
            }
            guard accept("}"), let mask = ScalarCategory.mask(name) else {
                throw SplitSyntaxFault(reason: "the property \"\(name)\"")
            }
            return [.categories(mask, negated: negated)]
        default:
            // A letter or digit behind a backslash means something; punctuation means itself.
            guard !scalar.properties.isAlphabetic, scalar.properties.numericType == nil else {
                throw SplitSyntaxFault(reason: "\"\\\(scalar)\"")
            }
            return ignoresCase && !inBracket ? literal(scalar.value).items : one(scalar.value)
        }
    }
}
