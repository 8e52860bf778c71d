// In-tree benchmarks: each runs for about the seconds it is given (gossip, which searches, and those that time a
// rival for a few times that) and says what it measured, on how many cores, under which load. Rates, not verdicts:
// nothing here passes or fails. Each file's header says what exactly its figures are.

import Foundation
package import Primitives

/// What a benchmark is asked; each reads what it knows and leaves the rest.
package struct BenchmarkPlan: Sendable {
    package var seconds: Int
    /// A model folder or a GGUF file instead of the starter model.
    package var model: String?
    /// Adapters of it: PEFT folders.
    package var adapters: [String] = []
    /// Rows to read, JSONL.
    package var rows: String?
    /// Threads that compute.
    package var threads = 1
    /// "f32", "bf16", "int8", "int4"; all that make sense where nil.
    package var precision: String?
    /// Of what is drawn.
    package var seed = 1

    package init(seconds: Int) { self.seconds = seconds }
}

package enum PeerBenchmarks {
    private static let all: [(name: String, run: @Sendable (BenchmarkPlan) async throws -> [JSONMember])] = [
        ("receipts", { try await ReceiptBenchmark.run(seconds: $0.seconds) }),
        ("storage", { try await StorageBenchmark.run(seconds: $0.seconds) }),
        ("handshakes", { try await HandshakeBenchmark.run(seconds: $0.seconds) }),
        ("stream", { try await StreamBenchmark.run(seconds: $0.seconds) }),
        ("gossip", { try await GossipBenchmark.run(seconds: $0.seconds) }),
        ("decode", { try await DecodeBenchmark.run($0) }), ("serving", { try await ServingBenchmark.run($0) }),
        ("adapters", { try await AdapterBenchmark.run($0) }),
        ("perplexity", { try await PerplexityBenchmark.run($0) }),
        ("speculation", { try await SpeculationBenchmark.run($0) }), ("bits", { try await BitsBenchmark.run($0) }),
        ("training", { try await TrainingBenchmark.run($0) }),
        ("attribution", { try AttributionBenchmark.run($0) }), ("lds", { try LDSBenchmark.run($0) }),
        ("memory", { try await MemoryBenchmark.run(seconds: $0.seconds) }),
        ("start", { try await StartBenchmark.run(seconds: $0.seconds) }),
    ]

    package static var names: [String] { all.map(\.name) }

    /// - Throws: whatever the measured part throws.
    package static func run(_ name: String, _ plan: BenchmarkPlan) async throws -> JSONValue {
        guard let entry = all.first(where: { $0.name == name }) else { throw BenchmarkFault.unknown(name) }
        let figures = try await entry.run(plan)
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
