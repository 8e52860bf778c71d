// All connections of a node, on one loop and one thread. The owner's handler is called on that thread, synchronously,
// inside the callback that brought the bytes; the swarm's methods are called on it too, from the handler, from timers and
// from work that was posted. `Swarm` is not Sendable, so the compiler keeps everyone else out; `SwarmHandle` is the door.
//
// Two connections to one peer are tolerated, for both sides may dial at the same moment: streams work on either, and
// `connection(to:)` names the newest. Beyond `connectionsPerPeerMax` the oldest is closed.
//
// Writing never stops reading: two peers that both waited for the other to read would wait for ever. What a connection
// buffers is bounded by its core (`transportBytesMax`, the streams' send buffers, Yamux's control limit).

internal import CUV
package import Primitives
package import Wire

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

package final class Swarm {
    private static let tickTime = Span.seconds(1)

    package let configuration: SwarmConfiguration
    private let loop: EventLoop
    private let mailbox: Mailbox<@Sendable (Swarm) -> Void>
    private var onEvent: (SwarmEvent) -> Void = { _ in }
    private var about: LocalInfo
    private var listeners: [Listener] = []
    private var links: [ConnectionID: Link] = [:]
    private var byPeer: [PeerID: [ConnectionID]] = [:]
    private var dialers: [ObjectIdentifier: Dialer] = [:]
    private var nextID: UInt64 = 1
    private var isStopping = false

    init(_ configuration: SwarmConfiguration, _ loop: EventLoop, _ mailbox: Mailbox<@Sendable (Swarm) -> Void>) {
        self.configuration = configuration
        self.loop = loop
        self.mailbox = mailbox
        about = configuration.connection.about
    }

    func begin(_ boot: (Swarm) -> (SwarmEvent) -> Void) {
        loop.attach(mailbox) { [unowned self] in takeMail() }
        onEvent = boot(self)
        tick()
    }

    // MARK: Time and other threads

    package var now: Instant { loop.now }

    @discardableResult
    package func schedule(after span: Span, _ job: @escaping () -> Void) -> TimerToken {
        loop.schedule(after: span, job)
    }

    package func cancel(_ token: TimerToken) { loop.cancel(token) }

    private func takeMail() {
        for work in mailbox.takeAll() { work(self) }
    }

    private func tick() {
        guard !isStopping else { return }
        for id in links.keys.sorted() { links[id]?.handle(.tick) }
        loop.schedule(after: Self.tickTime) { [unowned self] in tick() }
    }

    // MARK: Listening

    /// Where the swarm is reached, without peer ID.
    package var listenAddresses: [Multiaddr] { about.listenAddresses }

    /// Listens on /ip4 or /ip6 with /tcp; port 0 takes a free one.
    /// - Returns: the addresses under which that is reached.
    @discardableResult
    package func listen(on address: Multiaddr) throws(TransportFault) -> [Multiaddr] {
        guard !isStopping else { throw .stopped }
        guard listeners.count < configuration.limits.listenersMax else { throw .tooManyConnections }
        guard let socket = SocketAddress(address) else { throw .unsupportedAddress(address) }
        let listener = try Listener(loop, on: socket, backlog: configuration.limits.backlog) { [unowned self] channel in
            accepted(channel)
        }
        listeners.append(listener)
        let found = listener.addresses
        advertise(about.listenAddresses + found.filter { !about.listenAddresses.contains($0) })
        for address in found { emit(.listening(address)) }
        return found
    }

    /// Replaces the addresses that Identify tells, and pushes them to connected peers.
    package func advertise(_ addresses: [Multiaddr]) {
        about.listenAddresses = addresses
        about.recordSequence = max(about.recordSequence + 1, UInt64(clamping: time(nil)))
        for id in links.keys.sorted() { links[id]?.handle(.push(about)) }
    }

    private func accepted(_ channel: TCPChannel) {
        let limits = configuration.limits
        let inbound = links.values.filter { $0.direction == .inbound }
        guard !isStopping, links.count < limits.connectionsMax, inbound.count < limits.inboundMax,
            inbound.count(where: { $0.peer == nil }) < limits.pendingInboundMax, let remote = channel.remoteAddress
        else { return channel.close() }
        adopt(channel, .listener, .inbound, remote: remote, dialed: nil)
    }

    // MARK: Dialling

    /// Connects to /ip4, /ip6, /dns, /dns4 or /dns6 with /tcp. A /p2p at the end names the peer that must answer.
    /// Ends with `connected(…, .outbound(tag), …)` or `dialFailed`.
    package func dial(_ address: Multiaddr, tag: UInt64) {
        let limits = configuration.limits
        guard !isStopping, dialers.count < limits.pendingDialsMax, links.count < limits.connectionsMax else {
            let fault = isStopping ? TransportFault.stopped : .tooManyConnections
            loop.schedule(after: .zero) { [unowned self] in emit(.dialFailed(tag: tag, address, .transport(fault))) }
            return
        }
        var key: ObjectIdentifier?
        let dialer = Dialer(loop) { [unowned self] result in
            if let key { dialers[key] = nil }
            switch result {
            case .success(let channel):
                let remote = channel.remoteAddress ?? address
                adopt(channel, .dialer, .outbound(tag: tag), remote: remote, dialed: address)
            case .failure(let fault):
                emit(.dialFailed(tag: tag, address, .transport(fault)))
            }
        }
        key = ObjectIdentifier(dialer)
        dialers[ObjectIdentifier(dialer)] = dialer
        dialer.start(address, limits: limits)
    }

    private func adopt(
        _ channel: TCPChannel, _ role: Connection.Role, _ direction: Direction, remote: Multiaddr, dialed: Multiaddr?
    ) {
        let id = ConnectionID(number: nextID)
        nextID += 1
        var settings = configuration.connection
        settings.about = about
        let core = Connection(
            role: role, settings: settings, expectedPeer: dialed?.peer, remoteAddress: remote,
            entropy: ConnectionEntropy(Self.randomBytes(ConnectionEntropy.byteCount)), now: now)
        let link = Link(
            id: id, direction: direction, remote: remote, dialed: dialed, core: core, channel: channel, loop: loop,
            swarm: self)
        links[id] = link
        link.start()
    }

    /// From the operating system's generator.
    private static func randomBytes(_ count: Int) -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        var bytes: [UInt8] = []
        while bytes.count < count {
            let word = generator.next()
            for shift in stride(from: UInt64(0), to: 64, by: 8) {
                bytes.append(UInt8(truncatingIfNeeded: word >> shift))
            }
        }
        return Array(bytes.prefix(count))
    }

    // MARK: Peers

    /// The newest connection to `peer`.
    package func connection(to peer: PeerID) -> ConnectionID? { byPeer[peer]?.last }

    package func peer(of connection: ConnectionID) -> PeerID? { links[connection]?.peer }

    package func remoteAddress(of connection: ConnectionID) -> Multiaddr? { links[connection]?.remote }

    package var connectedPeers: [PeerID] { byPeer.keys.sorted() }

    /// The least round trip seen on the connection.
    package func roundTrip(of connection: ConnectionID) -> Span? { links[connection]?.roundTrip }

    package func disconnect(_ connection: ConnectionID) { links[connection]?.handle(.close) }

    package func disconnect(_ peer: PeerID) {
        for id in byPeer[peer] ?? [] { disconnect(id) }
    }

    /// Measures a round trip over the ping protocol; ends with `pinged`.
    package func ping(_ connection: ConnectionID) { links[connection]?.handle(.ping) }

    // MARK: Streams

    /// Ends with `streamOpened(…, .outbound(tag))` or `openFailed`.
    package func openStream(_ connection: ConnectionID, _ protocols: [ProtocolID], tag: UInt64) {
        guard let link = links[connection] else { return emit(.openFailed(connection, tag: tag, .notOpen)) }
        link.handle(.open(protocols: protocols, tag: tag))
    }

    /// - Returns: false when as much as the high-water mark waits, or the stream is gone: stop until `writable`.
    @discardableResult
    package func send(_ stream: StreamKey, _ message: [UInt8]) -> Bool {
        links[stream.connection]?.handle(.send(stream.stream, message))
        return sendRoom(stream) > 0
    }

    /// What may be sent before the stream's high-water mark, in bytes.
    package func sendRoom(_ stream: StreamKey) -> Int { links[stream.connection]?.sendRoom(stream.stream) ?? 0 }

    /// Sends what waits, then says that no more comes.
    package func finishStream(_ stream: StreamKey) { links[stream.connection]?.handle(.finish(stream.stream)) }

    package func resetStream(_ stream: StreamKey) { links[stream.connection]?.handle(.reset(stream.stream)) }

    /// Gives back window for messages of protocols with `Consumption.explicit`.
    package func consumed(_ stream: StreamKey, bytes: Int) {
        links[stream.connection]?.handle(.consumed(stream.stream, bytes))
    }

    // MARK: What links report

    func emit(_ event: SwarmEvent) { onEvent(event) }

    func established(_ link: Link, _ peer: PeerID) {
        var ids = byPeer[peer] ?? []
        let others = ids.count
        ids.append(link.id)
        byPeer[peer] = ids
        emit(.connected(link.id, peer, remote: link.remote, link.direction, others: others))
        if ids.count > configuration.limits.connectionsPerPeerMax { disconnect(ids[0]) }
    }

    func ended(_ link: Link, _ reason: CloseReason, dialed: Multiaddr?) {
        links[link.id] = nil
        if let peer = link.peer {
            let left = (byPeer[peer] ?? []).filter { $0 != link.id }
            byPeer[peer] = left.isEmpty ? nil : left
            emit(.disconnected(link.id, peer, reason, others: left.count))
        } else if case .outbound(let tag) = link.direction, let dialed {
            emit(.dialFailed(tag: tag, dialed, .handshake(reason)))
        } else {
            emit(.inboundFailed(link.remote, reason))
        }
    }

    // MARK: The end

    /// Says good-bye to every peer, closes everything and ends the loop; `stopped` is the last event.
    package func stop() {
        guard !isStopping else { return }
        isStopping = true
        mailbox.close()
        for listener in listeners { listener.close() }
        listeners = []
        for dialer in Array(dialers.values) { dialer.cancel() }
        for id in links.keys.sorted() { links[id]?.handle(.close) }
        // The goodbyes leave on the next turns; sockets that linger are closed with the loop.
        loop.schedule(after: .milliseconds(50)) { [self] in
            loop.close()
            emit(.stopped)
            onEvent = { _ in }
        }
    }
}
