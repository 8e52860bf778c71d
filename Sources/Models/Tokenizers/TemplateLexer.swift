// Cuts a template into text and tags, and tags into tokens, with Jinja's rules for white space around tags.

/// One tag of the source, or the text between two.
struct TemplateSegment {
    enum Kind { case text([UInt8]), output([TemplateToken]), block([TemplateToken]) }

    let line: Int
    let kind: Kind
}

struct TemplateToken {
    enum Kind: Hashable {
        case name(String)
        case string([UInt8])
        case integer(Int)
        case float(Double)
        case symbol(String)
    }

    let line: Int
    let kind: Kind
}

struct TemplateLexer {
    private let text: [UInt8]
    private var at = 0
    private var line = 1

    static func segments(_ source: String) throws(TemplateFault) -> [TemplateSegment] {
        guard source.utf8.count <= TemplateLimit.sourceBytesMax else {
            throw .syntax(line: 1, "longer than \(TemplateLimit.sourceBytesMax) bytes")
        }
        var lexer = Self(source)
        return try lexer.segments()
    }

    private init(_ source: String) {
        var text: [UInt8] = []
        var afterReturn = false
        for byte in source.utf8 {
            // \r\n and \r are \n to Jinja.
            if byte == 0x0d { text.append(0x0a) } else if byte != 0x0a || !afterReturn { text.append(byte) }
            afterReturn = byte == 0x0d
        }
        if text.last == 0x0a { text.removeLast() }
        self.text = text
    }

    private func starts(_ word: StaticString, at index: Int) -> Bool {
        guard index >= 0, index + word.utf8CodeUnitCount <= text.count else { return false }
        for offset in 0..<word.utf8CodeUnitCount where text[index + offset] != word.utf8Start[offset] { return false }
        return true
    }

    private func starts(_ word: StaticString) -> Bool { starts(word, at: at) }

    private mutating func advance(_ count: Int) {
        for _ in 0..<count where at < text.count {
            if text[at] == 0x0a { line += 1 }
            at += 1
        }
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (byte >= 0x09 && byte <= 0x0d) }

    private mutating func segments() throws(TemplateFault) -> [TemplateSegment] {
        var segments: [TemplateSegment] = []
        // Whether what was consumed last ended a line.
        var startsLine = true
        while at < text.count {
            let textLine = line
            var plain: [UInt8] = []
            while at < text.count, !(starts("{{") || starts("{%") || starts("{#")) {
                plain.append(text[at])
                advance(1)
            }
            guard at < text.count else {
                segments.append(TemplateSegment(line: textLine, kind: .text(plain)))
                break
            }
            let kind = text[at + 1], tagLine = line
            advance(2)
            if starts("-") {
                while let last = plain.last, Self.isSpace(last) { plain.removeLast() }
                advance(1)
            } else if starts("+") {
                if kind != UInt8(ascii: "{") { advance(1) }
            } else if kind != UInt8(ascii: "{") {
                let lineStart = (plain.lastIndex(of: 0x0a) ?? -1) + 1
                if lineStart > 0 || startsLine, plain[lineStart...].allSatisfy(Self.isSpace) {
                    plain.removeLast(plain.count - lineStart)
                }
            }
            if !plain.isEmpty { segments.append(TemplateSegment(line: textLine, kind: .text(plain))) }
            switch kind {
            case UInt8(ascii: "#"):
                while at < text.count, !starts("#}") { advance(1) }
                guard at < text.count else { throw .syntax(line: tagLine, "a comment does not end") }
                let strips = starts("-", at: at - 1)
                advance(2)
                startsLine = finish(strips: strips, trims: true)
            case UInt8(ascii: "{"):
                let tokens = try tokens("}}", "-}}", "+}}")
                let strips = starts("-")
                advance(strips ? 3 : 2)
                segments.append(TemplateSegment(line: tagLine, kind: .output(tokens)))
                startsLine = finish(strips: strips, trims: false)
            default:
                let tokens = try tokens("%}", "-%}", "+%}")
                let strips = starts("-"), keeps = starts("+")
                advance(strips || keeps ? 3 : 2)
                startsLine = finish(strips: strips, trims: !keeps)
                if tokens.count == 1, tokens[0].kind == .name("raw") {
                    let raw = try raw(tagLine, &startsLine)
                    segments.append(TemplateSegment(line: tagLine, kind: .text(raw)))
                } else {
                    segments.append(TemplateSegment(line: tagLine, kind: .block(tokens)))
                }
            }
        }
        return segments
    }

    /// White space behind a tag. Returns whether a line ended there.
    private mutating func finish(strips: Bool, trims: Bool) -> Bool {
        if strips {
            let start = at
            while at < text.count, Self.isSpace(text[at]) { advance(1) }
            return at > start && text[at - 1] == 0x0a
        }
        guard trims, at < text.count, text[at] == 0x0a else { return false }
        advance(1)
        return true
    }

    private mutating func raw(_ first: Int, _ startsLine: inout Bool) throws(TemplateFault) -> [UInt8] {
        var plain: [UInt8] = []
        while at < text.count {
            if starts("{%") {
                var end = at + 2
                let strips = starts("-", at: end)
                if strips { end += 1 }
                while end < text.count, Self.isSpace(text[end]) { end += 1 }
                if starts("endraw", at: end) {
                    end += 6
                    while end < text.count, Self.isSpace(text[end]) { end += 1 }
                    let stripsBehind = starts("-%}", at: end)
                    guard stripsBehind || starts("%}", at: end) else {
                        throw .syntax(line: line, "{% endraw %} does not end")
                    }
                    if strips { while let last = plain.last, Self.isSpace(last) { plain.removeLast() } }
                    advance(end + (stripsBehind ? 3 : 2) - at)
                    startsLine = finish(strips: stripsBehind, trims: true)
                    return plain
                }
            }
            plain.append(text[at])
            advance(1)
        }
        throw .syntax(line: first, "{% endraw %} is missing")
    }

    // MARK: Tokens

    private mutating func tokens(
        _ closer: StaticString, _ stripping: StaticString, _ keeping: StaticString
    ) throws(TemplateFault) -> [TemplateToken] {
        var tokens: [TemplateToken] = []
        var open: [UInt8] = []
        let first = line
        while at < text.count {
            if Self.isSpace(text[at]) {
                advance(1)
                continue
            }
            if open.isEmpty, starts(closer) || starts(stripping) || (starts(keeping) && closer.utf8Start[0] == 0x25) {
                return tokens
            }
            let line = line, byte = text[at]
            let kind = try token()
            switch byte {
            case UInt8(ascii: "("), UInt8(ascii: "["), UInt8(ascii: "{"): open.append(byte)
            case UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: "}"):
                let opener: UInt8 = byte == UInt8(ascii: ")") ? 0x28 : byte == UInt8(ascii: "]") ? 0x5b : 0x7b
                guard open.popLast() == opener else {
                    throw .syntax(line: line, "\"\(Character(Unicode.Scalar(byte)))\" closes nothing")
                }
            default: break
            }
            tokens.append(TemplateToken(line: line, kind: kind))
        }
        throw .syntax(line: first, "a tag does not end")
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        byte == 0x5f || byte >= 0x80 || isDigit(byte) || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7a)
    }

    private static func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }

    private mutating func token() throws(TemplateFault) -> TemplateToken.Kind {
        let first = text[at]
        if Self.isDigit(first) { return try number() }
        if Self.isWord(first) {
            let start = at
            while at < text.count, Self.isWord(text[at]) { advance(1) }
            return .name(String(decoding: text[start..<at], as: UTF8.self))
        }
        if first == 0x27 || first == 0x22 { return .string(try string(first)) }
        for pair in ["==", "!=", "<=", ">=", "//", "**"] as [StaticString] where starts(pair) {
            advance(2)
            return .symbol(pair.description)
        }
        guard "+-*/%~<>=()[]{}.,:|".utf8.contains(first) else {
            let character = String(decoding: text[at...].prefix(UTF8Reading.width(first)), as: UTF8.self)
            throw .syntax(line: line, "unexpected character \"\(character)\" in a tag")
        }
        advance(1)
        return .symbol(String(Character(Unicode.Scalar(first))))
    }

    private mutating func number() throws(TemplateFault) -> TemplateToken.Kind {
        let start = at
        var isFloat = false
        while at < text.count, Self.isDigit(text[at]) || text[at] == 0x5f { advance(1) }
        if at + 1 < text.count, text[at] == 0x2e, Self.isDigit(text[at + 1]) {
            isFloat = true
            advance(1)
            while at < text.count, Self.isDigit(text[at]) { advance(1) }
        }
        if at < text.count, text[at] | 0x20 == 0x65 {
            let sign = at + 1 < text.count && (text[at + 1] == 0x2b || text[at + 1] == 0x2d) ? 1 : 0
            if at + 1 + sign < text.count, Self.isDigit(text[at + 1 + sign]) {
                isFloat = true
                advance(1 + sign)
                while at < text.count, Self.isDigit(text[at]) { advance(1) }
            }
        }
        let word = String(decoding: text[start..<at].filter { $0 != 0x5f }, as: UTF8.self)
        if !isFloat, let value = Int(word) { return .integer(value) }
        if isFloat, let value = Double(word) { return .float(value) }
        throw .syntax(line: line, "the number \(word.prefix(40)) is too large")
    }

    private mutating func string(_ quote: UInt8) throws(TemplateFault) -> [UInt8] {
        let first = line
        var word: [UInt8] = []
        advance(1)
        while at < text.count, text[at] != quote {
            guard text[at] == 0x5c, at + 1 < text.count else {
                word.append(text[at])
                advance(1)
                continue
            }
            let kind = text[at + 1]
            advance(2)
            switch kind {
            case 0x0a: break
            case UInt8(ascii: "n"): word.append(0x0a)
            case UInt8(ascii: "t"): word.append(0x09)
            case UInt8(ascii: "r"): word.append(0x0d)
            case UInt8(ascii: "a"): word.append(0x07)
            case UInt8(ascii: "b"): word.append(0x08)
            case UInt8(ascii: "f"): word.append(0x0c)
            case UInt8(ascii: "v"): word.append(0x0b)
            case 0x5c, 0x27, 0x22: word.append(kind)
            case UInt8(ascii: "0")...UInt8(ascii: "7"):
                var value = UInt32(kind - 0x30), digits = 1
                while digits < 3, at < text.count, text[at] >= 0x30, text[at] <= 0x37 {
                    value = value << 3 | UInt32(text[at] - 0x30)
                    digits += 1
                    advance(1)
                }
                word += String(Character(Unicode.Scalar(value) ?? " ")).utf8
            case UInt8(ascii: "x"), UInt8(ascii: "u"), UInt8(ascii: "U"):
                let count = kind == UInt8(ascii: "x") ? 2 : kind == UInt8(ascii: "u") ? 4 : 8
                let digits = text[at...].prefix(count)
                guard digits.count == count, !digits.contains(0x2b), !digits.contains(0x2d),
                    let value = UInt32(String(decoding: digits, as: UTF8.self), radix: 16),
                    let scalar = Unicode.Scalar(value)
                else { throw .syntax(line: line, "an escape in a string names no character") }
                word += String(Character(scalar)).utf8
                advance(count)
            default: word += [0x5c, kind]
            }
        }
        guard at < text.count else { throw .syntax(line: first, "a string does not end") }
        advance(1)
        return word
    }
}
