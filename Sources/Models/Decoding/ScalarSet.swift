// A set of Unicode scalars as sorted ranges, and its UTF-8 as sequences of byte ranges: the recogniser reads bytes, so
// that a token may end in the middle of a character.

struct ScalarSet: Hashable, Sendable {
    private static let last: UInt32 = 0x10_ffff
    private static let surrogates: ClosedRange<UInt32> = 0xd800...0xdfff

    /// Sorted, apart from one another, no surrogates.
    private(set) var ranges: [ClosedRange<UInt32>] = []

    static let all = ScalarSet([0...last])

    init(_ ranges: [ClosedRange<UInt32>]) {
        var whole: [ClosedRange<UInt32>] = []
        for range in ranges where range.lowerBound <= Self.last {
            let upper = min(range.upperBound, Self.last)
            let gap = Self.surrogates
            if range.lowerBound < gap.lowerBound {
                whole.append(range.lowerBound...min(upper, gap.lowerBound - 1))
            }
            if upper > gap.upperBound { whole.append(max(range.lowerBound, gap.upperBound + 1)...upper) }
        }
        whole.sort { $0.lowerBound < $1.lowerBound }
        for range in whole {
            if let previous = self.ranges.last, range.lowerBound <= previous.upperBound + 1 {
                let upper = max(previous.upperBound, range.upperBound)
                self.ranges[self.ranges.count - 1] = previous.lowerBound...upper
            } else {
                self.ranges.append(range)
            }
        }
    }

    init(_ characters: String) { self.init(characters.unicodeScalars.map { $0.value...$0.value }) }

    var isEmpty: Bool { ranges.isEmpty }

    func union(_ other: ScalarSet) -> ScalarSet { ScalarSet(ranges + other.ranges) }

    var inverted: ScalarSet {
        var gaps: [ClosedRange<UInt32>] = []
        var next: UInt32 = 0
        for range in ranges {
            if range.lowerBound > next { gaps.append(next...range.lowerBound - 1) }
            next = range.upperBound + 1
        }
        if next <= Self.last { gaps.append(next...Self.last) }
        return ScalarSet(gaps)
    }

    func subtracting(_ other: ScalarSet) -> ScalarSet { inverted.union(other).inverted }

    func intersection(_ other: ScalarSet) -> ScalarSet { inverted.union(other.inverted).inverted }

    func contains(_ scalar: UInt32) -> Bool { ranges.contains { $0.contains(scalar) } }

    /// The UTF-8 of the set: each item is one to four byte ranges, any choice of which is a character of the set.
    var byteSequences: [[ClosedRange<UInt8>]] {
        var sequences: [[ClosedRange<UInt8>]] = []
        let ends: [UInt32] = [0x7f, 0x7ff, 0xffff, Self.last]
        for range in ranges {
            var low = range.lowerBound
            for (index, end) in ends.enumerated() where low <= range.upperBound && low <= end {
                let high = min(range.upperBound, end)
                Self.split(Self.utf8(low, index + 1), Self.utf8(high, index + 1), [], &sequences)
                low = high + 1
            }
        }
        return sequences
    }

    private static func utf8(_ scalar: UInt32, _ length: Int) -> ArraySlice<UInt8> {
        guard length > 1 else { return [UInt8(truncatingIfNeeded: scalar)] }
        let leads: [UInt32] = [0, 0, 0xc0, 0xe0, 0xf0]
        var bytes = [UInt8(truncatingIfNeeded: leads[length] | scalar >> UInt32(6 * (length - 1)))]
        for place in stride(from: length - 2, through: 0, by: -1) {
            bytes.append(UInt8(truncatingIfNeeded: 0x80 | scalar >> UInt32(6 * place) & 0x3f))
        }
        return bytes[...]
    }

    /// All sequences from `low` to `high` in order, both of one length, as products of byte ranges.
    private static func split(
        _ low: ArraySlice<UInt8>, _ high: ArraySlice<UInt8>, _ prefix: [ClosedRange<UInt8>],
        _ out: inout [[ClosedRange<UInt8>]]
    ) {
        guard let first = low.first, let last = high.first else {
            out.append(prefix)
            return
        }
        let lowRest = low.dropFirst(), highRest = high.dropFirst()
        if first == last {
            split(lowRest, highRest, prefix + [first...first], &out)
            return
        }
        let least = [UInt8](repeating: 0x80, count: lowRest.count)[...]
        let most = [UInt8](repeating: 0xbf, count: lowRest.count)[...]
        let from = lowRest.elementsEqual(least) ? first : first + 1
        let to = highRest.elementsEqual(most) ? last : last - 1
        if from > first { split(lowRest, most, prefix + [first...first], &out) }
        if from <= to { out.append(prefix + [from...to] + least.map { _ in 0x80...0xbf }) }
        if to < last { split(least, highRest, prefix + [last...last], &out) }
    }
}
