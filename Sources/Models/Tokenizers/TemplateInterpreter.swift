// Runs a parsed chat template: bounded in steps and output, and able to do nothing but build text.

struct TemplateInterpreter {
    private var scopes: [[String: TemplateValue]]
    private var namespaces: [[TemplateMember]] = []
    private var output = ""
    private var steps = 0

    static func render(_ body: [Statement], _ variables: [String: TemplateValue]) throws(TemplateFault) -> String {
        var interpreter = Self(scopes: [variables])
        try interpreter.run(body)
        return interpreter.output
    }

    private init(scopes: [[String: TemplateValue]]) { self.scopes = scopes }

    private mutating func step() throws(TemplateFault) {
        steps += 1
        guard steps <= TemplateLimit.stepsMax, output.utf8.count <= TemplateLimit.outputBytesMax else {
            throw .evaluation("takes too many steps or writes too much")
        }
    }

    private mutating func run(_ body: [Statement]) throws(TemplateFault) {
        for statement in body {
            try step()
            switch statement {
            case .text(let text): output += text
            case .output(let expression): output += try evaluate(expression).printed
            case .set(let target, nil, let expression):
                let value = try evaluate(expression)
                scopes[scopes.count - 1][target] = value
            case .set(let target, let attribute?, let expression):
                let value = try evaluate(expression)
                guard case .namespace(let index) = lookUp(target) else {
                    throw .evaluation("\(target).\(attribute) is set, but \(target) is no namespace")
                }
                namespaces[index].removeAll { $0.key == attribute }
                namespaces[index].append(TemplateMember(key: attribute, value: value))
            case .branch(let branches, let otherwise):
                var chosen = otherwise
                for branch in branches where try evaluate(branch.condition).isTrue {
                    chosen = branch.body
                    break
                }
                try run(chosen)
            case .loop(let targets, let sequence, let filter, let body, let otherwise):
                try loop(targets, sequence, filter, body, otherwise)
            }
        }
    }

    private mutating func loop(
        _ targets: [String], _ sequence: Expression, _ filter: Expression?, _ body: [Statement],
        _ otherwise: [Statement]
    ) throws(TemplateFault) {
        guard let elements = try evaluate(sequence).elements else { throw .evaluation("a for loop over no sequence") }
        var rounds: [[String: TemplateValue]] = []
        for element in elements {
            try step()
            var scope: [String: TemplateValue] = [:]
            if targets.count == 1 {
                scope[targets[0]] = element
            } else {
                guard let parts = element.elements, parts.count == targets.count else {
                    throw .evaluation("a for loop cannot unpack \(element.json.prefix(40))")
                }
                for (target, part) in zip(targets, parts) { scope[target] = part }
            }
            if let filter {
                scopes.append(scope)
                defer { scopes.removeLast() }
                guard try evaluate(filter).isTrue else { continue }
            }
            rounds.append(scope)
        }
        if rounds.isEmpty { return try run(otherwise) }
        for (index, round) in rounds.enumerated() {
            try step()
            var scope = round
            func member(_ key: String, _ value: TemplateValue) -> TemplateMember {
                TemplateMember(key: key, value: value)
            }
            scope["loop"] = .dictionary([
                member("index", .integer(index + 1)), member("index0", .integer(index)),
                member("revindex", .integer(rounds.count - index)),
                member("revindex0", .integer(rounds.count - index - 1)),
                member("first", .bool(index == 0)), member("last", .bool(index == rounds.count - 1)),
                member("length", .integer(rounds.count)),
                member("previtem", index > 0 ? elements[index - 1] : .undefined),
                member("nextitem", index + 1 < rounds.count ? elements[index + 1] : .undefined),
            ])
            scopes.append(scope)
            defer { scopes.removeLast() }
            try run(body)
        }
    }

    private func lookUp(_ name: String) -> TemplateValue {
        for scope in scopes.reversed() {
            if let value = scope[name] { return value }
        }
        return .undefined
    }

    private mutating func evaluate(_ expression: Expression) throws(TemplateFault) -> TemplateValue {
        try step()
        let value = try compute(expression)
        guard value.sizeIsBounded else { throw .evaluation("a value grows too large") }
        return value
    }

    private mutating func compute(_ expression: Expression) throws(TemplateFault) -> TemplateValue {
        switch expression {
        case .literal(let value): return value
        case .name(let name): return lookUp(name)
        case .list(let items): return .list(try evaluate(items))
        case .dictionary(let members):
            var values: [TemplateMember] = []
            for member in members {
                let key = try evaluate(member.key).printed
                values.append(TemplateMember(key: key, value: try evaluate(member.value)))
            }
            return .dictionary(values)
        case .attribute(let base, let name): return try attribute(try evaluate(base), name)
        case .item(let base, let key): return try item(try evaluate(base), try evaluate(key))
        case .slice(let base, let from, let to, let step):
            return try slice(
                try evaluate(base), try bound(from), try bound(to), try bound(step) ?? 1)
        case .call(let callee, let arguments, let named): return try call(callee, arguments, named)
        case .filter(let base, let name, let arguments):
            return try evaluate(base).filtered(name, try evaluate(arguments))
        case .test(let base, let test, _, let negated): return .bool(try evaluate(base).passes(test) != negated)
        case .unary("not", let operand): return .bool(!(try evaluate(operand).isTrue))
        case .unary(_, let operand):
            switch try evaluate(operand) {
            case .integer(let value) where value != .min: return .integer(-value)
            case .float(let value): return .float(-value)
            default: throw .evaluation("\"-\" needs a number")
            }
        case .binary(let symbol, let left, let right): return try binary(symbol, left, right)
        case .conditional(let then, let condition, let otherwise):
            if try evaluate(condition).isTrue { return try evaluate(then) }
            return try otherwise.map { expression throws(TemplateFault) in try evaluate(expression) } ?? .undefined
        }
    }

    private mutating func evaluate(_ expressions: [Expression]) throws(TemplateFault) -> [TemplateValue] {
        var values: [TemplateValue] = []
        for expression in expressions { values.append(try evaluate(expression)) }
        return values
    }

    private func attribute(_ base: TemplateValue, _ name: String) throws(TemplateFault) -> TemplateValue {
        switch base {
        case .namespace(let index): return namespaces[index].first { $0.key == name }?.value ?? .undefined
        case .undefined: throw .evaluation("\"\(name)\" of something undefined")
        default: return base.member(name) ?? .undefined
        }
    }

    private func item(_ base: TemplateValue, _ key: TemplateValue) throws(TemplateFault) -> TemplateValue {
        if case .string(let name) = key { return try attribute(base, name) }
        guard case .integer(let position) = key, base != .undefined, let elements = base.elements else {
            throw .evaluation("\(base.json.prefix(40)) has no item \(key.json.prefix(40))")
        }
        let index = position < 0 ? position &+ elements.count : position
        return elements.indices.contains(index) ? elements[index] : .undefined
    }

    private mutating func bound(_ expression: Expression?) throws(TemplateFault) -> Int? {
        guard let expression else { return nil }
        switch try evaluate(expression) {
        case .integer(let value): return value
        case .none: return nil
        default: throw .evaluation("a slice needs integers")
        }
    }

    private func slice(_ base: TemplateValue, _ from: Int?, _ to: Int?, _ step: Int) throws(TemplateFault)
        -> TemplateValue
    {
        guard base != .undefined, let elements = base.elements else {
            throw .evaluation("\(base.json.prefix(40)) cannot be sliced")
        }
        let count = elements.count
        func place(_ index: Int) -> Int { min(max(index < 0 ? index &+ count : index, 0), count) }
        var part: [TemplateValue]
        switch step {
        case 1:
            let start = place(from ?? 0), end = place(to ?? count)
            part = start < end ? Array(elements[start..<end]) : []
        case -1 where from == nil && to == nil: part = elements.reversed()
        default: throw .unsupported("a slice with step \(step)")
        }
        if case .string = base { return .string(part.map(\.printed).joined()) }
        return .list(part)
    }

    private mutating func call(
        _ callee: Expression, _ arguments: [Expression], _ named: [(name: String, value: Expression)]
    ) throws(TemplateFault) -> TemplateValue {
        switch callee {
        case .name("namespace"):
            var members: [TemplateMember] = []
            for argument in named {
                members.append(TemplateMember(key: argument.name, value: try evaluate(argument.value)))
            }
            namespaces.append(members)
            return .namespace(namespaces.count - 1)
        case .name("raise_exception"):
            throw .raised(try evaluate(arguments).first?.printed ?? "the chat template refuses this conversation")
        case .name("range"):
            var bounds: [Int] = []
            for value in try evaluate(arguments) {
                guard case .integer(let number) = value else { throw .evaluation("range needs integers") }
                bounds.append(number)
            }
            let start = bounds.count > 1 ? bounds[0] : 0, end = bounds.count > 1 ? bounds[1] : bounds.first ?? 0
            guard bounds.count <= 2, end <= start || end &- start <= 100_000 else { throw .unsupported("this range") }
            return .list(start < end ? (start..<end).map(TemplateValue.integer) : [])
        case .attribute(let base, let method):
            guard named.isEmpty else { throw .unsupported("named arguments of \"\(method)\"") }
            return try evaluate(base).calling(method, try evaluate(arguments))
        case .name(let name): throw .unsupported("function \"\(name)\"")
        default: throw .unsupported("calling this")
        }
    }

    private mutating func binary(_ symbol: String, _ left: Expression, _ right: Expression) throws(TemplateFault)
        -> TemplateValue
    {
        let a = try evaluate(left)
        if symbol == "and" { return a.isTrue ? try evaluate(right) : a }
        if symbol == "or" { return a.isTrue ? a : try evaluate(right) }
        let b = try evaluate(right)
        switch (symbol, a, b) {
        case ("==", .integer(let x), .float(let y)): return .bool(Double(x) == y)
        case ("==", .float(let x), .integer(let y)): return .bool(x == Double(y))
        case ("==", .string(let x), .string(let y)): return .bool(Array(x.utf8) == Array(y.utf8))
        case ("==", _, _): return .bool(a == b)
        case ("!=", .string(let x), .string(let y)): return .bool(Array(x.utf8) != Array(y.utf8))
        case ("!=", _, _): return .bool(a != b)
        case ("~", _, _): return .string(a.printed + b.printed)
        case ("in", .string(let part), .string(let whole)): return .bool(part.isEmpty || whole.contains(part))
        case ("in", _, _):
            guard let elements = b.elements else { throw .evaluation("\"in\" needs a sequence") }
            return .bool(elements.contains(a))
        case ("+", .string(let x), .string(let y)): return .string(x + y)
        case ("+", .list(let x), .list(let y)): return .list(x + y)
        case ("<", .string(let x), .string(let y)): return .bool(x < y)
        case (">", .string(let x), .string(let y)): return .bool(x > y)
        case (_, .integer(let x), .integer(let y)): return try integers(symbol, x, y)
        default:
            guard let x = Self.number(a), let y = Self.number(b) else {
                throw .evaluation("\"\(symbol)\" of \(a.json.prefix(40)) and \(b.json.prefix(40))")
            }
            return try floats(symbol, x, y)
        }
    }

    private static func number(_ value: TemplateValue) -> Double? {
        switch value {
        case .integer(let value): Double(value)
        case .float(let value): value
        default: nil
        }
    }

    private func integers(_ symbol: String, _ x: Int, _ y: Int) throws(TemplateFault) -> TemplateValue {
        func checked(_ result: (partialValue: Int, overflow: Bool)) throws(TemplateFault) -> TemplateValue {
            guard !result.overflow else { throw .evaluation("\"\(symbol)\" overflows") }
            return .integer(result.partialValue)
        }
        switch symbol {
        case "+": return try checked(x.addingReportingOverflow(y))
        case "-": return try checked(x.subtractingReportingOverflow(y))
        case "*": return try checked(x.multipliedReportingOverflow(by: y))
        case "//", "%":
            let (quotient, overflow) = x.dividedReportingOverflow(by: y)
            guard !overflow else { throw .evaluation("\"\(symbol)\" by zero") }
            // Python rounds towards minus infinity.
            let rest = x &- quotient &* y, down = rest != 0 && (rest < 0) != (y < 0)
            return .integer(symbol == "//" ? (down ? quotient - 1 : quotient) : (down ? rest + y : rest))
        default: return try floats(symbol, Double(x), Double(y))
        }
    }

    private func floats(_ symbol: String, _ x: Double, _ y: Double) throws(TemplateFault) -> TemplateValue {
        switch symbol {
        case "+": return .float(x + y)
        case "-": return .float(x - y)
        case "*": return .float(x * y)
        case "/" where y != 0: return .float(x / y)
        case "<": return .bool(x < y)
        case ">": return .bool(x > y)
        case "<=": return .bool(x <= y)
        case ">=": return .bool(x >= y)
        default: throw .evaluation("\"\(symbol)\" of numbers")
        }
    }
}
