// Typed reading of a request's JSON. Every refusal names the field as the client wrote it (`messages[0].content`); null
// counts as absent, as OpenAI's clients send it for what was not set.

import Primitives

struct RequestFields {
    let object: JSONValue
    /// What comes before a field's name in a fault: empty, or `stream_options.`.
    let path: String

    init(_ value: JSONValue, path: String = "") throws(NodeFault) {
        guard value.memberList != nil else {
            let place = path.isEmpty ? "the body" : String(path.dropLast())
            throw NodeFault(.invalid, "\(place) must be a JSON object", param: path.isEmpty ? nil : place)
        }
        object = value
        self.path = path
    }

    subscript(key: String) -> JSONValue? {
        guard let value = object[key], !value.isNull else { return nil }
        return value
    }

    func fault(_ key: String, _ complaint: String, code: String = "invalid_value") -> NodeFault {
        NodeFault(.invalid, "\(path)\(key) \(complaint)", param: path + key, code: code)
    }

    func text(_ key: String, bytesMax: Int = 4_096) throws(NodeFault) -> String? {
        guard let value = self[key] else { return nil }
        guard let text = value.text else { throw fault(key, "must be a text", code: "invalid_type") }
        guard text.utf8.count <= bytesMax else {
            throw fault(key, "may have \(bytesMax) bytes; it has \(text.utf8.count)", code: "too_long")
        }
        return text
    }

    func required<Value>(_ key: String, _ value: Value?) throws(NodeFault) -> Value {
        guard let value else { throw fault(key, "is missing", code: "missing") }
        return value
    }

    /// A text that is there and not empty.
    func name(_ key: String, bytesMax: Int = 256) throws(NodeFault) -> String {
        let text = try required(key, try text(key, bytesMax: bytesMax))
        guard !text.isEmpty else { throw fault(key, "must not be empty", code: "missing") }
        return text
    }

    func flag(_ key: String) throws(NodeFault) -> Bool? {
        guard let value = self[key] else { return nil }
        guard let flag = value.flag else { throw fault(key, "must be true or false", code: "invalid_type") }
        return flag
    }

    func integer(_ key: String, in range: ClosedRange<Int>) throws(NodeFault) -> Int? {
        guard let value = self[key] else { return nil }
        guard let number = value.integer else { throw fault(key, "must be a whole number", code: "invalid_type") }
        guard range.contains(number) else {
            throw fault(
                key, "must be between \(range.lowerBound) and \(range.upperBound); it is \(number)",
                code: "out_of_range")
        }
        return number
    }

    func number(_ key: String, in range: ClosedRange<Double>) throws(NodeFault) -> Double? {
        guard let value = self[key] else { return nil }
        guard let number = value.double else { throw fault(key, "must be a number", code: "invalid_type") }
        guard range.contains(number) else {
            throw fault(
                key, "must be between \(range.lowerBound.plain) and \(range.upperBound.plain); it is \(number.plain)",
                code: "out_of_range")
        }
        return number
    }

    func amount(_ key: String) throws(NodeFault) -> Amount? {
        guard let text = try text(key, bytesMax: 64) else { return nil }
        guard let amount = Amount(text: text) else {
            throw fault(
                key, "must be an amount of OPEN as text, as in \"1.5\", with at most 18 decimals",
                code: "invalid_amount")
        }
        return amount
    }

    func positiveAmount(_ key: String) throws(NodeFault) -> Amount {
        let amount = try required(key, try amount(key))
        guard amount > .zero else { throw fault(key, "must be more than 0", code: "out_of_range") }
        return amount
    }

    func list(_ key: String, countMax: Int) throws(NodeFault) -> [JSONValue]? {
        guard let value = self[key] else { return nil }
        guard let items = value.items else { throw fault(key, "must be a list", code: "invalid_type") }
        guard items.count <= countMax else {
            throw fault(key, "may have \(countMax) entries; it has \(items.count)", code: "too_long")
        }
        return items
    }

    /// An inner object.
    func fields(_ key: String) throws(NodeFault) -> RequestFields? {
        guard let value = self[key] else { return nil }
        return try RequestFields(value, path: "\(path)\(key).")
    }

    /// Token ids.
    func tokens(_ value: JSONValue, _ key: String, countMax: Int) throws(NodeFault) -> [UInt32] {
        guard let items = value.items else { throw fault(key, "must be a list of token ids", code: "invalid_type") }
        guard items.count <= countMax else {
            throw fault(key, "may have \(countMax) tokens; it has \(items.count)", code: "too_long")
        }
        var tokens: [UInt32] = []
        tokens.reserveCapacity(items.count)
        for (index, item) in items.enumerated() {
            guard let id = item.integer.flatMap(UInt32.init(exactly:)) else {
                throw fault("\(key)[\(index)]", "must be a token id", code: "invalid_type")
            }
            tokens.append(id)
        }
        return tokens
    }
}

extension Double {
    /// `2` rather than `2.0`.
    fileprivate var plain: String { Int(exactly: self).map { "\($0)" } ?? "\(self)" }
}
