// Measurements, run with OPENLEDGER_BENCH=1 in a release build; they print and judge nothing but the naive twin.

import Arithmetic
import Foundation
import Primitives
import Testing

@testable import Decoding

@Suite(.serialized, .enabled(if: ProcessInfo.processInfo.environment["OPENLEDGER_BENCH"] == "1"))
struct DecodingSpeed {
    private func microseconds(_ rounds: Int, _ body: (Int) throws -> Void) rethrows -> Double {
        // The best of five: other work on the machine only adds.
        var best = Double.infinity
        for _ in 0..<5 {
            let clock = ContinuousClock(), start = clock.now
            for round in 0..<rounds { try body(round) }
            let taken = (clock.now - start).components
            let seconds = Double(taken.seconds) + Double(taken.attoseconds) * 1e-18
            best = min(best, seconds * 1e6 / Double(rounds))
        }
        return best
    }

    /// Logits as language models give them: a few stand out, the rest are spread like a bell.
    private func logits(_ count: Int) -> [Float] {
        var random = SeededRandom(seed: 9)
        var values = (0..<count).map { _ in Float((0..<6).reduce(0.0) { sum, _ in sum + random.unit() } * 3 - 9) }
        for _ in 0..<60 { values[Int(random.below(UInt64(count)))] += Float(random.unit() * 12) }
        return values
    }

    @Test(arguments: [32_000, 152_000]) func sampler(_ count: Int) {
        let logits = logits(count)
        var sampler = Sampler(vocabulary: count, instructionSet: .best)
        var sampling = Sampling.greedy
        func measure(_ name: String, _ one: Sampling, mask: TokenMask? = nil, history: TokenHistory? = nil) {
            let time = microseconds(20) { round in
                _ = sampler.sample(logits, one, position: round, history: history, mask: mask)
            }
            print("sampler \(count) \(name): \(Int(time)) µs")
        }
        measure("greedy", sampling)
        sampling = Sampling(temperature: 0.8)
        measure("temperature", sampling)
        measure("top-k 40", Sampling(temperature: 0.8, topK: 40))
        measure("top-p 0.95", Sampling(temperature: 0.8, topP: 0.95))
        measure("top-k 40, top-p 0.95, min-p 0.05", Sampling(temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05))
        var history = TokenHistory(prompt: (0..<1000).map { Int32($0 * 7) })
        for token in 0..<500 { history.append(Int32(token * 11)) }
        measure(
            "top-p 0.95, penalties over 1,500 tokens",
            Sampling(temperature: 0.8, topP: 0.95, frequencyPenalty: 0.5, repetitionPenalty: 1.1), history: history)
        var mask = TokenMask(vocabulary: count)
        for token in stride(from: 0, to: count, by: 2) { mask.insert(Int32(token)) }
        measure("top-p 0.95, mask of half", Sampling(temperature: 0.8, topP: 0.95), mask: mask)
        let top = microseconds(20) { _ in _ = sampler.logProbabilities(logits, of: 5, top: 20) }
        print("sampler \(count) log-probabilities, top 20: \(Int(top)) µs")
        let naive = microseconds(2) { _ in
            let order = (0..<count).sorted { logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1 }
            let peak = logits[order[0]]
            var mass = 0.0
            for id in order { mass += Double(exp((logits[id] - peak) / 0.8)) }
            #expect(mass > 0)
        }
        print("sampler \(count) naive full sort: \(Int(naive)) µs")
    }

    @Test(arguments: [32_000, 152_000]) func masks(_ count: Int) throws {
        var vocabulary: TestVocabulary?
        let built = microseconds(1) { _ in if vocabulary == nil { vocabulary = TestVocabulary(words: count) } }
        guard let vocabulary else { return }
        let tree = microseconds(1) { _ in
            _ = VocabularyTrie(vocabulary: count) { vocabulary.texts[Int($0)] }
        }
        print(
            "vocabulary \(count): tree in \(Int(tree / 1000)) ms, \(vocabulary.trie.count) nodes (\(Int(built / 1000)) ms)"
        )
        let person = try JSONValue.parse(
            """
            {"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
            "bio":{"type":"string","maxLength":200},"tags":{"type":"array","items":{"type":"string"}},
            "born":{"type":"string","format":"date"},"score":{"type":"number"}},
            "required":["name","age","bio","tags","born","score"],"additionalProperties":false}
            """)
        for (name, make) in [
            ("JSON object", { try Grammar.json(.object) }), ("schema", { try Grammar.schema(person) }),
        ] as [(String, () throws -> Grammar)] {
            let compile = try microseconds(1) { _ in _ = try make() }
            let grammar = try make()
            var times: [Double] = [], random = SeededRandom(seed: 4)
            for _ in 0..<6 {
                var constraint = try vocabulary.constraint(grammar)
                for step in 0..<120 {
                    let clock = ContinuousClock(), start = clock.now
                    let mask = try constraint.allowed()
                    times.append(Double((clock.now - start).components.attoseconds) * 1e-12)
                    guard !constraint.isExhausted else { break }
                    var choices = (0..<Int32(count)).filter { mask.contains($0) && $0 != TestVocabulary.end }
                    if step % 9 > 5 {
                        let closing = choices.filter { vocabulary.texts[Int($0)].contains(0x22) }
                        if !closing.isEmpty { choices = closing }
                    }
                    guard !choices.isEmpty else { break }
                    try constraint.accept(choices[Int(random.below(UInt64(choices.count)))])
                }
            }
            times.sort()
            let mean = times.reduce(0, +) / Double(times.count)
            print(
                "mask \(count) \(name): compile \(Int(compile)) µs; \(times.count) masks, mean \(Int(mean)) µs, "
                    + "p50 \(Int(times[times.count / 2])) µs, p95 \(Int(times[times.count * 95 / 100])) µs, "
                    + "max \(Int(times.last ?? 0)) µs")
        }
    }
}
