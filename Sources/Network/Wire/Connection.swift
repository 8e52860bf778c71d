// One peer, one connection: multistream-select, Noise, Yamux, Identify and Ping composed into one pure state machine.
// Bytes and wishes go in, bytes and news come out; it owns no socket, clock or generator.
//
//     idle ─started─▶ securing ────────────────▶ muxing ─────────────▶ open ─▶ closed
//                     "/noise" agreed,           "/yamux/1.0.0"         ▲ streams, messages
//                     three Noise messages       agreed inside Noise
//
// The dialer pipelines: header, proposal and first Noise message leave in one write, and so do the third Noise message and
// the proposal of the muxer. Any fault ends the connection with a `close` that names it; nothing follows a `close`.

package import Primitives

package struct Connection: ~Copyable, Sendable {
    private enum Phase: ~Copyable {
        case idle(HandshakeState)
        case securing(Securing)
        case muxing(Muxing)
        case open(Muxed)
        case closed
    }

    package let role: Role
    private let settings: ConnectionSettings
    private let expectedPeer: PeerID?
    private let remoteAddress: Multiaddr?
    private let seed: UInt64
    private let begun: Instant
    private var phase: Phase
    /// Read and not yet used: less than one frame, between two events.
    private var inbound: [UInt8] = []
    private var transportBytes = 0

    /// - Parameters:
    ///   - expectedPeer: who was dialled; another identity ends the connection.
    ///   - remoteAddress: where the peer is seen; told to it by Identify.
    ///   - entropy: of this connection alone.
    package init(
        role: Role, settings: ConnectionSettings, expectedPeer: PeerID?, remoteAddress: Multiaddr?,
        entropy: ConnectionEntropy, now: Instant
    ) {
        self.role = role
        self.settings = settings
        self.expectedPeer = expectedPeer
        self.remoteAddress = remoteAddress
        seed = entropy.seed
        begun = now
        phase = .idle(
            HandshakeState(
                role: role == .dialer ? .initiator : .responder, staticSecret: entropy.staticSecret,
                ephemeralSecret: entropy.ephemeralSecret))
    }

    package mutating func handle(_ event: Event, now: Instant) -> [Effect] {
        var effects: [Effect] = []
        var current = Phase.closed
        swap(&current, &phase)
        phase = step(current, event, now, &effects)
        return effects
    }

    private mutating func step(
        _ current: consuming Phase, _ event: Event, _ now: Instant, _ effects: inout [Effect]
    ) -> Phase {
        switch consume current {
        case .idle(let noise):
            return start(noise, event, now, &effects)
        case .securing(let securing):
            switch event {
            case .received(let bytes):
                inbound.append(contentsOf: bytes)
                return secure(securing, now, &effects)
            default:
                guard let reason = ending(event, now, &effects) else { return .securing(securing) }
                return close(reason, &effects)
            }
        case .muxing(let muxing):
            switch event {
            case .received(let bytes):
                inbound.append(contentsOf: bytes)
                return mux(muxing, now, &effects)
            default:
                guard let reason = ending(event, now, &effects) else { return .muxing(muxing) }
                return close(reason, &effects)
            }
        case .open(let muxed):
            return run(muxed, event, now, &effects)
        case .closed:
            if case .open(_, let tag) = event { effects.append(.openFailed(tag: tag, .notOpen)) }
            return .closed
        }
    }

    // MARK: Before the connection is established

    private mutating func start(
        _ noise: consuming HandshakeState, _ event: Event, _ now: Instant, _ effects: inout [Effect]
    ) -> Phase {
        guard case .started = event else {
            guard let reason = ending(event, now, &effects) else { return .idle(noise) }
            return close(reason, &effects)
        }
        do {
            let securing = try Securing(role, noise, settings.identity, expectedPeer)
            write(securing.opening, &effects)
            return .securing(securing)
        } catch {
            return close(error, &effects)
        }
    }

    private mutating func secure(
        _ current: consuming Securing, _ now: Instant, _ effects: inout [Effect]
    ) -> Phase {
        var securing = current
        var out: [UInt8] = []
        do {
            var cursor = 0
            let isDone = try securing.read(
                inbound, &cursor, messageBytesMax: settings.limits.handshakeMessageBytesMax, &out)
            inbound.removeSubrange(0..<cursor)
            guard isDone else {
                write(out, &effects)
                return .securing(securing)
            }
            var muxing = try securing.secured(role)
            out.append(contentsOf: try muxing.opening())
            write(out, &effects)
            return mux(muxing, now, &effects)
        } catch {
            return close(error, &effects)
        }
    }

    private mutating func mux(_ current: consuming Muxing, _ now: Instant, _ effects: inout [Effect]) -> Phase {
        var muxing = current
        do {
            var cursor = 0
            var out: [UInt8] = []
            let rest = try muxing.read(&inbound, &cursor, &out)
            write(out, &effects)
            guard let rest else {
                inbound.removeSubrange(0..<cursor)
                return .muxing(muxing)
            }
            var muxed = Muxed(
                role: role, settings: settings, remoteAddress: remoteAddress, peer: muxing.peer,
                session: muxing.session,
                seed: seed, transportBytes: transportBytes, now: now)
            effects.append(.established(muxing.peer))
            muxed.begin(now: now)
            return run(muxed, already: rest, cursor, now, &effects)
        } catch {
            return close(error, &effects)
        }
    }

    /// What may end a connection that is not yet established.
    private mutating func ending(_ event: Event, _ now: Instant, _ effects: inout [Effect]) -> CloseReason? {
        switch event {
        case .close: return .requested
        case .transportClosed(let fault): return fault.map { .transport($0) } ?? .byPeer
        case .tick: return now.since(begun) > settings.limits.handshakeTime ? .handshakeTimeout : nil
        case .written(let count): transportBytes -= count
        case .open(_, let tag): effects.append(.openFailed(tag: tag, .notOpen))
        case .ping: effects.append(.pinged(nil))
        case .started, .received, .send, .finish, .reset, .consumed, .push: break
        }
        return nil
    }

    // MARK: Established

    /// Goes on with the decrypted bytes and the frames that arrived behind the muxer's agreement.
    private mutating func run(
        _ current: Muxed, already plaintext: Range<Int>, _ start: Int, _ now: Instant, _ effects: inout [Effect]
    ) -> Phase {
        var muxed = current
        do {
            var cursor = start
            try muxed.receive(inbound, plaintext, now: now)
            try muxed.receive(&inbound, &cursor, now: now)
            inbound.removeSubrange(0..<cursor)
            try muxed.flush()
            effects.append(contentsOf: muxed.effects)
            muxed.effects = []
            return .open(muxed)
        } catch {
            return close(&muxed, error, &effects)
        }
    }

    private mutating func run(
        _ current: consuming Muxed, _ event: Event, _ now: Instant, _ effects: inout [Effect]
    ) -> Phase {
        var muxed = current
        do {
            try apply(event, to: &muxed, now)
            try muxed.flush()
            if effects.isEmpty { swap(&effects, &muxed.effects) } else { effects.append(contentsOf: muxed.effects) }
            muxed.effects = []
            return .open(muxed)
        } catch {
            return close(&muxed, error, &effects)
        }
    }

    private mutating func apply(_ event: Event, to muxed: inout Muxed, _ now: Instant) throws(CloseReason) {
        switch event {
        case .started: break
        case .received(let bytes):
            if inbound.isEmpty { inbound = bytes } else { inbound.append(contentsOf: bytes) }
            var cursor = 0
            try muxed.receive(&inbound, &cursor, now: now)
            if cursor == inbound.count { inbound = [] } else { inbound.removeSubrange(0..<cursor) }
        case .written(let count): muxed.transportBytes -= count
        case .transportClosed(let fault): throw fault.map { .transport($0) } ?? .byPeer
        case .open(let protocols, let tag): muxed.open(protocols, tag: tag, now: now)
        case .send(let stream, let message): muxed.send(stream.number, message)
        case .finish(let stream): muxed.finish(stream.number)
        case .reset(let stream): muxed.reset(stream.number)
        case .consumed(let stream, let count): muxed.consumed(stream.number, count, now: now)
        case .ping: muxed.ping(now: now)
        case .push(let info): muxed.push(info, now: now)
        case .close: throw .requested
        case .tick: try muxed.tick(now: now)
        }
    }

    // MARK: Ends

    private mutating func write(_ bytes: [UInt8], _ effects: inout [Effect]) {
        guard !bytes.isEmpty else { return }
        transportBytes += bytes.count
        effects.append(.write(bytes))
    }

    private mutating func close(_ reason: CloseReason, _ effects: inout [Effect]) -> Phase {
        inbound = []
        effects.append(.close(reason))
        return .closed
    }

    /// Says good-bye inside Yamux where the transport still takes it.
    private mutating func close(_ muxed: inout Muxed, _ reason: CloseReason, _ effects: inout [Effect]) -> Phase {
        var code: UInt32 = 0
        if case .yamux = reason { code = 1 }
        muxed.yamux.goAway(code: code)
        switch reason {
        case .transport, .byPeer, .noise: break
        default: try? muxed.flush()
        }
        muxed.closeAll()
        effects.append(contentsOf: muxed.effects)
        return close(reason, &effects)
    }

    /// What an owner may still send on a stream without crossing its high-water mark, in bytes; 0 for unknown streams.
    package func sendRoom(_ stream: StreamID) -> Int {
        switch phase {
        case .open(let muxed): return muxed.sendRoom(stream.number)
        default: return 0
        }
    }

    /// The least round trip seen, by Yamux pings.
    package var roundTrip: Span? {
        switch phase {
        case .open(let muxed): return muxed.yamux.roundTrip
        default: return nil
        }
    }
}
