// How an adapter's gradient becomes the few columns of an influence index: of each module the gradient of B, its long side (the
// outputs of the layer) multiplied by random signs. A's gradient is left out: with so few columns it is B's that tells rows
// apart. The signs are SHA-256 in counter mode keyed by the rows' Merkle root, which nobody knows when a row is committed: no
// row can be made whose projection is not what its gradient is. Protocol/attribution.md, Projection.

package import Attribution
import Inference
package import Primitives

package struct InfluenceProjection: Sendable {
    /// With the scale's four bytes a row takes at most 2 KiB.
    package static let columnsMax = 2044

    /// Of one module.
    struct Matrix: Sendable {
        /// Its place among the layout's modules, and its number: the place among all by name.
        let place: Int
        let number: Int
        /// Its first column of a row, and how many it has.
        let first: Int
        let columns: Int
        /// Signs of each output.
        let wide: Int
        /// Whether the short side is multiplied by signs too, a column each: where there are fewer columns than ranks.
        let folds: Bool
    }

    package let shape: InfluenceShape
    /// In the order of the layout's modules.
    let matrices: [Matrix]
    private let key: Digest

    /// - Parameter rows: the Merkle root of the rows that the adapter was trained on, as its manifest has it.
    package init(_ layout: AdapterLayout, rows: Digest) throws(InfluenceFault) {
        let modules = layout.modules
        guard !modules.isEmpty, modules.count <= Self.columnsMax else {
            throw .shape("\(modules.count) modules; a projection has 1 to \(Self.columnsMax)")
        }
        let share = min(Self.columnsMax / modules.count, InfluenceShape.matrixColumnsMax)
        let byName = modules.indices.sorted {
            modules[$0].module.module.utf8.lexicographicallyPrecedes(modules[$1].module.module.utf8)
        }
        var matrices: [Matrix] = [], first = 0
        for (number, place) in byName.enumerated() {
            let rank = modules[place].rank, folds = share < rank
            let wide = folds ? share : min(share / rank, modules[place].module.rows)
            let columns = folds ? wide : wide * rank
            matrices.append(
                Matrix(place: place, number: number, first: first, columns: columns, wide: wide, folds: folds))
            first += columns
        }
        shape = try InfluenceShape(matrices: matrices.map(\.columns))
        self.matrices = matrices.sorted { $0.place < $1.place }
        key = rows
    }

    /// The first `count` signs of a matrix: 1 or -1, by the bits of a stream of digests, the most significant first.
    func signs(of matrix: Matrix, count: Int) -> [Float] {
        var signs: [Float] = []
        signs.reserveCapacity(count)
        var block: UInt32 = 0
        func bigEndian(_ word: UInt32) -> [UInt8] {
            [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> $0) }
        }
        while signs.count < count {
            let digest = Digest(
                sha256Of: [
                    Array("openledger/1/projection\n".utf8), key.bytes, bigEndian(UInt32(matrix.number)),
                    bigEndian(block),
                ])
            for byte in digest.bytes {
                for bit in (0..<8).reversed() where signs.count < count { signs.append(byte >> bit & 1 == 1 ? -1 : 1) }
            }
            block += 1
        }
        return signs
    }
}
