// What happened to an account, one line a change, in the order in which it happened: what `account history` shows.

package import Primitives

package enum HistoryKind: String, Hashable, Sendable, CaseIterable {
    case genesis, faucet, fee, sent, received
    case allowanceOpened, allowanceClosed
    case served, model, adapter, contributor, committee, reward
    case staked, unstaked, claimed, slashed
}

/// One change. `amount` was gained or spent by the account's free balance; for `unstaked` and `slashed`, which do not touch
/// it, it is what began to unbond or was lost of the stake.
package struct HistoryEntry: Hashable, Sendable {
    package let account: AccountID
    package let height: UInt64
    /// Position among all changes of the batch.
    package let index: UInt64
    package let kind: HistoryKind
    package let gained: Bool
    package let amount: Amount
    /// The receipt or the transaction; the beacon for what an epoch's end pays.
    package let reference: Digest

    /// Orders an account's entries when stored under it: height and index, eight big-endian bytes each.
    package var storageKey: [UInt8] {
        [height, index].flatMap { number in
            stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> UInt64($0)) }
        }
    }

    package var cbor: CBOR {
        .map([
            "v": .unsigned(1), "account": .account(account), "height": .unsigned(height), "index": .unsigned(index),
            "kind": .text(kind.rawValue), "gained": .bool(gained), "amount": .amount(amount),
            "reference": .digest(reference),
        ])
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "HistoryEntry")
        try fields.version(1)
        account = try fields.account("account")
        height = try fields.unsigned("height")
        index = try fields.unsigned("index")
        guard let kind = HistoryKind(rawValue: try fields.text("kind", max: LedgerLimits.nameBytesMax)) else {
            throw fields.fault("kind", "is not known")
        }
        self.kind = kind
        gained = try fields.bool("gained")
        amount = try fields.amount("amount")
        reference = try fields.digest("reference")
        try fields.finish()
    }

    init(
        account: AccountID, height: UInt64, index: UInt64, kind: HistoryKind, gained: Bool, amount: Amount,
        reference: Digest
    ) {
        self.account = account
        self.height = height
        self.index = index
        self.kind = kind
        self.gained = gained
        self.amount = amount
        self.reference = reference
    }
}
