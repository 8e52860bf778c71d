// Recursive descent over the tags of a chat template, in Jinja's order of precedence:
// if-else < or < and < not < comparison, in < + - < ~ < * / // % < ** < unary - < . [] () < | filter, is test.
// Chains of one level are kept flat, so that a tree is never deeper than its source is nested.

struct TemplateParser {
    private var segments: ArraySlice<TemplateSegment>
    private var tokens: ArraySlice<TemplateToken> = []
    private var line = 1
    private var depth = 0
    private var loops = 0

    static func parse(_ source: String) throws(TemplateFault) -> [Statement] {
        var parser = Self(segments: try TemplateLexer.segments(source)[...])
        return try parser.body(until: []).0
    }

    private init(segments: ArraySlice<TemplateSegment>) { self.segments = segments }

    private func syntax(_ reason: String) -> TemplateFault { .syntax(line: tokens.first?.line ?? line, reason) }

    private func unsupported(_ feature: String) -> TemplateFault {
        .unsupported(line: tokens.first?.line ?? line, feature)
    }

    private mutating func enter() throws(TemplateFault) {
        depth += 1
        guard depth <= TemplateLimit.nestingMax else { throw syntax("nested deeper than \(TemplateLimit.nestingMax)") }
    }

    // MARK: Statements

    /// Statements up to one of the block words in `ends`, whose rest is left in `tokens`.
    private mutating func body(until ends: [String]) throws(TemplateFault) -> ([Statement], end: String) {
        try enter()
        defer { depth -= 1 }
        let first = line
        var statements: [Statement] = []
        while let segment = segments.popFirst() {
            line = segment.line
            switch segment.kind {
            case .text(let text): statements.append(Statement(line: line, kind: .text(text)))
            case .output(let tokens):
                self.tokens = tokens[...]
                statements.append(Statement(line: line, kind: .output(try tuple())))
                try finishTag()
            case .block(let tokens):
                self.tokens = tokens[...]
                let word = try name()
                if ends.contains(word) { return (statements, word) }
                let line = line
                statements.append(Statement(line: line, kind: try statement(word)))
            }
        }
        guard let end = ends.last else { return (statements, "") }
        throw .syntax(line: first, "{% \(end) %} is missing")
    }

    private mutating func closedBody(_ end: String) throws(TemplateFault) -> [Statement] {
        try finishTag()
        let (statements, _) = try body(until: [end])
        // Jinja allows a name behind some of them.
        if end == "endmacro" { _ = tokens.popFirst() }
        try finishTag()
        return statements
    }

    private mutating func statement(_ word: String) throws(TemplateFault) -> Statement.Kind {
        switch word {
        case "if": return try branch()
        case "for": return try loop()
        case "set": return try set()
        case "macro": return try macro()
        case "with":
            var variables: [(name: String, value: Expression)] = []
            while !tokens.isEmpty {
                if !variables.isEmpty { try expect(",") }
                let name = try name()
                try expect("=")
                variables.append((name, try expression()))
            }
            return .with(variables, body: try closedBody("endwith"))
        case "generation": return .group(try closedBody("endgeneration"))
        case "break", "continue":
            guard loops > 0 else { throw syntax("{% \(word) %} outside a loop") }
            try finishTag()
            return word == "break" ? .breakLoop : .continueLoop
        case "endif", "endfor", "endset", "endmacro", "endwith", "endgeneration", "else", "elif", "endraw":
            throw syntax("{% \(word) %} closes nothing")
        default: throw unsupported("{% \(word.prefix(40)) %}")
        }
    }

    private mutating func branch() throws(TemplateFault) -> Statement.Kind {
        var branches: [(condition: Expression, body: [Statement])] = []
        var otherwise: [Statement] = []
        var end = "elif"
        while end == "elif" {
            let condition = try tuple()
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
    }

    private mutating func loop() throws(TemplateFault) -> Statement.Kind {
        let isGrouped = accept("(")
        var targets = [try name()]
        while accept(",") { targets.append(try name()) }
        if isGrouped { try expect(")") }
        guard acceptName("in") else { throw syntax("for needs \"in\"") }
        var sequence = try disjunction()
        if tokens.first?.kind == .symbol(",") { sequence = try tuple(first: sequence) }
        let filter = acceptName("if") ? try expression() : nil
        if acceptName("recursive") { throw unsupported("a recursive for") }
        try finishTag()
        loops += 1
        var (body, end) = try body(until: ["else", "endfor"])
        loops -= 1
        var otherwise: [Statement] = []
        if end == "else" {
            try finishTag()
            (otherwise, end) = try self.body(until: ["endfor"])
        }
        try finishTag()
        return .loop(targets: targets, sequence, filter: filter, body: body, otherwise: otherwise)
    }

    private mutating func set() throws(TemplateFault) -> Statement.Kind {
        var targets: [Statement.Target] = []
        repeat {
            let name = try name()
            targets.append(Statement.Target(name: name, attribute: accept(".") ? try self.name() : nil))
        } while accept(",")
        if accept("=") {
            let value = try tuple()
            try finishTag()
            return .set(targets, value)
        }
        guard targets.count == 1 else { throw syntax("\"=\" is missing") }
        var filters: [(name: String, arguments: TemplateArguments)] = []
        while accept("|") { filters.append(try filterCall()) }
        return .setBlock(targets[0], filters: filters, body: try closedBody("endset"))
    }

    private mutating func macro() throws(TemplateFault) -> Statement.Kind {
        let name = try name()
        try expect("(")
        var parameters: [(name: String, value: Expression?)] = []
        while !accept(")") {
            if !parameters.isEmpty { try expect(",") }
            let parameter = try self.name()
            parameters.append((parameter, accept("=") ? try expression() : nil))
        }
        let outer = loops
        loops = 0
        defer { loops = outer }
        return .macro(TemplateMacro(name: name, parameters: parameters, body: try closedBody("endmacro")))
    }

    // MARK: Tokens

    private func finishTag() throws(TemplateFault) {
        if let token = tokens.first { throw syntax("unexpected \(Self.spelling(token.kind)) in a tag") }
    }

    private static func spelling(_ token: TemplateToken.Kind) -> String {
        switch token {
        case .name(let text), .symbol(let text): "\"\(text.prefix(40))\""
        case .string(let text): "'\(String(decoding: text.prefix(40), as: UTF8.self))'"
        case .integer(let value): "\(value)"
        case .float(let value): "\(value)"
        }
    }

    private mutating func name() throws(TemplateFault) -> String {
        guard case .name(let text)? = tokens.first?.kind else { throw syntax("a name belongs here") }
        tokens.removeFirst()
        return text
    }

    private mutating func accept(_ symbol: String) -> Bool {
        guard tokens.first?.kind == .symbol(symbol) else { return false }
        tokens.removeFirst()
        return true
    }

    private mutating func acceptName(_ word: String) -> Bool {
        guard tokens.first?.kind == .name(word) else { return false }
        tokens.removeFirst()
        return true
    }

    private mutating func expect(_ symbol: String) throws(TemplateFault) {
        guard accept(symbol) else { throw syntax("\"\(symbol)\" is missing") }
    }

    private mutating func acceptAny(_ symbols: [String]) -> String? {
        guard case .symbol(let symbol)? = tokens.first?.kind, symbols.contains(symbol) else { return nil }
        tokens.removeFirst()
        return symbol
    }

    // MARK: Expressions

    /// One expression, or several with commas between.
    private mutating func tuple() throws(TemplateFault) -> Expression {
        let first = try expression()
        return tokens.first?.kind == .symbol(",") ? try tuple(first: first) : first
    }

    private mutating func tuple(first: Expression) throws(TemplateFault) -> Expression {
        var items = [first]
        while accept(",") {
            if tokens.isEmpty || tokens.first?.kind == .symbol(")") { break }
            items.append(try expression())
        }
        return .list(items, isTuple: true)
    }

    private mutating func expression() throws(TemplateFault) -> Expression {
        try enter()
        defer { depth -= 1 }
        let value = try disjunction()
        guard acceptName("if") else { return value }
        let condition = try disjunction()
        let otherwise = acceptName("else") ? try expression() : nil
        return .conditional(then: value, condition: condition, otherwise: otherwise)
    }

    private mutating func disjunction() throws(TemplateFault) -> Expression {
        var all = [try conjunction()]
        while acceptName("or") { all.append(try conjunction()) }
        return all.count == 1 ? all[0] : .either(all)
    }

    private mutating func conjunction() throws(TemplateFault) -> Expression {
        var all = [try negation()]
        while acceptName("and") { all.append(try negation()) }
        return all.count == 1 ? all[0] : .both(all)
    }

    private mutating func negation() throws(TemplateFault) -> Expression {
        var count = 0
        while acceptName("not") { count += 1 }
        let value = try comparison()
        return count == 0 ? value : count.isMultiple(of: 2) ? .not(.not(value)) : .not(value)
    }

    private mutating func comparison() throws(TemplateFault) -> Expression {
        let first = try sum()
        var rest: [(symbol: String, operand: Expression)] = []
        while true {
            if let symbol = acceptAny(["==", "!=", "<", ">", "<=", ">="]) {
                rest.append((symbol, try sum()))
            } else if acceptName("in") {
                rest.append(("in", try sum()))
            } else if tokens.first?.kind == .name("not"), tokens.dropFirst().first?.kind == .name("in") {
                tokens.removeFirst(2)
                rest.append(("not in", try sum()))
            } else {
                return rest.isEmpty ? first : .comparison(first, rest)
            }
        }
    }

    private mutating func sum() throws(TemplateFault) -> Expression {
        let first = try concatenation()
        var rest: [(symbol: String, operand: Expression)] = []
        while let symbol = acceptAny(["+", "-"]) { rest.append((symbol, try concatenation())) }
        return rest.isEmpty ? first : .arithmetic(first, rest)
    }

    private mutating func concatenation() throws(TemplateFault) -> Expression {
        var all = [try product()]
        while accept("~") { all.append(try product()) }
        return all.count == 1 ? all[0] : .joined(all)
    }

    private mutating func product() throws(TemplateFault) -> Expression {
        let first = try power()
        var rest: [(symbol: String, operand: Expression)] = []
        while let symbol = acceptAny(["*", "/", "//", "%"]) { rest.append((symbol, try power())) }
        return rest.isEmpty ? first : .arithmetic(first, rest)
    }

    private mutating func power() throws(TemplateFault) -> Expression {
        let first = try unary(filters: true)
        guard tokens.first?.kind != .symbol("**") else { throw unsupported("\"**\"") }
        return first
    }

    private mutating func unary(filters: Bool) throws(TemplateFault) -> Expression {
        try enter()
        defer { depth -= 1 }
        var value: Expression
        if accept("-") {
            value = .negative(try unary(filters: false))
        } else if accept("+") {
            value = .positive(try unary(filters: false))
        } else {
            value = try primary()
        }
        var links = 0
        value = try postfix(value, &links)
        return filters ? try filtered(value, &links) : value
    }

    private mutating func link(_ links: inout Int) throws(TemplateFault) {
        links += 1
        guard links <= TemplateLimit.chainMax else {
            throw syntax("more than \(TemplateLimit.chainMax) attributes, calls and filters in a row")
        }
    }

    private mutating func filterCall() throws(TemplateFault) -> (name: String, arguments: TemplateArguments) {
        let name = try name()
        guard TemplateInterpreter.filters.contains(name) else { throw unsupported("filter \"\(name.prefix(40))\"") }
        return (name, accept("(") ? try arguments() : TemplateArguments())
    }

    private mutating func filtered(_ value: Expression, _ links: inout Int) throws(TemplateFault) -> Expression {
        var value = value
        while true {
            if accept("|") {
                try link(&links)
                let (name, arguments) = try filterCall()
                value = .filter(value, name, arguments)
            } else if acceptName("is") {
                try link(&links)
                value = try test(value)
            } else if tokens.first?.kind == .symbol("(") {
                value = try postfix(value, &links)
            } else {
                return value
            }
        }
    }

    private mutating func test(_ value: Expression) throws(TemplateFault) -> Expression {
        let negated = acceptName("not")
        let name = try name()
        guard TemplateInterpreter.tests.contains(name) else { throw unsupported("test \"\(name.prefix(40))\"") }
        var arguments = TemplateArguments()
        if accept("(") {
            arguments = try self.arguments()
        } else if let token = tokens.first?.kind {
            switch token {
            case .name("else"), .name("or"), .name("and"), .name("if"), .name("in"), .name("not"): break
            case .name("is"): throw syntax("a test follows a test")
            case .name, .string, .integer, .float, .symbol("["), .symbol("{"):
                var links = 0
                arguments.positional = [try postfix(try primary(), &links)]
            default: break
            }
        }
        let test = Expression.test(value, name, arguments)
        return negated ? .not(test) : test
    }

    private mutating func postfix(_ value: Expression, _ links: inout Int) throws(TemplateFault) -> Expression {
        var value = value
        while true {
            if accept(".") {
                try link(&links)
                if case .integer(let index)? = tokens.first?.kind {
                    tokens.removeFirst()
                    value = .item(value, .literal(.integer(index)))
                } else {
                    value = .attribute(value, try name())
                }
            } else if accept("[") {
                try link(&links)
                value = try subscripted(value)
            } else if accept("(") {
                try link(&links)
                value = .call(value, try arguments())
            } else {
                return value
            }
        }
    }

    private mutating func subscripted(_ value: Expression) throws(TemplateFault) -> Expression {
        let from = tokens.first?.kind == .symbol(":") ? nil : try expression()
        guard accept(":") else {
            try expect("]")
            guard let from else { throw syntax("an index is missing") }
            return .item(value, from)
        }
        func ends(_ symbols: [String]) -> Bool {
            if case .symbol(let symbol)? = tokens.first?.kind { return symbols.contains(symbol) }
            return false
        }
        let to = ends(["]", ":"]) ? nil : try expression()
        let step = accept(":") && !ends(["]"]) ? try expression() : nil
        try expect("]")
        return .slice(value, from: from, to: to, step: step)
    }

    private mutating func arguments() throws(TemplateFault) -> TemplateArguments {
        var arguments = TemplateArguments()
        while !accept(")") {
            if case .name(let name)? = tokens.first?.kind, tokens.dropFirst().first?.kind == .symbol("=") {
                tokens.removeFirst(2)
                arguments.named.append((name, try expression()))
            } else {
                guard arguments.named.isEmpty else {
                    throw syntax("an argument without a name follows one with a name")
                }
                guard tokens.first?.kind != .symbol("*") else { throw unsupported("\"*\" before an argument") }
                arguments.positional.append(try expression())
            }
            if !accept(","), tokens.first?.kind != .symbol(")") { throw syntax("\")\" is missing") }
        }
        return arguments
    }

    private mutating func primary() throws(TemplateFault) -> Expression {
        guard let token = tokens.popFirst() else { throw syntax("an expression ends early") }
        switch token.kind {
        case .integer(let value): return .literal(.integer(value))
        case .float(let value): return .literal(.float(value))
        case .string(var value):
            while case .string(let more)? = tokens.first?.kind {
                value += more
                tokens.removeFirst()
            }
            return .literal(.string(value))
        case .name("true"), .name("True"): return .literal(.bool(true))
        case .name("false"), .name("False"): return .literal(.bool(false))
        case .name("none"), .name("None"): return .literal(.none)
        case .name(let name): return .name(name)
        case .symbol("("):
            if accept(")") { return .list([], isTuple: true) }
            let value = try tuple()
            try expect(")")
            return value
        case .symbol("["):
            var items: [Expression] = []
            while !accept("]") {
                items.append(try expression())
                if !accept(","), tokens.first?.kind != .symbol("]") { throw syntax("\"]\" is missing") }
            }
            return .list(items, isTuple: false)
        case .symbol("{"):
            var members: [(key: Expression, value: Expression)] = []
            while !accept("}") {
                let key = try expression()
                try expect(":")
                members.append((key, try expression()))
                if !accept(","), tokens.first?.kind != .symbol("}") { throw syntax("\"}\" is missing") }
            }
            return .dictionary(members)
        case .symbol: throw .syntax(line: token.line, "unexpected \(Self.spelling(token.kind)) in a tag")
        }
    }
}
