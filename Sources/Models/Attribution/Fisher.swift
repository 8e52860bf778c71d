// The empirical Fisher matrices of an adapter's rows, one a matrix of the adapter, and solving with them. IEEE doubles in
// the order that is written here, without fused operations: the same bits on every machine.

enum Fisher {
    /// Cholesky factors L of each lower triangle: L Lᵀ = F + λI.
    static func factored(_ triangles: [Double], _ shape: InfluenceShape) throws(InfluenceFault) -> [Double] {
        var factors = triangles
        var start = 0
        for (matrix, size) in shape.matrices.enumerated() {
            func at(_ row: Int, _ column: Int) -> Int { start + row * (row + 1) / 2 + column }
            for column in 0..<size {
                var pivot = factors[at(column, column)]
                for k in 0..<column { pivot -= factors[at(column, k)] * factors[at(column, k)] }
                guard pivot > 0, pivot.isFinite else { throw .notPositive(matrix: matrix) }
                let root = pivot.squareRoot()
                factors[at(column, column)] = root
                for row in column + 1..<max(size, column + 1) {
                    var value = factors[at(row, column)]
                    for k in 0..<column { value -= factors[at(row, k)] * factors[at(column, k)] }
                    factors[at(row, column)] = value / root
                }
            }
            start += size * (size + 1) / 2
        }
        return factors
    }

    /// (F + λI)⁻¹ of each matrix's part of `values`.
    static func solve(_ values: [Double], _ factors: [Double], _ shape: InfluenceShape) -> [Double] {
        var values = values
        var start = 0
        var first = 0
        for size in shape.matrices {
            func at(_ row: Int, _ column: Int) -> Int { start + row * (row + 1) / 2 + column }
            for row in 0..<size {
                var value = values[first + row]
                for k in 0..<row { value -= factors[at(row, k)] * values[first + k] }
                values[first + row] = value / factors[at(row, row)]
            }
            for row in (0..<size).reversed() {
                var value = values[first + row]
                for k in row + 1..<max(size, row + 1) { value -= factors[at(k, row)] * values[first + k] }
                values[first + row] = value / factors[at(row, row)]
            }
            start += size * (size + 1) / 2
            first += size
        }
        return values
    }

    /// The lower triangles of F + λI of rows that are quantised.
    static func triangles(_ rows: [Int8], _ scales: [Float], _ shape: InfluenceShape) -> [Double] {
        var triangles = [Double](repeating: 0, count: shape.triangleValues)
        for (row, scale) in scales.enumerated() where scale > 0 {
            let weight = Double(scale) * Double(scale)
            var place = 0
            var first = row * shape.columns
            for size in shape.matrices {
                for one in 0..<size {
                    // An integer times a number of 48 bits at most, exact; a column of zero adds nothing.
                    let factor = weight * Double(rows[first + one])
                    if factor != 0 {
                        for other in 0...one { triangles[place + other] += factor * Double(rows[first + other]) }
                    }
                    place += one + 1
                }
                first += size
            }
        }
        var place = 0
        for size in shape.matrices {
            var trace = 0.0
            for one in 0..<size {
                for other in 0...one { triangles[place + one * (one + 1) / 2 + other] /= Double(scales.count) }
                trace += triangles[place + one * (one + 1) / 2 + one]
            }
            let lambda = trace > 0 ? trace / Double(size) : 1
            for one in 0..<size { triangles[place + one * (one + 1) / 2 + one] += lambda }
            place += size * (size + 1) / 2
        }
        return triangles
    }
}
