// Merging neighbours, the most urgent pair first and the leftmost on a tie: what byte pairs and scored pieces share.
// Few symbols are scanned again after every merge; many go through a heap over a linked list, which keeps a hostile
// line of a million letters at n log n.

/// What decides which neighbours become one.
protocol MergeRule {
    /// `rank << 32 | token` of the pair that begins at these two places; `PairTable.none` if they do not merge.
    func merge(_ left: Int, _ right: Int) -> UInt64
    /// The pair has become `token` and lives at `left`.
    mutating func join(_ left: Int, _ right: Int, _ token: Int32)
    /// One symbol takes another's place (few symbols only).
    mutating func move(from: Int, to: Int)
}

struct MergeQueue: Sendable {
    private static let scannedMax = 40

    private var ranks: [UInt64] = []
    private var heap: [UInt64] = []
    private var next: [Int32] = []
    private var previous: [Int32] = []

    /// Merges `count` symbols in place and calls `emit` with the place of each that is left.
    @inline(__always)
    mutating func run(_ rule: inout some MergeRule, count: Int, emit: (Int) -> Void) {
        if count <= Self.scannedMax {
            let left = scan(&rule, count: count)
            for place in 0..<left { emit(place) }
            return
        }
        drain(&rule, count: count)
        var place = 0
        while place < count {
            emit(place)
            place = Int(next[place])
        }
    }

    @inline(__always)
    private mutating func scan(_ rule: inout some MergeRule, count: Int) -> Int {
        guard count > 1 else { return count }
        if ranks.count < Self.scannedMax { ranks = [UInt64](repeating: PairTable.none, count: Self.scannedMax) }
        var left = count
        return ranks.withUnsafeMutableBufferPointer { ranks in
            for at in 0..<left - 1 { ranks[at] = rule.merge(at, at + 1) }
            while left > 1 {
                var best = PairTable.none, place = 0
                for at in 0..<left - 1 where ranks[at] < best {
                    best = ranks[at]
                    place = at
                }
                if best == PairTable.none { break }
                rule.join(place, place + 1, Int32(truncatingIfNeeded: best))
                for at in place + 1..<left - 1 {
                    rule.move(from: at + 1, to: at)
                    ranks[at] = ranks[at + 1]
                }
                left -= 1
                if place + 1 < left { ranks[place] = rule.merge(place, place + 1) }
                if place > 0 { ranks[place - 1] = rule.merge(place - 1, place) }
            }
            return left
        }
    }

    /// Keys of the heap are `rank << 32 | place`. A key is stale where the pair at its place has changed since.
    private mutating func drain(_ rule: inout some MergeRule, count: Int) {
        next.removeAll(keepingCapacity: true)
        previous.removeAll(keepingCapacity: true)
        heap.removeAll(keepingCapacity: true)
        for at in 0..<count {
            next.append(Int32(truncatingIfNeeded: at + 1))
            previous.append(Int32(truncatingIfNeeded: at - 1))
            if at + 1 < count { offer(rule, at, at + 1) }
        }
        while let key = take() {
            let at = Int(key & 0xffff_ffff), right = Int(next[at])
            // -1 marks a symbol that is part of another by now.
            guard previous[at] >= -1, right < count else { continue }
            let found = rule.merge(at, right)
            guard found != PairTable.none, found >> 32 == key >> 32 else { continue }
            rule.join(at, right, Int32(truncatingIfNeeded: found))
            let after = next[right]
            next[at] = after
            previous[right] = -2
            if Int(after) < count {
                previous[Int(after)] = Int32(truncatingIfNeeded: at)
                offer(rule, at, Int(after))
            }
            if previous[at] >= 0 { offer(rule, Int(previous[at]), at) }
        }
    }

    private mutating func offer(_ rule: some MergeRule, _ left: Int, _ right: Int) {
        let found = rule.merge(left, right)
        guard found != PairTable.none else { return }
        let key = (found >> 32) << 32 | UInt64(left)
        heap.append(key)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard key < heap[parent] else { break }
            heap[child] = heap[parent]
            child = parent
        }
        heap[child] = key
    }

    private mutating func take() -> UInt64? {
        guard let top = heap.first else { return nil }
        let key = heap.removeLast()
        let count = heap.count
        guard count > 0 else { return top }
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < count else { break }
            if child + 1 < count, heap[child + 1] < heap[child] { child += 1 }
            guard heap[child] < key else { break }
            heap[parent] = heap[child]
            parent = child
        }
        heap[parent] = key
        return top
    }
}
