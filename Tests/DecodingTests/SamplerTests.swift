import Arithmetic
import Foundation
import Primitives
import Testing

@testable import Decoding

@Suite struct SamplerTests {
    private struct Case {
        let logits: [Float]
        let prompt: [Int32]
        let answer: [Int32]
        var sampling: Sampling
        let probabilities: [(token: Int32, p: Double)]
    }

    private func cases() throws -> [Case] {
        (try json("sampling.json").items ?? []).map { entry in
            func float(_ key: String) -> Float { Float(entry[key]?.double ?? .nan) }
            func tokens(_ key: String) -> [Int32] { (entry[key]?.items ?? []).map { Int32($0.integer ?? -1) } }
            let bias = (entry["bias"]?.items ?? []).map {
                TokenBias(token: Int32($0.items?[0].integer ?? -1), bias: Float($0.items?[1].double ?? .nan))
            }
            return Case(
                logits: (entry["logits"]?.items ?? []).map { Float($0.double ?? .nan) }, prompt: tokens("prompt"),
                answer: tokens("answer"),
                sampling: Sampling(
                    temperature: float("temperature"), topK: entry["top_k"]?.integer ?? -1, topP: float("top_p"),
                    minP: float("min_p"), presencePenalty: float("presence_penalty"),
                    frequencyPenalty: float("frequency_penalty"), repetitionPenalty: float("repetition_penalty"),
                    logitBias: bias),
                probabilities: (entry["probabilities"]?.items ?? []).map {
                    (Int32($0.items?[0].integer ?? -1), $0.items?[1].double ?? .nan)
                })
        }
    }

    /// How many tokens of the reference are not drawn where its distribution says: in the middle of the token's stretch
    /// of [0, 1), and a little within both of its ends.
    private func misses(_ one: Case) -> Int {
        var sampler = Sampler(vocabulary: one.logits.count, instructionSet: .best)
        var history = TokenHistory(prompt: one.prompt)
        for token in one.answer { history.append(token) }
        var from = 0.0, misses = 0
        for (token, p) in one.probabilities {
            // Where the reference has less than the sampler's unit there is nothing to hit.
            if p > 1e-9 {
                for share in [0.002, 0.5, 0.998] {
                    let bits = UInt64(min(max(from + p * share, 0), 1 - 0x1p-53) * 0x1p53)
                    let drawn = sampler.sample(one.logits, one.sampling, bits: bits, history: history)
                    // At the ends single precision in the reference moves the border.
                    if drawn != token, share == 0.5 ? p > 1e-6 : p > 1e-3 { misses += 1 }
                }
            }
            from += p
        }
        return misses
    }

    @Test func distributionsAreThoseOfTransformers() throws {
        let cases = try cases()
        #expect(cases.count == 72)
        for (index, one) in cases.enumerated() { #expect(misses(one) == 0, "case \(index): \(one.sampling)") }
    }

    @Test func aPlantedFaultIsSeen() throws {
        func seen(_ change: (inout Sampling) -> Void) throws -> Bool {
            try cases().contains { one in
                var one = one
                change(&one.sampling)
                return misses(one) > 0
            }
        }
        #expect(try seen { $0.topP = min(1, $0.topP + 0.05) })
        #expect(try seen { $0.minP = 0 })
        #expect(try seen { $0.topK = $0.topK > 1 ? $0.topK - 1 : $0.topK })
        #expect(try seen { $0.repetitionPenalty = 1 })
        #expect(try seen { $0.frequencyPenalty = -$0.frequencyPenalty })
        #expect(try seen { $0.presencePenalty = 0 })
        #expect(try seen { $0.temperature *= 1.05 })
    }

    /// The set and draw of the definition, from all ids in order of logit.
    private func naive(_ logits: [Float], _ sorted: [Int], _ sampling: Sampling, bits: UInt64) -> Int32 {
        let peak = logits.max() ?? 0
        let order = sampling.topK > 0 ? Array(sorted.prefix(sampling.topK)) : sorted
        func weight(_ id: Int) -> Double { exp(Double((logits[id] - peak) / sampling.temperature)) }
        let total = order.reduce(0) { $0 + weight($1) } * Double(sampling.topP)
        var kept: [Int] = [], mass = 0.0
        for id in order where kept.isEmpty || (mass < total && weight(id) >= Double(sampling.minP)) {
            kept.append(id)
            mass += weight(id)
        }
        kept.sort()
        var mark = Double(bits) * 0x1p-53 * mass
        for id in kept {
            mark -= weight(id)
            if mark < 0 { return Int32(id) }
        }
        return Int32(kept.last ?? -1)
    }

    @Test(arguments: [(0, 0.9, 0.0), (50, 1.0, 0.0), (3000, 0.95, 0.0), (0, 1.0, 0.02), (0, 0.5, 0.0), (0, 1.0, 0.0)])
    func largeVocabulariesNeedNoSort(_ topK: Int, _ topP: Double, _ minP: Double) {
        var random = SeededRandom(seed: UInt64(topK + 1))
        let count = 10_000
        var sampler = Sampler(vocabulary: count, instructionSet: .best)
        var differ = 0
        for round in 0..<6 {
            // Peaked, flat, and with many ties.
            let logits = (0..<count).map { _ -> Float in
                let x = Float(random.unit() + random.unit() + random.unit() - 1.5)
                return round % 3 == 0 ? x * 12 : round % 3 == 1 ? x * 0.01 : (x * 8).rounded()
            }
            let sampling = Sampling(temperature: 0.8, topK: topK, topP: Float(topP), minP: Float(minP))
            let sorted = (0..<count).sorted { logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1 }
            for _ in 0..<10 {
                let bits = random.next() >> 11
                if sampler.sample(logits, sampling, bits: bits) != naive(logits, sorted, sampling, bits: bits) {
                    differ += 1
                }
            }
        }
        // The reference adds doubles in another order: a draw just at a border may fall to the neighbour.
        #expect(differ <= 2)
    }

    @Test func instructionSetsAgreeBitForBit() {
        var random = SeededRandom(seed: 5)
        let logits = (0..<5000).map { _ in Float(random.unit() * 20) }
        let sampling = [
            Sampling(temperature: 1), Sampling(temperature: 2, topP: 0.9),
            Sampling(temperature: 0.7, topK: 40, minP: 0.1),
        ]
        for one in sampling {
            let drawn = InstructionSet.available.map { set -> [Int32?] in
                var sampler = Sampler(vocabulary: logits.count, instructionSet: set)
                return (0..<300).map { sampler.sample(logits, one, position: $0) }
            }
            #expect(Set(drawn).count == 1)
        }
    }

    @Test func masksBiasAndBansAreObeyed() {
        var sampler = Sampler(vocabulary: 130, instructionSet: .best)
        let logits = (0..<130).map { Float($0) * 0.1 }
        var mask = TokenMask(vocabulary: 130)
        for token: Int32 in [3, 64, 100] { mask.insert(token) }
        #expect(sampler.sample(logits, .greedy, position: 0, mask: mask) == 100)
        #expect(sampler.sample(logits, .greedy, position: 0, mask: mask, forbidding: [100]) == 64)
        #expect(sampler.sample(logits, .greedy, position: 0, mask: TokenMask(vocabulary: 130)) == nil)
        let drawn = Set((0..<500).map { sampler.sample(logits, Sampling(temperature: 9), position: $0, mask: mask) })
        #expect(drawn == [3, 64, 100])
        let bias = Sampling(logitBias: [TokenBias(token: 7, bias: 100)])
        #expect(sampler.sample(logits, bias, position: 0) == 7)
        // A mask over fewer tokens than the model has (a padded vocabulary) allows none of the rest.
        var short = TokenMask(vocabulary: 64)
        short.insert(5)
        #expect(sampler.sample(logits, .greedy, position: 0, mask: short) == 5)
    }

    @Test func whatIsNotFiniteEndsOneSequence() {
        var sampler = Sampler(vocabulary: 4, instructionSet: .best)
        for bad in [Float.nan, .infinity, -.infinity] {
            #expect(sampler.sample([1, bad, 3, 0], .greedy, position: 0) == nil)
            #expect(sampler.sample([1, bad, 3, 0], Sampling(temperature: 1), position: 0) == nil)
        }
        #expect(sampler.sample([1, 3, 3, 0], .greedy, position: 0) == 1)
    }

    @Test func logProbabilitiesAreOfTheModel() {
        var sampler = Sampler(vocabulary: 5, instructionSet: .best)
        let (chosen, top) = sampler.logProbabilities([0, 1, 2, 2, -1], of: 1, top: 3)
        let sum = log([0.0, 1, 2, 2, -1].reduce(0) { $0 + exp($1) })
        #expect(abs(Double(chosen) - (1 - sum)) < 1e-6)
        #expect(top.map(\.token) == [2, 3, 1])
    }

    @Test func refusalsNameTheParameter() {
        func name(_ change: (inout Sampling) -> Void) -> String? {
            var sampling = Sampling(temperature: 1)
            change(&sampling)
            return sampling.refusal(vocabulary: 10)?.name
        }
        #expect(name { _ in } == nil)
        #expect(name { $0.temperature = .nan } == "temperature")
        #expect(name { $0.topP = 0 } == "top_p")
        #expect(name { $0.minP = 1.1 } == "min_p")
        #expect(name { $0.topK = -1 } == "top_k")
        #expect(name { $0.presencePenalty = 3 } == "presence_penalty")
        #expect(name { $0.frequencyPenalty = -.infinity } == "frequency_penalty")
        #expect(name { $0.repetitionPenalty = 0 } == "repetition_penalty")
        #expect(name { $0.logitBias = [TokenBias(token: 10, bias: 0)] } == "logit_bias")
        #expect(name { $0.logitBias = [TokenBias(token: 1, bias: 101)] } == "logit_bias")
    }
}
