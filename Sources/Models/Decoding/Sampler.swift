// From logits to a token. Chance is a function of (seed, choice, position) alone, so a token can be checked without
// replaying the ones before it. Ties go to the lowest id.
//
// The set: the `topK` greatest logits, of these the fewest whose probability reaches `topP`. The draw: u in [0, 1)
// times the
// set's mass, walked in order of id. Protocol/numerics.md.

package import Arithmetic
import Kernels

package struct Sampling: Hashable, Sendable {
    /// Zero is greedy.
    package var temperature: Float
    /// Zero is no limit.
    package var topK: Int
    package var topP: Float
    package var seed: UInt64
    /// Which of several answers to one prompt.
    package var choice: UInt32

    package init(temperature: Float = 0, topK: Int = 0, topP: Float = 1, seed: UInt64 = 0, choice: UInt32 = 0) {
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.seed = seed
        self.choice = choice
    }

    package static let greedy = Sampling()
}

package struct TokenProbability: Hashable, Sendable {
    package let token: Int32
    /// Natural logarithm, from the logits before temperature.
    package let logProbability: Float
}

package struct Sampler {
    private let isa: Int32
    private let vocabulary: Int
    private var weights: [Float]
    private var order: [Int32] = []

    package init(vocabulary: Int, instructionSet: InstructionSet) {
        isa = instructionSet.code
        self.vocabulary = vocabulary
        weights = Array(repeating: 0, count: vocabulary)
        order.reserveCapacity(vocabulary)
    }

    /// u in [0, 1) with 53 bits: SplitMix64's finaliser over the three.
    package static func uniform(seed: UInt64, choice: UInt32, position: Int) -> Double {
        func mix(_ value: UInt64) -> UInt64 {
            var z = value &+ 0x9e37_79b9_7f4a_7c15
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
        let bits = mix(mix(mix(seed) ^ UInt64(choice)) ^ UInt64(position))
        return Double(bits >> 11) * 0x1p-53
    }

    /// Nil where a logit is not finite.
    package mutating func sample(_ logits: UnsafePointer<Float>, _ sampling: Sampling, position: Int) -> Int32? {
        let best = kernel_argmax(logits, vocabulary)
        guard best < vocabulary else { return nil }
        guard sampling.temperature > 0, sampling.topK != 1 else { return Int32(best) }
        let peak = logits[best]
        for id in 0..<vocabulary { weights[id] = (logits[id] - peak) / sampling.temperature }
        weights.withUnsafeMutableBufferPointer { buffer in
            if let base = buffer.baseAddress { _ = kernel_exp_sum(isa, base, vocabulary, 0, base) }
        }
        order.removeAll(keepingCapacity: true)
        let limited = (sampling.topK > 0 && sampling.topK < vocabulary) || sampling.topP < 1
        if limited {
            let wanted = sampling.topK > 0 ? min(sampling.topK, vocabulary) : vocabulary
            keepGreatest(logits, wanted)
            if sampling.topP < 1 {
                keepMass(Double(max(sampling.topP, 0)) * order.reduce(0) { $0 + Double(weights[Int($1)]) })
            }
            order.sort()
        } else {
            order.append(contentsOf: 0..<Int32(vocabulary))
        }
        let mass = order.reduce(0.0) { $0 + Double(weights[Int($1)]) }
        let mark = Self.uniform(seed: sampling.seed, choice: sampling.choice, position: position) * mass
        var reached = 0.0
        var chosen = Int32(best)
        for id in order where weights[Int(id)] > 0 {
            chosen = id
            reached += Double(weights[Int(id)])
            if reached > mark { break }
        }
        return chosen
    }

    /// The `count` greatest in `order`, greatest first, lower id first on a tie.
    private mutating func keepGreatest(_ logits: UnsafePointer<Float>, _ count: Int) {
        func precedes(_ a: Int32, _ b: Int32) -> Bool {
            logits[Int(a)] != logits[Int(b)] ? logits[Int(a)] > logits[Int(b)] : a < b
        }
        if count > 256 {
            order.append(contentsOf: 0..<Int32(vocabulary))
            order.sort(by: precedes)
            if order.count > count { order.removeLast(order.count - count) }
            return
        }
        for id in 0..<Int32(vocabulary) {
            if order.count == count {
                guard let last = order.last, precedes(id, last) else { continue }
                order.removeLast()
            }
            var low = 0, high = order.count
            while low < high {
                let middle = (low + high) / 2
                if precedes(order[middle], id) { low = middle + 1 } else { high = middle }
            }
            order.insert(id, at: low)
        }
    }

    /// Cuts `order` to the fewest whose weights reach `mass`, at least one.
    private mutating func keepMass(_ mass: Double) {
        var reached = 0.0
        for (index, id) in order.enumerated() {
            reached += Double(weights[Int(id)])
            if reached >= mass {
                order.removeLast(order.count - index - 1)
                return
            }
        }
    }

    /// Log-softmax of one token and of the `top` most probable.
    package mutating func logProbabilities(
        _ logits: UnsafePointer<Float>, of token: Int32, top: Int
    ) -> (chosen: Float, top: [TokenProbability]) {
        let best = kernel_argmax(logits, vocabulary)
        guard best < vocabulary else { return (-.infinity, []) }
        let peak = logits[best]
        let sum = kernel_exp_sum(isa, logits, vocabulary, peak, nil)
        let normaliser = Double(peak) + DoubleMath.log(Double(sum))
        func value(_ id: Int32) -> Float { Float(Double(logits[Int(id)]) - normaliser) }
        order.removeAll(keepingCapacity: true)
        if top > 0 { keepGreatest(logits, min(top, vocabulary)) }
        return (value(token), order.map { TokenProbability(token: $0, logProbability: value($0)) })
    }
}
