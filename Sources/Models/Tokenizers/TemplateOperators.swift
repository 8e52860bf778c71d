// Arithmetic, comparison and printing as Python does them.

import Primitives

extension TemplateInterpreter {
    func negated(_ value: TemplateValue) throws(TemplateFault) -> TemplateValue {
        switch value {
        case .integer(let number) where number != .min: return .integer(-number)
        case .float(let number): return .float(-number)
        default: throw fault("\"-\" needs a number")
        }
    }

    mutating func arithmetic(_ symbol: String, _ a: TemplateValue, _ b: TemplateValue) throws(TemplateFault)
        -> TemplateValue
    {
        switch (symbol, a, b) {
        case (_, .undefined(let reason), _), (_, _, .undefined(let reason)): throw fault(reason)
        case ("+", .string(let x), .string(let y)): return try string(x + y)
        case ("+", .list(let x), .list(let y)): return try list(x.items + y.items, isTuple: x.isTuple)
        case ("*", .string(let text), .integer(let count)), ("*", .integer(let count), .string(let text)):
            guard count <= 0 || text.count <= TemplateLimit.outputBytesMax / count else {
                throw fault("makes too much text")
            }
            return try string(Array(repeatElement(text, count: max(count, 0)).joined()))
        case (_, .integer(let x), .integer(let y)) where symbol != "/": return try integers(symbol, x, y)
        default:
            guard let x = a.number, let y = b.number else {
                throw fault("\"\(symbol)\" of a \(a.kind) and a \(b.kind)")
            }
            switch symbol {
            case "+": return .float(x + y)
            case "-": return .float(x - y)
            case "*": return .float(x * y)
            case "/" where y != 0: return .float(x / y)
            case "//" where y != 0: return .float((x / y).rounded(.down))
            case "%" where y != 0: return .float(x - y * (x / y).rounded(.down))
            default: throw fault("\"\(symbol)\" by zero")
            }
        }
    }

    private func integers(_ symbol: String, _ x: Int, _ y: Int) throws(TemplateFault) -> TemplateValue {
        let result: (partialValue: Int, overflow: Bool)
        switch symbol {
        case "+": result = x.addingReportingOverflow(y)
        case "-": result = x.subtractingReportingOverflow(y)
        case "*": result = x.multipliedReportingOverflow(by: y)
        default:
            let (quotient, overflow) = x.dividedReportingOverflow(by: y)
            guard !overflow else { throw fault("\"\(symbol)\" by zero") }
            // Python rounds towards minus infinity.
            let rest = x &- quotient &* y, down = rest != 0 && (rest < 0) != (y < 0)
            return .integer(symbol == "//" ? (down ? quotient - 1 : quotient) : (down ? rest + y : rest))
        }
        guard !result.overflow else { throw fault("\"\(symbol)\" overflows") }
        return .integer(result.partialValue)
    }

    mutating func compare(_ symbol: String, _ a: TemplateValue, _ b: TemplateValue) throws(TemplateFault) -> Bool {
        switch symbol {
        case "==": return try equals(a, b)
        case "!=": return !(try equals(a, b))
        case "in": return try contains(b, a)
        case "not in": return !(try contains(b, a))
        default: break
        }
        if case .undefined(let reason) = a { throw fault(reason) }
        if case .undefined(let reason) = b { throw fault(reason) }
        let order: Int
        if case .string(let x) = a, case .string(let y) = b {
            try chargeBytes(min(x.count, y.count))
            order = x == y ? 0 : x.lexicographicallyPrecedes(y) ? -1 : 1
        } else if case .integer(let x) = a, case .integer(let y) = b {
            order = x == y ? 0 : x < y ? -1 : 1
        } else if let x = a.number, let y = b.number {
            guard !x.isNaN, !y.isNaN else { return false }
            order = x == y ? 0 : x < y ? -1 : 1
        } else {
            throw fault("\"\(symbol)\" of a \(a.kind) and a \(b.kind)")
        }
        switch symbol {
        case "<": return order < 0
        case ">": return order > 0
        case "<=": return order <= 0
        default: return order >= 0
        }
    }

    mutating func equals(_ a: TemplateValue, _ b: TemplateValue) throws(TemplateFault) -> Bool {
        try charge(1)
        switch (a, b) {
        case (.undefined, .undefined), (.none, .none): return true
        case (.string(let x), .string(let y)):
            try chargeBytes(min(x.count, y.count))
            return x == y
        case (.integer(let x), .integer(let y)): return x == y
        case (.namespace(let x), .namespace(let y)), (.macro(let x), .macro(let y)): return x == y
        case (.list(let x), .list(let y)):
            guard x.items.count == y.items.count, x.isTuple == y.isTuple else { return false }
            for (left, right) in zip(x.items, y.items) where !(try equals(left, right)) { return false }
            return true
        case (.dictionary(let x), .dictionary(let y)):
            guard x.members.count == y.members.count else { return false }
            for member in x.members {
                try charge(y.members.count)
                guard let other = y[member.key], try equals(member.value, other) else { return false }
            }
            return true
        default:
            guard let x = a.number, let y = b.number else { return false }
            return x == y
        }
    }

    mutating func contains(_ whole: TemplateValue, _ part: TemplateValue) throws(TemplateFault) -> Bool {
        switch whole {
        case .string(let text):
            guard case .string(let wanted) = part else { throw fault("\"in\" a string needs a string") }
            return try position(of: wanted, in: text, from: 0) != nil
        case .dictionary(let dictionary):
            try charge(dictionary.members.count)
            if case .string(let key) = part { return dictionary[key] != nil }
            return false
        case .list(let list):
            for item in list.items where try equals(item, part) { return true }
            return false
        case .undefined: return false
        default: throw fault("\"in\" needs a sequence, not a \(whole.kind)")
        }
    }

    /// Where `wanted` begins in `text`, in bytes. A hostile pair costs its product, which is charged.
    mutating func position(of wanted: [UInt8], in text: [UInt8], from start: Int) throws(TemplateFault) -> Int? {
        guard let first = wanted.first else { return start <= text.count ? start : nil }
        var at = start
        while at + wanted.count <= text.count {
            guard text[at] == first else {
                at += 1
                continue
            }
            var same = 1
            while same < wanted.count, text[at + same] == wanted[same] { same += 1 }
            if same == wanted.count { return at }
            if same > 16 { try chargeBytes(same) }
            at += 1
        }
        return nil
    }

    // MARK: Printing

    /// As `{{ value }}` shows it.
    mutating func printed(_ value: TemplateValue) throws(TemplateFault) -> [UInt8] {
        if case .string(let text) = value { return text }
        if case .undefined = value { return [] }
        var out: [UInt8] = []
        try write(value, isNested: false, into: &out)
        return out
    }

    /// Python's `str`, and `repr` for what lies in lists and objects.
    private mutating func write(_ value: TemplateValue, isNested: Bool, into out: inout [UInt8]) throws(TemplateFault) {
        try charge(1)
        switch value {
        case .undefined: if isNested { out += "Undefined".utf8 }
        case .none: out += "None".utf8
        case .bool(let flag): out += (flag ? "True" : "False").utf8
        case .integer(let number): out += "\(number)".utf8
        case .float(let number): out += Self.python(number).utf8
        case .string(let text):
            try chargeBytes(text.count)
            if isNested { Self.quote(text, into: &out) } else { out += text }
        case .list(let list):
            out.append(list.isTuple ? 0x28 : 0x5b)
            for (index, item) in list.items.enumerated() {
                if index > 0 { out += ", ".utf8 }
                try write(item, isNested: true, into: &out)
            }
            if list.isTuple, list.items.count == 1 { out.append(0x2c) }
            out.append(list.isTuple ? 0x29 : 0x5d)
        case .dictionary(let dictionary):
            out.append(0x7b)
            for (index, member) in dictionary.members.enumerated() {
                if index > 0 { out += ", ".utf8 }
                Self.quote(member.key, into: &out)
                out += ": ".utf8
                try write(member.value, isNested: true, into: &out)
            }
            out.append(0x7d)
        case .namespace, .macro, .method, .loop: throw unsupported("printing a \(value.kind)")
        }
    }

    static func python(_ number: Double) -> String {
        if number.isNaN { return "nan" }
        if number.isInfinite { return number < 0 ? "-inf" : "inf" }
        if number.magnitude >= 1e16 || number.magnitude < 1e15 { return "\(number)" }
        return "\(Int(number)).0"
    }

    private static func quote(_ text: [UInt8], into out: inout [UInt8]) {
        let mark: UInt8 = text.contains(0x27) && !text.contains(0x22) ? 0x22 : 0x27
        out.append(mark)
        for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
            switch scalar {
            case "\\": out += "\\\\".utf8
            case "\n": out += "\\n".utf8
            case "\r": out += "\\r".utf8
            case "\t": out += "\\t".utf8
            case _ where scalar.value == UInt32(mark): out += [0x5c, mark]
            case _ where scalar.value < 0x20 || scalar.value == 0x7f:
                out += "\\x".utf8
                out += Hex.encode([UInt8(scalar.value)]).utf8
            default: out += String(Character(scalar)).utf8
            }
        }
        out.append(mark)
    }

    /// `json.dumps(value, ensure_ascii=False, …)`.
    mutating func json(
        _ value: TemplateValue, indent: [UInt8]?, sorted: Bool, separators: (item: [UInt8], key: [UInt8])
    ) throws(TemplateFault) -> [UInt8] {
        var out: [UInt8] = []
        try writeJSON(value, indent, sorted, separators, 0, &out)
        return out
    }

    private mutating func writeJSON(
        _ value: TemplateValue, _ indent: [UInt8]?, _ sorted: Bool, _ separators: (item: [UInt8], key: [UInt8]),
        _ level: Int, _ out: inout [UInt8]
    ) throws(TemplateFault) {
        try charge(1)
        func newLine(_ level: Int, _ out: inout [UInt8]) {
            guard let indent else { return }
            out.append(0x0a)
            for _ in 0..<level { out += indent }
        }
        switch value {
        case .none: out += "null".utf8
        case .bool(let flag): out += (flag ? "true" : "false").utf8
        case .integer(let number): out += "\(number)".utf8
        case .float(let number):
            out +=
                (number.isNaN
                ? "NaN" : number.isInfinite ? (number < 0 ? "-Infinity" : "Infinity") : Self.python(number)).utf8
        case .string(let text):
            try chargeBytes(text.count)
            Self.quoteJSON(text, into: &out)
        case .list(let list):
            out.append(0x5b)
            for (index, item) in list.items.enumerated() {
                if index > 0 { out += separators.item }
                newLine(level + 1, &out)
                try writeJSON(item, indent, sorted, separators, level + 1, &out)
            }
            if !list.items.isEmpty { newLine(level, &out) }
            out.append(0x5d)
        case .dictionary(let dictionary):
            var members = dictionary.members
            if sorted { members.sort { $0.key.lexicographicallyPrecedes($1.key) } }
            out.append(0x7b)
            for (index, member) in members.enumerated() {
                if index > 0 { out += separators.item }
                newLine(level + 1, &out)
                Self.quoteJSON(member.key, into: &out)
                out += separators.key
                try writeJSON(member.value, indent, sorted, separators, level + 1, &out)
            }
            if !members.isEmpty { newLine(level, &out) }
            out.append(0x7d)
        default: throw fault("a \(value.kind) cannot become JSON")
        }
        guard out.count <= TemplateLimit.outputBytesMax else { throw fault("makes too much text") }
    }

    private static func quoteJSON(_ text: [UInt8], into out: inout [UInt8]) {
        out.append(0x22)
        for byte in text {
            switch byte {
            case 0x22: out += "\\\"".utf8
            case 0x5c: out += "\\\\".utf8
            case 0x0a: out += "\\n".utf8
            case 0x0d: out += "\\r".utf8
            case 0x09: out += "\\t".utf8
            case 0x08: out += "\\b".utf8
            case 0x0c: out += "\\f".utf8
            case 0..<0x20: out += ("\\u00" + Hex.encode([byte])).utf8
            default: out.append(byte)
            }
        }
        out.append(0x22)
    }
}
