import Foundation
import Primitives
import Testing

@testable import Storage

private let oldNames = Table<UInt64, String>("names", keys: .uint64, values: .text)
private let newNames = Table<String, UInt64>("by-name", keys: .text, values: .uint64)

private let first = Schema(version: 1, tables: [oldNames.id])

private func second(
    _ transform: @escaping @Sendable (TableID, ScanPage.Entry) throws(StorageFault) -> [StoreWrite]
) -> Schema {
    Schema(
        version: 2, tables: [newNames.id],
        migrations: [
            Migration(from: 1, oldTables: [oldNames.id], newTables: [newNames.id], transform: transform)
        ])
}

/// Version 1 has number → name; version 2 has name → number.
private let swapped = second { _, entry throws(StorageFault) in
    let key = try oldNames.decodeKey(entry.key)
    return [newNames.put(try oldNames.decodeValue(entry.value, key: entry.key), key)]
}

@Suite struct MigrationTests {
    let home = TemporaryHome()

    private func makeFirst(_ count: UInt64 = 3000) throws {
        let store = try Store(home: home.path, schema: first)
        try store.write((0..<count).map { oldNames.put($0, "name \($0)") })
        store.close()
    }

    private func folders() throws -> [String] { try Disk.names(in: "\(home.path)/store") }

    @Test func everyEntryArrivesAndTheOldStoreStaysUntilItIsReleased() throws {
        try makeFirst()
        let store = try Store(home: home.path, schema: swapped)
        #expect(try store.get(newNames, "name 2999") == 2999)
        #expect(try store.entryCount(newNames.id) == 3000)
        #expect(store.statistics.writtenBytes > 3000 * 10)
        #expect(try folders() == ["v1", "v2"])
        try store.removeSuperseded()
        #expect(try folders() == ["v2"])
    }

    @Test func anOlderVersionRefusesANewerStore() throws {
        try makeFirst(3)
        do { _ = try Store(home: home.path, schema: swapped) }
        #expect(throws: StorageFault.newerSchema(path: "\(home.path)/store", found: 2, supported: 1)) {
            try Store(home: home.path, schema: first)
        }
        #expect(throws: StorageFault.noMigration(path: "\(home.path)/store", from: 2, to: 3)) {
            try Store(home: home.path, schema: Schema(version: 3, tables: []))
        }
    }

    @Test func aFailedMigrationLeavesTheOldStoreInUse() throws {
        try makeFirst(10)
        let failing = second { _, entry throws(StorageFault) in
            if try oldNames.decodeKey(entry.key) == 7 { throw .rejected(reason: "seven cannot be read") }
            return []
        }
        #expect(throws: StorageFault.rejected(reason: "seven cannot be read")) {
            try Store(home: home.path, schema: failing)
        }
        let store = try Store(home: home.path, schema: first)
        #expect(try store.get(oldNames, 7) == "name 7")
        #expect(try folders() == ["v1"])
    }

    /// Two old entries on one new key: one would be lost, so the copy is refused.
    @Test func aMigrationThatLosesAnEntryIsFoundOut() throws {
        try makeFirst(10)
        let lossy = second { _, entry throws(StorageFault) in
            [newNames.put("same", try oldNames.decodeKey(entry.key))]
        }
        do {
            _ = try Store(home: home.path, schema: lossy)
            Issue.record("a lossy migration was accepted")
        } catch {
            guard case .migrationFailed(_, 1, _) = error else {
                Issue.record("\(error)")
                return
            }
        }
        #expect(try folders() == ["v1", "v2.partial"])
        let store = try Store(home: home.path, schema: swapped)
        #expect(try store.entryCount(newNames.id) == 10)
    }
}
