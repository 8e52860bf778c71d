// The messages of /openledger/infer/1 (Protocol/inference.md), dag-cbor, one a frame. The payer speaks first.
//
//   payer                                   server
//     │── ask (signed order) ──────────────────▶│   allowance, price and parties checked
//     │◀────────────── accepted (prompt tokens, sources) ──│   or refused(code, message)
//     │◀────────────────────────── token, token, … ──│   delivery pauses above the exposure cap
//     │── voucher (running total) ─────────────▶│   every 64 tokens, and whenever the server says `due`
//     │◀──────────── receipt (server's signature) ──│
//     │── countersign (payer's signature) ─────▶│   now anyone may settle it
//     │── cancel ──▶ at any time: the server stops, the receipt covers what was delivered

package import Ledger
package import Primitives
package import Records

/// A row that was used, as the payer sees it.
package struct SourceNote: Hashable, Sendable {
    package var row: UInt64
    package var rowName: String
    package var snapshot: CID
    package var datanet: Digest
    package var datanetName: String
    package var contributor: AccountID
    package var share: PartsPerMillion
    package var text: String
    package var license: String
    /// Salt of the row's leaf under the receipt's row-weight root.
    package var salt: [UInt8]

    package init(
        row: UInt64, rowName: String, snapshot: CID, datanet: Digest, datanetName: String, contributor: AccountID,
        share: PartsPerMillion, text: String, license: String, salt: [UInt8]
    ) {
        self.row = row
        self.rowName = rowName
        self.snapshot = snapshot
        self.datanet = datanet
        self.datanetName = datanetName
        self.contributor = contributor
        self.share = share
        self.text = text
        self.license = license
        self.salt = salt
    }

    package var leaf: [UInt8] {
        RowWeight(snapshot: snapshot, row: row, contributor: contributor, share: share, salt: salt).encoded()
    }

    package var cbor: CBOR {
        .map([
            "row": .unsigned(row), "rowName": .text(rowName), "snapshot": .link(snapshot), "datanet": .digest(datanet),
            "datanetName": .text(datanetName), "contributor": .account(contributor), "share": .partsPerMillion(share),
            "text": .text(text), "license": .text(license), "salt": .bytes(salt),
        ])
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "SourceNote")
        row = try fields.unsigned("row")
        rowName = try fields.text("rowName", max: 256)
        snapshot = try fields.link("snapshot")
        datanet = try fields.digest("datanet")
        datanetName = try fields.text("datanetName", max: 256)
        contributor = try fields.account("contributor")
        share = try fields.partsPerMillion("share")
        text = try fields.text("text", max: 16_384)
        license = try fields.text("license", max: 256)
        salt = try fields.bytes("salt", count: RowWeight.saltBytes)
        try fields.finish()
    }
}

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
    case receipt(Receipt, server: Signature, end: AnswerEnd)
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
        case .receipt(let receipt, let signature, let end):
            CBOR.map([
                "type": .text("receipt"), "receipt": receipt.cbor, "signature": .signature(signature),
                "end": .text(end.rawValue),
            ]).encoded()
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
                try Receipt(cbor: try fields.value("receipt")), server: try fields.signature("signature"), end: end)
        case "refused":
            self = .refused(code: try fields.text("code", max: 64), message: try fields.text("message", max: 2048))
        default: throw fields.fault("type", "is not a known message")
        }
        try fields.finish()
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
