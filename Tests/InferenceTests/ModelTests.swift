// The whole model against transformers and PEFT, and against itself: every way of cutting the work gives the same bits.

import Foundation
import ModelFixtures
import Primitives
import Testing

@testable import Arithmetic
@testable import Decoding
@testable import Inference
@testable import ModelFiles

@Suite struct ModelTests {
    @Test(arguments: Precision.allCases) func instructionSetsGiveTheSameBits(precision: Precision) throws {
        let family = try Family("llama3", precision: precision)
        let prompt = family.prompts[2]
        for adapter in [nil, family.adapters["a"]] {
            let reference = bits(
                logits(of: prompt, model: family.model, adapter: adapter, instructionSet: .scalar))
            for set in InstructionSet.available.dropFirst() {
                let other = bits(logits(of: prompt, model: family.model, adapter: adapter, instructionSet: set))
                #expect(other == reference, "\(set.name)")
            }
        }
    }

    @Test(arguments: Precision.allCases) func chunksAndWidthsGiveTheSameBits(precision: Precision) throws {
        let family = try Family("llama3", precision: precision)
        let prompt = family.prompts[2], adapter = family.adapters["a"]
        let whole = bits(logits(of: prompt, model: family.model, adapter: adapter))
        for chunk in [1, 3, 16, 17] {
            #expect(bits(logits(of: prompt, model: family.model, adapter: adapter, chunk: chunk)) == whole, "\(chunk)")
        }
        for width in [2, 5] {
            #expect(bits(logits(of: prompt, model: family.model, adapter: adapter, width: width)) == whole, "\(width)")
        }
    }

    /// One sequence alone, and among six others with other adapters, lengths and sampling.
    @Test(arguments: Precision.allCases) func companyChangesNothing(precision: Precision) throws {
        let family = try Family("llama3", precision: precision)
        func request(_ index: Int) -> GenerationRequest {
            GenerationRequest(
                prompt: Array(family.prompts[2].prefix(5 + 5 * index)), adapter: [nil, "a", "b"][index % 3],
                tokensMax: 20,
                sampling: index.isMultiple(of: 2)
                    ? .greedy : Sampling(temperature: 0.9, topK: 50, topP: 0.95, seed: UInt64(index)),
                ignoresEnd: true, logProbabilities: 3)
        }
        func run(_ indices: [Int], stepTokens: Int) throws -> [Int: Answer] {
            var limits = EngineLimits()
            limits.stepTokensMax = stepTokens
            limits.sequencesMax = 7
            let engine = Engine(model: family.model, limits: limits)
            for (tag, adapter) in family.adapters { try engine.register(adapter, as: tag) }
            var ids: [Int: SequenceID] = [:]
            for index in indices { ids[index] = try engine.submit(request(index)) }
            let answers = drain(engine)
            return ids.compactMapValues { id in
                var answer = answers[id]
                answer?.outputs =
                    answers[id]?.outputs.map { output in
                        var plain = SequenceOutput(id: SequenceID(value: 0))
                        plain.token = output.token
                        plain.finish = output.finish
                        return plain
                    } ?? []
                return answer
            }
        }
        let together = try run(Array(0..<7), stepTokens: 256), squeezed = try run(Array(0..<7), stepTokens: 9)
        for index in 0..<7 {
            let alone = try run([index], stepTokens: 256)[index]
            #expect(alone?.tokens.count == 20)
            #expect(together[index] == alone && squeezed[index] == alone)
        }
    }

    @Test func int8IsClose() throws {
        let exact = try Family("llama3"), small = try Family("llama3", precision: .int8)
        let a = logits(of: exact.prompts[1], model: exact.model), b = logits(of: exact.prompts[1], model: small.model)
        let worst = zip(a, b).flatMap { zip($0, $1).map { abs($0 - $1) } }.max() ?? .infinity
        #expect(worst < 0.3 && worst > 0)
        let tables = exact.model.config.vocabulary * exact.model.config.hidden * 4
        #expect((small.model.weightBytes - tables) * 3 < exact.model.weightBytes - tables)
    }

    @Test func logProbabilitiesAreLogSoftmax() throws {
        let family = try Family("llama2")
        let prompt = family.prompts[1], expected = try family.expected("base", 1)
        let engine = Engine(model: family.model)
        let id = try engine.submit(
            GenerationRequest(prompt: prompt, tokensMax: 0, logProbabilities: 2, scoresPrompt: true))
        let output = drain(engine)[id]?.outputs.first
        #expect(output?.prompt.count == prompt.count && output?.prompt.first?.logProbability == nil)
        for (index, token) in (output?.prompt ?? []).enumerated().dropFirst() {
            let row = expected[index - 1].map(Double.init)
            let sum = row.reduce(0.0) { $0 + exp($1) }
            #expect(abs(Double(token.logProbability ?? 0) - (row[Int(prompt[index])] - log(sum))) < 2e-4)
            #expect(token.alternatives.count == 2)
            #expect(Double(token.alternatives[0].logProbability) >= Double(token.alternatives[1].logProbability))
        }
    }

    /// A prompt whose cached values become infinite ends; its neighbour does not notice.
    @Test func nonFiniteLogitsEndOnlyTheirSequence() throws {
        var broken = try files(of: fixtures.appending(path: "llama3/adapter_a"))
        let name = "adapter_model.safetensors"
        let length = broken[name].map { Int($0[0]) | Int($0[1]) << 8 | Int($0[2]) << 16 } ?? 0
        // The greatest finite f32 everywhere: the products overflow.
        for at in stride(from: 8 + length, to: broken[name]?.count ?? 0, by: 4) {
            broken[name]?.replaceSubrange(at..<at + 4, with: [0xff, 0xff, 0x7f, 0x7f])
        }
        for precision in Precision.allCases {
            let family = try Family("llama3", precision: precision)
            let engine = Engine(model: family.model)
            try engine.register(
                try LoadedAdapter(folder: MemoryFolder(broken), config: family.model.config), as: "broken")
            let bad = try engine.submit(GenerationRequest(prompt: family.prompts[1], adapter: "broken", tokensMax: 5))
            let good = try engine.submit(GenerationRequest(prompt: family.prompts[1], tokensMax: 5, ignoresEnd: true))
            let answers = drain(engine)
            #expect(answers[bad]?.finish == .notFinite && answers[bad]?.tokens == [])
            #expect(answers[good]?.finish == .length && answers[good]?.tokens.count == 5)
            if precision == .f32 { #expect(answers[good]?.tokens == Array(family.greedy("base", 1).prefix(5))) }
        }
    }
}
