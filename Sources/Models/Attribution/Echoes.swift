// Of the rows that an answer would pay, those that say in other words what an earlier one says. Words weigh by how rare
// they are: rows of one form about different things share what everybody says, a paraphrase keeps the words that matter.
// What an echo would have had is the earlier row's: to repeat somebody pays him. Protocol/attribution.md, Echoes.

import Datanets

package enum Echoes {
    /// Rows that are compared, before the fewer that are paid are chosen: paraphrases cannot crowd out what they repeat.
    package static let candidatesMax = 256

    /// - Parameters:
    ///   - weights: of `Fusion`, the greatest first.
    ///   - words: of a row's completion, by `Words.split`.
    ///   - rarity: of a word, in bits with `FixedPoint.fractionBits` bits behind the point (`RetrievalIndex.rarity`).
    /// - Returns: the rows to be paid, at most `Fusion.rowsMax`, the greatest first, ties to the lower row.
    package static func settled(
        _ weights: [FusedWeight], words: (UInt32) -> [String], rarity: (String) -> UInt64
    ) -> [FusedWeight] { settle(weights, words: words, rarity: rarity).paid }

    /// The same, and of each row that is an echo the row that has what it would have had.
    static func settle(
        _ weights: [FusedWeight], words: (UInt32) -> [String], rarity: (String) -> UInt64
    ) -> (paid: [FusedWeight], echoes: [UInt32: UInt32]) {
        typealias Entry = (row: UInt32, weight: UInt64, words: [UInt64], bits: UInt64)
        var kept: [Entry] = []
        var echoes: [UInt32: UInt32] = [:]
        // Words as numbers: there are few, and they are compared often.
        var numbers: [String: UInt64] = [:]
        var bits: [UInt64] = []
        for candidate in weights.sorted(by: { $0.row < $1.row }) {
            var own: [UInt64] = []
            for word in Set(words(candidate.row)) {
                let number = numbers[word] ?? UInt64(bits.count)
                if Int(number) == bits.count {
                    numbers[word] = number
                    bits.append(rarity(word))
                }
                own.append(number)
            }
            own.sort()
            let ownBits = own.reduce(0) { $0 + bits[Int($1)] }
            // What both have is at least half of what either has: 2 |A ∩ B| >= |A| + |B| − |A ∩ B|.
            let place = kept.firstIndex { entry in
                ownBits > 0 && 3 * shared(own, entry.words, bits) >= ownBits + entry.bits
            }
            if let place {
                let (sum, overflow) = kept[place].weight.addingReportingOverflow(candidate.weight)
                kept[place].weight = overflow ? .max : sum
                echoes[candidate.row] = kept[place].row
            } else {
                kept.append((candidate.row, candidate.weight, own, ownBits))
            }
        }
        kept.sort { $0.weight == $1.weight ? $0.row < $1.row : $0.weight > $1.weight }
        return (kept.prefix(Fusion.rowsMax).map { FusedWeight(row: $0.row, weight: $0.weight) }, echoes)
    }

    /// What the words of two ascending lists that are in both count.
    private static func shared(_ one: [UInt64], _ other: [UInt64], _ bits: [UInt64]) -> UInt64 {
        var sum: UInt64 = 0
        AscendingSets.common(one, other) { sum += bits[Int($0)] }
        return sum
    }
}
