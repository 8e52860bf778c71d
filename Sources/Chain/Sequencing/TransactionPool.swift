// Transactions that wait for a batch: of each sender in order of nonce without a gap, between senders in turn.

package import Ledger
package import Primitives

package struct TransactionPool: Sendable {
    private struct Entry {
        let transaction: SignedTransaction
        let byteCount: Int
    }

    private let limits: PoolLimits
    /// By sender and nonce.
    private var waiting: [AccountID: [UInt64: Entry]] = [:]
    private var ids: Set<Digest> = []
    private var byteCount = 0
    private var quarantine: Quarantine<TransactionFault>
    private var cursor: AccountID?

    package init(limits: PoolLimits = PoolLimits()) {
        self.limits = limits
        quarantine = Quarantine(countMax: limits.quarantineMax)
    }

    package var count: Int { ids.count }
    package var isEmpty: Bool { ids.isEmpty }
    package func contains(_ id: Digest) -> Bool { ids.contains(id) }
    package func fault(of id: Digest) -> TransactionFault? { quarantine[id] }

    /// The nonce that a new transaction of `sender` should have, where some of his wait already.
    package func nextNonce(of sender: AccountID) -> UInt64? {
        guard let last = waiting[sender]?.keys.max(), last < .max else { return nil }
        return last + 1
    }

    /// - Parameter transaction: with a valid signature. Of two with one nonce the first stays, unless the second pays
    ///   more.
    package mutating func offer(_ transaction: SignedTransaction) -> PoolAnswer<TransactionFault> {
        let id = transaction.id
        if ids.contains(id) { return .known }
        if let fault = quarantine[id] { return .refused(fault) }
        let sender = transaction.transaction.sender
        let nonce = transaction.transaction.nonce
        let entry = Entry(transaction: transaction, byteCount: transaction.encoded().count)
        if let present = waiting[sender]?[nonce] {
            guard transaction.transaction.fee > present.transaction.transaction.fee else { return .full }
            drop(sender, nonce)
        }
        guard ids.count < limits.countMax, byteCount + entry.byteCount <= limits.bytesMax,
            waiting[sender]?.count ?? 0 < limits.perOwnerMax
        else { return .full }
        waiting[sender, default: [:]][nonce] = entry
        ids.insert(id)
        byteCount += entry.byteCount
        return .taken
    }

    package mutating func refuse(_ id: Digest, _ fault: TransactionFault) {
        quarantine.put(id, fault)
        guard ids.contains(id) else { return }
        for (sender, entries) in waiting {
            for (nonce, entry) in entries where entry.transaction.id == id { drop(sender, nonce) }
        }
    }

    /// Drops what a final batch executed, and whatever its nonces made stale.
    /// - Returns: what is stale: another with its nonce, or a later one, was executed.
    package mutating func executed(_ transactions: [SignedTransaction]) -> [SignedTransaction] {
        let done = Set(transactions.map(\.id))
        var stale: [SignedTransaction] = []
        for transaction in transactions {
            let sender = transaction.transaction.sender
            for nonce in waiting[sender]?.keys.sorted() ?? [] where nonce <= transaction.transaction.nonce {
                if let entry = waiting[sender]?[nonce], !done.contains(entry.transaction.id) {
                    stale.append(entry.transaction)
                }
                drop(sender, nonce)
            }
        }
        return stale
    }

    /// The transactions for the next batch.
    /// - Parameter nonce: what the state says a sender's next nonce is.
    package mutating func select(
        countMax: Int, bytesMax: Int, nonce: (AccountID) -> UInt64
    ) -> [SignedTransaction] {
        let senders = waiting.keys.sorted()
        let start = cursor.flatMap { cursor in senders.firstIndex { $0 > cursor } } ?? 0
        var selected: [SignedTransaction] = []
        var bytes = 0
        for sender in senders[start...] + senders[..<start] {
            var next = nonce(sender)
            while let entry = waiting[sender]?[next] {
                guard selected.count < countMax, bytes + entry.byteCount <= bytesMax else { return selected }
                selected.append(entry.transaction)
                bytes += entry.byteCount
                guard next < .max else { break }
                next += 1
            }
            cursor = sender
        }
        cursor = nil
        return selected
    }

    private mutating func drop(_ sender: AccountID, _ nonce: UInt64) {
        guard let entry = waiting[sender]?.removeValue(forKey: nonce) else { return }
        if waiting[sender]?.isEmpty == true { waiting[sender] = nil }
        ids.remove(entry.transaction.id)
        byteCount -= entry.byteCount
    }
}
