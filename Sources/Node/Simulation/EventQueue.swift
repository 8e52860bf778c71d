// A binary heap by time, then by the order in which things were put in: two events of one moment happen in the order in
// which they were caused.

import Primitives

struct EventQueue<Happening> {
    private var entries: [(at: Instant, order: UInt64, happening: Happening)] = []
    private var lastOrder: UInt64 = 0

    var next: Instant? { entries.first?.at }

    mutating func push(_ happening: Happening, at instant: Instant) {
        lastOrder += 1
        entries.append((instant, lastOrder, happening))
        var child = entries.count - 1
        while child > 0, precedes(child, (child - 1) / 2) {
            entries.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func pop() -> (at: Instant, happening: Happening)? {
        guard let first = entries.first else { return nil }
        let last = entries.removeLast()
        guard !entries.isEmpty else { return (first.at, first.happening) }
        entries[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < entries.count && precedes(child, least) {
                least = child
            }
            guard least != parent else { break }
            entries.swapAt(parent, least)
            parent = least
        }
        return (first.at, first.happening)
    }

    private func precedes(_ left: Int, _ right: Int) -> Bool {
        (entries[left].at, entries[left].order) < (entries[right].at, entries[right].order)
    }
}
