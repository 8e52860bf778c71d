// What an account's earnings take in memory, however long its history is, and however many name it.

import Ledger
import Primitives
import Testing

@testable import Peer

@Suite struct EarningsBookTests {
    @Test func theNewestEntriesAreRemembered() {
        var earnings = Earnings()
        for number in 0..<1_000 as Range<UInt16> {
            earnings.remember([UInt8(number >> 8), UInt8(number & 255)], most: 10)
            #expect(earnings.keys.count < 20)
        }
        #expect(earnings.keys.count >= 10 && earnings.keys.last == [3, 231])
        #expect(zip(earnings.keys, earnings.keys.dropFirst()).allSatisfy { $0.lexicographicallyPrecedes($1) })
    }

    @Test func daysHaveABound() throws {
        var earnings = Earnings()
        let little = try #require(Amount(text: "0.5"))
        for hour in 0..<24 * 100 as Range<Int64> {
            earnings.add(little, at: WallTime(milliseconds: hour * 3_600_000), most: 30)
            #expect(earnings.days.count < 60)
        }
        #expect(earnings.days.count >= 30 && earnings.days[99] == Amount(text: "12") && earnings.days[0] == nil)
    }

    /// Somebody who pays an account a little by ever new datanets fills a list of names, and no more.
    @Test func sourcesHaveABound() throws {
        var earnings = Earnings()
        let little = try #require(Amount(text: "0.5"))
        for number in 0..<100 {
            earnings.add(little, from: EarningSource(kind: .contributor, id: "\(number)"), most: 8)
        }
        #expect(earnings.sums.count == 9 && earnings.total == Amount(text: "50"))
        #expect(earnings.sums[EarningSource(kind: .contributor, id: "")]?.count == 92)
        earnings.add(little, from: EarningSource(kind: .contributor, id: "3"), most: 8)
        #expect(earnings.sums[EarningSource(kind: .contributor, id: "3")]?.count == 2)
    }
}
