import Arithmetic
import Primitives
import Testing

@testable import Decoding

/// A model that is a function of the last tokens: it repeats what it reads with some chance, as text does.
private struct FakeModel {
    let vocabulary: Int
    /// Share of positions where it goes on as the source does.
    let fidelity: Double
    let source: [Int32]

    func logits(_ tokens: ArraySlice<Int32>) -> [Float] {
        var hash: UInt64 = 7
        for token in tokens.suffix(4) { hash = (hash ^ UInt64(UInt32(bitPattern: token))) &* 0x9e37_79b9_7f4a_7c15 }
        var random = SeededRandom(seed: hash)
        var values = (0..<vocabulary).map { _ in Float(random.unit() * 4) }
        if random.unit() < fidelity, let last = tokens.last, let place = source.firstIndex(of: last) {
            values[Int(source[(place + 1) % source.count])] += 30
        }
        return values
    }
}

@Suite struct LookupDraftTests {
    private struct Run {
        var tokens: [Int32] = []
        var passes = 0
        var rows = 0
    }

    private func plain(_ model: FakeModel, _ prompt: [Int32], _ sampling: Sampling, _ count: Int) -> [Int32] {
        var sampler = Sampler(vocabulary: model.vocabulary, instructionSet: .scalar)
        var tokens = prompt, history = TokenHistory(prompt: prompt)
        for _ in 0..<count {
            guard
                let next = sampler.sample(
                    model.logits(tokens[...]), sampling, position: tokens.count, history: history)
            else { break }
            tokens.append(next)
            history.append(next)
        }
        return Array(tokens[prompt.count...])
    }

    /// As the engine does it: all rows of a draft are computed in one pass, then sampled in order as long as they agree.
    private func speculative(
        _ model: FakeModel, _ prompt: [Int32], _ sampling: Sampling, _ count: Int, spans: (any SpanIndex)? = nil,
        trusts: Bool = false
    ) -> Run {
        var sampler = Sampler(vocabulary: model.vocabulary, instructionSet: .scalar)
        var tokens = prompt, history = TokenHistory(prompt: prompt), lookup = LookupDraft(prompt: prompt)
        var run = Run()
        while tokens.count < prompt.count + count {
            let room = prompt.count + count - tokens.count - 1
            let draft = Array(lookup.draft(max: room, spans: spans))
            let read = tokens + draft
            let rows = (0...draft.count).map { model.logits(read[..<(tokens.count + $0)]) }
            run.passes += 1
            run.rows += rows.count
            var accepted = 0
            for (index, logits) in rows.enumerated() {
                guard var next = sampler.sample(logits, sampling, position: tokens.count, history: history) else {
                    break
                }
                if trusts, index < draft.count { next = draft[index] }
                tokens.append(next)
                history.append(next)
                lookup.append(next)
                guard index < draft.count, next == draft[index] else { break }
                accepted += 1
            }
            lookup.verified(drafted: draft.count, accepted: accepted)
        }
        run.tokens = Array(tokens[prompt.count...])
        return run
    }

    private static let samplings = [
        Sampling.greedy, Sampling(temperature: 1, seed: 4), Sampling(temperature: 1.4, topP: 0.9, seed: 9),
        Sampling(temperature: 0.9, topK: 20, frequencyPenalty: 0.3, repetitionPenalty: 1.1, seed: 2),
    ]

    @Test func draftsNeverChangeATokenAndAreFastOnQuotedText() {
        var random = SeededRandom(seed: 8)
        let source = (0..<160).map { Int32($0) }
        let prompt = source + (0..<8).map { _ in Int32(random.below(200)) } + [40, 41, 42, 43]
        let model = FakeModel(vocabulary: 256, fidelity: 0.97, source: source)
        for sampling in Self.samplings {
            let run = speculative(model, prompt, sampling, 300)
            #expect(run.tokens == plain(model, prompt, sampling, 300))
            if sampling.frequencyPenalty == 0 {
                #expect(Double(run.tokens.count) / Double(run.passes) > 1.5, "\(run.passes) passes")
            }
        }
    }

    @Test func aDraftThatIsTrustedUnverifiedIsSeen() {
        let source = (0..<160).map { Int32($0) }
        let model = FakeModel(vocabulary: 256, fidelity: 0.9, source: source)
        let prompt = source + [40, 41, 42, 43]
        let run = speculative(model, prompt, .greedy, 300, trusts: true)
        #expect(run.tokens != plain(model, prompt, .greedy, 300))
    }

    @Test func randomTextIsLeftAlone() {
        var random = SeededRandom(seed: 21)
        for vocabulary in [20, 1000] {
            // With 20 tokens, three equal ones come again all the time and what follows is chance.
            let prompt = (0..<200).map { _ in Int32(random.below(UInt64(vocabulary))) }
            let model = FakeModel(vocabulary: vocabulary, fidelity: 0, source: prompt)
            let sampling = Sampling(temperature: 2, seed: 6)
            let run = speculative(model, prompt, sampling, 256)
            #expect(run.tokens == plain(model, prompt, sampling, 256))
            // A row beyond the first costs at most half of a pass on its own (memory-bound decoding).
            let cost = Double(run.passes) + 0.5 * Double(run.rows - run.passes)
            #expect(256 / cost >= 0.95, "\(run.passes) passes, \(run.rows) rows")
        }
    }

    private struct Spans: SpanIndex {
        let text: [Int32]

        func continuation(of tokens: ArraySlice<Int32>, max: Int) -> ArraySlice<Int32> {
            let end = Array(tokens.suffix(3))
            guard end.count == 3, text.count > 3 else { return [] }
            for at in 0..<text.count - 3 where Array(text[at..<at + 3]) == end { return text[(at + 3)...].prefix(max) }
            return []
        }
    }

    @Test func aSpanIndexDrafts() {
        let source = (0..<160).map { Int32($0) }
        let model = FakeModel(vocabulary: 256, fidelity: 0.98, source: source)
        let prompt: [Int32] = [200, 201, 10, 11, 12]
        let alone = speculative(model, prompt, .greedy, 120)
        let helped = speculative(model, prompt, .greedy, 120, spans: Spans(text: source))
        #expect(helped.tokens == alone.tokens && helped.tokens == plain(model, prompt, .greedy, 120))
        #expect(helped.passes < alone.passes)
    }

    /// Guesses that fail more often than not are given up, for longer each time; those that hold come back at once.
    @Test func failuresAreWaitedOut() {
        var lookup = LookupDraft(prompt: [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3])
        var waits: [Int] = []
        for _ in 0..<4 {
            #expect(!lookup.draft(max: 8).isEmpty)
            lookup.verified(drafted: 2, accepted: 0)
            var waited = 0
            while lookup.draft(max: 8).isEmpty, waited < 2000 {
                lookup.append(Int32(1 + waited % 3))
                waited += 1
            }
            waits.append(waited)
            while !waited.isMultiple(of: 3) {
                lookup.append(Int32(1 + waited % 3))
                waited += 1
            }
        }
        #expect(waits == [16, 32, 64, 128])
        lookup.verified(drafted: 2, accepted: 2)
        lookup.verified(drafted: 4, accepted: 4)
        #expect(!lookup.draft(max: 8).isEmpty)
        // What was gained may be spent: six, and no more.
        for _ in 0..<3 { lookup.verified(drafted: 2, accepted: 0) }
        #expect(!lookup.draft(max: 8).isEmpty)
        lookup.verified(drafted: 2, accepted: 0)
        #expect(lookup.draft(max: 8).isEmpty)
    }

    /// A guess after three equal tokens is a small one, and its failure says nothing of guesses after more.
    @Test func strongGuessesAreTrustedApart() {
        var lookup = LookupDraft(prompt: [1, 2, 3, 9, 8, 7, 6, 5, 1, 2, 3])
        #expect(Array(lookup.draft(max: 8)) == [9, 8])
        lookup.verified(drafted: 2, accepted: 0)
        #expect(lookup.draft(max: 8).isEmpty)
        for token in [9, 8, 7] as [Int32] { lookup.append(token) }
        #expect(Array(lookup.draft(max: 8)) == [6, 5, 1, 2])
    }

    @Test func theIndexFindsTheLastOccurrenceAndStaysBounded() {
        var limits = LookupLimits()
        limits.indexTokensMax = 1000
        var lookup = LookupDraft(prompt: [1, 2, 3, 9, 1, 2, 3, 7, 8, 1, 2, 3], limits: limits)
        #expect(Array(lookup.draft(max: 2)) == [7, 8])
        var random = SeededRandom(seed: 3)
        for _ in 0..<20_000 { lookup.append(Int32(random.below(50))) }
        _ = lookup.draft(max: 4)
        #expect(lookup.indexBytes <= 3 * 4 * 4096)
    }
}
