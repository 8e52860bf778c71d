// What a store must look like: its version, its tables, and how an older one is turned into this one.

/// The shape of a store. Raise `version` whenever stored bytes change their meaning, and add the migration.
package struct Schema: Sendable {
    package let version: UInt32
    package let tables: [TableID]
    package let migrations: [Migration]

    /// `tables` needs no `meta`: every store has that one for itself.
    package init(version: UInt32, tables: [TableID], migrations: [Migration] = []) {
        self.version = version
        self.tables = tables
        self.migrations = migrations
    }

    var allTables: [TableID] { Set(tables + [StoreMeta.table.id]).sorted() }
}

/// One step, from schema `from` to `from + 1`. `transform` is called for each entry of each old table and answers with
/// what the new store holds in its place (nothing, one entry, or several). It must be a pure function: it is called
/// again to verify the copy before the copy is used. Throw `StorageFault.rejected` for an entry it cannot understand.
package struct Migration: Sendable {
    package let from: UInt32
    /// The tables of schema `from`.
    package let oldTables: [TableID]
    /// The tables of schema `from + 1`.
    package let newTables: [TableID]
    package let transform: @Sendable (TableID, ScanPage.Entry) throws(StorageFault) -> [StoreWrite]

    package init(
        from: UInt32, oldTables: [TableID], newTables: [TableID],
        transform: @escaping @Sendable (TableID, ScanPage.Entry) throws(StorageFault) -> [StoreWrite]
    ) {
        self.from = from
        self.oldTables = oldTables
        self.newTables = newTables
        self.transform = transform
    }
}

/// The store's own table.
enum StoreMeta {
    static let table = Table<String, UInt64>("meta", keys: .text, values: .uint64)
    static let schema = "schema"
    static let writtenBytes = "written-bytes"
}
