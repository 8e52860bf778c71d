// Holds text back while it may be the beginning of a stop string. All stop strings are sought at once (Aho and Corasick,
// 1975), a byte at a time, so the cost is that of the text and what is found does not depend on how tokens cut it:
// the stop string that is complete first ends the text, and of several that end there the longest.
//
//     state = the longest end of the text so far that begins some stop string; that many bytes are held back

package struct StopText: Sendable {
    private struct State: Sendable {
        /// By byte, sorted by it.
        var next: [(byte: UInt8, state: Int32)] = []
        var fallback: Int32 = 0
        /// Bytes of text that this state stands for.
        var depth = 0
        /// Bytes of the longest stop string that ends here.
        var match = 0
    }

    private var states: [State] = [State()]
    private var state: Int32 = 0
    private var held: [UInt8] = []

    package init(_ stops: [String]) {
        for stop in stops where !stop.utf8.isEmpty { insert(stop.utf8) }
        link()
    }

    private mutating func insert(_ stop: String.UTF8View) {
        var at = 0
        for byte in stop {
            if let next = states[at].next.first(where: { $0.byte == byte }) {
                at = Int(next.state)
            } else {
                var child = State()
                child.depth = states[at].depth + 1
                states[at].next.append((byte, Int32(truncatingIfNeeded: states.count)))
                at = states.count
                states.append(child)
            }
        }
        states[at].match = states[at].depth
    }

    /// Breadth first: where to go on when no stop string continues with a byte.
    private mutating func link() {
        var queue = states[0].next.map(\.state)
        var at = 0
        while at < queue.count {
            let parent = queue[at]
            at += 1
            for (byte, child) in states[Int(parent)].next {
                let fallback = follow(states[Int(parent)].fallback, byte)
                states[Int(child)].fallback = fallback
                if states[Int(child)].match == 0 { states[Int(child)].match = states[Int(fallback)].match }
                queue.append(child)
            }
        }
    }

    private func follow(_ from: Int32, _ byte: UInt8) -> Int32 {
        var at = from
        while true {
            if let next = states[Int(at)].next.first(where: { $0.byte == byte }) { return next.state }
            guard at != 0 else { return 0 }
            at = states[Int(at)].fallback
        }
    }

    /// The text that may be shown, and whether a stop string ended it. After that, no text is taken.
    package mutating func add(_ text: String) -> (text: String, stopped: Bool) {
        guard states.count > 1 else { return (text, false) }
        for byte in text.utf8 {
            held.append(byte)
            state = follow(state, byte)
            let match = states[Int(state)].match
            if match > 0 {
                let shown = String(decoding: held.dropLast(match), as: UTF8.self)
                held.removeAll()
                state = 0
                return (shown, true)
            }
        }
        let cut = held.count - states[Int(state)].depth
        let shown = String(decoding: held[..<cut], as: UTF8.self)
        held.removeFirst(cut)
        return (shown, false)
    }

    package mutating func finish() -> String {
        defer {
            held.removeAll()
            state = 0
        }
        return String(decoding: held, as: UTF8.self)
    }
}
