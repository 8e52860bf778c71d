// What goes wrong, when the seed says so.

import NodeCore
import Primitives

extension SimulatedWorld {
    func harm() {
        guard !isHealing else { return }
        queue.push(.harm, at: now + .milliseconds(200 + random.below(2500)))
        let kinds: [SimulatedFault] = [.crash, .partition, .vanish, .loss].filter { options.faults.contains($0) }
        guard let kind = pick(kinds) else { return }
        switch kind {
        case .crash: crash(Int(random.below(UInt64(homes.count))))
        case .partition: divide()
        case .vanish: vanish()
        default:
            guard let link = pick(network.live) else { return }
            mishaps += 1
            cut(link)
        }
    }

    private func divide() {
        guard Set(groups).count == 1, homes.count > 1 else { return }
        mishaps += 1
        for index in groups.indices { groups[index] = Int(random.below(2)) }
        for link in network.live {
            guard let ends = network.links[link], groups[ends.low] != groups[ends.high] else { continue }
            cut(link)
        }
        queue.push(.reunite, at: now + .milliseconds(500 + random.below(12_000)))
    }

    /// One side of an answer that is being given is gone, for good or for a while.
    private func vanish() {
        guard let id = pick(network.standing(NodeProtocol.infer)), let pipe = network.pipes[id] else { return }
        mishaps += 1
        switch random.below(3) {
        case 0: crash(pipe.opener)
        case 1: crash(pipe.acceptor)
        default: cut(pipe.link)
        }
    }
}
