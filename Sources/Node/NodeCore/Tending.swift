// What this peer does for its own money without being asked: gossip reaches only those who are there at that moment, and
// whoever was cut off, or starts again, must not lose by it.

package import Ledger
import Primitives
import Records
import Sequencing

extension Node {
    /// How often what is ours and waits for a batch is said again.
    static let repeatInterval = Span.seconds(15)
    static let repeatedMax = 64
    /// A transaction that settles a voucher is shorter.
    private static let claimBytesMax: UInt64 = 2048
    /// How long after a start the chain may still be behind the network's.
    static let settlingIn = Span.seconds(15)

    /// Own transactions that wait, from the next nonce on, without a gap.
    package func ownTransactions() -> [SignedTransaction] {
        var pool = chain.transactions
        let next = chain.account(account).nonce
        return pool.select(countMax: LedgerLimits.transactionsPerBatchMax, bytesMax: LedgerLimits.batchBytesMax) {
            $0 == account ? next : .max
        }
    }

    /// Publishes again what waits for a batch, and drops what the chain as it is now will never take.
    mutating func repeatOwn() {
        guard moment.instant.since(repeatedAt) >= Self.repeatInterval else { return }
        repeatedAt = moment.instant
        screenOwn()
        for transaction in ownTransactions().prefix(Self.repeatedMax) {
            publish(Topics.transactions(network), transaction.encoded())
        }
        for receipt in ownReceipts().prefix(Self.repeatedMax) {
            publish(Topics.receipts(network), receipt.encoded())
        }
    }

    private func ownReceipts() -> [SignedReceipt] {
        var pool = chain.receipts
        let waiting = pool.select(countMax: LedgerLimits.receiptsPerBatchMax, bytesMax: LedgerLimits.batchBytesMax)
        return waiting.filter { $0.receipt.payer == account || $0.receipt.server == account }
    }

    /// A builder elsewhere drops what is not good and tells nobody: the sender sees for himself.
    private mutating func screenOwn() {
        let own = ownTransactions(), receipts = ownReceipts()
        guard !own.isEmpty || !receipts.isEmpty, moment.instant.since(startedAt) > Self.settlingIn else { return }
        let context = BatchContext(
            network: network, height: chain.height + 1, time: max(moment.wall, chain.tip.time),
            beacon: chain.tip.beacon, verified: chain.verified)
        guard
            let screened = try? StateTransition.screen(
                BatchContents(transactions: own, receipts: receipts), on: chain.state, context: context)
        else { return }
        // A server that settled its voucher as well as giving a receipt is paid once: the receipt is a replay then.
        for (receipt, fault) in screened.receipts { quarantine(receipt: receipt.id, fault) }
        for (transaction, fault) in screened.transactions { quarantine(transaction: transaction.id, fault) }
    }

    /// Vouchers that an answer left behind, under allowances that would still pay them.
    package var unclaimed: [AllowanceID] {
        trade.held.keys.sorted().filter { id in
            guard let held = trade.held[id], let signed = held.voucher, !held.isClaimed, !trade.isBusy(id),
                let allowance = chain.allowance(id)
            else { return false }
            return allowance.settled < signed.voucher.total && allowance.sequence < signed.voucher.sequence
        }
    }

    /// Settles what this peer was owed when it stopped in the middle of an answer.
    mutating func claimVouchers() {
        guard moment.instant.since(startedAt) > Self.settlingIn,
            let fee = try? chain.parameters().minimumFee(bytes: Self.claimBytesMax),
            chain.account(account).free >= fee
        else { return }
        for id in unclaimed {
            guard let signed = trade.held[id]?.voucher, case .success = transact(.settleVoucher(signed)) else {
                continue
            }
            trade.held[id]?.isClaimed = true
        }
    }
}
