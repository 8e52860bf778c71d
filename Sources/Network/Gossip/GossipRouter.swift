// The GossipSub 1.1 router as a value (libp2p specs, pubsub/gossipsub/gossipsub-v1.1.md; also speaks 1.0 with those who
// know no better). It owns no stream, clock or key store: its owner feeds events and performs effects.
//
// A message that comes in:
//
//   received ── seen? ──▶ (duplicate: remember who else has it)
//      │ no
//      ▼
//   signature ── wrong ──▶ fault(invalidMessage)
//      │ holds                                      reject ──▶ fault(rejectedMessage)
//      ▼                                            │
//   seen := id ──▶ deliver(ticket) ── validated ────┼─ ignore ─▶ forgotten
//                                                   │
//                                                   accept ──▶ cached, forwarded to the mesh
//
// A neighbour in a topic's mesh:
//
//   outside ── GRAFT sent or taken ──▶ mesh ── PRUNE sent or taken, unsubscribed, gone ──▶ backoff ── time ──▶ outside
//
// Scores: `GossipFault` says what a neighbour did; a later PeerScore decides from these whom to graft, to prune and to
// ignore. Until then every neighbour is equal and chance decides.

package import Primitives

package struct GossipRouter: Sendable {
    struct Peer: Sendable {
        var version: GossipVersion
        var isOutbound: Bool
        var topics: Set<GossipTopic> = []
        var isCongested = false
        var queue = OutboundQueue()
        // Counters of the present heartbeat.
        var ihaves = 0
        var idsAsked = 0
        var idsAnswered = 0
        var bytesAnswered = 0
    }

    struct Fanout: Sendable {
        var peers: Set<PeerID> = []
        var lastPublish: Instant
    }

    /// A message that waits for its signature to be checked or for its owner's verdict.
    struct Pending: Sendable {
        let id: MessageID
        let message: GossipMessage
        let source: PeerID
        var isVerified: Bool
        /// Everyone who sent it, the source included.
        var senders: Set<PeerID>
    }

    package let parameters: GossipParameters
    let key: SigningKey
    package let localPeer: PeerID
    var random: SeededRandom
    var nextSequence: UInt64
    var nextTicket: UInt64 = 0

    var peers: [PeerID: Peer] = [:]
    var mesh: [GossipTopic: Set<PeerID>] = [:]
    var fanout: [GossipTopic: Fanout] = [:]
    var backoffs: [GossipTopic: [PeerID: Instant]] = [:]
    var seen: SeenCache
    var cache: MessageCache
    var pending: [GossipTicket: Pending] = [:]
    var tickets: [MessageID: [GossipTicket]] = [:]
    var promises: [MessageID: [PeerID: Instant]] = [:]
    var effects: [GossipEffect] = []
    package private(set) var duplicates: UInt64 = 0

    /// - Parameters:
    ///   - key: signs our messages; its peer ID is their author.
    ///   - firstSequence: greater than any sequence number that this key has used, in this run or an earlier one;
    ///     wall time in nanoseconds at start is such a number.
    package init(key: SigningKey, parameters: GossipParameters, random: SeededRandom, firstSequence: UInt64) {
        self.key = key
        localPeer = key.publicKey.peerID
        self.parameters = parameters
        self.random = random
        nextSequence = firstSequence
        seen = SeenCache(life: parameters.seenLife, countMax: parameters.seenMax)
        cache = MessageCache(parameters)
    }

    // MARK: What can be looked at

    package var topics: [GossipTopic] { mesh.keys.sorted() }
    package var connectedPeers: [PeerID] { peers.keys.sorted() }
    package func meshPeers(_ topic: GossipTopic) -> [PeerID] { (mesh[topic] ?? []).sorted() }
    package func subscribers(_ topic: GossipTopic) -> [PeerID] {
        peers.filter { $0.value.topics.contains(topic) }.keys.sorted()
    }

    // MARK: The door

    package mutating func handle(_ event: GossipEvent, now: Instant) -> [GossipEffect] {
        switch event {
        case .connected(let peer, let version, let outbound): connect(peer, version, outbound)
        case .disconnected(let peer): disconnect(peer)
        case .received(let peer, let bytes): receive(bytes, from: peer, now: now)
        case .congested(let peer): peers[peer]?.isCongested = true
        case .writable(let peer): drain(peer)
        case .subscribe(let topic): join(topic, now: now)
        case .unsubscribe(let topic): leave(topic, now: now)
        case .publish(let topic, let data): publish(data, in: topic, now: now)
        case .verified(let ticket, let holds): verified(ticket, holds, now: now)
        case .validated(let ticket, let verdict): validated(ticket, verdict)
        case .heartbeat: heartbeat(now: now)
        }
        defer { effects = [] }
        return effects
    }

    // MARK: Neighbours

    private mutating func connect(_ peer: PeerID, _ version: GossipVersion, _ outbound: Bool) {
        guard peer != localPeer, peers[peer] == nil else { return }
        guard peers.count < parameters.peersMax else {
            effects.append(.fault(peer, .tooManyPeers(max: parameters.peersMax)))
            return
        }
        peers[peer] = Peer(version: version, isOutbound: outbound)
        let subscriptions = topics.map { Subscription(topic: $0, isOn: true) }
        send(GossipRPC(subscriptions: subscriptions), to: peer, .control)
    }

    private mutating func disconnect(_ peer: PeerID) {
        guard peers.removeValue(forKey: peer) != nil else { return }
        for topic in mesh.keys { mesh[topic]?.remove(peer) }
        for topic in fanout.keys { fanout[topic]?.peers.remove(peer) }
        for (id, waiting) in promises where waiting[peer] != nil { forgetPromise(id, peer) }
        for ticket in pending.keys { pending[ticket]?.senders.remove(peer) }
        cache.forget(peer)
    }

    private mutating func drain(_ peer: PeerID) {
        guard var state = peers[peer] else { return }
        state.isCongested = false
        for rpc in state.queue.drain() { effects.append(.send(peer, rpc)) }
        peers[peer] = state
    }

    // MARK: Topics of ours

    private mutating func join(_ topic: GossipTopic, now: Instant) {
        guard mesh[topic] == nil else { return }
        guard topic.utf8.count <= parameters.topicBytesMax else {
            let fault = PublishFault.topicTooLong(bytes: topic.utf8.count, bytesMax: parameters.topicBytesMax)
            effects.append(.refused(topic, fault))
            return
        }
        guard mesh.count < parameters.topicsMax else {
            effects.append(.refused(topic, .tooManyTopics(max: parameters.topicsMax)))
            return
        }
        // Those of the fanout first, then others by lot.
        let old = fanout.removeValue(forKey: topic)?.peers.filter { mayGraft($0, topic, now: now) } ?? []
        var chosen = Set(old.sorted().prefix(parameters.meshDegree))
        for peer in draw(parameters.meshDegree - chosen.count, from: candidates(topic, now: now, besides: chosen)) {
            chosen.insert(peer)
        }
        mesh[topic] = chosen
        for peer in peers.keys.sorted() {
            var rpc = GossipRPC(subscriptions: [Subscription(topic: topic, isOn: true)])
            if chosen.contains(peer) { rpc.graft = [topic] }
            send(rpc, to: peer, .control)
        }
    }

    private mutating func leave(_ topic: GossipTopic, now: Instant) {
        guard let links = mesh.removeValue(forKey: topic) else { return }
        for peer in peers.keys.sorted() {
            var rpc = GossipRPC(subscriptions: [Subscription(topic: topic, isOn: false)])
            if links.contains(peer) {
                rpc.prune = [Pruning(topic: topic, backoff: parameters.unsubscribeBackoff)]
                setBackoff(peer, topic, until: now + parameters.unsubscribeBackoff)
            }
            send(rpc, to: peer, .control)
        }
    }

    private mutating func publish(_ data: [UInt8], in topic: GossipTopic, now: Instant) {
        guard data.count <= parameters.dataBytesMax else {
            effects.append(.refused(topic, .tooLarge(bytes: data.count, bytesMax: parameters.dataBytesMax)))
            return
        }
        guard topic.utf8.count <= parameters.topicBytesMax else {
            let fault = PublishFault.topicTooLong(bytes: topic.utf8.count, bytesMax: parameters.topicBytesMax)
            effects.append(.refused(topic, fault))
            return
        }
        guard mesh[topic] != nil || fanout[topic] != nil || fanout.count < parameters.fanoutTopicsMax else {
            effects.append(.refused(topic, .tooManyTopics(max: parameters.fanoutTopicsMax)))
            return
        }
        let message = GossipMessage(signedBy: key, topic: topic, data: data, sequence: nextSequence)
        let id = parameters.messageID(message)
        guard seen.insert(id, now: now) else {
            effects.append(.refused(topic, .duplicate(id)))
            return
        }
        nextSequence &+= 1
        cache.put(id, message)

        var recipients = mesh[topic] ?? fanoutPeers(topic, now: now)
        if parameters.floodPublish { recipients.formUnion(subscribers(topic)) }
        for peer in recipients.sorted() { send(GossipRPC(messages: [message]), to: peer, .own) }
        effects.append(.published(id, recipients: recipients.count))
    }

    /// The fanout is kept even when publishes are flooded: its topics are gossiped about, so what was lost can be had.
    private mutating func fanoutPeers(_ topic: GossipTopic, now: Instant) -> Set<PeerID> {
        var entry = fanout[topic] ?? Fanout(lastPublish: now)
        entry.lastPublish = now
        let others = subscribers(topic).filter { !entry.peers.contains($0) }
        entry.peers.formUnion(draw(parameters.meshDegree - entry.peers.count, from: others))
        fanout[topic] = entry
        return entry.peers
    }

    // MARK: Chance and order

    /// `count` of `list`, by lot; `list` is in a defined order.
    mutating func draw(_ count: Int, from list: [PeerID]) -> [PeerID] {
        guard count > 0, !list.isEmpty else { return [] }
        return Array(list.shuffled(using: &random).prefix(count))
    }

    /// Who could be grafted into the topic's mesh.
    func candidates(_ topic: GossipTopic, now: Instant, besides: Set<PeerID>) -> [PeerID] {
        subscribers(topic).filter { !besides.contains($0) && mayGraft($0, topic, now: now) }
    }

    func mayGraft(_ peer: PeerID, _ topic: GossipTopic, now: Instant) -> Bool {
        guard let until = backoffs[topic]?[peer] else { return true }
        return now >= until
    }

    // MARK: Sending

    mutating func send(_ rpc: GossipRPC, to peer: PeerID, _ rank: OutboundClass) {
        guard !rpc.isEmpty, let version = peers[peer]?.version else { return }
        for bytes in rpc.written(version: version, bytesMax: parameters.rpcBytesMax) { send(bytes, to: peer, rank) }
    }

    private mutating func send(_ bytes: [UInt8], to peer: PeerID, _ rank: OutboundClass) {
        guard var state = peers[peer] else { return }
        guard state.isCongested else {
            effects.append(.send(peer, bytes))
            return
        }
        let fits = state.queue.append(
            bytes, rank, bytesMax: parameters.queuedBytesMax, keptBytesMax: parameters.queuedOwnBytesMax)
        let queued = state.queue.bytes
        peers[peer] = state
        if !fits {
            disconnect(peer)
            effects.append(.fault(peer, .tooSlow(queuedBytes: queued)))
            effects.append(.giveUp(peer))
        }
    }

    // MARK: Backoff

    mutating func setBackoff(_ peer: PeerID, _ topic: GossipTopic, until: Instant) {
        if let present = backoffs[topic]?[peer], present >= until { return }
        if backoffs[topic]?[peer] == nil, backoffs.reduce(0, { $0 + $1.value.count }) >= parameters.backoffsMax {
            dropEarliestBackoff()
        }
        backoffs[topic, default: [:]][peer] = until
    }

    private mutating func dropEarliestBackoff() {
        var earliest: (topic: GossipTopic, peer: PeerID, until: Instant)?
        for topic in backoffs.keys.sorted() {
            for (peer, until) in (backoffs[topic] ?? [:]).sorted(by: { $0.key < $1.key })
            where earliest.map({ until < $0.until }) ?? true {
                earliest = (topic, peer, until)
            }
        }
        if let earliest { backoffs[earliest.topic]?[earliest.peer] = nil }
    }

    mutating func forgetPromise(_ id: MessageID, _ peer: PeerID) {
        promises[id]?[peer] = nil
        if promises[id]?.isEmpty == true { promises[id] = nil }
    }

    mutating func countDuplicate() { duplicates &+= 1 }
}
