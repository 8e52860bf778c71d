// The store: one home, one LMDB environment, one writer. This is the door that the peer uses; what it promises is
// "durable, then visible": a completion that says success is called after the disk's sync, and what it wrote survives
// kill -9 and power loss from then on. Reads see whole sets only, in the order in which they were acknowledged.

import Foundation

/// Settings of a store. Sizes in bytes.
package struct StoreConfiguration: Sendable {
    /// Address space reserved at first; the file grows as it is used, not to this size.
    package var mapBytes = 1 << 30
    /// Where growth ends: the quota of the home.
    package var mapBytesMax = 1 << 40
    /// What is left free on the file system for everybody else; below it writes are refused.
    package var reserveBytes: UInt64 = 64 << 20
    /// How long the writer gathers sets before it syncs; for SD cards. 0 syncs as soon as the disk is idle.
    package var commitDelayMilliseconds = 0

    package init() {}
}

package struct StoreStatistics: Sendable {
    package let mapBytes: Int
    package let usedBytes: Int
    /// Bytes of keys, values and blobs written since the home was created; what wears an SD card, less LMDB's pages.
    package let writtenBytes: UInt64
    /// Since this start: transactions, sets in them, sets in the largest.
    package let commits: Int
    package let sets: Int
    package let largestGroup: Int
}

/// An open home's store. Thread-safe. Open it once a process; a second open of the same home is refused.
package final class Store: Sendable {
    package let home: String
    let environment: Environment
    private let writer: GroupWriter
    private let folder: StoreFolder

    /// Locks `home`, checks the file, migrates it to `schema` where it is older, and opens it.
    /// Throws `homeLocked`, `damaged`, `newerSchema`, `migrationFailed`, `diskFull`, …; on a throw nothing was changed.
    package init(
        home: String, schema: Schema, configuration: StoreConfiguration = .init()
    ) throws(StorageFault) {
        self.home = home
        let lock = try HomeLock(home: home)
        folder = try StoreFolder(home: home)
        environment = try folder.prepare(
            schema,
            .init(
                mapBytes: configuration.mapBytes, mapBytesMax: configuration.mapBytesMax,
                reserveBytes: configuration.reserveBytes, lock: lock))
        let written = try ReadTransaction(environment).get(StoreMeta.table, StoreMeta.writtenBytes) ?? 0
        writer = GroupWriter(
            environment, writtenBytes: written, delayMilliseconds: configuration.commitDelayMilliseconds)
    }

    deinit { writer.close() }

    /// Writes what is queued and refuses what comes later. The home stays locked until the store and every snapshot
    /// are released.
    package func close() { writer.close() }

    // MARK: writing

    /// Queues `writes` as one atomic set. `completion` is called once, on the writer's thread, after the sync, in the
    /// order of the calls. Throws at once (and never calls it) when a key or value is over its limit, the queue is full
    /// or the store is closed. Never blocks: the loop may call it.
    package func write(
        _ writes: [StoreWrite], completion: @escaping @Sendable (Result<Void, StorageFault>) -> Void
    ) throws(StorageFault) {
        let byteCount = writes.reduce(0) { $0 + $1.byteCount }
        try writer.submit(.writes(writes), byteCount: byteCount, completion: completion)
    }

    /// Writes and waits for the disk. Not to be called on the loop, nor in a completion.
    package func write(_ writes: [StoreWrite]) throws(StorageFault) {
        let waiter = Waiter()
        try write(writes) { waiter.resolve($0) }
        try waiter.wait()
    }

    /// Runs `body` on the writer's thread in a transaction of its own within the group: to read and then write with
    /// nothing between. It may be run again when the map had to grow, so it changes nothing outside. `byteCount` is
    /// about what it will write, for the queue's limit. Throws `rejected` and the like to undo its own set only.
    package func update(
        byteCount: Int = 4096,
        _ body: @escaping @Sendable (inout WriteTransaction) throws(StorageFault) -> Void,
        completion: @escaping @Sendable (Result<Void, StorageFault>) -> Void
    ) throws(StorageFault) {
        try writer.submit(.update(body), byteCount: byteCount, completion: completion)
    }

    /// `update` that waits for the disk. Not to be called on the loop, nor in a completion.
    package func update(
        _ body: @escaping @Sendable (inout WriteTransaction) throws(StorageFault) -> Void
    ) throws(StorageFault) {
        let waiter = Waiter()
        try update(body) { waiter.resolve($0) }
        try waiter.wait()
    }

    // MARK: reading

    package func get(_ table: TableID, _ key: [UInt8]) throws(StorageFault) -> [UInt8]? {
        try ReadTransaction(environment).get(table, key)
    }

    package func get<Key, Value>(_ table: Table<Key, Value>, _ key: Key) throws(StorageFault) -> Value? {
        try ReadTransaction(environment).get(table, key)
    }

    /// Calls `body` with the value's bytes in the map, copying nothing; they are valid only inside `body`.
    package func withValue<Result>(
        _ table: TableID, _ key: [UInt8], _ body: (RawSpan?) -> Result
    ) throws(StorageFault) -> Result {
        try ReadTransaction(environment).withValue(table, key, body)
    }

    /// One page of a range; see `Scan`. Pages of separate calls are of separate moments: for one moment, use `snapshot`.
    package func scan(_ scan: Scan) throws(StorageFault) -> ScanPage {
        try ReadTransaction(environment).scan(scan)
    }

    package func entryCount(_ table: TableID) throws(StorageFault) -> Int {
        try ReadTransaction(environment).entryCount(table)
    }

    /// Reads within one moment, with the compiler seeing to the transaction's end.
    package func read<Result>(
        _ body: (borrowing ReadTransaction) throws(StorageFault) -> Result
    ) throws(StorageFault) -> Result {
        try body(try ReadTransaction(environment))
    }

    /// A moment to keep: for a job on another thread that reads for a while.
    package func snapshot() throws(StorageFault) -> Snapshot { try Snapshot(environment) }

    // MARK: care

    func countBlob(_ bytes: Int) { writer.countBlob(bytes) }

    /// Throws `diskFull` unless `bytes` more leave the reserve untouched.
    func checkRoom(for bytes: UInt64) throws(StorageFault) {
        let reserve = environment.reserveBytes
        guard let free = Disk.freeBytes(at: home), free < reserve || free - reserve < bytes else {
            return
        }
        throw .diskFull(path: home, freeBytes: free, reserveBytes: reserve)
    }

    package var statistics: StoreStatistics {
        let sizes = environment.sizes
        let counters = writer.statistics
        return StoreStatistics(
            mapBytes: sizes.mapBytes, usedBytes: sizes.usedBytes, writtenBytes: counters.writtenBytes,
            commits: counters.commits, sets: counters.sets, largestGroup: counters.largestGroup)
    }

    /// Walks every page of the file (`doctor`). Throws `damaged` with what is wrong. Answers the pages read.
    @discardableResult
    package func check() throws(StorageFault) -> Int {
        // The transaction keeps LMDB from reusing a page that the walk is about to read.
        let transaction = try ReadTransaction(environment)
        let pages = try FileCheck.run("\(environment.directory)/data.mdb", pagesMax: .max)
        _ = try transaction.entryCount(StoreMeta.table.id)
        return pages
    }

    /// Removes what older schema versions left behind, once this one has proved itself.
    package func removeSuperseded() throws(StorageFault) { try folder.removeSuperseded() }
}

/// Turns a completion into a wait.
// @unchecked Sendable: `result` is read and written with `condition` locked.
private final class Waiter: @unchecked Sendable {
    private let condition = NSCondition()
    private var result: Result<Void, StorageFault>?

    func resolve(_ value: Result<Void, StorageFault>) {
        condition.withLock {
            result = value
            condition.signal()
        }
    }

    func wait() throws(StorageFault) {
        condition.lock()
        defer { condition.unlock() }
        while true {
            if let result { return try result.get() }
            condition.wait()
        }
    }
}
