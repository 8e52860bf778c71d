// What goes into the next batch: transactions first, since receipts may need the allowances they open, then receipts,
// within the limits of a batch. The owner executes the selection and tells the pools what was refused.

package import Ledger
package import Primitives

package struct BatchBuilder: Sendable {
    package var transactionsMax = LedgerLimits.transactionsPerBatchMax
    package var receiptsMax = LedgerLimits.receiptsPerBatchMax
    /// Of the lists together; the header and the next committee need the rest.
    package var bytesMax: Int
    /// The part of the bytes, in percent, that transactions leave to receipts if there are any.
    private static let receiptsPercent = 50

    /// - Parameter batchBytesMax: the network's limit for an encoded batch.
    package init(batchBytesMax: Int = LedgerLimits.batchBytesMax) {
        let overhead = LedgerLimits.headerBytesMax + LedgerLimits.committeeBytesMax + 256
        bytesMax = max(0, min(batchBytesMax, LedgerLimits.batchBytesMax) - overhead)
    }

    /// - Parameters:
    ///   - nonce: a sender's next nonce by the state that the batch will be executed on.
    ///   - next: the committee of the next epoch, for the last batch of an epoch.
    package func select(
        transactions: inout TransactionPool, receipts: inout ReceiptPool, nonce: (AccountID) -> UInt64,
        next: Committee?
    ) -> BatchContents {
        let share = receipts.isEmpty ? bytesMax : bytesMax / 100 * (100 - Self.receiptsPercent)
        let first = transactions.select(countMax: transactionsMax, bytesMax: share, nonce: nonce)
        let used = first.reduce(0) { $0 + $1.encoded().count }
        let second = receipts.select(countMax: receiptsMax, bytesMax: bytesMax - used)
        return BatchContents(transactions: first, receipts: second, next: next)
    }
}
