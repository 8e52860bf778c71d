// Transactions are noncopyable: what LMDB asks for in its manual (end each one once, use none after its end, let no
// pointer outlive it) is what the compiler then checks. A value read in a transaction is a RawSpan whose lifetime is the
// transaction's; nothing is copied until the caller does.

import CLMDB
import Foundation

/// A snapshot of the whole store. It costs a reader slot and keeps old pages alive while it lives: keep it short, or
/// hand it on as a `Snapshot`.
package struct ReadTransaction: ~Copyable {
    private let environment: Environment
    private let handle: OpaquePointer

    init(_ environment: Environment) throws(StorageFault) {
        self.environment = environment
        handle = try environment.beginRead()
    }

    deinit { environment.endRead(handle) }

    /// The value's bytes in the map itself, valid while this transaction lives; nil where there is none.
    @_lifetime(borrow self)
    package func value(_ table: TableID, _ key: [UInt8]) throws(StorageFault) -> RawSpan? {
        guard let found = try LMDB.get(environment, handle, table, key) else { return nil }
        let span = RawSpan(_unsafeBytes: UnsafeRawBufferPointer(found))
        return _overrideLifetime(span, borrowing: self)
    }

    /// Calls `body` with the value's bytes in the map; they are valid only inside `body`.
    package func withValue<Result>(
        _ table: TableID, _ key: [UInt8], _ body: (RawSpan?) -> Result
    ) throws(StorageFault) -> Result {
        body(try value(table, key))
    }

    package func get(_ table: TableID, _ key: [UInt8]) throws(StorageFault) -> [UInt8]? {
        try LMDB.get(environment, handle, table, key).map { [UInt8](UnsafeRawBufferPointer($0)) }
    }

    package func get<Key, Value>(_ table: Table<Key, Value>, _ key: Key) throws(StorageFault) -> Value? {
        let keyBytes = table.keys.encode(key)
        guard let bytes = try get(table.id, keyBytes) else { return nil }
        return try table.decodeValue(bytes, key: keyBytes)
    }

    package func scan(_ scan: Scan) throws(StorageFault) -> ScanPage {
        try LMDB.scan(environment, handle, scan)
    }

    package func entryCount(_ table: TableID) throws(StorageFault) -> Int {
        try LMDB.entryCount(environment, handle, table)
    }
}

/// Reads and writes that become durable together, or not at all. It exists only on the writer's thread, inside
/// `Store.update`; what it wrote is seen by its own reads at once and by everybody else after the sync.
package struct WriteTransaction: ~Copyable {
    private let environment: Environment
    /// Nil once committed.
    private var open: OpaquePointer?
    /// Bytes of keys and values put so far.
    private(set) var writtenBytes = 0

    init(_ environment: Environment) throws(StorageFault) {
        self.environment = environment
        open = try environment.beginWrite()
    }

    private init(_ environment: Environment, child: OpaquePointer) {
        self.environment = environment
        open = child
    }

    deinit {
        if let open { mdb_txn_abort(open) }
    }

    private var handle: OpaquePointer {
        guard let open else { preconditionFailure("a transaction used after its commit") }
        return open
    }

    /// Adds what a nested transaction wrote.
    mutating func count(_ bytes: Int) { writtenBytes += bytes }

    /// A transaction inside this one: when it ends without `commit`, only its own changes are undone.
    func nested() throws(StorageFault) -> WriteTransaction {
        WriteTransaction(environment, child: try environment.beginWrite(parent: handle))
    }

    package func get(_ table: TableID, _ key: [UInt8]) throws(StorageFault) -> [UInt8]? {
        try LMDB.get(environment, handle, table, key).map { [UInt8](UnsafeRawBufferPointer($0)) }
    }

    package func get<Key, Value>(_ table: Table<Key, Value>, _ key: Key) throws(StorageFault) -> Value? {
        let keyBytes = table.keys.encode(key)
        guard let bytes = try get(table.id, keyBytes) else { return nil }
        return try table.decodeValue(bytes, key: keyBytes)
    }

    package func scan(_ scan: Scan) throws(StorageFault) -> ScanPage {
        try LMDB.scan(environment, handle, scan)
    }

    package mutating func apply(_ write: StoreWrite) throws(StorageFault) {
        guard let value = write.value else { return try delete(write.table, write.key) }
        try put(write.table, write.key, value)
    }

    package mutating func put(_ table: TableID, _ key: [UInt8], _ value: [UInt8]) throws(StorageFault) {
        try LMDB.validate(StoreWrite(table: table, key: key, value: value))
        let code = LMDB.put(handle, try environment.index(table), key, value)
        guard code == 0 else { throw environment.fault(code, "mdb_put") }
        writtenBytes += key.count + value.count
    }

    package mutating func put<Key, Value>(
        _ table: Table<Key, Value>, _ key: Key, _ value: Value
    ) throws(StorageFault) {
        try put(table.id, table.keys.encode(key), table.values.encode(value))
    }

    package mutating func delete(_ table: TableID, _ key: [UInt8]) throws(StorageFault) {
        try LMDB.validate(StoreWrite(table: table, key: key, value: nil))
        let code = LMDB.delete(handle, try environment.index(table), key)
        guard code == 0 || code == MDB_NOTFOUND else { throw environment.fault(code, "mdb_del") }
        writtenBytes += key.count
    }

    /// Makes everything durable: returns after the disk's sync. The transaction is over either way.
    consuming func commit() throws(StorageFault) {
        let ending = handle
        open = nil
        let code = mdb_txn_commit(ending)
        guard code == 0 else { throw environment.fault(code, "mdb_txn_commit") }
    }
}

/// A snapshot that may be handed to another thread and kept while a long job (a batch's execution) reads from it.
/// Everything it answers is of one moment. Growing the store waits for snapshots, so none is kept for ever.
// @unchecked Sendable: LMDB allows one thread at a time in a transaction opened with MDB_NOTLS; `lock` sees to that.
package final class Snapshot: @unchecked Sendable {
    private let transaction: ReadTransaction
    private let lock = UnfairLock()

    init(_ environment: Environment) throws(StorageFault) {
        transaction = try ReadTransaction(environment)
    }

    package func get(_ table: TableID, _ key: [UInt8]) throws(StorageFault) -> [UInt8]? {
        lock.lock()
        defer { lock.unlock() }
        return try transaction.get(table, key)
    }

    package func get<Key, Value>(_ table: Table<Key, Value>, _ key: Key) throws(StorageFault) -> Value? {
        lock.lock()
        defer { lock.unlock() }
        return try transaction.get(table, key)
    }

    package func scan(_ scan: Scan) throws(StorageFault) -> ScanPage {
        lock.lock()
        defer { lock.unlock() }
        return try transaction.scan(scan)
    }

    /// Calls `body` with the value's bytes in the map; they are valid only inside `body`, which must not use this
    /// snapshot again.
    package func withValue<Result>(
        _ table: TableID, _ key: [UInt8], _ body: (RawSpan?) -> Result
    ) throws(StorageFault) -> Result {
        lock.lock()
        defer { lock.unlock() }
        return try transaction.withValue(table, key, body)
    }
}
