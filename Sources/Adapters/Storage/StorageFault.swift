// Every way in which the store can say no. A disk, a second peer or an old file is an outside party: it gets an answer
// that names what is wrong, where, and what to do; nothing here traps.

import CLMDB
import Foundation

/// A refusal by the store. `description` is written for the person who runs the peer.
package enum StorageFault: Error, Hashable, Sendable {
    /// Another process holds the home; `pid` is nil in the instant before it has written its number.
    case homeLocked(path: String, pid: Int32?)
    /// The file is not what LMDB wrote. Nothing was changed.
    case damaged(path: String, reason: String)
    /// The file system has no room, or less than the reserve that the home keeps free.
    case diskFull(path: String, freeBytes: UInt64, reserveBytes: UInt64)
    /// The store would outgrow the limit that its configuration sets.
    case storeFull(path: String, limitBytes: Int)
    /// Readers held their snapshots for so long that the map could not be grown; the write was not done.
    case growthBlocked(readers: Int)
    /// The disk failed a sync: what it holds is unknown until the store is opened again.
    case diskFailed(path: String, reason: String)
    case keyLength(table: TableID, byteCount: Int)
    case valueTooLarge(table: TableID, byteCount: Int, limitBytes: Int)
    case unknownTable(TableID)
    case undecodable(table: TableID, key: String, reason: String)
    case writerQueueFull(limitBytes: Int)
    case closed
    case newerSchema(path: String, found: UInt32, supported: UInt32)
    case noMigration(path: String, from: UInt32, to: UInt32)
    case migrationFailed(path: String, from: UInt32, reason: String)
    case rejected(reason: String)
    /// A chunk whose bytes do not hash to the leaf that was asked for.
    case wrongChunk(file: String, leaf: Int)
    case blob(file: String, reason: String)
    case system(operation: String, path: String, code: Int32)
    case lmdb(operation: String, code: Int32)
}

extension StorageFault: CustomStringConvertible {
    package var description: String {
        switch self {
        case .homeLocked(let path, let pid):
            let who = pid.map { "the peer with pid \($0)" } ?? "another peer"
            return "\(path): \(who) is using this home; stop it first, or choose another with --home"
        case .damaged(let path, let reason):
            return "\(path): the store is damaged (\(reason)); nothing was changed. Restore the home from a backup, or "
                + "move this file away and pull the chain and the content again"
        case .diskFull(let path, let free, let reserve):
            return "\(path): the disk is full (\(free) bytes free, \(reserve) are kept in reserve); free some space, "
                + "nothing that was acknowledged is lost"
        case .storeFull(let path, let limit):
            return "\(path): the store has reached its limit of \(limit) bytes; raise storage.limit or remove content"
        case .growthBlocked(let readers):
            return "the store could not grow: \(readers) snapshots are held for too long; the write was not done"
        case .diskFailed(let path, let reason):
            return "\(path): the disk failed (\(reason)); restart the peer after checking the disk"
        case .keyLength(let table, let count):
            return "table \(table.name): a key of \(count) bytes; a key has 1 to \(StoreLimits.keyBytesMax) bytes"
        case .valueTooLarge(let table, let count, let limit):
            return "table \(table.name): a value of \(count) bytes; the limit is \(limit)"
        case .unknownTable(let table):
            return "table \(table.name) is not part of this store's schema"
        case .undecodable(let table, let key, let reason):
            return "table \(table.name), key \(key): the stored value cannot be read (\(reason))"
        case .writerQueueFull(let limit):
            return "the writer has \(limit) bytes waiting for the disk; try again when they are written"
        case .closed:
            return "the store is closed"
        case .newerSchema(let path, let found, let supported):
            return
                "\(path): written by a newer version (schema \(found), this one knows \(supported)); update openledger"
        case .noMigration(let path, let from, let to):
            return "\(path): there is no migration from schema \(from) to \(to)"
        case .migrationFailed(let path, let from, let reason):
            return "\(path): the migration from schema \(from) failed (\(reason)); the old store is untouched"
        case .rejected(let reason):
            return reason
        case .wrongChunk(let file, let leaf):
            return "\(file): the bytes of chunk \(leaf) do not match their hash"
        case .blob(let file, let reason):
            return "\(file): \(reason)"
        case .system(let operation, let path, let code):
            return "\(path): \(operation) failed: \(String(cString: strerror(code)))"
        case .lmdb(let operation, let code):
            return "\(operation) failed: \(String(cString: mdb_strerror(code)))"
        }
    }
}

extension StorageFault {
    /// What an LMDB return code means for the person at the home. Zero must have been handled by the caller.
    static func from(_ code: Int32, _ operation: String, path: String, limitBytes: Int = 0, reserve: UInt64 = 0) -> Self
    {
        switch code {
        case ENOSPC, EDQUOT:
            return .diskFull(path: path, freeBytes: Disk.freeBytes(at: path) ?? 0, reserveBytes: reserve)
        case EIO:
            return .diskFailed(path: path, reason: "\(operation): \(String(cString: strerror(code)))")
        case MDB_CORRUPTED, MDB_PAGE_NOTFOUND, MDB_INVALID, MDB_PANIC, MDB_VERSION_MISMATCH:
            return .damaged(path: path, reason: "\(operation): \(String(cString: mdb_strerror(code)))")
        case MDB_MAP_FULL:
            return .storeFull(path: path, limitBytes: limitBytes)
        case let positive where positive > 0:
            return .system(operation: operation, path: path, code: positive)
        default:
            return .lmdb(operation: operation, code: code)
        }
    }
}
