// Expressions of a chat template, lowest precedence first (TemplateParser.swift says which).

extension TemplateParser {
    /// One expression, or several with commas between.
    mutating func tuple() throws(TemplateFault) -> Expression {
        let first = try expression()
        return tokens.first?.kind == .symbol(",") ? try tuple(first: first) : first
    }

    mutating func tuple(first: Expression) throws(TemplateFault) -> Expression {
        var items = [first]
        while accept(",") {
            if tokens.isEmpty || tokens.first?.kind == .symbol(")") { break }
            items.append(try expression())
        }
        return .list(items, isTuple: true)
    }

    mutating func expression() throws(TemplateFault) -> Expression {
        try enter()
        defer { depth -= 1 }
        let value = try disjunction()
        guard acceptName("if") else { return value }
        let condition = try disjunction()
        let otherwise = acceptName("else") ? try expression() : nil
        return .conditional(then: value, condition: condition, otherwise: otherwise)
    }

    mutating func disjunction() throws(TemplateFault) -> Expression {
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

    mutating func filterCall() throws(TemplateFault) -> (name: String, arguments: TemplateArguments) {
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
