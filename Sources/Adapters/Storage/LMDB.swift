// The calls into LMDB's C interface: keys and values in, return codes made into faults. Nothing else in this target
// touches an MDB_val.

import CLMDB
import Foundation

enum LMDB {
    static func validate(_ write: StoreWrite) throws(StorageFault) {
        guard (1...StoreLimits.keyBytesMax).contains(write.key.count) else {
            throw .keyLength(table: write.table, byteCount: write.key.count)
        }
        if let value = write.value, value.count > StoreLimits.valueBytesMax {
            throw .valueTooLarge(table: write.table, byteCount: value.count, limitBytes: StoreLimits.valueBytesMax)
        }
    }

    /// The bytes in the map, valid until the transaction ends (or, in a write transaction, until its next write).
    static func get(
        _ environment: Environment, _ transaction: OpaquePointer, _ table: TableID, _ key: [UInt8]
    ) throws(StorageFault) -> UnsafeRawBufferPointer? {
        guard (1...StoreLimits.keyBytesMax).contains(key.count) else {
            throw .keyLength(table: table, byteCount: key.count)
        }
        let index = try environment.index(table)
        var value = MDB_val()
        let code = key.withUnsafeBytes { raw in
            var key = MDB_val(raw)
            return mdb_get(transaction, index, &key, &value)
        }
        if code == MDB_NOTFOUND { return nil }
        guard code == 0 else { throw environment.fault(code, "mdb_get") }
        return UnsafeRawBufferPointer(start: value.mv_data, count: value.mv_size)
    }

    static func put(_ transaction: OpaquePointer, _ table: MDB_dbi, _ key: [UInt8], _ value: [UInt8]) -> Int32 {
        key.withUnsafeBytes { rawKey in
            value.withUnsafeBytes { rawValue in
                var key = MDB_val(rawKey)
                var value = MDB_val(rawValue)
                return mdb_put(transaction, table, &key, &value, 0)
            }
        }
    }

    static func delete(_ transaction: OpaquePointer, _ table: MDB_dbi, _ key: [UInt8]) -> Int32 {
        key.withUnsafeBytes { raw in
            var key = MDB_val(raw)
            return mdb_del(transaction, table, &key, nil)
        }
    }

    static func entryCount(
        _ environment: Environment, _ transaction: OpaquePointer, _ table: TableID
    ) throws(StorageFault) -> Int {
        var stat = MDB_stat()
        let code = mdb_stat(transaction, try environment.index(table), &stat)
        guard code == 0 else { throw environment.fault(code, "mdb_stat") }
        return stat.ms_entries
    }

    static func scan(
        _ environment: Environment, _ transaction: OpaquePointer, _ scan: Scan
    ) throws(StorageFault) -> ScanPage {
        var cursor: OpaquePointer?
        let opened = mdb_cursor_open(transaction, try environment.index(scan.table), &cursor)
        guard opened == 0, let cursor else { throw environment.fault(opened, "mdb_cursor_open") }
        defer { mdb_cursor_close(cursor) }

        let entryLimit = min(max(scan.limit, 0), StoreLimits.scanEntriesMax)
        var page = ScanPage()
        var bytes = 0
        var (code, key, value) = seek(cursor, scan.start)
        while code == 0 {
            let found = [UInt8](UnsafeRawBufferPointer(start: key.mv_data, count: key.mv_size))
            guard found.starts(with: scan.prefix) else { return page }
            if let end = scan.end, !found.lexicographicallyPrecedes(end) { return page }
            let full = bytes + value.mv_size > StoreLimits.scanBytesMax && !page.entries.isEmpty
            if page.entries.count == entryLimit || full {
                page.next = found
                return page
            }
            bytes += value.mv_size
            page.entries.append(
                .init(key: found, value: [UInt8](UnsafeRawBufferPointer(start: value.mv_data, count: value.mv_size))))
            code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
        }
        guard code == MDB_NOTFOUND else { throw environment.fault(code, "mdb_cursor_get") }
        return page
    }

    private static func seek(_ cursor: OpaquePointer, _ start: [UInt8]) -> (Int32, MDB_val, MDB_val) {
        var value = MDB_val()
        if start.isEmpty {
            var key = MDB_val()
            return (mdb_cursor_get(cursor, &key, &value, MDB_FIRST), key, value)
        }
        // The key that LMDB hands back points into the map, not at `start`.
        return start.withUnsafeBytes { raw in
            var key = MDB_val(raw)
            let code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)
            return (code, key, value)
        }
    }
}

extension MDB_val {
    /// LMDB's structure is not const-correct; it does not write through a key or a value that is handed in.
    init(_ raw: UnsafeRawBufferPointer) {
        self.init(mv_size: raw.count, mv_data: UnsafeMutableRawPointer(mutating: raw.baseAddress))
    }
}
