// Byte-pair merging: of all neighbouring pairs that the table knows, the one of lowest rank merges first, the leftmost
// on a
// tie. A heap over a linked list keeps a hostile line of a million letters at n log n.

struct BytePairs: Sendable {
    struct Merge: Sendable {
        let rank: Int32
        let token: Int32
    }

    /// (left << 32 | right) to what they become.
    private let merges: [UInt64: Merge]

    init(_ merges: [UInt64: Merge]) { self.merges = merges }

    static func pair(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    private struct Candidate {
        let rank: Int32
        let at: Int32
        let token: Int32

        static func < (left: Self, right: Self) -> Bool { (left.rank, left.at) < (right.rank, right.at) }
    }

    /// Appends the merged tokens of one word.
    func encode(_ symbols: [Int32], into out: inout [Int32]) {
        guard symbols.count > 1 else {
            out += symbols
            return
        }
        var tokens = symbols
        var next = Array(Int32(1)...Int32(symbols.count)), previous = Array(Int32(-1)..<Int32(symbols.count - 1))
        var alive = [Bool](repeating: true, count: symbols.count)
        var heap: [Candidate] = []
        func merge(_ at: Int32) -> Merge? {
            let right = Int(next[Int(at)])
            return right < tokens.count ? merges[Self.pair(tokens[Int(at)], tokens[right])] : nil
        }
        func offer(_ at: Int32) {
            guard let found = merge(at) else { return }
            heap.append(Candidate(rank: found.rank, at: at, token: found.token))
            var child = heap.count - 1
            while child > 0, heap[child] < heap[(child - 1) / 2] {
                heap.swapAt(child, (child - 1) / 2)
                child = (child - 1) / 2
            }
        }
        func take() -> Candidate? {
            guard let top = heap.first else { return nil }
            let last = heap.removeLast()
            guard !heap.isEmpty else { return top }
            heap[0] = last
            var parent = 0
            while true {
                var least = parent
                for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child] < heap[least] {
                    least = child
                }
                guard least != parent else { return top }
                heap.swapAt(parent, least)
                parent = least
            }
        }
        for at in 0..<Int32(symbols.count) { offer(at) }
        while let candidate = take() {
            // Stale where the pair has changed since it was offered.
            guard alive[Int(candidate.at)], let found = merge(candidate.at), found.token == candidate.token else {
                continue
            }
            let at = candidate.at, right = next[Int(at)]
            tokens[Int(at)] = found.token
            alive[Int(right)] = false
            next[Int(at)] = next[Int(right)]
            if Int(next[Int(at)]) < tokens.count { previous[Int(next[Int(at)])] = at }
            if previous[Int(at)] >= 0 { offer(previous[Int(at)]) }
            offer(at)
        }
        var at = 0
        while at < tokens.count {
            out.append(tokens[at])
            at = Int(next[at])
        }
    }
}
