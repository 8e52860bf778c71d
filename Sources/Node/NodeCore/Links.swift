// Peers and the streams to them. Gossip, block exchange and consensus each send on one stream of their own a peer and
// read whatever the peer opened, as libp2p does; requests have a stream each.

import BlockExchange
import Gossip
package import Primitives
import Sequencing

/// What runs on a stream.
enum StreamUse: Hashable, Sendable {
    case gossip
    case bitswap
    case consensus
    /// A request of ours for batches.
    case headersAsked
    case catalogAsked
    case peersAsked
    case headersServed
    case catalogServed
    case payer(CommandID)
    case server
    case layersUsed(CommandID)
    case layersServed
    case auditAsked(UInt64)
    case auditServed
    case keepAsked(UInt64)
    case keepServed
}

struct Links: Sendable {
    static let queuedMessagesMax = 1024
    static let inboundStreamsPerPeerMax = 64

    struct Stream: Sendable {
        let peer: PeerID
        let use: StreamUse
        var isOpen: Bool
        let isInbound: Bool
        /// Messages that wait for the stream to stand.
        var queue: [[UInt8]] = []
        var closeWhenSent = false
    }

    struct PeerRecord: Sendable {
        var outbound: Bool
        var senders: [StreamUse: StreamID] = [:]
        var inbound: Set<StreamID> = []
        var addresses: [Multiaddr] = []
        /// Whether the gossip router knows this peer.
        var gossips = false
        /// Streams for one-way protocols that the peer refused: not tried again on this connection.
        var refused: Set<StreamUse> = []
    }

    private(set) var peers: [PeerID: PeerRecord] = [:]
    private(set) var streams: [StreamID: Stream] = [:]
    private var lastOutbound: UInt64 = 0

    var connected: [PeerID] { peers.keys.sorted() }
    func isConnected(_ peer: PeerID) -> Bool { peers[peer] != nil }

    mutating func add(_ peer: PeerID, outbound: Bool) { peers[peer] = PeerRecord(outbound: outbound) }

    /// Forgets a peer and gives back the streams that end with it.
    mutating func remove(_ peer: PeerID) -> [(StreamID, StreamUse)] {
        peers[peer] = nil
        let gone = streams.filter { $0.value.peer == peer }.sorted { $0.key < $1.key }.map { ($0.key, $0.value.use) }
        for (stream, _) in gone { streams[stream] = nil }
        return gone
    }

    mutating func open(_ peer: PeerID, _ use: StreamUse) -> StreamID {
        lastOutbound += 2
        let id = StreamID(lastOutbound)
        streams[id] = Stream(peer: peer, use: use, isOpen: false, isInbound: false)
        return id
    }

    mutating func accept(_ id: StreamID, from peer: PeerID, protocolName: String) {
        guard var record = peers[peer], record.inbound.count < Self.inboundStreamsPerPeerMax else { return }
        let use: StreamUse
        switch protocolName {
        case NodeProtocol.bitswap: use = .bitswap
        case NodeProtocol.consensus: use = .consensus
        case NodeProtocol.headers: use = .headersServed
        case NodeProtocol.catalog: use = .catalogServed
        case NodeProtocol.infer: use = .server
        case NodeProtocol.layers: use = .layersServed
        case NodeProtocol.audit: use = .auditServed
        case NodeProtocol.keep: use = .keepServed
        default: use = .gossip
        }
        record.inbound.insert(id)
        peers[peer] = record
        streams[id] = Stream(peer: peer, use: use, isOpen: true, isInbound: true)
    }

    /// The messages that waited.
    mutating func opened(_ id: StreamID) -> (queue: [[UInt8]], close: Bool) {
        guard var stream = streams[id] else { return ([], false) }
        stream.isOpen = true
        let queue = stream.queue
        stream.queue = []
        streams[id] = stream
        return (queue, stream.closeWhenSent)
    }

    /// Keeps a message until the stream stands; false if too many wait.
    mutating func enqueue(_ bytes: [UInt8], on id: StreamID) -> Bool {
        guard var stream = streams[id], stream.queue.count < Self.queuedMessagesMax else { return false }
        stream.queue.append(bytes)
        streams[id] = stream
        return true
    }

    mutating func setGossips(_ gossips: Bool, _ peer: PeerID) { peers[peer]?.gossips = gossips }

    mutating func setAddresses(_ addresses: [Multiaddr], of peer: PeerID) { peers[peer]?.addresses = addresses }
    func addresses(of peer: PeerID) -> [Multiaddr] { peers[peer]?.addresses ?? [] }

    mutating func closeWhenSent(_ id: StreamID) { streams[id]?.closeWhenSent = true }

    mutating func setSender(_ id: StreamID, _ use: StreamUse, of peer: PeerID) { peers[peer]?.senders[use] = id }
    func sender(_ use: StreamUse, of peer: PeerID) -> StreamID? { peers[peer]?.senders[use] }

    mutating func end(_ id: StreamID) -> Stream? {
        guard let stream = streams.removeValue(forKey: id) else { return nil }
        peers[stream.peer]?.inbound.remove(id)
        if peers[stream.peer]?.senders[stream.use] == id {
            peers[stream.peer]?.senders[stream.use] = nil
            if !stream.isOpen { peers[stream.peer]?.refused.insert(stream.use) }
        }
        return stream
    }
}

extension Node {
    package var connectedPeers: [PeerID] { links.connected }

    mutating func connected(_ peer: PeerID, outbound: Bool) {
        guard !links.isConnected(peer), peer != self.peer else { return }
        links.add(peer, outbound: outbound)
        openSender(.gossip, to: peer, NodeProtocol.gossip)
        openSender(.bitswap, to: peer, [NodeProtocol.bitswap])
        openSender(.consensus, to: peer, [NodeProtocol.consensus])
        exchange(bitswap.handle(.connected(peer), now: moment.instant))
        drive(.connected(peer))
        askCatalog(peer)
        offerProviders([peer])
        effects.append(.notify(.connected(peer)))
    }

    private mutating func openSender(_ use: StreamUse, to peer: PeerID, _ protocols: [String]) {
        let stream = links.open(peer, use)
        links.setSender(stream, use, of: peer)
        effects.append(.open(stream, peer, protocols: protocols))
    }

    mutating func disconnected(_ peer: PeerID) {
        guard let record = links.peers[peer] else { return }
        for (stream, use) in links.remove(peer) { finished(stream, use, peer) }
        if record.gossips { route(gossip.handle(.disconnected(peer), now: moment.instant)) }
        exchange(bitswap.handle(.disconnected(peer), now: moment.instant))
        effects.append(.notify(.disconnected(peer)))
    }

    mutating func opened(_ stream: StreamID, _ protocolName: String) {
        guard let link = links.streams[stream], !link.isInbound else { return }
        let (queue, close) = links.opened(stream)
        if link.use == .gossip {
            gossipBegins(link.peer, protocolName)
        }
        for bytes in queue { effects.append(.send(stream, bytes)) }
        if close { effects.append(.finish(stream)) }
    }

    /// Sends on a stream, or keeps the message until it stands.
    mutating func send(_ bytes: [UInt8], on stream: StreamID) {
        guard let link = links.streams[stream] else { return }
        if link.isOpen {
            effects.append(.send(stream, bytes))
        } else if !links.enqueue(bytes, on: stream) {
            effects.append(.reset(stream))
            ended(stream)
        }
    }

    /// Sends on the one stream that this protocol has to the peer.
    mutating func send(_ bytes: [UInt8], to peer: PeerID, _ use: StreamUse) {
        if let stream = links.sender(use, of: peer) {
            send(bytes, on: stream)
        } else if let record = links.peers[peer], !record.refused.contains(use) {
            let name =
                use == .bitswap
                ? [NodeProtocol.bitswap] : use == .consensus ? [NodeProtocol.consensus] : NodeProtocol.gossip
            openSender(use, to: peer, name)
            if let stream = links.sender(use, of: peer) { send(bytes, on: stream) }
        }
    }

    mutating func finish(_ stream: StreamID) {
        guard let link = links.streams[stream] else { return }
        if link.isOpen { effects.append(.finish(stream)) } else { links.closeWhenSent(stream) }
    }

    /// The router hears of a peer at the first gossip stream, ours or his: what he says before ours stands counts, and
    /// what we say waits for it.
    private mutating func gossipBegins(_ peer: PeerID, _ protocolName: String) {
        guard let record = links.peers[peer], !record.gossips else { return }
        links.setGossips(true, peer)
        let version = GossipVersion(rawValue: protocolName) ?? .v1_0
        route(gossip.handle(.connected(peer, version: version, outbound: record.outbound), now: moment.instant))
    }

    mutating func accepted(_ stream: StreamID, _ peer: PeerID, _ protocolName: String) {
        links.accept(stream, from: peer, protocolName: protocolName)
        if links.streams[stream]?.use == .gossip { gossipBegins(peer, protocolName) }
    }

    mutating func received(_ stream: StreamID, _ bytes: [UInt8]) {
        guard let link = links.streams[stream] else { return }
        switch link.use {
        case .gossip: route(gossip.handle(.received(link.peer, bytes), now: moment.instant))
        case .bitswap: exchange(bitswap.handle(.received(link.peer, bytes), now: moment.instant))
        case .consensus: consensusReceived(bytes, from: link.peer)
        case .headersAsked: batchesReceived(bytes, from: link.peer)
        case .headersServed: serveHeaders(bytes, on: stream, to: link.peer)
        case .catalogAsked: catalogReceived(bytes, from: link.peer)
        case .peersAsked: peersReceived(bytes, from: link.peer)
        case .catalogServed: serveCatalog(bytes, on: stream, to: link.peer)
        case .payer(let command): payerReceived(bytes, command, on: stream)
        case .server: serverReceived(bytes, on: stream, from: link.peer)
        case .layersUsed(let command): layersReceived(bytes, command, from: link.peer)
        case .layersServed: stageReceived(bytes, on: stream, from: link.peer)
        case .auditAsked(let number): auditReceived(bytes, number, on: stream)
        case .auditServed: auditAsked(bytes, on: stream, from: link.peer)
        case .keepAsked(let number): keepAnswered(bytes, number, on: stream)
        case .keepServed: keepAsked(bytes, on: stream, from: link.peer)
        }
    }

    mutating func congested(_ stream: StreamID, _ isFull: Bool) {
        guard let link = links.streams[stream], !link.isInbound else { return }
        switch link.use {
        case .gossip:
            route(gossip.handle(isFull ? .congested(link.peer) : .writable(link.peer), now: moment.instant))
        case .bitswap:
            exchange(bitswap.handle(isFull ? .congested(link.peer) : .writable(link.peer), now: moment.instant))
        default: break
        }
    }

    mutating func ended(_ stream: StreamID) {
        guard let link = links.end(stream) else { return }
        finished(stream, link.use, link.peer)
        if link.use == .gossip, !link.isInbound, links.peers[link.peer]?.gossips == true {
            links.setGossips(false, link.peer)
            route(gossip.handle(.disconnected(link.peer), now: moment.instant))
        }
    }

    /// What a stream's end means to those who used it.
    private mutating func finished(_ stream: StreamID, _ use: StreamUse, _ peer: PeerID) {
        switch use {
        case .payer(let command): payerClosed(command)
        case .server: serverClosed(stream)
        case .layersUsed(let command): layersClosed(command)
        case .layersServed: stageClosed(stream)
        case .auditAsked(let number): auditClosed(number)
        case .auditServed: audits.waiting.removeAll { $0.stream == stream }
        case .keepAsked(let number): keepAskedClosed(number)
        case .keepServed: keepServedClosed(stream)
        default: break
        }
    }
}
