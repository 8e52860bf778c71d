// LMDB through our own store: durable puts of 1 KiB alone and in groups, and gets, on the file system of the
// temporary folder.

import Foundation
import NodeCore
import Primitives
import Storage

enum StorageBenchmark {
    static func run(seconds: Int) async throws -> [JSONMember] {
        let folder = NSTemporaryDirectory() + "/openledger-bench-\(getpid())"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let store = try Store(home: folder, schema: Schema(version: 1, tables: ["bench"]))
        defer { store.close() }
        let value = Home.randomBytes(1024)
        let each = max(1, seconds / 3)
        var next: UInt64 = 0
        func write() -> StoreWrite {
            next += 1
            return StoreWrite(table: "bench", key: next.bigEndianBytes, value: value)
        }
        let single = try PeerBenchmarks.rate(seconds: each) {
            try store.write([write()])
            return 1
        }
        let grouped = try PeerBenchmarks.rate(seconds: each) {
            try store.write((0..<1000).map { _ in write() })
            return 1000
        }
        var random = SeededRandom(seed: 1)
        let count = next
        let gets = try PeerBenchmarks.rate(seconds: each) {
            _ = try store.get("bench", (random.below(count) + 1).bigEndianBytes)
            return 1
        }
        return [
            JSONMember("durable_puts_per_second", .double(single)),
            JSONMember("durable_puts_per_second_in_sets_of_1000", .double(grouped)),
            JSONMember("gets_per_second", .double(gets)), JSONMember("value_bytes", .integer(1024)),
        ]
    }
}
