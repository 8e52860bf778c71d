// A base against one of its adapters on rows that were not trained on: mean loss and perplexity of what is scored, and, of as
// many rows as wanted, greedy answers compared with what the row says.

import Arithmetic
import Inference
import ModelFiles
import Primitives
import Tokenizers
import Training

struct AdapterEvaluation: Sendable {
    let shelf: ModelShelf
    let base: CID
    let adapter: CID
    let rows: [UInt8]
    let file: String
    let precision: Precision
    /// Rows whose answers are generated.
    let answers: Int
    let threads: Int
    let room: WeightRoom

    private struct Overlap {
        var exact = 0
        var rougeL = 0.0
        var count = 0
        /// Rows whose prompt leaves no room for an answer.
        var skipped = 0
    }

    /// Blocks for as long as it takes.
    func run(_ emit: (JSONValue) -> Void) throws -> JSONValue {
        let adapterFolder = try shelf.folder(adapter), baseFolder = try shelf.folder(base)
        let weightClaim = try room.claim(
            try WeightPlan(folder: baseFolder, precision: precision).whole, for: "the evaluation")
        defer { withExtendedLifetime(weightClaim) {} }
        let model = try LoadedModel(folder: baseFolder, precision: precision)
        let factors = try AdapterFactors(folder: adapterFolder, config: model.config)
        let held = try TrainingRows(jsonl: rows, file: file, model: model)
        let pool = WorkerThreads(width: threads)
        let bytes = try Evaluator.byteCount(
            base: TrainingBase(model), adapter: factors, rows: held.rows, width: pool.width)
        let bufferClaim = try room.claim(bytes, for: "the evaluation")
        defer { withExtendedLifetime(bufferClaim) {} }
        var sides: [JSONMember] = []
        for (name, factors) in [("base", nil), ("adapter", factors)] as [(String, AdapterFactors?)] {
            let evaluator = try Evaluator(model: model, adapter: factors, rows: held.rows, pool: pool)
            guard let loss = evaluator.loss(of: held.rows) else { continue }
            var members = [
                JSONMember("loss", .double(loss.loss)), JSONMember("perplexity", .double(loss.perplexity)),
                JSONMember("scored_tokens", .integer(loss.scored)),
            ]
            if answers > 0 {
                let loaded =
                    factors == nil
                    ? nil : try LoadedAdapter(folder: adapterFolder, config: model.config, precision: precision)
                let overlap = try compare(held.rows, model, loaded, pool)
                let count = Double(max(1, overlap.count))
                members += [
                    JSONMember("answers", .integer(overlap.count)),
                    JSONMember("answers_skipped", .integer(overlap.skipped)),
                    JSONMember("exact_match", .double(Double(overlap.exact) / count)),
                    JSONMember("rouge_l", .double(overlap.rougeL / count)),
                ]
            }
            emit(.members([JSONMember("event", .string("evaluated")), JSONMember("side", .string(name))] + members))
            sides.append(JSONMember(name, .members(members)))
        }
        return .members([JSONMember("event", .string("done")), JSONMember("rows", .integer(held.rows.count))] + sides)
    }

    /// Greedy answers to the first rows that have a prompt, all in one engine.
    private func compare(
        _ rows: [TrainingRow], _ model: LoadedModel, _ adapter: LoadedAdapter?, _ pool: any WorkerPool
    ) throws -> Overlap {
        guard let tokenizer = model.tokenizer else {
            throw TrainingFault.rows("this model has no tokenizer: answers cannot be compared (answers must be 0)")
        }
        let engine = Engine(model: model, pool: pool), name = "evaluated"
        if let adapter { try engine.register(adapter, as: name) }
        var overlap = Overlap(), wanted: [TrainingRow] = []
        for row in rows where !row.prompt.isEmpty && wanted.count < answers {
            if row.prompt.count < model.config.contextTokens { wanted.append(row) } else { overlap.skipped += 1 }
        }
        var left = wanted[...], open: [SequenceID: (text: String, wanted: String)] = [:]
        while !left.isEmpty || !open.isEmpty {
            while open.count < engine.limits.sequencesMax, let row = left.popFirst() {
                let completion = row.completion
                let id = try engine.submit(
                    GenerationRequest(
                        prompt: row.prompt, adapter: adapter == nil ? nil : name,
                        tokensMax: min(
                            completion.count + completion.count / 2 + 8, model.config.contextTokens - row.prompt.count))
                )
                open[id] = ("", tokenizer.decode(completion, skipSpecial: true))
            }
            for output in engine.step() {
                open[output.id]?.text += output.text
                guard output.finish != nil, let done = open.removeValue(forKey: output.id) else { continue }
                overlap.count += 1
                overlap.exact += TextOverlap.isExact(done.text, done.wanted) ? 1 : 0
                overlap.rougeL += TextOverlap.rougeL(done.text, done.wanted)
            }
        }
        return overlap
    }
}
