// What each passage of a prompt did for the answer. The answer's log-probability is known for some sets of the passages;
// up to five passages the Shapley value is exact (Shapley, 1953), beyond that a sparse linear model of 32 random sets
// stands in for it (Cohen-Wang et al., ContextCite, 2024; Tibshirani, 1996). Scorings come in as integers and everything
// after that is integers. Protocol/attribution.md, Retrieval.

package import Primitives

package enum PassageEffect {
    package static let exactMax = 5
    package static let passagesMax = 32
    package static let ablations = 32
    /// A log-probability's bits behind the point, and what it is kept within.
    package static let valueFractionBits = 14
    package static let valueMax: Int64 = 1 << 28
    /// Shapley values are in units of 1/120: of up to five passages they are integers.
    package static let unit: Int64 = 120
    private static let sweepsMax = 10_000
    private static let weightFractionBits: Int128 = 16

    /// A sum of log-probabilities as the integer that is weighed.
    package static func value(_ logProbability: Double) -> Int64 {
        let scaled = (logProbability * Double(1 << valueFractionBits)).rounded(.toNearestOrEven)
        return scaled.isNaN ? -valueMax : Int64(max(-Double(valueMax), min(Double(valueMax), scaled)))
    }

    /// The sets that must be scored, bit i for passage i: all of them, or the ablations.
    /// - Precondition: at most `passagesMax` passages.
    package static func sets(of passages: Int, seed: Digest) -> [UInt64] {
        precondition(passages <= passagesMax, "more passages than are scored")
        if passages <= exactMax { return Array(0..<1 << UInt64(passages)) }
        return (0..<UInt8(ablations)).map { number in
            let bytes = Digest(sha256Of: [Array("openledger/1/ablation\n".utf8), seed.bytes, [0, 0, 0, number]]).bytes
            return (0..<passages).reduce(UInt64(0)) { set, passage in
                let bit = bytes[passage / 8] >> UInt8(7 - passage % 8) & 1
                return set | UInt64(bit) << UInt64(passage)
            }
        }
    }

    /// Each passage's value, in units of 1/120, from the values of `sets(of:seed:)` in their order.
    package static func effects(
        of passages: Int, seed: Digest, values: [Int64], answerTokens: Int
    ) -> [Int64] {
        let sets = sets(of: passages, seed: seed)
        precondition(values.count == sets.count, "values of other sets")
        let values = values.map { max(-valueMax, min(valueMax, $0)) }
        if passages <= exactMax { return shapley(values, passages) }
        let penalty = Int64(max(0, min(answerTokens, SpanCorpus.answerTokensMax)) << valueFractionBits) / 100
        return lasso(values, sets, passages, penalty: penalty).map {
            Int64(clamping: (Int128($0) * Int128(unit)) >> weightFractionBits)
        }
    }

    /// Σ over sets S without i of |S|! (n − |S| − 1)! (120 / n!) (v(S ∪ i) − v(S)).
    static func shapley(_ values: [Int64], _ passages: Int) -> [Int64] {
        let factorial: [Int64] = [1, 1, 2, 6, 24, 120]
        return (0..<passages).map { passage in
            var sum: Int64 = 0
            for set in 0..<values.count where set >> passage & 1 == 0 {
                let size = set.nonzeroBitCount
                let orders = factorial[size] * factorial[passages - size - 1] * (unit / factorial[passages])
                sum += orders * (values[set | 1 << passage] - values[set])
            }
            return sum
        }
    }

    /// Weights w, 16 bits behind the value's own point, that minimise |y − b − Xw|² / 2m + penalty · |w|₁ over m sets.
    static func lasso(_ values: [Int64], _ sets: [UInt64], _ passages: Int, penalty: Int64) -> [Int64] {
        let m = Int128(values.count)
        let mean = values.reduce(Int128(0)) { $0 + Int128($1) }
        // Centred, all m times too large.
        var residual = values.map { (m * Int128($0) - mean) << weightFractionBits }
        let columns = (0..<passages).map { passage -> [Int128] in
            let bits = sets.map { Int128($0 >> UInt64(passage) & 1) }
            let kept = bits.reduce(0, +)
            return bits.map { m * $0 - kept }
        }
        let threshold = (m * m * m * Int128(penalty)) << weightFractionBits
        var weights = [Int128](repeating: 0, count: passages)
        for _ in 0..<sweepsMax {
            var hasChanged = false
            for (passage, column) in columns.enumerated() {
                let square = column.reduce(0) { $0 + $1 * $1 }
                guard square > 0 else { continue }
                let product = zip(column, residual).reduce(square * weights[passage]) { $0 + $1.0 * $1.1 }
                let shrunk = product > threshold ? product - threshold : product < -threshold ? product + threshold : 0
                let weight = (shrunk + (shrunk < 0 ? -square : square) / 2) / square
                let change = weight - weights[passage]
                guard change != 0 else { continue }
                hasChanged = true
                weights[passage] = weight
                for set in residual.indices { residual[set] -= column[set] * change }
            }
            if !hasChanged { break }
        }
        return weights.map { Int64(clamping: $0) }
    }
}
