// The one transcendental function of retrieval and judgement, in integers, so that every machine ranks and weighs alike.

package enum FixedPoint {
    /// Bits behind the point of a score.
    package static let fractionBits = 24

    /// The binary logarithm of `value`, with `fractionBits` bits behind the point, rounded down. By repeated squaring of
    /// the mantissa (Knuth, TAOCP 1.2.2, exercise 25 in binary): exact integer operations only.
    /// - Precondition: `value` is positive.
    package static func log2(_ value: UInt64) -> UInt64 {
        precondition(value > 0, "the logarithm of zero")
        let whole = UInt64(63 - value.leadingZeroBitCount)
        // The mantissa in [1, 2) with 63 bits behind the point.
        var mantissa = value << UInt64(value.leadingZeroBitCount)
        var result = whole
        for _ in 0..<fractionBits {
            let (high, low) = mantissa.multipliedFullWidth(by: mantissa)
            // The square has 126 bits behind the point; it is in [1, 4).
            if high >> 63 == 1 {
                result = result << 1 | 1
                mantissa = high
            } else {
                result <<= 1
                mantissa = high << 1 | low >> 63
            }
        }
        return result
    }

    /// ln 2 with `fractionBits` bits behind the point: floor(ln 2 · 2^24).
    package static let ln2: UInt64 = 11_629_079

    /// BM25's inverse document frequency ln(1 + (n − d + ½)/(d + ½)) = ln((2n + 2)/(2d + 1)), of `d` among `n`.
    package static func inverseDocumentFrequency(_ d: UInt64, among n: UInt64) -> UInt64 {
        precondition(d <= n && n < 1 << 40, "more documents with a word than documents")
        let difference = log2(2 * n + 2) - log2(2 * d + 1)
        return (difference * ln2) >> UInt64(fractionBits)
    }
}
