// Which rows a step takes: the rows follow each other for ever, shuffled anew for each pass over them. Step and seed alone say
// which, so a run that goes on needs no state of chance.

import Primitives

struct RowOrder {
    let rows: Int
    let seed: UInt64
    let shuffles: Bool
    private var epoch = -1
    private var order: [Int] = []

    init(rows: Int, seed: UInt64, shuffles: Bool) {
        precondition(rows > 0)
        self.rows = rows
        self.seed = seed
        self.shuffles = shuffles
    }

    mutating func rows(of step: Int, batch: Int) -> [Int] {
        (step * batch..<(step + 1) * batch).map { place in
            guard shuffles else { return place % rows }
            if place / rows != epoch { shuffle(place / rows) }
            return order[place % rows]
        }
    }

    /// Fisher and Yates, from the last place down; a number below n is the high word of a random word times n.
    private mutating func shuffle(_ epoch: Int) {
        var random = SeededRandom(seed: seed ^ UInt64(epoch) &* 0x9e37_79b9_7f4a_7c15)
        order = Array(0..<rows)
        for place in stride(from: rows - 1, to: 0, by: -1) {
            let other = Int(random.next().multipliedFullWidth(by: UInt64(place + 1)).high)
            order.swapAt(place, other)
        }
        self.epoch = epoch
    }
}
