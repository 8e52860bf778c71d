// Recursive descent over the tags of a chat template, in Jinja's order of precedence:
// if-else < or < and < not < comparison, in, is < ~ < + - < * / // % < unary - < . [] () < | filter.

struct TemplateParser {
    private var segments: ArraySlice<TemplateSegment>
    private var tokens: ArraySlice<TemplateToken> = []
    private var depth = 0

    static func parse(_ source: String) throws(TemplateFault) -> [Statement] {
        var parser = Self(segments: try TemplateLexer.segments(source)[...])
        let (body, end) = try parser.body(until: [])
        guard end.isEmpty else { throw .syntax("{% \(end) %} closes nothing") }
        return body
    }

    private init(segments: ArraySlice<TemplateSegment>) { self.segments = segments }

    // MARK: Statements

    /// Statements up to one of the block words in `ends`, whose rest is left in `tokens`.
    private mutating func body(until ends: [String]) throws(TemplateFault) -> ([Statement], end: String) {
        depth += 1
        defer { depth -= 1 }
        guard depth <= TemplateLimit.depthMax else { throw .syntax("nested deeper than \(TemplateLimit.depthMax)") }
        var statements: [Statement] = []
        while let segment = segments.popFirst() {
            switch segment {
            case .text(let text): statements.append(.text(text))
            case .output(let tokens):
                self.tokens = tokens[...]
                statements.append(.output(try expression()))
                try finishTag()
            case .block(let tokens):
                self.tokens = tokens[...]
                let word = try name()
                if ends.contains(word) { return (statements, word) }
                statements.append(try statement(word))
            }
        }
        guard ends.isEmpty else { throw .syntax("{% \(ends[ends.count - 1]) %} is missing") }
        return (statements, "")
    }

    private mutating func statement(_ word: String) throws(TemplateFault) -> Statement {
        switch word {
        case "if":
            var branches: [(condition: Expression, body: [Statement])] = []
            var otherwise: [Statement] = []
            var end = "elif"
            while end == "elif" {
                let condition = try expression()
                try finishTag()
                let (body, next) = try body(until: ["elif", "else", "endif"])
                branches.append((condition, body))
                end = next
            }
            if end == "else" {
                try finishTag()
                (otherwise, _) = try body(until: ["endif"])
            }
            try finishTag()
            return .branch(branches, otherwise: otherwise)
        case "for":
            var targets = [try name()]
            while accept(",") { targets.append(try name()) }
            guard try name() == "in" else { throw .syntax("for needs \"in\"") }
            let sequence = try disjunction()
            let filter = acceptName("if") ? try disjunction() : nil
            try finishTag()
            var (body, end) = try body(until: ["else", "endfor"])
            var otherwise: [Statement] = []
            if end == "else" {
                try finishTag()
                (otherwise, end) = try self.body(until: ["endfor"])
            }
            try finishTag()
            return .loop(targets: targets, sequence, filter: filter, body: body, otherwise: otherwise)
        case "set":
            let target = try name()
            let attribute = accept(".") ? try name() : nil
            guard accept("=") else { throw .unsupported("{% set %} without \"=\"") }
            let value = try expression()
            try finishTag()
            return .set(target: target, attribute: attribute, value)
        case "generation", "endgeneration":
            try finishTag()
            return .text("")
        default: throw .unsupported("{% \(word) %}")
        }
    }

    // MARK: Tokens

    private func finishTag() throws(TemplateFault) {
        if let token = tokens.first { throw .syntax("unexpected \(Self.spelling(token)) in a tag") }
    }

    private static func spelling(_ token: TemplateToken) -> String {
        switch token {
        case .name(let text), .symbol(let text): "\"\(text)\""
        case .string(let text): "'\(text)'"
        case .integer(let value): "\(value)"
        case .float(let value): "\(value)"
        }
    }

    private mutating func name() throws(TemplateFault) -> String {
        guard case .name(let text)? = tokens.popFirst() else { throw .syntax("a name belongs here") }
        return text
    }

    private mutating func accept(_ symbol: String) -> Bool {
        guard tokens.first == .symbol(symbol) else { return false }
        tokens.removeFirst()
        return true
    }

    private mutating func acceptName(_ word: String) -> Bool {
        guard tokens.first == .name(word) else { return false }
        tokens.removeFirst()
        return true
    }

    private mutating func expect(_ symbol: String) throws(TemplateFault) {
        guard accept(symbol) else { throw .syntax("\"\(symbol)\" is missing") }
    }

    // MARK: Expressions

    private mutating func expression() throws(TemplateFault) -> Expression {
        depth += 1
        defer { depth -= 1 }
        guard depth <= TemplateLimit.depthMax else { throw .syntax("nested deeper than \(TemplateLimit.depthMax)") }
        let value = try disjunction()
        guard acceptName("if") else { return value }
        let condition = try disjunction()
        let otherwise = acceptName("else") ? try expression() : nil
        return .conditional(then: value, condition: condition, otherwise: otherwise)
    }

    private mutating func disjunction() throws(TemplateFault) -> Expression {
        var left = try conjunction()
        while acceptName("or") { left = .binary("or", left, try conjunction()) }
        return left
    }

    private mutating func conjunction() throws(TemplateFault) -> Expression {
        var left = try negation()
        while acceptName("and") { left = .binary("and", left, try negation()) }
        return left
    }

    private mutating func negation() throws(TemplateFault) -> Expression {
        var count = 0
        while acceptName("not") { count += 1 }
        let value = try comparison()
        return count == 0 ? value : count.isMultiple(of: 2) ? .unary("not", .unary("not", value)) : .unary("not", value)
    }

    private mutating func comparison() throws(TemplateFault) -> Expression {
        var left = try concatenation()
        while true {
            if case .symbol(let symbol)? = tokens.first, ["==", "!=", "<", ">", "<=", ">="].contains(symbol) {
                tokens.removeFirst()
                left = .binary(symbol, left, try concatenation())
            } else if acceptName("in") {
                left = .binary("in", left, try concatenation())
            } else if tokens.first == .name("not"), tokens.dropFirst().first == .name("in") {
                tokens.removeFirst(2)
                left = .unary("not", .binary("in", left, try concatenation()))
            } else if acceptName("is") {
                let negated = acceptName("not")
                let test = try name()
                guard TemplateValue.tests.contains(test) else { throw .unsupported("test \"\(test)\"") }
                let arguments = accept("(") ? try list(until: ")") : []
                left = .test(left, test, arguments, negated: negated)
            } else {
                return left
            }
        }
    }

    private mutating func concatenation() throws(TemplateFault) -> Expression {
        var left = try sum()
        while accept("~") { left = .binary("~", left, try sum()) }
        return left
    }

    private mutating func sum() throws(TemplateFault) -> Expression {
        var left = try product()
        while case .symbol(let symbol)? = tokens.first, symbol == "+" || symbol == "-" {
            tokens.removeFirst()
            left = .binary(symbol, left, try product())
        }
        return left
    }

    private mutating func product() throws(TemplateFault) -> Expression {
        var left = try signed()
        while case .symbol(let symbol)? = tokens.first, ["*", "/", "//", "%"].contains(symbol) {
            tokens.removeFirst()
            left = .binary(symbol, left, try signed())
        }
        return left
    }

    private mutating func signed() throws(TemplateFault) -> Expression {
        var negative = false
        while true {
            if accept("-") { negative.toggle() } else if !accept("+") { break }
        }
        let value = try filtered(try postfix(try primary()))
        return negative ? .unary("-", value) : value
    }

    private mutating func filtered(_ value: Expression) throws(TemplateFault) -> Expression {
        var value = value
        while accept("|") {
            let name = try name()
            guard TemplateValue.filters.contains(name) else { throw .unsupported("filter \"\(name)\"") }
            value = try postfix(.filter(value, name, accept("(") ? try list(until: ")") : []))
        }
        return value
    }

    private mutating func postfix(_ value: Expression) throws(TemplateFault) -> Expression {
        var value = value
        while true {
            if accept(".") {
                value = .attribute(value, try name())
            } else if accept("[") {
                let from = tokens.first == .symbol(":") ? nil : try expression()
                if accept(":") {
                    let ends: [TemplateToken] = [.symbol("]"), .symbol(":")]
                    let to = tokens.first.map(ends.contains) == true ? nil : try expression()
                    let step = accept(":") ? try expression() : nil
                    value = .slice(value, from: from, to: to, step: step)
                } else if let from {
                    value = .item(value, from)
                }
                try expect("]")
            } else if accept("(") {
                var arguments: [Expression] = [], named: [(name: String, value: Expression)] = []
                while !accept(")") {
                    if case .name(let name)? = tokens.first, tokens.dropFirst().first == .symbol("=") {
                        tokens.removeFirst(2)
                        named.append((name, try expression()))
                    } else {
                        arguments.append(try expression())
                    }
                    if !accept(","), tokens.first != .symbol(")") { throw .syntax("\")\" is missing") }
                }
                value = .call(value, arguments, named)
            } else {
                return value
            }
        }
    }

    private mutating func list(until closer: String) throws(TemplateFault) -> [Expression] {
        var items: [Expression] = []
        while !accept(closer) {
            items.append(try expression())
            if !accept(","), tokens.first != .symbol(closer) { throw .syntax("\"\(closer)\" is missing") }
        }
        return items
    }

    private mutating func primary() throws(TemplateFault) -> Expression {
        guard let token = tokens.popFirst() else { throw .syntax("an expression ends early") }
        switch token {
        case .integer(let value): return .literal(.integer(value))
        case .float(let value): return .literal(.float(value))
        case .string(var value):
            while case .string(let more)? = tokens.first {
                value += more
                tokens.removeFirst()
            }
            return .literal(.string(value))
        case .name("true"), .name("True"): return .literal(.bool(true))
        case .name("false"), .name("False"): return .literal(.bool(false))
        case .name("none"), .name("None"): return .literal(.none)
        case .name(let name): return .name(name)
        case .symbol("("):
            let value = try expression()
            if tokens.first == .symbol(",") {
                tokens.removeFirst()
                return .list([value] + (try list(until: ")")))
            }
            try expect(")")
            return value
        case .symbol("["): return .list(try list(until: "]"))
        case .symbol("{"):
            var members: [(key: Expression, value: Expression)] = []
            while !accept("}") {
                let key = try expression()
                try expect(":")
                members.append((key, try expression()))
                if !accept(","), tokens.first != .symbol("}") { throw .syntax("\"}\" is missing") }
            }
            return .dictionary(members)
        case .symbol: throw .syntax("unexpected \(Self.spelling(token)) in a tag")
        }
    }
}
