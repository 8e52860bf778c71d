// What it costs to say whose rows made an answer, among 100,000 rows of 2,048 bytes of influence each and 12 million tokens
// of span index: runs of the starter datanets' rows put together anew, so that words are as common as they are in text.
//
//   answer_ms            median and 95th percentile of all that is done for an answer of 512 tokens beside its backward pass:
//                        the query corrected and quantised, every row scored, spans found, three kinds fused, echoes settled
//   influence_ms, spans_ms, fusion_ms     its parts
//   span_bytes_per_token, influence_bytes_per_row
//   planted              share of the runs that were planted in the answers and found; everything but 1 is a fault
//   span_build_seconds, influence_build_seconds, duplicates_per_second (rows clustered)

import Arithmetic
import Attribution
import Datanets
import Foundation
import Inference
import Primitives
import Tokenizers

enum AttributionBenchmark {
    private static let rows = 100_000
    private static let rowTokens = 120
    private static let answerTokens = 512
    /// 2,044 columns and a scale: 42 matrices of 48 as of six layers of seven, and what is left.
    private static let matrices = [Int](repeating: 48, count: 42) + [28]
    private static let passages = 4

    private struct Parts {
        var influence: [Double] = []
        var spans: [Double] = []
        var fusion: [Double] = []
        var all: [Double] = []
    }

    static func run(_ plan: BenchmarkPlan) throws -> [JSONMember] {
        let starter = try BenchModel.starter()
        let model = try BenchModel.load(starter.model, .int8)
        guard let tokenizer = model.tokenizer else {
            throw BenchmarkFault.setUp("the starter model has no tokenizer; restore Bootstrap/starter")
        }
        let texts = try starter.datanets.flatMap { try BenchModel.rows($0.path) }
        let duplicates = clusteringRate(texts)
        let source = texts.flatMap { tokenizer.encode($0.completion, addSpecial: false) }
        var random = SeededRandom(seed: 1)
        let watch = Stopwatch()
        let corpus = corpus(source, &random)
        let spanSeconds = watch.seconds
        let influenceWatch = Stopwatch()
        let index = try index(&random)
        let influenceSeconds = influenceWatch.seconds

        let owners = (0..<UInt32(rows)).map { $0 }
        var parts = Parts()
        var planted = 0
        var found = 0
        let all = Stopwatch()
        while parts.all.count < 20 || all.seconds < Double(plan.seconds) {
            let gradient = gradient(&random)
            let (answer, runs) = answer(source, corpus, &random)
            let begin = Stopwatch()
            let scores = index.scores(try index.query(gradient))
            parts.influence.append(begin.seconds)
            let spans = corpus.corpus.spans(in: answer, owners: owners)
            parts.spans.append(begin.seconds - (parts.influence.last ?? 0))
            let values = (0..<Int64(1 << passages)).map { $0 * 10_000 }
            let effects = PassageEffect.effects(
                of: passages, seed: .zero, values: values, answerTokens: answerTokens)
            let weights = Fusion.weights(
                owners: owners, influence: scores,
                spans: SpanCorpus.evidence(spans).map { ($0.row, Int64(clamping: $0.weight)) },
                retrieval: effects.enumerated().map { (UInt32($0.offset * 1000), $0.element) })
            let paid = Echoes.settled(weights) {
                texts[Int($0) % texts.count].completion.split(separator: " ").map(String.init)
            } rarity: {
                UInt64($0.utf8.count) << 24
            }
            parts.all.append(begin.seconds)
            parts.fusion.append(begin.seconds - (parts.influence.last ?? 0) - (parts.spans.last ?? 0))
            guard !paid.isEmpty else { throw BenchmarkFault.setUp("an answer of planted runs paid nobody") }
            planted += runs.count
            found += runs.count { run in
                spans.contains { $0.start <= run.lowerBound && $0.start + $0.count >= run.upperBound }
            }
        }
        return [
            spread("answer_ms", parts.all), spread("influence_ms", parts.influence), spread("spans_ms", parts.spans),
            spread("fusion_ms", parts.fusion), JSONMember("answers", .integer(parts.all.count)),
            JSONMember("rows", .integer(rows)), JSONMember("influence_bytes_per_row", .integer(index.shape.rowBytes)),
            JSONMember("tokens", .integer(corpus.corpus.tokenCount)),
            .figure(
                "span_bytes_per_token", Double(corpus.corpus.bytes) / Double(corpus.corpus.tokenCount), decimals: 3),
            .figure("planted", Double(found) / Double(max(1, planted)), decimals: 6),
            .figure("span_build_seconds", spanSeconds), .figure("influence_build_seconds", influenceSeconds),
            .figure("duplicates_per_second", duplicates, decimals: 0),
        ]
    }

    private static func spread(_ key: String, _ seconds: [Double]) -> JSONMember {
        let sorted = seconds.sorted()
        return JSONMember(
            key,
            .members([
                .figure("p50", sorted[sorted.count / 2] * 1000, decimals: 2),
                .figure("p95", sorted[min(sorted.count - 1, sorted.count * 95 / 100)] * 1000, decimals: 2),
            ]))
    }

    private static func clusteringRate(_ texts: [Row]) -> Double {
        let watch = Stopwatch()
        var near = NearDuplicates(snapshot: CID(.raw, hashing: []))
        for row in texts { near.add(row) }
        return Double(near.owners.count) / watch.seconds
    }

    private struct Source {
        let rows: [[Int32]]
        let corpus: SpanCorpus
    }

    private static func corpus(_ source: [Int32], _ random: inout SeededRandom) -> Source {
        var builder = SpanCorpusBuilder()
        var kept: [[Int32]] = []
        for row in 0..<rows {
            var tokens: [Int32] = []
            while tokens.count < rowTokens {
                let start = Int(random.below(UInt64(source.count - 12)))
                tokens += source[start..<start + 2 + Int(random.below(10))]
            }
            let text = Array(tokens.prefix(rowTokens))
            builder.add(text)
            if row.isMultiple(of: 100) { kept.append(text) }
        }
        return Source(rows: kept, corpus: builder.finish())
    }

    /// Runs of rows, and single tokens of others between them.
    private static func answer(
        _ source: [Int32], _ corpus: Source, _ random: inout SeededRandom
    ) -> ([Int32], [Range<Int>]) {
        var answer: [Int32] = []
        var runs: [Range<Int>] = []
        while answer.count < answerTokens {
            let length = min(4 + Int(random.below(40)), answerTokens - answer.count)
            if random.below(10) < 6, length >= SpanCorpus.spanTokensMin {
                let row = corpus.rows[Int(random.below(UInt64(corpus.rows.count)))]
                let start = Int(random.below(UInt64(rowTokens - length + 1)))
                runs.append(answer.count..<answer.count + length)
                answer += row[start..<start + length]
            } else {
                for _ in 0..<length { answer.append(source[Int(random.below(UInt64(source.count)))]) }
            }
        }
        return (answer, runs)
    }

    private static func gradient(_ random: inout SeededRandom) -> [Float] {
        (0..<matrices.reduce(0, +)).map { _ in Float(Int64(random.below(1 << 20)) - 1 << 19) }
    }

    private static func index(_ random: inout SeededRandom) throws -> InfluenceIndex {
        var builder = InfluenceIndexBuilder(try InfluenceShape(matrices: matrices))
        for _ in 0..<rows { builder.add(gradient(&random)) }
        return try builder.finish()
    }
}
