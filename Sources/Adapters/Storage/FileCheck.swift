// A look at the file before LMDB maps it. LMDB trusts its file: a page number beyond the end is a SIGBUS, a wild offset a
// crash. So the two meta pages and the tree that the newer one points to are read here first, with every number checked
// before it is used. Layout: mdb.c of LMDB 0.9 (MDB_meta, MDB_page, MDB_node, MDB_db), native byte order, 64-bit words.
//
//     page 0, 1   header 16 │ magic 4 │ version 4 │ address 8 │ map size 8 │ MDB_db free │ MDB_db main │ last page 8 │ txn 8
//     MDB_db      page size 4 (free) │ flags 2 │ depth 2 │ branch 8 │ leaf 8 │ overflow 8 │ entries 8 │ root 8
//     page        number 8 │ pad 2 │ flags 2 │ lower 2, upper 2 (or overflow pages 4) │ offsets of nodes 2 each …
//     node        low 2 │ high 2 │ flags 2 │ key size 2 │ key │ value (or page number 8, or MDB_db 48)

import Foundation

struct FileCheck {
    private static let magic: UInt32 = 0xBEEF_C0DE
    private static let formatVersion: UInt32 = 1
    private static let headerBytes = 16
    private static let databaseBytes = 48
    private static let depthMax = 32
    private static let noRoot = UInt64.max

    private enum PageFlag {
        static let branch: UInt16 = 0x01
        static let leaf: UInt16 = 0x02
        static let overflow: UInt16 = 0x04
        static let meta: UInt16 = 0x08
    }

    private enum NodeFlag {
        static let bigData: UInt16 = 0x01
        static let subData: UInt16 = 0x02
    }

    private struct Database {
        let depth: Int
        let entries: UInt64
        let root: UInt64
    }

    private let path: String
    private let bytes: UnsafeRawBufferPointer
    private var pageBytes = 4096
    private var pageCount: UInt64 = 0
    private var pagesLeft: Int
    private var pagesRead = 0

    /// Reads up to `pagesMax` pages of the file at `path`; throws `damaged` on the first that cannot be right.
    /// A missing or empty file is a new store. Answers the pages read.
    @discardableResult
    static func run(_ path: String, pagesMax: Int) throws(StorageFault) -> Int {
        guard let size = try Disk.size(path), size > 0 else { return 0 }
        let file = try MappedFile(path: path)
        defer { withExtendedLifetime(file) {} }
        var check = FileCheck(path: path, bytes: file.unsafeBytes, pagesLeft: pagesMax)
        try check.run()
        return check.pagesRead
    }

    private init(path: String, bytes: UnsafeRawBufferPointer, pagesLeft: Int) {
        self.path = path
        self.bytes = bytes
        self.pagesLeft = pagesLeft
    }

    private func damaged(_ reason: String) -> StorageFault { .damaged(path: path, reason: reason) }

    private func load<Number: FixedWidthInteger & BitwiseCopyable>(_ offset: Int) throws(StorageFault) -> Number {
        guard offset >= 0, offset <= bytes.count - MemoryLayout<Number>.size else {
            throw damaged("it ends at byte \(bytes.count), before byte \(offset)")
        }
        return bytes.loadUnaligned(fromByteOffset: offset, as: Number.self)
    }

    private mutating func run() throws(StorageFault) {
        let recorded: UInt32 = try load(40)
        guard (256...65536).contains(recorded), recorded & (recorded - 1) == 0 else {
            throw damaged("the first page does not begin as LMDB's does")
        }
        pageBytes = Int(recorded)
        let first = try meta(0)
        let second = try meta(1)
        let newer = second.transaction > first.transaction ? second : first
        guard newer.lastPage < UInt64(bytes.count / pageBytes) else {
            throw damaged("it is cut short: \(bytes.count) bytes, page \(newer.lastPage) is missing")
        }
        pageCount = newer.lastPage + 1
        // The list of free pages first: LMDB writes by it.
        try walkDatabase(newer.free, isFreeList: true, isMain: false)
        try walkDatabase(newer.main, isFreeList: false, isMain: true)
    }

    private func meta(
        _ number: Int
    ) throws(StorageFault) -> (free: Database, main: Database, lastPage: UInt64, transaction: UInt64) {
        let base = number * pageBytes
        let magic: UInt32 = try load(base + 16)
        let version: UInt32 = try load(base + 20)
        let flags: UInt16 = try load(base + 10)
        guard magic == Self.magic, flags & PageFlag.meta != 0 else {
            throw damaged("page \(number) is not a meta page of LMDB")
        }
        guard version == Self.formatVersion else { throw damaged("LMDB format \(version), expected 1") }
        return (
            try database(base + 40), try database(base + 40 + Self.databaseBytes),
            try load(base + 40 + 2 * Self.databaseBytes), try load(base + 48 + 2 * Self.databaseBytes)
        )
    }

    private func database(_ offset: Int) throws(StorageFault) -> Database {
        let depth: UInt16 = try load(offset + 6)
        return Database(depth: Int(depth), entries: try load(offset + 32), root: try load(offset + 40))
    }

    private mutating func walkDatabase(
        _ database: Database, isFreeList: Bool, isMain: Bool
    ) throws(StorageFault) {
        guard database.root != Self.noRoot else {
            guard database.entries == 0 else { throw damaged("a table without a root claims entries") }
            return
        }
        guard (1...Self.depthMax).contains(database.depth) else {
            throw damaged("a tree \(database.depth) levels deep")
        }
        let entries = try walk(
            database.root, level: 1, depth: database.depth, isFreeList: isFreeList, isMain: isMain)
        if let entries, entries != database.entries {
            throw damaged("a table records \(database.entries) entries and holds \(entries)")
        }
    }

    /// The offset of a page in the file, after its number has been checked.
    private func start(of page: UInt64) throws(StorageFault) -> Int {
        guard page >= 2, page < pageCount else { throw damaged("a pointer to page \(page) of \(pageCount)") }
        let offset = Int(page) * pageBytes
        let number: UInt64 = try load(offset)
        guard number == page else { throw damaged("page \(page) says that it is page \(number)") }
        return offset
    }

    /// Entries below `page`, or nil when the budget of pages ended before all were seen.
    private mutating func walk(
        _ page: UInt64, level: Int, depth: Int, isFreeList: Bool, isMain: Bool
    ) throws(StorageFault) -> UInt64? {
        guard pagesLeft > 0 else { return nil }
        pagesLeft -= 1
        pagesRead += 1
        guard UInt64(pagesRead) <= pageCount else { throw damaged("its pages point at each other in a circle") }

        let offset = try start(of: page)
        let flags: UInt16 = try load(offset + 10)
        let isLeaf = level == depth
        guard flags & 0x0F == (isLeaf ? PageFlag.leaf : PageFlag.branch) else {
            throw damaged("page \(page) is of kind \(flags), level \(level) of \(depth)")
        }
        let lower = Int(try load(offset + 12) as UInt16)
        let upper = Int(try load(offset + 14) as UInt16)
        guard lower >= Self.headerBytes, lower <= upper, upper <= pageBytes, lower % 2 == 0 else {
            throw damaged("page \(page) has its free space from \(lower) to \(upper)")
        }
        let count = (lower - Self.headerBytes) / 2
        guard isLeaf || count >= 2 || depth == 1 else { throw damaged("page \(page) is a branch with \(count) arms") }

        var total: UInt64? = 0
        var previous: Range<Int>?
        for index in 0..<count {
            let node = offset + Int(try load(offset + Self.headerBytes + 2 * index) as UInt16)
            guard node >= offset + upper, node + 8 <= offset + pageBytes else {
                throw damaged("page \(page), entry \(index) lies outside of the page")
            }
            let keySize = Int(try load(node + 6) as UInt16)
            let key = node + 8..<node + 8 + keySize
            guard key.upperBound <= offset + pageBytes, keySize > 0 || (!isLeaf && index == 0) else {
                throw damaged("page \(page), entry \(index) has a key of \(keySize) bytes")
            }
            if !isFreeList, let previous, index > (isLeaf ? 0 : 1), !precedes(previous, key) {
                throw damaged("page \(page), entry \(index) is out of order")
            }
            previous = key
            if isLeaf {
                try checkLeaf(node, key, page: page, offset: offset, isFreeList: isFreeList, isMain: isMain)
                total = total.map { $0 + 1 }
            } else {
                let child = try childPage(node)
                let below = try walk(child, level: level + 1, depth: depth, isFreeList: isFreeList, isMain: isMain)
                if let sum = total, let below { total = sum + below } else { total = nil }
            }
        }
        return total
    }

    private func childPage(_ node: Int) throws(StorageFault) -> UInt64 {
        let low: UInt16 = try load(node)
        let high: UInt16 = try load(node + 2)
        let top: UInt16 = try load(node + 4)
        return UInt64(low) | UInt64(high) << 16 | UInt64(top) << 32
    }

    private func precedes(_ one: Range<Int>, _ other: Range<Int>) -> Bool {
        UnsafeRawBufferPointer(rebasing: bytes[one])
            .lexicographicallyPrecedes(UnsafeRawBufferPointer(rebasing: bytes[other]))
    }

    private mutating func checkLeaf(
        _ node: Int, _ key: Range<Int>, page: UInt64, offset: Int, isFreeList: Bool, isMain: Bool
    ) throws(StorageFault) {
        let low: UInt16 = try load(node)
        let high: UInt16 = try load(node + 2)
        let flags: UInt16 = try load(node + 4)
        let size = Int(low) | Int(high) << 16
        let isBig = flags & NodeFlag.bigData != 0
        guard flags & ~(NodeFlag.bigData | NodeFlag.subData) == 0, !(isBig && flags & NodeFlag.subData != 0) else {
            throw damaged("page \(page) has an entry of unknown kind \(flags)")
        }
        guard key.upperBound + (isBig ? 8 : size) <= offset + pageBytes else {
            throw damaged("page \(page) has an entry that runs over its end")
        }
        var value = key.upperBound
        if isBig {
            let first: UInt64 = try load(value)
            let overflow = try start(of: first)
            let kind: UInt16 = try load(overflow + 10)
            let pages = UInt64(try load(overflow + 12) as UInt32)
            let needed = UInt64((Self.headerBytes + size + pageBytes - 1) / pageBytes)
            guard kind & 0x0F == PageFlag.overflow, pages >= needed, pages <= pageCount - first else {
                throw damaged("page \(first) should be the start of a value of \(size) bytes")
            }
            value = overflow + Self.headerBytes
        }
        if isFreeList { try checkFreePages(value, size, page) }
        if flags & NodeFlag.subData != 0 {
            guard isMain, size == Self.databaseBytes else {
                throw damaged("page \(page) has a table where none can be")
            }
            try walkDatabase(try database(value), isFreeList: false, isMain: false)
        }
    }

    /// A list of free pages: a count, then page numbers in descending order (midl.h).
    private func checkFreePages(_ offset: Int, _ size: Int, _ page: UInt64) throws(StorageFault) {
        let count: UInt64 = try load(offset)
        guard size >= 8, count < UInt64(size / 8) else {
            throw damaged("page \(page) has a list of \(count) free pages")
        }
        var last = pageCount
        for index in 0..<Int(count) {
            let free: UInt64 = try load(offset + 8 + 8 * index)
            guard free >= 2, free < last else { throw damaged("page \(page) lists page \(free) as free out of order") }
            last = free
        }
    }
}
