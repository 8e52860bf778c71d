// What a connection may cost us, and what each protocol on it may.

package import Primitives

/// How a stream's bytes are handed up.
package enum Framing: Hashable, Sendable {
    /// Unsigned-varint length-prefixed messages of at most so many bytes.
    case messages(bytesMax: Int)
    /// Bytes as they come.
    case raw
}

/// When the peer may send more.
package enum Consumption: Hashable, Sendable {
    /// As soon as bytes are handed up: for owners that deal with a message in the callback that brings it.
    case automatic
    /// When the owner says `consumed`: for owners that put messages aside.
    case explicit
}

package struct ProtocolLimits: Hashable, Sendable {
    package var framing: Framing
    package var consumption: Consumption
    /// Streams that the peer may have open at once; 0 when we only dial this protocol.
    package var inboundStreamsMax: Int
    /// Bytes handed up and not yet consumed, after which the window is not refilled (`Consumption.explicit`).
    package var unconsumedBytesMax: Int
    /// Unsent bytes of one stream after which its owner is told to stop (`highWater`).
    package var sendHighWaterBytes: Int
    /// Unsent bytes of one stream after which it is reset: its owner did not stop.
    package var sendBufferBytesMax: Int

    package init(
        framing: Framing, consumption: Consumption = .automatic, inboundStreamsMax: Int = 16,
        unconsumedBytesMax: Int = 1024 * 1024, sendHighWaterBytes: Int = 1024 * 1024,
        sendBufferBytesMax: Int = 8 * 1024 * 1024
    ) {
        self.framing = framing
        self.consumption = consumption
        self.inboundStreamsMax = inboundStreamsMax
        self.unconsumedBytesMax = unconsumedBytesMax
        self.sendHighWaterBytes = sendHighWaterBytes
        self.sendBufferBytesMax = sendBufferBytesMax
    }
}

package struct ConnectionLimits: Hashable, Sendable {
    /// From the first byte to the agreed muxer.
    package var handshakeTime = Span.seconds(10)
    /// From the opening of a stream to the agreed protocol.
    package var negotiationTime = Span.seconds(10)
    /// Without a stream of the owner's.
    package var idleTime = Span.minutes(5)
    /// Between pings that measure the round trip and show that the peer is there.
    package var keepAliveTime = Span.seconds(15)
    /// An unanswered ping after which the peer counts as gone.
    package var pingTime = Span.seconds(20)
    /// A handshake message of Noise; libp2p's are below 1 KiB.
    package var handshakeMessageBytesMax = 8 * 1024
    /// Bytes given to the transport and not yet written: more than that waits unencrypted in its stream.
    package var transportBytesMax = 512 * 1024
    /// Unsent bytes of all streams; the stream that goes beyond is reset.
    package var bufferedBytesMax = 64 * 1024 * 1024
    /// An Identify message (go-libp2p's own limit is 8 KiB).
    package var identifyBytesMax = 16 * 1024
    /// Addresses and protocols kept of an Identify message.
    package var identifyEntriesMax = 256
    package var yamux = YamuxLimits()

    package init() {}
}

/// What a node says of itself in Identify.
package struct LocalInfo: Hashable, Sendable {
    package var listenAddresses: [Multiaddr]
    package var agentVersion: String
    package var protocolVersion: String
    /// Rises with every change of the addresses; by custom the wall clock in seconds (RFC 0003).
    package var recordSequence: UInt64

    package init(
        listenAddresses: [Multiaddr], agentVersion: String = "openledger/0.1", protocolVersion: String = "openledger/1",
        recordSequence: UInt64
    ) {
        self.listenAddresses = listenAddresses
        self.agentVersion = agentVersion
        self.protocolVersion = protocolVersion
        self.recordSequence = recordSequence
    }
}

/// What all connections of a node have in common.
package struct ConnectionSettings: Sendable {
    package var identity: SigningKey
    package var protocols: [ProtocolID: ProtocolLimits]
    package var about: LocalInfo
    package var limits: ConnectionLimits

    package init(
        identity: SigningKey, protocols: [ProtocolID: ProtocolLimits], about: LocalInfo,
        limits: ConnectionLimits = ConnectionLimits()
    ) {
        self.identity = identity
        self.protocols = protocols
        self.about = about
        self.limits = limits
    }
}

/// The chance that one connection uses up, from the operating system's generator.
package struct ConnectionEntropy: Sendable {
    package static let byteCount = 72

    let staticSecret: [UInt8]
    let ephemeralSecret: [UInt8]
    let seed: UInt64

    /// - Parameter bytes: 72 bytes that no other connection was or will be given.
    package init(_ bytes: [UInt8]) {
        precondition(bytes.count == Self.byteCount, "a connection takes 72 random bytes")
        staticSecret = Array(bytes[0..<32])
        ephemeralSecret = Array(bytes[32..<64])
        seed = bytes[64..<72].reduce(0) { $0 << 8 | UInt64($1) }
    }
}
