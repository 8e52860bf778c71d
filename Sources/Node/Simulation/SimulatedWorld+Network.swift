// Carrying what the nodes send, late, twice or not at all.

import Gossip
import NodeCore
import Primitives

extension SimulatedWorld {
    func latency() -> Span {
        var milliseconds = 1 + random.below(Self.latencyMaxMilliseconds)
        if !isHealing, options.faults.contains(.delay), random.below(100) < 4 { milliseconds += random.below(3000) }
        return .milliseconds(milliseconds)
    }

    func reaches(_ one: Int, _ other: Int) -> Bool {
        homes[one].node != nil && homes[other].node != nil && groups[one] == groups[other]
    }

    func connect(_ index: Int, _ other: Int) {
        guard reaches(index, other), let link = network.connect(index, other) else { return }
        for (end, far, outbound) in [(index, other, true), (other, index, false)] {
            guard network.isUp(link) else { return }
            feed(end, .connected(homes[far].peer, outbound: outbound))
        }
    }

    func cut(_ link: Int) {
        guard let broken = network.links[link], broken.isUp else { return }
        network.cut(link)
        for end in [broken.low, broken.high] {
            queue.push(.broken(link, noticedBy: end), at: now + .milliseconds(1 + random.below(400)))
        }
    }

    func noticeBroken(_ link: Int, _ index: Int) {
        guard let broken = network.links[link], broken.unnoticed.contains(index) else { return }
        let gone = network.noticed(link, by: index)
        for stream in gone { feed(index, .ended(stream)) }
        feed(index, .disconnected(homes[broken.other(than: index)].peer))
    }

    func open(_ stream: StreamID, _ index: Int, _ peer: PeerID, _ names: [String]) {
        guard let other = indexes[peer], let name = names.first,
            let pipe = network.open(stream, from: index, to: other, name)
        else { return push(index, .openFailed(stream), after: .microseconds(10)) }
        queue.push(.accepted(pipe), at: network.arrival(pipe, to: other, earliest: now + latency()))
    }

    func accepted(_ id: Int) {
        guard let pipe = network.pipes[id], homes[pipe.acceptor].node != nil, let stream = network.accept(id) else {
            return
        }
        carry(id, to: pipe.opener, .opened)
        feed(pipe.acceptor, .accepted(stream, homes[pipe.opener].peer, protocolName: pipe.protocolName))
    }

    private func carry(_ id: Int, to peer: Int, _ news: PipeNews) {
        queue.push(.pipe(id, to: peer, news), at: network.arrival(id, to: peer, earliest: now + latency()))
    }

    func send(_ stream: StreamID, _ index: Int, _ bytes: [UInt8]) {
        guard let id = network.pipe(of: stream, at: index), let pipe = network.pipes[id] else { return }
        let other = pipe.other(than: index)
        checker.sent(bytes, from: index, on: id, pipe)
        var messages = [bytes]
        if homes[index].isByzantine {
            // In the end it is a member that says nothing: the others must do without it.
            if isHealing, pipe.protocolName == NodeProtocol.consensus { return }
            if !isHealing { messages = liar?.twist(bytes, pipe, to: other) ?? messages }
        }
        let isRepeatable =
            pipe.protocolName == NodeProtocol.consensus || NodeProtocol.gossip.contains(pipe.protocolName)
        for message in messages {
            if !isHealing, options.faults.contains(.loss) {
                if pipe.protocolName == NodeProtocol.consensus, random.below(100) < 5 { continue }
                if random.below(1000) < 2 {
                    mishaps += 1
                    return cut(pipe.link)
                }
            }
            carry(id, to: other, .message(message))
            if !isHealing, isRepeatable, options.faults.contains(.duplicate), random.below(100) < 5 {
                carry(id, to: other, .message(message))
            }
        }
    }

    func end(_ stream: StreamID, _ index: Int, forgetting: Bool) {
        guard let id = network.pipe(of: stream, at: index), let pipe = network.pipes[id] else { return }
        carry(id, to: pipe.other(than: index), .ended)
        if forgetting { network.forget(id, at: index) }
    }

    func arrived(_ id: Int, _ index: Int, _ news: PipeNews) {
        guard let pipe = network.pipes[id], network.isUp(pipe.link), homes[index].node != nil,
            let stream = pipe.stream(at: index)
        else { return }
        switch news {
        case .opened: feed(index, .opened(stream, protocolName: pipe.protocolName))
        case .message(let bytes):
            checker.delivered(bytes, to: index, on: id, pipe)
            if homes[index].isByzantine { liar?.overheard(bytes, pipe) }
            feed(index, .received(stream, bytes))
        case .ended:
            // The adapter answers an end with its own.
            end(stream, index, forgetting: true)
            feed(index, .ended(stream))
        }
    }
}
