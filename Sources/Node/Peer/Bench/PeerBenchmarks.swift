// In-tree benchmarks: each runs for about the seconds it is given (gossip, which searches, and those that time a
// rival for a few times that) and says what it measured, on how many cores, under which load. Rates, not verdicts:
// nothing here passes or fails. Each file's header says what exactly its figures are.

import Foundation
package import Primitives

package enum PeerBenchmarks {
    private static let all: [(name: String, run: @Sendable (Int) async throws -> [JSONMember])] = [
        ("receipts", ReceiptBenchmark.run), ("storage", StorageBenchmark.run), ("handshakes", HandshakeBenchmark.run),
        ("stream", StreamBenchmark.run), ("gossip", GossipBenchmark.run), ("decode", DecodeBenchmark.run),
        ("memory", MemoryBenchmark.run), ("start", StartBenchmark.run),
    ]

    package static var names: [String] { all.map(\.name) }

    /// - Throws: whatever the measured part throws.
    package static func run(_ name: String, seconds: Int) async throws -> JSONValue {
        guard let entry = all.first(where: { $0.name == name }) else { throw BenchmarkFault.unknown(name) }
        let figures = try await entry.run(seconds)
        return .members([JSONMember("bench", .string(name))] + figures + machine())
    }

    private static func machine() -> [JSONMember] {
        var load = [0.0, 0.0, 0.0]
        getloadavg(&load, 3)
        return [
            JSONMember("cores", .integer(ProcessInfo.processInfo.activeProcessorCount)),
            JSONMember("load_1m", .double((load[0] * 100).rounded() / 100)),
        ]
    }

    /// How often `body` runs in a second of wall time.
    static func rate(seconds: Int, _ body: () throws -> Int) rethrows -> Double {
        let clock = ContinuousClock()
        let begin = clock.now
        var count = 0
        while clock.now - begin < .seconds(max(1, seconds)) { count += try body() }
        let passed = clock.now - begin
        let wall = Double(passed.components.seconds) + Double(passed.components.attoseconds) * 1e-18
        return (Double(count) / wall * 10).rounded() / 10
    }
}

package enum BenchmarkFault: Error, Sendable, CustomStringConvertible {
    case unknown(String)
    case setUp(String)

    package var description: String {
        switch self {
        case .unknown(let name):
            "there is no benchmark \"\(name)\"; there are: \(PeerBenchmarks.names.joined(separator: ", "))"
        case .setUp(let reason): reason
        }
    }
}
