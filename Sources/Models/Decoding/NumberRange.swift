// Numbers between two bounds as an automaton over their digits: while the digits so far equal those of a bound the next
// one is held to it, and free as soon as they differ. Exact, since bounds and numbers are compared as written in decimal.

/// A bound as written: sign, digits before and after the point.
struct Decimal: Hashable {
    /// What a double holds exactly.
    static let digitsMax = 15
    var isNegative: Bool
    /// No leading zeros; zero is "0".
    var whole: [UInt8]
    /// No trailing zeros.
    var fraction: [UInt8]

    static let zero = Decimal(isNegative: false, whole: [0], fraction: [])

    private init(isNegative: Bool, whole: [UInt8], fraction: [UInt8]) {
        self.isNegative = isNegative
        self.whole = whole
        self.fraction = fraction
    }

    /// Nil where it has too many digits to be exact for every reader.
    init?(_ text: String) {
        var bytes = Array(text.utf8)[...]
        let negative = bytes.first == UInt8(ascii: "-")
        if negative { bytes.removeFirst() }
        var exponent = 0
        if let mark = bytes.firstIndex(where: { $0 | 0x20 == UInt8(ascii: "e") }) {
            guard let value = Int(String(decoding: bytes[(mark + 1)...], as: UTF8.self)), abs(value) <= 40 else {
                return nil
            }
            exponent = value
            bytes = bytes[..<mark]
        }
        let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        var digits = (parts.first ?? []).map { $0 &- 0x30 }
        var point = digits.count + exponent
        if parts.count > 1 { digits += parts[1].map { $0 &- 0x30 } }
        guard parts.count <= 2, !digits.isEmpty, digits.allSatisfy({ $0 <= 9 }) else { return nil }
        while point < 1 {
            digits.insert(0, at: 0)
            point += 1
        }
        while digits.count < point { digits.append(0) }
        var whole = Array(digits[..<point]), fraction = Array(digits[point...])
        while whole.count > 1, whole[0] == 0 { whole.removeFirst() }
        while fraction.last == 0 { fraction.removeLast() }
        guard whole.count + fraction.count <= Self.digitsMax else { return nil }
        self.init(isNegative: negative && (whole != [0] || !fraction.isEmpty), whole: whole, fraction: fraction)
    }

    var isZero: Bool { whole == [0] && fraction.isEmpty }
    var magnitude: Decimal { Decimal(isNegative: false, whole: whole, fraction: fraction) }

    static func < (a: Decimal, b: Decimal) -> Bool {
        if a.isNegative != b.isNegative { return a.isNegative }
        let (small, large) = a.isNegative ? (b, a) : (a, b)
        if small.whole.count != large.whole.count { return small.whole.count < large.whole.count }
        if small.whole != large.whole { return small.whole.lexicographicallyPrecedes(large.whole) }
        return small.fraction.lexicographicallyPrecedes(large.fraction)
    }

    /// The nearest whole number not below; both are within 15 digits, so nothing overflows.
    var ceiling: Int { isNegative ? -wholeValue : wholeValue + (fraction.isEmpty ? 0 : 1) }
    var floor: Int { isNegative ? -(wholeValue + (fraction.isEmpty ? 0 : 1)) : wholeValue }
    private var wholeValue: Int { whole.reduce(0) { $0 * 10 + Int($1) } }

    init(nines count: Int) {
        self.init(isNegative: false, whole: Array(repeating: 9, count: max(1, count)), fraction: [])
    }

    init(_ value: Int) {
        self.init(
            isNegative: value < 0, whole: String(value.magnitude).utf8.map { $0 - 0x30 }, fraction: [])
    }
}

struct Bound: Hashable {
    var value: Decimal
    var isExclusive: Bool
}

struct NumberRange: Hashable {
    /// Digits before the point where a side is open, and after it.
    static let wholeDigits = 9
    static let fractionDigits = 6

    var least: Bound?
    var most: Bound?

    var isOpen: Bool { least == nil && most == nil }

    mutating func raise(_ bound: Bound) {
        if let least, bound.value < least.value || (bound.value == least.value && !bound.isExclusive) { return }
        least = bound
    }

    mutating func lower(_ bound: Bound) {
        if let most, most.value < bound.value || (bound.value == most.value && !bound.isExclusive) { return }
        most = bound
    }
}

extension GrammarBuilder {
    /// Whole numbers of a range, of up to 15 digits.
    mutating func integers(_ range: NumberRange, from: Node, to: Node) throws(GrammarFault) {
        let limit = 999_999_999_999_999
        var low = -limit, high = limit
        if let least = range.least {
            low = least.value.ceiling
            if least.isExclusive, least.value.fraction.isEmpty { low += 1 }
        }
        if let most = range.most {
            high = most.value.floor
            if most.isExclusive, most.value.fraction.isEmpty { high -= 1 }
        }
        low = max(low, -limit)
        high = min(high, limit)
        guard low <= high else { return }
        if high >= 0 {
            try magnitudes(
                Bound(value: Decimal(max(low, 0)), isExclusive: false),
                Bound(value: Decimal(high), isExclusive: false), fractionDigits: 0, from: from, to: to)
        }
        if low < 0 {
            let digits = try node()
            try edge(from, 0x2d...0x2d, digits)
            try magnitudes(
                Bound(value: Decimal(max(1, -high)), isExclusive: false),
                Bound(value: Decimal(-low), isExclusive: false), fractionDigits: 0, from: digits, to: to)
        }
    }

    /// Decimal numbers of a range, without exponent: up to 6 digits after the point, fewer where there would be more than
    /// 15 in all, so that no two of them are one double.
    mutating func decimals(_ range: NumberRange, from: Node, to: Node) throws(GrammarFault) {
        let bounds = [range.least, range.most].compactMap { $0?.value.whole.count }
        let wholeDigits = max(NumberRange.wholeDigits, bounds.max() ?? 0)
        let digits = max(0, min(NumberRange.fractionDigits, Decimal.digitsMax - wholeDigits))
        let widest = Bound(value: Decimal(nines: wholeDigits), isExclusive: false)
        let zero = Bound(value: .zero, isExclusive: false)
        func magnitude(_ bound: Bound) -> Bound { Bound(value: bound.value.magnitude, isExclusive: bound.isExclusive) }
        let least = range.least, most = range.most
        if !(most?.value.isNegative ?? false) {
            let low = least.flatMap { $0.value.isNegative ? nil : $0 } ?? zero
            try magnitudes(low, most ?? widest, fractionDigits: digits, from: from, to: to)
        }
        if least?.value.isNegative ?? true {
            let start = try node()
            try edge(from, 0x2d...0x2d, start)
            // The bound nearer to zero: that of the range, if it is below zero or just zero.
            let near = most.flatMap { $0.value.isNegative || $0.value.isZero ? magnitude($0) : nil } ?? zero
            try magnitudes(near, least.map(magnitude) ?? widest, fractionDigits: digits, from: start, to: to)
        }
    }

    /// Unsigned numbers from `low` to `high`.
    private mutating func magnitudes(
        _ low: Bound, _ high: Bound, fractionDigits: Int, from: Node, to: Node
    ) throws(GrammarFault) {
        guard low.value.whole.count <= high.value.whole.count else { return }
        for length in low.value.whole.count...high.value.whole.count {
            var digits = DigitBounds(low: low, high: high, fractionDigits: fractionDigits)
            let atLow = length == low.value.whole.count, atHigh = length == high.value.whole.count
            let start = try digits.whole(0, length, atLow, atHigh, &self, to)
            try skip(from, start)
        }
    }
}

/// The automaton of one length: nodes by (digits read, still equal to the low bound, still equal to the high one).
private struct DigitBounds {
    private struct Key: Hashable {
        let place: Int
        let inFraction: Bool
        let atLow: Bool
        let atHigh: Bool
    }

    let low: Bound
    let high: Bound
    let fractionDigits: Int
    private var known: [Key: GrammarBuilder.Node] = [:]

    init(low: Bound, high: Bound, fractionDigits: Int) {
        self.low = low
        self.high = high
        self.fractionDigits = fractionDigits
    }

    mutating func whole(
        _ place: Int, _ length: Int, _ atLow: Bool, _ atHigh: Bool, _ builder: inout GrammarBuilder,
        _ to: GrammarBuilder.Node
    ) throws(GrammarFault) -> GrammarBuilder.Node {
        let key = Key(place: place, inFraction: false, atLow: atLow, atHigh: atHigh)
        if let node = known[key] { return node }
        let node = try builder.node()
        known[key] = node
        if place == length {
            if mayStop(0, atLow, atHigh) { try builder.skip(node, to) }
            if fractionDigits > 0 {
                let point = try builder.node()
                try builder.edge(node, 0x2e...0x2e, point)
                try fraction(0, atLow, atHigh, &builder, from: point, to)
            }
            return node
        }
        // A number of several digits does not begin with zero.
        let least = atLow ? low.value.whole[place] : place == 0 && length > 1 ? 1 : 0
        let most = atHigh ? high.value.whole[place] : 9
        guard least <= most else { return node }
        for digit in least...most {
            let next = try whole(
                place + 1, length, atLow && digit == low.value.whole[place], atHigh && digit == high.value.whole[place],
                &builder, to)
            try builder.edge(node, 0x30 + digit...0x30 + digit, next)
        }
        return node
    }

    private mutating func fraction(
        _ place: Int, _ atLow: Bool, _ atHigh: Bool, _ builder: inout GrammarBuilder, from: GrammarBuilder.Node,
        _ to: GrammarBuilder.Node
    ) throws(GrammarFault) {
        guard place < fractionDigits else { return }
        func digit(_ bound: Bound) -> UInt8 {
            place < bound.value.fraction.count ? bound.value.fraction[place] : 0
        }
        let least = atLow ? digit(low) : 0, most = atHigh ? digit(high) : 9
        guard least <= most else { return }
        for value in least...most {
            let stillLow = atLow && value == digit(low), stillHigh = atHigh && value == digit(high)
            let key = Key(place: place + 1, inFraction: true, atLow: stillLow, atHigh: stillHigh)
            let next: GrammarBuilder.Node
            if let node = known[key] {
                next = node
            } else {
                next = try builder.node()
                known[key] = next
                if mayStop(place + 1, stillLow, stillHigh) { try builder.skip(next, to) }
                try fraction(place + 1, stillLow, stillHigh, &builder, from: next, to)
            }
            try builder.edge(from, 0x30 + value...0x30 + value, next)
        }
    }

    /// Whether a number that ends after so many digits of its fraction is within the bounds.
    private func mayStop(_ place: Int, _ atLow: Bool, _ atHigh: Bool) -> Bool {
        if atLow {
            let rest = low.value.fraction.dropFirst(place).contains { $0 != 0 }
            guard !rest, !low.isExclusive else { return false }
        }
        if atHigh {
            let rest = high.value.fraction.dropFirst(place).contains { $0 != 0 }
            guard rest || !high.isExclusive else { return false }
        }
        return true
    }
}
