// Receipts that wait for a batch. Within an allowance they go in order of sequence; between allowances the turn
// rotates, so that a payer with many does not keep the others waiting.

package import Ledger
package import Primitives

package struct ReceiptPool: Sendable {
    private struct Entry {
        let receipt: SignedReceipt
        let byteCount: Int
    }

    private let limits: PoolLimits
    /// By allowance, ascending by sequence.
    private var waiting: [AllowanceID: [Entry]] = [:]
    private var ids: Set<Digest> = []
    private var byteCount = 0
    private var quarantine: Quarantine<ReceiptFault>
    /// The allowance after which the next selection begins.
    private var cursor: AllowanceID?

    package init(limits: PoolLimits = PoolLimits()) {
        self.limits = limits
        quarantine = Quarantine(countMax: limits.quarantineMax)
    }

    package var count: Int { ids.count }
    package var isEmpty: Bool { ids.isEmpty }
    package func contains(_ id: Digest) -> Bool { ids.contains(id) }
    package func fault(of id: Digest) -> ReceiptFault? { quarantine[id] }

    /// In the order of allowances and sequences; no turn is taken.
    package func first(_ countMax: Int) -> [SignedReceipt] {
        Array(waiting.keys.sorted().lazy.flatMap { waiting[$0] ?? [] }.prefix(countMax).map(\.receipt))
    }

    /// - Parameter receipt: already checked as far as it can be without the chain's state (signatures, price).
    package mutating func offer(_ receipt: SignedReceipt) -> PoolAnswer<ReceiptFault> {
        let id = receipt.id
        if ids.contains(id) { return .known }
        if let fault = quarantine[id] { return .refused(fault) }
        let entry = Entry(receipt: receipt, byteCount: receipt.encoded().count)
        var entries = waiting[receipt.receipt.allowance] ?? []
        guard ids.count < limits.countMax, byteCount + entry.byteCount <= limits.bytesMax,
            entries.count < limits.perOwnerMax
        else { return .full }
        let index = entries.firstIndex { $0.receipt.receipt.sequence > receipt.receipt.sequence } ?? entries.endIndex
        entries.insert(entry, at: index)
        waiting[receipt.receipt.allowance] = entries
        ids.insert(id)
        byteCount += entry.byteCount
        return .taken
    }

    /// Drops a receipt that can never be settled, and remembers why.
    package mutating func refuse(_ id: Digest, _ fault: ReceiptFault) {
        quarantine.put(id, fault)
        guard ids.contains(id) else { return }
        keep { $0.id != id }
    }

    /// Drops what a final batch settled, and the expired.
    package mutating func settled(_ receipts: [SignedReceipt], height: UInt64) {
        let settled = Set(receipts.map(\.id))
        keep { !settled.contains($0.id) && $0.receipt.expiry > height }
    }

    private mutating func keep(_ isKept: (SignedReceipt) -> Bool) {
        for (allowance, entries) in waiting {
            let kept = entries.filter { isKept($0.receipt) }
            guard kept.count < entries.count else { continue }
            for entry in entries where !isKept(entry.receipt) {
                ids.remove(entry.receipt.id)
                byteCount -= entry.byteCount
            }
            waiting[allowance] = kept.isEmpty ? nil : kept
        }
    }

    /// The receipts for the next batch. When the limits cut them, the next selection begins where this one ended.
    package mutating func select(countMax: Int, bytesMax: Int) -> [SignedReceipt] {
        let allowances = waiting.keys.sorted()
        let start = cursor.flatMap { cursor in allowances.firstIndex { $0 > cursor } } ?? 0
        var selected: [SignedReceipt] = []
        var bytes = 0
        for allowance in allowances[start...] + allowances[..<start] {
            for entry in waiting[allowance] ?? [] {
                guard selected.count < countMax, bytes + entry.byteCount <= bytesMax else { return selected }
                selected.append(entry.receipt)
                bytes += entry.byteCount
            }
            cursor = allowance
        }
        cursor = nil
        return selected
    }
}
