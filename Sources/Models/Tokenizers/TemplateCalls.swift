// What a template may call: methods, macros and the functions that transformers gives it.

import Primitives

extension TemplateInterpreter {
    mutating func call(_ callee: Expression, _ arguments: TemplateArguments) throws(TemplateFault)
        -> TemplateValue
    {
        if case .attribute(let base, let method) = callee {
            let value = try evaluate(base)
            // A namespace or an object may hold a macro.
            if case .macro(let index) = try attribute(value, method) {
                return try call(index, try evaluated(arguments))
            }
            return try self.method(value, method, try evaluated(arguments))
        }
        guard case .name(let name) = callee else { throw unsupported("calling this") }
        let values = try evaluated(arguments)
        if case .macro(let index) = lookUp(name) { return try call(index, values) }
        switch name {
        case "namespace":
            guard namespaces.count < TemplateLimit.namespacesMax else { throw fault("too many namespaces") }
            var members: [TemplateMember] = []
            if case .dictionary(let given)? = values.positional.first { members = given.members }
            for (name, value) in values.named {
                let key = Array(name.utf8)
                members.removeAll { $0.key == key }
                members.append(TemplateMember(key: key, value: value))
            }
            namespaces.append(members)
            return .namespace(namespaces.count - 1)
        case "dict":
            return try checked(
                .dictionary(TemplateDictionary(values.named.map { TemplateMember(key: Array($0.0.utf8), value: $0.1) }))
            )
        case "raise_exception":
            let message = try values.positional.first.map { value throws(TemplateFault) in try printed(value) } ?? []
            throw .raised(String(decoding: message, as: UTF8.self))
        case "range": return try range(values.positional)
        case "strftime_now":
            guard let now else { throw fault("strftime_now needs a date, and none was given") }
            guard case .string(let format)? = values.positional.first else {
                throw fault("strftime_now needs a format")
            }
            guard let text = TemplateDate.format(now, String(decoding: format, as: UTF8.self)) else {
                throw unsupported("this format of strftime_now")
            }
            return .text(text)
        default:
            if case .undefined(let reason) = lookUp(name) { throw fault(reason) }
            throw fault("\"\(name.prefix(60))\" cannot be called")
        }
    }

    private mutating func call(_ index: Int, _ values: CallValues) throws(TemplateFault) -> TemplateValue {
        try enter()
        defer { depth -= 1 }
        let definition = macros[index], macro = definition.macro
        guard values.positional.count <= macro.parameters.count else {
            throw fault("macro \(macro.name) takes at most \(macro.parameters.count) arguments")
        }
        var scope: [String: TemplateValue] = [:]
        for (parameter, value) in zip(macro.parameters, values.positional) { scope[parameter.name] = value }
        for (name, value) in values.named {
            guard macro.parameters.contains(where: { $0.name == name }), scope[name] == nil else {
                throw fault("macro \(macro.name) has no argument \"\(name.prefix(40))\", or it comes twice")
            }
            scope[name] = value
        }
        let outer = scopes, outerLine = line
        scopes = Array(scopes.prefix(definition.scopes)) + [scope]
        for parameter in macro.parameters where scope[parameter.name] == nil {
            let value = try parameter.value.map { value throws(TemplateFault) in try evaluate(value) }
            scopes[scopes.count - 1][parameter.name] =
                value ?? .undefined("parameter '\(parameter.name)' was not provided")
        }
        let (value, _) = try captured(macro.body)
        scopes = outer
        line = outerLine
        return value
    }

    private mutating func range(_ arguments: [TemplateValue]) throws(TemplateFault) -> TemplateValue {
        var bounds: [Int] = []
        for value in arguments {
            guard case .integer(let number) = value else { throw fault("range needs integers") }
            bounds.append(number)
        }
        guard (1...3).contains(bounds.count) else { throw fault("range needs one to three integers") }
        let start = bounds.count > 1 ? bounds[0] : 0, end = bounds.count > 1 ? bounds[1] : bounds[0]
        let step = bounds.count > 2 ? bounds[2] : 1
        guard step != 0, start.magnitude <= 1 << 40, end.magnitude <= 1 << 40, step.magnitude <= 1 << 40 else {
            throw fault("this range is not possible")
        }
        guard (end - start) / step <= TemplateLimit.stepsMax else { throw fault("this range is too long") }
        return try list(stride(from: start, to: end, by: step).map(TemplateValue.integer))
    }
}

/// The arguments of a call, worked out.
struct CallValues {
    var positional: [TemplateValue] = []
    var named: [(String, TemplateValue)] = []

    /// By place or by name.
    func value(_ place: Int, _ name: String) -> TemplateValue? {
        place < positional.count ? positional[place] : named.first { $0.0 == name }?.1
    }
}
