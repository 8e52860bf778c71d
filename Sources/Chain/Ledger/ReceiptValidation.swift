// Is this receipt good? Two steps. `SignedReceipt.check` needs nothing but the receipt and is what a peer does before it
// relays one, and a verifier offline. `validate` also knows the state; a batch holds only receipts that pass both.

public import Primitives

extension SignedReceipt {
    /// Reads a receipt from outside, telling an unknown version from a malformed one.
    public static func read(_ bytes: [UInt8]) throws(ReceiptFault) -> SignedReceipt {
        do {
            let value = try CBOR.decode(bytes, limits: limits)
            var outer = try CBORFields(value, "SignedReceipt")
            var inner = try outer.fields("receipt")
            let version = try inner.unsigned("v")
            guard version == Receipt.version else { throw ReceiptFault.unknownVersion(version) }
            return try SignedReceipt(cbor: value)
        } catch let fault as ReceiptFault {
            throw fault
        } catch let fault as CBORFault {
            throw .malformed(fault)
        } catch {
            throw .state("\(error)")
        }
    }

    /// Everything that can be checked without the chain: network, price, weights, both signatures.
    public func check(network: NetworkID) throws(ReceiptFault) {
        try checkContent(network: network)
        let message = receipt.signingBytes()
        guard receipt.serverKey.verify(serverSignature, over: message) else { throw .badServerSignature }
        guard receipt.payerKey.verify(payerSignature, over: message) else { throw .badPayerSignature }
    }

    func checkContent(network: NetworkID) throws(ReceiptFault) {
        guard receipt.network == network else { throw .wrongNetwork }
        guard
            let cost = try? receipt.price.cost(
                promptTokens: receipt.promptTokens, answerTokens: receipt.answerTokens),
            cost == receipt.amount
        else { throw .wrongPrice }
        let contributors = receipt.data.contributors
        guard contributors.count <= LedgerLimits.contributorsPerReceiptMax else {
            throw .tooManyContributors(contributors.count)
        }
        let sum = contributors.reduce(UInt64(0)) { $0 + UInt64($1.share.value) }
        guard sum == (contributors.isEmpty ? 0 : 1_000_000), contributors.allSatisfy({ $0.share.value > 0 }),
            zip(contributors, contributors.dropFirst()).allSatisfy({ $0.account < $1.account }),
            contributors.isEmpty == (receipt.data.rows == nil)
        else { throw .weightsDoNotSum(sum) }
    }
}

/// What the chain knows about a receipt's parties just before it.
package struct ReceiptContext: Sendable {
    package var network: NetworkID
    /// Of the batch that would hold the receipt.
    package var height: UInt64
    package var minimum: Amount
    /// nil: the chain has none with this id.
    package var allowance: Allowance?
    package var payer: Account
    package var server: Account
    /// Registered owners of the model and the adapters that the receipt names.
    package var owners: [CID: AccountID]
    /// Ids of the receipts before it in the same batch.
    package var seen: Set<Digest>
    /// Whether both signatures were verified before.
    package var signaturesVerified: Bool

    package init(
        network: NetworkID, height: UInt64, minimum: Amount, allowance: Allowance?, payer: Account, server: Account,
        owners: [CID: AccountID], seen: Set<Digest> = [], signaturesVerified: Bool = false
    ) {
        self.network = network
        self.height = height
        self.minimum = minimum
        self.allowance = allowance
        self.payer = payer
        self.server = server
        self.owners = owners
        self.seen = seen
        self.signaturesVerified = signaturesVerified
    }
}

/// Whether `signed` may be settled in `context`; throws the first fault, in the order of Protocol/receipts.md.
package func validate(_ signed: SignedReceipt, in context: ReceiptContext) throws(ReceiptFault) {
    let receipt = signed.receipt
    if context.signaturesVerified {
        try signed.checkContent(network: context.network)
    } else {
        try signed.check(network: context.network)
    }
    guard receipt.amount >= context.minimum else { throw .belowMinimum(context.minimum) }
    guard !context.seen.contains(signed.id) else { throw .duplicateInBatch }
    guard let allowance = context.allowance else { throw .unknownAllowance }
    guard allowance.payer == receipt.payer, allowance.server == receipt.server else { throw .wrongParties }
    guard context.server.authorises(receipt.serverKey, as: .signer, of: receipt.server) else {
        throw .keyNotDelegated(.signer)
    }
    guard context.payer.authorises(receipt.payerKey, as: .payer, of: receipt.payer) else {
        throw .keyNotDelegated(.payer)
    }
    let expiry = min(receipt.expiry, allowance.expiry)
    guard context.height <= expiry else { throw .expired(at: expiry) }
    guard receipt.sequence > allowance.sequence else { throw .sequenceReplayed(last: allowance.sequence) }
    guard let owed = try? receipt.total.subtracting(allowance.settled), owed > .zero, owed >= receipt.amount else {
        throw .totalNotMonotone(settled: allowance.settled)
    }
    guard receipt.total <= allowance.limit else { throw .overAllowance(limit: allowance.limit) }
    let model = receipt.model
    try checkOwner(model.owner, of: model.weights, in: context.owners, unknown: .unknownModel(model.weights))
    for use in model.adapters {
        try checkOwner(use.owner, of: use.adapter, in: context.owners, unknown: .unknownAdapter(use.adapter))
    }
}

private func checkOwner(
    _ named: AccountID?, of cid: CID, in owners: [CID: AccountID], unknown: ReceiptFault
) throws(ReceiptFault) {
    if named != nil, owners[cid] == nil { throw unknown }
    guard named == owners[cid] else { throw .ownerMismatch(cid) }
}
