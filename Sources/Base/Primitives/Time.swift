// Two kinds of time that must not meet: `Instant` only moves forward and means nothing outside the process;
// `WallTime` is what calendars show and may jump. Nothing here reads a clock: adapters do, and hand the value in.

/// A length of time in nanoseconds, never negative.
public struct Span: Hashable, Comparable, Sendable {
    public let nanoseconds: UInt64

    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }
    public static func microseconds(_ count: UInt64) -> Span { Span(nanoseconds: count * 1_000) }
    public static func milliseconds(_ count: UInt64) -> Span { Span(nanoseconds: count * 1_000_000) }
    public static func seconds(_ count: UInt64) -> Span { Span(nanoseconds: count * 1_000_000_000) }
    public static func minutes(_ count: UInt64) -> Span { .seconds(count * 60) }
    public static let zero = Span(nanoseconds: 0)

    public var milliseconds: UInt64 { nanoseconds / 1_000_000 }
    public var inSeconds: Double { Double(nanoseconds) / 1e9 }

    public static func < (left: Span, right: Span) -> Bool { left.nanoseconds < right.nanoseconds }
    public static func + (left: Span, right: Span) -> Span { Span(nanoseconds: left.nanoseconds + right.nanoseconds) }
    public static func * (span: Span, factor: UInt64) -> Span { Span(nanoseconds: span.nanoseconds * factor) }
    public static func / (span: Span, divisor: UInt64) -> Span { Span(nanoseconds: span.nanoseconds / divisor) }
}

/// Monotonic time, nanoseconds since the process (or the simulation) began.
public struct Instant: Hashable, Comparable, Sendable {
    public let nanoseconds: UInt64
    public static let start = Instant(nanoseconds: 0)
    public static let distantFuture = Instant(nanoseconds: .max)

    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    public static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }

    /// Saturates at the distant future.
    public static func + (instant: Instant, span: Span) -> Instant {
        let (sum, overflow) = instant.nanoseconds.addingReportingOverflow(span.nanoseconds)
        return overflow ? .distantFuture : Instant(nanoseconds: sum)
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    public func since(_ earlier: Instant) -> Span {
        Span(nanoseconds: nanoseconds > earlier.nanoseconds ? nanoseconds - earlier.nanoseconds : 0)
    }
}

/// Milliseconds since 1970-01-01 UTC, without leap seconds.
public struct WallTime: Hashable, Comparable, Sendable {
    public let milliseconds: Int64

    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    public static func < (left: WallTime, right: WallTime) -> Bool { left.milliseconds < right.milliseconds }

    /// Saturating.
    public func adding(milliseconds delta: Int64) -> WallTime {
        let (sum, overflow) = milliseconds.addingReportingOverflow(delta)
        return WallTime(milliseconds: overflow ? (delta > 0 ? .max : .min) : sum)
    }

    /// ISO 8601 to the second, for people: `2026-11-22T17:08:37Z`. Milliseconds where the year has no four digits.
    public var text: String {
        let day: Int64 = 86_400_000
        guard milliseconds >= 0, milliseconds < 2_932_897 * day else { return "\(milliseconds) ms since 1970" }
        // Days counted from the first of March of year 0, in eras of 400 years: the leap day ends its year.
        let days = milliseconds / day + 719_468
        let ofEra = days % 146_097
        let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
        let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let march = (5 * ofYear + 2) / 153
        let month = march < 10 ? march + 3 : march - 9
        let year = yearOfEra + days / 146_097 * 400 + (month <= 2 ? 1 : 0)
        let seconds = milliseconds % day / 1000
        func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let date = "\(year)-\(two(month))-\(two(ofYear - (153 * march + 2) / 5 + 1))"
        return "\(date)T\(two(seconds / 3600)):\(two(seconds / 60 % 60)):\(two(seconds % 60))Z"
    }
}
