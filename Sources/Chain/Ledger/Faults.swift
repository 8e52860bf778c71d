// Everything that can be wrong with a receipt, a transaction or a batch, by name. What follows from a fault (drop, defer,
// penalise a peer) is the caller's to say.

public import Primitives

public enum ReceiptFault: Error, Hashable, Sendable {
    case malformed(CBORFault)
    case unknownVersion(UInt64)
    case wrongNetwork
    case badServerSignature
    case badPayerSignature
    /// The amount is not the price schedule times the tokens.
    case wrongPrice
    case belowMinimum(Amount)
    case tooManyContributors(Int)
    /// Shares are not ascending by account, positive and one million together; or there are some without a row root, or
    /// a row root without any.
    case weightsDoNotSum(UInt64)
    case duplicateInBatch
    case unknownAllowance
    /// Payer or server are not those of the allowance.
    case wrongParties
    /// A key in the receipt is not, or no longer, the party's.
    case keyNotDelegated(KeyRole)
    case expired(at: UInt64)
    case sequenceReplayed(last: UInt64)
    /// The total is not above what is settled by at least the amount: a replay.
    case totalNotMonotone(settled: Amount)
    case overAllowance(limit: Amount)
    /// Names an owner for something that nobody registered.
    case unknownModel(CID)
    case unknownAdapter(CID)
    /// The registered owner is another, or is left out.
    case ownerMismatch(CID)
    /// Our own store, not the receipt, is at fault.
    case state(String)
}

public enum TransactionFault: Error, Hashable, Sendable {
    case badSignature
    case keyNotDelegated(KeyRole)
    /// Too low: executed already. Too high: others must come first.
    case wrongNonce(expected: UInt64, got: UInt64)
    case feeTooLow(minimum: Amount)
    case insufficientBalance
    case zeroAmount
    case unknownAllowance
    case badExpiry
    case notExpired(until: UInt64)
    case expired(at: UInt64)
    /// The sender is neither side of the allowance, or not the side that may do this.
    case wrongParty
    case badVoucherSignature
    case voucherKeyNotDelegated
    case sequenceReplayed(last: UInt64)
    case totalNotMonotone(settled: Amount)
    case overAllowance(limit: Amount)
    case insufficientStake(minimum: Amount)
    case tooManyUnbondings
    case nothingToClaim
    case badGrant(KeyRole)
    case keyInUse
    case candidatesFull
    case tooManyKeyChanges
    case notACandidate
    case wrongEpoch(expected: UInt64)
    case nothingToDelegate
    case assetTaken(by: AccountID)
    /// The two votes do not contradict each other.
    case noConflict
    case badVoteSignature
    case notTheAccusedKey
    case evidenceTooOld
    case evidenceUsed
    case noFaucet
    case faucetTaken
    case faucetFee
    case faucetBusy
    case overflow
    case state(String)
}

package enum BatchFault: Error, Hashable, Sendable {
    case wrongHeight(expected: UInt64, got: UInt64)
    case timeBeforeParent
    case tooManyReceipts(Int)
    case tooManyTransactions(Int)
    case tooLarge(bytes: Int, max: UInt64)
    case receipt(Int, ReceiptFault)
    case transaction(Int, TransactionFault)
    /// The last batch of an epoch names the next committee, no other does.
    case nextCommitteeMissing
    case nextCommitteeUnexpected
    case wrongNextEpoch(expected: UInt64, got: UInt64)
    /// The money of the network changed: a fault of ours.
    case notConserved
    case overflow
    case state(StateFault)
}
