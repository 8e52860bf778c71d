// Every number of the GossipSub router, in one place. Values named by the specification (libp2p specs,
// pubsub/gossipsub/gossipsub-v1.0.md and v1.1.md, "Parameters") have its names beside them; the rest are our limits,
// so that no table, queue or message grows with what strangers send.

package import Primitives

package struct GossipParameters: Sendable {
    // MARK: Mesh

    /// D: links a topic's mesh is steered to.
    package var meshDegree = 6
    /// D_lo: below this many links the heartbeat grafts.
    package var meshDegreeMin = 5
    /// D_hi: above this many links the heartbeat prunes.
    package var meshDegreeMax = 12
    /// D_score: links kept for their score when pruning; without scores, drawn by lot with the rest.
    package var meshDegreeScore = 4
    /// D_out: links that we dialled ourselves and keep, against eclipse by inbound peers.
    package var meshDegreeOutbound = 2

    // MARK: Gossip

    /// D_lazy: peers outside the mesh that are told of recent messages, at least.
    package var gossipDegree = 6
    /// GossipFactor: the share of the peers outside the mesh that is told, in percent.
    package var gossipPercent = 25
    /// mcache_len: heartbeats that a message can be asked for.
    package var historyWindows = 5
    /// mcache_gossip: heartbeats that a message is told of.
    package var gossipWindows = 3
    /// GossipRetransmission: times that one peer is sent one message in answer to IWANT.
    package var retransmissionsMax = 3
    /// FloodPublish: our own messages go to every peer of the topic, not only to the mesh.
    package var floodPublish = true

    // MARK: Time

    /// The owner sends `.heartbeat` this often.
    package var heartbeat = Span.seconds(1)
    /// PruneBackoff.
    package var pruneBackoff = Span.seconds(60)
    /// UnsubscribeBackoff.
    package var unsubscribeBackoff = Span.seconds(10)
    /// The longest backoff that a peer can impose on itself by PRUNE.
    package var backoffMax = Span.minutes(60)
    /// fanout_ttl.
    package var fanoutLife = Span.seconds(60)
    /// seen_ttl.
    package var seenLife = Span.seconds(120)
    /// IWantFollowupTime: a message asked for by IWANT that has not come by then is a broken promise.
    package var promiseLife = Span.seconds(3)

    // MARK: Limits

    package var peersMax = 1_024
    /// Topics that we join ourselves.
    package var topicsMax = 64
    /// Topics that we publish to without having joined them.
    package var fanoutTopicsMax = 64
    package var topicBytesMax = 256
    package var topicsPerPeerMax = 128
    package var subscriptionsPerRPCMax = 256
    package var messagesPerRPCMax = 4_096
    package var controlEntriesPerRPCMax = 1_024
    /// One RPC on the wire, both ways; longer ones are split before they are sent and refused when they come.
    package var rpcBytesMax = 1 << 20
    /// The payload of one message: an RPC with one message of this size fits `rpcBytesMax`.
    package var dataBytesMax = (1 << 20) - 1_024
    package var messageIDBytesMax = 128
    /// MaxIHaveLength: identifiers asked of one peer, and answered to one peer, per heartbeat.
    package var idsPerHeartbeatMax = 5_000
    /// MaxIHaveMessages: IHAVE-bearing RPCs heeded from one peer per heartbeat.
    package var ihavesPerHeartbeatMax = 10
    /// Bytes of messages sent to one peer in answer to IWANT per heartbeat.
    package var iwantAnswerBytesMax = 8 << 20
    package var cachedMessagesMax = 8_192
    package var cachedBytesMax = 64 << 20
    package var seenMax = 1 << 17
    package var pendingValidationsMax = 2_048
    package var promisesMax = 8_192
    /// Backoffs remembered in all; when full, the one that ends first is forgotten.
    package var backoffsMax = 8_192
    /// Bytes queued for a congested peer before gossip and forwarded messages are dropped.
    package var queuedBytesMax = 4 << 20
    /// Bytes of our own publishes and of control queued for a congested peer before it is given up as too slow.
    package var queuedOwnBytesMax = 16 << 20

    // MARK: Behaviour

    /// Whether the router verifies signatures itself, or asks its owner by `.verify` so that they can be done in bulk.
    package var verifiesInline = true
    /// How a message is named; all peers of a network must agree.
    package var messageID: @Sendable (GossipMessage) -> MessageID = MessageID.authorAndSequence

    package init() {}
}

/// The protocol spoken with one peer.
package enum GossipVersion: String, Hashable, Sendable, CaseIterable {
    case v1_1 = "/meshsub/1.1.0"
    case v1_0 = "/meshsub/1.0.0"

    /// Multistream names in the order in which we offer them.
    package static let offered: [String] = allCases.map(\.rawValue)
}
