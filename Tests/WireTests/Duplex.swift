// Two connection cores in memory: what one writes the other reads, in pieces of any size, with a hand on the wire.

import Primitives
import Testing

@testable import Wire

/// One side, with everything it was told so far.
final class Side {
    var core: Connection
    var effects: [Connection.Effect] = []
    /// Written and not yet carried: `outgoing[carried...]`.
    var outgoing: [UInt8] = []
    private var carried = 0

    init(_ core: consuming Connection) { self.core = core }

    func handle(_ event: Connection.Event, now: Instant) {
        for effect in core.handle(event, now: now) {
            if case .write(let bytes) = effect {
                outgoing.append(contentsOf: bytes)
            } else {
                effects.append(effect)
            }
        }
    }

    var waiting: Int { outgoing.count - carried }

    func take(_ count: Int) -> [UInt8] {
        let piece = Array(outgoing[carried..<carried + count])
        carried += count
        if carried == outgoing.count {
            outgoing = []
            carried = 0
        }
        return piece
    }

    var closeReason: CloseReason? {
        for case .close(let reason) in effects { return reason }
        return nil
    }

    var established: PeerID? {
        for case .established(let peer) in effects { return peer }
        return nil
    }

    var messages: [[UInt8]] {
        effects.compactMap { if case .message(_, let bytes) = $0 { bytes } else { nil } }
    }

    var openedStreams: [StreamID] {
        effects.compactMap { if case .streamOpened(let stream, _, _) = $0 { stream } else { nil } }
    }

    var ends: [StreamEnd] {
        effects.compactMap { if case .streamClosed(_, let end) = $0 { end } else { nil } }
    }
}

final class Duplex {
    let dialer: Side
    let listener: Side
    var now = Instant(nanoseconds: 1_000_000_000)
    /// How the next piece is cut, from what is there; all of it by default.
    var cut: (Int) -> Int = { $0 }
    /// Sees and may change every piece on its way; true from the dialer.
    var meddle: (Bool, inout [UInt8]) -> Void = { _, _ in }
    /// Whether the transport reports what it wrote.
    var reportsWrites = true

    static let echo: ProtocolID = "/test/echo/1"
    static let raw: ProtocolID = "/test/raw/1"
    static let strict: ProtocolID = "/test/strict/1"
    static let onlyDialer: ProtocolID = "/test/only-dialer/1"

    static func key(_ byte: UInt8) throws -> SigningKey { try SigningKey(seed: [UInt8](repeating: byte, count: 32)) }

    static func settings(
        _ byte: UInt8, extra: [ProtocolID: ProtocolLimits] = [:], change: (inout ConnectionLimits) -> Void = { _ in }
    ) throws -> ConnectionSettings {
        var limits = ConnectionLimits()
        change(&limits)
        let own: [ProtocolID: ProtocolLimits] = [
            echo: ProtocolLimits(framing: .messages(bytesMax: 1 << 20), inboundStreamsMax: 300),
            raw: ProtocolLimits(framing: .raw),
            strict: ProtocolLimits(
                framing: .messages(bytesMax: 1 << 20), consumption: .explicit, unconsumedBytesMax: 64 * 1024),
        ]
        return ConnectionSettings(
            identity: try key(byte), protocols: own.merging(extra) { $1 },
            about: LocalInfo(listenAddresses: [try Multiaddr(text: "/ip4/10.0.0.\(byte)/tcp/4001")], recordSequence: 7),
            limits: limits)
    }

    static func entropy(_ seed: UInt64) -> ConnectionEntropy {
        var random = SeededRandom(seed: seed)
        return ConnectionEntropy(
            (0..<ConnectionEntropy.byteCount).map { _ in UInt8(truncatingIfNeeded: random.next()) })
    }

    init(
        seed: UInt64 = 1, dialer: ConnectionSettings? = nil, listener: ConnectionSettings? = nil,
        expected: PeerID? = nil
    ) throws {
        let start = now
        let dialerSettings = try dialer ?? Self.settings(1)
        let listenerSettings = try listener ?? Self.settings(2)
        self.dialer = Side(
            Connection(
                role: .dialer, settings: dialerSettings,
                expectedPeer: expected ?? listenerSettings.identity.publicKey.peerID,
                remoteAddress: try Multiaddr(text: "/ip4/10.0.0.2/tcp/4001"), entropy: Self.entropy(seed), now: start))
        self.listener = Side(
            Connection(
                role: .listener, settings: listenerSettings, expectedPeer: nil,
                remoteAddress: try Multiaddr(text: "/ip4/10.0.0.1/tcp/50000"), entropy: Self.entropy(seed &+ 1_000_003),
                now: start))
    }

    func start() {
        dialer.handle(.started, now: now)
        listener.handle(.started, now: now)
        pump()
    }

    /// Moves bytes until both wires are empty.
    func pump() {
        while dialer.waiting > 0 || listener.waiting > 0 {
            carry(from: dialer, to: listener, true)
            carry(from: listener, to: dialer, false)
        }
    }

    private func carry(from: Side, to: Side, _ isDialer: Bool) {
        guard from.waiting > 0 else { return }
        let count = max(1, min(from.waiting, cut(from.waiting)))
        var piece = from.take(count)
        meddle(isDialer, &piece)
        now = now + .microseconds(50)
        if reportsWrites { from.handle(.written(count), now: now) }
        to.handle(.received(piece), now: now)
    }

    func advance(_ span: Span, ticks: Bool = true) {
        now = now + span
        guard ticks else { return }
        dialer.handle(.tick, now: now)
        listener.handle(.tick, now: now)
        pump()
    }

    /// Opens a stream from the dialer and returns both sides' names for it.
    func open(_ name: ProtocolID = Duplex.echo, tag: UInt64 = 1) throws -> (dialer: StreamID, listener: StreamID) {
        dialer.handle(.open(protocols: [name], tag: tag), now: now)
        pump()
        return (try #require(dialer.openedStreams.last), try #require(listener.openedStreams.last))
    }
}
