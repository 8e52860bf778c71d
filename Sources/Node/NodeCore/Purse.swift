// What this peer has promised under one allowance, and what it holds of others' promises. Written to disk before a
// promise is sent and as one arrives: it is money.

package import Ledger
package import Primitives

/// The payer's side of an allowance with one server.
package struct Purse: Hashable, Sendable {
    package enum State: Hashable, Sendable {
        /// Waits for the transaction that opens it.
        case opening
        case open
    }

    package var allowance: AllowanceID
    package var server: AccountID
    package var limit: Amount
    package var expiry: UInt64
    package var state: State
    /// The highest total that was signed.
    package var total: Amount
    /// The last sequence that was used.
    package var sequence: UInt64

    package init(
        allowance: AllowanceID, server: AccountID, limit: Amount, expiry: UInt64, state: State, total: Amount = .zero,
        sequence: UInt64 = 0
    ) {
        self.allowance = allowance
        self.server = server
        self.limit = limit
        self.expiry = expiry
        self.state = state
        self.total = total
        self.sequence = sequence
    }

    package var left: Amount { (try? limit.subtracting(total)) ?? .zero }

    package static let storagePrefix: [UInt8] = [1]
    package static let voucherPrefix: [UInt8] = [2]
    package static func storageKey(_ allowance: AllowanceID) -> [UInt8] { storagePrefix + allowance.digest.bytes }
    package static func voucherKey(_ allowance: AllowanceID) -> [UInt8] { voucherPrefix + allowance.digest.bytes }

    package func encoded() -> [UInt8] {
        CBOR.map([
            "allowance": .digest(allowance.digest), "server": .account(server), "limit": .amount(limit),
            "expiry": .unsigned(expiry), "open": .bool(state == .open), "total": .amount(total),
            "sequence": .unsigned(sequence),
        ]).encoded()
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        var fields = try CBORFields(decoding: bytes, "Purse", limits: CBORLimits(bytesMax: 1024))
        allowance = AllowanceID(try fields.digest("allowance"))
        server = try fields.account("server")
        limit = try fields.amount("limit")
        expiry = try fields.unsigned("expiry")
        state = try fields.bool("open") ? .open : .opening
        total = try fields.amount("total")
        sequence = try fields.unsigned("sequence")
        try fields.finish()
    }

    var write: NodeWrite { .put(.allowances, key: Self.storageKey(allowance), value: encoded()) }
}

/// A receipt that this peer is party to, with what only the parties know: the order (prompt and salts), the answer's
/// tokens and the rows. Kept through the dispute window; a re-execution needs it.
package struct OwnReceipt: Hashable, Sendable {
    package enum Role: String, Hashable, Sendable { case payer, server, both }

    package var signed: SignedReceipt
    package var role: Role
    package var order: [UInt8]
    package var promptTokens: [UInt32]
    package var answerTokens: [UInt32]
    package var sources: [SourceNote]
    package var time: WallTime
    package var end: AnswerEnd

    package init(
        signed: SignedReceipt, role: Role, order: [UInt8], promptTokens: [UInt32], answerTokens: [UInt32],
        sources: [SourceNote], time: WallTime, end: AnswerEnd
    ) {
        self.signed = signed
        self.role = role
        self.order = order
        self.promptTokens = promptTokens
        self.answerTokens = answerTokens
        self.sources = sources
        self.time = time
        self.end = end
    }

    package var storageKey: [UInt8] {
        UInt64(clamping: time.milliseconds).bigEndianBytes + signed.id.bytes
    }

    package func encoded() -> [UInt8] {
        CBOR.map([
            "signed": signed.cbor, "role": .text(role.rawValue), "order": .bytes(order),
            "prompt": .bytes(Commitment.content(tokens: promptTokens)),
            "answer": .bytes(Commitment.content(tokens: answerTokens)), "sources": .array(sources.map(\.cbor)),
            "time": .wallTime(time), "end": .text(end.rawValue),
        ]).encoded()
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        var fields = try CBORFields(decoding: bytes, "OwnReceipt", limits: CBORLimits(bytesMax: 4 << 20))
        signed = try SignedReceipt(cbor: try fields.value("signed"))
        guard let role = Role(rawValue: try fields.text("role", max: 8)) else {
            throw fields.fault("role", "is unknown")
        }
        self.role = role
        order = try fields.bytes("order", max: AskOrder.bytesMax)
        promptTokens = try TokenList.decode(try fields.bytes("prompt", max: 4 << 20), fields)
        answerTokens = try TokenList.decode(try fields.bytes("answer", max: 4 << 20), fields)
        var sources: [SourceNote] = []
        for item in try fields.array("sources", max: InferMessage.sourcesMax) {
            sources.append(try SourceNote(cbor: item))
        }
        self.sources = sources
        time = try fields.wallTime("time")
        guard let end = AnswerEnd(rawValue: try fields.text("end", max: 16)) else {
            throw fields.fault("end", "is unknown")
        }
        self.end = end
        try fields.finish()
    }
}
