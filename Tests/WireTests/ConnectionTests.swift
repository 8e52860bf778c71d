// Two whole connections against each other: handshake, Identify, Ping, streams, limits, time.

import Primitives
import Testing

@testable import Wire

@Suite struct ConnectionTests {
    @Test func establishesAndIdentifies() throws {
        let duplex = try Duplex()
        duplex.start()
        #expect(duplex.dialer.established == (try Duplex.key(2)).publicKey.peerID)
        #expect(duplex.listener.established == (try Duplex.key(1)).publicKey.peerID)
        for (side, other) in [(duplex.dialer, UInt8(2)), (duplex.listener, 1)] {
            let info = try #require(
                side.effects.compactMap { if case .identified(let info) = $0 { info } else { nil } }.first)
            let address = try Multiaddr(text: "/ip4/10.0.0.\(other)/tcp/4001")
            #expect(info.peer == (try Duplex.key(other)).publicKey.peerID)
            #expect(info.agentVersion == "openledger/0.1")
            #expect(info.listenAddresses == [address])
            #expect(info.record?.addresses == [address])
            #expect(info.record?.sequence == 7)
            #expect(info.protocols.contains(.ping) && info.protocols.contains(Duplex.echo))
            #expect(info.observedAddress != nil)
        }
    }

    @Test(arguments: [UInt64](1...16)) func anyChunking(seed: UInt64) throws {
        let duplex = try Duplex(seed: seed)
        var random = SeededRandom(seed: seed)
        duplex.cut = seed <= 2 ? { _ in 1 } : { Int(random.below(UInt64(min($0, 1 << random.below(17))))) + 1 }
        duplex.start()
        let stream = try duplex.open()
        var sent: [[UInt8]] = []
        var content = SeededRandom(seed: seed &+ 99)
        for _ in 0..<(seed <= 2 ? 8 : 20) {
            let count = Int(content.below(seed <= 2 ? 2_000 : 90_000))
            let message = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ count) }
            sent.append(message)
            duplex.dialer.handle(.send(stream.dialer, message), now: duplex.now)
            if content.below(3) == 0 { duplex.pump() }
        }
        duplex.pump()
        #expect(duplex.listener.messages == sent)
        for message in sent.prefix(5) { duplex.listener.handle(.send(stream.listener, message), now: duplex.now) }
        duplex.pump()
        #expect(duplex.dialer.messages == Array(sent.prefix(5)))
        duplex.dialer.handle(.finish(stream.dialer), now: duplex.now)
        duplex.pump()
        #expect(duplex.listener.effects.contains(.streamFinished(stream.listener)))
        duplex.listener.handle(.finish(stream.listener), now: duplex.now)
        duplex.pump()
        #expect(duplex.dialer.ends == [.finished] && duplex.listener.ends == [.finished])
        #expect(duplex.dialer.closeReason == nil && duplex.listener.closeReason == nil)
    }

    /// The canary of `anyChunking`: a wire that loses, doubles or changes one byte must not pass.
    @Test(arguments: [UInt64](1...12)) func damagedWireIsNoticed(seed: UInt64) throws {
        let duplex = try Duplex(seed: seed)
        duplex.start()
        let stream = try duplex.open()
        var left = Int(seed) * 37
        duplex.meddle = { isDialer, piece in
            guard isDialer, left >= 0 else { return }
            defer { left -= piece.count }
            guard left < piece.count else { return }
            switch seed % 3 {
            case 0: piece[left] ^= 0x01
            case 1: piece.remove(at: left)
            default: piece.insert(piece[left] ^ 0x80, at: left)
            }
        }
        let message = [UInt8](repeating: 7, count: 5_000)
        duplex.dialer.handle(.send(stream.dialer, message), now: duplex.now)
        duplex.pump()
        #expect(duplex.listener.messages.isEmpty)
        duplex.advance(.seconds(40))
        duplex.advance(.seconds(40))
        let reason = try #require(duplex.listener.closeReason)
        #expect([.noise(.notAuthentic), .unresponsive, .byPeer].contains(reason))
        if seed % 3 == 0 { #expect(reason == .noise(.notAuthentic)) }
        #expect(duplex.listener.ends == [.connectionClosed])
    }

    @Test func wrongPeerIsRefused() throws {
        let someone = try Duplex.key(9).publicKey.peerID
        let duplex = try Duplex(expected: someone)
        duplex.start()
        let found = try Duplex.key(2).publicKey.peerID
        #expect(duplex.dialer.closeReason == .identity(.wrongPeer(expected: someone, found: found)))
        #expect(duplex.dialer.established == nil && duplex.listener.established == nil)
    }

    @Test func pings() throws {
        let duplex = try Duplex()
        duplex.start()
        duplex.dialer.handle(.ping, now: duplex.now)
        duplex.pump()
        let spans = duplex.dialer.effects.compactMap { if case .pinged(let span) = $0 { span } else { nil } }
        #expect(spans.count == 1 && spans[0] > .zero)
        #expect(duplex.dialer.core.roundTrip != nil)
    }

    @Test func pushesWhatChanged() throws {
        let duplex = try Duplex()
        duplex.start()
        let address = try Multiaddr(text: "/ip4/192.0.2.1/tcp/1")
        duplex.dialer.handle(.push(LocalInfo(listenAddresses: [address], recordSequence: 8)), now: duplex.now)
        duplex.pump()
        let infos = duplex.listener.effects.compactMap { if case .identified(let info) = $0 { info } else { nil } }
        #expect(infos.last?.isPush == true && infos.last?.record?.addresses == [address])
    }

    @Test func picksTheFirstCommonProtocol() throws {
        let extra = [Duplex.onlyDialer: ProtocolLimits(framing: .raw)]
        let duplex = try Duplex(dialer: try Duplex.settings(1, extra: extra))
        duplex.start()
        duplex.dialer.handle(.open(protocols: [Duplex.onlyDialer, Duplex.echo], tag: 5), now: duplex.now)
        duplex.pump()
        let opened = duplex.dialer.effects.contains {
            if case .streamOpened(_, Duplex.echo, .outbound(tag: 5)) = $0 { true } else { false }
        }
        #expect(opened)
        duplex.dialer.handle(.open(protocols: [Duplex.onlyDialer], tag: 6), now: duplex.now)
        duplex.pump()
        #expect(duplex.dialer.ends == [.negotiation(.noneAgreed)])
        duplex.dialer.handle(.open(protocols: ["/nobody/knows/1"], tag: 7), now: duplex.now)
        #expect(duplex.dialer.effects.last == .openFailed(tag: 7, .unknownProtocol))
    }

    @Test func oversizeMessagesEndTheStreamOnly() throws {
        let small = [Duplex.echo: ProtocolLimits(framing: .messages(bytesMax: 1_000))]
        let duplex = try Duplex(listener: try Duplex.settings(2, extra: small))
        duplex.start()
        let stream = try duplex.open()
        duplex.dialer.handle(.send(stream.dialer, [UInt8](repeating: 1, count: 1_001)), now: duplex.now)
        duplex.pump()
        #expect(duplex.listener.ends == [.framing(.tooLong(bytes: 1_001, max: 1_000))])
        #expect(duplex.dialer.ends == [.resetByPeer])
        let second = try duplex.open(tag: 2)
        duplex.dialer.handle(.send(second.dialer, [UInt8](repeating: 1, count: 1_000)), now: duplex.now)
        duplex.pump()
        #expect(duplex.listener.messages.count == 1)
        duplex.dialer.handle(.send(second.dialer, [UInt8](repeating: 1, count: 1 << 20 + 1)), now: duplex.now)
        #expect(duplex.dialer.ends.last == .messageTooLong(bytes: 1 << 20 + 1))
    }

    @Test func slowTransportFillsTheStreamAndNotTheMemory() throws {
        let duplex = try Duplex()
        duplex.start()
        let stream = try duplex.open()
        duplex.reportsWrites = false
        var written = 0
        let message = [UInt8](repeating: 3, count: 256 * 1024)
        for _ in 0..<16 { duplex.dialer.handle(.send(stream.dialer, message), now: duplex.now) }
        written = duplex.dialer.outgoing.count
        #expect(written < 700 * 1024)
        #expect(duplex.dialer.effects.contains(.highWater(stream.dialer)))
        #expect(!duplex.dialer.effects.contains(.writable(stream.dialer)))
        duplex.dialer.handle(.written(written), now: duplex.now)
        duplex.reportsWrites = true
        duplex.pump()
        #expect(duplex.dialer.effects.contains(.writable(stream.dialer)))
        #expect(duplex.listener.messages.count == 16)
        for _ in 0..<64 { duplex.dialer.handle(.send(stream.dialer, message), now: duplex.now) }
        let isExceeded = duplex.dialer.ends.contains { if case .sendBufferExceeded = $0 { true } else { false } }
        #expect(isExceeded)
    }

    @Test func unconsumedMessagesHoldTheSenderBack() throws {
        let duplex = try Duplex()
        duplex.start()
        let stream = try duplex.open(Duplex.strict)
        let message = [UInt8](repeating: 3, count: 32 * 1024)
        for _ in 0..<64 { duplex.dialer.handle(.send(stream.dialer, message), now: duplex.now) }
        duplex.pump()
        let early = duplex.listener.messages.count
        // At most one full window beyond what may lie unconsumed.
        #expect(early < 14)
        var consumed = 0
        while consumed < duplex.listener.messages.count {
            duplex.listener.handle(.consumed(stream.listener, message.count), now: duplex.now)
            consumed += 1
            duplex.pump()
        }
        #expect(duplex.listener.messages.count == 64)
    }

    @Test func timeouts() throws {
        let silent = try Duplex()
        silent.listener.handle(.started, now: silent.now)
        silent.advance(.seconds(11))
        #expect(silent.listener.closeReason == .handshakeTimeout)
        #expect(silent.dialer.closeReason == .handshakeTimeout)

        let dead = try Duplex()
        dead.start()
        dead.meddle = { _, piece in piece = [] }
        dead.advance(.seconds(16))
        dead.advance(.seconds(21))
        #expect(dead.dialer.closeReason == .unresponsive)

        let idle = try Duplex()
        idle.start()
        for _ in 0..<31 { idle.advance(.seconds(10)) }
        #expect(idle.dialer.closeReason == .idle || idle.listener.closeReason == .idle)
    }

    @Test func everyOpenedStreamIsHeardOfAtTheEnd() throws {
        let duplex = try Duplex()
        duplex.start()
        for tag in 0..<10 { _ = try duplex.open(tag: UInt64(tag)) }
        duplex.dialer.handle(.close, now: duplex.now)
        duplex.pump()
        #expect(duplex.dialer.closeReason == .requested)
        #expect(duplex.dialer.ends == Array(repeating: .connectionClosed, count: 10))
        duplex.listener.handle(.transportClosed(nil), now: duplex.now)
        #expect(duplex.listener.ends.count == 10)
        #expect(duplex.listener.closeReason == .byPeer)
        duplex.dialer.handle(.open(protocols: [Duplex.echo], tag: 3), now: duplex.now)
        #expect(duplex.dialer.effects.last == .openFailed(tag: 3, .notOpen))
    }

    @Test func resetReachesTheOtherSide() throws {
        let duplex = try Duplex()
        duplex.start()
        let stream = try duplex.open(Duplex.raw)
        duplex.listener.handle(.send(stream.listener, [1, 2, 3]), now: duplex.now)
        duplex.pump()
        #expect(duplex.dialer.messages == [[1, 2, 3]])
        duplex.listener.handle(.reset(stream.listener), now: duplex.now)
        duplex.dialer.handle(.send(stream.dialer, [4]), now: duplex.now)
        duplex.pump()
        #expect(duplex.dialer.ends == [.resetByPeer] && duplex.listener.ends == [.resetLocally])
        #expect(duplex.dialer.closeReason == nil && duplex.listener.closeReason == nil)
    }

    @Test func protocolLimitOfInboundStreams() throws {
        let few = [Duplex.raw: ProtocolLimits(framing: .raw, inboundStreamsMax: 2)]
        let duplex = try Duplex(listener: try Duplex.settings(2, extra: few))
        duplex.start()
        for tag in 0..<3 {
            duplex.dialer.handle(.open(protocols: [Duplex.raw], tag: UInt64(tag)), now: duplex.now)
            duplex.pump()
        }
        #expect(duplex.listener.openedStreams.count == 2)
        #expect(duplex.dialer.ends == [.resetByPeer])
    }
}
