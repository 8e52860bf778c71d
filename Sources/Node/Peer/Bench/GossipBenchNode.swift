// A peer that only gossips: a GossipRouter over a Swarm, as the node drives them, and nothing else on its loop. The
// sender keeps a pace: each turn it publishes what is due, but not while a neighbour's stream is full, so a rate that
// is too high shows as a plan that is late and not as memory that grows.

import Gossip
import Primitives
import Transport
import Wire

struct GossipBenchReport: Sendable {
    /// Neighbours in the topic's mesh.
    var mesh = 0
    var trial: UInt64 = 0
    /// Messages of the trial that came from others.
    var delivered = 0
    /// Messages of the trial that were published here.
    var published = 0
    var fault: String?

    mutating func begin(_ trial: UInt64) {
        self.trial = trial
        delivered = 0
        published = 0
    }
}

/// Lives on the loop.
final class GossipBenchOwner {
    private struct Plan {
        let trial: UInt64
        let count: Int
        let rate: Double
        let begun: Instant
        var sent = 0
    }

    /// Published in one turn at most, so that the loop reads in between.
    private static let burstMax = 256
    private static let topic = GossipTopic("/openledger/bench")
    private static let filler = [UInt8](repeating: 0x6f, count: GossipBenchmark.messageBytes - 16)

    private unowned let swarm: Swarm
    private let report: Shared<GossipBenchReport>
    private var router: GossipRouter
    private var streams: [StreamKey: PeerID] = [:]
    private var outlets: [PeerID: StreamKey] = [:]
    private var waiting: [PeerID: [[UInt8]]] = [:]
    private var congested: Set<PeerID> = []
    private var plan: Plan?

    init(_ swarm: Swarm, key: SigningKey, seed: UInt64, report: Shared<GossipBenchReport>) {
        self.swarm = swarm
        self.report = report
        router = GossipRouter(
            key: key, parameters: GossipParameters(), random: SeededRandom(seed: seed), firstSequence: 1)
        drive(.subscribe(Self.topic))
        beat()
    }

    private func beat() {
        drive(.heartbeat)
        let mesh = router.meshPeers(Self.topic).count
        report.change { $0.mesh = mesh }
        swarm.schedule(after: router.parameters.heartbeat) { [weak self] in self?.beat() }
    }

    // MARK: Publishing

    func publish(trial: UInt64, count: Int, rate: Double) {
        let wasIdle = plan == nil
        plan = Plan(trial: trial, count: count, rate: rate, begun: swarm.now)
        if wasIdle { pump() }
    }

    func cancel() { plan = nil }

    private func pump() {
        guard var plan else { return }
        let due = min(plan.count, 1 + Int(swarm.now.since(plan.begun).inSeconds * plan.rate))
        var burst = 0
        while plan.sent < due, burst < Self.burstMax, congested.isEmpty {
            drive(.publish(Self.topic, Self.bytes(plan.trial) + Self.bytes(UInt64(plan.sent)) + Self.filler))
            plan.sent += 1
            burst += 1
        }
        let isDone = plan.sent >= plan.count
        self.plan = isDone ? nil : plan
        report.change { [sent = plan.sent] in $0.published = sent }
        if !isDone { swarm.schedule(after: .milliseconds(1)) { [weak self] in self?.pump() } }
    }

    private static func bytes(_ number: UInt64) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    // MARK: The wire

    func handle(_ event: SwarmEvent) {
        switch event {
        case .connected(let connection, let peer, remote: _, _, others: 0):
            swarm.openStream(connection, GossipVersion.offered.compactMap { ProtocolID($0) }, tag: 1)
            waiting[peer] = []
        case .streamOpened(let key, let peer, let name, let origin):
            streams[key] = peer
            guard case .outbound = origin, let version = GossipVersion(rawValue: name.description) else { return }
            outlets[peer] = key
            drive(.connected(peer, version: version, outbound: true))
            for message in waiting.removeValue(forKey: peer) ?? [] { swarm.send(key, message) }
        case .message(let key, let bytes):
            if let peer = streams[key] { drive(.received(peer, bytes)) }
        case .highWater(let key):
            guard let peer = streams[key], outlets[peer] == key else { return }
            congested.insert(peer)
            drive(.congested(peer))
        case .writable(let key):
            guard let peer = streams[key], outlets[peer] == key, congested.remove(peer) != nil else { return }
            drive(.writable(peer))
        case .streamClosed(let key, let end):
            guard let peer = streams.removeValue(forKey: key), outlets[peer] == key else { return }
            outlets[peer] = nil
            congested.remove(peer)
            fail("a gossip stream ended: \(end)")
        case .openFailed(_, _, let fault): fail("a gossip stream did not open: \(fault)")
        case .dialFailed(_, _, let fault): fail("a peer was not reached: \(fault)")
        default: break
        }
    }

    /// The first fault is the cause of the others.
    private func fail(_ reason: String) {
        report.change { if $0.fault == nil { $0.fault = reason } }
    }

    private func drive(_ event: GossipEvent) {
        for effect in router.handle(event, now: swarm.now) {
            switch effect {
            case .send(let peer, let bytes):
                if let key = outlets[peer] { swarm.send(key, bytes) } else { waiting[peer]?.append(bytes) }
            case .deliver(let ticket, let message, from: _):
                let trial = message.data.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
                report.change { if $0.trial == trial { $0.delivered += 1 } }
                drive(.validated(ticket, .accept))
            case .giveUp(let peer):
                fail("a peer was too slow")
                swarm.disconnect(peer)
            case .fault, .verify, .published, .refused, .shed: break
            }
        }
    }
}

/// A `GossipBenchOwner` with its loop.
final class GossipBenchNode: Sendable {
    let report = Shared(GossipBenchReport())
    private let id: PeerID
    private let handle: SwarmHandle
    private let owner = Shared<LoopBound<GossipBenchOwner>?>(nil)

    init() throws {
        let key = try Home.drawnKey()
        id = key.publicKey.peerID
        // The marks that the node gives its own streams.
        let limits = ProtocolLimits(
            framing: .messages(bytesMax: GossipParameters().rpcBytesMax), sendHighWaterBytes: 4 << 20,
            sendBufferBytesMax: 32 << 20)
        var protocols: [ProtocolID: ProtocolLimits] = [:]
        for name in GossipVersion.offered.compactMap({ ProtocolID($0) }) { protocols[name] = limits }
        let seed = Home.randomBytes(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        handle = try SwarmHandle.start(BenchSwarm.configuration(key, protocols)) { [report, owner] swarm in
            let made = GossipBenchOwner(swarm, key: key, seed: seed, report: report)
            owner.change { $0 = LoopBound(made, on: swarm) }
            return { made.handle($0) }
        }
    }

    func listen() async throws -> Multiaddr { try await BenchSwarm.listen(handle, as: id) }

    func dial(_ address: Multiaddr) { handle.post { $0.dial(address, tag: 1) } }

    func publish(trial: UInt64, count: Int, rate: Double) {
        post { $0.publish(trial: trial, count: count, rate: rate) }
    }

    func cancel() { post { $0.cancel() } }

    private func post(_ work: @escaping @Sendable (GossipBenchOwner) -> Void) {
        handle.post { [owner] swarm in
            if let bound = owner.value { work(bound.value(on: swarm)) }
        }
    }

    func stop() {
        handle.stop()
        handle.join()
    }
}
