// From logits to a token. Chance is a function of (seed, choice, position) alone, so a token can be checked without
// replaying the ones before it. Ties go to the lowest id.
//
//     logits -> bias -> repetition -> frequency, presence -> mask -> / temperature -> top-k -> top-p -> min-p -> draw
//
// the order of transformers' processors and warpers. Probabilities are 42-bit integers, so sums do not depend on their
// order and no set needs a full sort: the edge of a nucleus is found by three histograms. Protocol/decoding.md.

package import Arithmetic
import Kernels

package struct TokenProbability: Hashable, Sendable {
    package let token: Int32
    /// Natural logarithm, from the logits as the model gives them.
    package let logProbability: Float

    package init(token: Int32, logProbability: Float) {
        self.token = token
        self.logProbability = logProbability
    }
}

package struct Sampler {
    /// Sets up to here are chosen and sorted by themselves; larger ones by histograms over the vocabulary.
    private static let smallSetMax = 1024
    /// exp of this is zero.
    private static let exponentMin: Float = -200

    private let isa: Int32
    private let vocabulary: Int
    /// The logits after bias, penalties and mask.
    private var scores: [Float]
    private var weights: [Float]
    private var selection: TopSelection

    package init(vocabulary: Int, instructionSet: InstructionSet) {
        isa = instructionSet.code
        self.vocabulary = vocabulary
        scores = Array(repeating: 0, count: vocabulary)
        weights = Array(repeating: 0, count: vocabulary)
        selection = TopSelection(vocabulary: vocabulary)
    }

    /// 53 random bits: SplitMix64's finaliser over the three.
    package static func bits(seed: UInt64, choice: UInt32, position: Int) -> UInt64 {
        func mix(_ value: UInt64) -> UInt64 {
            var z = value &+ 0x9e37_79b9_7f4a_7c15
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
        return mix(mix(mix(seed) ^ UInt64(choice)) ^ UInt64(truncatingIfNeeded: position)) >> 11
    }

    /// The same as a number in [0, 1).
    package static func uniform(seed: UInt64, choice: UInt32, position: Int) -> Double {
        Double(bits(seed: seed, choice: choice, position: position)) * 0x1p-53
    }

    /// Nil where a logit is not finite, or nothing is allowed. `position` is the token's index counted from the
    /// prompt's first token; `history` is read where `sampling.readsHistory`; `forbidding` are tokens that may not
    /// come (the end, while an answer is shorter than its least length).
    package mutating func sample(
        _ logits: UnsafePointer<Float>, _ sampling: Sampling, position: Int, history: TokenHistory? = nil,
        mask: TokenMask? = nil, forbidding: [Int32] = []
    ) -> Int32? {
        sample(
            logits, sampling, bits: Self.bits(seed: sampling.seed, choice: sampling.choice, position: position),
            history: history, mask: mask, forbidding: forbidding)
    }

    /// The same from 53 given bits of chance.
    mutating func sample(
        _ logits: UnsafePointer<Float>, _ sampling: Sampling, bits: UInt64, history: TokenHistory? = nil,
        mask: TokenMask? = nil, forbidding: [Int32] = []
    ) -> Int32? {
        let best = kernel_argmax(logits, vocabulary)
        guard best < vocabulary else { return nil }
        let isGreedy = sampling.temperature <= 0 || sampling.topK == 1
        let isPlain =
            sampling.logitBias.isEmpty && mask == nil && forbidding.isEmpty
            && (history == nil || !sampling.readsHistory)
        if isPlain {
            return isGreedy ? Int32(best) : draw(logits, peak: logits[best], sampling, bits: bits)
        }
        // Taken out for the while, so that the draw may use the rest of the sampler; nothing is copied.
        var own: [Float] = []
        swap(&own, &scores)
        defer { swap(&own, &scores) }
        return own.withUnsafeMutableBufferPointer { buffer -> Int32? in
            guard let scores = buffer.baseAddress else { return nil }
            scores.update(from: logits, count: vocabulary)
            Self.shape(scores, vocabulary, sampling, history, forbidding)
            if let mask { Self.apply(mask, scores, vocabulary) }
            let best = Greatest.index(scores, count: vocabulary)
            guard best < vocabulary, scores[best].isFinite else { return nil }
            return isGreedy ? Int32(best) : draw(scores, peak: scores[best], sampling, bits: bits)
        }
    }

    private static func shape(
        _ scores: UnsafeMutablePointer<Float>, _ vocabulary: Int, _ sampling: Sampling, _ history: TokenHistory?,
        _ forbidding: [Int32]
    ) {
        for entry in sampling.logitBias where entry.token >= 0 && Int(entry.token) < vocabulary {
            scores[Int(entry.token)] += entry.bias
        }
        if sampling.readsHistory, let history {
            let repetition = sampling.repetitionPenalty
            for entry in history.entries where entry.token >= 0 && Int(entry.token) < vocabulary {
                var score = scores[Int(entry.token)]
                if repetition != 1 { score = score < 0 ? score * repetition : score / repetition }
                if entry.answered > 0 {
                    score -= sampling.frequencyPenalty * Float(entry.answered)
                    score -= sampling.presencePenalty
                }
                scores[Int(entry.token)] = score
            }
        }
        for token in forbidding where token >= 0 && Int(token) < vocabulary { scores[Int(token)] = -.infinity }
    }

    private static func apply(_ mask: TokenMask, _ scores: UnsafeMutablePointer<Float>, _ vocabulary: Int) {
        var first = 0
        for word in mask.words where first < vocabulary {
            let end = min(first + 64, vocabulary)
            if word != .max {
                var bits = word
                for id in first..<end {
                    if bits & 1 == 0 { scores[id] = -.infinity }
                    bits >>= 1
                }
            }
            first = end
        }
        for id in first..<max(first, vocabulary) { scores[id] = -.infinity }
    }

    // MARK: The draw

    private mutating func draw(
        _ scores: UnsafePointer<Float>, peak: Float, _ sampling: Sampling, bits: UInt64
    ) -> Int32? {
        let isa = isa, vocabulary = vocabulary, temperature = sampling.temperature
        let limitsCount = sampling.topK > 0 && sampling.topK < vocabulary
        let isSmall = limitsCount && sampling.topK <= Self.smallSetMax
        var own: [Float] = []
        swap(&own, &weights)
        defer { swap(&own, &weights) }
        return own.withUnsafeMutableBufferPointer { buffer -> Int32? in
            guard let weights = buffer.baseAddress else { return nil }
            let count = isSmall ? selection.greatest(scores, count: sampling.topK) : vocabulary
            for index in 0..<count {
                let score = isSmall ? scores[Int(selection.ids[index])] : scores[index]
                weights[index] = max((score - peak) / temperature, Self.exponentMin)
            }
            _ = kernel_exp_sum(isa, weights, count, 0, weights)
            if isSmall { return selection.draw(weights, count, topP: sampling.topP, minP: sampling.minP, bits: bits) }
            if limitsCount { selection.keepGreatest(scores, weights, count: sampling.topK) }
            return selection.drawFromAll(weights, topP: sampling.topP, minP: sampling.minP, bits: bits)
        }
    }

    // MARK: Log-probabilities

    /// Log-softmax of one token and of the `top` most probable, of the logits as the model gives them.
    package mutating func logProbabilities(
        _ logits: UnsafePointer<Float>, of token: Int32, top: Int
    ) -> (chosen: Float, top: [TokenProbability]) {
        let best = kernel_argmax(logits, vocabulary)
        guard best < vocabulary, token >= 0, Int(token) < vocabulary else { return (-.infinity, []) }
        let peak = logits[best]
        let sum = kernel_exp_sum(isa, logits, vocabulary, peak, nil)
        let normaliser = Double(peak) + DoubleMath.log(Double(sum))
        func value(_ id: Int32) -> Float { Float(Double(logits[Int(id)]) - normaliser) }
        guard top > 0 else { return (value(token), []) }
        let count = selection.greatest(logits, count: min(top, vocabulary))
        return (
            value(token),
            selection.ids[..<count].map { TokenProbability(token: $0, logProbability: value($0)) }
        )
    }
}
