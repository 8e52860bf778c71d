// What an order says of decoding beyond a receipt's plain numbers. It may tell of the prompt, so the receipt only commits to
// it (`decoding.extra`); whoever runs the answer again is shown the order.

package import Ledger
import Primitives

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
        var fields = try CBORFields(cbor, "AskOrder.form")
        switch try fields.text("kind", max: 16) {
        case "json": self = .json
        case "schema": self = .schema(try fields.text("text", max: Self.bytesMax))
        case "grammar": self = .grammar(try fields.text("text", max: Self.bytesMax))
        default: throw fields.fault("kind", "is not json, schema or grammar")
        }
        try fields.finish()
    }
}

/// The log-probability of one token that was, or could have been, chosen. Not part of the receipt: the server's word.
package struct TokenScore: Hashable, Sendable {
    package static let textBytesMax = 1024

    package var id: UInt32
    /// Natural logarithm, before temperature, penalties and bias; finite.
    package var logProbability: Float
    package var text: String

    package init(id: UInt32, logProbability: Float, text: String) {
        self.id = id
        self.logProbability = logProbability
        self.text = text
    }

    /// The number as its 32 bits: there are no floats on this wire.
    var cbor: CBOR { .array([.unsigned(UInt64(id)), .unsigned(UInt64(logProbability.bitPattern)), .text(text)]) }

    init?(cbor: CBOR) {
        guard case .array(let parts) = cbor, parts.count == 3, case .unsigned(let id) = parts[0],
            case .unsigned(let bits) = parts[1], case .text(let text) = parts[2], let id = UInt32(exactly: id),
            let bits = UInt32(exactly: bits), Float(bitPattern: bits).isFinite, text.utf8.count <= Self.textBytesMax
        else { return nil }
        self.init(id: id, logProbability: Float(bitPattern: bits), text: text)
    }
}

extension AskOrder {
    package static let biasesMax = 1024
    package static let scoresMax = 20
    package static let choiceMax: UInt64 = 127

    /// The fields of the order that are settings, those that are not at their default; empty for none.
    var settingPairs: [(String, CBOR)] {
        var pairs: [(String, CBOR)] = []
        if !stop.isEmpty { pairs.append(("stop", .array(stop.map(CBOR.text)))) }
        if ignoreEndOfSequence { pairs.append(("ignoreEOS", .bool(true))) }
        if !bias.isEmpty {
            let entries = bias.map { CBOR.array([.unsigned(UInt64($0.token)), .integer($0.bias)]) }
            pairs.append(("bias", .array(entries)))
        }
        if let form { pairs.append(("form", form.cbor)) }
        if choice != 0 { pairs.append(("choice", .unsigned(UInt64(choice)))) }
        return pairs
    }

    /// Whether an audit's opening holds all that decided over the answer: it has no bias, no form and no choice.
    package var canBeAudited: Bool { bias.isEmpty && form == nil && choice == 0 }

    /// What `decoding.extra` must be: nil where every setting is at its default.
    package var settingsCommitment: Commitment? {
        // What every audit can open (Protocol/audit.md).
        if canBeAudited {
            return Commitment.settings(stop: stop, ignoreEndOfSequence: ignoreEndOfSequence, salt: promptSalt)
        }
        let pairs = settingPairs
        // A salt of its own: to open the settings is not to open the prompt.
        return Commitment(
            salt: hmacSHA256(key: promptSalt, Array("settings".utf8)), content: CBOR.map(pairs).encoded())
    }

    static func biases(_ fields: inout CBORFields) throws(CBORFault) -> [AskBias] {
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

    static func optional(_ key: String, _ range: ClosedRange<UInt64>, _ fields: inout CBORFields) throws(CBORFault)
        -> UInt64?
    {
        guard let value = fields.optionalValue(key) else { return nil }
        guard case .unsigned(let number) = value, range.contains(number) else {
            throw fields.fault(key, "is not between \(range.lowerBound) and \(range.upperBound)")
        }
        return number
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
