// The messages of /openledger/audit/1 (Protocol/audit.md), dag-cbor, one a frame, and what the two sides work on.
//
//   asker                                     auditor
//     │── audit (receipt, opening) ───────────────▶│   signatures and commitments checked, re-executed
//     │◀───────────── verdict (auditor's signature) ──│   or refused(code, message)
//
//     │── weigh (receipt, order, answer) ───────────▶│   the same, and the evidence of the shares is weighed again
//     │◀───────────── weighed (auditor's signature) ──│   or refused(code, message)

package import Ledger
package import Primitives

package enum AuditMessage: Hashable, Sendable {
    package static let bytesMax = 1 << 20

    case audit(SignedReceipt, AuditOpening)
    case verdict(SignedVerdict)
    case weigh(SignedReceipt, order: [UInt8], answer: [UInt32])
    case weighed(SignedShareVerdict)
    case refused(code: String, message: String)

    package func encoded() -> [UInt8] {
        switch self {
        case .audit(let receipt, let opening):
            CBOR.map(["type": .text("audit"), "receipt": receipt.cbor, "opening": opening.cbor]).encoded()
        case .verdict(let verdict): CBOR.map(["type": .text("verdict"), "verdict": verdict.cbor]).encoded()
        case .weigh(let receipt, let order, let answer):
            CBOR.map([
                "type": .text("weigh"), "receipt": receipt.cbor, "order": .bytes(order),
                "answer": .bytes(Commitment.content(tokens: answer)),
            ]).encoded()
        case .weighed(let verdict): CBOR.map(["type": .text("weighed"), "verdict": verdict.cbor]).encoded()
        case .refused(let code, let message):
            CBOR.map(["type": .text("refused"), "code": .text(code), "message": .text(message)]).encoded()
        }
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        var fields = try CBORFields(decoding: bytes, "AuditMessage", limits: CBORLimits(bytesMax: Self.bytesMax))
        switch try fields.text("type", max: 16) {
        case "audit":
            self = .audit(
                try SignedReceipt(cbor: try fields.value("receipt")),
                try AuditOpening(cbor: try fields.value("opening")))
        case "verdict": self = .verdict(try SignedVerdict(cbor: try fields.value("verdict")))
        case "weigh":
            self = .weigh(
                try SignedReceipt(cbor: try fields.value("receipt")),
                order: try fields.bytes("order", max: AskOrder.bytesMax),
                answer: try TokenList.decode(try fields.bytes("answer", max: AuditOpening.tokenBytesMax), fields))
        case "weighed": self = .weighed(try SignedShareVerdict(cbor: try fields.value("verdict")))
        case "refused":
            self = .refused(code: try fields.text("code", max: 64), message: try fields.text("message", max: 2048))
        default: throw fields.fault("type", "is not a known message")
        }
        try fields.finish()
    }
}

/// An answer to be repeated by this peer's kernels. The opening opens the receipt.
package struct ReexecutionOrder: Sendable {
    package var receipt: Receipt
    package var opening: AuditOpening

    package init(receipt: Receipt, opening: AuditOpening) {
        self.receipt = receipt
        self.opening = opening
    }
}

package enum Reexecution: Hashable, Sendable {
    case done(AuditOutcome)
    /// This peer cannot repeat it to the letter: it lacks the model, or computes otherwise.
    case refused(code: String, message: String)
}

/// An audit that somebody at this peer, or the peer itself, wants.
package struct AuditRequest: Sendable {
    package var record: OwnReceipt
    /// nil: this peer's own kernels.
    package var auditor: PeerID?
    /// Whether evidence, prompt included, may be published.
    package var publishes: Bool
    /// Whether it is the shares that are computed again, and not the answer.
    package var shares: Bool

    package init(record: OwnReceipt, auditor: PeerID?, publishes: Bool = false, shares: Bool = false) {
        self.record = record
        self.auditor = auditor
        self.publishes = publishes
        self.shares = shares
    }
}

package struct AuditReport: Hashable, Sendable {
    package var verdict: SignedVerdict
    /// Whether two verdicts make evidence of it, and whether that was published.
    package var isEvidence: Bool
    package var isPublished: Bool
}

package struct AuditLimits: Hashable, Sendable {
    /// Millionths of own paid answers that are audited without being asked for; 0 turns it off.
    package var share: UInt64 = 10_000
    /// Whether such an audit may show a prompt to another peer.
    package var opens = false
    /// Audits an hour that nobody asked for.
    package var ownPerHourMax = 12
    /// Audits an hour for one other peer.
    package var servedPerHourMax = 8
    /// Prompt and answer of an audit for another peer.
    package var tokensMax = 16_384

    package init() {}
}

extension OwnReceipt {
    /// What opens the receipt; nil where the order does not read.
    package var opening: AuditOpening? {
        guard let order = try? AskOrder(decoding: order) else { return nil }
        return AuditOpening(
            promptTokens: promptTokens, answerTokens: answerTokens, promptSalt: order.promptSalt,
            answerSalt: order.answerSalt, settings: order.settings)
    }
}
