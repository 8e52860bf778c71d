// One LMDB environment and the gate in front of it. LMDB maps the whole file; the map may be enlarged only while no
// transaction of this process is alive, so readers pass a gate that counts them and the writer asks for a quiet moment:
//
//     open ── map full ──▶ polite ── still read ──▶ firm ── nobody reads ──▶ (resize) ──▶ open
//                            │ readers come and go     │ newcomers wait
//                            └── nobody reads ─────────┴── too long: growthBlocked, the write is not done ──▶ open
//
// In every other moment readers never wait: not for the writer, not for the disk.

import CLMDB
import Foundation

// @unchecked Sendable: `handle` and `tables` never change after init and LMDB's environment is thread-safe;
// `activeReaders`, `firm`, `idle` and `mapBytes` are read and written under `gate` only.
final class Environment: @unchecked Sendable {
    struct Options {
        var mapBytes: Int
        var mapBytesMax: Int
        var reserveBytes: UInt64
        /// For a copy that is thrown away when anything fails: syncs are left to one call of `sync`.
        var syncsEachCommit = true
        /// Held until the environment is closed: LMDB must not have one file open twice in a process.
        var lock: HomeLock
    }

    let handle: OpaquePointer
    let directory: String
    let reserveBytes: UInt64
    let mapBytesMax: Int
    private(set) var tables: [TableID: MDB_dbi] = [:]

    private let gate = NSCondition()
    private var activeReaders = 0
    private var firm = false
    private var idle: [OpaquePointer] = []
    private var mapBytes: Int
    private let lock: HomeLock

    /// Opens or creates the environment in `directory`, which must have passed `FileCheck` and be locked.
    init(directory: String, tables names: [TableID], options: Options) throws(StorageFault) {
        self.directory = directory
        reserveBytes = options.reserveBytes
        mapBytesMax = options.mapBytesMax
        lock = options.lock
        try Disk.makeDirectory(directory)
        let size = try Disk.size("\(directory)/data.mdb") ?? 0
        mapBytes = max(options.mapBytes, Int(clamping: size))

        var created: OpaquePointer?
        try Self.check(mdb_env_create(&created), "mdb_env_create", directory)
        guard let created else { throw .lmdb(operation: "mdb_env_create", code: ENOMEM) }
        handle = created
        var opened = false
        defer { if !opened { mdb_env_close(created) } }
        try Self.check(mdb_env_set_mapsize(created, mapBytes), "mdb_env_set_mapsize", directory)
        try Self.check(mdb_env_set_maxreaders(created, StoreLimits.readersMax), "mdb_env_set_maxreaders", directory)
        try Self.check(mdb_env_set_maxdbs(created, StoreLimits.tablesMax), "mdb_env_set_maxdbs", directory)
        let flags = UInt32(MDB_NOTLS) | (options.syncsEachCommit ? 0 : UInt32(MDB_NOSYNC))
        try Self.check(mdb_env_open(created, directory, flags, 0o600), "mdb_env_open", directory)
        self.tables = try Self.openTables(created, names, directory)
        opened = true
    }

    deinit {
        for transaction in idle { mdb_txn_abort(transaction) }
        mdb_env_close(handle)
    }

    private static func openTables(
        _ handle: OpaquePointer, _ names: [TableID], _ directory: String
    ) throws(StorageFault) -> [TableID: MDB_dbi] {
        var transaction: OpaquePointer?
        try check(mdb_txn_begin(handle, nil, 0, &transaction), "mdb_txn_begin", directory)
        guard let transaction else { throw .lmdb(operation: "mdb_txn_begin", code: ENOMEM) }
        var tables: [TableID: MDB_dbi] = [:]
        for name in names.sorted() {
            var table: MDB_dbi = 0
            let code = mdb_dbi_open(transaction, name.name, UInt32(MDB_CREATE), &table)
            guard code == 0 else {
                mdb_txn_abort(transaction)
                throw .from(code, "mdb_dbi_open \(name.name)", path: directory)
            }
            tables[name] = table
        }
        try check(mdb_txn_commit(transaction), "mdb_txn_commit", directory)
        return tables
    }

    private static func check(_ code: Int32, _ operation: String, _ path: String) throws(StorageFault) {
        guard code == 0 else { throw .from(code, operation, path: path) }
    }

    func fault(_ code: Int32, _ operation: String) -> StorageFault {
        .from(code, operation, path: directory, limitBytes: mapBytesMax, reserve: reserveBytes)
    }

    func index(_ table: TableID) throws(StorageFault) -> MDB_dbi {
        guard let index = tables[table] else { throw .unknownTable(table) }
        return index
    }

    // MARK: readers

    func beginRead() throws(StorageFault) -> OpaquePointer {
        gate.lock()
        while firm { gate.wait() }
        activeReaders += 1
        let reused = idle.popLast()
        gate.unlock()

        if let reused {
            let code = mdb_txn_renew(reused)
            if code == 0 { return reused }
            mdb_txn_abort(reused)
            leave()
            throw fault(code, "mdb_txn_renew")
        }
        var transaction: OpaquePointer?
        let code = mdb_txn_begin(handle, nil, UInt32(MDB_RDONLY), &transaction)
        guard code == 0, let transaction else {
            leave()
            throw fault(code, "mdb_txn_begin")
        }
        return transaction
    }

    func endRead(_ transaction: OpaquePointer) {
        mdb_txn_reset(transaction)
        gate.lock()
        let kept = idle.count < StoreLimits.idleReadersMax
        if kept { idle.append(transaction) }
        gate.unlock()
        if !kept { mdb_txn_abort(transaction) }
        leave()
    }

    private func leave() {
        gate.lock()
        activeReaders -= 1
        if activeReaders == 0 { gate.broadcast() }
        gate.unlock()
    }

    // MARK: the writer

    /// Begins the write transaction. Only the writer's thread calls this, and it ends what it began.
    func beginWrite(parent: OpaquePointer? = nil) throws(StorageFault) -> OpaquePointer {
        var transaction: OpaquePointer?
        var code = mdb_txn_begin(handle, parent, 0, &transaction)
        if code == MDB_MAP_RESIZED {
            try resize { _ in 0 }
            code = mdb_txn_begin(handle, parent, 0, &transaction)
        }
        guard code == 0, let transaction else { throw fault(code, "mdb_txn_begin") }
        return transaction
    }

    /// Doubles the map. Called by the writer's thread with no write transaction open.
    func grow() throws(StorageFault) {
        try resize { $0 }
    }

    /// `target` turns the size now into the size wanted; 0 adopts the size that the file itself records.
    private func resize(_ target: (Int) -> Int) throws(StorageFault) {
        gate.lock()
        defer {
            firm = false
            gate.broadcast()
            gate.unlock()
        }
        let current = target(mapBytes)
        if current >= mapBytesMax { throw .storeFull(path: directory, limitBytes: mapBytesMax) }
        let start = Date()
        waitForQuiet(until: start.addingTimeInterval(Double(StoreLimits.growthPoliteMilliseconds) / 1000))
        firm = true
        waitForQuiet(until: start.addingTimeInterval(Double(StoreLimits.growthMillisecondsMax) / 1000))
        guard activeReaders == 0 else { throw .growthBlocked(readers: activeReaders) }
        let next = current == 0 ? 0 : min(mapBytesMax, current * 2)
        let code = mdb_env_set_mapsize(handle, next)
        guard code == 0 else { throw fault(code, "mdb_env_set_mapsize") }
        var info = MDB_envinfo()
        mdb_env_info(handle, &info)
        mapBytes = info.me_mapsize
    }

    private func waitForQuiet(until deadline: Date) {
        while activeReaders > 0, gate.wait(until: deadline) {}
    }

    func sync() throws(StorageFault) {
        let code = mdb_env_sync(handle, 1)
        guard code == 0 else { throw fault(code, "mdb_env_sync") }
    }

    /// Bytes of the map now, and bytes of the file that are in use.
    var sizes: (mapBytes: Int, usedBytes: Int) {
        var info = MDB_envinfo()
        var stat = MDB_stat()
        mdb_env_info(handle, &info)
        mdb_env_stat(handle, &stat)
        return (info.me_mapsize, (info.me_last_pgno + 1) * Int(stat.ms_psize))
    }
}
