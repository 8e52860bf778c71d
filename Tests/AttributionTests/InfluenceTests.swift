import Primitives
import Testing

@testable import Attribution

private struct Gradients {
    let shape: InfluenceShape
    var rows: [[Float]] = []
    let query: [Float]

    /// Rows of a few directions and noise, of very different lengths.
    init(seed: UInt64, matrices: [Int], rows count: Int) throws {
        shape = try InfluenceShape(matrices: matrices)
        var random = SeededRandom(seed: seed)
        func noise() -> Float { Float(random.unit() + random.unit() + random.unit() - 1.5) }
        let directions = (0..<4).map { _ in (0..<matrices.reduce(0, +)).map { _ in noise() * 3 } }
        func row() -> [Float] {
            let length = Float(random.unit() + 0.5)
            let direction = directions[Int(random.below(4))]
            return direction.map { ($0 + noise()) * length }
        }
        rows = (0..<count).map { _ in row() }
        query = row()
    }

    func index() throws -> InfluenceIndex {
        var builder = InfluenceIndexBuilder(shape)
        for row in rows { builder.add(row) }
        return try builder.finish()
    }

    /// g · (F + λI)⁻¹ q in doubles with Gauss-Jordan elimination, from the gradients as they are.
    func reference() -> [Double] {
        var scores = [Double](repeating: 0, count: rows.count)
        var first = 0
        for size in shape.matrices {
            var matrix = (0..<size).map { one in
                (0..<size).map { other in
                    rows.reduce(0.0) { $0 + Double($1[first + one]) * Double($1[first + other]) } / Double(rows.count)
                }
            }
            let lambda = (0..<size).reduce(0.0) { $0 + matrix[$1][$1] } / Double(size)
            for one in 0..<size { matrix[one][one] += lambda }
            var solved = (0..<size).map { Double(query[first + $0]) }
            for pivot in 0..<size {
                let divisor = matrix[pivot][pivot]
                for column in 0..<size { matrix[pivot][column] /= divisor }
                solved[pivot] /= divisor
                for row in 0..<size where row != pivot {
                    let factor = matrix[row][pivot]
                    for column in 0..<size { matrix[row][column] -= factor * matrix[pivot][column] }
                    solved[row] -= factor * solved[pivot]
                }
            }
            for row in rows.indices {
                for column in 0..<size { scores[row] += Double(rows[row][first + column]) * solved[column] }
            }
            first += size
        }
        return scores
    }
}

private func correlation(_ one: [Double], _ other: [Double]) -> Double {
    let (a, b) = (one.reduce(0, +) / Double(one.count), other.reduce(0, +) / Double(other.count))
    let both = zip(one, other).reduce(0) { $0 + ($1.0 - a) * ($1.1 - b) }
    let left = one.reduce(0) { $0 + ($1 - a) * ($1 - a) }, right = other.reduce(0) { $0 + ($1 - b) * ($1 - b) }
    return both / (left * right).squareRoot()
}

@Suite struct InfluenceTests {
    @Test(arguments: 1...5 as ClosedRange<UInt64>) func scoresAreThoseOfDoubles(seed: UInt64) throws {
        let gradients = try Gradients(seed: seed, matrices: [8, 1, 16, 7], rows: 300)
        let index = try gradients.index()
        let scores = index.scores(try index.query(gradients.query)).map(Double.init)
        // The loud rows are cut here and not there; directions decide the rest.
        let agreement = correlation(scores, gradients.reference())
        #expect(agreement > 0.99)
        // The canary: without the Fisher matrices the scores are others.
        let plain = index.scores(Quantised.row(gradients.query.map(Double.init)).columns).map(Double.init)
        #expect(correlation(plain, gradients.reference()) < agreement)
    }

    @Test func aScoreIsItsIntegers() throws {
        let gradients = try Gradients(seed: 3, matrices: [5, 90, 38], rows: 70)
        let index = try gradients.index()
        let query = try index.query(gradients.query)
        let columns = gradients.shape.columns
        let start = 16 + 4 * 3
        var scales: [(mantissa: Int64, exponent: Int)] = []
        var dots: [Int64] = []
        for row in 0..<70 {
            let at = start + row * (columns + 4)
            let values = index.bytes[at..<at + columns].map { Int64(Int8(bitPattern: $0)) }
            dots.append(zip(values, query).reduce(0) { $0 + $1.0 * Int64($1.1) })
            let bits = index.bytes[at + columns..<at + columns + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            scales.append((Int64(bits & 0x7f_ffff | 0x80_0000), Int(bits >> 23) - 127))
        }
        let reference = scales.map(\.exponent).sorted()[34]
        let expected = zip(dots, scales).map { dot, scale in
            let shift = 16 + reference - scale.exponent
            let product = dot * scale.mantissa
            return shift >= 0 ? product >> Int64(shift) : product << Int64(-shift)
        }
        for form in InfluenceForm.all { #expect(index.scores(query, form: form) == expected) }
        #expect(query.map { abs(Int($0)) }.max() == 127)
    }

    @Test func everyFormOfTheDotProductIsExact() throws {
        var random = SeededRandom(seed: 7)
        for columns in [1, 31, 32, 33, 63, 64, 65, 127, 1024] {
            let shape = try InfluenceShape(matrices: [columns])
            var builder = InfluenceIndexBuilder(shape)
            for row in 0..<40 {
                // Extremes: 127 everywhere, and -127.
                builder.add(
                    (0..<columns).map { _ in row == 0 ? 1 : row == 1 ? -1 : Float(random.unit()) - 0.5 })
            }
            let index = try builder.finish()
            for query in [[Int8](repeating: 127, count: columns), [Int8](repeating: -128, count: columns)] {
                let found = InfluenceForm.all.map { index.scores(query, form: $0) }
                #expect(Set(found).count == 1)
            }
        }
    }

    @Test func nobodyIsLoud() throws {
        var gradients = try Gradients(seed: 5, matrices: [24], rows: 200)
        let before = try gradients.index()
        let quiet = before.scores(try before.query(gradients.query))
        // A row a million times as long as it was, in the query's own direction.
        gradients.rows[17] = gradients.query.map { $0 * 1_000_000 }
        let after = try gradients.index()
        let scores = after.scores(try after.query(gradients.query))
        let order = scores.indices.sorted { scores[$0] > scores[$1] }
        let most = scores.enumerated().filter { $0.offset != 17 }.map { $0.element.magnitude }.max() ?? 0
        #expect(scores[17].magnitude <= 16 * most)
        #expect(order.contains(17) && scores.allSatisfy { $0.magnitude < UInt64(InfluenceIndex.scoreMax) })
        #expect(
            correlation(quiet.map(Double.init), scores.enumerated().map { $0.offset == 17 ? 0 : Double($0.element) })
                > 0.8)
    }

    @Test func whatIsNotANumberEarnsNothing() throws {
        let shape = try InfluenceShape(matrices: [3])
        var builder = InfluenceIndexBuilder(shape)
        let rows: [[Float]] = [
            [1, 2], [1, 2, 3], [.nan, 1, 1], [.infinity, 0, 0], [0, 0, 0], [.leastNonzeroMagnitude, 0, 0], [-3, 1, 2],
        ]
        let taken = rows.map { builder.add($0) }
        #expect(taken == [false, true, true, true, true, true, true])
        let index = try builder.finish()
        let scores = index.scores(try index.query([1, 2, 3]))
        #expect(scores[0] > 0)
        #expect(scores[1...4].allSatisfy { $0 == 0 })
        #expect(throws: InfluenceFault.notFinite("the query's gradient")) { try index.query([.nan, 0, 0]) }
        #expect(throws: (any Error).self) { try index.query([1]) }
        let empty = InfluenceIndexBuilder(shape)
        #expect(throws: (any Error).self) { try empty.finish() }
        // Only zeros: nothing to say, and no fault.
        var zeros = InfluenceIndexBuilder(shape)
        zeros.add([0, 0, 0])
        let none = try zeros.finish()
        #expect(none.scores(try none.query([1, 1, 1])) == [0])
        #expect(none.scores(try none.query([0, 0, 0])) == [0])
        // As large as floats go.
        var large = InfluenceIndexBuilder(shape)
        large.add([.greatestFiniteMagnitude, 1, 1])
        large.add([1, 1, 1])
        large.add([.leastNormalMagnitude * 1000, 0, 0])
        _ = try large.finish().scores([127, -127, 127])
    }

    @Test func anIndexIsReadBackOrRefused() throws {
        let gradients = try Gradients(seed: 9, matrices: [4, 9], rows: 20)
        let index = try gradients.index()
        let again = try InfluenceIndex(decoding: index.bytes)
        let query = try index.query(gradients.query)
        #expect(try again.query(gradients.query) == query)
        #expect(again.scores(query) == index.scores(query))
        #expect(again.cid == index.cid)
        #expect(try gradients.index().bytes == index.bytes, "the same rows, the same bytes")

        for count in [0, 1, 15, 16, 19, index.bytes.count - 1] {
            #expect(throws: InfluenceFault.self) { try InfluenceIndex(decoding: Array(index.bytes.prefix(count))) }
        }
        #expect(throws: InfluenceFault.self) { try InfluenceIndex(decoding: index.bytes + [0]) }
        func broken(_ at: Int, _ bytes: [UInt8]) -> [UInt8] {
            var copy = index.bytes
            copy.replaceSubrange(at..<at + bytes.count, with: bytes)
            return copy
        }
        #expect(throws: InfluenceFault.version) { try InfluenceIndex(decoding: broken(7, [0x32])) }
        for hostile in [
            broken(8, [0, 0, 0, 0]), broken(8, [255, 255, 255, 255]), broken(12, [255, 255, 255, 255]),
            broken(12, [0, 0, 0, 0]), broken(16, [0, 0, 0, 0]), broken(16, [255, 255, 255, 255]),
            // A scale that is infinite, negative, subnormal; a matrix that is not positive.
            broken(24 + 13, [0x7f, 0x80, 0, 0]), broken(24 + 13, [0xbf, 0x80, 0, 0]), broken(24 + 13, [0, 0, 0, 1]),
            broken(24 + 20 * 17, [0x80, 0, 0, 0, 0, 0, 0, 0]), broken(24 + 20 * 17, [0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
        ] {
            #expect(throws: InfluenceFault.self) { try InfluenceIndex(decoding: hostile) }
        }
        // Any byte may be wrong: it is read or refused, and scoring it is safe.
        var random = SeededRandom(seed: 1)
        for _ in 0..<2000 {
            var copy = index.bytes
            for _ in 0..<1 + random.below(3) { copy[Int(random.below(UInt64(copy.count)))] = UInt8(random.below(256)) }
            guard let odd = try? InfluenceIndex(decoding: copy) else { continue }
            if let query = try? odd.query(gradients.query) { _ = odd.scores(query) }
        }
    }
}
