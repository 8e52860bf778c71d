// The messages of /openledger/infer/1 (Protocol/inference.md), dag-cbor, one a frame. The payer speaks first.
//
//   payer                                   server
//     │── ask (signed order) ──────────────────▶│   allowance, price and parties checked
//     │◀────────────── accepted (prompt tokens, sources) ──│   or refused(code, message)
//     │◀────────────────────────── token, token, … ──│   delivery pauses above the exposure cap
//     │── voucher (running total) ─────────────▶│   every 64 tokens, and whenever the server says `due`
//     │◀── receipt (server's signature, shares) ────│   once the evidence of the answer is weighed
//     │── countersign (payer's signature) ─────▶│   now anyone may settle it
//     │── cancel ──▶ at any time: the server stops, the receipt covers what was delivered

package import Ledger
package import Primitives
package import Records

package enum AnswerEnd: String, Hashable, Sendable, CaseIterable {
    case stop, length, cancelled
}

package enum InferMessage: Hashable, Sendable {
    package static let bytesMax = 1 << 20
    package static let sourcesMax = 64

    case ask(SignedEnvelope)
    case voucher(SignedVoucher)
    case countersign(Signature)
    case cancel
    case accepted(promptTokens: [UInt32], sources: [SourceNote])
    /// Scores where the order asks for them: its own, then the likeliest tokens'.
    case token(id: UInt32, text: String, scores: [TokenScore] = [])
    /// Delivery waits for a voucher of at least this total.
    case due(Amount)
    /// Sources: rows with their shares, and of the prompt's rows that have none the reason.
    case receipt(Receipt, server: Signature, end: AnswerEnd, sources: [SourceNote] = [])
    case refused(code: String, message: String)

    package func encoded() -> [UInt8] {
        switch self {
        case .ask(let order): CBOR.map(["type": .text("ask"), "order": order.cbor]).encoded()
        case .voucher(let voucher): CBOR.map(["type": .text("voucher"), "voucher": voucher.cbor]).encoded()
        case .countersign(let signature):
            CBOR.map(["type": .text("countersign"), "signature": .signature(signature)]).encoded()
        case .cancel: CBOR.map(["type": .text("cancel")]).encoded()
        case .accepted(let tokens, let sources):
            CBOR.map([
                "type": .text("accepted"), "tokens": .bytes(Commitment.content(tokens: tokens)),
                "sources": .array(sources.map(\.cbor)),
            ]).encoded()
        case .token(let id, let text, let scores):
            CBOR.map(
                [("type", CBOR.text("token")), ("id", .unsigned(UInt64(id))), ("text", .text(text))]
                    + (scores.isEmpty ? [] : [("scores", .array(scores.map(\.cbor)))])
            ).encoded()
        case .due(let total): CBOR.map(["type": .text("due"), "total": .amount(total)]).encoded()
        case .receipt(let receipt, let signature, let end, let sources):
            CBOR.map(
                [
                    ("type", CBOR.text("receipt")), ("receipt", receipt.cbor), ("signature", .signature(signature)),
                    ("end", .text(end.rawValue)),
                ] + (sources.isEmpty ? [] : [("sources", .array(sources.map(\.cbor)))])
            ).encoded()
        case .refused(let code, let message):
            CBOR.map(["type": .text("refused"), "code": .text(code), "message": .text(message)]).encoded()
        }
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        var fields = try CBORFields(decoding: bytes, "InferMessage", limits: CBORLimits(bytesMax: Self.bytesMax))
        switch try fields.text("type", max: 16) {
        case "ask":
            self = .ask(try SignedEnvelope(cbor: try fields.value("order"), payloadBytesMax: AskOrder.bytesMax))
        case "voucher": self = .voucher(try SignedVoucher(cbor: try fields.value("voucher")))
        case "countersign": self = .countersign(try fields.signature("signature"))
        case "cancel": self = .cancel
        case "accepted":
            let tokens = try TokenList.decode(try fields.bytes("tokens", max: AskOrder.bytesMax), fields)
            var sources: [SourceNote] = []
            for item in try fields.array("sources", max: Self.sourcesMax) { sources.append(try SourceNote(cbor: item)) }
            self = .accepted(promptTokens: tokens, sources: sources)
        case "token":
            self = .token(
                id: UInt32(truncatingIfNeeded: try fields.unsigned("id", max: UInt64(UInt32.max))),
                text: try fields.text("text", max: 16_384), scores: try Self.scores(&fields))
        case "due": self = .due(try fields.amount("total"))
        case "receipt":
            guard let end = AnswerEnd(rawValue: try fields.text("end", max: 16)) else {
                throw fields.fault("end", "is not stop, length or cancelled")
            }
            self = .receipt(
                try Receipt(cbor: try fields.value("receipt")), server: try fields.signature("signature"), end: end,
                sources: try Self.shares(&fields))
        case "refused":
            self = .refused(code: try fields.text("code", max: 64), message: try fields.text("message", max: 2048))
        default: throw fields.fault("type", "is not a known message")
        }
        try fields.finish()
    }

    private static func shares(_ fields: inout CBORFields) throws(CBORFault) -> [SourceNote] {
        guard let value = fields.optionalValue("sources") else { return [] }
        guard case .array(let items) = value, (1...sourcesMax).contains(items.count) else {
            throw fields.fault("sources", "are not 1 to \(sourcesMax)")
        }
        var sources: [SourceNote] = []
        for item in items { sources.append(try SourceNote(cbor: item)) }
        return sources
    }

    private static func scores(_ fields: inout CBORFields) throws(CBORFault) -> [TokenScore] {
        guard let value = fields.optionalValue("scores") else { return [] }
        guard case .array(let items) = value, (1...AskOrder.scoresMax + 1).contains(items.count) else {
            throw fields.fault("scores", "is not an array of 1 to \(AskOrder.scoresMax + 1)")
        }
        let scores = items.compactMap { TokenScore(cbor: $0) }
        guard scores.count == items.count else {
            throw fields.fault("scores", "holds something that is not [token, bits of a finite number, text]")
        }
        return scores
    }
}
