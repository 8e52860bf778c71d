// The receipts that this peer is party to, in the order of time. The table's keys are kept in memory, 40 bytes each, so
// that a page and a lookup read only what they show.

import NodeCore
import Primitives
import Storage
import Synchronization

final class OwnReceipts: Sendable {
    private static let timeBytes = 8
    private let store: NodeStore
    private let index = Mutex((keys: [[UInt8]](), byID: [Digest: [UInt8]]()))

    init(store: NodeStore) { self.store = store }

    /// Storage keys, oldest first.
    func keys() throws(StorageFault) -> [[UInt8]] {
        let count = try store.store.entryCount(NodeTable.mine.id)
        let known = index.withLock { $0.keys }
        if known.count == count { return known }
        var keys: [[UInt8]] = []
        var scan: Scan? = Scan(NodeTable.mine.id, limit: 256)
        while let current = scan {
            let page = try store.store.scan(current)
            keys += page.entries.map(\.key)
            scan = current.continued(after: page)
        }
        let byID = Dictionary(
            keys.compactMap { key in Digest(key.dropFirst(Self.timeBytes)).map { ($0, key) } }, uniquingKeysWith: { $1 }
        )
        index.withLock { $0 = (keys, byID) }
        return keys
    }

    func receipt(at key: [UInt8]) throws(StorageFault) -> OwnReceipt? {
        try store.value(.mine, key).flatMap { try? OwnReceipt(decoding: $0) }
    }

    func receipt(_ id: Digest) throws(StorageFault) -> OwnReceipt? {
        _ = try keys()
        guard let key = index.withLock({ $0.byID[id] }) else { return nil }
        return try receipt(at: key)
    }
}
