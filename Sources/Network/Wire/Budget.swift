// A token bucket: what a peer may make us do in a burst, and for ever.

internal import Primitives

struct Budget: Sendable {
    private let capacity: UInt64
    private let perSecond: UInt64
    private var tokens: UInt64
    private var refilled: Instant

    init(burst: UInt64, perSecond: UInt64, now: Instant) {
        capacity = burst
        self.perSecond = perSecond
        tokens = burst
        refilled = now
    }

    /// - Returns: false when nothing is left.
    mutating func take(now: Instant) -> Bool {
        let seconds = now.since(refilled).nanoseconds / 1_000_000_000
        if seconds > 0 {
            let (earned, overflow) = seconds.multipliedReportingOverflow(by: perSecond)
            tokens = overflow ? capacity : min(capacity, tokens + min(earned, capacity))
            refilled = now
        }
        guard tokens > 0 else { return false }
        tokens -= 1
        return true
    }
}
