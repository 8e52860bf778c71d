// The timers of a loop: a binary heap ordered by time, then by the order of asking, behind one timer of libuv.

internal import Primitives

package struct TimerToken: Hashable, Sendable {
    fileprivate let number: UInt64
}

struct TimerQueue {
    private struct Entry {
        let due: Instant
        let token: TimerToken
    }

    private var heap: [Entry] = []
    private var work: [TimerToken: () -> Void] = [:]
    private var nextNumber: UInt64 = 0

    var isEmpty: Bool { work.isEmpty }
    /// When the next timer is due. A cancelled one may still stand here: it only costs a wake-up.
    var nextDue: Instant? { work.isEmpty ? nil : heap.first?.due }

    mutating func add(due: Instant, _ job: @escaping () -> Void) -> TimerToken {
        let token = TimerToken(number: nextNumber)
        nextNumber += 1
        work[token] = job
        heap.append(Entry(due: due, token: token))
        siftUp(heap.count - 1)
        return token
    }

    mutating func cancel(_ token: TimerToken) {
        work[token] = nil
        // Cancelled entries go when they are due, or all at once when they are most of the heap.
        if heap.count > 64, heap.count > 4 * work.count {
            heap = heap.filter { work[$0.token] != nil }.sorted(by: Self.isBefore)
        }
    }

    /// Takes the next job that is due at `now`.
    mutating func popDue(_ now: Instant) -> (() -> Void)? {
        while let first = heap.first, first.due <= now {
            removeFirst()
            if let job = work.removeValue(forKey: first.token) { return job }
        }
        return nil
    }

    private static func isBefore(_ left: Entry, _ right: Entry) -> Bool {
        left.due == right.due ? left.token.number < right.token.number : left.due < right.due
    }

    private mutating func siftUp(_ start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard Self.isBefore(heap[child], heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func removeFirst() {
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
                if Self.isBefore(heap[child], heap[least]) { least = child }
            }
            guard least != parent else { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
