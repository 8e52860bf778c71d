// The filters and tests of Jinja that chat templates use.
//
// Source: jinja2/filters.py and tests.py; `tojson` as transformers replaces it.

extension TemplateInterpreter {
    static let filters: Set<String> = [
        "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "indent", "int",
        "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace",
        "reverse", "round", "safe", "select", "selectattr", "sort", "string", "sum", "title", "tojson", "trim",
        "unique", "upper",
    ]
    static let tests: Set<String> = [
        "boolean", "callable", "defined", "divisibleby", "eq", "equalto", "even", "false", "float", "ge", "gt",
        "greaterthan", "in", "integer", "iterable", "le", "lessthan", "lower", "lt", "mapping", "ne", "none", "number",
        "odd", "sameas", "sequence", "string", "true", "undefined", "upper",
    ]

    mutating func filter(_ value: TemplateValue, _ name: String, _ given: CallValues) throws(TemplateFault)
        -> TemplateValue
    {
        switch name {
        case "safe": return value
        case "string": return try string(try printed(value))
        case "default", "d":
            var isMissing = false
            if case .undefined = value { isMissing = true }
            let wanted = isMissing || (given.value(1, "boolean")?.isTrue == true && !value.isTrue)
            return wanted ? given.value(0, "default_value") ?? .string([]) : value
        case "tojson": return try toJSON(value, given)
        case "trim", "upper", "lower", "capitalize", "title", "replace", "indent", "e", "escape":
            return try textFilter(try printed(value), name, given)
        case "int", "float", "abs", "round": return try numberFilter(value, name, given)
        case "items":
            guard case .dictionary = value else {
                if case .undefined = value { return try list([]) }
                throw fault("filter \"items\" needs an object, not a \(value.kind)")
            }
            return try method(value, "items", CallValues())
        case "dictsort":
            guard case .dictionary(let dictionary) = value else { throw fault("filter \"dictsort\" needs an object") }
            guard given.positional.isEmpty, given.named.isEmpty else { throw unsupported("an argument of dictsort") }
            let members = try sorted(dictionary.members.map { .string($0.key) }, caseless: true)
            var pairs: [TemplateValue] = []
            for case .string(let key) in members {
                pairs.append(try list([.string(key), dictionary[key] ?? .none], isTuple: true))
            }
            return try list(pairs)
        default: return try listFilter(value, name, given)
        }
    }

    private mutating func toJSON(_ value: TemplateValue, _ given: CallValues) throws(TemplateFault) -> TemplateValue {
        var indent: [UInt8]?, sorted = false
        var separators: (item: [UInt8], key: [UInt8])?
        for (place, value) in given.positional.enumerated() {
            // tojson(x, ensure_ascii, indent, separators, sort_keys)
            guard place == 1 || !value.isTrue else { throw unsupported("this argument of tojson") }
        }
        for (name, value) in given.named {
            switch (name, value) {
            case ("indent", _), ("ensure_ascii", .bool(false)): break
            case ("sort_keys", .bool(let flag)): sorted = flag
            case ("separators", .list(let list)):
                guard list.items.count == 2, case .string(let item) = list.items[0],
                    case .string(let key) = list.items[1], item.count <= 16, key.count <= 16
                else { throw unsupported("these separators of tojson") }
                separators = (item, key)
            case ("separators", .none): break
            default: throw unsupported("argument \"\(name.prefix(40))\" of tojson")
            }
        }
        switch given.value(1, "indent") {
        case .integer(let count)?: indent = Array(repeating: 0x20, count: min(max(count, 0), 16))
        case .string(let text)?: indent = Array(text.prefix(16))
        case TemplateValue.none?, nil: break
        default: throw unsupported("this indent of tojson")
        }
        let marks = separators ?? (Array((indent == nil ? ", " : ",").utf8), Array(": ".utf8))
        return try string(try json(value, indent: indent, sorted: sorted, separators: marks))
    }

    private mutating func numberFilter(_ value: TemplateValue, _ name: String, _ given: CallValues)
        throws(TemplateFault) -> TemplateValue
    {
        var number = value.number
        if case .string(let text) = value {
            let text = String(decoding: text, as: UTF8.self).trimmed
            if name == "int", let whole = Int(text) { return .integer(whole) }
            number = Double(text)
        }
        switch name {
        case "int":
            if case .integer = value { return value }
            guard let number, number.magnitude < 1e18 else { return given.value(0, "default") ?? .integer(0) }
            return .integer(Int(number))
        case "float": return number.map(TemplateValue.float) ?? given.value(0, "default") ?? .float(0)
        case "abs":
            if case .integer(let whole) = value, whole != .min { return .integer(abs(whole)) }
            guard let number = value.number else { throw fault("filter \"abs\" needs a number") }
            return .float(abs(number))
        default:
            guard given.positional.isEmpty, given.named.isEmpty else { throw unsupported("an argument of round") }
            guard let number = value.number else { throw fault("filter \"round\" needs a number") }
            return .float(number.rounded(.toNearestOrEven))
        }
    }

    private mutating func textFilter(_ text: [UInt8], _ name: String, _ given: CallValues) throws(TemplateFault)
        -> TemplateValue
    {
        switch name {
        case "trim": return try strip(text, given.value(0, "chars"), left: true, right: true)
        case "replace":
            guard case .string(let from)? = given.value(0, "old"), case .string(let to)? = given.value(1, "new") else {
                throw fault("filter \"replace\" needs two strings")
            }
            var most = Int.max
            if case .integer(let count)? = given.value(2, "count") { most = count < 0 ? .max : count }
            return try replaced(text, from, to, most: most)
        case "indent":
            var width: [UInt8] = Array(repeating: 0x20, count: 4)
            if case .integer(let count)? = given.value(0, "width") {
                width = Array(repeating: 0x20, count: min(max(count, 0), 64))
            }
            if case .string(let text)? = given.value(0, "width") { width = Array(text.prefix(64)) }
            let first = given.value(1, "first")?.isTrue ?? false, blank = given.value(2, "blank")?.isTrue ?? false
            var out: [UInt8] = []
            for (index, line) in text.split(separator: 0x0a, omittingEmptySubsequences: false).enumerated() {
                if index > 0 { out.append(0x0a) }
                if index == 0 ? first : blank || !line.isEmpty { out += width }
                out += line
            }
            return try string(out)
        case "e", "escape":
            var out: [UInt8] = []
            for byte in text {
                switch byte {
                case UInt8(ascii: "&"): out += "&amp;".utf8
                case UInt8(ascii: "<"): out += "&lt;".utf8
                case UInt8(ascii: ">"): out += "&gt;".utf8
                case UInt8(ascii: "'"): out += "&#39;".utf8
                case UInt8(ascii: "\""): out += "&#34;".utf8
                default: out.append(byte)
                }
            }
            return try string(out)
        default: return try cased(text, name)
        }
    }

    private mutating func listFilter(_ value: TemplateValue, _ name: String, _ given: CallValues)
        throws(TemplateFault) -> TemplateValue
    {
        let items = try elements(value, "for filter \"\(name)\"")
        switch name {
        case "length", "count": return .integer(items.count)
        case "first": return items.first ?? .undefined("no first item, the sequence is empty")
        case "last": return items.last ?? .undefined("no last item, the sequence is empty")
        case "list": return try list(items)
        case "reverse":
            guard case .string = value else { return try list(items.reversed()) }
            var out: [UInt8] = []
            for case .string(let character) in items.reversed() { out += character }
            return try string(out)
        case "join":
            let separator = try given.value(0, "d").map { value throws(TemplateFault) in try printed(value) } ?? []
            var out: [UInt8] = []
            for (index, item) in items.enumerated() {
                if index > 0 { out += separator }
                let part = try given.value(1, "attribute").map { key throws(TemplateFault) in try path(item, key) }
                out += try printed(part ?? item)
                if out.count > TemplateLimit.outputBytesMax { try chargeBytes(out.count) }
            }
            return try string(out)
        case "map": return try mapped(items, given)
        case "select", "reject", "selectattr", "rejectattr": return try selected(items, name, given)
        case "max", "min", "sort":
            for (key, _) in given.named where key != "reverse" && key != "attribute" && key != "case_sensitive" {
                throw unsupported("argument \"\(key.prefix(40))\" of \(name)")
            }
            let caseless = !(given.value(1, "case_sensitive")?.isTrue ?? false)
            let attribute = given.named.first { $0.0 == "attribute" }?.1
            let order = try sorted(items, caseless: caseless, attribute: attribute)
            if name == "max" { return order.last ?? .undefined("no greatest item, the sequence is empty") }
            if name == "min" { return order.first ?? .undefined("no least item, the sequence is empty") }
            return try list(given.value(0, "reverse")?.isTrue == true ? order.reversed() : order)
        case "unique":
            var kept: [TemplateValue] = []
            for item in items {
                var isKnown = false
                for other in kept where try equals(try folded(item), try folded(other)) {
                    isKnown = true
                    break
                }
                if !isKnown { kept.append(item) }
            }
            return try list(kept)
        case "sum":
            var total = given.value(1, "start") ?? .integer(0)
            for item in items {
                let part = try given.value(0, "attribute").map { key throws(TemplateFault) in try path(item, key) }
                total = try arithmetic("+", total, part ?? item)
            }
            return total
        default: throw unsupported("filter \"\(name)\"")
        }
    }

    private mutating func mapped(_ items: [TemplateValue], _ given: CallValues) throws(TemplateFault) -> TemplateValue {
        var out: [TemplateValue] = []
        if let key = given.named.first(where: { $0.0 == "attribute" })?.1 {
            let otherwise = given.named.first { $0.0 == "default" }?.1
            for item in items {
                out.append(try path(item, key, otherwise: otherwise))
            }
            return try list(out)
        }
        guard case .string(let word)? = given.positional.first else {
            throw fault("map needs a filter or an attribute")
        }
        let name = String(decoding: word, as: UTF8.self)
        guard Self.filters.contains(name), name != "map" else { throw unsupported("map with \"\(name.prefix(40))\"") }
        let rest = CallValues(positional: Array(given.positional.dropFirst()), named: given.named)
        for item in items { out.append(try filter(item, name, rest)) }
        return try list(out)
    }

    private mutating func selected(_ items: [TemplateValue], _ name: String, _ given: CallValues)
        throws(TemplateFault) -> TemplateValue
    {
        let usesAttribute = name.hasSuffix("attr"), wanted = name.hasPrefix("select")
        let arguments = given.positional.dropFirst(usesAttribute ? 1 : 0)
        var test: String?
        if let word = arguments.first {
            guard case .string(let text) = word else { throw fault("\(name) needs the name of a test") }
            test = String(decoding: text, as: UTF8.self)
        }
        if let test, !Self.tests.contains(test), !["==", "!=", "<", ">", "<=", ">="].contains(test) {
            throw unsupported("test \"\(test.prefix(40))\"")
        }
        var kept: [TemplateValue] = []
        for item in items {
            var value = item
            if usesAttribute {
                guard let key = given.positional.first else { throw fault("\(name) needs an attribute") }
                value = try path(item, key)
            }
            let rest = Array(arguments.dropFirst())
            let holds = try test.map { name throws(TemplateFault) in try self.test(value, name, rest) } ?? value.isTrue
            if holds == wanted { kept.append(item) }
        }
        return try list(kept)
    }

    /// `a.b.0` of a value; what is undefined on the way becomes `otherwise`.
    private mutating func path(
        _ value: TemplateValue, _ key: TemplateValue, otherwise: TemplateValue? = nil
    ) throws(TemplateFault) -> TemplateValue {
        try charge(1)
        switch key {
        case .integer(let index):
            let items = try elements(value, "to take an item of")
            return items.indices.contains(index) ? items[index] : .undefined("no item \(index)")
        case .string(let text):
            var value = value
            for part in text.split(separator: 0x2e, maxSplits: TemplateLimit.chainMax) {
                if let index = Int(String(decoding: part, as: UTF8.self)) {
                    value = try path(value, .integer(index))
                } else if case .dictionary(let dictionary) = value {
                    value = dictionary[Array(part)] ?? .undefined("no \"\(String(decoding: part, as: UTF8.self))\"")
                } else {
                    value = try attribute(value, String(decoding: part, as: UTF8.self))
                }
                if let otherwise, case .undefined = value { value = otherwise }
            }
            return value
        default: throw fault("an attribute needs a name")
        }
    }

    private mutating func folded(_ value: TemplateValue) throws(TemplateFault) -> TemplateValue {
        if case .string(let text) = value { return try cased(text, "lower") }
        return value
    }

    /// Stable, as Python's.
    private mutating func sorted(_ items: [TemplateValue], caseless: Bool, attribute: TemplateValue? = nil)
        throws(TemplateFault) -> [TemplateValue]
    {
        var keyed: [(key: TemplateValue, value: TemplateValue)] = []
        for item in items {
            let key = try attribute.map { name throws(TemplateFault) in try path(item, name) } ?? item
            keyed.append((caseless ? try folded(key) : key, item))
        }
        // Merge sort by hand: the library's takes no typed throws.
        var width = 1
        while width < keyed.count {
            var out: [(key: TemplateValue, value: TemplateValue)] = []
            var start = 0
            while start < keyed.count {
                let middle = min(start + width, keyed.count), end = min(start + 2 * width, keyed.count)
                var left = start, right = middle
                while left < middle || right < end {
                    try charge(1)
                    let takesRight =
                        left == middle
                        ? true : right == end ? false : try compare("<", keyed[right].key, keyed[left].key)
                    out.append(keyed[takesRight ? right : left])
                    if takesRight { right += 1 } else { left += 1 }
                }
                start = end
            }
            keyed = out
            width *= 2
        }
        return keyed.map(\.value)
    }

    // MARK: Tests

    mutating func test(_ value: TemplateValue, _ name: String, _ arguments: [TemplateValue]) throws(TemplateFault)
        -> Bool
    {
        switch (name, value) {
        case ("undefined", .undefined), ("none", .none), ("string", .string), ("mapping", .dictionary),
            ("boolean", .bool), ("integer", .integer), ("float", .float), ("number", .integer), ("number", .float),
            ("number", .bool), ("true", .bool(true)), ("false", .bool(false)), ("sequence", .list),
            ("sequence", .string), ("sequence", .dictionary), ("iterable", .list), ("iterable", .string),
            ("iterable", .dictionary), ("iterable", .undefined), ("sequence", .undefined), ("callable", .macro),
            ("callable", .method):
            return true
        case ("defined", .undefined): return false
        case ("defined", _): return true
        case ("even", .integer(let number)): return number.isMultiple(of: 2)
        case ("odd", .integer(let number)): return !number.isMultiple(of: 2)
        case ("lower", .string(let text)): return try equals(try cased(text, "lower"), value) && hasLetters(text)
        case ("upper", .string(let text)): return try equals(try cased(text, "upper"), value) && hasLetters(text)
        default: break
        }
        let operators = [
            "eq": "==", "equalto": "==", "==": "==", "sameas": "==", "ne": "!=", "!=": "!=", "lt": "<", "lessthan": "<",
            "<": "<", "gt": ">", "greaterthan": ">", ">": ">", "le": "<=", "<=": "<=", "ge": ">=", ">=": ">=",
            "in": "in",
        ]
        guard let symbol = operators[name] else {
            guard name == "divisibleby" else { return false }
            guard case .integer(let number) = value, case .integer(let by)? = arguments.first, by != 0 else {
                throw fault("divisibleby needs integers")
            }
            return by == -1 || number % by == 0
        }
        guard let other = arguments.first else { throw fault("test \"\(name)\" needs a value") }
        if name == "sameas" { guard value.kind == other.kind else { return false } }
        return try compare(symbol, value, other)
    }

    private func hasLetters(_ text: [UInt8]) -> Bool {
        String(decoding: text, as: UTF8.self).unicodeScalars.contains { $0.properties.isCased }
    }
}

extension String {
    /// Without white space at both ends.
    fileprivate var trimmed: String {
        var scalars = Substring(self).unicodeScalars
        while scalars.first?.properties.isWhitespace == true { scalars.removeFirst() }
        while scalars.last?.properties.isWhitespace == true { scalars.removeLast() }
        return String(scalars)
    }
}
