import Foundation
import Primitives
import Testing

@testable import Attribution

private let seed = Digest(sha256: [1])

/// The mean over all orders of what a passage adds to those before it: the definition.
private func overOrders(_ values: [Int64], _ passages: Int) -> [Int64] {
    var sums = [Int64](repeating: 0, count: passages)
    var orders: Int64 = 0
    func visit(_ set: Int) {
        if set.nonzeroBitCount == passages { orders += 1 }
        for passage in 0..<passages where set >> passage & 1 == 0 { visit(set | 1 << passage) }
    }
    func add(_ set: Int) {
        for passage in 0..<passages where set >> passage & 1 == 0 {
            let next = set | 1 << passage
            // As many orders go through here as the rest can be arranged in, times those that led here.
            var rest: Int64 = 1
            for count in stride(from: passages - next.nonzeroBitCount, to: 1, by: -1) { rest *= Int64(count) }
            sums[passage] += (values[next] - values[set]) * rest
            add(next)
        }
    }
    visit(0)
    add(0)
    return sums.map { $0 * 120 / orders }
}

private func sums(_ one: [Int64], _ other: [Int64]) -> [Int64] { zip(one, other).map { $0 + $1 } }

@Suite struct PassageEffectTests {
    @Test(arguments: 1...10 as ClosedRange<UInt64>) func shapleyValuesKeepTheAxioms(seed number: UInt64) {
        var random = SeededRandom(seed: number)
        for passages in 0...PassageEffect.exactMax {
            let count = 1 << passages
            func values() -> [Int64] { (0..<count).map { _ in Int64(random.below(1 << 20)) - 1 << 19 } }
            let one = values(), other = values()
            func effects(_ values: [Int64]) -> [Int64] {
                PassageEffect.effects(of: passages, seed: seed, values: values, answerTokens: 10)
            }
            let found = effects(one)
            #expect(found == overOrders(one, passages))
            // Efficiency: together they are worth what all of them add to none.
            if passages > 0 { #expect(found.reduce(0, +) == 120 * (one[count - 1] - one[0])) }
            // Additivity.
            let both = effects(sums(one, other))
            #expect(both == sums(found, effects(other)))
            guard passages > 1 else { continue }
            // A passage that adds nothing anywhere has nothing; two that are alike have the same.
            let dummy = (0..<count).map { (set: Int) -> Int64 in one[set & ~1] }
            #expect(effects(dummy)[0] == 0)
            let alike = (0..<count).map { (set: Int) -> Int64 in
                let last = set & 3
                return one[(set & ~3) | (last == 2 ? 1 : last)]
            }
            let twins = effects(alike)
            #expect(twins[0] == twins[1])
            // The canary: a value that is not the passages' own breaks efficiency.
            var wrong = one
            wrong[1] += 7
            #expect(effects(wrong) != found)
        }
    }

    @Test func copiesOfAPassageShareWhatLeavingOneOutCallsNothing() {
        // Two passages say the same: either is enough.
        let values: [Int64] = [0, 600, 600, 600]
        let found = PassageEffect.effects(of: 2, seed: seed, values: values, answerTokens: 1)
        #expect(found == [36_000, 36_000])
        #expect(values[3] - values[2] == 0 && values[3] - values[1] == 0)
    }

    @Test func ablationsAreTheSeeds() throws {
        let sets = PassageEffect.sets(of: 10, seed: seed)
        #expect(sets.count == 32)
        #expect(sets == PassageEffect.sets(of: 10, seed: seed))
        #expect(sets != PassageEffect.sets(of: 10, seed: Digest(sha256: [2])))
        #expect(sets.allSatisfy { $0 < 1 << 10 })
        let bytes = Digest(sha256Of: [Array("openledger/1/ablation\n".utf8), seed.bytes, [0, 0, 0, 3]]).bytes
        #expect(sets[3] & 1 == UInt64(bytes[0] >> 7))
        #expect(sets[3] >> 9 & 1 == UInt64(bytes[1] >> 6 & 1))
        #expect(PassageEffect.sets(of: 32, seed: seed).contains { $0 >> 31 == 1 })
        #expect(PassageEffect.sets(of: 5, seed: seed) == Array(0..<32))
    }

    /// What scikit-learn 1.x finds (Tests/Fixtures/attribution/lasso.py).
    private struct LassoCase: Decodable {
        let passages: Int
        let sets: [UInt64]
        let values: [Int64]
        let penalty: Int64
        let weights: [Double]
    }

    @Test func weightsAreScikitLearns() throws {
        let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Fixtures/attribution/lasso.json")
        let cases = try JSONDecoder().decode([LassoCase].self, from: Data(contentsOf: url))
        #expect(cases.count >= 20)
        var worst = 0.0
        for entry in cases {
            let found = PassageEffect.lasso(entry.values, entry.sets, entry.passages, penalty: entry.penalty)
            let size = max(1, entry.weights.map(abs).max() ?? 1)
            for (one, other) in zip(found, entry.weights) {
                let distance = abs(Double(one) / 65_536 - other) / size
                worst = max(worst, distance)
                #expect(distance <= 1e-5)
                if other == 0 { #expect(one == 0) }
            }
            // The canary: another penalty gives other weights.
            let other = PassageEffect.lasso(entry.values, entry.sets, entry.passages, penalty: entry.penalty * 2 + 999)
            #expect(other != found || entry.weights.allSatisfy { $0 == 0 })
        }
        print("LASSO: worst relative distance from scikit-learn \(worst)")
    }

    @Test func ablationsFindWhichPassagesHelped() {
        var random = SeededRandom(seed: 8)
        var right = 0
        for trial in 0..<40 {
            let passages = 6 + trial % 10
            let helpful = Int(random.below(UInt64(passages)))
            let key = Digest(sha256: [UInt8(trial)])
            let sets = PassageEffect.sets(of: passages, seed: key)
            let values = sets.map { set in
                Int64(set >> UInt64(helpful) & 1) * 400_000 - 900_000 + Int64(random.below(60_000))
            }
            let found = PassageEffect.effects(of: passages, seed: key, values: values, answerTokens: 20)
            if found.indices.max(by: { found[$0] < found[$1] }) == helpful { right += 1 }
        }
        #expect(right == 40)
    }

    @Test func hostileValues() {
        #expect(PassageEffect.value(.nan) == -PassageEffect.valueMax)
        #expect(PassageEffect.value(-.infinity) == -PassageEffect.valueMax)
        #expect(PassageEffect.value(.infinity) == PassageEffect.valueMax)
        #expect(PassageEffect.value(-1) == -16_384)
        let extremes = (0..<32).map { $0.isMultiple(of: 2) ? Int64.min : Int64.max }
        let exact = PassageEffect.effects(of: 5, seed: seed, values: extremes, answerTokens: .max)
        #expect(exact.allSatisfy { $0.magnitude <= 1 << 36 })
        for tokens in [Int.min, 0, 1, Int.max] {
            let found = PassageEffect.effects(of: 32, seed: seed, values: extremes, answerTokens: tokens)
            #expect(found.count == 32)
        }
        #expect(PassageEffect.effects(of: 0, seed: seed, values: [5], answerTokens: 1).isEmpty)
    }
}
