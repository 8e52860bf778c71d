// What a connection does on its own streams: opening and sending for its owner, Identify, Identify push, Ping, and the
// watch over time.

internal import Primitives

extension Muxed {
    // MARK: The owner's streams

    mutating func open(_ protocols: [ProtocolID], tag: UInt64, now: Instant) {
        let known = protocols.prefix(Multistream.proposalsMax).filter { settings.protocols[$0] != nil }
        guard !known.isEmpty else { return effects.append(.openFailed(tag: tag, .unknownProtocol)) }
        guard let id = dial(known, purpose: .owner, tag: tag, now: now) else {
            return effects.append(.openFailed(tag: tag, yamux.peerWentAway ? .notOpen : .tooManyStreams))
        }
        // Only one proposal: what it will be is known, and the owner may send at once.
        if known.count == 1 {
            let use = MuxedStream.Use(known[0], limits(of: known[0]), .owner)
            streams[id]?.use = use
            announce(id, now: now)
        }
        lastUse = now
    }

    /// - Returns: nil when there is no room for a further stream.
    mutating func dial(
        _ protocols: [ProtocolID], purpose: MuxedStream.Service, tag: UInt64 = 0, now: Instant
    ) -> UInt32? {
        guard let id = yamux.open(now: now) else { return nil }
        let dialer = MultistreamDialer(protocols)
        yamux.send(id, dialer.opening)
        streams[id] = MuxedStream(
            origin: .outbound(tag: tag), opened: now, negotiation: .dialing(dialer), purpose: purpose)
        return id
    }

    mutating func send(_ id: UInt32, _ message: [UInt8]) {
        guard let stream = streams[id], stream.isAnnounced, let use = stream.use, let muxed = yamux.stream(id),
            muxed.local == .open
        else { return }
        if case .messages(let bytesMax) = use.limits.framing {
            guard message.count <= bytesMax else { return abandon(id, .messageTooLong(bytes: message.count)) }
        }
        let waiting = muxed.outgoing.count + message.count
        guard waiting <= use.limits.sendBufferBytesMax,
            yamux.bufferedBytes + message.count <= settings.limits.bufferedBytesMax
        else { return abandon(id, .sendBufferExceeded(bytes: waiting)) }
        if use.assembler != nil { yamux.send(id, Varint.encode(UInt64(message.count))) }
        yamux.send(id, message)
        if waiting >= use.limits.sendHighWaterBytes, !muxed.isAboveHighWater {
            yamux.setAboveHighWater(id)
            effects.append(.highWater(StreamID(id)))
        }
    }

    /// What may be sent on a stream before its high-water mark, in bytes.
    func sendRoom(_ id: UInt32) -> Int {
        guard let use = streams[id]?.use, let muxed = yamux.stream(id), muxed.local == .open else { return 0 }
        return max(0, use.limits.sendHighWaterBytes - muxed.outgoing.count)
    }

    mutating func finish(_ id: UInt32) {
        guard streams[id]?.isAnnounced == true else { return }
        yamux.finish(id)
    }

    mutating func reset(_ id: UInt32) {
        guard streams[id]?.isAnnounced == true else { return }
        abandon(id, .resetLocally)
    }

    /// The protocol of a stream is agreed: the owner is told, or the service begins.
    mutating func announce(_ id: UInt32, now: Instant) {
        guard let stream = streams[id], let use = stream.use else { return }
        switch use.service {
        case .owner:
            streams[id]?.isAnnounced = true
            effects.append(.streamOpened(StreamID(id), use.name, stream.origin))
            lastUse = now
        case .identifyWriter:
            yamux.send(id, PeerInfo.message(settings, about: about, observed: remoteAddress))
            yamux.finish(id)
        case .identifyReader, .pong, .ping, .spent:
            break
        }
    }

    // MARK: Services

    func limits(of name: ProtocolID) -> ProtocolLimits {
        let bytesMax = settings.limits.identifyBytesMax
        switch name {
        case .identify, .identifyPush:
            return ProtocolLimits(framing: .messages(bytesMax: bytesMax), inboundStreamsMax: 4)
        case .ping:
            return ProtocolLimits(framing: .raw, inboundStreamsMax: 4)
        default:
            return settings.protocols[name] ?? ProtocolLimits(framing: .messages(bytesMax: 0), inboundStreamsMax: 0)
        }
    }

    func service(of name: ProtocolID, _ stream: MuxedStream) -> MuxedStream.Service {
        guard stream.origin == .inbound else { return stream.purpose }
        switch name {
        case .identify: return .identifyWriter
        case .identifyPush: return .identifyReader(isPush: true)
        case .ping: return .pong(PingEcho())
        default: return .owner
        }
    }

    /// The streams that every connection begins with.
    mutating func begin(now: Instant) {
        yamux.ping(now: now)
        _ = dial([.identify], purpose: .identifyReader(isPush: false), now: now)
    }

    mutating func push(_ info: LocalInfo, now: Instant) {
        about = info
        _ = dial([.identifyPush], purpose: .identifyWriter, now: now)
    }

    mutating func ping(now: Instant) {
        var payload: [UInt8] = []
        while payload.count < PingCall.byteCount {
            let word = random.next()
            for shift in stride(from: UInt64(0), to: 64, by: 8) {
                payload.append(UInt8(truncatingIfNeeded: word >> shift))
            }
        }
        let call = PingCall(payload: payload, sent: now)
        guard let id = dial([.ping], purpose: .ping(call), now: now) else { return effects.append(.pinged(nil)) }
        yamux.send(id, payload)
    }

    mutating func readIdentify(_ id: UInt32, _ message: [UInt8], isPush: Bool) {
        yamux.finish(id)
        let entriesMax = settings.limits.identifyEntriesMax
        guard let info = try? PeerInfo(decoding: message, peer: peer, entriesMax: entriesMax, isPush: isPush) else {
            return
        }
        effects.append(.identified(info))
    }

    mutating func readService(
        _ id: UInt32, _ use: inout MuxedStream.Use, _ bytes: ArraySlice<UInt8>, now: Instant
    ) throws(StreamEnd) {
        switch use.service {
        case .pong(var echo):
            let answer = echo.read(bytes)
            use.service = .pong(echo)
            // A peer that pings without reading the answers is not served without end.
            let waiting = yamux.stream(id)?.outgoing.count ?? 0
            guard waiting + answer.count <= max(PingCall.bufferBytesMax, bytes.count + PingCall.byteCount) else {
                throw .sendBufferExceeded(bytes: waiting)
            }
            yamux.send(id, answer)
        case .ping(var call):
            guard let isRight = call.read(bytes) else {
                use.service = .ping(call)
                return
            }
            effects.append(.pinged(isRight ? now.since(call.sent) : nil))
            use.service = .spent
            yamux.finish(id)
        case .identifyWriter, .identifyReader, .spent, .owner:
            break
        }
    }

    // MARK: Time

    mutating func tick(now: Instant) throws(CloseReason) {
        let limits = settings.limits
        if let since = yamux.pingOutstandingSince {
            // Bytes of any kind show that the peer is there, if only slow.
            if now.since(max(since, lastHeard)) > limits.pingTime { throw .unresponsive }
        } else if now.since(lastPing) >= limits.keepAliveTime {
            lastPing = now
            yamux.ping(now: now)
        }
        for id in streams.keys.sorted() {
            guard let stream = streams[id], now.since(stream.opened) > limits.negotiationTime else { continue }
            if case .pong = stream.use?.service { continue }
            if !stream.isAgreed || !stream.isOwners { abandon(id, .negotiationTimeout) }
        }
        if streams.values.contains(where: \.isAnnounced) {
            lastUse = now
        } else if now.since(lastUse) > limits.idleTime {
            throw .idle
        } else if yamux.peerWentAway {
            throw .byPeer
        }
    }
}
