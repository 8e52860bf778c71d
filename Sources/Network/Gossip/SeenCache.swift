// Which messages have passed by, for `seenLife` after they were first seen. First in, first out: an entry is never
// renewed, so the order of arrival is the order of expiry and forgetting costs nothing.

internal import Primitives

struct SeenCache: Sendable {
    private var since: [MessageID: Instant] = [:]
    private var order: [MessageID] = []
    private var head = 0
    let life: Span
    let countMax: Int

    init(life: Span, countMax: Int) {
        self.life = life
        self.countMax = countMax
    }

    var count: Int { since.count }

    func contains(_ id: MessageID) -> Bool { since[id] != nil }

    /// - Returns: false if it was there.
    mutating func insert(_ id: MessageID, now: Instant) -> Bool {
        expire(now: now)
        guard since[id] == nil else { return false }
        if since.count >= countMax { dropOldest() }
        since[id] = now
        order.append(id)
        return true
    }

    mutating func expire(now: Instant) {
        while head < order.count, let first = since[order[head]], now.since(first) >= life { dropOldest() }
    }

    private mutating func dropOldest() {
        guard head < order.count else { return }
        since[order[head]] = nil
        head += 1
        if head > 1_024, head * 2 > order.count {
            order.removeFirst(head)
            head = 0
        }
    }
}
