// The receipts that this peer is party to, in the order of time. The table's keys are kept in memory, 40 bytes each, so
// that a page and a lookup read only what they show.

import NodeCore
import Primitives
import Storage
import Synchronization

final class OwnReceipts: Sendable {
    private static let timeBytes = 8
    /// Openings (order, prompt, answer) are kept for so many receipts and so long; the receipts themselves stay.
    static let openingsMax = 20_000
    static let openingMillisecondsMax: Int64 = 90 * 86_400_000
    /// Receipts looked at in one go.
    private static let lookMax = 256
    private let store: NodeStore
    /// Receipts, from the oldest, whose openings are gone or too young to go.
    private let looked = Mutex(0)
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

    /// Lets go of openings that are too many or too old, some at a time.
    func letGo(now: WallTime) throws(StorageFault) {
        let keys = try keys()
        let limit = UInt64(clamping: now.milliseconds - Self.openingMillisecondsMax)
        let start = looked.withLock { $0 }
        var writes: [StoreWrite] = []
        var index = start
        while index < keys.count, index - start < Self.lookMax {
            let time = keys[index].prefix(Self.timeBytes).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            guard keys.count - index > Self.openingsMax || time < limit else { break }
            if var record = try receipt(at: keys[index]), !record.order.isEmpty {
                record.order = []
                record.promptTokens = []
                record.answerTokens = []
                writes.append(StoreWrite(table: NodeTable.mine.id, key: keys[index], value: record.encoded()))
            }
            index += 1
        }
        if !writes.isEmpty { try store.store.write(writes) }
        looked.withLock { $0 = index }
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
