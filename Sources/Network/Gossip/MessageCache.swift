// Recent messages, by the heartbeat in which they came (specification: "Message Cache"). Those of the last
// `gossipWindows` are told of, those of the last `historyWindows` can be asked for. Bounded in messages and in bytes:
// when full, the oldest leave early.

internal import Primitives

struct MessageCache: Sendable {
    private struct Entry {
        let message: GossipMessage
        /// How often each peer was sent this in answer to IWANT.
        var sent: [PeerID: Int] = [:]
    }

    private var entries: [MessageID: Entry] = [:]
    /// Newest first.
    private var windows: [[MessageID]]
    private(set) var bytes = 0
    private let gossipWindows: Int
    private let countMax: Int
    private let bytesMax: Int

    init(_ parameters: GossipParameters) {
        precondition(parameters.gossipWindows <= parameters.historyWindows, "what is told of can be asked for")
        windows = Array(repeating: [], count: parameters.historyWindows)
        gossipWindows = parameters.gossipWindows
        countMax = parameters.cachedMessagesMax
        bytesMax = parameters.cachedBytesMax
    }

    var count: Int { entries.count }

    mutating func put(_ id: MessageID, _ message: GossipMessage) {
        guard entries[id] == nil else { return }
        let size = message.bytesOnWire
        while !entries.isEmpty, entries.count >= countMax || bytes + size > bytesMax { dropOldest() }
        entries[id] = Entry(message: message)
        bytes += size
        windows[0].append(id)
    }

    /// The message, and how often `peer` has now been sent it.
    mutating func take(_ id: MessageID, for peer: PeerID) -> (message: GossipMessage, times: Int)? {
        guard var entry = entries[id] else { return nil }
        let times = entry.sent[peer, default: 0] + 1
        entry.sent[peer] = times
        entries[id] = entry
        return (entry.message, times)
    }

    func contains(_ id: MessageID) -> Bool { entries[id] != nil }

    /// Identifiers to tell of, newest window first, in order of arrival.
    func gossip(topic: GossipTopic) -> [MessageID] {
        windows.prefix(gossipWindows).flatMap { $0.filter { entries[$0]?.message.topic == topic } }
    }

    mutating func forget(_ peer: PeerID) {
        for window in windows {
            for id in window where entries[id]?.sent[peer] != nil { entries[id]?.sent[peer] = nil }
        }
    }

    /// A heartbeat has passed.
    mutating func shift() {
        for id in windows.removeLast() { remove(id) }
        windows.insert([], at: 0)
    }

    private mutating func dropOldest() {
        guard let index = windows.lastIndex(where: { !$0.isEmpty }) else { return }
        remove(windows[index].removeFirst())
    }

    private mutating func remove(_ id: MessageID) {
        guard let entry = entries.removeValue(forKey: id) else { return }
        bytes -= entry.message.bytesOnWire
    }
}
