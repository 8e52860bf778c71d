// The node's writes and reads on the disk: tables in LMDB, blocks in LMDB or in the blob folder, and what an earlier run
// left. Loads and large blocks go through one queue of their own; nothing here runs on the loop but the handing over.

import Dispatch
package import Ledger
package import NodeCore
package import Primitives
package import Storage

extension NodeTable {
    package var id: TableID { TableID(rawValue) }
}

package final class NodeStore: Sendable {
    package let store: Store
    package let blobs: BlobStore
    private let keeper: BlockKeeper
    private let reads = DispatchQueue(label: "openledger.reads")
    private let blockQueue = DispatchQueue(label: "openledger.writes")
    private let log: @Sendable (String) -> Void

    package static let tables: [TableID] = NodeTable.allCases.map(\.id)

    package init(
        store: Store, blobs: BlobStore, keeper: BlockKeeper, log: @escaping @Sendable (String) -> Void
    ) {
        self.store = store
        self.keeper = keeper
        self.blobs = blobs
        self.log = log
    }

    /// Queues the set; `done` when it is durable. A set that cannot be written ends the peer: going on without it would
    /// break what was promised.
    package func persist(_ writes: [NodeWrite], _ done: @escaping @Sendable () -> Void) {
        let hasBlocks = writes.contains { if case .block = $0 { true } else { false } }
        // Every set goes through the one queue: what was asked for first is durable first, blocks or not.
        blockQueue.async { [self] in
            var set: [StoreWrite] = []
            set.reserveCapacity(writes.count)
            do throws(StorageFault) {
                for write in writes {
                    switch write {
                    case .put(let table, let key, let value):
                        set.append(StoreWrite(table: table.id, key: key, value: value))
                    case .delete(let table, let key): set.append(StoreWrite(table: table.id, key: key, value: nil))
                    case .block(let cid, let bytes): if let write = try keeper.prepare(cid, bytes) { set.append(write) }
                    case .dropBlock(let cid): set.append(blobs.dropping(cid))
                    }
                }
            } catch {
                fail(error)
            }
            if set.isEmpty, hasBlocks { done() } else { submit(set, done) }
        }
    }

    private func submit(_ writes: [StoreWrite], _ done: @escaping @Sendable () -> Void) {
        do {
            try store.write(writes) { [self] result in
                switch result {
                case .success: done()
                case .failure(let fault): fail(fault)
                }
            }
        } catch {
            fail(error)
        }
    }

    private func fail(_ fault: StorageFault) {
        log("the disk refused a write, the peer cannot go on: \(fault)")
        PeerExit.now(status: 1)
    }

    package func load(_ cid: CID, _ done: @escaping @Sendable ([UInt8]?) -> Void) {
        reads.async { [self] in
            do {
                done(try blobs.block(cid))
            } catch {
                log("block \(cid) cannot be read: \(error)")
                done(nil)
            }
        }
    }

    package func block(_ cid: CID) throws(StorageFault) -> [UInt8]? { try blobs.block(cid) }

    /// Encoded certified batches of a range of heights.
    package func batches(_ from: UInt64, _ through: UInt64, _ done: @escaping @Sendable ([[UInt8]]) -> Void) {
        reads.async { [self] in
            var found: [[UInt8]] = []
            for height in from...through {
                guard let bytes = (try? store.get(NodeTable.batches.id, height.bigEndianBytes)) ?? nil else { break }
                found.append(bytes)
            }
            done(found)
        }
    }

    package func batch(_ height: UInt64) throws(StorageFault) -> CertifiedBatch? {
        guard let bytes = try store.get(NodeTable.batches.id, height.bigEndianBytes) else { return nil }
        return try? CertifiedBatch(decoding: bytes)
    }

    package func value(_ table: NodeTable, _ key: [UInt8]) throws(StorageFault) -> [UInt8]? {
        try store.get(table.id, key)
    }

    /// Every entry of a table, for the start; pages of a thousand.
    package func all(_ table: NodeTable, prefix: [UInt8]) throws(StorageFault) -> [(key: [UInt8], value: [UInt8])] {
        var entries: [(key: [UInt8], value: [UInt8])] = []
        var scan: Scan? = Scan(table.id, prefix: prefix, limit: 1000)
        while let current = scan {
            let page = try store.scan(current)
            entries += page.entries.map { ($0.key, $0.value) }
            scan = current.continued(after: page)
        }
        return entries
    }

    // MARK: Restart

    package func restored() throws(StorageFault) -> Restored { try Restored(reading: self) }
}

extension NodeStore: TableReader {}
