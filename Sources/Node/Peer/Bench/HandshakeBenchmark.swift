// Handshakes a second over loopback: two swarms in this process, each on its own thread; one dials, the other
// listens. One handshake is TCP connect, multistream, Noise XX, multistream, Yamux, and the dialler's reading of the
// listener's Identify answer, its signed peer record checked; then the connection is closed and the next one dialled.
// Both ends' work is in the figure, so one end alone costs about half.

import Primitives
import Transport
import Wire

enum HandshakeBenchmark {
    private static let concurrency = 16
    private static let retryTime = Span.milliseconds(5)
    /// How long the first handshake may take.
    private static let patience = 15.0

    private struct Tally: Sendable {
        var done = 0
        var failed = 0
        var lastFault: String?
        var isOver = false
    }

    static func run(seconds: Int) async throws -> [JSONMember] {
        let each = max(1, Double(seconds) / 2)
        let alone = try await measure(at: 1, seconds: each)
        let together = try await measure(at: concurrency, seconds: each)
        let rival = try await Rival.libp2p.run(["handshakes", "\(each)"], secondsMax: 4 * each + 60)
        return [
            .figure("sequential_per_second", alone.rate), .figure("concurrent_per_second", together.rate),
            JSONMember("concurrency", .integer(concurrency)),
            JSONMember("failed", .integer(alone.failed + together.failed)), JSONMember("threads", .integer(2)),
            JSONMember("rival", rival),
        ]
    }

    /// - Parameter width: handshakes that are under way at any moment.
    private static func measure(at width: Int, seconds: Double) async throws -> (rate: Double, failed: Int) {
        let listener = try Home.drawnKey()
        let server = try SwarmHandle.start(BenchSwarm.configuration(listener)) { _ in { _ in } }
        defer {
            server.stop()
            server.join()
        }
        let target = try await BenchSwarm.listen(server, as: listener.publicKey.peerID)
        let tally = Shared(Tally())
        let client = try SwarmHandle.start(BenchSwarm.configuration(try Home.drawnKey())) { swarm in
            { [unowned swarm] event in
                switch event {
                case .identified(let connection, _):
                    tally.change { $0.done += 1 }
                    swarm.disconnect(connection)
                case .disconnected(_, _, let reason, _):
                    if reason != .requested {
                        tally.change { state in
                            state.failed += 1
                            state.lastFault = "\(reason)"
                        }
                    }
                    if !tally.value.isOver { swarm.dial(target, tag: 1) }
                case .dialFailed(_, _, let fault):
                    tally.change { state in
                        state.failed += 1
                        state.lastFault = "\(fault)"
                    }
                    swarm.schedule(after: retryTime) { [unowned swarm] in
                        if !tally.value.isOver { swarm.dial(target, tag: 1) }
                    }
                default: break
                }
            }
        }
        defer {
            tally.change { $0.isOver = true }
            client.stop()
            client.join()
        }
        client.post { swarm in
            for _ in 0..<width { swarm.dial(target, tag: 1) }
        }
        // The first ones warm caches and tables and are not counted.
        let warm = Stopwatch()
        while tally.value.done < width {
            guard warm.seconds < patience else {
                throw BenchmarkFault.setUp(
                    "no \(width) handshakes in \(Int(patience)) s: \(tally.value.lastFault ?? "nothing came back")")
            }
            try await Task.sleep(for: .milliseconds(1))
        }
        let before = tally.value
        let watch = Stopwatch()
        try await Task.sleep(for: .seconds(seconds))
        let after = tally.value
        return (Double(after.done - before.done) / watch.seconds, after.failed)
    }
}
