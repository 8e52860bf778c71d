// A transaction: one account's signed order to the ledger. Its nonce is the account's count of transactions so far, so each
// is executed once; its fee is paid whether or not anything else is.

public import Primitives

public struct Transaction: ChainObject {
    public static let bytesMax = LedgerLimits.transactionBytesMax
    public static let version: UInt64 = 1

    public var sender: AccountID
    /// The key that signs: the account's owner key, or the one delegated for this kind of action.
    public var key: PublicKey
    /// How many transactions of `sender` came before.
    public var nonce: UInt64
    public var fee: Amount
    public var action: Action

    public init(sender: AccountID, key: PublicKey, nonce: UInt64, fee: Amount, action: Action) {
        self.sender = sender
        self.key = key
        self.nonce = nonce
        self.fee = fee
        self.action = action
    }

    /// The transaction's id, whatever the signature.
    public var id: Digest { digest }

    public func signingBytes(network: NetworkID) -> [UInt8] {
        signedBytes(.transaction, network: network, payload: encoded())
    }

    public var cbor: CBOR {
        .map([
            "v": .unsigned(Self.version), "sender": .account(sender), "key": .publicKey(key),
            "nonce": .unsigned(nonce), "fee": .amount(fee), "action": action.cbor,
        ])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Transaction")
        try fields.version(Self.version)
        sender = try fields.account("sender")
        key = try fields.publicKey("key")
        nonce = try fields.unsigned("nonce")
        fee = try fields.amount("fee")
        action = try Action(cbor: try fields.value("action"))
        try fields.finish()
    }
}

public struct SignedTransaction: ChainObject {
    public static let bytesMax = LedgerLimits.transactionBytesMax + 128

    public var transaction: Transaction
    public var signature: Signature

    public init(transaction: Transaction, signature: Signature) {
        self.transaction = transaction
        self.signature = signature
    }

    public init(_ transaction: Transaction, by key: SigningKey, network: NetworkID) {
        self.init(transaction: transaction, signature: key.sign(transaction.signingBytes(network: network)))
    }

    public var id: Digest { transaction.id }

    public func isValid(network: NetworkID) -> Bool {
        transaction.key.verify(signature, over: transaction.signingBytes(network: network))
    }

    public var cbor: CBOR {
        .map(["transaction": transaction.cbor, "signature": .signature(signature)])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "SignedTransaction")
        transaction = try fields.object("transaction")
        signature = try fields.signature("signature")
        try fields.finish()
    }
}

/// What a key of an account may be used for.
public enum KeyRole: String, Hashable, Sendable, CaseIterable {
    /// Everything, and alone: moving money and stake, delegating.
    case owner
    /// Serving: receipts as a server, votes, liveness, settling vouchers, registering assets.
    case signer
    /// Paying: receipts and vouchers as a payer, opening allowances.
    case payer
}

/// A key with the proof that its holder agrees to act for an account: a signature over `{v, account, role}` in the
/// domain "transaction". Nobody can register a stranger's key as his own.
public struct KeyGrant: Hashable, Sendable {
    public let key: PublicKey
    public let proof: Signature

    public init(key: PublicKey, proof: Signature) {
        self.key = key
        self.proof = proof
    }

    public init(_ key: SigningKey, for account: AccountID, as role: KeyRole, network: NetworkID) {
        self.init(key: key.publicKey, proof: key.sign(Self.signingBytes(account, role, network)))
    }

    public func isValid(for account: AccountID, as role: KeyRole, network: NetworkID) -> Bool {
        key.verify(proof, over: Self.signingBytes(account, role, network))
    }

    private static func signingBytes(_ account: AccountID, _ role: KeyRole, _ network: NetworkID) -> [UInt8] {
        let payload = CBOR.map(["v": .unsigned(1), "account": .account(account), "role": .text(role.rawValue)])
        return signedBytes(.transaction, network: network, payload: payload.encoded())
    }

    var cbor: CBOR { .map(["key": .publicKey(key), "proof": .signature(proof)]) }

    init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "KeyGrant")
        key = try fields.publicKey("key")
        proof = try fields.signature("proof")
        try fields.finish()
    }
}

/// What kind of thing an owner is registered for.
public enum AssetKind: String, Hashable, Sendable, CaseIterable {
    case model, adapter, datanet
}
