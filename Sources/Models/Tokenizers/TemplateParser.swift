// Recursive descent over the tags of a chat template, in Jinja's order of precedence:
// if-else < or < and < not < comparison, in < + - < ~ < * / // % < ** < unary - < . [] () < | filter, is test.
// Chains of one level are kept flat, so that a tree is never deeper than its source is nested.

struct TemplateParser {
    private var segments: ArraySlice<TemplateSegment>
    var tokens: ArraySlice<TemplateToken> = []
    var line = 1
    var depth = 0
    private var loops = 0

    static func parse(_ source: String) throws(TemplateFault) -> [Statement] {
        var parser = Self(segments: try TemplateLexer.segments(source)[...])
        return try parser.body(until: []).0
    }

    private init(segments: ArraySlice<TemplateSegment>) { self.segments = segments }

    func syntax(_ reason: String) -> TemplateFault { .syntax(line: tokens.first?.line ?? line, reason) }

    func unsupported(_ feature: String) -> TemplateFault {
        .unsupported(line: tokens.first?.line ?? line, feature)
    }

    mutating func enter() throws(TemplateFault) {
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

    static func spelling(_ token: TemplateToken.Kind) -> String {
        switch token {
        case .name(let text), .symbol(let text): "\"\(text.prefix(40))\""
        case .string(let text): "'\(String(decoding: text.prefix(40), as: UTF8.self))'"
        case .integer(let value): "\(value)"
        case .float(let value): "\(value)"
        }
    }

    mutating func name() throws(TemplateFault) -> String {
        guard case .name(let text)? = tokens.first?.kind else { throw syntax("a name belongs here") }
        tokens.removeFirst()
        return text
    }

    mutating func accept(_ symbol: String) -> Bool {
        guard tokens.first?.kind == .symbol(symbol) else { return false }
        tokens.removeFirst()
        return true
    }

    mutating func acceptName(_ word: String) -> Bool {
        guard tokens.first?.kind == .name(word) else { return false }
        tokens.removeFirst()
        return true
    }

    mutating func expect(_ symbol: String) throws(TemplateFault) {
        guard accept(symbol) else { throw syntax("\"\(symbol)\" is missing") }
    }

    mutating func acceptAny(_ symbols: [String]) -> String? {
        guard case .symbol(let symbol)? = tokens.first?.kind, symbols.contains(symbol) else { return nil }
        tokens.removeFirst()
        return symbol
    }
}
