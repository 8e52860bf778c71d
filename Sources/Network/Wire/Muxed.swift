// The established connection: Noise outside, Yamux inside, and on each stream a protocol that was agreed on. Bytes go down
// as `received`, messages come up as effects; what the owner sends waits unencrypted in its stream until the transport
// has room, so that a slow peer costs the buffer of a stream and not the memory of the node.
//
// Identify, Identify push and Ping are answered here (MuxedServices.swift); their streams are never shown to the owner.

internal import Primitives

struct Muxed: Sendable {
    typealias Effect = Connection.Effect

    let settings: ConnectionSettings
    let remoteAddress: Multiaddr?
    let peer: PeerID
    var about: LocalInfo
    var session: NoiseSession
    var yamux: Yamux
    var streams: [UInt32: MuxedStream] = [:]
    var inboundByProtocol: [ProtocolID: Int] = [:]
    var random: SeededRandom
    var effects: [Effect] = []
    /// Given to the transport and not yet written.
    var transportBytes = 0
    var lastUse: Instant
    var lastPing: Instant
    var lastHeard: Instant

    init(
        role: Connection.Role, settings: ConnectionSettings, remoteAddress: Multiaddr?, peer: PeerID,
        session: NoiseSession, seed: UInt64, transportBytes: Int, now: Instant
    ) {
        self.settings = settings
        self.remoteAddress = remoteAddress
        self.peer = peer
        self.session = session
        about = settings.about
        yamux = Yamux(
            isDialer: role == .dialer, limits: settings.limits.yamux, sendLowWaterBytes: Self.sendLowWaterBytes,
            now: now)
        random = SeededRandom(seed: seed)
        self.transportBytes = transportBytes
        lastUse = now
        lastPing = now
        lastHeard = now
    }

    /// A stream is writable again when no more than this waits to be sent.
    static let sendLowWaterBytes = 128 * 1024

    // MARK: Reading

    /// Opens every whole frame of `input` from `cursor` on and deals with what is inside.
    mutating func receive(_ input: inout [UInt8], _ cursor: inout Int, now: Instant) throws(CloseReason) {
        lastHeard = now
        while let plaintext = try openFrame(&input, &cursor) {
            try receive(input, plaintext, now: now)
        }
    }

    private mutating func openFrame(_ input: inout [UInt8], _ cursor: inout Int) throws(CloseReason) -> Range<Int>? {
        do { return try session.open(&input, at: &cursor) } catch { throw .noise(error) }
    }

    /// Deals with decrypted bytes.
    mutating func receive(_ input: [UInt8], _ plaintext: Range<Int>, now: Instant) throws(CloseReason) {
        var cursor = plaintext.lowerBound
        do {
            while let statement = try yamux.next(input, &cursor, end: plaintext.upperBound, now: now) {
                read(statement, input, now: now)
            }
            try yamux.checkControl()
        } catch {
            throw .yamux(error)
        }
    }

    private mutating func read(_ statement: Yamux.Input, _ input: [UInt8], now: Instant) {
        switch statement {
        case .opened(let id):
            guard !yamux.isOverInboundLimit else { return yamux.reset(id) }
            let listener = MultistreamListener(PeerInfo.offered(settings.protocols))
            yamux.send(id, listener.opening)
            streams[id] = MuxedStream(
                origin: .inbound, opened: now, negotiation: .listening(listener), purpose: .owner)
        case .data(let id, let range):
            readData(id, input, range, now: now)
        case .finished(let id):
            readFinish(id)
        case .reset(let id):
            forget(id, .resetByPeer)
        case .pong, .goAway:
            break
        }
    }

    private mutating func readData(_ id: UInt32, _ input: [UInt8], _ range: Range<Int>, now: Instant) {
        var cursor = range.lowerBound
        // The stream leaves the table while it is worked on, so that nothing in it is copied.
        guard var stream = streams.removeValue(forKey: id) else { return }
        do {
            if !stream.isAgreed {
                let wasAnnounced = stream.isAnnounced
                try negotiate(id, &stream, input, &cursor, end: range.upperBound, now: now)
                streams[id] = stream
                if stream.isAgreed, !wasAnnounced { announce(id, now: now) }
                guard let next = streams.removeValue(forKey: id) else { return }
                stream = next
            }
            if stream.isAgreed, cursor < range.upperBound {
                try read(id, &stream, input, cursor..<range.upperBound, now: now)
            }
            let credit = creditFor(&stream, arrived: range.count)
            streams[id] = stream
            if credit > 0 { yamux.consumed(id, credit, now: now) }
        } catch {
            streams[id] = stream
            abandon(id, error)
        }
    }

    private mutating func negotiate(
        _ id: UInt32, _ stream: inout MuxedStream, _ input: [UInt8], _ cursor: inout Int, end: Int, now: Instant
    ) throws(StreamEnd) {
        var replies: [UInt8] = []
        let agreed: ProtocolID?
        do {
            agreed = try stream.negotiation.read(input, &cursor, end: end, replies: &replies)
        } catch {
            throw .negotiation(error)
        }
        if !replies.isEmpty { yamux.send(id, replies) }
        guard let agreed else { return }
        if stream.use == nil {
            stream.use = MuxedStream.Use(agreed, limits(of: agreed), service(of: agreed, stream))
        }
        if stream.origin == .inbound {
            let count = inboundByProtocol[agreed, default: 0]
            inboundByProtocol[agreed] = count + 1
            guard count < limits(of: agreed).inboundStreamsMax else { throw .resetLocally }
        }
    }

    private mutating func read(
        _ id: UInt32, _ stream: inout MuxedStream, _ input: [UInt8], _ range: Range<Int>, now: Instant
    ) throws(StreamEnd) {
        guard var use = stream.use.take() else { return }
        defer { stream.use = use }
        switch use.service {
        case .pong, .ping, .identifyWriter, .spent:
            try readService(id, &use, input[range], now: now)
            return
        case .owner, .identifyReader:
            break
        }
        guard use.assembler != nil else {
            handUp(id, &stream, use, Array(input[range]))
            return
        }
        var cursor = range.lowerBound
        do {
            while let message = try use.assembler?.next(input, &cursor, end: range.upperBound) {
                handUp(id, &stream, use, message)
            }
        } catch {
            throw .framing(error)
        }
    }

    private mutating func handUp(
        _ id: UInt32, _ stream: inout MuxedStream, _ use: MuxedStream.Use, _ message: [UInt8]
    ) {
        if case .identifyReader(let isPush) = use.service {
            readIdentify(id, message, isPush: isPush)
        } else {
            if use.limits.consumption == .explicit { stream.unconsumed += message.count }
            effects.append(.message(StreamID(id), message))
        }
    }

    private mutating func readFinish(_ id: UInt32) {
        guard let stream = streams[id] else { return }
        if stream.use?.assembler?.isBetweenMessages == false {
            return abandon(id, .framing(.truncated))
        }
        guard stream.isAnnounced, stream.isOwners else {
            // Our own services end when the peer does; a stream that never got its protocol has no use either.
            return stream.isAgreed ? yamux.finish(id) : abandon(id, .negotiation(.noneAgreed))
        }
        effects.append(.streamFinished(StreamID(id)))
    }

    /// - Returns: how many bytes of the window may be given back now.
    private func creditFor(_ stream: inout MuxedStream, arrived: Int) -> Int {
        stream.owed += arrived
        if let limits = stream.use?.limits, limits.consumption == .explicit,
            stream.unconsumed >= limits.unconsumedBytesMax
        {
            return 0
        }
        defer { stream.owed = 0 }
        return stream.owed
    }

    mutating func consumed(_ id: UInt32, _ count: Int, now: Instant) {
        guard var stream = streams.removeValue(forKey: id) else { return }
        stream.unconsumed = max(0, stream.unconsumed - max(0, count))
        let credit = creditFor(&stream, arrived: 0)
        streams[id] = stream
        if credit > 0 { yamux.consumed(id, credit, now: now) }
    }

    // MARK: Ends

    /// Resets a stream and tells the owner why.
    mutating func abandon(_ id: UInt32, _ end: StreamEnd) {
        yamux.reset(id)
        forget(id, end)
    }

    /// Strikes a stream that Yamux no longer has.
    mutating func forget(_ id: UInt32, _ end: StreamEnd) {
        guard let stream = streams.removeValue(forKey: id) else { return }
        if stream.origin == .inbound, stream.isAgreed, let name = stream.use?.name {
            inboundByProtocol[name, default: 1] -= 1
        }
        if stream.isAnnounced {
            effects.append(.streamClosed(StreamID(id), end))
        } else if case .outbound(let tag) = stream.origin, stream.isOwners {
            effects.append(.openFailed(tag: tag, .failed(end)))
        } else if case .ping = stream.use?.service ?? stream.purpose, end != .finished {
            effects.append(.pinged(nil))
        }
    }

    /// Every announced stream is heard of once more before the connection ends.
    mutating func closeAll() {
        for id in streams.keys.sorted() { forget(id, .connectionClosed) }
    }

    /// Reports what Yamux noticed while it sent and received.
    mutating func settle() {
        for notice in yamux.takeNotices() {
            switch notice {
            case .drained(let id):
                if streams[id]?.isAnnounced == true { effects.append(.writable(StreamID(id))) }
            case .closed(let id):
                forget(id, .finished)
            }
        }
    }

    // MARK: Writing

    /// Encrypts what waits, as far as the transport has room, into one write.
    mutating func flush() throws(CloseReason) {
        var out: [UInt8] = []
        while yamux.hasOutput, transportBytes + out.count < settings.limits.transportBytesMax {
            if out.isEmpty { out.reserveCapacity(min(yamux.bufferedBytes + 256, Self.writeReserveBytes)) }
            let start = session.beginFrame(&out)
            yamux.fill(&out, room: NoiseSession.plaintextBytesMax)
            guard out.count > start + NoiseSession.lengthBytes else {
                // Those that stood in line are gone: no frame without content.
                out.removeSubrange(start...)
                continue
            }
            do { try session.seal(&out, frameAt: start) } catch { throw .noise(error) }
        }
        settle()
        guard !out.isEmpty else { return }
        transportBytes += out.count
        effects.append(.write(out))
    }

    private static let writeReserveBytes = 600 * 1024
}
