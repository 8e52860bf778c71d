// The part of Jinja that chat templates use, parsed into a tree. Whatever is outside it is refused when the model is
// loaded,
// with the words that were not understood: a prompt put together wrongly would be worse than none.
//
// Environment as transformers sets it: trim_blocks, lstrip_blocks, no trailing newline kept.
// Source: jinja.palletsprojects.com/templates, transformers `apply_chat_template`.

package enum TemplateLimit {
    static let sourceBytesMax = 1 << 18
    static let depthMax = 64
    static let stepsMax = 1 << 20
    static let outputBytesMax = 16 << 20
    static let elementsMax = 1 << 17
}

package enum TemplateFault: Error, Hashable, CustomStringConvertible {
    case syntax(String)
    case unsupported(String)
    case evaluation(String)
    /// The template itself objects: `raise_exception('…')`.
    case raised(String)

    package var description: String {
        switch self {
        case .syntax(let reason): "chat template: \(reason)"
        case .unsupported(let feature): "chat template: \(feature) is not supported"
        case .evaluation(let reason): "chat template: \(reason)"
        case .raised(let message): message
        }
    }
}

indirect enum Expression: Sendable {
    case literal(TemplateValue)
    case name(String)
    case list([Expression])
    case dictionary([(key: Expression, value: Expression)])
    case attribute(Expression, String)
    case item(Expression, Expression)
    case slice(Expression, from: Expression?, to: Expression?, step: Expression?)
    case call(Expression, [Expression], [(name: String, value: Expression)])
    case filter(Expression, String, [Expression])
    case test(Expression, String, [Expression], negated: Bool)
    case unary(String, Expression)
    case binary(String, Expression, Expression)
    case conditional(then: Expression, condition: Expression, otherwise: Expression?)
}

indirect enum Statement: Sendable {
    case text(String)
    case output(Expression)
    case set(target: String, attribute: String?, Expression)
    case branch([(condition: Expression, body: [Statement])], otherwise: [Statement])
    case loop(targets: [String], Expression, filter: Expression?, body: [Statement], otherwise: [Statement])
}

/// One tag of the source, or the text between two.
enum TemplateSegment {
    case text(String)
    case output([TemplateToken])
    case block([TemplateToken])
}

enum TemplateToken: Hashable {
    case name(String)
    case string(String)
    case integer(Int)
    case float(Double)
    case symbol(String)
}

enum TemplateLexer {
    static func segments(_ source: String) throws(TemplateFault) -> [TemplateSegment] {
        guard source.utf8.count <= TemplateLimit.sourceBytesMax else {
            throw .syntax("longer than \(TemplateLimit.sourceBytesMax) bytes")
        }
        var text = Array(source.replacing("\r\n", with: "\n").unicodeScalars)
        if text.last == "\n" { text.removeLast() }
        var segments: [TemplateSegment] = []
        var plain: [Unicode.Scalar] = []
        var at = 0
        func starts(_ index: Int, _ pattern: String) -> Bool {
            text[min(index, text.count)...].starts(with: pattern.unicodeScalars)
        }
        func flush() {
            if !plain.isEmpty {
                var string = String.UnicodeScalarView()
                string.append(contentsOf: plain)
                segments.append(.text(String(string)))
            }
            plain.removeAll()
        }
        while at < text.count {
            guard text[at] == "{", at + 1 < text.count, "{%#".unicodeScalars.contains(text[at + 1]) else {
                plain.append(text[at])
                at += 1
                continue
            }
            let opener = text[at + 1]
            let closer = opener == "{" ? "}}" : opener == "%" ? "%}" : "#}"
            at += 2
            if at < text.count, text[at] == "-" {
                while plain.last?.properties.isWhitespace == true { plain.removeLast() }
                at += 1
            } else if at < text.count, text[at] == "+" {
                at += 1
            } else if opener != "{" {
                // lstrip_blocks: blanks from the line's start to a block or comment go.
                let blanks = plain.reversed().prefix { $0 == " " || $0 == "\t" }.count
                let before = plain.count - blanks
                if before == 0 ? segments.isEmpty || endsLine(segments) : plain[before - 1] == "\n" {
                    plain.removeLast(blanks)
                }
            }
            flush()
            var tokens: [TemplateToken] = []
            if opener == "#" {
                while at < text.count, !starts(at, "#}") { at += 1 }
                if at > 0, at < text.count, text[at - 1] == "-" { at -= 1 }
            } else {
                while at < text.count, !starts(at, closer), !starts(at, "-" + closer) {
                    guard let token = try token(text, &at) else { continue }
                    tokens.append(token)
                }
            }
            guard at < text.count else { throw .syntax("a tag does not end in \(closer)") }
            let stripsAfter = text[at] == "-"
            at += stripsAfter ? 3 : 2
            if opener == "{" { segments.append(.output(tokens)) }
            if opener == "%" { segments.append(.block(tokens)) }
            if stripsAfter {
                while at < text.count, text[at].properties.isWhitespace { at += 1 }
            } else if opener != "{", at < text.count, text[at] == "\n" {
                at += 1
            }
        }
        flush()
        return segments
    }

    /// After a tag that swallowed its newline, a line begins.
    private static func endsLine(_ segments: [TemplateSegment]) -> Bool {
        if case .output? = segments.last { return false }
        return true
    }

    private static func token(_ text: [Unicode.Scalar], _ at: inout Int) throws(TemplateFault) -> TemplateToken? {
        let first = text[at]
        if first.properties.isWhitespace {
            at += 1
            return nil
        }
        var word = String.UnicodeScalarView()
        if first == "_" || first.properties.isAlphabetic {
            while at < text.count, text[at] == "_" || text[at].properties.isAlphabetic || isDigit(text[at]) {
                word.append(text[at])
                at += 1
            }
            return .name(String(word))
        }
        if isDigit(first) {
            var isFloat = false
            while at < text.count,
                isDigit(text[at])
                    || (text[at] == "." && !isFloat && at + 1 < text.count && isDigit(text[at + 1]))
            {
                if text[at] == "." { isFloat = true }
                word.append(text[at])
                at += 1
            }
            if !isFloat, let value = Int(String(word)) { return .integer(value) }
            if isFloat, let value = Double(String(word)) { return .float(value) }
            throw .syntax("the number \(String(word)) is too large")
        }
        if first == "'" || first == "\"" {
            at += 1
            while at < text.count, text[at] != first {
                if text[at] == "\\", at + 1 < text.count {
                    at += 1
                    switch text[at] {
                    case "n": word.append("\n")
                    case "t": word.append("\t")
                    case "r": word.append("\r")
                    case "\\", "'", "\"": word.append(text[at])
                    default:
                        word.append("\\")
                        word.append(text[at])
                    }
                } else {
                    word.append(text[at])
                }
                at += 1
            }
            guard at < text.count else { throw .syntax("a string does not end") }
            at += 1
            return .string(String(word))
        }
        if at + 1 < text.count {
            let pair = String(first) + String(text[at + 1])
            if ["==", "!=", "<=", ">=", "//", "**"].contains(pair) {
                at += 2
                return .symbol(pair)
            }
        }
        guard "+-*/%~<>=()[]{}.,:|".unicodeScalars.contains(first) else {
            throw .syntax("unexpected character \"\(first)\" in a tag")
        }
        at += 1
        return .symbol(String(first))
    }

    private static func isDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }
}
