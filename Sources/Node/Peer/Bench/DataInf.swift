// What the evidence of `bench lds` is held against: DataInf (arXiv 2310.00902, equation 5) on the whole gradients of LoRA's
// factors, and the part of an answer's 5-grams that a row has. Nothing of it is in a receipt.

import Attribution
import Inference
import Primitives
import Training

/// Gradients of rows, whole, matrix by matrix.
struct WholeGradients {
    /// [row][value], of all matrices one after the other.
    private(set) var rows: [[Float]] = []
    private var sizes: [Int] = []

    init(_ trainer: Trainer, _ rows: [TrainingRow]) {
        for row in rows {
            let matrices = trainer.gradientMatrices(of: row)
            sizes = matrices.map(\.count)
            self.rows.append(Array(matrices.joined()))
        }
    }

    /// DataInf's scores of every row for each question, greater where the row helps: [question][row].
    /// lambda of a matrix is a tenth of the mean square of its gradients, as its authors have it.
    func dataInf(_ questions: WholeGradients) -> [[Double]] {
        let count = rows.count
        var scores = [[Double]](repeating: [Double](repeating: 0, count: count), count: questions.rows.count)
        var start = 0
        for size in sizes {
            let range = start..<start + size
            start += size
            var products = [[Double]](repeating: [Double](repeating: 0, count: count), count: count)
            for one in 0..<count {
                for other in one..<count {
                    let product = Self.dot(rows[one], rows[other], range)
                    products[one][other] = product
                    products[other][one] = product
                }
            }
            let squares = (0..<count).reduce(0.0) { $0 + products[$1][$1] }
            let lambda = squares / Double(count * size) / 10
            guard lambda > 0 else { continue }
            for (question, gradient) in questions.rows.enumerated() {
                let asked = (0..<count).map { Self.dot(gradient, rows[$0], range) }
                let shares = (0..<count).map { asked[$0] / (lambda + products[$0][$0]) }
                for row in 0..<count {
                    var corrected = Double(count) * asked[row]
                    for other in 0..<count { corrected -= shares[other] * products[other][row] }
                    scores[question][row] += corrected / (Double(count) * lambda)
                }
            }
        }
        return scores
    }

    private static func dot(_ one: [Float], _ other: [Float], _ range: Range<Int>) -> Double {
        var sum = SIMD16<Float>(repeating: 0), rest: Float = 0, place = range.lowerBound
        one.withUnsafeBufferPointer { one in
            other.withUnsafeBufferPointer { other in
                while place + 16 <= range.upperBound {
                    var a = SIMD16<Float>(), b = SIMD16<Float>()
                    for lane in 0..<16 {
                        a[lane] = one[place + lane]
                        b[lane] = other[place + lane]
                    }
                    sum += a * b
                    place += 16
                }
                while place < range.upperBound {
                    rest += one[place] * other[place]
                    place += 1
                }
            }
        }
        return Double(sum.sum() + rest)
    }
}

/// The part of an answer's distinct 5-grams that a text has.
enum GramOverlap {
    static func scores<Element: Hashable>(of answer: [Element], in texts: [[Element]]) -> [Double] {
        let wanted = grams(answer)
        guard !wanted.isEmpty else { return texts.map { _ in 0 } }
        return texts.map { Double(wanted.intersection(grams($0)).count) / Double(wanted.count) }
    }

    private static func grams<Element: Hashable>(_ text: [Element]) -> Set<[Element]> {
        guard text.count >= 5 else { return [] }
        return Set((0...text.count - 5).map { Array(text[$0..<$0 + 5]) })
    }
}
