// What goes into the router and what comes out. The owner performs effects in the order given.

package import Primitives

/// The name of a topic. Compared byte by byte: Swift's own String equality would hold different bytes for the same.
package struct GossipTopic: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let utf8: [UInt8]

    package init(_ name: String) { utf8 = Array(name.utf8) }

    package var name: String { String(decoding: utf8, as: UTF8.self) }
    package var description: String { name }

    package static func < (left: Self, right: Self) -> Bool { left.utf8.lexicographicallyPrecedes(right.utf8) }
}

/// Names one delivery that waits for the owner's verdict.
package struct GossipTicket: Hashable, Comparable, Sendable {
    let number: UInt64

    package static func < (left: Self, right: Self) -> Bool { left.number < right.number }
}

/// What the owner thinks of a message (GossipSub 1.1, "Extended Validators").
package enum GossipVerdict: Hashable, Sendable {
    /// Forward it.
    case accept
    /// Do not forward it, and blame whoever sent it.
    case reject
    /// Do not forward it; nobody is to blame.
    case ignore
}

package enum GossipEvent: Sendable {
    /// A stream for gossip stands. `outbound`: we dialled the connection.
    case connected(PeerID, version: GossipVersion, outbound: Bool)
    case disconnected(PeerID)
    /// One RPC, without its length prefix.
    case received(PeerID, [UInt8])
    /// The peer's stream has more unsent bytes than its owner likes: queue from now on.
    case congested(PeerID)
    /// The peer's stream takes bytes again.
    case writable(PeerID)
    case subscribe(GossipTopic)
    case unsubscribe(GossipTopic)
    case publish(GossipTopic, [UInt8])
    /// Answer to `.verify`.
    case verified(GossipTicket, Bool)
    /// Answer to `.deliver`. An unknown or answered ticket is ignored.
    case validated(GossipTicket, GossipVerdict)
    /// Every `GossipParameters.heartbeat`.
    case heartbeat
}

package enum GossipEffect: Hashable, Sendable {
    /// Send one RPC; the owner adds the length prefix.
    case send(PeerID, [UInt8])
    /// Only if `verifiesInline` is false: call `message.signatureHolds()` anywhere, answer `.verified`.
    case verify(GossipTicket, GossipMessage)
    /// A new, signed message of a joined topic: answer `.validated`. `from` is the neighbour, not the author.
    case deliver(GossipTicket, GossipMessage, from: PeerID)
    /// Our own message is signed, cached and sent to `recipients` neighbours.
    case published(MessageID, recipients: Int)
    case refused(GossipTopic, PublishFault)
    /// A message was dropped unseen because `pendingValidationsMax` are waiting; it can be had again by gossip.
    case shed(MessageID)
    /// What a neighbour did. The owner decides what it costs (peer scores and limits come later).
    case fault(PeerID, GossipFault)
    /// The peer does not drain its stream and even control messages no longer fit: close the connection.
    case giveUp(PeerID)
}

package enum PublishFault: Error, Hashable, Sendable {
    case tooLarge(bytes: Int, bytesMax: Int)
    case topicTooLong(bytes: Int, bytesMax: Int)
    case tooManyTopics(max: Int)
    /// The message that this data makes has been published before; only with content-derived message IDs.
    case duplicate(MessageID)
}

/// What a neighbour did wrong. Naming it is the router's part, the penalty is its owner's.
package enum GossipFault: Error, Hashable, Sendable {
    case rpcTooLarge(bytes: Int, bytesMax: Int)
    case malformedRPC(String)
    case topicTooLong(bytes: Int)
    case tooManyTopics(max: Int)
    case invalidMessage(SigningFault)
    /// The owner's verdict was `.reject`.
    case rejectedMessage(MessageID)
    /// A message that bears our own name, sent by someone else.
    case forgedOwnMessage(MessageID)
    case graftDuringBackoff(GossipTopic)
    case ihaveFlood(rpcs: Int)
    case iwantFlood(ids: Int)
    /// Promised by IHAVE, asked for by IWANT, not delivered in time.
    case brokenPromise(MessageID)
    case tooManyPeers(max: Int)
    case tooSlow(queuedBytes: Int)
}
