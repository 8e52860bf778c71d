// How well evidence about rows foretells what the rows do: the linear datamodeling score (TRAK, arXiv 2303.14186). An adapter is
// trained on some rows of a starter datanet, and again, truly, on random halves of them, each half twice with another order
// of rows. For each question that nobody was trained on: the rank correlation, over the halves, of the loss that a half
// leaves with the sum of its rows' evidence. As many halves are trained as the seconds allow, at least eight.
//
//   influence, spans, fused     mean over questions, with the 95% interval of that mean
//   datainf                     arXiv 2310.00902 on the whole gradients of LoRA's factors
//   overlap_bytes, overlap_row_bytes, overlap_tokens     the part of the answer's 5-grams that a row has: of its completion, of
//                               prompt and completion, of the completion's tokens
//   fused_above_…               the same of the difference, question by question
//   split_half     the correlation of the losses of the two trainings of a half: what noise leaves to be foretold

import Arithmetic
import Attribution
import Datanets
import Foundation
import Inference
import Primitives
import Tokenizers
import Training

enum LDSBenchmark {
    private static let rows = 500
    private static let questions = 48
    private static let epochs = 3
    private static let halvesMin = 8
    private static let halvesMax = 1000

    /// [question][row]
    private struct Evidence {
        let name: String
        var scores: [[Double]] = []
    }

    static func run(_ plan: BenchmarkPlan) throws -> [JSONMember] {
        let starter = try BenchModel.starter()
        let model = try BenchModel.load(plan.model ?? starter.model, .f32)
        guard let datanet = starter.datanets.first(where: { $0.name == "food" }), let tokenizer = model.tokenizer else {
            throw BenchmarkFault.setUp(
                "the starter has no datanet \"food\", or its model no tokenizer; restore Bootstrap/starter")
        }
        let pool = WorkerThreads(width: plan.threads)
        var random = SeededRandom(seed: UInt64(plan.seed))
        var texts = try BenchModel.rows(plan.rows ?? datanet.path)
        shuffle(&texts, &random)
        guard texts.count >= rows + questions else {
            throw BenchmarkFault.setUp("\(rows + questions) rows are needed, there are \(texts.count)")
        }
        let askedTexts = Array(texts[rows..<rows + questions])
        let asked = try write(askedTexts, model)
        texts = Array(texts[..<rows])
        let learnt = try write(texts, model)
        let watch = Stopwatch()
        let whole = try trained(model, learnt, asked, seed: 0, pool)
        let trainSeconds = watch.seconds
        let (ours, rowBytes, indexSeconds) = try evidence(
            whole, texts, learnt, asked, tokenizer: { tokenizer.encode($0, addSpecial: false) })
        let kinds = ours + rivals(whole, texts, learnt, askedTexts, asked) { tokenizer.encode($0, addSpecial: false) }

        // [question][half], of both trainings.
        var losses = [[[Double]]](repeating: [[], []], count: questions)
        var sums = [[[Double]]](repeating: kinds.map { _ in [] }, count: questions)
        var halves = 0
        while halves < halvesMin || (watch.seconds < Double(plan.seconds) && halves < halvesMax) {
            var order = Array(0..<rows)
            shuffle(&order, &random)
            let half = order.prefix(rows / 2).sorted()
            for seed in 0..<2 {
                let trainer = try trained(
                    model, half.map { learnt[$0] }, asked, seed: UInt64(1 + seed + 2 * halves), pool)
                for question in 0..<questions {
                    let loss = try trainer.heldOutLoss(of: [asked[question]])
                    losses[question][seed].append(-(loss?.loss ?? .nan))
                }
            }
            for question in 0..<questions {
                for (kind, evidence) in kinds.enumerated() {
                    sums[question][kind].append(half.reduce(0) { $0 + evidence.scores[question][$1] })
                }
            }
            halves += 1
        }
        var scores = kinds.map { _ in [Double]() }, split: [Double] = []
        for question in 0..<questions {
            let truth = zip(losses[question][0], losses[question][1]).map { $0 + $1 }
            for kind in kinds.indices { scores[kind].append(correlation(sums[question][kind], truth)) }
            split.append(correlation(losses[question][0], losses[question][1]))
        }
        let fused = kinds.firstIndex { $0.name == "fused" } ?? 0
        return zip(kinds, scores).map { interval($0.name, $1) }
            + zip(kinds, scores).filter { $0.0.name != "fused" }.map { kind, other in
                interval("fused_above_\(kind.name)", zip(scores[fused], other).map { $0 - $1 })
            } + [
                interval("split_half", split), JSONMember("halves", .integer(halves)),
                JSONMember("trainings", .integer(2 * halves)), JSONMember("rows", .integer(rows)),
                JSONMember("questions", .integer(questions)), JSONMember("seed", .integer(plan.seed)),
                JSONMember("row_bytes", .integer(rowBytes)), .figure("whole_training_seconds", trainSeconds),
                .figure("index_seconds", indexSeconds),
            ]
    }

    private static func write(_ rows: [Row], _ model: LoadedModel) throws -> [TrainingRow] {
        var writer = RowWriter(model: model)
        return try rows.map { try writer.row($0.content) }
    }

    private static func trained(
        _ model: LoadedModel, _ rows: [TrainingRow], _ heldOut: [TrainingRow], seed: UInt64, _ pool: WorkerThreads
    ) throws -> Trainer {
        var settings = TrainingSettings()
        settings.batch = 8
        settings.steps = (epochs * rows.count + settings.batch - 1) / settings.batch
        settings.learningRate = 2e-3
        settings.schedule = .cosine
        settings.seed = seed
        let trainer = try Trainer(model: model, rows: rows, heldOut: heldOut, settings: settings, pool: pool)
        while !trainer.isDone { _ = try trainer.advance() }
        return trainer
    }

    /// What every row's evidence for every question is, by the code that receipts are made with.
    private static func evidence(
        _ trainer: Trainer, _ texts: [Row], _ learnt: [TrainingRow], _ asked: [TrainingRow],
        tokenizer: (String) -> [Int32]
    ) throws -> (kinds: [Evidence], rowBytes: Int, seconds: Double) {
        var near = NearDuplicates(snapshot: CID(.raw, hashing: []))
        for row in texts { near.add(row) }
        let owners = near.owners, watch = Stopwatch()
        let pass = try InfluencePass(of: trainer, rows: MerkleTree.root(of: texts.map { $0.cbor.encoded() }))
        guard
            let index = try pass.index(of: learnt, owners: owners.enumerated().map { Int($0.element) == $0.offset })
        else { throw BenchmarkFault.setUp("the index was not made") }
        let seconds = watch.seconds
        var corpus = SpanCorpusBuilder()
        for row in texts { corpus.add(tokenizer(row.completion)) }
        let spans = corpus.finish()
        var influence = Evidence(name: "influence"), quoted = Evidence(name: "spans"), fusion = Evidence(name: "fused")
        for question in asked {
            let scores = index.scores(
                try pass.query(prompt: question.prompt, answer: question.completion, index: index))
            let found = SpanCorpus.evidence(spans.spans(in: question.completion, owners: owners))
                .map { (row: $0.row, weight: Int64(clamping: $0.weight)) }
            var dense = [Double](repeating: 0, count: texts.count)
            for (row, weight) in found { dense[Int(row)] = Double(weight) }
            influence.scores.append(scores.map(Double.init))
            quoted.scores.append(dense)
            let fused = Fusion.fused(owners: owners, influence: scores, spans: found, retrieval: nil)
            fusion.scores.append(
                fused.indices.map { Int(owners[$0]) == $0 ? Double(fused[$0]) : 0 })
        }
        return ([influence, quoted, fusion], index.shape.rowBytes, seconds)
    }

    /// What others would say of the same rows and questions.
    private static func rivals(
        _ trainer: Trainer, _ texts: [Row], _ learnt: [TrainingRow], _ askedTexts: [Row], _ asked: [TrainingRow],
        tokens: (String) -> [Int32]
    ) -> [Evidence] {
        func overlap<Element: Hashable>(_ name: String, _ write: (Row) -> [Element]) -> Evidence {
            let written = texts.map(write)
            return Evidence(
                name: name, scores: askedTexts.map { GramOverlap.scores(of: write($0), in: written) })
        }
        return [
            Evidence(
                name: "datainf", scores: WholeGradients(trainer, learnt).dataInf(WholeGradients(trainer, asked))),
            overlap("overlap_bytes") { Array($0.completion.utf8) },
            overlap("overlap_row_bytes") { Array("\($0.prompt)\n\($0.completion)".utf8) },
            overlap("overlap_tokens") { tokens($0.completion) },
        ]
    }

    // MARK: Numbers

    private static func shuffle<Element>(_ values: inout [Element], _ random: inout SeededRandom) {
        for place in stride(from: values.count - 1, to: 0, by: -1) {
            values.swapAt(place, Int(random.below(UInt64(place + 1))))
        }
    }

    /// Spearman's: of ranks, equal values sharing theirs; 0 where either does not vary.
    static func correlation(_ one: [Double], _ other: [Double]) -> Double {
        let a = ranks(one), b = ranks(other), middle = Double(a.count - 1) / 2
        var both = 0.0, first = 0.0, second = 0.0
        for (a, b) in zip(a, b) {
            both += (a - middle) * (b - middle)
            first += (a - middle) * (a - middle)
            second += (b - middle) * (b - middle)
        }
        return first > 0 && second > 0 ? both / (first * second).squareRoot() : 0
    }

    private static func ranks(_ values: [Double]) -> [Double] {
        let order = values.indices.sorted { values[$0] < values[$1] }
        var ranks = [Double](repeating: 0, count: values.count), start = 0
        while start < order.count {
            var end = start
            while end < order.count, values[order[end]] == values[order[start]] { end += 1 }
            for place in start..<end { ranks[order[place]] = Double(start + end - 1) / 2 }
            start = end
        }
        return ranks
    }

    private static func interval(_ key: String, _ values: [Double]) -> JSONMember {
        let count = Double(values.count), mean = values.reduce(0, +) / count
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (count - 1)
        let wide = 1.96 * (variance / count).squareRoot()
        return JSONMember(
            key,
            .members([
                .figure("mean", mean, decimals: 3), .figure("low", mean - wide, decimals: 3),
                .figure("high", mean + wide, decimals: 3),
            ]))
    }
}
