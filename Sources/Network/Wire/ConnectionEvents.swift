// The words between a connection and its owner: what happens to it, and what it wants done.

package import Primitives

/// A stream of one connection. IDs are not used twice.
package struct StreamID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let number: UInt32

    package init(_ number: UInt32) { self.number = number }

    package var description: String { "stream \(number)" }

    package static func < (left: StreamID, right: StreamID) -> Bool { left.number < right.number }
}

package enum StreamOrigin: Hashable, Sendable {
    case inbound
    /// Opened by our owner, with the tag that it gave.
    case outbound(tag: UInt64)
}

/// Why a stream is no more.
package enum StreamEnd: Error, Hashable, Sendable {
    /// Both sides finished.
    case finished
    case resetByPeer
    case resetLocally
    /// The peer does not speak the protocol, or broke off the negotiation.
    case negotiation(MultistreamFault)
    /// The peer took longer than the limit to agree on a protocol.
    case negotiationTimeout
    /// The peer sent something that is no message of the protocol.
    case framing(FramingFault)
    /// We were asked to send a message that is longer than the protocol allows.
    case messageTooLong(bytes: Int)
    /// We went on sending beyond the buffer's limit.
    case sendBufferExceeded(bytes: Int)
    case connectionClosed
}

/// Why a stream could not be opened.
package enum OpenFault: Error, Hashable, Sendable {
    /// The connection is not established, or is closing.
    case notOpen
    /// We have no limits for the protocol, or none was named.
    case unknownProtocol
    case tooManyStreams
    case failed(StreamEnd)
}

/// Why a connection is no more. It names the fault; the penalty is for whoever reads it.
package enum CloseReason: Error, Hashable, Sendable {
    case requested
    /// The peer closed the connection or went away.
    case byPeer
    /// The transport failed; the text is the transport's.
    case transport(String)
    case handshakeTimeout
    case idle
    /// No answer to a ping.
    case unresponsive
    case negotiation(MultistreamFault)
    case noise(NoiseFault)
    case identity(IdentityFault)
    case yamux(YamuxFault)
}

extension Connection {
    package enum Role: Hashable, Sendable { case dialer, listener }

    package enum Event: Sendable {
        /// The transport is connected; asked for once.
        case started
        case received([UInt8])
        /// So many bytes of earlier `write` effects left the transport's buffer.
        case written(Int)
        /// The transport is gone: nil for an orderly end, or its fault.
        case transportClosed(String?)
        /// Opens a stream for the first of `protocols`, in order of preference, that the peer speaks.
        case open(protocols: [ProtocolID], tag: UInt64)
        case send(StreamID, [UInt8])
        /// We send no more on this stream.
        case finish(StreamID)
        case reset(StreamID)
        /// The owner dealt with so many bytes of messages (`Consumption.explicit`).
        case consumed(StreamID, Int)
        /// Measures a round trip over the ping protocol.
        case ping
        /// Tells the peer what changed about us.
        case push(LocalInfo)
        case close
        /// Time passes; wanted about once a second.
        case tick
    }

    package enum Effect: Hashable, Sendable {
        case write([UInt8])
        /// The peer proved its identity and the muxer is agreed: streams can be opened.
        case established(PeerID)
        case identified(PeerInfo)
        /// With a single proposed protocol this comes before the peer has agreed, so that the first message travels with
        /// the proposal; a refusal then shows as `streamClosed(.negotiation)`.
        case streamOpened(StreamID, ProtocolID, StreamOrigin)
        case openFailed(tag: UInt64, OpenFault)
        /// A message, or for raw protocols a piece of the stream.
        case message(StreamID, [UInt8])
        /// The peer sends no more on this stream.
        case streamFinished(StreamID)
        /// Exactly once for each `streamOpened`; the last that is heard of the stream.
        case streamClosed(StreamID, StreamEnd)
        /// More than the high-water mark waits to be sent: stop until `writable`.
        case highWater(StreamID)
        case writable(StreamID)
        /// The round trip of the ping protocol; nil when the peer does not answer or answers wrongly.
        case pinged(Span?)
        /// Write what was given, then close the transport. Nothing follows.
        case close(CloseReason)
    }
}
