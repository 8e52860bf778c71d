// The greatest few of many without sorting the many, and a draw among them. Probabilities are fixed-point: a weight in
// [0, 1] is a whole number of 2^-42, so that a sum over any vocabulary is exact and the same in every order.

import Kernels

enum Greatest {
    /// Index of the greatest value, the lowest on a tie; -infinity is a value, NaN is not expected. `count` where empty.
    static func index(_ values: UnsafePointer<Float>, count: Int) -> Int {
        var best = -Float.infinity, index = 0
        var lanes = SIMD16<Float>(repeating: -.infinity)
        let raw = UnsafeRawPointer(values)
        while index + 16 <= count {
            let next = raw.loadUnaligned(fromByteOffset: index * 4, as: SIMD16<Float>.self)
            lanes.replace(with: next, where: next .> lanes)
            index += 16
        }
        best = lanes.max()
        while index < count {
            if values[index] > best { best = values[index] }
            index += 1
        }
        for index in 0..<count where values[index] == best { return index }
        return count
    }
}

struct TopSelection {
    private static let unit: Float = 0x1p42

    private let vocabulary: Int
    /// The last `greatest`, best first.
    private(set) var ids: [Int32] = []
    private var edge: [Int32] = []
    private var histogram: [UInt64]

    init(vocabulary: Int) {
        self.vocabulary = vocabulary
        histogram = Array(repeating: 0, count: 2048)
        ids.reserveCapacity(4096)
    }

    /// A weight in [0, 1] as a whole number of 2^-42.
    private static func fixed(_ weight: Float) -> UInt64 { UInt64(max(0, min(weight, 1)) * unit) }

    /// floor(u * mass), u being 53 bits of chance.
    private static func mark(_ bits: UInt64, _ mass: UInt64) -> UInt64 {
        let product = bits.multipliedFullWidth(by: mass)
        return product.high << 11 | product.low >> 53
    }

    /// The mass that a nucleus must reach.
    private static func target(_ topP: Float, _ mass: UInt64) -> UInt64 {
        guard topP < 1 else { return mass }
        return min(mass, UInt64((Double(max(0, topP)) * Double(mass)).rounded(.up)))
    }

    // MARK: By count

    /// Puts the `count` greatest into `ids`, best first where `sorted`, the lower id first on a tie; answers how many
    /// there are. One pass: what beats the worst that is kept is gathered, and each time that as many more are gathered
    /// the better half is kept. So a value costs a comparison or two, whatever the order of the values.
    mutating func greatest(_ values: UnsafePointer<Float>, count: Int, sorted: Bool = true) -> Int {
        let count = max(0, min(count, vocabulary))
        ids.removeAll(keepingCapacity: true)
        guard count > 0 else { return 0 }
        let room = count + max(count, 64)
        var id = 0
        while id < vocabulary, ids.count < room {
            ids.append(Int32(truncatingIfNeeded: id))
            id += 1
        }
        while true {
            keepBest(values, count)
            guard id < vocabulary, ids.count == count, let last = ids.last else { break }
            let worst = values[Int(last)]
            // A later id never wins a tie: it must be greater.
            while id < vocabulary, ids.count < room {
                if values[id] > worst { ids.append(Int32(truncatingIfNeeded: id)) }
                id += 1
            }
        }
        if sorted { ids.sort { Self.precedes(values, $0, $1) } }
        return ids.count
    }

    @inline(__always)
    private static func precedes(_ values: UnsafePointer<Float>, _ a: Int32, _ b: Int32) -> Bool {
        let x = values[Int(a)], y = values[Int(b)]
        return x != y ? x > y : a < b
    }

    /// Cuts `ids` to the best `count`, the worst of them last, by quickselect; where the pivots are bad, by sorting.
    private mutating func keepBest(_ values: UnsafePointer<Float>, _ count: Int) {
        guard ids.count > 0 else { return }
        let count = min(count, ids.count)
        ids.withUnsafeMutableBufferPointer { ids in
            var low = 0, high = ids.count - 1, rounds = 0
            let place = count - 1
            while low < high {
                rounds += 1
                if rounds > 64 {
                    ids[low...high].sort { Self.precedes(values, $0, $1) }
                    return
                }
                let middle = low + (high - low) / 2
                if Self.precedes(values, ids[middle], ids[low]) { ids.swapAt(middle, low) }
                if Self.precedes(values, ids[high], ids[low]) { ids.swapAt(high, low) }
                if Self.precedes(values, ids[high], ids[middle]) { ids.swapAt(high, middle) }
                let pivot = ids[middle]
                var left = low, right = high
                while left <= right {
                    while Self.precedes(values, ids[left], pivot) { left += 1 }
                    while Self.precedes(values, pivot, ids[right]) { right -= 1 }
                    guard left <= right else { break }
                    ids.swapAt(left, right)
                    left += 1
                    right -= 1
                }
                if place <= right {
                    high = right
                } else if place >= left {
                    low = left
                } else {
                    return
                }
            }
        }
        ids.removeLast(ids.count - count)
    }

    /// Sets the weight of all but the `count` tokens of greatest score to zero.
    mutating func keepGreatest(
        _ scores: UnsafePointer<Float>, _ weights: UnsafeMutablePointer<Float>, count: Int
    ) {
        let kept = greatest(scores, count: count, sorted: false)
        guard kept > 0, kept < vocabulary, let last = ids.last else { return }
        let worst = scores[Int(last)]
        for id in 0..<vocabulary where scores[id] < worst || (scores[id] == worst && id > Int(last)) { weights[id] = 0 }
    }

    // MARK: A few

    /// Draws among the last `greatest`; `weights` are in the order of `ids`.
    mutating func draw(
        _ weights: UnsafeMutablePointer<Float>, _ count: Int, topP: Float, minP: Float, bits: UInt64
    ) -> Int32? {
        // By weight, the lower id first on a tie: two scores may have one weight.
        edge.removeAll(keepingCapacity: true)
        edge.append(contentsOf: 0..<Int32(truncatingIfNeeded: count))
        let ids = ids
        func precedes(_ a: Int32, _ b: Int32) -> Bool {
            let x = weights[Int(a)], y = weights[Int(b)]
            return x != y ? x > y : ids[Int(a)] < ids[Int(b)]
        }
        edge.sort(by: precedes)
        var mass: UInt64 = 0
        for place in edge { mass += Self.fixed(weights[Int(place)]) }
        let target = Self.target(topP, mass)
        var reached: UInt64 = 0, kept = 0
        for place in edge {
            guard kept == 0 || (reached < target && weights[Int(place)] >= minP) else { break }
            reached += Self.fixed(weights[Int(place)])
            kept += 1
        }
        edge.removeLast(edge.count - kept)
        edge.sort { ids[Int($0)] < ids[Int($1)] }
        let mark = Self.mark(bits, reached)
        var passed: UInt64 = 0
        for place in edge {
            passed += Self.fixed(weights[Int(place)])
            if passed > mark { return ids[Int(place)] }
        }
        return nil
    }

    // MARK: All

    /// Draws among the whole vocabulary. The nucleus is all weights above some weight and the first few tokens that
    /// have just that weight: its 12 high bits, then 10, then 10 are found by summing the mass of each value of them.
    mutating func drawFromAll(_ weights: UnsafePointer<Float>, topP: Float, minP: Float, bits: UInt64) -> Int32? {
        var floor: UInt32 = 0, atFloor = Int.max
        if topP < 1 { (floor, atFloor) = nucleus(weights, topP) }
        if minP > 0, minP.bitPattern > floor {
            // The greatest weight is one: a floor of at most one keeps something.
            floor = min(minP, 1).bitPattern
            atFloor = .max
        }
        let (mass, _) = walk(weights, floor: floor, atFloor: atFloor, past: .max)
        return walk(weights, floor: floor, atFloor: atFloor, past: Self.mark(bits, mass)).place
    }

    /// Adds up what is chosen, in order of id, until the sum is past `mark`: the sum, and where that was.
    private func walk(
        _ weights: UnsafePointer<Float>, floor: UInt32, atFloor: Int, past mark: UInt64
    ) -> (mass: UInt64, place: Int32?) {
        var mass: UInt64 = 0, ties = 0
        for id in 0..<vocabulary {
            let pattern = weights[id].bitPattern
            guard pattern >= floor else { continue }
            if pattern == floor {
                ties += 1
                guard ties <= atFloor else { continue }
            }
            mass += Self.fixed(weights[id])
            if mass > mark { return (mass, Int32(truncatingIfNeeded: id)) }
        }
        return (mass, nil)
    }

    /// The least weight of the nucleus, as bits, and how many tokens of just that weight belong to it.
    private mutating func nucleus(_ weights: UnsafePointer<Float>, _ topP: Float) -> (floor: UInt32, count: Int) {
        clear()
        let vocabulary = vocabulary
        var mass: UInt64 = 0
        histogram.withUnsafeMutableBufferPointer { histogram in
            for id in 0..<vocabulary {
                let fixed = Self.fixed(weights[id])
                mass += fixed
                histogram[Int(min(weights[id].bitPattern >> 20, 2047))] += fixed
            }
        }
        let target = max(1, Self.target(topP, mass))
        var above: UInt64 = 0
        let high = crossing(from: 2047, target: target, above: &above)
        edge.removeAll(keepingCapacity: true)
        for id in 0..<vocabulary where weights[id].bitPattern >> 20 == UInt32(high) {
            edge.append(Int32(truncatingIfNeeded: id))
        }
        var prefix = UInt32(high)
        clear()
        for id in edge { histogram[Int(weights[Int(id)].bitPattern >> 10 & 1023)] += Self.fixed(weights[Int(id)]) }
        let middle = crossing(from: 1023, target: target, above: &above)
        prefix = prefix << 10 | UInt32(middle)
        clear()
        for id in edge where weights[Int(id)].bitPattern >> 10 == prefix {
            histogram[Int(weights[Int(id)].bitPattern & 1023)] += Self.fixed(weights[Int(id)])
        }
        let low = crossing(from: 1023, target: target, above: &above)
        let floor = prefix << 10 | UInt32(low)
        let each = max(1, Self.fixed(Float(bitPattern: floor)))
        return (floor, Int(clamping: (target - above + each - 1) / each))
    }

    private mutating func clear() { for index in histogram.indices { histogram[index] = 0 } }

    /// Adds up masses from the greatest value down, until one would reach the target: that value.
    private func crossing(from top: Int, target: UInt64, above: inout UInt64) -> Int {
        for value in stride(from: top, through: 0, by: -1) {
            let next = above + histogram[value]
            if next >= target { return value }
            above = next
        }
        return 0
    }
}
