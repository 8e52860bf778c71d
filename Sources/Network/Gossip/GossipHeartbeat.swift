// The heartbeat (specification: "Heartbeat procedure"): forget what is over, steer each mesh to its degree, tell peers
// outside the mesh what has passed.

internal import Primitives

extension GossipRouter {
    mutating func heartbeat(now: Instant) {
        expire(now: now)
        var control: [PeerID: GossipRPC] = [:]
        for topic in mesh.keys.sorted() { steer(topic, now: now, &control) }
        for topic in fanout.keys.sorted() { refill(topic, now: now) }
        for peer in control.keys.sorted() {
            if let rpc = control[peer] { send(rpc, to: peer, .control) }
        }
        gossip()
        cache.shift()
    }

    private mutating func expire(now: Instant) {
        seen.expire(now: now)
        for peer in peers.keys {
            peers[peer]?.ihaves = 0
            peers[peer]?.idsAsked = 0
            peers[peer]?.idsAnswered = 0
            peers[peer]?.bytesAnswered = 0
        }
        for topic in backoffs.keys {
            backoffs[topic] = backoffs[topic]?.filter { $0.value > now }
            if backoffs[topic]?.isEmpty == true { backoffs[topic] = nil }
        }
        for id in promises.keys.sorted() {
            for (peer, due) in (promises[id] ?? [:]).sorted(by: { $0.key < $1.key }) where due <= now {
                forgetPromise(id, peer)
                effects.append(.fault(peer, .brokenPromise(id)))
            }
        }
        fanout = fanout.filter { now.since($0.value.lastPublish) < parameters.fanoutLife }
    }

    private mutating func steer(_ topic: GossipTopic, now: Instant, _ control: inout [PeerID: GossipRPC]) {
        var links = mesh[topic] ?? []
        func graft(_ chosen: [PeerID]) {
            for peer in chosen {
                links.insert(peer)
                control[peer, default: GossipRPC()].graft.append(topic)
            }
        }

        if links.count < parameters.meshDegreeMin {
            graft(draw(parameters.meshDegree - links.count, from: candidates(topic, now: now, besides: links)))
        }
        if links.count > parameters.meshDegreeMax {
            for peer in excess(of: links) {
                links.remove(peer)
                setBackoff(peer, topic, until: now + parameters.pruneBackoff)
                control[peer, default: GossipRPC()].prune.append(
                    Pruning(topic: topic, backoff: parameters.pruneBackoff))
            }
        }
        // Links that we dialled, so that inbound peers alone never surround us.
        if links.count >= parameters.meshDegreeMin {
            let outbound = links.count { peers[$0]?.isOutbound == true }
            let others = candidates(topic, now: now, besides: links).filter { peers[$0]?.isOutbound == true }
            graft(draw(parameters.meshDegreeOutbound - outbound, from: others))
        }
        mesh[topic] = links
    }

    /// Which links of a mesh that is too large are cut: by lot down to D, but so that D_out dialled ones stay. With
    /// scores, the first D_score of the order are those with the best score.
    private mutating func excess(of links: Set<PeerID>) -> [PeerID] {
        let order = links.sorted().shuffled(using: &random)
        let dialled = order.filter { peers[$0]?.isOutbound == true }.prefix(parameters.meshDegreeOutbound)
        let others = order.filter { !dialled.contains($0) }
        let kept = Set(dialled + others.prefix(parameters.meshDegree - dialled.count))
        return links.filter { !kept.contains($0) }.sorted()
    }

    private mutating func refill(_ topic: GossipTopic, now: Instant) {
        guard var entry = fanout[topic] else { return }
        entry.peers = entry.peers.filter { peers[$0]?.topics.contains(topic) == true }
        let others = subscribers(topic).filter { !entry.peers.contains($0) }
        entry.peers.formUnion(draw(parameters.meshDegree - entry.peers.count, from: others))
        fanout[topic] = entry
    }

    /// IHAVE to peers that are in the topic but get its messages from others.
    private mutating func gossip() {
        var told: [PeerID: [Announcement]] = [:]
        for topic in Set(mesh.keys).union(fanout.keys).sorted() {
            let ids = cache.gossip(topic: topic)
            guard !ids.isEmpty else { continue }
            let near = mesh[topic] ?? fanout[topic]?.peers ?? []
            let far = subscribers(topic).filter { !near.contains($0) }
            let count = max(parameters.gossipDegree, far.count * parameters.gossipPercent / 100)
            for peer in draw(count, from: far) {
                // A cut list starts elsewhere for every peer, so that together they hear of all.
                let some =
                    ids.count > parameters.idsPerHeartbeatMax
                    ? Array(ids.shuffled(using: &random).prefix(parameters.idsPerHeartbeatMax)) : ids
                told[peer, default: []].append(Announcement(topic: topic, ids: some))
            }
        }
        for peer in told.keys.sorted() { send(GossipRPC(ihave: told[peer] ?? []), to: peer, .gossip) }
    }
}
