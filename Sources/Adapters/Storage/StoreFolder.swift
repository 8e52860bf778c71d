// The folder `store` in a home, and how one version of the store becomes the next.
//
//     store/v1            in use
//     store/v2.partial    being made: a failure or a crash here leaves v1 as it was; the next open starts anew
//        │  every entry copied, read back and compared, disk synced
//        ▼  rename: the one step that counts
//     store/v2            in use; v1 stays until someone calls `removeSuperseded`
//
// The version in the name is also in the table `meta`, so that a folder renamed by hand is found out.

import Foundation

struct StoreFolder {
    let path: String

    init(home: String) throws(StorageFault) {
        path = "\(home)/store"
        try Disk.makeDirectory(path)
    }

    func directory(_ version: UInt32) -> String { "\(path)/v\(version)" }
    private func partial(_ version: UInt32) -> String { "\(path)/v\(version).partial" }

    /// Versions that are complete on disk, ascending.
    func versions() throws(StorageFault) -> [UInt32] {
        try Disk.names(in: path).compactMap { name in
            guard name.hasPrefix("v"), let version = UInt32(name.dropFirst()), "v\(version)" == name else { return nil }
            return version
        }.sorted()
    }

    /// Brings the folder to `schema`: creates, migrates, or finds that nothing is to be done. Answers the environment.
    func prepare(_ schema: Schema, _ options: Environment.Options) throws(StorageFault) -> Environment {
        for name in try Disk.names(in: path) where name.hasSuffix(".partial") { try Disk.remove("\(path)/\(name)") }
        let present = try versions()
        if let newest = present.last, newest > schema.version {
            throw .newerSchema(path: path, found: newest, supported: schema.version)
        }
        if let newest = present.last {
            for version in newest..<schema.version {
                guard let step = schema.migrations.first(where: { $0.from == version }) else {
                    throw .noMigration(path: path, from: version, to: schema.version)
                }
                try migrate(step, options)
            }
        } else {
            try publish(schema.version, tables: schema.allTables, options) { _ throws(StorageFault) in }
        }
        return try openChecked(schema.version, tables: schema.allTables, options)
    }

    /// Removes the versions below the newest. Called when the peer has run well on the new one.
    func removeSuperseded() throws(StorageFault) {
        for version in try versions().dropLast() { try Disk.remove(directory(version)) }
    }

    private func openChecked(
        _ version: UInt32, tables: [TableID], _ options: Environment.Options
    ) throws(StorageFault) -> Environment {
        let directory = directory(version)
        try FileCheck.run("\(directory)/data.mdb", pagesMax: StoreLimits.openCheckPagesMax)
        let environment = try Environment(directory: directory, tables: tables, options: options)
        let recorded = try ReadTransaction(environment).get(StoreMeta.table, StoreMeta.schema)
        guard recorded == UInt64(version) else {
            let found = recorded.map(String.init) ?? "none"
            throw .damaged(path: directory, reason: "it should hold schema \(version) and records \(found)")
        }
        return environment
    }

    /// Makes version `version` in a partial folder by `fill`, makes it durable, and gives it its name.
    private func publish(
        _ version: UInt32, tables: [TableID], _ options: Environment.Options,
        fill: (Environment) throws(StorageFault) -> Void
    ) throws(StorageFault) {
        let partial = partial(version)
        try Disk.makeDirectory(partial)
        try fillAndSync(partial, version, tables, options, fill)
        try Disk.move(partial, to: directory(version))
        try Disk.syncDirectory(path)
    }

    /// In its own function so that the environment is closed before the folder is renamed.
    private func fillAndSync(
        _ partial: String, _ version: UInt32, _ tables: [TableID], _ options: Environment.Options,
        _ fill: (Environment) throws(StorageFault) -> Void
    ) throws(StorageFault) {
        var options = options
        options.syncsEachCommit = false
        let environment = try Environment(directory: partial, tables: tables, options: options)
        try fill(environment)
        var transaction = try WriteTransaction(environment)
        try transaction.put(StoreMeta.table, StoreMeta.schema, UInt64(version))
        try transaction.commit()
        try environment.sync()
        try Disk.syncDirectory(partial)
    }

    private func migrate(_ step: Migration, _ options: Environment.Options) throws(StorageFault) {
        let old = try openChecked(step.from, tables: step.oldTables + [StoreMeta.table.id], options)
        let need = UInt64(old.sizes.usedBytes)
        if let free = Disk.freeBytes(at: path), free < need + options.reserveBytes {
            throw .diskFull(path: path, freeBytes: free, reserveBytes: need + options.reserveBytes)
        }
        let tables = Set(step.newTables + [StoreMeta.table.id]).sorted()
        try publish(step.from + 1, tables: tables, options) { new throws(StorageFault) in
            try MigrationCopy(old: old, new: new, step: step).run()
        }
    }
}

/// Copies an old environment into a new one and proves the copy.
private struct MigrationCopy {
    static let entriesPerPage = 1024

    let old: Environment
    let new: Environment
    let step: Migration

    func run() throws(StorageFault) {
        let source = try ReadTransaction(old)
        let counted = try copy(source)
        try verify(source, counted)
    }

    private func copy(_ source: borrowing ReadTransaction) throws(StorageFault) -> [TableID: Int] {
        var counts: [TableID: Int] = [:]
        for table in step.oldTables.sorted() where table != StoreMeta.table.id {
            var scan: Scan? = Scan(table, limit: Self.entriesPerPage)
            while let current = scan {
                let page = try source.scan(current)
                var writes: [StoreWrite] = []
                for entry in page.entries { writes += try step.transform(table, entry) }
                for write in writes { counts[write.table, default: 0] += 1 }
                try commit(writes)
                scan = current.continued(after: page)
            }
        }
        let written = try source.get(StoreMeta.table, StoreMeta.writtenBytes) ?? 0
        try commit([StoreMeta.table.put(StoreMeta.writtenBytes, written)])
        return counts
    }

    private func commit(_ writes: [StoreWrite]) throws(StorageFault) {
        while true {
            do {
                var transaction = try WriteTransaction(new)
                for write in writes { try transaction.apply(write) }
                return try transaction.commit()
            } catch .storeFull {
                try new.grow()
            }
        }
    }

    private func verify(_ source: borrowing ReadTransaction, _ counts: [TableID: Int]) throws(StorageFault) {
        let copy = try ReadTransaction(new)
        for table in step.oldTables.sorted() where table != StoreMeta.table.id {
            var scan: Scan? = Scan(table, limit: Self.entriesPerPage)
            while let current = scan {
                let page = try source.scan(current)
                for entry in page.entries {
                    for write in try step.transform(table, entry) {
                        guard try copy.get(write.table, write.key) == write.value else {
                            throw fault("an entry of \(table.name) is not in the copy as it should be")
                        }
                    }
                }
                scan = current.continued(after: page)
            }
        }
        for table in step.newTables.sorted() where table != StoreMeta.table.id {
            let found = try copy.entryCount(table)
            guard found == counts[table, default: 0] else {
                throw fault("\(table.name) has \(found) entries, \(counts[table, default: 0]) were written")
            }
        }
    }

    private func fault(_ reason: String) -> StorageFault {
        .migrationFailed(path: old.directory, from: step.from, reason: reason)
    }
}
