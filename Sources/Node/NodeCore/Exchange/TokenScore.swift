// Log-probabilities on the wire.

import Primitives

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
