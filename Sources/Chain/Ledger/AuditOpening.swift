// What a receipt only commits to, laid open for one who repeats the answer: the tokens, the salts, and the settings that
// might have told of the prompt. Whoever has this and the model needs to believe nobody (Protocol/audit.md).

package import Primitives

/// Why an opening, a verdict or evidence is not good. The names are those of Protocol/audit.md and of the vectors.
package enum AuditFault: String, Error, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    case receipt
    case promptTokens, answerTokens, prompt, answer, settings
    case verdictSignature, verdictReceipt, verdictOrder, verdictServer, verdictOutcome, verdictNumerics, verdictPosition
    case verdictFound, verdictAnswer, verdictsDisagree

    package var description: String {
        switch self {
        case .receipt: "the receipt itself does not hold: its network, price, weights or a signature"
        case .promptTokens: "the prompt has another number of tokens than the receipt says"
        case .answerTokens: "the answer has another number of tokens than the receipt says"
        case .prompt: "the receipt commits to another prompt"
        case .answer: "the receipt commits to another answer"
        case .settings: "the receipt commits to other settings: stop strings, end of sequence, bias, form or choice"
        case .verdictSignature: "a verdict's signature does not hold"
        case .verdictReceipt: "a verdict is on another receipt"
        case .verdictOrder: "the verdicts are not of two keys in ascending order"
        case .verdictServer: "a verdict is the server's own"
        case .verdictOutcome: "a verdict does not say that the answer differs"
        case .verdictNumerics: "a verdict was reached with another revision of the arithmetic than the answer"
        case .verdictPosition: "a verdict's position is not in the answer"
        case .verdictFound: "a verdict found what the answer has"
        case .verdictAnswer: "a verdict's commitment is not to what it says was re-executed"
        case .verdictsDisagree: "the verdicts do not say the same"
        }
    }
}

package struct AuditOpening: ChainObject {
    package static let bytesMax = 640 << 10
    package static let tokenBytesMax = 512 << 10

    package var promptTokens: [UInt32]
    package var answerTokens: [UInt32]
    package var promptSalt: [UInt8]
    package var answerSalt: [UInt8]
    package var settings: DecodingSettings

    package init(
        promptTokens: [UInt32], answerTokens: [UInt32], promptSalt: [UInt8], answerSalt: [UInt8],
        settings: DecodingSettings = DecodingSettings()
    ) {
        self.promptTokens = promptTokens
        self.answerTokens = answerTokens
        self.promptSalt = promptSalt
        self.answerSalt = answerSalt
        self.settings = settings
    }

    /// Whether this is what the receipt commits to.
    package func check(_ receipt: Receipt) throws(AuditFault) {
        guard receipt.promptTokens == UInt64(promptTokens.count) else { throw .promptTokens }
        guard receipt.answerTokens == UInt64(answerTokens.count) else { throw .answerTokens }
        guard Commitment(salt: promptSalt, content: Commitment.content(tokens: promptTokens)) == receipt.prompt else {
            throw .prompt
        }
        guard answerCommitment(answerTokens[...]) == receipt.answer else { throw .answer }
        guard settings.commitment(salt: promptSalt) == receipt.decoding.extra else { throw .settings }
    }

    package func answerCommitment(_ tokens: ArraySlice<UInt32>) -> Commitment? {
        Commitment(salt: answerSalt, content: Commitment.content(tokens: Array(tokens)))
    }

    package var cbor: CBOR {
        .map(
            [
                ("prompt", CBOR.bytes(Commitment.content(tokens: promptTokens))),
                ("answer", .bytes(Commitment.content(tokens: answerTokens))), ("promptSalt", .bytes(promptSalt)),
                ("answerSalt", .bytes(answerSalt)),
            ] + settings.pairs)
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "AuditOpening")
        promptTokens = try fields.tokens("prompt")
        answerTokens = try fields.tokens("answer")
        promptSalt = try fields.bytes("promptSalt", count: Commitment.saltBytes)
        answerSalt = try fields.bytes("answerSalt", count: Commitment.saltBytes)
        settings = try DecodingSettings(from: &fields)
        try fields.finish()
    }
}

extension CBORFields {
    fileprivate mutating func tokens(_ key: String) throws(CBORFault) -> [UInt32] {
        let content = try bytes(key, max: AuditOpening.tokenBytesMax)
        guard let tokens = Commitment.tokens(content: content) else {
            throw fault(key, "is not a list of four-byte ids")
        }
        return tokens
    }
}

extension Commitment {
    /// The ids that `content(tokens:)` gave these bytes for; nil where it gives no such bytes.
    package static func tokens(content: [UInt8]) -> [UInt32]? {
        guard content.count.isMultiple(of: 4) else { return nil }
        return stride(from: 0, to: content.count, by: 4).map { offset in
            content[offset..<offset + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        }
    }
}
