// Runs a parsed chat template. It can do nothing but build text, and is bounded in steps, in the bytes that it makes and
// in depth: a hostile template ends in a fault.

import Primitives

struct TemplateInterpreter {
    enum Flow { case goesOn, breaks, continues }

    struct Definition {
        let macro: TemplateMacro
        /// How many scopes are visible to it.
        let scopes: Int
    }

    var scopes: [[String: TemplateValue]]
    var namespaces: [[TemplateMember]] = []
    var macros: [Definition] = []
    private(set) var output: [UInt8] = []
    private var steps = 0
    private var stringBytes = 0
    var depth = 0
    private var loopNesting = 0
    var line = 1
    let now: WallTime?

    static func render(
        _ body: [Statement], _ variables: [String: TemplateValue], now: WallTime?
    ) throws(TemplateFault) -> String {
        var interpreter = Self(scopes: [variables], now: now)
        _ = try interpreter.run(body)
        return String(decoding: interpreter.output, as: UTF8.self)
    }

    private init(scopes: [[String: TemplateValue]], now: WallTime?) {
        self.scopes = scopes
        self.now = now
    }

    // MARK: Bounds

    func fault(_ reason: String) -> TemplateFault { .evaluation(line: line, reason) }

    func unsupported(_ feature: String) -> TemplateFault { .unsupported(line: line, feature) }

    mutating func charge(_ count: Int) throws(TemplateFault) {
        steps += count
        guard steps <= TemplateLimit.stepsMax else { throw fault("takes more than \(TemplateLimit.stepsMax) steps") }
    }

    func checked(_ value: TemplateValue) throws(TemplateFault) -> TemplateValue {
        guard value.depth <= TemplateLimit.valueDepthMax else { throw fault("lists or objects are nested too deep") }
        return value
    }

    mutating func list(_ items: [TemplateValue], isTuple: Bool = false) throws(TemplateFault) -> TemplateValue {
        try charge(items.count)
        return try checked(.list(TemplateList(items, isTuple: isTuple)))
    }

    mutating func string(_ bytes: [UInt8]) throws(TemplateFault) -> TemplateValue {
        try chargeBytes(bytes.count)
        return .string(bytes)
    }

    mutating func chargeBytes(_ count: Int) throws(TemplateFault) {
        stringBytes += count
        guard stringBytes <= TemplateLimit.stringBytesMax, count <= TemplateLimit.outputBytesMax else {
            throw fault("makes too much text")
        }
    }

    private mutating func write(_ text: [UInt8]) throws(TemplateFault) {
        guard output.count + text.count <= TemplateLimit.outputBytesMax else {
            throw fault("writes more than \(TemplateLimit.outputBytesMax) bytes")
        }
        output += text
    }

    mutating func enter() throws(TemplateFault) {
        depth += 1
        guard depth <= TemplateLimit.depthMax else { throw fault("calls or expressions are nested too deep") }
    }

    // MARK: Statements

    private mutating func run(_ body: [Statement]) throws(TemplateFault) -> Flow {
        try enter()
        defer { depth -= 1 }
        for statement in body {
            line = statement.line
            try charge(1)
            let flow = try run(statement.kind)
            guard flow == .goesOn else { return flow }
        }
        return .goesOn
    }

    private mutating func run(_ statement: Statement.Kind) throws(TemplateFault) -> Flow {
        switch statement {
        case .text(let text): try write(text)
        case .output(let expression):
            let value = try evaluate(expression)
            try write(try printed(value))
        case .set(let targets, let expression): try set(targets, try evaluate(expression))
        case .setBlock(let target, let filters, let body):
            var (value, flow) = try captured(body)
            for filter in filters { value = try self.filter(value, filter.name, try evaluated(filter.arguments)) }
            try set([target], value)
            return flow
        case .branch(let branches, let otherwise):
            for branch in branches where try evaluate(branch.condition).isTrue { return try run(branch.body) }
            return try run(otherwise)
        case .loop(let targets, let sequence, let filter, let body, let otherwise):
            return try loop(targets, sequence, filter, body, otherwise)
        case .macro(let macro):
            guard macros.count < TemplateLimit.macrosMax else { throw fault("too many macros") }
            macros.append(Definition(macro: macro, scopes: scopes.count))
            scopes[scopes.count - 1][macro.name] = .macro(macros.count - 1)
        case .with(let variables, let body):
            var scope: [String: TemplateValue] = [:]
            for variable in variables { scope[variable.name] = try evaluate(variable.value) }
            scopes.append(scope)
            defer { scopes.removeLast() }
            return try run(body)
        case .group(let body): return try run(body)
        case .breakLoop: return .breaks
        case .continueLoop: return .continues
        }
        return .goesOn
    }

    private mutating func set(_ targets: [Statement.Target], _ value: TemplateValue) throws(TemplateFault) {
        var values = [value]
        if targets.count > 1 {
            values = try elements(value, "to unpack")
            guard values.count == targets.count else {
                throw fault("cannot unpack \(values.count) values into \(targets.count) names")
            }
        }
        for (target, value) in zip(targets, values) {
            guard let attribute = target.attribute else {
                scopes[scopes.count - 1][target.name] = value
                continue
            }
            guard case .namespace(let index) = lookUp(target.name) else {
                throw fault("\(target.name).\(attribute) is set, but \(target.name) is no namespace")
            }
            let member = TemplateMember(key: Array(attribute.utf8), value: value)
            if let place = namespaces[index].firstIndex(where: { $0.key == member.key }) {
                namespaces[index][place] = member
            } else {
                namespaces[index].append(member)
            }
        }
    }

    /// What a body writes, as a value.
    mutating func captured(_ body: [Statement]) throws(TemplateFault) -> (TemplateValue, Flow) {
        let outer = output
        output = []
        let flow = try run(body)
        let text = output
        output = outer
        return (try string(text), flow)
    }

    private mutating func loop(
        _ targets: [String], _ sequence: Expression, _ filter: Expression?, _ body: [Statement],
        _ otherwise: [Statement]
    ) throws(TemplateFault) -> Flow {
        var items = try elements(try evaluate(sequence), "to loop over")
        if let filter {
            var kept: [TemplateValue] = []
            for item in items {
                scopes.append(try unpacked(item, targets))
                let keeps = try evaluate(filter).isTrue
                scopes.removeLast()
                if keeps { kept.append(item) }
            }
            items = kept
        }
        if items.isEmpty { return try run(otherwise) }
        let all = TemplateList(items)
        try charge(items.count)
        loopNesting += 1
        defer { loopNesting -= 1 }
        for index in items.indices {
            var scope = try unpacked(items[index], targets)
            scope["loop"] = .loop(TemplateLoop(items: all, index: index, nesting: loopNesting))
            scopes.append(scope)
            let flow = try run(body)
            scopes.removeLast()
            if flow == .breaks { break }
        }
        return .goesOn
    }

    private mutating func unpacked(_ item: TemplateValue, _ targets: [String]) throws(TemplateFault)
        -> [String: TemplateValue]
    {
        try charge(targets.count)
        if targets.count == 1 { return [targets[0]: item] }
        let parts = try elements(item, "to unpack")
        guard parts.count == targets.count else {
            throw fault("cannot unpack \(parts.count) values into \(targets.count) names")
        }
        var scope: [String: TemplateValue] = [:]
        for (target, part) in zip(targets, parts) { scope[target] = part }
        return scope
    }

    func lookUp(_ name: String) -> TemplateValue {
        for scope in scopes.reversed() {
            if let value = scope[name] { return value }
        }
        return .undefined("'\(name.prefix(60))' is undefined")
    }

    /// Elements in order: of a list, the keys of an object, the characters of a string.
    mutating func elements(_ value: TemplateValue, _ purpose: String) throws(TemplateFault) -> [TemplateValue] {
        switch value {
        case .list(let list): return list.items
        case .dictionary(let dictionary):
            try charge(dictionary.members.count)
            return dictionary.members.map { .string($0.key) }
        case .string(let text):
            try charge(text.count)
            return String(decoding: text, as: UTF8.self).unicodeScalars.map { .text(String($0)) }
        case .undefined: return []
        default: throw fault("a \(value.kind) is no sequence \(purpose)")
        }
    }

    // MARK: Expressions

    mutating func evaluate(_ expression: Expression) throws(TemplateFault) -> TemplateValue {
        try enter()
        defer { depth -= 1 }
        try charge(1)
        switch expression {
        case .literal(let value): return value
        case .name(let name): return lookUp(name)
        case .list(let items, let isTuple): return try list(try evaluated(items), isTuple: isTuple)
        case .dictionary(let members): return try dictionary(members)
        case .attribute(let base, let name): return try attribute(try evaluate(base), name)
        case .item(let base, let key): return try item(try evaluate(base), try evaluate(key))
        case .slice(let base, let from, let to, let step):
            return try slice(try evaluate(base), try bound(from), try bound(to), try bound(step))
        case .call(let callee, let arguments): return try call(callee, arguments)
        case .filter(let base, let name, let arguments):
            return try filter(try evaluate(base), name, try evaluated(arguments))
        case .test(let base, let name, let arguments):
            return .bool(try test(try evaluate(base), name, try evaluated(arguments).positional))
        case .not(let operand): return .bool(!(try evaluate(operand).isTrue))
        case .negative(let operand): return try negated(try evaluate(operand))
        case .positive(let operand): return try evaluate(operand)
        case .both(let operands): return try choose(operands, until: false)
        case .either(let operands): return try choose(operands, until: true)
        case .arithmetic(let first, let rest):
            var value = try evaluate(first)
            for (symbol, operand) in rest { value = try arithmetic(symbol, value, try evaluate(operand)) }
            return value
        case .comparison(let first, let rest): return try comparison(first, rest)
        case .joined(let parts):
            var text: [UInt8] = []
            for part in parts { text += try printed(try evaluate(part)) }
            return try string(text)
        case .conditional(let then, let condition, let otherwise):
            if try evaluate(condition).isTrue { return try evaluate(then) }
            guard let otherwise else { return .undefined("the inline if has no else") }
            return try evaluate(otherwise)
        }
    }

    mutating func evaluated(_ expressions: [Expression]) throws(TemplateFault) -> [TemplateValue] {
        var values: [TemplateValue] = []
        for expression in expressions { values.append(try evaluate(expression)) }
        return values
    }

    mutating func evaluated(_ arguments: TemplateArguments) throws(TemplateFault) -> CallValues {
        var values = CallValues(positional: try evaluated(arguments.positional))
        for argument in arguments.named { values.named.append((argument.name, try evaluate(argument.value))) }
        return values
    }

    private mutating func dictionary(_ members: [(key: Expression, value: Expression)]) throws(TemplateFault)
        -> TemplateValue
    {
        var all: [TemplateMember] = []
        for member in members {
            guard case .string(let key) = try evaluate(member.key) else {
                throw unsupported("a key that is no string")
            }
            let value = try evaluate(member.value)
            all.removeAll { $0.key == key }
            all.append(TemplateMember(key: key, value: value))
            try charge(all.count)
        }
        return try checked(.dictionary(TemplateDictionary(all)))
    }

    private mutating func choose(_ operands: [Expression], until stop: Bool) throws(TemplateFault) -> TemplateValue {
        var value = TemplateValue.none
        for operand in operands {
            value = try evaluate(operand)
            if value.isTrue == stop { break }
        }
        return value
    }

    private mutating func comparison(
        _ first: Expression, _ rest: [(symbol: String, operand: Expression)]
    ) throws(TemplateFault) -> TemplateValue {
        var left = try evaluate(first)
        for (symbol, operand) in rest {
            let right = try evaluate(operand)
            guard try compare(symbol, left, right) else { return .bool(false) }
            left = right
        }
        return .bool(true)
    }

    func attribute(_ base: TemplateValue, _ name: String) throws(TemplateFault) -> TemplateValue {
        switch base {
        case .undefined(let reason): throw fault(reason)
        case .namespace(let index):
            let key = Array(name.utf8)
            return namespaces[index].first { $0.key == key }?.value ?? missing(base, name)
        case .loop(let loop): return loop.member(name) ?? missing(base, name)
        case .dictionary(let dictionary):
            if Self.dictionaryMethods.contains(name) { return .method(name) }
            return dictionary[Array(name.utf8)] ?? missing(base, name)
        case .string: return Self.stringMethods.contains(name) ? .method(name) : missing(base, name)
        default: return missing(base, name)
        }
    }

    private func missing(_ base: TemplateValue, _ name: String) -> TemplateValue {
        .undefined("'\(base.kind) object' has no attribute '\(name.prefix(60))'")
    }

    private mutating func item(_ base: TemplateValue, _ key: TemplateValue) throws(TemplateFault) -> TemplateValue {
        if case .undefined(let reason) = base { throw fault(reason) }
        switch (base, key) {
        case (.dictionary(let dictionary), .string(let name)):
            if let value = dictionary[name] { return value }
            return try attribute(base, String(decoding: name, as: UTF8.self))
        case (_, .string(let name)): return try attribute(base, String(decoding: name, as: UTF8.self))
        case (.list(let list), .integer(let position)):
            let index = position < 0 ? position &+ list.items.count : position
            return list.items.indices.contains(index)
                ? list.items[index] : .undefined("the list is shorter than \(position)")
        case (.string(let text), .integer(let position)):
            let part = try slice(base, position, position == -1 ? nil : position &+ 1, nil)
            if case .string(let character) = part, character.isEmpty {
                return .undefined("a string of \(text.count) bytes has no character \(position)")
            }
            return part
        default: return .undefined("a \(base.kind) has no such item")
        }
    }

    private mutating func bound(_ expression: Expression?) throws(TemplateFault) -> Int? {
        guard let expression else { return nil }
        switch try evaluate(expression) {
        case .integer(let value): return value
        case .none: return nil
        default: throw fault("a slice needs integers")
        }
    }

    private mutating func slice(_ base: TemplateValue, _ from: Int?, _ to: Int?, _ step: Int?) throws(TemplateFault)
        -> TemplateValue
    {
        if case .string(let text) = base, step ?? 1 == 1, text.allSatisfy({ $0 < 0x80 }) {
            let range = Self.range(from, to, count: text.count)
            return try string(Array(text[range]))
        }
        if case .undefined(let reason) = base { throw fault(reason) }
        guard step != 0 else { throw fault("a slice with step 0") }
        let items = try elements(base, "to cut")
        var part: [TemplateValue] = []
        if let step, step < 0 {
            func place(_ index: Int?, _ otherwise: Int) -> Int {
                guard let index else { return otherwise }
                return index < 0 ? max(index &+ items.count, -1) : min(index, items.count - 1)
            }
            var index = place(from, items.count - 1)
            let end = place(to, -1)
            while index > end, index >= 0 {
                part.append(items[index])
                guard index >= end &- step, step != .min else { break }
                index += step
            }
        } else {
            let range = Self.range(from, to, count: items.count)
            for index in stride(from: range.lowerBound, to: range.upperBound, by: step ?? 1) {
                part.append(items[index])
            }
        }
        guard case .string = base else { return try list(part) }
        return try string(part.flatMap { item -> [UInt8] in if case .string(let text) = item { text } else { [] } })
    }

    private static func range(_ from: Int?, _ to: Int?, count: Int) -> Range<Int> {
        func place(_ index: Int) -> Int { min(max(index < 0 ? index &+ count : index, 0), count) }
        let start = place(from ?? 0), end = place(to ?? count)
        return start..<max(start, end)
    }
}
