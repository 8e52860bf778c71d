// RPCs that wait for a congested peer, a lane for each class. When there are too many bytes, gossip is dropped first (it
// is repeated or replaced by the next heartbeat), then forwarded messages (gossip will offer them again); control and
// our own messages are never dropped: if even these do not fit, the peer is too slow to be one.

enum OutboundClass: Int, Hashable, Sendable, CaseIterable {
    case control, own, forward, gossip
}

struct OutboundQueue: Sendable {
    /// Oldest first; what was dropped from the front is counted by `head`.
    private struct Lane {
        var items: [[UInt8]] = []
        var head = 0
        var bytes = 0

        mutating func dropOldest() -> Bool {
            guard head < items.count else { return false }
            bytes -= items[head].count
            items[head] = []
            head += 1
            return true
        }
    }

    private var lanes = OutboundClass.allCases.map { _ in Lane() }
    private(set) var dropped = 0

    var isEmpty: Bool { bytes == 0 }
    var bytes: Int { lanes.reduce(0) { $0 + $1.bytes } }
    /// Bytes that may not be dropped.
    var keptBytes: Int { lanes[OutboundClass.control.rawValue].bytes + lanes[OutboundClass.own.rawValue].bytes }

    /// - Returns: false if what must be kept is more than `keptBytesMax`.
    mutating func append(_ rpc: [UInt8], _ rank: OutboundClass, bytesMax: Int, keptBytesMax: Int) -> Bool {
        lanes[rank.rawValue].items.append(rpc)
        lanes[rank.rawValue].bytes += rpc.count
        for loser in [OutboundClass.gossip, .forward] {
            while bytes > bytesMax, lanes[loser.rawValue].dropOldest() { dropped += 1 }
        }
        return keptBytes <= keptBytesMax
    }

    /// Everything that is left: control first, then our own, forwarded, gossip.
    mutating func drain() -> [[UInt8]] {
        defer { lanes = OutboundClass.allCases.map { _ in Lane() } }
        return lanes.flatMap { $0.items[$0.head...] }
    }
}
