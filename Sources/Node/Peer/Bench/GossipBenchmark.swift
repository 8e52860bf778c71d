// The highest rate of 1 KiB messages at which nothing is lost: peers of this process, each a GossipRouter over a
// Swarm on its own thread, all connected to all over loopback. One publishes at an even rate for a trial; the trial
// holds when the publisher kept the pace and every other peer delivered every message, its signature checked, by a
// quarter of a second (or a tenth of the trial) after the plan's end. Rates double until a trial fails twice, then
// close in to 10%. The figure is messages published a second; with five peers each is delivered four times.
//
//   rate ──holds──▶ twice the rate      rate ──fails twice──▶ midway to the highest that held

import Gossip
import Primitives
import Transport

enum GossipBenchmark {
    static let messageBytes = 1024
    private static let meetSeconds = 30.0

    static func run(seconds: Int) async throws -> [JSONMember] {
        var members: [JSONMember] = []
        for peers in [2, 5] {
            let ours = try await measure(peers: peers, seconds: Double(seconds))
            let rival = try await Rival.libp2p.run(
                ["gossip", "\(seconds)", "\(peers)"], secondsMax: 4 * Double(seconds) + 90)
            members.append(JSONMember("peers_\(peers)", .members(ours + [JSONMember("rival", rival)])))
        }
        return members + [
            JSONMember("message_bytes", .integer(messageBytes)),
            .figure("trial_seconds", trialSeconds(Double(seconds)), decimals: 2),
        ]
    }

    private static func trialSeconds(_ seconds: Double) -> Double { min(3, max(0.5, seconds / 8)) }

    private static func measure(peers: Int, seconds: Double) async throws -> [JSONMember] {
        var nodes: [GossipBenchNode] = []
        defer {
            for node in nodes { node.stop() }
        }
        for _ in 0..<peers { nodes.append(try GossipBenchNode()) }
        try await meet(nodes)
        let watch = Stopwatch()
        var search = RateSearch(start: 500)
        var trial: UInt64 = 0
        var reason = "the limit of trials"
        while let rate = search.next(), watch.seconds < max(10, 3 * seconds) {
            trial += 1
            let fault = try await attempt(trial, rate, trialSeconds(seconds), nodes)
            if let fault { reason = fault }
            search.note(rate, held: fault == nil)
        }
        return [
            .figure("messages_per_second", search.highest),
            .figure("deliveries_per_second", search.highest * Double(peers - 1)),
            JSONMember("lowest_failed", search.lowestFailed.map { .double($0.rounded()) } ?? .null),
            JSONMember("failed_by", search.lowestFailed == nil ? .null : .string(reason)),
            JSONMember("trials", .integer(trial)),
        ]
    }

    /// Connects all with all, and waits until the first knows the rest as subscribers and has them in its mesh.
    private static func meet(_ nodes: [GossipBenchNode]) async throws {
        var addresses: [Multiaddr] = []
        for node in nodes { addresses.append(try await node.listen()) }
        for (index, node) in nodes.enumerated() {
            for address in addresses[(index + 1)...] { node.dial(address) }
        }
        for node in nodes {
            _ = try await BenchWait.until(
                "a mesh of \(nodes.count) peers", seconds: meetSeconds, every: .milliseconds(20)
            ) {
                let report = node.report.value
                if let fault = report.fault { throw BenchmarkFault.setUp("the peers did not meet: \(fault)") }
                return report.mesh == nodes.count - 1 ? true : nil
            }
        }
    }

    /// - Returns: why the trial does not hold; nil where it does.
    private static func attempt(
        _ trial: UInt64, _ rate: Double, _ seconds: Double, _ nodes: [GossipBenchNode]
    ) async throws -> String? {
        guard let publisher = nodes.first else { return "there is no publisher" }
        let count = max(1, Int(rate * seconds))
        let planned = Double(count) / rate
        for node in nodes { node.report.change { $0.begin(trial) } }
        let watch = Stopwatch()
        publisher.publish(trial: trial, count: count, rate: rate)
        let deadline = planned + max(0.25, planned / 10)
        func missing() -> Int { nodes.dropFirst().reduce(0) { $0 + count - min(count, $1.report.value.delivered) } }
        while watch.seconds < deadline, missing() > 0 { try await Task.sleep(for: .milliseconds(5)) }
        guard missing() > 0 else { return nil }
        // What is late still comes; what is lost does not. The next trial begins when it is quiet.
        publisher.cancel()
        var last = -1
        let settling = Stopwatch()
        while missing() != last, settling.seconds < 5 {
            last = missing()
            try await Task.sleep(for: .milliseconds(500))
        }
        if let fault = nodes.lazy.compactMap(\.report.value.fault).first { throw BenchmarkFault.setUp(fault) }
        let published = publisher.report.value.published
        let lost = nodes.dropFirst().reduce(0) { $0 + published - min(published, $1.report.value.delivered) }
        return lost > 0 ? "loss" : "backlog"
    }
}

/// Doubles until a rate fails twice, then halves the gap until it is below a tenth.
struct RateSearch {
    private static let trialsMax = 24

    /// The highest rate that held; zero when none did.
    private(set) var highest = 0.0
    private(set) var lowestFailed: Double?
    private let start: Double
    private var trials = 0
    private var again: Double?

    init(start: Double) { self.start = start }

    /// The rate to try; nil when it is known well enough.
    func next() -> Double? {
        guard trials < Self.trialsMax else { return nil }
        if let again { return again }
        guard let lowestFailed else { return highest > 0 ? 2 * highest : start }
        guard lowestFailed > 1, lowestFailed - highest > lowestFailed / 10 else { return nil }
        return (highest + lowestFailed) / 2
    }

    mutating func note(_ rate: Double, held: Bool) {
        trials += 1
        if held {
            highest = max(highest, rate)
            again = nil
        } else if again == nil {
            again = rate
        } else {
            lowestFailed = min(lowestFailed ?? rate, rate)
            again = nil
        }
    }
}
