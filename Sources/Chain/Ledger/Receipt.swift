// The receipt: what was asked of which model, what was answered at which price, and whose data helped, in a form that both
// sides sign and anyone can check for ever. Content is committed to with salts and never included.
//
//   payer ── openAllowance (chain) ──▶ request ──▶ tokens … voucher every 64 tokens … ──▶ answer
//                                                        │ payer vanishes                   │
//                                                        ▼                                  ▼
//                                              server settles the last voucher   both sign one receipt ──▶ batch
//
// Totals run over the whole life of an allowance and only grow; settling pays `total` minus what is already settled, so
// nothing can be settled twice (Protocol/receipts.md).

public import Primitives

/// Names an allowance: the id of the transaction that opened it.
public struct AllowanceID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let digest: Digest

    public init(_ digest: Digest) { self.digest = digest }
    public var description: String { digest.hex }
    public static func < (left: Self, right: Self) -> Bool { left.digest < right.digest }
}

public struct Receipt: ChainObject {
    public static let bytesMax = LedgerLimits.receiptBytesMax
    public static let version: UInt64 = 1

    public var network: NetworkID
    public var allowance: AllowanceID
    /// Grows with every receipt or settled voucher of an allowance.
    public var sequence: UInt64
    /// 32 bytes that the requester chose; billing is idempotent by it.
    public var request: Digest
    /// The last height at which this receipt may be in a batch.
    public var expiry: UInt64

    public var model: ModelUse
    public var decoding: Decoding
    public var prompt: Commitment
    public var answer: Commitment
    public var promptTokens: UInt64
    public var answerTokens: UInt64
    public var data: DataUse

    public var price: PriceSchedule
    /// What this answer costs.
    public var amount: Amount
    /// What the payer owes under the allowance since it was opened, this answer included.
    public var total: Amount

    public var payer: AccountID
    /// The payer key that signs; delegated by `payer` on the chain.
    public var payerKey: PublicKey
    public var server: AccountID
    public var serverKey: PublicKey

    public init(
        network: NetworkID, allowance: AllowanceID, sequence: UInt64, request: Digest, expiry: UInt64,
        model: ModelUse, decoding: Decoding, prompt: Commitment, answer: Commitment, promptTokens: UInt64,
        answerTokens: UInt64, data: DataUse, price: PriceSchedule, amount: Amount, total: Amount, payer: AccountID,
        payerKey: PublicKey, server: AccountID, serverKey: PublicKey
    ) {
        self.network = network
        self.allowance = allowance
        self.sequence = sequence
        self.request = request
        self.expiry = expiry
        self.model = model
        self.decoding = decoding
        self.prompt = prompt
        self.answer = answer
        self.promptTokens = promptTokens
        self.answerTokens = answerTokens
        self.data = data
        self.price = price
        self.amount = amount
        self.total = total
        self.payer = payer
        self.payerKey = payerKey
        self.server = server
        self.serverKey = serverKey
    }

    /// The receipt's id: its name everywhere, whatever the signatures.
    public var id: Digest { digest }

    public func signingBytes() -> [UInt8] { signedBytes(.receipt, network: network, payload: encoded()) }

    public var cbor: CBOR {
        .map([
            "v": .unsigned(Self.version), "network": .network(network), "allowance": .digest(allowance.digest),
            "sequence": .unsigned(sequence), "request": .digest(request), "expiry": .unsigned(expiry),
            "model": model.cbor, "decoding": decoding.cbor, "prompt": .digest(prompt.digest),
            "answer": .digest(answer.digest), "promptTokens": .unsigned(promptTokens),
            "answerTokens": .unsigned(answerTokens), "data": data.cbor, "price": price.cbor,
            "amount": .amount(amount), "total": .amount(total), "payer": .account(payer),
            "payerKey": .publicKey(payerKey), "server": .account(server), "serverKey": .publicKey(serverKey),
        ])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Receipt")
        try fields.version(Self.version)
        network = try fields.network("network")
        allowance = AllowanceID(try fields.digest("allowance"))
        sequence = try fields.unsigned("sequence")
        request = try fields.digest("request")
        expiry = try fields.unsigned("expiry")
        model = try ModelUse(cbor: try fields.value("model"))
        decoding = try Decoding(cbor: try fields.value("decoding"))
        prompt = Commitment(try fields.digest("prompt"))
        answer = Commitment(try fields.digest("answer"))
        promptTokens = try fields.unsigned("promptTokens", max: LedgerLimits.tokensMax)
        answerTokens = try fields.unsigned("answerTokens", max: LedgerLimits.tokensMax)
        data = try DataUse(cbor: try fields.value("data"))
        price = try PriceSchedule(cbor: try fields.value("price"))
        amount = try fields.amount("amount")
        total = try fields.amount("total")
        payer = try fields.account("payer")
        payerKey = try fields.publicKey("payerKey")
        server = try fields.account("server")
        serverKey = try fields.publicKey("serverKey")
        try fields.finish()
    }
}

/// A receipt with the signatures of both sides, each over the same bytes.
public struct SignedReceipt: ChainObject {
    public static let bytesMax = LedgerLimits.receiptBytesMax + 256

    public var receipt: Receipt
    public var serverSignature: Signature
    public var payerSignature: Signature

    public init(receipt: Receipt, serverSignature: Signature, payerSignature: Signature) {
        self.receipt = receipt
        self.serverSignature = serverSignature
        self.payerSignature = payerSignature
    }

    public init(_ receipt: Receipt, server: SigningKey, payer: SigningKey) {
        let message = receipt.signingBytes()
        self.init(receipt: receipt, serverSignature: server.sign(message), payerSignature: payer.sign(message))
    }

    public var id: Digest { receipt.id }

    public var cbor: CBOR {
        .map([
            "receipt": receipt.cbor, "serverSignature": .signature(serverSignature),
            "payerSignature": .signature(payerSignature),
        ])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "SignedReceipt")
        receipt = try fields.object("receipt")
        serverSignature = try fields.signature("serverSignature")
        payerSignature = try fields.signature("payerSignature")
        try fields.finish()
    }
}
