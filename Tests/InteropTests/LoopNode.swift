// A small node on a real socket: Swarm, GossipRouter and Bitswap wired together with a store in memory. It is what the
// interop tests run against peers written by others, and the shortest example of how the cores are driven.

import BlockExchange
import Gossip
import Primitives
import Synchronization
import Transport
import Wire

/// What a test may look at, from its own thread.
struct LoopNodeReport: Sendable {
    var listening: [Multiaddr] = []
    var connected: Set<PeerID> = []
    var delivered: [GossipMessage] = []
    var gossipFaults: [GossipFault] = []
    var blockFaults: [BitswapFault] = []
    var subscribers: [GossipTopic: [PeerID]] = [:]
    var mesh: [GossipTopic: [PeerID]] = [:]
    var fetched: [UInt8] = []
    var fetchResult: FetchEffect?
    var statistics = BitswapStatistics()
}

/// Lives on the loop.
final class LoopOwner {
    private struct Outlet {
        var key: StreamKey?
        var waiting: [[UInt8]] = []
    }

    private enum Kind: UInt64 {
        case gossip = 1
        case bitswap = 2

        var protocols: [ProtocolID] {
            switch self {
            case .gossip: GossipVersion.offered.compactMap { ProtocolID($0) }
            case .bitswap: ["/ipfs/bitswap/1.2.0"]
            }
        }
    }

    private unowned let swarm: Swarm
    private let report: LoopNode.Shared
    private var router: GossipRouter
    private var bitswap = Bitswap()
    private var fetch: Fetch?
    private var store: [CID: [UInt8]] = [:]
    private var places: [FilePosition: [UInt8]] = [:]
    private var streams: [StreamKey: (PeerID, Kind)] = [:]
    private var outlets: [PeerID: [Kind: Outlet]] = [:]
    private let session = SessionID(1)
    private let topics: [GossipTopic]

    init(_ swarm: Swarm, key: SigningKey, topics: [GossipTopic], report: LoopNode.Shared) {
        self.swarm = swarm
        self.report = report
        self.topics = topics
        router = GossipRouter(
            key: key, parameters: GossipParameters(), random: SeededRandom(seed: 1), firstSequence: 1_000)
        for topic in topics { drive(.subscribe(topic)) }
        beat()
    }

    private func beat() {
        drive(.heartbeat)
        drive(.tick)
        look()
        swarm.schedule(after: .seconds(1)) { [weak self] in self?.beat() }
    }

    private func look() {
        report.state.withLock { state in
            for topic in topics {
                state.subscribers[topic] = router.subscribers(topic)
                state.mesh[topic] = router.meshPeers(topic)
            }
            state.statistics = bitswap.statistics
        }
    }

    // MARK: The wire

    func handle(_ event: SwarmEvent) {
        switch event {
        case .listening(let address): report.state.withLock { $0.listening.append(address) }
        case .connected(let connection, let peer, remote: _, _, let others):
            guard others == 0 else { return }
            outlets[peer] = [.gossip: Outlet(), .bitswap: Outlet()]
            for kind in [Kind.gossip, .bitswap] { swarm.openStream(connection, kind.protocols, tag: kind.rawValue) }
            drive(.connected(peer))
            report.state.withLock { _ = $0.connected.insert(peer) }
        case .streamOpened(let key, let peer, let name, let origin):
            let kind: Kind = name == "/ipfs/bitswap/1.2.0" ? .bitswap : .gossip
            streams[key] = (peer, kind)
            guard case .outbound = origin else { return }
            outlets[peer]?[kind]?.key = key
            if kind == .gossip, let version = GossipVersion(rawValue: name.description) {
                drive(.connected(peer, version: version, outbound: true))
            }
            for message in outlets[peer]?[kind]?.waiting ?? [] { swarm.send(key, message) }
            outlets[peer]?[kind]?.waiting = []
        case .message(let key, let bytes):
            guard let (peer, kind) = streams[key] else { return }
            switch kind {
            case .gossip: drive(GossipEvent.received(peer, bytes))
            case .bitswap: drive(BitswapEvent.received(peer, bytes))
            }
        case .highWater(let key): pressure(key, true)
        case .writable(let key): pressure(key, false)
        case .streamClosed(let key, _):
            guard let (peer, kind) = streams.removeValue(forKey: key), outlets[peer]?[kind]?.key == key else { return }
            outlets[peer]?[kind]?.key = nil
        case .disconnected(_, let peer, _, others: 0):
            outlets[peer] = nil
            drive(GossipEvent.disconnected(peer))
            drive(BitswapEvent.disconnected(peer))
            report.state.withLock { _ = $0.connected.remove(peer) }
        default: break
        }
    }

    private func pressure(_ key: StreamKey, _ isHigh: Bool) {
        guard let (peer, kind) = streams[key], outlets[peer]?[kind]?.key == key else { return }
        switch kind {
        case .gossip: drive(isHigh ? GossipEvent.congested(peer) : .writable(peer))
        case .bitswap: drive(isHigh ? BitswapEvent.congested(peer) : .writable(peer))
        }
    }

    /// On our own stream of that kind, which is opened again if an idle one was closed.
    private func send(_ message: [UInt8], to peer: PeerID, _ kind: Kind) {
        guard let outlet = outlets[peer]?[kind] else { return }
        if let key = outlet.key {
            swarm.send(key, message)
            return
        }
        outlets[peer]?[kind]?.waiting.append(message)
        guard outlet.waiting.isEmpty, let connection = swarm.connection(to: peer) else { return }
        swarm.openStream(connection, kind.protocols, tag: kind.rawValue)
    }

    // MARK: The cores

    func drive(_ event: GossipEvent) {
        for effect in router.handle(event, now: swarm.now) {
            switch effect {
            case .send(let peer, let bytes): send(bytes, to: peer, .gossip)
            case .deliver(let ticket, let message, from: _):
                report.state.withLock { $0.delivered.append(message) }
                drive(.validated(ticket, .accept))
            case .fault(_, let fault): report.state.withLock { $0.gossipFaults.append(fault) }
            case .giveUp(let peer): swarm.disconnect(peer)
            case .verify, .published, .refused, .shed: break
            }
        }
    }

    func drive(_ event: BitswapEvent) {
        for effect in bitswap.handle(event, now: swarm.now) {
            switch effect {
            case .send(let peer, let bytes): send(bytes, to: peer, .bitswap)
            case .block(_, let block, from: _): drive(.block(block))
            case .load(let cid, let peer): drive(.loaded(cid, store[cid], for: peer))
            case .find(let cid, let peer): drive(.found(cid, store[cid] != nil, for: peer))
            case .fault(_, let fault): report.state.withLock { $0.blockFaults.append(fault) }
            case .unavailable, .refused, .damaged: break
            }
        }
    }

    private func drive(_ event: FetchEvent) {
        guard let effects = fetch?.handle(event) else { return }
        for effect in effects {
            switch effect {
            case .look(let cid, _): drive(.local(cid, store[cid].map { .bytes($0) } ?? .absent))
            case .want(let cids): drive(.want(session, cids))
            case .store(let block): store[block.cid] = block.bytes
            case .place(let cid, let position, _, let bytes): places[position] = bytes ?? store[cid]
            case .unfinished: drive(FetchEvent.proceed)
            case .progress: break
            case .done, .failed:
                drive(.close(session))
                look()
                let content = places.sorted { $0.key < $1.key }.flatMap(\.value)
                report.state.withLock {
                    $0.fetched = content
                    $0.fetchResult = effect
                }
            }
        }
    }

    func keep(_ blocks: [Block]) {
        for block in blocks { store[block.cid] = block.bytes }
        drive(.stored(blocks.map(\.cid)))
    }

    func startFetch(_ root: CID, from peer: PeerID) {
        fetch = Fetch(root: root)
        drive(.providers(session, [peer]))
        drive(FetchEvent.start)
    }
}

/// A `LoopOwner` with its loop, for a test.
final class LoopNode: Sendable {
    final class Shared: Sendable {
        let state = Mutex(LoopNodeReport())
        let owner = Mutex<LoopBound<LoopOwner>?>(nil)
    }

    struct Timeout: Error, CustomStringConvertible {
        let description: String
    }

    let id: PeerID
    private let handle: SwarmHandle
    private let shared = Shared()

    init(_ byte: UInt8, topics: [GossipTopic] = []) throws {
        let key = try SigningKey(seed: [UInt8](repeating: byte, count: 32))
        id = key.publicKey.peerID
        let gossip = ProtocolLimits(framing: .messages(bytesMax: GossipParameters().rpcBytesMax))
        let blocks = ProtocolLimits(framing: .messages(bytesMax: BitswapParameters().messageBytesMax))
        let configuration = SwarmConfiguration(
            connection: ConnectionSettings(
                identity: key,
                protocols: ["/meshsub/1.1.0": gossip, "/meshsub/1.0.0": gossip, "/ipfs/bitswap/1.2.0": blocks],
                about: LocalInfo(listenAddresses: [], recordSequence: 0)))
        handle = try SwarmHandle.start(configuration) { [shared] swarm in
            let owner = LoopOwner(swarm, key: key, topics: topics, report: shared)
            shared.owner.withLock { $0 = LoopBound(owner, on: swarm) }
            return { owner.handle($0) }
        }
    }

    var report: LoopNodeReport { shared.state.withLock { $0 } }

    func post(_ work: @escaping @Sendable (LoopOwner) -> Void) {
        handle.post { [shared] swarm in
            guard let bound = shared.owner.withLock({ $0 }) else { return }
            work(bound.value(on: swarm))
        }
    }

    func listen() async throws -> Multiaddr {
        let address = try Multiaddr(text: "/ip4/127.0.0.1/tcp/0")
        handle.post { swarm in _ = try? swarm.listen(on: address) }
        return try await wait("listening") { $0.listening.first }.with(peer: id)
    }

    func dial(_ address: Multiaddr) { handle.post { $0.dial(address, tag: 1) } }

    /// Waits until `pick` finds something.
    func wait<Found>(
        _ what: String, seconds: Int = 30, _ pick: (LoopNodeReport) -> Found?
    ) async throws -> Found {
        for _ in 0..<seconds * 50 {
            if let found = pick(report) { return found }
            try await Task.sleep(for: .milliseconds(20))
        }
        var seen = report
        seen.fetched = []
        seen.delivered = Array(seen.delivered.prefix(1))
        throw Timeout(description: "no \(what) in \(seconds) s: \(seen)")
    }

    func stop() {
        handle.stop()
        handle.join()
    }
}
