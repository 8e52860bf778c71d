import Foundation
import Primitives
import Synchronization
import Testing

@testable import Storage

private let numbers = Table<UInt64, String>("numbers", keys: .uint64, values: .text)
private let schema = Schema(version: 1, tables: ["plain", numbers.id])

private func small() -> StoreConfiguration {
    var configuration = StoreConfiguration()
    configuration.mapBytes = 1 << 20
    return configuration
}

@Suite struct StoreTests {
    let home = TemporaryHome()

    private func open(_ configuration: StoreConfiguration = small()) throws -> Store {
        try Store(home: home.path, schema: schema, configuration: configuration)
    }

    @Test func whatIsWrittenIsReadAndSurvivesReopening() throws {
        do {
            let store = try open()
            try store.write([
                StoreWrite(table: "plain", key: [1], value: [9, 9]), numbers.put(7, "seven"),
                StoreWrite(table: "plain", key: [2], value: []),
            ])
            try store.write([StoreWrite(table: "plain", key: [1], value: nil)])
            #expect(try store.get("plain", [1]) == nil)
            store.close()
        }
        let store = try open()
        #expect(try store.get("plain", [2]) == [])
        #expect(try store.get(numbers, 7) == "seven")
        #expect(try store.withValue("plain", [2]) { $0?.byteCount } == 0)
        #expect(store.statistics.writtenBytes > 0)
    }

    @Test func completionsComeInOrderAfterTheSyncInFewCommits() throws {
        let store = try open()
        let order = Mutex<[Int]>([])
        let visible = Mutex<Bool>(true)
        for index in 0..<500 {
            try store.write([numbers.put(UInt64(index), "\(index)")]) { result in
                guard case .success = result else { return }
                if (try? store.get(numbers, UInt64(index))) != "\(index)" { visible.withLock { $0 = false } }
                order.withLock { $0.append(index) }
            }
        }
        try store.write([])
        #expect(order.withLock { $0 } == Array(0..<500))
        #expect(visible.withLock { $0 })
        #expect(store.statistics.sets == 501)
        #expect(store.statistics.commits < 501)
    }

    @Test func aGroupIsSeenWholeOrNotAtAll() throws {
        let store = try open()
        let snapshot = try store.snapshot()
        try store.write([numbers.put(1, "a"), numbers.put(2, "b")])
        #expect(try snapshot.get(numbers, 1) == nil)
        #expect(try snapshot.get(numbers, 2) == nil)
        #expect(try store.get(numbers, 2) == "b")
    }

    @Test func aRejectedUpdateUndoesOnlyItself() throws {
        let store = try open()
        let refused = Mutex<StorageFault?>(nil)
        try store.write([numbers.put(1, "one")])
        try store.update { transaction throws(StorageFault) in
            try transaction.put(numbers, 2, "two")
            throw .rejected(reason: "changed my mind")
        } completion: { result in
            if case .failure(let fault) = result { refused.withLock { $0 = fault } }
        }
        try store.update { transaction throws(StorageFault) in
            let one = try transaction.get(numbers, 1)
            try transaction.put(numbers, 3, (one ?? "") + "!")
        }
        #expect(refused.withLock { $0 } == .rejected(reason: "changed my mind"))
        #expect(try store.get(numbers, 2) == nil)
        #expect(try store.get(numbers, 3) == "one!")
    }

    @Test func theMapGrowsWhileReadersComeAndGo() throws {
        let store = try open()
        let value = [UInt8](repeating: 7, count: 100_000)
        let stop = Mutex(false)
        let reader = Thread {
            while !stop.withLock({ $0 }) { _ = try? store.get("plain", [0, 0]) }
        }
        reader.start()
        for index in 0..<100 {
            try store.write([StoreWrite(table: "plain", key: [0, UInt8(index)], value: value)])
        }
        stop.withLock { $0 = true }
        #expect(store.statistics.mapBytes > 10_000_000)
        #expect(try store.get("plain", [0, 99]) == value)
        #expect(try store.check() > 3)
    }

    @Test func growthStopsAtItsLimitAndTheStoreStaysUsable() throws {
        var configuration = small()
        configuration.mapBytesMax = 2 << 20
        let store = try open(configuration)
        let value = [UInt8](repeating: 7, count: 1_000_000)
        #expect(throws: StorageFault.storeFull(path: store.environment.directory, limitBytes: 2 << 20)) {
            for index in 0..<10 { try store.write([StoreWrite(table: "plain", key: [UInt8(index)], value: value)]) }
        }
        #expect(try store.get("plain", [0]) == value)
        try store.write([StoreWrite(table: "plain", key: [0], value: nil)])
        try store.write([StoreWrite(table: "plain", key: [99], value: [1])])
    }

    @Test func limitsAreAnswersNotTraps() throws {
        let store = try open()
        let long = [UInt8](repeating: 1, count: 512)
        #expect(throws: StorageFault.keyLength(table: "plain", byteCount: 512)) {
            try store.write([StoreWrite(table: "plain", key: long, value: [])])
        }
        #expect(throws: StorageFault.keyLength(table: "plain", byteCount: 0)) { try store.get("plain", []) }
        #expect(throws: StorageFault.unknownTable("nowhere")) { try store.get("nowhere", [1]) }
        #expect(throws: StorageFault.unknownTable("nowhere")) {
            try store.write([StoreWrite(table: "nowhere", key: [1], value: [])])
        }
        try store.write([StoreWrite(table: "plain", key: Array(long.dropLast()), value: [3])])
        #expect(try store.get("plain", Array(long.dropLast())) == [3])
        let big = [UInt8](repeating: 0, count: StoreLimits.valueBytesMax)
        let set = (0..<17).map { StoreWrite(table: "plain", key: [UInt8($0)], value: big) }
        #expect(throws: StorageFault.writerQueueFull(limitBytes: StoreLimits.writerQueueBytesMax)) {
            try store.write(set)
        }
        store.close()
        #expect(throws: StorageFault.closed) { try store.write([]) }
    }

    @Test func theReserveOfTheDiskIsRespected() throws {
        var configuration = small()
        configuration.reserveBytes = .max
        let store = try open(configuration)
        do {
            try store.write([numbers.put(1, "one")])
            Issue.record("a write below the reserve")
        } catch {
            guard case .diskFull(_, _, .max) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(error.description.contains("the disk is full"))
        }
        #expect(try store.get(numbers, 1) == nil)
    }

    @Test func errorsOfTheDiskAreNamed() {
        let full = StorageFault.from(ENOSPC, "mdb_txn_commit", path: "/", reserve: 5)
        guard case .diskFull(_, _, 5) = full else {
            Issue.record("\(full)")
            return
        }
        guard case .diskFailed = StorageFault.from(EIO, "mdb_txn_commit", path: "/") else {
            Issue.record("EIO is a failed disk")
            return
        }
        #expect(
            StorageFault.from(EACCES, "open", path: "/x") == .system(operation: "open", path: "/x", code: EACCES))
    }

    @Test func aSecondOpenerIsRefusedWithThePid() throws {
        let store = try open()
        #expect(throws: StorageFault.homeLocked(path: home.path, pid: getpid())) { try open() }
        try withExtendedLifetime(store) { try store.write([]) }
    }

    @Test func scansArePagedAndBounded() throws {
        let store = try open()
        try store.write((0..<100).map { numbers.put(UInt64($0), "\($0)") })
        try store.write([StoreWrite(table: "plain", key: [5, 1], value: [1])])
        var seen: [String] = []
        var scan: Scan? = Scan(numbers.id, limit: 7)
        while let current = scan {
            let page = try store.scan(current)
            #expect(page.entries.count <= 7)
            seen += page.entries.map { String(decoding: $0.value, as: UTF8.self) }
            scan = current.continued(after: page)
        }
        #expect(seen == (0..<100).map { "\($0)" })
        let range = Scan(
            numbers.id, from: Codec.uint64.encode(10), end: Codec.uint64.encode(13))
        #expect(try store.scan(range).entries.count == 3)
        #expect(try store.scan(Scan("plain", prefix: [5])).entries.count == 1)
        #expect(try store.scan(Scan("plain", prefix: [6])).entries.isEmpty)
        #expect(try store.entryCount(numbers.id) == 100)
    }

    /// A seeded run of puts, deletes and reopenings against a dictionary.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func agreesWithADictionary(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var model: [[UInt8]: [UInt8]] = [:]
        for _ in 0..<4 {
            let store = try open()
            for _ in 0..<30 {
                var writes: [StoreWrite] = []
                for _ in 0..<random.below(8) {
                    let key = random.bytes(1 + Int(random.below(2)))
                    let value = random.below(4) == 0 ? nil : random.bytes(Int(random.below(1500)))
                    writes.append(StoreWrite(table: "plain", key: key, value: value))
                    model[key] = value
                }
                try store.write(writes)
            }
            let page = try store.scan(Scan("plain", limit: StoreLimits.scanEntriesMax))
            #expect(Dictionary(uniqueKeysWithValues: page.entries.map { ($0.key, $0.value) }) == model)
            #expect(page.entries.map(\.key) == model.keys.sorted { $0.lexicographicallyPrecedes($1) })
            try store.check()
        }
    }
}
