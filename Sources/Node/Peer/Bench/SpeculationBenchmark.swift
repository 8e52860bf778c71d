// Drafts by lookup, as the peer serves: what they gain on text that is quoted and what they cost on text that is not.
//
//   quoted_tokens_per_step      answers of the starter model to questions about its datanet, the row among the passages
//   recalled_tokens_per_step    answers of the datanet's adapter without passages, drafts from the datanet's span index
//   random_speed                speed with drafts over that without: sampled text from random prompts, the median of pairs
//   quoted_speed                the same for the quoted answers
//   accepted                    share of the drafted tokens that were right, by kind
//   identical                   whether all answers were the same with and without drafts

import Arithmetic
import Attribution
import Datanets
import Decoding
import Foundation
import Inference
import Primitives
import Records
import Tokenizers

enum SpeculationBenchmark {
    private static let questions = 48
    private static let passages = 4
    private static let answerTokens = 64
    private static let randomPrompts = 8
    private static let randomTokens = 192
    private static let pairsMin = 15

    private struct Run {
        var tokens: [[Int32]] = []
        var count = 0
        var steps: UInt64 = 0
        var drafted: UInt64 = 0
        var accepted: UInt64 = 0
        var seconds = 0.0
    }

    static func run(_ plan: BenchmarkPlan) async throws -> [JSONMember] {
        let starter = try BenchModel.starter()
        guard let datanet = starter.datanets.first(where: { $0.name == "food" }) ?? starter.datanets.first else {
            throw BenchmarkFault.setUp("Bootstrap/starter/datanets has no datanet")
        }
        let rows = try BenchModel.rows(datanet.path)
        var members: [JSONMember] = []
        for precision in BenchModel.precisions(plan) {
            let model = try BenchModel.load(starter.model, precision)
            members.append(
                JSONMember(
                    precision.rawValue,
                    .members(
                        try measure(
                            model, rows, starter.adapters.first { $0.name == datanet.name }, precision,
                            seconds: Double(plan.seconds) / Double(BenchModel.precisions(plan).count)))))
        }
        return members + [JSONMember("datanet", .string(datanet.name))]
    }

    private static func measure(
        _ model: LoadedModel, _ rows: [Row], _ adapter: (name: String, path: String)?, _ precision: Precision,
        seconds: Double
    ) throws -> [JSONMember] {
        guard let tokenizer = model.tokenizer, let template = model.template else {
            throw BenchmarkFault.setUp("the starter model has no tokenizer; restore Bootstrap/starter")
        }
        // Kept pages would let the second run of a pair skip the prompt.
        var limits = EngineLimits()
        limits.keepsPages = false
        let engine = Engine(model: model, limits: limits)
        func ask(_ text: String, _ passages: [String]) throws -> [Int32] {
            let content = RetrievalPrompt.build(passages: passages, question: text)
            return tokenizer.encode(
                try template.render([ChatMessage(role: "user", content: content)]), addSpecial: false)
        }
        let step = max(1, rows.count / questions)
        let asked = (0..<questions).map { $0 * step }.filter { $0 < rows.count }
        let quoted = try asked.map { index in
            // The row is at another place in each.
            var texts = (1..<passages).map { rows[(index + $0 * 97) % rows.count].completion }
            texts.insert(rows[index].completion, at: index / step % passages)
            return GenerationRequest(prompt: try ask(rows[index].prompt, texts), tokensMax: answerTokens)
        }
        let random = (0..<randomPrompts).map { place in
            var chance = SeededRandom(seed: UInt64(place) + 1)
            let prompt = (0..<64).map { _ in Int32(chance.below(UInt64(model.config.vocabulary))) }
            return GenerationRequest(
                prompt: prompt, tokensMax: randomTokens, sampling: Sampling(temperature: 1, seed: UInt64(place)),
                ignoresEnd: true)
        }
        let (fast, quotedSpeed, sameQuoted) = try compare(engine, quoted, seconds: seconds * 0.4)
        let (slow, randomSpeed, sameRandom) = try compare(engine, random, seconds: seconds * 0.6)
        var members: [JSONMember] = [
            .figure("quoted_tokens_per_step", Double(fast.count) / Double(max(1, fast.steps)), decimals: 3),
            .figure("quoted_speed", quotedSpeed, decimals: 3), .figure("random_speed", randomSpeed, decimals: 3),
            .figure("quoted_accepted", share(fast), decimals: 3), .figure("random_accepted", share(slow), decimals: 3),
        ]
        var isSame = sameQuoted && sameRandom
        if let adapter {
            let folder = try MappedFolder(try FolderFiles.list(adapter.path, kind: .adapter))
            try engine.register(
                try LoadedAdapter(folder: folder, config: model.config, precision: precision), as: adapter.name)
            var builder = SpanCorpusBuilder()
            for row in rows { builder.add(tokenizer.encode(row.completion, addSpecial: false)) }
            let spans = builder.finish()
            let recalled = try asked.map { index in
                var request = GenerationRequest(
                    prompt: try ask(rows[index].prompt, []), adapter: adapter.name, tokensMax: answerTokens)
                request.spans = spans
                return request
            }
            let drafts = try run(engine, recalled, speculates: true)
            let plain = try run(engine, recalled, speculates: false)
            isSame = isSame && drafts.tokens == plain.tokens
            members.append(
                .figure("recalled_tokens_per_step", Double(drafts.count) / Double(max(1, drafts.steps)), decimals: 3))
        }
        return members + [JSONMember("identical", .bool(isSame))]
    }

    private static func share(_ run: Run) -> Double {
        run.drafted == 0 ? 0 : Double(run.accepted) / Double(run.drafted)
    }

    /// Pairs of runs with drafts and without, one after the other in turn; the median of their ratios.
    private static func compare(
        _ engine: Engine, _ requests: [GenerationRequest], seconds: Double
    ) throws -> (Run, speed: Double, isSame: Bool) {
        var ratios: [Double] = []
        let first = try run(engine, requests, speculates: true)
        var isSame = first.tokens == (try run(engine, requests, speculates: false)).tokens
        let watch = Stopwatch()
        while ratios.count < pairsMin || watch.seconds < seconds {
            let draftsFirst = ratios.count.isMultiple(of: 2)
            let one = try run(engine, requests, speculates: draftsFirst)
            let other = try run(engine, requests, speculates: !draftsFirst)
            isSame = isSame && one.tokens == other.tokens && one.tokens == first.tokens
            let (with, without) = draftsFirst ? (one, other) : (other, one)
            ratios.append(without.seconds / max(1e-9, with.seconds))
        }
        return (first, ratios.sorted()[ratios.count / 2], isSame)
    }

    /// One answer after the other; only the steps behind the first token are counted.
    private static func run(_ engine: Engine, _ requests: [GenerationRequest], speculates: Bool) throws -> Run {
        var run = Run()
        for request in requests {
            var asked = request
            asked.speculates = speculates
            _ = try engine.submit(asked)
            var tokens: [Int32] = []
            while tokens.isEmpty, !engine.isIdle {
                for output in engine.step() { if let token = output.token { tokens.append(token.id) } }
            }
            let before = engine.statistics
            let watch = Stopwatch()
            while !engine.isIdle {
                for output in engine.step() {
                    guard let token = output.token else { continue }
                    tokens.append(token.id)
                    run.count += 1
                }
            }
            run.seconds += watch.seconds
            let after = engine.statistics
            run.steps += after.steps - before.steps
            run.drafted += after.draftTokens - before.draftTokens
            run.accepted += after.acceptedTokens - before.acceptedTokens
            run.tokens.append(tokens)
        }
        return run
    }
}
