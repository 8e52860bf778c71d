// Three kinds of evidence become one weight a row. Each is put on one scale, by how far it stands out among all rows of
// the snapshot; rows that stand out by less than two deviations are noise and get nothing, each by itself, so that rows
// that hinder an answer take nothing from others. Integers only. Protocol/attribution.md, Fusion.

/// Evidence of some rows; all others have none. Ascending by row, each once.
package typealias SparseEvidence = [(row: UInt32, weight: Int64)]

package struct FusionWeights: Hashable, Sendable {
    /// In 2^-16.
    package var influence: Int64 = 1 << 16
    package var spans: Int64 = 1 << 16
    package var retrieval: Int64 = 1 << 16
    package static let most: Int64 = 1 << 20

    package init() {}
}

package struct FusedWeight: Hashable, Sendable {
    /// Owner of its cluster.
    package let row: UInt32
    package let weight: UInt64
}

package enum Fusion {
    package static let pointBits: Int64 = 16
    /// What is kept of any evidence.
    package static let evidenceMax: Int64 = 1 << 36
    /// Deviations beyond which influence counts no more, and below which nothing is paid.
    package static let influenceDeviationsMax: Int64 = 8
    package static let deviationsMin: Int64 = 2
    static let floor = deviationsMin << pointBits
    /// A snapshot of fewer clusters is seen as one of so many, the others without evidence: among three rows none could
    /// stand out.
    static let clustersMin = 64
    /// Rows that are paid for one answer, of at most `Echoes.candidatesMax` that are looked at.
    package static let rowsMax = 64
    private static let none: Int64 = -(1 << 62)

    /// - Parameters:
    ///   - owners: of each row, the row that owns its cluster.
    ///   - influence: of each row in order, of which the owners' counts; those beyond have 0.
    /// - Returns: the rows that stand out, at most `Echoes.candidatesMax`, the greatest first, ties to the lower row.
    package static func weights(
        owners: [UInt32], influence: [Int64]?, spans: SparseEvidence?, retrieval: SparseEvidence?,
        by weights: FusionWeights = FusionWeights()
    ) -> [FusedWeight] {
        self.weights(
            of: fused(owners: owners, influence: influence, spans: spans, retrieval: retrieval, by: weights))
    }

    static func weights(of fused: [Int64]) -> [FusedWeight] {
        var top: [FusedWeight] = []
        for (row, value) in fused.enumerated() where value > floor {
            let weight = UInt64(value - floor)
            if top.count == Echoes.candidatesMax, weight <= top[top.count - 1].weight { continue }
            // Behind its equals: they have lower rows.
            var low = 0
            var high = top.count
            while low < high {
                let middle = (low + high) / 2
                if top[middle].weight >= weight { low = middle + 1 } else { high = middle }
            }
            top.insert(FusedWeight(row: UInt32(row), weight: weight), at: low)
            if top.count > Echoes.candidatesMax { top.removeLast() }
        }
        return top
    }

    /// Every row's fused evidence, 16 bits behind the point; rows that own no cluster have less than any other.
    package static func fused(
        owners: [UInt32], influence: [Int64]?, spans: SparseEvidence?, retrieval: SparseEvidence?,
        by weights: FusionWeights = FusionWeights()
    ) -> [Int64] {
        let clusters = max(clustersMin, owners.indices.count { Int(owners[$0]) == $0 })
        var sum = owners.indices.map { Int(owners[$0]) == $0 ? Int64(0) : none }
        if let influence {
            precondition(influence.count <= owners.count, "evidence of rows that are not there")
            let owning = owners.indices.lazy.filter { Int(owners[$0]) == $0 }
            func own(_ row: Int) -> Int64 { row < influence.count ? bounded(influence[row]) : 0 }
            let scale = Deviations(owning.lazy.map(own), of: clusters)
            let most = influenceDeviationsMax << pointBits
            let weight = bounded(weights: weights.influence)
            for row in owning { sum[row] += (max(-most, min(most, scale.deviation(own(row)))) * weight) >> pointBits }
        }
        for (evidence, weight) in [(spans, weights.spans), (retrieval, weights.retrieval)] {
            guard let evidence else { continue }
            let weight = bounded(weights: weight)
            let found = summed(evidence, owners)
            let scale = Deviations(found.values, of: clusters)
            // All but a few have none, and stand equally far from the mean.
            let absent = (scale.deviation(0) * weight) >> pointBits
            for row in owners.indices where Int(owners[row]) == row { sum[row] += absent }
            for (row, value) in found {
                sum[Int(row)] += ((scale.deviation(value) * weight) >> pointBits) - absent
            }
        }
        return sum
    }

    /// The sum of a cluster's rows. What is done with it does not depend on its order.
    private static func summed(_ evidence: SparseEvidence, _ owners: [UInt32]) -> [UInt32: Int64] {
        var sums: [UInt32: Int64] = [:]
        for (row, value) in evidence {
            precondition(Int(row) < owners.count, "evidence of a row that is not there")
            let owner = owners[Int(row)]
            sums[owner] = bounded((sums[owner] ?? 0) + bounded(value))
        }
        return sums
    }

    private static func bounded(_ value: Int64) -> Int64 { max(-evidenceMax, min(evidenceMax, value)) }
    private static func bounded(weights value: Int64) -> Int64 { max(0, min(FusionWeights.most, value)) }

    /// How many deviations a cluster's evidence is from the mean of all clusters', 16 bits behind the point.
    private struct Deviations {
        // 2^24 clusters within ±2^36: sums below 2^61, squares below 2^97, and n times them below 2^121.
        private let count: Int64
        private var sum: Int64 = 0
        private let shift: Int64
        /// 0 where all are equal.
        private let divisor: Int64

        /// - Parameter values: of some clusters; those of the others are 0.
        init(_ values: some Sequence<Int64>, of clusters: Int) {
            count = Int64(clusters)
            var squares: UInt128 = 0
            for value in values {
                sum += value
                squares += UInt128(value.magnitude) * UInt128(value.magnitude)
            }
            let root = IntegerRoot.floor(
                UInt128(count.magnitude) * squares - UInt128(sum.magnitude) * UInt128(sum.magnitude))
            shift = Int64(max(0, UInt64.bitWidth - root.leadingZeroBitCount - 31))
            divisor = Int64(root >> UInt64(shift))
        }

        func deviation(_ value: Int64) -> Int64 {
            divisor == 0 ? 0 : (((count * value - sum) >> shift) << Fusion.pointBits) / divisor
        }
    }
}

enum IntegerRoot {
    /// The greatest integer whose square is at most `value`, by Newton's method from above.
    static func floor(_ value: UInt128) -> UInt64 {
        guard value > 0 else { return 0 }
        let bits = UInt128.bitWidth - value.leadingZeroBitCount
        var root = UInt128(1) << UInt128((bits + 1) / 2)
        while true {
            let next = (root + value / root) / 2
            guard next < root else { return UInt64(truncatingIfNeeded: root) }
            root = next
        }
    }
}
