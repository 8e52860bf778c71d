// A rate as a vessel that fills evenly and holds a minute's worth. Time is an argument.
//
// A request takes what it is expected to need before it runs, and the difference to what it did need afterwards: the
// level may so fall below zero, and the next one waits until it is filled again.

import Primitives

struct TokenBucket: Sendable, Hashable {
    private static let minute = 60.0

    let perMinute: Int
    private var level: Double
    private var updated: Instant

    /// Full.
    init(perMinute: Int, now: Instant) {
        self.perMinute = perMinute
        level = Double(perMinute)
        updated = now
    }

    private func level(at now: Instant) -> Double {
        let filled = level + now.since(updated).inSeconds * Double(perMinute) / Self.minute
        return min(Double(perMinute), filled)
    }

    /// Whole units that could be taken now.
    func remaining(at now: Instant) -> Int { Int(max(0, level(at: now).rounded(.down))) }

    /// How long until it is full.
    func untilFull(at now: Instant) -> Double { seconds(to: Double(perMinute), at: now) }

    /// How long until `count` can be taken, in seconds; 0: now. What is more than it holds can be taken when it is full.
    func wait(for count: Int, at now: Instant) -> Double {
        seconds(to: Double(min(max(0, count), perMinute)), at: now)
    }

    private func seconds(to wanted: Double, at now: Instant) -> Double {
        let lacking = wanted - level(at: now)
        return lacking <= 0 ? 0 : lacking * Self.minute / Double(max(1, perMinute))
    }

    /// - Parameter count: negative gives back.
    mutating func take(_ count: Int, at now: Instant) {
        level = min(Double(perMinute), level(at: now) - Double(count))
        updated = now
    }
}
