import Foundation
import Primitives
import Testing

@testable import Storage

/// A store whose file was damaged says so; it does not crash, and it changes nothing.
@Suite struct DamageTests {
    private let schema = Schema(version: 1, tables: ["plain"])

    private func fill(_ home: TemporaryHome) throws -> String {
        let store = try Store(home: home.path, schema: schema)
        var random = SeededRandom(seed: 5)
        for _ in 0..<8 {
            try store.write(
                (0..<50).map { _ in
                    StoreWrite(
                        table: "plain", key: random.bytes(8), value: random.bytes(Int(random.below(9000))))
                })
        }
        store.close()
        return "\(store.environment.directory)/data.mdb"
    }

    private func open(_ home: TemporaryHome) throws(StorageFault) {
        let store = try Store(home: home.path, schema: schema)
        var scan: Scan? = Scan("plain")
        while let current = scan { scan = current.continued(after: try store.scan(current)) }
        store.close()
    }

    private func isDamaged(_ body: () throws(StorageFault) -> Void) -> Bool {
        do {
            try body()
            return false
        } catch {
            if case .damaged = error { return error.description.contains("damaged") }
            return false
        }
    }

    @Test func garbageIsRefused() throws {
        for bytes in [[UInt8](repeating: 0, count: 8192), [UInt8](repeating: 0xff, count: 100_000), [1, 2, 3]] {
            let home = TemporaryHome()
            let file = try fill(home)
            try Data(bytes).write(to: URL(fileURLWithPath: file))
            #expect(isDamaged { () throws(StorageFault) in try open(home) })
        }
    }

    @Test func aFileCutShortIsRefused() throws {
        let home = TemporaryHome()
        let file = try fill(home)
        let data = try Data(contentsOf: URL(fileURLWithPath: file))
        for keep in [data.count / 2, data.count - 4096, 4096, 5000] {
            try data.prefix(keep).write(to: URL(fileURLWithPath: file))
            #expect(isDamaged { () throws(StorageFault) in try open(home) }, "\(keep) of \(data.count) bytes")
        }
    }

    /// Overwrites headers and pointers all over the file: either nothing that matters was hit and every entry is read,
    /// or `damaged` is thrown. A crash would end the test.
    @Test func scribblesNeverCrash() throws {
        let home = TemporaryHome()
        let file = try fill(home)
        let data = try Data(contentsOf: URL(fileURLWithPath: file))
        var random = SeededRandom(seed: 11)
        var refused = 0
        for round in 0..<80 {
            var copy = data
            let page = Int(random.below(UInt64(data.count / 4096)))
            for _ in 0..<3 {
                // Half of the scribbles go into the page's header and its table of offsets.
                let within = round.isMultiple(of: 2) ? Int(random.below(48)) : Int(random.below(4096))
                copy[page * 4096 + within] = UInt8(truncatingIfNeeded: random.next())
            }
            try copy.write(to: URL(fileURLWithPath: file))
            do {
                try open(home)
            } catch {
                if case .damaged = error { refused += 1 } else { Issue.record("round \(round): \(error)") }
            }
        }
        #expect(refused > 12)
        try data.write(to: URL(fileURLWithPath: file))
        try open(home)
    }
}
