// Regular expressions over characters: the subset of ECMA 262 that a JSON Schema "pattern" needs, and the same shapes
// for GBNF's character classes and our own formats. What is outside (look-around, back-references, word boundaries,
// Unicode properties, anchors in the middle) is refused by name: a pattern is never matched loosely.

indirect enum Pattern: Hashable, Sendable {
    case set(ScalarSet)
    case sequence([Pattern])
    case choice([Pattern])
    /// At least, and at most; nil is no end.
    case repeated(Pattern, Int, Int?)

    static let anything = Pattern.repeated(.set(.all), 0, nil)

    static func text(_ text: String) -> Pattern {
        .sequence(text.unicodeScalars.map { .set(ScalarSet([$0.value...$0.value])) })
    }
}

struct PatternParser {
    private static let depthMax = 40
    private static let digits = ScalarSet([0x30...0x39])
    private static let letters = ScalarSet([0x30...0x39, 0x41...0x5a, 0x5f...0x5f, 0x61...0x7a])
    private static let blanks = ScalarSet([0x09...0x0d, 0x20...0x20])
    private static let ascii = ScalarSet([0...0x7f])
    /// What ECMA or another dialect calls a blank beyond ASCII, and separators that Python's \s takes.
    private static let otherBlanks = ScalarSet([
        0x1c...0x1f, 0x85...0x85, 0xa0...0xa0, 0x1680...0x1680, 0x2000...0x200a, 0x2028...0x2029, 0x202f...0x202f,
        0x205f...0x205f, 0x3000...0x3000, 0xfeff...0xfeff,
    ])
    private static let lineEnds = ScalarSet([0x0a...0x0a, 0x0d...0x0d, 0x2028...0x2029])

    private let scalars: [Unicode.Scalar]
    private var at = 0
    private let place: String

    private init(_ text: String, place: String) {
        scalars = Array(text.unicodeScalars)
        self.place = place
    }

    /// The texts in which the expression is found: without "^" anything may come before, without "$" after.
    static func parse(_ text: String, place: String) throws(GrammarFault) -> Pattern {
        var parser = PatternParser(text, place: place)
        let pattern = try parser.alternatives(depth: 0, anchored: true)
        guard parser.at == parser.scalars.count else { throw parser.fault("has a \")\" without \"(\"") }
        return pattern
    }

    private func fault(_ reason: String) -> GrammarFault {
        GrammarFault(place: place, reason: "the pattern \(reason) (character \(at + 1))")
    }

    private func refused(_ what: String) -> GrammarFault {
        fault("uses \(what), which is not taken; write it without")
    }

    private var current: Unicode.Scalar? { at < scalars.count ? scalars[at] : nil }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        guard current == scalar else { return false }
        at += 1
        return true
    }

    /// `anchored`: this is the whole expression, whose alternatives may begin with "^" and end with "$".
    private mutating func alternatives(depth: Int, anchored: Bool) throws(GrammarFault) -> Pattern {
        guard depth <= Self.depthMax else { throw fault("nests deeper than \(Self.depthMax)") }
        var choices: [Pattern] = []
        repeat {
            var items: [Pattern] = []
            if anchored, !take("^") { items.append(.anything) }
            var isClosed = false
            while let next = current, next != "|", next != ")" {
                if anchored, next == "$", at + 1 == scalars.count || scalars[at + 1] == "|" {
                    at += 1
                    isClosed = true
                    break
                }
                items.append(try repetition(depth: depth))
            }
            if anchored, !isClosed { items.append(.anything) }
            choices.append(items.count == 1 ? items[0] : .sequence(items))
        } while take("|")
        return choices.count == 1 ? choices[0] : .choice(choices)
    }

    private mutating func repetition(depth: Int) throws(GrammarFault) -> Pattern {
        let item = try atom(depth: depth)
        guard let next = current else { return item }
        var bounds: (Int, Int?)?
        switch next {
        case "*": bounds = (0, nil)
        case "+": bounds = (1, nil)
        case "?": bounds = (0, 1)
        case "{":
            let start = at
            bounds = Self.counts(scalars, &at)
            if bounds == nil { at = start }
        default: return item
        }
        guard let (least, most) = bounds else { throw fault("has a \"{\" that is no count; write \\{") }
        if next != "{" { at += 1 }
        // Lazy or not, the texts are the same.
        _ = take("?")
        if let after = current, after == "*" || after == "+" || after == "{" {
            throw refused("a repetition of a repetition")
        }
        guard least <= GrammarLimit.repetitionsMax, (most ?? 0) <= GrammarLimit.repetitionsMax else {
            throw fault("repeats more than \(GrammarLimit.repetitionsMax) times")
        }
        guard (most ?? least) >= least else { throw fault("has a count that ends before it begins") }
        return .repeated(item, least, most)
    }

    /// {m}, {m,} or {m,n} from the brace on; nil where it is none.
    static func counts(_ scalars: [Unicode.Scalar], _ at: inout Int) -> (Int, Int?)? {
        func number() -> Int? {
            var value: Int?
            while at < scalars.count, (0x30...0x39).contains(scalars[at].value) {
                value = min((value ?? 0) * 10 + Int(scalars[at].value - 0x30), 1 << 30)
                at += 1
            }
            return value
        }
        at += 1
        guard let least = number() else { return nil }
        var most: Int? = least
        if at < scalars.count, scalars[at] == "," {
            at += 1
            most = number()
        }
        guard at < scalars.count, scalars[at] == "}" else { return nil }
        at += 1
        return (least, most)
    }

    private mutating func atom(depth: Int) throws(GrammarFault) -> Pattern {
        guard let next = current else { return .sequence([]) }
        at += 1
        switch next {
        case "(":
            if take("?") {
                guard take(":") else { throw refused("look-around or a named group") }
            }
            let inner = try alternatives(depth: depth + 1, anchored: false)
            guard take(")") else { throw fault("has a \"(\" without \")\"") }
            return inner
        case "[": return .set(try characterClass())
        case ".": return .set(Self.lineEnds.inverted)
        case "\\": return .set(try escape(inClass: false))
        case "^", "$": throw refused("an anchor in the middle")
        case "*", "+", "?": throw fault("repeats nothing")
        case "]", "}", "{": throw fault("has a \"\(next)\" alone; write \\\(next)")
        default: return .set(ScalarSet([next.value...next.value]))
        }
    }

    private mutating func escape(inClass: Bool) throws(GrammarFault) -> ScalarSet {
        guard let kind = current else { throw fault("ends in a backslash") }
        at += 1
        func one(_ value: UInt32) -> ScalarSet { ScalarSet([value...value]) }
        switch kind {
        case "d": return Self.digits
        case "D": return Self.ascii.subtracting(Self.digits)
        case "w": return Self.letters
        case "W": return Self.ascii.subtracting(Self.letters)
        case "s": return Self.blanks
        case "S": return Self.blanks.union(Self.otherBlanks).inverted
        case "n": return one(0x0a)
        case "r": return one(0x0d)
        case "t": return one(0x09)
        case "f": return one(0x0c)
        case "v": return one(0x0b)
        case "0": return one(0)
        case "b" where inClass: return one(0x08)
        case "x": return one(try hexadecimal(2))
        case "u":
            if take("{") {
                let start = at
                while let digit = current, digit.properties.isASCIIHexDigit, at - start < 6 { at += 1 }
                let count = at - start
                at = start
                let value = try hexadecimal(count)
                guard count > 0, take("}") else { throw fault("has a malformed \\u{…}") }
                return one(value)
            }
            return one(try hexadecimal(4))
        case "b", "B": throw refused("a word boundary")
        case "p", "P": throw refused("a Unicode property")
        case "k": throw refused("a back-reference")
        case "1"..."9": throw refused("a back-reference")
        case "A"..."Z", "a"..."z": throw refused("the escape \\\(kind)")
        default: return one(kind.value)
        }
    }

    private mutating func hexadecimal(_ count: Int) throws(GrammarFault) -> UInt32 {
        guard at + count <= scalars.count else { throw fault("has a short hexadecimal escape") }
        var text = ""
        for scalar in scalars[at..<at + count] { text.unicodeScalars.append(scalar) }
        guard let value = UInt32(text, radix: 16), Unicode.Scalar(value) != nil else {
            throw fault("has a hexadecimal escape that is no character")
        }
        at += count
        return value
    }

    private mutating func characterClass() throws(GrammarFault) -> ScalarSet {
        let inverted = take("^")
        var ranges: [ClosedRange<UInt32>] = []
        while true {
            guard let first = current else { throw fault("has a \"[\" without \"]\"") }
            at += 1
            if first == "]" { break }
            let low = first == "\\" ? try escape(inClass: true) : ScalarSet([first.value...first.value])
            if current == "-", at + 1 < scalars.count, scalars[at + 1] != "]" {
                at += 1
                guard let next = current else { throw fault("has a \"[\" without \"]\"") }
                at += 1
                let high = next == "\\" ? try escape(inClass: true) : ScalarSet([next.value...next.value])
                guard let from = low.single, let to = high.single, from <= to else {
                    throw fault("has a range that is none")
                }
                ranges.append(from...to)
            } else {
                ranges += low.ranges
            }
        }
        let set = ScalarSet(ranges)
        return inverted ? set.inverted : set
    }
}

extension ScalarSet {
    /// The member of a set of one.
    var single: UInt32? {
        ranges.count == 1 && ranges[0].count == 1 ? ranges[0].lowerBound : nil
    }
}
