// Writes an influence index from rows' gradients, in the order of the rows.

/// - Note: holds a byte a column and row while it builds, which is what the index has.
package struct InfluenceIndexBuilder: Sendable {
    /// A row's norm counts up to so many times the median: nobody is loud.
    package static let normMedians: Double = 4

    private let shape: InfluenceShape
    private var rows: [Int8] = []
    private var scales: [Float] = []

    package init(_ shape: InfluenceShape) { self.shape = shape }

    /// Bytes that building takes: the rows, the file, and the matrices of both.
    package static func byteCount(_ shape: InfluenceShape, rows: Int) -> Int {
        rows * shape.columns + shape.bytes(rows: rows) + 3 * 8 * shape.triangleValues
    }

    /// Takes the next row's projected gradient. One that is not finite becomes a row of zeros, which nothing is due to; so
    /// does a row that owns no cluster, or copies would decide what counts as rare in the Fisher matrices.
    /// - Parameter isOwner: whether the row owns its cluster (`NearDuplicates.owners`).
    /// - Returns: false for another number of columns, or when there are `InfluenceShape.rowsMax` rows.
    @discardableResult
    package mutating func add(_ gradient: [Float], isOwner: Bool = true) -> Bool {
        guard gradient.count == shape.columns, scales.count < InfluenceShape.rowsMax else { return false }
        let counts = isOwner && gradient.allSatisfy(\.isFinite)
        let row = Quantised.row(counts ? gradient.map(Double.init) : [Double](repeating: 0, count: gradient.count))
        rows += row.columns
        scales.append(row.scale)
        return true
    }

    /// - Throws: `.shape` where there is no row; `.notPositive` where the rows' numbers are beyond what doubles hold.
    package consuming func finish() throws(InfluenceFault) -> InfluenceIndex {
        guard !scales.isEmpty else { throw .shape("no rows") }
        cutLoudRows()
        var bytes = InfluenceIndex.magic
        bytes.reserveCapacity(shape.bytes(rows: scales.count))
        func append(_ word: UInt32) {
            for shift: UInt32 in [24, 16, 8, 0] { bytes.append(UInt8(truncatingIfNeeded: word >> shift)) }
        }
        append(UInt32(scales.count))
        append(UInt32(shape.matrices.count))
        for columns in shape.matrices { append(UInt32(columns)) }
        for (row, scale) in scales.enumerated() {
            for column in rows[row * shape.columns..<(row + 1) * shape.columns] {
                bytes.append(UInt8(bitPattern: column))
            }
            append(scale.bitPattern)
        }
        for value in Fisher.triangles(rows, scales, shape) {
            append(UInt32(truncatingIfNeeded: value.bitPattern >> 32))
            append(UInt32(truncatingIfNeeded: value.bitPattern))
        }
        return try InfluenceIndex(decoding: bytes)
    }

    private mutating func cutLoudRows() {
        let lengths = scales.indices.map { row -> Double in
            let squares = rows[row * shape.columns..<(row + 1) * shape.columns]
                .reduce(0) { $0 + Int64($1) * Int64($1) }
            return Double(squares).squareRoot()
        }
        let norms = scales.indices.map { Double(scales[$0]) * lengths[$0] }
        let sorted = norms.filter { $0 > 0 }.sorted()
        guard !sorted.isEmpty else { return }
        let most = Self.normMedians * sorted[(sorted.count - 1) / 2]
        for row in scales.indices where norms[row] > most {
            let scale = Float(most / lengths[row])
            scales[row] = scale.isNormal ? scale : 0
        }
    }
}
