// Grammars in GBNF, the notation that llama.cpp publishes (grammars/README.md there): rules `name ::= …`, texts in
// quotes, character classes, groups, alternatives, `* + ? {m,n}`, comments. The answer is a text of the rule `root`.

extension Grammar {
    package static func gbnf(_ text: String) throws(GrammarFault) -> Grammar {
        guard text.utf8.count <= GrammarLimit.sourceBytesMax else {
            throw GrammarFault(place: "", reason: "the grammar has more than \(GrammarLimit.sourceBytesMax) bytes")
        }
        var parser = GBNFParser(text)
        try parser.parse()
        return try parser.grammar()
    }
}

private indirect enum Expression {
    case text([UInt8])
    case set(ScalarSet)
    case rule(String, place: String)
    case sequence([Expression])
    case choice([Expression])
    case repeated(Expression, Int, Int?)
}

private struct GBNFParser {
    private static let depthMax = 100

    private let scalars: [Unicode.Scalar]
    private var at = 0
    private var rules: [(name: String, place: String, body: Expression)] = []
    private var names: [String: Int] = [:]

    init(_ text: String) { scalars = Array(text.unicodeScalars) }

    // MARK: Faults

    private var place: String {
        var line = 1, column = 1
        for scalar in scalars.prefix(at) {
            if scalar == "\n" {
                line += 1
                column = 1
            } else {
                column += 1
            }
        }
        return "line \(line), column \(column)"
    }

    private func fault(_ reason: String) -> GrammarFault { GrammarFault(place: place, reason: reason) }

    // MARK: Reading

    private var current: Unicode.Scalar? { at < scalars.count ? scalars[at] : nil }

    private mutating func skipBlanks(newlines: Bool) {
        while let next = current {
            switch next {
            case " ", "\t": at += 1
            case "\n", "\r":
                guard newlines else { return }
                at += 1
            case "#": while let inside = current, inside != "\n", inside != "\r" { at += 1 }
            default: return
            }
        }
    }

    private static func isNamePart(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "a"..."z", "A"..."Z", "0"..."9", "-", "_": true
        default: false
        }
    }

    private mutating func name() throws(GrammarFault) -> String {
        var name = ""
        while let next = current, Self.isNamePart(next) {
            name.unicodeScalars.append(next)
            at += 1
        }
        guard !name.isEmpty else { throw fault("the name of a rule belongs here") }
        return name
    }

    mutating func parse() throws(GrammarFault) {
        skipBlanks(newlines: true)
        while current != nil {
            let place = place
            let name = try name()
            skipBlanks(newlines: false)
            for mark: Unicode.Scalar in [":", ":", "="] {
                guard current == mark else { throw fault("\"::=\" belongs after the name of a rule") }
                at += 1
            }
            skipBlanks(newlines: true)
            guard names[name] == nil else {
                throw GrammarFault(place: place, reason: "the rule \"\(name)\" is written twice")
            }
            guard rules.count < GrammarLimit.rulesMax else {
                throw fault("more than \(GrammarLimit.rulesMax) rules")
            }
            names[name] = rules.count
            let body = try alternatives(depth: 0)
            rules.append((name, place, body))
            guard current == nil || current == "\n" || current == "\r" else {
                throw fault("a rule ends with its line; this cannot stand here")
            }
            skipBlanks(newlines: true)
        }
    }

    private mutating func alternatives(depth: Int) throws(GrammarFault) -> Expression {
        guard depth <= Self.depthMax else { throw fault("groups nest deeper than \(Self.depthMax)") }
        var choices = [try sequence(depth: depth)]
        while current == "|" {
            at += 1
            skipBlanks(newlines: true)
            choices.append(try sequence(depth: depth))
        }
        return choices.count == 1 ? choices[0] : .choice(choices)
    }

    private mutating func sequence(depth: Int) throws(GrammarFault) -> Expression {
        var items: [Expression] = []
        loop: while let next = current {
            switch next {
            case "\"": items.append(try text())
            case "[": items.append(try characterClass())
            case ".":
                at += 1
                items.append(.set(.all))
            case "(":
                at += 1
                skipBlanks(newlines: true)
                items.append(try alternatives(depth: depth + 1))
                guard current == ")" else { throw fault("a \")\" belongs here") }
                at += 1
            case "*", "+", "?", "{":
                guard let last = items.popLast() else { throw fault("there is nothing to repeat before this") }
                let (least, most) = try repetition(next)
                items.append(.repeated(last, least, most))
            case "<", "!":
                throw fault("token references are not supported; write the text of the token")
            default:
                guard Self.isNamePart(next) else { break loop }
                let place = place
                items.append(.rule(try name(), place: place))
            }
            skipBlanks(newlines: depth > 0)
        }
        return items.count == 1 ? items[0] : .sequence(items)
    }

    private mutating func repetition(_ mark: Unicode.Scalar) throws(GrammarFault) -> (Int, Int?) {
        switch mark {
        case "*", "+", "?":
            at += 1
            return (mark == "+" ? 1 : 0, mark == "?" ? 1 : nil)
        default:
            let start = at
            guard let (least, most) = PatternParser.counts(scalars, &at) else {
                at = start
                throw fault("a count is written {m}, {m,} or {m,n}")
            }
            guard (most ?? least) >= least else { throw fault("this count ends before it begins") }
            guard least <= GrammarLimit.repetitionsMax, (most ?? 0) <= GrammarLimit.repetitionsMax else {
                throw fault("this repeats more than \(GrammarLimit.repetitionsMax) times")
            }
            return (least, most)
        }
    }

    private mutating func character() throws(GrammarFault) -> UInt32 {
        guard let next = current, next != "\n" else { throw fault("the text ends too early") }
        at += 1
        guard next == "\\" else { return next.value }
        guard let kind = current else { throw fault("the text ends too early") }
        at += 1
        switch kind {
        case "x": return try hexadecimal(2)
        case "u": return try hexadecimal(4)
        case "U": return try hexadecimal(8)
        case "t": return 0x09
        case "r": return 0x0d
        case "n": return 0x0a
        case "\\", "\"", "[", "]", "-", "^": return kind.value
        default:
            throw fault("\\\(kind) is no escape; known are \\n \\r \\t \\\\ \\\" \\[ \\] \\xHH \\uHHHH \\UHHHHHHHH")
        }
    }

    private mutating func hexadecimal(_ count: Int) throws(GrammarFault) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<count {
            guard let next = current, next.properties.isASCIIHexDigit,
                let digit = UInt32(String(Character(next)), radix: 16)
            else { throw fault("\(count) hexadecimal digits belong here") }
            value = value << 4 | digit
            at += 1
        }
        guard Unicode.Scalar(value) != nil else { throw fault("this is the number of no character") }
        return value
    }

    private mutating func text() throws(GrammarFault) -> Expression {
        at += 1
        var bytes: [UInt8] = []
        while current != "\"" {
            guard let scalar = Unicode.Scalar(try character()) else { continue }
            bytes += Array(String(Character(scalar)).utf8)
        }
        at += 1
        return .text(bytes)
    }

    private mutating func characterClass() throws(GrammarFault) -> Expression {
        at += 1
        var inverted = false
        if current == "^" {
            inverted = true
            at += 1
        }
        var ranges: [ClosedRange<UInt32>] = []
        while current != "]" {
            let low = try character()
            if current == "-", at + 1 < scalars.count, scalars[at + 1] != "]" {
                at += 1
                let high = try character()
                guard low <= high else { throw fault("this range ends before it begins") }
                ranges.append(low...high)
            } else {
                ranges.append(low...low)
            }
        }
        at += 1
        let set = ScalarSet(ranges)
        return .set(inverted ? set.inverted : set)
    }

    // MARK: Writing

    func grammar() throws(GrammarFault) -> Grammar {
        guard let root = names["root"] else {
            throw GrammarFault(place: "", reason: "the grammar has no rule named \"root\"")
        }
        var builder = GrammarBuilder()
        for rule in rules { _ = try builder.rule("the rule \"\(rule.name)\"", place: rule.place) }
        for (index, rule) in rules.enumerated() {
            builder.place = rule.place
            let id = GrammarBuilder.Rule(truncatingIfNeeded: index)
            try write(rule.body, &builder, from: builder.start(id), to: builder.end(id))
        }
        return try builder.finish(root: GrammarBuilder.Rule(truncatingIfNeeded: root))
    }

    private func write(
        _ expression: Expression, _ builder: inout GrammarBuilder, from: GrammarBuilder.Node, to: GrammarBuilder.Node
    ) throws(GrammarFault) {
        switch expression {
        case .text(let bytes): try builder.literal(from, bytes, to: to)
        case .set(let set): try builder.scalar(from, set, to)
        case .rule(let name, let place):
            guard let rule = names[name] else {
                throw GrammarFault(place: place, reason: "there is no rule \"\(name)\"")
            }
            try builder.call(from, GrammarBuilder.Rule(truncatingIfNeeded: rule), to)
        case .sequence(let items):
            var at = from
            for (index, item) in items.enumerated() {
                let next = index == items.count - 1 ? to : try builder.node()
                try write(item, &builder, from: at, to: next)
                at = next
            }
            if items.isEmpty { try builder.skip(from, to) }
        case .choice(let choices):
            for choice in choices { try write(choice, &builder, from: from, to: to) }
        case .repeated(let item, let least, let most):
            var at = from
            for _ in 0..<least {
                let next = try builder.node()
                try write(item, &builder, from: at, to: next)
                at = next
            }
            if let most {
                try builder.skip(at, to)
                for _ in least..<max(least, most) {
                    let next = try builder.node()
                    try write(item, &builder, from: at, to: next)
                    try builder.skip(next, to)
                    at = next
                }
            } else {
                let loop = try builder.node()
                try builder.skip(at, loop)
                try write(item, &builder, from: loop, to: loop)
                try builder.skip(loop, to)
            }
        }
    }
}
