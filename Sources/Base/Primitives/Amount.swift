// Money: integers of 10^-18 OPEN. No floating point, no rounding that is not named, no overflow that is not a fault.

public enum AmountFault: Error, Hashable, Sendable {
    case overflow
    case insufficient
}

/// An amount of OPEN in base units of 10^-18.
public struct Amount: Hashable, Comparable, Sendable, CustomStringConvertible {
    public static let decimals = 18
    public static let zero = Amount(baseUnits: 0)
    /// 1 OPEN.
    public static let one = Amount(baseUnits: 1_000_000_000_000_000_000)

    public let baseUnits: UInt128

    public init(baseUnits: UInt128) { self.baseUnits = baseUnits }

    public func adding(_ other: Amount) throws(AmountFault) -> Amount {
        let (sum, overflow) = baseUnits.addingReportingOverflow(other.baseUnits)
        guard !overflow else { throw .overflow }
        return Amount(baseUnits: sum)
    }

    public func subtracting(_ other: Amount) throws(AmountFault) -> Amount {
        guard baseUnits >= other.baseUnits else { throw .insufficient }
        return Amount(baseUnits: baseUnits - other.baseUnits)
    }

    public func multiplied(by factor: UInt64) throws(AmountFault) -> Amount {
        let (product, overflow) = baseUnits.multipliedReportingOverflow(by: UInt128(factor))
        guard !overflow else { throw .overflow }
        return Amount(baseUnits: product)
    }

    /// Divides, rounding up: a price per thousand never rounds to nothing.
    public func dividedRoundingUp(by divisor: UInt64) -> Amount {
        precondition(divisor > 0, "divided by zero")
        let (quotient, remainder) = baseUnits.quotientAndRemainder(dividingBy: UInt128(divisor))
        return Amount(baseUnits: quotient + (remainder == 0 ? 0 : 1))
    }

    /// Divides the whole amount by `weights`: shares add up to it exactly; what rounding leaves goes, unit by unit, to
    /// the largest remainders, ties to the lowest index. All zero without a positive weight.
    public func split(by weights: [UInt64]) -> [Amount] {
        let total = weights.reduce(UInt128(0)) { $0 + UInt128($1) }
        guard total > 0 else { return weights.map { _ in .zero } }
        var shares: [UInt128] = []
        var remainders: [(remainder: UInt128, index: Int)] = []
        var given: UInt128 = 0
        for (index, weight) in weights.enumerated() {
            let (high, low) = baseUnits.multipliedFullWidth(by: UInt128(weight))
            let (quotient, remainder) = total.dividingFullWidth((high, low))
            shares.append(quotient)
            remainders.append((remainder, index))
            given += quotient
        }
        remainders.sort { $0.remainder == $1.remainder ? $0.index < $1.index : $0.remainder > $1.remainder }
        for (_, index) in remainders.prefix(Int(baseUnits - given)) { shares[index] += 1 }
        return shares.map(Amount.init(baseUnits:))
    }

    public static func < (left: Amount, right: Amount) -> Bool { left.baseUnits < right.baseUnits }

    // MARK: Forms

    /// Big-endian without leading zeros; zero is empty.
    public var bigEndian: [UInt8] {
        var bytes: [UInt8] = []
        var rest = baseUnits
        while rest > 0 {
            bytes.append(UInt8(truncatingIfNeeded: rest))
            rest >>= 8
        }
        return bytes.reversed()
    }

    /// - Returns: nil above 16 bytes or with a leading zero.
    public init?(bigEndian bytes: [UInt8]) {
        guard bytes.count <= 16, bytes.first != 0 else { return nil }
        self.init(baseUnits: bytes.reduce(0) { $0 << 8 | UInt128($1) })
    }

    /// Reads "12", "0.5", "1.000000000000000001" OPEN.
    /// - Returns: nil on anything else: signs, exponents, more than 18 decimals, overflow.
    public init?(text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard text.utf8.count <= 64, (1...2).contains(parts.count), !parts[0].isEmpty else { return nil }
        let fraction = parts.count == 2 ? parts[1] : "0"
        guard !fraction.isEmpty, fraction.utf8.count <= Self.decimals else { return nil }
        let padded = String(fraction) + String(repeating: "0", count: Self.decimals - fraction.utf8.count)
        var value: UInt128 = 0
        for digit in (String(parts[0]) + padded).utf8 {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
            let (shifted, overflowed) = value.multipliedReportingOverflow(by: 10)
            let (next, carried) = shifted.addingReportingOverflow(UInt128(digit - UInt8(ascii: "0")))
            guard !overflowed, !carried else { return nil }
            value = next
        }
        self.init(baseUnits: value)
    }

    /// OPEN with as many decimals as it takes, "0.5".
    public var text: String {
        let (whole, fraction) = baseUnits.quotientAndRemainder(dividingBy: Self.one.baseUnits)
        guard fraction > 0 else { return "\(whole)" }
        var digits = "\(fraction)"
        digits = String(repeating: "0", count: Self.decimals - digits.utf8.count) + digits
        while digits.hasSuffix("0") { digits.removeLast() }
        return "\(whole).\(digits)"
    }

    public var description: String { text }
}

/// A share in millionths.
public struct PartsPerMillion: Hashable, Comparable, Sendable, CustomStringConvertible {
    public static let whole = PartsPerMillion(1_000_000)
    public static let none = PartsPerMillion(0)
    public let value: UInt32

    public init(_ value: UInt32) { self.value = value }

    /// Shares of `weights` that add up to exactly one million, by largest remainder, ties to the lowest index. All zero
    /// without a positive weight.
    public static func shares(of weights: [UInt64]) -> [PartsPerMillion] {
        Amount(baseUnits: 1_000_000).split(by: weights).map { PartsPerMillion(UInt32($0.baseUnits)) }
    }

    public static func < (left: Self, right: Self) -> Bool { left.value < right.value }
    public var description: String { "\(value) ppm" }
}
