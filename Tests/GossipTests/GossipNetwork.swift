// Many routers in one process under one seed: a queue of RPCs with delay, loss, duplication and reordering, and a record
// of what each router delivered. Replays identically: nothing here reads a clock or a hash order.

import Primitives

@testable import Gossip

struct GossipFaults {
    var lossPercent: UInt64 = 0
    var duplicatePercent: UInt64 = 0
    /// RPCs of one link may overtake each other.
    var reorders = false
}

struct GossipNetwork {
    private struct Flight {
        let at: Instant
        let order: UInt64
        let from: Int
        let to: Int
        let bytes: [UInt8]
    }

    let ids: [PeerID]
    private let indexes: [PeerID: Int]
    var routers: [GossipRouter]
    var faults = GossipFaults()
    var now = Instant.start
    /// What each router delivered, in order.
    var delivered: [[MessageID]]
    var published: [MessageID] = []
    var faultsSeen: [(at: Int, who: PeerID, fault: GossipFault)] = []
    var sends = 0
    /// What router `at` makes of a message.
    var verdict: (Int, GossipMessage) -> GossipVerdict = { _, _ in .accept }
    /// RPCs that go through; others are lost.
    var carries: (Int, Int, [UInt8]) -> Bool = { _, _, _ in true }
    private var links: Set<[Int]> = []
    /// The last is the next to arrive.
    private var flights: [Flight] = []
    private var lastArrival: [[Int]: Instant] = [:]
    private var order: UInt64 = 0
    private var random: SeededRandom
    private let heartbeat: Span

    init(count: Int, seed: UInt64, parameters: GossipParameters = GossipParameters()) throws {
        random = SeededRandom(seed: seed)
        var keys: [SigningKey] = []
        for index in 0..<count {
            keys.append(try SigningKey(seed: Digest(sha256: Array("peer \(index)".utf8)).bytes))
        }
        ids = keys.map(\.publicKey.peerID)
        indexes = Dictionary(uniqueKeysWithValues: ids.enumerated().map { ($1, $0) })
        var routers: [GossipRouter] = []
        for key in keys {
            routers.append(GossipRouter(key: key, parameters: parameters, random: random.fork(), firstSequence: 1))
        }
        self.routers = routers
        delivered = Array(repeating: [], count: count)
        heartbeat = parameters.heartbeat
    }

    mutating func connect(_ left: Int, _ right: Int, version: GossipVersion = .v1_1) {
        guard left != right, links.insert([min(left, right), max(left, right)]).inserted else { return }
        feed(left, .connected(ids[right], version: version, outbound: true))
        feed(right, .connected(ids[left], version: version, outbound: false))
    }

    mutating func disconnect(_ left: Int, _ right: Int) {
        guard links.remove([min(left, right), max(left, right)]) != nil else { return }
        flights.removeAll { ($0.from, $0.to) == (left, right) || ($0.from, $0.to) == (right, left) }
        feed(left, .disconnected(ids[right]))
        feed(right, .disconnected(ids[left]))
    }

    /// Each router dials `degree` others.
    mutating func connectAtRandom(degree: Int) {
        for index in routers.indices {
            for other in routers.indices.filter({ $0 != index }).shuffled(using: &random).prefix(degree) {
                connect(index, other)
            }
        }
    }

    mutating func feed(_ index: Int, _ event: GossipEvent) {
        for effect in routers[index].handle(event, now: now) { perform(effect, at: index) }
    }

    private mutating func perform(_ effect: GossipEffect, at index: Int) {
        switch effect {
        case .send(let peer, let bytes):
            guard let to = indexes[peer], links.contains([min(index, to), max(index, to)]) else { return }
            sends += 1
            guard carries(index, to, bytes), random.below(100) >= faults.lossPercent else { return }
            fly(index, to, bytes)
            if random.below(100) < faults.duplicatePercent { fly(index, to, bytes) }
        case .deliver(let ticket, let message, from: _):
            let verdict = verdict(index, message)
            if verdict == .accept { delivered[index].append(routers[index].parameters.messageID(message)) }
            feed(index, .validated(ticket, verdict))
        case .verify(let ticket, let message): feed(index, .verified(ticket, message.signatureHolds()))
        case .published(let id, recipients: _): published.append(id)
        case .fault(let who, let fault): faultsSeen.append((index, who, fault))
        case .refused, .shed, .giveUp: break
        }
    }

    private mutating func fly(_ from: Int, _ to: Int, _ bytes: [UInt8]) {
        var at = now + .milliseconds(10 + random.below(90))
        if !faults.reorders { at = max(at, lastArrival[[from, to]] ?? .start) }
        lastArrival[[from, to]] = at
        order += 1
        insert(Flight(at: at, order: order, from: from, to: to, bytes: bytes))
    }

    private mutating func insert(_ flight: Flight) {
        var (low, high) = (0, flights.count)
        while low < high {
            let middle = (low + high) / 2
            if flights[middle].at > flight.at { low = middle + 1 } else { high = middle }
        }
        flights.insert(flight, at: low)
    }

    /// Heartbeats and deliveries for `span`.
    mutating func run(for span: Span) {
        let end = now + span
        var nextBeat = now + heartbeat
        while true {
            let next = flights.last
            if let next, next.at <= min(nextBeat, end) {
                flights.removeLast()
                now = max(now, next.at)
                feed(next.to, .received(ids[next.from], next.bytes))
            } else if nextBeat <= end {
                now = nextBeat
                for index in routers.indices { feed(index, .heartbeat) }
                nextBeat = nextBeat + heartbeat
            } else {
                now = end
                return
            }
        }
    }
}
