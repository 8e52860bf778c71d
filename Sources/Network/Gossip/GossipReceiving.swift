// What an RPC of a neighbour does: subscriptions, messages, control, in this order.

internal import Primitives

extension GossipRouter {
    mutating func receive(_ bytes: [UInt8], from peer: PeerID, now: Instant) {
        guard peers[peer] != nil else { return }
        let reading: GossipRPC.Reading
        do throws(GossipFault) {
            reading = try GossipRPC.read(bytes, parameters: parameters)
        } catch {
            effects.append(.fault(peer, error))
            return
        }
        for fault in reading.faults { effects.append(.fault(peer, fault)) }
        for entry in reading.rpc.subscriptions { note(entry, of: peer) }
        for message in reading.rpc.messages { receive(message, from: peer, now: now) }
        var answer = GossipRPC()
        answer.prune = graft(reading.rpc.graft, from: peer, now: now)
        prune(reading.rpc.prune, from: peer, now: now)
        send(answer, to: peer, .control)
        answerIHave(reading.rpc.ihave, from: peer, now: now)
        answerIWant(reading.rpc.iwant, from: peer)
    }

    private mutating func note(_ entry: Subscription, of peer: PeerID) {
        guard entry.isOn else {
            peers[peer]?.topics.remove(entry.topic)
            mesh[entry.topic]?.remove(peer)
            fanout[entry.topic]?.peers.remove(peer)
            return
        }
        guard peers[peer]?.topics.contains(entry.topic) == false else { return }
        guard let count = peers[peer]?.topics.count, count < parameters.topicsPerPeerMax else {
            effects.append(.fault(peer, .tooManyTopics(max: parameters.topicsPerPeerMax)))
            return
        }
        peers[peer]?.topics.insert(entry.topic)
    }

    // MARK: Messages

    private mutating func receive(_ message: GossipMessage, from peer: PeerID, now: Instant) {
        guard mesh[message.topic] != nil else { return }
        let id = parameters.messageID(message)
        promises[id] = nil
        if message.author == localPeer {
            // Our own, come back round; or someone who uses our name.
            if !seen.contains(id) { effects.append(.fault(peer, .forgedOwnMessage(id))) }
            return
        }
        for ticket in tickets[id] ?? [] where pending[ticket]?.message == message {
            pending[ticket]?.senders.insert(peer)
            countDuplicate()
            return
        }
        guard !seen.contains(id) else { return countDuplicate() }
        guard pending.count < parameters.pendingValidationsMax else {
            effects.append(.shed(id))
            return
        }
        if parameters.verifiesInline {
            guard message.signatureHolds() else {
                effects.append(.fault(peer, .invalidMessage(.wrongSignature)))
                return
            }
            _ = seen.insert(id, now: now)
        }
        let ticket = GossipTicket(number: nextTicket)
        nextTicket += 1
        pending[ticket] = Pending(
            id: id, message: message, source: peer, isVerified: parameters.verifiesInline, senders: [peer])
        tickets[id, default: []].append(ticket)
        effects.append(parameters.verifiesInline ? .deliver(ticket, message, from: peer) : .verify(ticket, message))
    }

    mutating func verified(_ ticket: GossipTicket, _ holds: Bool, now: Instant) {
        guard let waiting = pending[ticket], !waiting.isVerified else { return }
        guard holds else {
            forget(ticket)
            for peer in waiting.senders.sorted() {
                effects.append(.fault(peer, .invalidMessage(.wrongSignature)))
            }
            return
        }
        // Another message with the same name may have been verified first.
        guard seen.insert(waiting.id, now: now) else {
            forget(ticket)
            return countDuplicate()
        }
        pending[ticket]?.isVerified = true
        effects.append(.deliver(ticket, waiting.message, from: waiting.source))
    }

    mutating func validated(_ ticket: GossipTicket, _ verdict: GossipVerdict) {
        guard let waiting = pending[ticket], waiting.isVerified else { return }
        forget(ticket)
        switch verdict {
        case .ignore: break
        case .reject:
            for peer in waiting.senders.sorted() { effects.append(.fault(peer, .rejectedMessage(waiting.id))) }
        case .accept:
            cache.put(waiting.id, waiting.message)
            let links = mesh[waiting.message.topic] ?? []
            let rpc = GossipRPC(messages: [waiting.message])
            for peer in links.sorted() where !waiting.senders.contains(peer) && peer != waiting.message.author {
                send(rpc, to: peer, .forward)
            }
        }
    }

    private mutating func forget(_ ticket: GossipTicket) {
        guard let waiting = pending.removeValue(forKey: ticket) else { return }
        tickets[waiting.id]?.removeAll { $0 == ticket }
        if tickets[waiting.id]?.isEmpty == true { tickets[waiting.id] = nil }
    }

    // MARK: Control

    /// - Returns: the PRUNEs that answer those GRAFTs that we do not take.
    private mutating func graft(_ topics: [GossipTopic], from peer: PeerID, now: Instant) -> [Pruning] {
        var refused: [Pruning] = []
        for topic in topics {
            // A GRAFT for a topic that is not ours gets no answer, so that it cannot be used to make us talk.
            guard let links = mesh[topic], !links.contains(peer) else { continue }
            let inBackoff = !mayGraft(peer, topic, now: now)
            if inBackoff { effects.append(.fault(peer, .graftDuringBackoff(topic))) }
            let isFull = links.count >= parameters.meshDegreeMax && peers[peer]?.isOutbound != true
            guard !inBackoff, !isFull else {
                setBackoff(peer, topic, until: now + parameters.pruneBackoff)
                refused.append(Pruning(topic: topic, backoff: parameters.pruneBackoff))
                continue
            }
            // Who grafts is subscribed, even if we have not been told.
            note(Subscription(topic: topic, isOn: true), of: peer)
            mesh[topic]?.insert(peer)
        }
        return refused
    }

    private mutating func prune(_ entries: [Pruning], from peer: PeerID, now: Instant) {
        for entry in entries where mesh[entry.topic] != nil {
            mesh[entry.topic]?.remove(peer)
            setBackoff(peer, entry.topic, until: now + (entry.backoff ?? parameters.pruneBackoff))
        }
    }

    private mutating func answerIHave(_ entries: [Announcement], from peer: PeerID, now: Instant) {
        guard !entries.isEmpty, var state = peers[peer] else { return }
        state.ihaves += 1
        guard state.ihaves <= parameters.ihavesPerHeartbeatMax else {
            peers[peer] = state
            effects.append(.fault(peer, .ihaveFlood(rpcs: state.ihaves)))
            return
        }
        var wanted: Set<MessageID> = []
        for entry in entries where mesh[entry.topic] != nil {
            for id in entry.ids where !seen.contains(id) && tickets[id] == nil { wanted.insert(id) }
        }
        // By lot, so that two who tell of the same list are not both asked for its head only.
        let room = parameters.idsPerHeartbeatMax - state.idsAsked
        let asked = Array(wanted.sorted().shuffled(using: &random).prefix(max(0, room)))
        state.idsAsked += asked.count
        peers[peer] = state
        guard let promised = asked.first else { return }
        if promises.count < parameters.promisesMax || promises[promised] != nil {
            promises[promised, default: [:]][peer] = now + parameters.promiseLife
        }
        send(GossipRPC(iwant: asked), to: peer, .gossip)
    }

    private mutating func answerIWant(_ ids: [MessageID], from peer: PeerID) {
        guard !ids.isEmpty, var state = peers[peer] else { return }
        var rpc = GossipRPC()
        for id in ids {
            guard state.idsAnswered < parameters.idsPerHeartbeatMax,
                state.bytesAnswered < parameters.iwantAnswerBytesMax
            else {
                effects.append(.fault(peer, .iwantFlood(ids: ids.count)))
                break
            }
            state.idsAnswered += 1
            guard let (message, times) = cache.take(id, for: peer), times <= parameters.retransmissionsMax else {
                continue
            }
            state.bytesAnswered += message.bytesOnWire
            rpc.messages.append(message)
        }
        peers[peer] = state
        send(rpc, to: peer, .gossip)
    }
}
