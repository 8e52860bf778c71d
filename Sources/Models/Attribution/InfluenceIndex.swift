// Which rows an adapter learnt something from: each row's gradient at the final weights as 8-bit integers with a scale, and
// the Fisher matrices by which a query's gradient is corrected. From the quantised query on everything is an integer, so
// any peer that has the index repeats the scores to the last bit. Protocol/attribution.md, Influence.

import EvidenceKernels
package import Primitives

package enum InfluenceFault: Error, Hashable, Sendable, CustomStringConvertible {
    case notAnIndex
    case version
    case shape(String)
    /// A file of another length than its shape says.
    case size(expected: Int, found: Int)
    case notFinite(String)
    /// F + λI that has no Cholesky factor.
    case notPositive(matrix: Int)

    package var description: String {
        switch self {
        case .notAnIndex: "this is no influence index"
        case .version: "the influence index is of a version that is not known here"
        case .shape(let what): "the influence index has \(what)"
        case .size(let expected, let found):
            "the influence index has \(found) bytes, its shape needs \(expected); fetch it again"
        case .notFinite(let what): "\(what) is not finite"
        case .notPositive(let matrix): "the Fisher matrix \(matrix) of the influence index is not positive definite"
        }
    }
}

/// What of a gradient goes into a row: a group of columns for each matrix of the adapter.
package struct InfluenceShape: Hashable, Sendable {
    package static let columnsMax = 8192
    package static let matricesMax = 4096
    package static let matrixColumnsMax = 1024
    package static let rowsMax = 1 << 24

    package let matrices: [Int]
    package let columns: Int

    package init(matrices: [Int]) throws(InfluenceFault) {
        guard !matrices.isEmpty, matrices.count <= Self.matricesMax else { throw .shape("\(matrices.count) matrices") }
        var columns = 0
        for count in matrices {
            guard count > 0, count <= Self.matrixColumnsMax else { throw .shape("a matrix of \(count) columns") }
            columns += count
        }
        guard columns <= Self.columnsMax else { throw .shape("rows of \(columns) columns") }
        self.matrices = matrices
        self.columns = columns
    }

    /// Of a row in the index: a byte a column, then its scale.
    package var rowBytes: Int { columns + 4 }
    var triangleValues: Int { matrices.reduce(0) { $0 + $1 * ($1 + 1) / 2 } }
    var headerBytes: Int { 8 + 4 + 4 + 4 * matrices.count }
    func bytes(rows: Int) -> Int { headerBytes + rows * rowBytes + 8 * triangleValues }
}

package struct InfluenceIndex: Sendable {
    /// Beside the adapter that it belongs to.
    package static let fileName = "adapter_influence.bin"
    static let magic = Array("openinf1".utf8)
    /// Scores are kept within ± this.
    package static let scoreMax: Int64 = 1 << 36
    /// The kernel's block of rows: its sums stay in the first cache.
    private static let block = 1024

    package let shape: InfluenceShape
    package let rowCount: Int
    /// The whole file.
    package let bytes: [UInt8]
    /// Of each row: mantissa of 24 bits, and how far its products go right.
    private let mantissas: [Int32]
    private let shifts: [Int16]
    /// Cholesky factors of F + λI, lower, row by row, matrix after matrix.
    private let factors: [Double]

    /// Reads what `InfluenceIndexBuilder` wrote. Nothing in the bytes is believed.
    package init(decoding bytes: [UInt8]) throws(InfluenceFault) {
        guard bytes.count >= 16, Array(bytes[0..<7]) == Array(Self.magic[0..<7]) else { throw .notAnIndex }
        guard bytes[7] == Self.magic[7] else { throw .version }
        func word(_ at: Int) -> UInt32 { bytes[at..<at + 4].reduce(0) { $0 << 8 | UInt32($1) } }
        let rows = Int(word(8))
        let count = Int(word(12))
        guard rows > 0, rows <= InfluenceShape.rowsMax else { throw .shape("\(rows) rows") }
        guard count <= InfluenceShape.matricesMax else { throw .shape("\(count) matrices") }
        guard bytes.count >= 16 + 4 * count else { throw .size(expected: 16 + 4 * count, found: bytes.count) }
        let shape = try InfluenceShape(matrices: (0..<count).map { Int(word(16 + 4 * $0)) })
        guard bytes.count == shape.bytes(rows: rows) else {
            throw .size(expected: shape.bytes(rows: rows), found: bytes.count)
        }
        var scales: [Float] = []
        scales.reserveCapacity(rows)
        for row in 0..<rows {
            let scale = Float(bitPattern: word(shape.headerBytes + row * shape.rowBytes + shape.columns))
            guard scale.isFinite, scale == 0 || scale.isNormal, scale.sign == .plus else {
                throw .notFinite("the scale of row \(row)")
            }
            scales.append(scale)
        }
        var triangles: [Double] = []
        triangles.reserveCapacity(shape.triangleValues)
        let start = shape.headerBytes + rows * shape.rowBytes
        for place in 0..<shape.triangleValues {
            let at = start + 8 * place
            let value = Double(bitPattern: UInt64(word(at)) << 32 | UInt64(word(at + 4)))
            guard value.isFinite else { throw .notFinite("a Fisher matrix") }
            triangles.append(value)
        }
        self.shape = shape
        rowCount = rows
        self.bytes = bytes
        factors = try Fisher.factored(triangles, shape)
        (mantissas, shifts) = Self.integers(scales)
    }

    package var cid: CID { CID(.raw, hashing: bytes) }

    /// s = mantissa · 2^(e − 23); what is right of the point is e_ref's.
    private static func integers(_ scales: [Float]) -> ([Int32], [Int16]) {
        let exponents = scales.filter { $0 > 0 }.map { Int16($0.exponent) }.sorted()
        let reference = exponents.isEmpty ? 0 : exponents[(exponents.count - 1) / 2]
        let mantissas = scales.map { $0 == 0 ? 0 : Int32($0.significandBitPattern | 1 << 23) }
        let shifts = scales.map { $0 == 0 ? 0 : 16 + reference - Int16($0.exponent) }
        return (mantissas, shifts)
    }

    // MARK: The query

    /// Corrects a query's gradient by the Fisher matrices and quantises it.
    package func query(_ gradient: [Float]) throws(InfluenceFault) -> [Int8] {
        guard gradient.count == shape.columns else {
            throw .shape("\(shape.columns) columns, the query \(gradient.count)")
        }
        let solved = Fisher.solve(gradient.map(Double.init), factors, shape)
        guard solved.allSatisfy(\.isFinite) else { throw .notFinite("the query's gradient") }
        return Quantised.row(solved).columns
    }

    /// Every row's score for a query that `query` gave; any peer's are the same.
    package func scores(_ query: [Int8], form: InfluenceForm = .widest) -> [Int64] {
        precondition(query.count == shape.columns, "a query of other columns")
        var scores: [Int64] = []
        scores.reserveCapacity(rowCount)
        var dots = [Int32](repeating: 0, count: Self.block)
        bytes.withUnsafeBytes { bytes in
            for first in stride(from: 0, to: rowCount, by: Self.block) {
                let count = min(Self.block, rowCount - first)
                let rows = bytes.baseAddress.unsafelyUnwrapped
                    .advanced(by: shape.headerBytes + first * shape.rowBytes).assumingMemoryBound(to: Int8.self)
                dots_int8(form.rawValue, query, rows, shape.rowBytes, shape.columns, count, &dots)
                for row in 0..<count { scores.append(scaled(dots[row], first + row)) }
            }
        }
        return scores
    }

    private func scaled(_ dot: Int32, _ row: Int) -> Int64 {
        let product = Int64(dot) * Int64(mantissas[row])
        let shift = Int(shifts[row])
        if shift >= 0 { return max(-Self.scoreMax, min(Self.scoreMax, product >> Int64(min(shift, 63)))) }
        // Beyond so many bits anything but zero is out of bounds.
        let left = min(-shift, 40)
        let bound = Self.scoreMax >> Int64(left)
        return product > bound ? Self.scoreMax : product < -bound ? -Self.scoreMax : product << Int64(left)
    }
}

/// The forms of the dot product that this processor has; all give the same numbers.
package struct InfluenceForm: Hashable, Sendable {
    let rawValue: Int32
    package static var widest: InfluenceForm { InfluenceForm(rawValue: dots_widest()) }
    package static var all: [InfluenceForm] { (0...dots_widest()).map { InfluenceForm(rawValue: $0) } }
}

/// Numbers as 8-bit integers with one scale.
enum Quantised {
    static func row(_ values: [Double]) -> (columns: [Int8], scale: Float) {
        let largest = values.reduce(0) { max($0, abs($1)) }
        let scale = Float(largest / 127)
        guard scale.isNormal else { return ([Int8](repeating: 0, count: values.count), 0) }
        let columns = values.map {
            Int8(max(-127, min(127, ($0 / Double(scale)).rounded(.toNearestOrEven))))
        }
        return (columns, scale)
    }
}
