// The words between the swarm and its owner.

package import Primitives
package import Wire

package struct ConnectionID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let number: UInt64

    package var description: String { "connection \(number)" }

    package static func < (left: ConnectionID, right: ConnectionID) -> Bool { left.number < right.number }
}

/// A stream of any connection.
package struct StreamKey: Hashable, Comparable, Sendable {
    package let connection: ConnectionID
    package let stream: StreamID

    package static func < (left: StreamKey, right: StreamKey) -> Bool {
        left.connection == right.connection ? left.stream < right.stream : left.connection < right.connection
    }
}

package enum Direction: Hashable, Sendable {
    case inbound
    /// The answer to `dial` with this tag.
    case outbound(tag: UInt64)
}

package enum DialFault: Error, Hashable, Sendable {
    case transport(TransportFault)
    /// The peer was reached, and the connection did not come about.
    case handshake(CloseReason)
}

package enum SwarmEvent: Hashable, Sendable {
    case listening(Multiaddr)
    /// - others: further connections to the same peer that were open already.
    case connected(ConnectionID, PeerID, remote: Multiaddr, Direction, others: Int)
    case identified(ConnectionID, PeerInfo)
    case streamOpened(StreamKey, PeerID, ProtocolID, StreamOrigin)
    case openFailed(ConnectionID, tag: UInt64, OpenFault)
    case message(StreamKey, [UInt8])
    case streamFinished(StreamKey)
    case streamClosed(StreamKey, StreamEnd)
    case highWater(StreamKey)
    case writable(StreamKey)
    case pinged(ConnectionID, Span?)
    /// - others: connections to the same peer that are still open. Comes once for each `connected`, the last of it.
    case disconnected(ConnectionID, PeerID, CloseReason, others: Int)
    case dialFailed(tag: UInt64, Multiaddr, DialFault)
    /// Someone connected and did not get through the handshake.
    case inboundFailed(Multiaddr, CloseReason)
    /// Everything is closed; nothing follows.
    case stopped
}

package struct SwarmLimits: Hashable, Sendable {
    package var connectionsMax = 512
    package var inboundMax = 384
    /// Connections that are still in their handshake.
    package var pendingInboundMax = 128
    package var pendingDialsMax = 128
    /// Connections to one peer; a further one closes the oldest.
    package var connectionsPerPeerMax = 4
    /// Name resolution and TCP; the handshake has its own limit in `ConnectionLimits`.
    package var dialTime = Span.seconds(10)
    /// Addresses of one name that are tried.
    package var resolvedAddressesMax = 8
    package var listenersMax = 32
    /// Work of other threads that waits for the loop.
    package var mailboxMax = 65_536
    package var backlog: Int32 = 128

    package init() {}
}

package struct SwarmConfiguration: Sendable {
    package var connection: ConnectionSettings
    package var limits: SwarmLimits

    package init(connection: ConnectionSettings, limits: SwarmLimits = SwarmLimits()) {
        self.connection = connection
        self.limits = limits
    }
}
