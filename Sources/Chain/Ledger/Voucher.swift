// The voucher: while an answer streams, the payer signs every 64 tokens how much he owes by now. It names no content. If
// he vanishes, the server settles the last one alone; if the server vanishes, the payer owes no more than the last one.

public import Primitives

public struct Voucher: ChainObject {
    public static let bytesMax = 256
    public static let version: UInt64 = 1

    public var allowance: AllowanceID
    /// The sequence that the receipt of this request will have.
    public var sequence: UInt64
    /// What the payer owes under the allowance since it was opened, by now.
    public var total: Amount
    /// Answer tokens of this request so far.
    public var tokens: UInt64
    public var request: Digest

    public init(allowance: AllowanceID, sequence: UInt64, total: Amount, tokens: UInt64, request: Digest) {
        self.allowance = allowance
        self.sequence = sequence
        self.total = total
        self.tokens = tokens
        self.request = request
    }

    public func signingBytes(network: NetworkID) -> [UInt8] {
        signedBytes(.voucher, network: network, payload: encoded())
    }

    public var cbor: CBOR {
        .map([
            "v": .unsigned(Self.version), "allowance": .digest(allowance.digest), "sequence": .unsigned(sequence),
            "total": .amount(total), "tokens": .unsigned(tokens), "request": .digest(request),
        ])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Voucher")
        try fields.version(Self.version)
        allowance = AllowanceID(try fields.digest("allowance"))
        sequence = try fields.unsigned("sequence")
        total = try fields.amount("total")
        tokens = try fields.unsigned("tokens", max: LedgerLimits.tokensMax)
        request = try fields.digest("request")
        try fields.finish()
    }
}

/// A voucher with the payer's signature.
public struct SignedVoucher: ChainObject {
    public static let bytesMax = 512

    public var voucher: Voucher
    public var key: PublicKey
    public var signature: Signature

    public init(voucher: Voucher, key: PublicKey, signature: Signature) {
        self.voucher = voucher
        self.key = key
        self.signature = signature
    }

    public init(_ voucher: Voucher, payer key: SigningKey, network: NetworkID) {
        self.init(voucher: voucher, key: key.publicKey, signature: key.sign(voucher.signingBytes(network: network)))
    }

    public func isValid(network: NetworkID) -> Bool {
        key.verify(signature, over: voucher.signingBytes(network: network))
    }

    public var cbor: CBOR {
        .map(["voucher": voucher.cbor, "key": .publicKey(key), "signature": .signature(signature)])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "SignedVoucher")
        voucher = try fields.object("voucher")
        key = try fields.publicKey("key")
        signature = try fields.signature("signature")
        try fields.finish()
    }
}
