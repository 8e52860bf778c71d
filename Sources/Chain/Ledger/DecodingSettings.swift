// How an answer was decoded beyond a receipt's plain numbers. It may tell of the prompt, so the receipt only commits to it
// (`Decoding.extra`); whoever repeats the answer is shown it. Protocol/inference.md and audit.md.

package import Primitives

/// Added to the logit of one token.
package struct AskBias: Hashable, Sendable {
    package var token: UInt32
    /// In millionths.
    package var bias: Int64

    package init(token: UInt32, bias: Int64) {
        self.token = token
        self.bias = bias
    }
}

/// What the answer's text must conform to (Protocol/decoding.md).
package enum AskForm: Hashable, Sendable {
    package static let bytesMax = 256 << 10

    /// Any JSON object.
    case json
    /// A JSON Schema, as its JSON text.
    case schema(String)
    /// A grammar, as its GBNF text.
    case grammar(String)

    var cbor: CBOR {
        switch self {
        case .json: .map(["kind": .text("json")])
        case .schema(let text): .map(["kind": .text("schema"), "text": .text(text)])
        case .grammar(let text): .map(["kind": .text("grammar"), "text": .text(text)])
        }
    }

    init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "form")
        switch try fields.text("kind", max: 16) {
        case "json": self = .json
        case "schema": self = .schema(try fields.text("text", max: Self.bytesMax))
        case "grammar": self = .grammar(try fields.text("text", max: Self.bytesMax))
        default: throw fields.fault("kind", "is not json, schema or grammar")
        }
        try fields.finish()
    }
}

package struct DecodingSettings: Hashable, Sendable {
    package static let stopMax = 16
    package static let stopBytesMax = 1024
    package static let biasesMax = 1024
    package static let choiceMax: UInt64 = 127

    package var stop: [String]
    package var ignoreEndOfSequence: Bool
    /// Ascending by token.
    package var bias: [AskBias]
    package var form: AskForm?
    /// Which of several answers to one request: the sampler's stream of chance.
    package var choice: UInt32

    package init(
        stop: [String] = [], ignoreEndOfSequence: Bool = false, bias: [AskBias] = [], form: AskForm? = nil,
        choice: UInt32 = 0
    ) {
        self.stop = stop
        self.ignoreEndOfSequence = ignoreEndOfSequence
        self.bias = bias
        self.form = form
        self.choice = choice
    }

    /// `Decoding.extra`; nil where every setting is at its default.
    package func commitment(salt: [UInt8]) -> Commitment? {
        guard self != DecodingSettings() else { return nil }
        return Commitment(salt: salt, content: CBOR.map(pairs).encoded())
    }

    /// `stop` and `ignoreEOS` always, the others where they are not at their default.
    package var pairs: [(String, CBOR)] {
        var pairs: [(String, CBOR)] = [
            ("stop", .array(stop.map(CBOR.text))), ("ignoreEOS", .bool(ignoreEndOfSequence)),
        ]
        if !bias.isEmpty {
            let entries = bias.map { CBOR.array([.unsigned(UInt64($0.token)), .integer($0.bias)]) }
            pairs.append(("bias", .array(entries)))
        }
        if let form { pairs.append(("form", form.cbor)) }
        if choice != 0 { pairs.append(("choice", .unsigned(UInt64(choice)))) }
        return pairs
    }

    package init(from fields: inout CBORFields) throws(CBORFault) {
        var stop: [String] = []
        for item in try fields.array("stop", max: Self.stopMax) {
            guard case .text(let text) = item, text.utf8.count <= Self.stopBytesMax else {
                throw fields.fault("stop", "holds something that is not a short text")
            }
            stop.append(text)
        }
        self.stop = stop
        ignoreEndOfSequence = try fields.bool("ignoreEOS")
        bias = try Self.biases(&fields)
        form = nil
        if let value = fields.optionalValue("form") { form = try AskForm(cbor: value) }
        choice = 0
        if let value = fields.optionalValue("choice") {
            guard case .unsigned(let number) = value, (1...Self.choiceMax).contains(number) else {
                throw fields.fault("choice", "is not between 1 and \(Self.choiceMax)")
            }
            choice = UInt32(number)
        }
    }

    private static func biases(_ fields: inout CBORFields) throws(CBORFault) -> [AskBias] {
        guard let value = fields.optionalValue("bias") else { return [] }
        guard case .array(let items) = value, (1...biasesMax).contains(items.count) else {
            throw fields.fault("bias", "is not an array of 1 to \(biasesMax)")
        }
        var biases: [AskBias] = []
        for item in items {
            guard case .array(let parts) = item, parts.count == 2, case .unsigned(let id) = parts[0],
                let token = UInt32(exactly: id), let bias = parts[1].narrow,
                biases.last.map({ $0.token < token }) ?? true
            else { throw fields.fault("bias", "is not [token, millionths], ascending by token") }
            biases.append(AskBias(token: token, bias: bias))
        }
        return biases
    }
}

extension CBOR {
    fileprivate var narrow: Int64? {
        switch self {
        case .unsigned(let value): Int64(exactly: value)
        case .negative(let value): Int64(exactly: value).map { -1 - $0 }
        default: nil
        }
    }
}
