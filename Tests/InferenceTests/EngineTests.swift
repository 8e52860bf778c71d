// The engine as its callers see it: limits, cancellation, stop strings, sampling.

import Arithmetic
import Primitives
import Testing

@testable import Decoding
@testable import Inference

@Suite struct EngineTests {
    private func engine(_ change: (inout EngineLimits) -> Void = { _ in }) throws -> Engine {
        var limits = EngineLimits()
        change(&limits)
        return Engine(model: try Family("llama3").model, limits: limits)
    }

    private let prompt: [Int32] = [1, 140, 345, 395, 90]

    @Test func fullIsAnAnswer() throws {
        let engine = try engine { $0.queueMax = 2 }
        _ = try engine.submit(GenerationRequest(prompt: prompt, tokensMax: 3))
        _ = try engine.submit(GenerationRequest(prompt: prompt, tokensMax: 3))
        #expect(throws: EngineFault.queueFull(limit: 2, retryAfter: .seconds(1))) {
            try engine.submit(GenerationRequest(prompt: prompt, tokensMax: 3))
        }
        _ = engine.step()
        #expect(engine.queuedCount == 0 && engine.liveCount == 2)
        _ = try engine.submit(GenerationRequest(prompt: prompt, tokensMax: 3))
    }

    @Test func badRequestsAreRefusedByName() throws {
        let engine = try engine { $0.cacheBytesMax = 1 << 20 }
        func refused(_ request: GenerationRequest) -> EngineFault? {
            do throws(EngineFault) {
                _ = try engine.submit(request)
                return nil
            } catch {
                return error
            }
        }
        #expect(refused(GenerationRequest(prompt: [], tokensMax: 1)) == .promptEmpty)
        #expect(
            refused(GenerationRequest(prompt: Array(repeating: 5, count: 256), tokensMax: 1))
                == .promptTooLong(tokens: 256, contextTokens: 256))
        #expect(
            refused(GenerationRequest(prompt: [512], tokensMax: 1)) == .tokenOutOfRange(token: 512, vocabulary: 512))
        #expect(refused(GenerationRequest(prompt: [-1], tokensMax: 1)) == .tokenOutOfRange(token: -1, vocabulary: 512))
        #expect(refused(GenerationRequest(prompt: prompt, adapter: "x", tokensMax: 1)) == .adapterUnknown("x"))
        for bad in [
            GenerationRequest(prompt: prompt, tokensMax: 0), GenerationRequest(prompt: prompt, tokensMax: -1),
            GenerationRequest(prompt: prompt, tokensMax: 1, sampling: Sampling(temperature: .nan)),
            GenerationRequest(prompt: prompt, tokensMax: 1, sampling: Sampling(temperature: -1)),
            GenerationRequest(prompt: prompt, tokensMax: 1, sampling: Sampling(topP: 0)),
            GenerationRequest(prompt: prompt, tokensMax: 1, sampling: Sampling(topK: -1)),
            GenerationRequest(prompt: prompt, tokensMax: 1, stop: Array(repeating: "x", count: 17)),
            GenerationRequest(prompt: prompt, tokensMax: 1, logProbabilities: 21),
        ] {
            guard case .parameter? = refused(bad) else {
                Issue.record("accepted: \(bad)")
                continue
            }
        }
        #expect(engine.isIdle)
    }

    @Test func theCacheLimitHolds() throws {
        let config = try Family("llama3").model.config
        let page = PagePool(config: config, bytesMax: 0).pageBytes
        let engine = try engine { $0.cacheBytesMax = 3 * page }
        #expect(throws: EngineFault.exceedsCache(pages: 4, pagesMax: 3)) {
            try engine.submit(GenerationRequest(prompt: prompt, tokensMax: 50))
        }
        var ids: [SequenceID] = []
        for _ in 0..<4 {
            ids.append(try engine.submit(GenerationRequest(prompt: prompt, tokensMax: 20, ignoresEnd: true)))
        }
        var finished: [SequenceID: FinishReason] = [:]
        while !engine.isIdle {
            for output in engine.step() { if let reason = output.finish { finished[output.id] = reason } }
            #expect(engine.cacheBytesKept <= 3 * page)
        }
        #expect(ids.allSatisfy { finished[$0] == .length })
    }

    @Test func cancellationIsImmediate() throws {
        let engine = try engine { $0.sequencesMax = 1 }
        let first = try engine.submit(GenerationRequest(prompt: prompt, tokensMax: 100, ignoresEnd: true))
        let second = try engine.submit(GenerationRequest(prompt: prompt, tokensMax: 2, ignoresEnd: true))
        let third = try engine.submit(GenerationRequest(prompt: prompt, tokensMax: 2, ignoresEnd: true))
        #expect(engine.step().map(\.id) == [first])
        #expect(engine.cancel(first))
        #expect(!engine.cancel(first))
        #expect(engine.cancel(third))
        #expect(engine.step().map(\.id) == [second])
        #expect(engine.step().first?.finish == .length)
        #expect(engine.isIdle && engine.cacheBytesInUse == 0 && engine.step().isEmpty)
    }

    @Test func contextEndsAnAnswer() throws {
        let engine = try engine()
        let id = try engine.submit(
            GenerationRequest(prompt: Array(repeating: 7, count: 250), tokensMax: 1000, ignoresEnd: true))
        let answer = drain(engine)[id]
        #expect(answer?.tokens.count == 6 && answer?.finish == .length)
    }

    @Test func endOfSequence() throws {
        let family = try Family("llama3")
        let engine = Engine(model: family.model)
        #expect(family.model.endTokens == [2])
        // A prompt whose every continuation is drawn at random meets the end token sooner or later.
        var ended = false
        for seed in 0..<20 {
            let sampling = Sampling(temperature: 50, seed: UInt64(seed))
            let id = try engine.submit(GenerationRequest(prompt: prompt, tokensMax: 200, sampling: sampling))
            let answer = drain(engine)[id]
            if answer?.finish == .end {
                ended = true
                #expect(answer?.tokens.last == 2 && answer?.tokens.firstIndex(of: 2) == (answer?.tokens.count ?? 0) - 1)
            }
        }
        #expect(ended)
    }

    @Test func stopText() {
        var stop = StopText(["END", "\n\n"])
        #expect(stop.add("one E") == ("one ", false))
        #expect(stop.add("N") == ("", false))
        #expect(stop.add("x\n") == ("ENx", false))
        #expect(stop.add("y") == ("\ny", false))
        #expect(stop.add(" END tail") == (" ", true))
        var loose = StopText(["abc"])
        #expect(loose.add("xab") == ("x", false))
        #expect(loose.finish() == "ab")
    }

    @Test func samplingFollowsItsDistribution() {
        var sampler = Sampler(vocabulary: 4, instructionSet: .best)
        let logits: [Float] = [1, 3, 3, 0]
        #expect(sampler.sample(logits, .greedy, position: 0) == 1)
        #expect(sampler.sample([1, .nan, 3, 0], .greedy, position: 0) == nil)
        #expect(sampler.sample([1, .infinity, 3, 0], Sampling(temperature: 1), position: 0) == nil)
        var counts = [Int](repeating: 0, count: 4)
        for position in 0..<20_000 {
            guard let token = sampler.sample(logits, Sampling(temperature: 1, seed: 7), position: position) else {
                continue
            }
            counts[Int(token)] += 1
        }
        // e^-2, 1, 1, e^-3 over their sum 2.1851
        for (count, share) in zip(counts, [0.06194, 0.45764, 0.45764, 0.02278]) {
            #expect(abs(Double(count) / 20_000 - share) < 0.012)
        }
        for position in 0..<500 {
            let narrow = Sampling(temperature: 1, topK: 2, seed: 3),
                nucleus = Sampling(temperature: 1, topP: 0.5, seed: 3)
            #expect([1, 2].contains(sampler.sample(logits, narrow, position: position)))
            #expect([1, 2].contains(sampler.sample(logits, nucleus, position: position)))
            #expect(sampler.sample(logits, Sampling(temperature: 1, topP: 0.4, seed: 3), position: position) == 1)
        }
        let seeded = Sampling(temperature: 1, seed: 11)
        #expect(sampler.sample(logits, seeded, position: 5) == sampler.sample(logits, seeded, position: 5))
    }

    @Test func chanceIsAFunction() {
        let u = Sampler.uniform(seed: 1, choice: 0, position: 0)
        #expect(u >= 0 && u < 1)
        #expect(u != Sampler.uniform(seed: 2, choice: 0, position: 0))
        #expect(u != Sampler.uniform(seed: 1, choice: 1, position: 0))
        #expect(u != Sampler.uniform(seed: 1, choice: 0, position: 1))
    }

    @Test func adaptersComeAndGo() throws {
        let family = try Family("llama3")
        var limits = EngineLimits()
        limits.adaptersMax = 1
        let engine = Engine(model: family.model, limits: limits)
        let a = try #require(family.adapters["a"]), b = try #require(family.adapters["b"])
        try engine.register(a, as: "a")
        #expect(throws: EngineFault.adapterKnown("a")) { try engine.register(a, as: "a") }
        #expect(throws: EngineFault.adaptersFull(limit: 1)) { try engine.register(b, as: "b") }
        let id = try engine.submit(
            GenerationRequest(prompt: family.prompts[1], adapter: "a", tokensMax: 8, ignoresEnd: true))
        _ = engine.step()
        engine.unregister("a")
        #expect(engine.adapterNames.isEmpty)
        let rest = drain(engine)[id]?.tokens ?? []
        #expect(rest == Array(family.greedy("a", 1)[1..<8]))
    }

    @Test func canonicalBytes() {
        #expect(AnswerBytes.canonical([1, 258]) == [1, 0, 0, 0, 2, 1, 0, 0])
    }
}
