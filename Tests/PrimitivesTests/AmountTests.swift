import Primitives
import Testing

@Suite struct AmountTests {
    @Test(
        arguments: [
            ("0", "0", 0), ("1", "1", 1_000_000_000_000_000_000), ("1.5", "1.5", 1_500_000_000_000_000_000),
            ("0.000000000000000001", "0.000000000000000001", 1),
            ("1.000000000000000001", "1.000000000000000001", 1_000_000_000_000_000_001),
            ("007.50", "7.5", 7_500_000_000_000_000_000), ("0.0", "0", 0),
        ] as [(String, String, UInt128)])
    func reads(text: String, written: String, units: UInt128) {
        #expect(Amount(text: text)?.baseUnits == units)
        #expect(Amount(baseUnits: units).text == written)
    }

    @Test func theLargestAmount() {
        let largest = Amount(baseUnits: .max)
        #expect(largest.text == "340282366920938463463.374607431768211455")
        #expect(Amount(text: largest.text) == largest)
        #expect(Amount(text: "340282366920938463463.374607431768211456") == nil)
        #expect(Amount(text: "340282366920938463464") == nil)
    }

    @Test(arguments: [
        "", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", " 1", "1 ", "0x1", "1.0000000000000000001", "1.2.3", "١",
        "1_000", "NaN", "∞",
        "1\u{0}", "99999999999999999999999999999999999999999999999999999999999999999999",
    ])
    func refuses(text: String) { #expect(Amount(text: text) == nil) }

    @Test func arithmeticIsChecked() throws {
        let one = Amount(baseUnits: 1)
        let most = Amount(baseUnits: .max)
        #expect(throws: AmountFault.overflow) { try most.adding(one) }
        #expect(throws: AmountFault.insufficient) { try Amount.zero.subtracting(one) }
        #expect(throws: AmountFault.overflow) { try most.multiplied(by: 2) }
        #expect(try most.multiplied(by: 1) == most)
        #expect(try one.adding(one).subtracting(one) == one)
        #expect(Amount(baseUnits: 10).dividedRoundingUp(by: 3).baseUnits == 4)
        #expect(Amount(baseUnits: 9).dividedRoundingUp(by: 3).baseUnits == 3)
        #expect(most.dividedRoundingUp(by: 1) == most)
    }

    @Test func bytesAreTheShortest() {
        #expect(Amount.zero.bigEndian == [])
        #expect(Amount(baseUnits: 256).bigEndian == [1, 0])
        #expect(Amount(baseUnits: .max).bigEndian == repeated(0xff, 16))
        for units in [0, 1, 255, 256, 65_535, .max] as [UInt128] {
            #expect(Amount(bigEndian: Amount(baseUnits: units).bigEndian)?.baseUnits == units)
        }
        #expect(Amount(bigEndian: [0]) == nil)
        #expect(Amount(bigEndian: [0, 1]) == nil)
        #expect(Amount(bigEndian: repeated(1, 17)) == nil)
    }

    @Test func splitsLoseNothing() {
        #expect(Amount(baseUnits: 100).split(by: [1, 1, 1]).map(\.baseUnits) == [34, 33, 33])
        #expect(Amount(baseUnits: 10).split(by: [0, 0]).map(\.baseUnits) == [0, 0])
        #expect(Amount(baseUnits: 10).split(by: []).isEmpty)
        // largest remainder first, ties to the lowest index: 10 * (1, 2, 3) / 6 = 1.67, 3.33, 5
        #expect(Amount(baseUnits: 10).split(by: [1, 2, 3]).map(\.baseUnits) == [2, 3, 5])
        #expect(Amount(baseUnits: .max).split(by: [.max, .max, 1]).reduce(UInt128(0)) { $0 + $1.baseUnits } == .max)
        var random = SeededRandom(seed: 3)
        for _ in 0..<2_000 {
            let weights = (0..<(1 + random.below(12))).map { _ in random.next() >> random.below(64) }
            let amount = Amount(baseUnits: UInt128(random.next()) << 64 | UInt128(random.next()))
            let shares = amount.split(by: weights)
            #expect(shares.count == weights.count)
            let total = weights.reduce(UInt128(0)) { $0 + UInt128($1) }
            #expect(shares.reduce(UInt128(0)) { $0 + $1.baseUnits } == (total == 0 ? 0 : amount.baseUnits))
            for (share, weight) in zip(shares, weights) where weight == 0 { #expect(share == .zero) }
        }
    }

    @Test func millionthsAddUpToAMillion() {
        #expect(PartsPerMillion.shares(of: [1, 1, 1]).map(\.value) == [333_334, 333_333, 333_333])
        #expect(PartsPerMillion.shares(of: [5]) == [.whole])
        #expect(PartsPerMillion.shares(of: [0, 0]) == [.none, .none])
        var random = SeededRandom(seed: 9)
        for _ in 0..<500 {
            let weights = (0..<(1 + random.below(40))).map { _ in random.below(1_000) + 1 }
            #expect(PartsPerMillion.shares(of: weights).reduce(0) { $0 + $1.value } == 1_000_000)
        }
    }
}
