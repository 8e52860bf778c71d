// The node on its loop: what the swarm, the disk, the engines and the people at this peer say becomes events, and the
// effects are performed in the order in which they come. Lives on the swarm's loop and is touched nowhere else.

import Foundation
import NodeCore
package import Primitives
import Sequencing
import Transport
import Wire

final class NodeDriver {
    private(set) var node: Node
    private let swarm: Swarm
    private let performers: Performers
    private let directory: DatanetDirectory
    /// The handle of this loop, for performers that answer from other threads.
    private var post: (@Sendable (@escaping @Sendable (NodeDriver) -> Void) -> Void) = { _ in }

    private var keys: [NodeCore.StreamID: StreamKey] = [:]
    private var streams: [StreamKey: NodeCore.StreamID] = [:]
    /// Tags of streams being opened.
    private var opening: Set<NodeCore.StreamID> = []
    /// What was asked of a stream before it stood: it is ended when it does.
    private var abandoned: Set<NodeCore.StreamID> = []
    private var lastInbound: UInt64 = 1
    private var waiting: [NodeEvent] = []
    private var isFeeding = false
    private var timers: [NodeTimer: (at: Instant, token: TimerToken)] = [:]
    private var dialling: Set<Multiaddr> = []
    private var lastCommand: UInt64 = 0
    private var listeners: [CommandID: @Sendable (NodeAnswer) -> Void] = [:]
    private(set) var connections: [PeerID: ConnectionNote] = [:]
    private var connectionOf: [PeerID: ConnectionID] = [:]
    private(set) var blames: [PeerID: Int] = [:]

    static let blamesMax = 16

    init(node: Node, swarm: Swarm, performers: Performers, directory: DatanetDirectory) {
        self.node = node
        self.swarm = swarm
        self.performers = performers
        self.directory = directory
    }

    func start(post: @escaping @Sendable (@escaping @Sendable (NodeDriver) -> Void) -> Void) {
        self.post = post
        feed(.start)
    }

    private var moment: Moment { Moment(swarm.now, Self.wallTime()) }

    static func wallTime() -> WallTime { WallTime(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)) }

    /// Events that came while effects were performed wait their turn, so that effects keep their order.
    func feed(_ event: NodeEvent) {
        waiting.append(event)
        guard !isFeeding else { return }
        isFeeding = true
        defer { isFeeding = false }
        while !waiting.isEmpty {
            for effect in node.handle(waiting.removeFirst(), at: moment) { perform(effect) }
        }
    }

    // MARK: Commands

    /// - Parameter listener: called on the loop with every answer.
    func command(_ command: NodeCommand, listener: @escaping @Sendable (NodeAnswer) -> Void) -> CommandID {
        lastCommand += 1
        let id = CommandID(lastCommand)
        listeners[id] = listener
        feed(.command(id, command))
        return id
    }

    /// Commands what is not answered itself.
    func tell(_ command: NodeCommand) {
        lastCommand += 1
        feed(.command(CommandID(lastCommand), command))
    }

    func cancel(_ id: CommandID) {
        feed(.cancelled(id))
        listeners[id] = nil
    }

    // MARK: Effects

    private func perform(_ effect: NodeEffect) {
        switch effect {
        case .open(let stream, let peer, let names): open(stream, peer, names)
        case .send(let stream, let bytes):
            // false means "stop until writable", which `.congested` says; what is beyond the buffer resets the stream.
            if let key = keys[stream] { _ = swarm.send(key, bytes) }
        case .finish(let stream):
            if let key = keys[stream] { swarm.finishStream(key) } else { abandoned.insert(stream) }
        case .reset(let stream):
            if let key = keys[stream] {
                forget(key)
                swarm.resetStream(key)
            } else if opening.contains(stream) {
                abandoned.insert(stream)
            }
        case .disconnect(let peer, let reason):
            performers.log("disconnecting \(peer): \(reason)")
            swarm.disconnect(peer)
        case .dial(let address): dial(address)
        case .persist(let writes, let ticket):
            performers.persist(writes) { [post] in post { $0.feed(.synced(ticket)) } }
        case .load(let cid, let ticket):
            performers.load(cid) { [post] bytes in post { $0.feed(.loaded(ticket, bytes)) } }
        case .sendBatches(let stream, let from, let through):
            performers.batches(from, through) { [post] batches in
                post { driver in
                    for bytes in batches { driver.perform(.send(stream, bytes)) }
                    driver.perform(.finish(stream))
                }
            }
        case .compute(let job, let ticket):
            performers.compute(job) { [post] result in post { $0.feed(.computed(ticket, result)) } }
        case .generate(let order, let ticket):
            performers.generate(order, ticket) { [post] news in post { $0.feed(.generated(ticket, news)) } }
        case .stopGenerating(let ticket): performers.stopGenerating(ticket)
        case .computeLayers(let order, let ticket):
            performers.computeLayers(order, ticket) { [post] news in post { $0.feed(.staged(ticket, news)) } }
        case .reexecute(let order, let ticket):
            performers.reexecute(order) { [post] result in post { $0.feed(.reexecuted(ticket, result)) } }
        case .weigh(let order, let ticket):
            performers.weigh(order) { [post] weighed in post { $0.feed(.weighed(ticket, weighed)) } }
        case .reweigh(let order, let ticket):
            performers.reweigh(order) { [post] result in post { $0.feed(.reweighed(ticket, result)) } }
        case .schedule(let timer, let at): schedule(timer, at)
        case .answer(let id, let answer): self.answer(id, answer)
        case .notify(let notice): notify(notice)
        }
    }

    private func answer(_ id: CommandID, _ answer: NodeAnswer) {
        guard let listener = listeners[id] else { return }
        listener(answer)
        switch answer {
        case .accepted, .token, .progress, .layers, .sources: break
        default: listeners[id] = nil
        }
    }

    private func notify(_ notice: NodeNotice) {
        if case .blamed(let peer, let reason) = notice {
            performers.log("\(peer) is to blame: \(reason)")
            blames[peer, default: 0] += 1
            if blames[peer, default: 0] >= Self.blamesMax {
                blames[peer] = 0
                swarm.disconnect(peer)
            }
        }
        if case .datanet(let id, _) = notice { directory.update(id, from: node) }
        performers.notice(notice)
    }

    private func schedule(_ timer: NodeTimer, _ at: Instant) {
        if let old = timers[timer] { swarm.cancel(old.token) }
        let now = swarm.now
        let span = at > now ? at.since(now) : .zero
        let token = swarm.schedule(after: span) { [unowned self] in
            timers[timer] = nil
            feed(.elapsed(timer))
        }
        timers[timer] = (at, token)
    }

    private func dial(_ address: Multiaddr) {
        if let peer = address.peer, connectionOf[peer] != nil || peer == node.peer { return }
        guard dialling.insert(address).inserted else { return }
        swarm.dial(address, tag: 0)
    }

    private func open(_ stream: NodeCore.StreamID, _ peer: PeerID, _ names: [String]) {
        let protocols = names.compactMap(ProtocolID.init)
        guard let connection = connectionOf[peer] else { return feed(.openFailed(stream)) }
        opening.insert(stream)
        swarm.openStream(connection, protocols, tag: stream.number)
    }

    // MARK: Swarm

    func handle(_ event: SwarmEvent) {
        switch event {
        case .connected(let connection, let peer, let remote, let direction, _):
            var outbound = false
            if case .outbound = direction { outbound = true }
            dialling = dialling.filter { $0.peer != peer && $0 != remote }
            connectionOf[peer] = connection
            let isNew = connections[peer] == nil
            connections[peer] = ConnectionNote(
                peer: peer, address: remote, outbound: outbound, since: Self.wallTime(), agent: "")
            if isNew { feed(.connected(peer, outbound: outbound)) }
        case .identified(let connection, let info):
            guard let peer = swarm.peer(of: connection), connections[peer] != nil else { return }
            connections[peer]?.agent = info.agentVersion
            feed(.identified(peer, info.listenAddresses))
        case .streamOpened(let key, let peer, let name, let origin): opened(key, peer, name, origin)
        case .openFailed(_, let tag, _):
            let stream = NodeCore.StreamID(tag)
            opening.remove(stream)
            abandoned.remove(stream)
            feed(.openFailed(stream))
        case .message(let key, let bytes):
            if let stream = streams[key] { feed(.received(stream, bytes)) }
        case .streamFinished(let key):
            if let stream = streams[key] {
                feed(.ended(stream))
                forget(key)
                swarm.finishStream(key)
            }
        case .streamClosed(let key, _): ended(key)
        case .highWater(let key):
            if let stream = streams[key] { feed(.congested(stream, true)) }
        case .writable(let key):
            if let stream = streams[key] { feed(.congested(stream, false)) }
        case .pinged(let connection, let span):
            if let peer = swarm.peer(of: connection) { connections[peer]?.latency = span }
        case .disconnected(let connection, let peer, _, let others):
            for key in streams.keys.filter({ $0.connection == connection }).sorted() { ended(key) }
            guard connectionOf[peer] == connection else { return }
            connectionOf[peer] = others > 0 ? swarm.connection(to: peer) : nil
            connections[peer] = nil
            feed(.disconnected(peer))
            if let left = connectionOf[peer], let remote = swarm.remoteAddress(of: left) {
                connections[peer] = ConnectionNote(
                    peer: peer, address: remote, outbound: false, since: Self.wallTime(), agent: "")
                feed(.connected(peer, outbound: false))
            }
        case .dialFailed(_, let address, let fault):
            dialling.remove(address)
            performers.log("\(address) does not answer: \(fault)")
        case .inboundFailed(let address, let reason): performers.log("\(address) did not get through: \(reason)")
        case .listening, .stopped: break
        }
    }

    private func opened(_ key: StreamKey, _ peer: PeerID, _ name: ProtocolID, _ origin: StreamOrigin) {
        switch origin {
        case .outbound(let tag):
            let stream = NodeCore.StreamID(tag)
            guard opening.remove(stream) != nil else { return swarm.resetStream(key) }
            keys[stream] = key
            streams[key] = stream
            feed(.opened(stream, protocolName: name.description))
            if abandoned.remove(stream) != nil { swarm.finishStream(key) }
        case .inbound:
            lastInbound += 2
            let stream = NodeCore.StreamID(lastInbound)
            keys[stream] = key
            streams[key] = stream
            feed(.accepted(stream, peer, protocolName: name.description))
        }
    }

    private func ended(_ key: StreamKey) {
        guard let stream = streams[key] else { return }
        forget(key)
        feed(.ended(stream))
    }

    private func forget(_ key: StreamKey) {
        guard let stream = streams.removeValue(forKey: key) else { return }
        keys[stream] = nil
    }
}

/// A connection as people see it.
package struct ConnectionNote: Hashable, Sendable {
    package var peer: PeerID
    package var address: Multiaddr
    package var outbound: Bool
    package var since: WallTime
    package var agent: String
    package var latency: Span?
}

/// What the driver asks of the rest of the peer. Every completion may come on any thread, once.
struct Performers: Sendable {
    var persist: @Sendable ([NodeWrite], @escaping @Sendable () -> Void) -> Void
    var load: @Sendable (CID, @escaping @Sendable ([UInt8]?) -> Void) -> Void
    var batches: @Sendable (UInt64, UInt64, @escaping @Sendable ([[UInt8]]) -> Void) -> Void
    var compute: @Sendable (ComputeJob, @escaping @Sendable (ComputeResult) -> Void) -> Void
    var generate: @Sendable (GenerationOrder, Ticket, @escaping @Sendable (GenerationNews) -> Void) -> Void
    var stopGenerating: @Sendable (Ticket) -> Void
    /// Its completion comes once for each that is not `.close`.
    var computeLayers: @Sendable (StageOrder, Ticket, @escaping @Sendable (StageNews) -> Void) -> Void
    var reexecute: @Sendable (ReexecutionOrder, @escaping @Sendable (Reexecution) -> Void) -> Void
    var weigh: @Sendable (WeighingOrder, @escaping @Sendable (WeighedAnswer) -> Void) -> Void
    var reweigh: @Sendable (ReweighingOrder, @escaping @Sendable (Reweighing) -> Void) -> Void
    var notice: @Sendable (NodeNotice) -> Void
    var log: @Sendable (String) -> Void
}
