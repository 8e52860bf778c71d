// The bits of an answer do not depend on how it was come by: cold or from the cache, alone or in company, in one piece or
// in many, at once or after having been put back.

import Arithmetic
import Decoding
import Testing

@testable import Inference

@Suite struct EngineBitsTests {
    private static func engine(
        _ family: Family, _ change: (inout EngineLimits) -> Void = { _ in }, width: Int = 1
    ) throws -> Engine {
        var limits = EngineLimits()
        change(&limits)
        let engine = Engine(model: family.model, limits: limits, pool: SerialPool(width: width))
        for (name, adapter) in family.adapters { try engine.register(adapter, as: name) }
        return engine
    }

    /// Beginnings that are shared up to page ends, within pages, entirely and not at all.
    private static func request(_ family: Family, _ index: Int, tokensMax: Int = 24) -> GenerationRequest {
        let long = (family.prompts.max { $0.count < $1.count } ?? []) + (0..<60).map { Int32(3 + $0 * 7 % 500) }
        var prompt = Array(long.prefix([48, 53, 64, 40, 33, 70, 16][index % 7]))
        if index % 7 == 3 { prompt[37] = 99 }
        if index % 7 == 5 { prompt[2] = 98 }
        return GenerationRequest(
            prompt: prompt, adapter: [nil, "a", "b", nil, "a"][index % 5], tokensMax: tokensMax,
            sampling: index.isMultiple(of: 2)
                ? .greedy : Sampling(temperature: 0.9, topK: 50, topP: 0.95, seed: UInt64(index)),
            ignoresEnd: true, logProbabilities: 3, scoresPrompt: index % 7 == 6)
    }

    @Test(arguments: Precision.allCases, CachePrecision.allCases)
    func theWayChangesNothing(precision: Precision, kept: CachePrecision) throws {
        let family = try Family("llama3", precision: precision)
        let requests = (0..<32).map { Self.request(family, $0) }
        let alone = try requests.map { request in
            let engine = try Self.engine(family) {
                $0.keepsPages = false
                $0.cachePrecision = kept
            }
            return try hear(engine, [request])[0]
        }
        #expect(alone.allSatisfy { $0.tokens.count == 24 && $0.finish == .length })
        for chunk in [1, 7, 64] {
            for count in [1, 7, 32] {
                for keeps in [false, true] {
                    let engine = try Self.engine(
                        family,
                        {
                            $0.sequencesMax = count
                            $0.promptTokensBesideAnswersMax = chunk
                            $0.stepTokensMax = max(count, chunk)
                            $0.keepsPages = keeps
                            $0.cachePrecision = kept
                        }, width: 1 + count % 2)
                    let heard = try hear(engine, requests) { #expect(engine.faults == []) }
                    #expect(heard == alone, "chunk \(chunk), batch \(count), cache \(keeps)")
                    if keeps { #expect(engine.statistics.cachedTokens > 100) }
                }
            }
        }
    }

    /// int8 keys and values take a quarter of the memory and stay near what they stand for.
    @Test(arguments: ["llama2", "llama3", "gemma2", "gemma3", "glm", "deepseek_v3"])
    func keptInInt8(name: String) throws {
        let family = try Family(name)
        let prompt = family.prompts.max { $0.count < $1.count } ?? []
        func scores(_ kept: CachePrecision) throws -> [Float] {
            let engine = try Self.engine(family) { $0.cachePrecision = kept }
            _ = try engine.submit(
                GenerationRequest(
                    prompt: prompt, tokensMax: 1, ignoresEnd: true, logProbabilities: 1, scoresPrompt: true))
            var found: [Float] = []
            while !engine.isIdle {
                for output in engine.step() { found += output.prompt.compactMap(\.logProbability) }
            }
            return found
        }
        let exact = try scores(.f32), near = try scores(.int8)
        #expect(exact.count == near.count && exact.count > 4)
        let greatest = zip(exact, near).map { abs($0 - $1) }.max() ?? .infinity
        // Not equal: what is kept is read back.
        #expect(greatest > 0 && greatest < 0.25, "\(greatest)")
        let config = family.model.config
        #expect(config.cacheBytesPerPosition(.int8) * 2 < config.cacheBytesPerPosition(.f32))
    }

    /// The end of a prompt has the same scores whether its beginning is scored, computed or found; what is found is not
    /// computed again.
    @Test func scoresOfAnEndAreThoseOfTheWhole() throws {
        let family = try Family("llama3")
        let beginning: [Int32] = (0..<70).map { (place: Int) -> Int32 in Int32(place * 7 % 90 + 5) }
        var ends: [[Int32]] = []
        for end in 0..<4 {
            let tokens: [Int] = (0..<20).map { (place: Int) -> Int in (place * 11 + end * 13) % 90 + 5 }
            ends.append(tokens.map { Int32($0) })
        }
        func request(_ end: [Int32], unscored: Int) -> GenerationRequest {
            var request = GenerationRequest(
                prompt: beginning + end, tokensMax: 0, logProbabilities: 0, scoresPrompt: true)
            request.unscoredTokens = unscored
            return request
        }
        func scores(_ engine: Engine, _ requests: [GenerationRequest]) throws -> [[Float?]] {
            var ids: [SequenceID] = []
            for request in requests { ids.append(try engine.submit(request)) }
            var found: [SequenceID: [Float?]] = [:]
            while !engine.isIdle {
                for output in engine.step() where output.finish != nil {
                    found[output.id] = output.prompt.map(\.logProbability)
                }
            }
            return ids.map { found[$0] ?? [] }
        }
        let whole = try scores(try Self.engine(family), ends.map { request($0, unscored: 0) })
        let engine = try Self.engine(family)
        let parts = try scores(engine, ends.map { request($0, unscored: beginning.count) })
        for (part, all) in zip(parts, whole) {
            #expect(part.count == 90 && all.count == 90)
            #expect(part.prefix(70).allSatisfy { $0 == nil })
            #expect(Array(part.suffix(20)) == Array(all.suffix(20)) && !part.suffix(20).contains(nil))
        }
        // Four beginnings of 70 tokens are computed as one, but for the page that is not full.
        #expect(engine.statistics.promptTokens <= UInt64(90 + 3 * (90 - 64)))
        // Hostile counts score nothing, or everything.
        for unscored in [-5, 0, 1, 89, 90, 91, .max] {
            let one = try scores(engine, [request(ends[0], unscored: unscored)])
            #expect(one[0].count == 90)
        }
    }

    /// Few pages: sequences are put back and computed again, and kept pages are evicted.
    @Test(arguments: Precision.allCases) func preemptionChangesNothing(precision: Precision) throws {
        let family = try Family("llama3", precision: precision)
        let requests = (0..<14).map { Self.request(family, $0, tokensMax: 60) }
        let alone = try requests.map { try hear(try Self.engine(family), [$0])[0] }
        let page = PagePool(config: family.model.config, bytesMax: 0).pageBytes
        for pages in [9, 14, 24] {
            let engine = try Self.engine(family) { $0.cacheBytesMax = pages * page }
            let heard = try hear(engine, requests) { #expect(engine.faults == []) }
            #expect(heard == alone, "\(pages) pages")
            let statistics = engine.statistics
            #expect(statistics.preemptions > 0 || pages == 9)
            #expect(statistics.pageEvictions > 0 && statistics.pagesHeld == 0)
            #expect(statistics.recomputedTokens > 0 || statistics.preemptions == 0)
        }
    }

    /// A conversation's next turn begins with the last one's pages, to the token.
    @Test func aWarmPromptIsNotComputedAgain() throws {
        let family = try Family("llama3")
        let engine = try Self.engine(family)
        let first = Self.request(family, 0)
        let cold = try hear(engine, [first])
        #expect(engine.statistics.cachedTokens == 0 && engine.statistics.promptTokens == 48)
        #expect(try hear(engine, [first]) == cold)
        // All but the last token, which is computed in a copy of its page.
        #expect(engine.statistics.cachedTokens == 47 && engine.statistics.promptTokens == 49)
        var next = first
        next.prompt += cold[0].tokens.prefix(20) + [77, 78]
        let warm = try hear(engine, [next])
        #expect(engine.statistics.cachedTokens == 47 + 64)
        #expect(try warm == hear(try Self.engine(family) { $0.keepsPages = false }, [next]))
        // Neither another adapter nor another domain shares them.
        var other = first
        other.adapter = "a"
        _ = try hear(engine, [other])
        other = first
        other.cacheDomain = 1
        _ = try hear(engine, [other])
        #expect(engine.statistics.cachedTokens == 47 + 64)
    }

    /// Choices of one prompt compute it once.
    @Test func choicesShareTheirPrompt() throws {
        let family = try Family("llama3")
        let engine = try Self.engine(family)
        let requests = (0..<8).map { choice in
            var request = Self.request(family, 2)
            request.sampling = Sampling(temperature: 1, seed: 5, choice: UInt32(choice))
            return request
        }
        let heard = try hear(engine, requests)
        #expect(Set(heard.map(\.tokens)).count == 8)
        // 64 tokens: four whole pages, of which the others compute no more than what is behind the last whole one.
        #expect(engine.statistics.promptTokens <= 64 + 7 * 16)
        for (request, answer) in zip(requests, heard) {
            #expect(try hear(try Self.engine(family), [request])[0] == answer)
        }
    }
}
