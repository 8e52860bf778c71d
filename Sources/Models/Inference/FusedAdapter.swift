// What a fusion computes, off the engine's thread. The arithmetic is Protocol/fusion.md's, which follows PEFT's
// `add_weighted_adapter` (peft/utils/merge_utils.py, peft/tuners/lora/model.py); two differences are stated there: `linear`
// is exact, and what DARE drops is a function of a seed.

package import ModelFiles

package struct FusedAdapter: Sendable {
    let parts: [LoadedAdapter]
    let fusion: AdapterFusion

    package func make() throws(ModelFault) -> LoadedAdapter {
        var updates: [[LowRank?]] = []
        for layer in 0..<(parts.first?.updates.count ?? 0) {
            var slots: [LowRank?] = []
            for slot in 0..<(parts.first?.updates[layer].count ?? 0) {
                slots.append(try update(layer: layer, slot: slot))
            }
            updates.append(slots)
        }
        return LoadedAdapter(updates: updates)
    }

    private func update(layer: Int, slot: Int) throws(ModelFault) -> LowRank? {
        var members: [(part: Int, weight: Double, update: LowRank)] = []
        for (index, part) in parts.enumerated() {
            guard let update = part.updates[layer][slot] else { continue }
            members.append((index, fusion.parts[index].weight, update))
        }
        guard let first = members.first?.update else { return nil }
        if fusion.method == .linear {
            members.removeAll { $0.weight == 0 }
            return try stacked(members.map { ($0.weight, $0.update) })
        }
        guard members.allSatisfy({ $0.update.rank == first.rank }) else {
            throw .unsupported(
                file: fusion.name,
                feature:
                    "fusing adapters of ranks \(members.map { "\($0.update.rank)" }.joined(separator: ", ")) other "
                    + "than by method linear")
        }
        // Half of each weight goes into each factor, the sign into A.
        let strengths = members.map { $0.weight * $0.update.scale }
        let down = FactorMerge(
            members.map { ($0.part, $0.update.down) },
            weights: strengths.map { Float(abs($0).squareRoot() * ($0 >= 0 ? 1 : -1)) },
            place: FusionChance.place(layer: layer, slot: slot, isUp: false))
        let up = FactorMerge(
            members.map { ($0.part, $0.update.up) }, weights: strengths.map { Float(abs($0).squareRoot()) },
            place: FusionChance.place(layer: layer, slot: slot, isUp: true))
        return LowRank(down: down.merged(by: fusion.method), up: up.merged(by: fusion.method), scale: 1)
    }

    private func stacked(_ members: [(weight: Double, update: LowRank)]) throws(ModelFault) -> LowRank? {
        guard !members.isEmpty else { return nil }
        let rank = members.reduce(0) { $0 + $1.update.rank }
        guard rank <= AdapterLimit.stackedRankMax else {
            throw .unsupported(
                file: fusion.name, feature: "a sum of ranks of \(rank), above \(AdapterLimit.stackedRankMax),")
        }
        return LowRank(
            down: .stackedRows(members.map(\.update.down)), up: .stackedColumns(members.map(\.update.up)),
            scales: members.flatMap { weight, update in
                Array(repeating: Float(weight * update.scale), count: update.rank)
            })
    }
}

/// What DARE keeps: element `index` of one factor of one part, where its number in [0, 1) is below the density. The number
/// is SplitMix64's finaliser, as in the sampler, over seed, part, place and index in turn.
enum FusionChance {
    static func place(layer: Int, slot: Int, isUp: Bool) -> UInt64 {
        UInt64(layer) << 32 | UInt64(slot) << 1 | (isUp ? 1 : 0)
    }

    static func stream(seed: UInt64, part: Int, place: UInt64) -> UInt64 { mix(mix(mix(seed) ^ UInt64(part)) ^ place) }

    static func number(_ stream: UInt64, _ index: Int) -> Double {
        Double(mix(stream ^ UInt64(index)) >> 11) * 0x1p-53
    }

    private static func mix(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9e37_79b9_7f4a_7c15
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// One factor of several adapters, made one.
private struct FactorMerge {
    let parts: [(index: Int, factor: AdapterFactor)]
    let weights: [Float]
    let place: UInt64

    init(_ parts: [(index: Int, factor: AdapterFactor)], weights: [Float], place: UInt64) {
        self.parts = parts
        self.weights = weights
        self.place = place
    }

    func merged(by method: AdapterFusion.Method) -> AdapterFactor {
        var values = parts.map { $0.factor.values() }
        let sum: [Float]
        switch method {
        case .linear: sum = added(values)
        case .ties(let density, let sign):
            for index in values.indices { Self.keepGreatest(&values[index], density) }
            sum = elected(values, sign)
        case .dareLinear(let density, let seed):
            drop(&values, density, seed)
            sum = added(values)
        case .dareTies(let density, let seed, let sign):
            drop(&values, density, seed)
            sum = elected(values, sign)
        }
        let first = parts[0].factor
        let kind = parts.allSatisfy { $0.factor.kind == first.kind } ? first.kind : .f32
        return AdapterFactor(kind, sum, rows: first.rows, columns: first.columns)
    }

    /// Zeroes all but the `density` greatest by magnitude; of equals the first stay.
    static func keepGreatest(_ values: inout [Float], _ density: Double) {
        guard density < 1 else { return }
        let count = Int(density * Double(values.count))
        guard let (threshold, ofThreshold) = least(ofGreatest: count, values) else {
            return values = Array(repeating: 0, count: values.count)
        }
        var left = ofThreshold
        for index in values.indices {
            let magnitude = values[index].magnitude.bitPattern
            if magnitude == threshold, left > 0 {
                left -= 1
            } else if magnitude <= threshold {
                values[index] = 0
            }
        }
    }

    /// The least magnitude of the `count` greatest and how many of them have it, by two passes over its halves.
    private static func least(ofGreatest count: Int, _ values: [Float]) -> (bits: UInt32, count: Int)? {
        guard count > 0 else { return nil }
        var left = count
        func pick(_ key: (UInt32) -> Int?) -> UInt32 {
            var histogram = [Int](repeating: 0, count: 1 << 16)
            for value in values { if let at = key(value.magnitude.bitPattern) { histogram[at] += 1 } }
            var at = histogram.count - 1
            while at > 0, histogram[at] < left {
                left -= histogram[at]
                at -= 1
            }
            return UInt32(at)
        }
        let high = pick { Int($0 >> 16) }
        let low = pick { $0 >> 16 == high ? Int($0 & 0xffff) : nil }
        return (high << 16 | low, left)
    }

    private func drop(_ values: inout [[Float]], _ density: Double, _ seed: UInt64) {
        guard density < 1 else { return }
        for (place, part) in parts.enumerated() {
            let stream = FusionChance.stream(seed: seed, part: part.index, place: self.place)
            for index in values[place].indices {
                values[place][index] =
                    FusionChance.number(stream, index) < density ? values[place][index] / Float(density) : 0
            }
        }
    }

    private func added(_ values: [[Float]]) -> [Float] {
        values[0].indices.map { index in
            var sum: Float = 0
            for part in values.indices { sum += values[part][index] * weights[part] }
            return sum
        }
    }

    /// The mean of those that have the majority's sign.
    private func elected(_ values: [[Float]], _ method: AdapterFusion.MajoritySign) -> [Float] {
        values[0].indices.map { index in
            var vote: Float = 0
            for part in values.indices {
                let value = values[part][index]
                vote += method == .total ? value : value > 0 ? 1 : value < 0 ? -1 : 0
            }
            var sum: Float = 0, count: Float = 0
            for part in values.indices {
                let value = values[part][index]
                guard vote >= 0 ? value > 0 : value < 0 else { continue }
                sum += value * weights[part]
                count += 1
            }
            return sum / max(count, 1)
        }
    }
}
