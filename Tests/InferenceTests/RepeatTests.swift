// An answer that is repeated is the answer that was given, however it was come by; and whatever is not that answer is
// found at the token where it parts from it.

import Arithmetic
import Decoding
import Testing

@testable import Inference

@Suite struct RepeatTests {
    private static func engine(_ family: Family, _ change: (inout EngineLimits) -> Void = { _ in }) throws -> Engine {
        var limits = EngineLimits()
        change(&limits)
        let engine = Engine(model: family.model, limits: limits)
        for (name, adapter) in family.adapters { try engine.register(adapter, as: name) }
        return engine
    }

    /// Greedy and sampled, with and without adapter, penalties, cut-offs and end.
    private static func request(_ family: Family, _ index: Int) -> GenerationRequest {
        let prompt = Array((family.prompts[index % family.prompts.count]).prefix(8 + index))
        let samplings: [Sampling] = [
            .greedy, Sampling(temperature: 0.8, seed: 5), Sampling(temperature: 1.3, topK: 20, seed: 6),
            Sampling(temperature: 1, topP: 0.9, minP: 0.01, seed: 7),
            Sampling(
                temperature: 0.9, presencePenalty: 0.4, frequencyPenalty: 0.3, repetitionPenalty: 1.2, seed: 8),
            Sampling(repetitionPenalty: 1.5), Sampling(temperature: 50, seed: 9),
        ]
        return GenerationRequest(
            prompt: prompt, adapter: [nil, "a", "b"][index % 3], tokensMax: 40,
            sampling: samplings[index % samplings.count], ignoresEnd: index % 4 != 3)
    }

    private static func repeating(_ request: GenerationRequest, _ tokens: [Int32]) -> GenerationRequest {
        var request = request
        request.repeats = tokens
        request.priority = .background
        return request
    }

    @Test(arguments: Precision.allCases) func whatWasGivenIsRepeated(precision: Precision) throws {
        let family = try Family("llama3", precision: precision)
        for index in 0..<14 {
            let request = Self.request(family, index)
            let given = try hear(try Self.engine(family), [request])[0]
            #expect(given.tokens.count > 1)
            for (chunk, keeps) in [(256, true), (33, false), (3, true)] {
                let engine = try Self.engine(family) {
                    $0.stepTokensMax = max(chunk, 4)
                    $0.sequencesMax = 4
                    $0.keepsPages = keeps
                }
                let again = try hear(engine, [Self.repeating(request, given.tokens)]) { #expect(engine.faults == []) }[
                    0]
                #expect(again == given, "request \(index), chunk \(chunk)")
                // Nearly all of it in passes of many tokens.
                if chunk == 256 { #expect(engine.statistics.steps <= 4) }
            }
            // A beginning of it is the same and goes on.
            let cut = Array(given.tokens.dropLast())
            let part = try hear(try Self.engine(family), [Self.repeating(request, cut)])[0]
            #expect(part.tokens == cut && part.finish == .repeated)
        }
    }

    /// Among others that answer, and put back for want of pages.
    @Test func inCompanyAsAlone() throws {
        let family = try Family("llama3")
        let requests = (0..<10).map { Self.request(family, $0) }
        let given = try requests.map { try hear(try Self.engine(family), [$0])[0] }
        let page = PagePool(config: family.model.config, bytesMax: 0).pageBytes
        for pages in [12, 400] {
            let engine = try Self.engine(family) {
                $0.cacheBytesMax = pages * page
                $0.sequencesMax = 6
                $0.stepTokensMax = 48
            }
            let mixed = zip(requests, given).enumerated().map { index, pair in
                index.isMultiple(of: 2) ? Self.repeating(pair.0, pair.1.tokens) : pair.0
            }
            let heard = try hear(engine, mixed) { #expect(engine.faults == []) }
            #expect(heard == given, "\(pages) pages")
        }
    }

    @Test func oneChangedTokenIsFoundAtItsPlace() throws {
        let family = try Family("llama3")
        for index in 0..<14 {
            let request = Self.request(family, index)
            let given = try hear(try Self.engine(family), [request])[0].tokens
            for place in [0, 1, given.count / 2, given.count - 1] {
                var changed = given
                changed[place] = (given[place] + 1) % 512
                let heard = try hear(try Self.engine(family), [Self.repeating(request, changed)])[0]
                #expect(heard.finish == .differs && heard.tokens == Array(given[...place]), "\(index) at \(place)")
                // What no vocabulary has is not computed, and not drawn.
                for outside: Int32 in [-1, 512, .max] {
                    changed[place] = outside
                    let heard = try hear(try Self.engine(family), [Self.repeating(request, changed)])[0]
                    #expect(heard.finish == .differs && heard.tokens == Array(given[...place]))
                }
            }
        }
    }

    @Test func anotherSeedWeightOrPrecisionIsFound() throws {
        let family = try Family("llama3")
        let request = Self.request(family, 3)
        let given = try hear(try Self.engine(family), [request])[0].tokens
        func outcome(_ change: (inout GenerationRequest) -> Void, in other: Family? = nil) throws -> FinishReason? {
            var changed = Self.repeating(request, given)
            change(&changed)
            return try hear(try Self.engine(other ?? family), [changed])[0].finish
        }
        #expect(try outcome { _ in } != .differs)
        #expect(try outcome { $0.sampling.seed += 1 } == .differs)
        #expect(try outcome { $0.sampling.temperature = 3 } == .differs)
        #expect(try outcome { $0.adapter = "a" } == .differs)
        #expect(try outcome { $0.prompt[3] = 77 } == .differs)
        // The weights of another precision give other logits; over a hot draw of 200 tokens some token shows it.
        var long = request
        long.tokensMax = 200
        long.ignoresEnd = true
        long.sampling = Sampling(temperature: 2, seed: 4)
        let answer = try hear(try Self.engine(family), [long])[0].tokens
        for precision in Precision.allCases where precision != .f32 {
            let engine = try Self.engine(try Family("llama3", precision: precision))
            #expect(try hear(engine, [Self.repeating(long, answer)])[0].finish == .differs, "\(precision)")
        }
    }

    @Test func anAnswerThatGoesOnPastItsEndIsFound() throws {
        let family = try Family("llama3")
        // Hot enough that the end comes.
        let ending = try (0..<40).lazy.map { seed in
            GenerationRequest(
                prompt: [1, 140, 345, 395, 90], tokensMax: 120, sampling: Sampling(temperature: 50, seed: UInt64(seed)))
        }.first { request in
            try hear(try Self.engine(family), [request])[0].finish == .end
        }
        let request = try #require(ending)
        let given = try hear(try Self.engine(family), [request])[0]
        let longer = try hear(try Self.engine(family), [Self.repeating(request, given.tokens + [7, 8])])[0]
        #expect(longer.finish == .end && longer.tokens == given.tokens)
        var limited = Self.request(family, 0)
        limited.tokensMax = 6
        let six = try hear(try Self.engine(family), [limited])[0].tokens
        let seven = try hear(try Self.engine(family), [Self.repeating(limited, six + [1])])[0]
        #expect(seven.finish == .length && seven.tokens == six)
    }

    /// It is done when nothing else is, and others' next tokens come as they would without it.
    @Test func itWaitsForThoseWhoPay() throws {
        let family = try Family("llama3")
        let request = Self.request(family, 0)
        let given = try hear(try Self.engine(family), [request])[0].tokens
        let engine = try Self.engine(family) { $0.sequencesMax = 1 }
        let audit = try engine.submit(Self.repeating(request, given))
        let paid = try engine.submit(Self.request(family, 1))
        var ends: [SequenceID] = []
        while !engine.isIdle { ends += engine.step().filter { $0.finish != nil }.map(\.id) }
        #expect(ends == [paid, audit])
    }
}
