// Fine-tuning as a run does it, against PEFT and PyTorch: `bench training --threads N`, of the starter model or of
// `--model`. A step is eight rows of 128 tokens, all scored, rank 8 on every linear layer, AdamW; no row is padded, on either
// side. Tests/Interop/bench_peft.py is the other side, a model of the same sizes in float32; where OPENLEDGER_PEFT_PYTHON
// names its Python, rounds of both alternate and each figure is the median of its rounds.
//
//   tokens_per_second   by the base's precision: a frozen base may be int8, its gradients are f32 all the same
//   trainer_bytes       what the run allocates beside the base's weights, weight_bytes
//   ratio               our tokens a second against PEFT's
//   memory_ratio        base and run against what PEFT's process grew by when it made its model and trained

import Arithmetic
import Foundation
import Inference
import Primitives
import Training

enum TrainingBenchmark {
    private static let rounds = 3
    private static let batch = 8
    private static let rowTokens = 128
    private static let rank = 8
    private static let stepsMin = 3
    private static let rivalSteps = 5
    private static let rivalSecondsMax = 1200.0

    static func run(_ plan: BenchmarkPlan) async throws -> [JSONMember] {
        let path = try BenchModel.path(plan)
        let precisions = plan.precision.flatMap(Precision.init(rawValue:)).map { [$0] } ?? [.f32, .int8]
        let rounds = Self.rounds * precisions.count
        var members: [JSONMember] = [
            JSONMember("model", .string((path as NSString).lastPathComponent)),
            JSONMember("threads", .integer(plan.threads)),
            JSONMember("batch", .integer(batch)), JSONMember("row_tokens", .integer(rowTokens)),
        ]
        for precision in precisions {
            let side = try Side(try BenchModel.load(path, precision), threads: plan.threads)
            var ours: [Double] = [], theirs: [Double] = [], memory: Double?
            var fault: JSONValue?
            for _ in 0..<Self.rounds {
                ours.append(try side.tokensPerSecond(seconds: Double(plan.seconds) / Double(rounds)))
                let rival = try await Rival.peft.run(try side.rivalArguments(), secondsMax: rivalSecondsMax)
                guard let figure = rival["tokens_per_second"]?.double else {
                    fault = rival
                    continue
                }
                theirs.append(figure)
                if let most = rival["resident_bytes_most"]?.double, let before = rival["resident_bytes_before"]?.double
                {
                    memory = most - before
                }
            }
            let own = median(ours)
            var figures: [JSONMember] = [
                .figure("tokens_per_second", own), JSONMember("trainer_bytes", .integer(side.trainer.byteCount)),
                JSONMember("weight_bytes", .integer(side.model.weightBytes)),
            ]
            if let fault { figures.append(JSONMember("rival", fault)) }
            if !theirs.isEmpty {
                figures.append(.figure("rival_tokens_per_second", median(theirs)))
                figures.append(.figure("ratio", own / median(theirs), decimals: 2))
            }
            if let memory, memory > 0 {
                let taken = Double(side.trainer.byteCount + side.model.weightBytes)
                figures.append(JSONMember("rival_bytes", .integer(Int(memory))))
                figures.append(.figure("memory_ratio", taken / memory, decimals: 2))
            }
            members.append(JSONMember(precision.rawValue, .members(figures)))
        }
        return members
    }

    private static func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

    /// Our side, with steps to spare.
    private final class Side {
        let model: LoadedModel
        let trainer: Trainer
        private let threads: Int

        init(_ model: LoadedModel, threads: Int) throws {
            self.model = model
            self.threads = threads
            let vocabulary = UInt64(model.config.vocabulary)
            var chance = SeededRandom(seed: 1)
            let rows = (0..<64).map { _ in
                let tokens = (0..<rowTokens).map { _ in Int32(chance.below(vocabulary)) }
                return TrainingRow(tokens: tokens, labels: tokens)
            }
            var settings = TrainingSettings()
            settings.steps = TrainingLimit.stepsMax
            settings.batch = batch
            settings.rank = rank
            settings.weightDecay = 0
            settings.clip = 1
            trainer = try Trainer(model: model, rows: rows, settings: settings, pool: WorkerThreads(width: threads))
            // Touches what the run allocated.
            _ = try trainer.advance()
        }

        func tokensPerSecond(seconds: Double) throws -> Double {
            let watch = Stopwatch()
            var took: [Double] = []
            while took.count < stepsMin || watch.seconds < seconds {
                let step = Stopwatch()
                _ = try trainer.advance()
                took.append(step.seconds)
            }
            return Double(batch * rowTokens) / median(took)
        }

        func rivalArguments() throws -> [String] {
            let config = model.config
            guard config.family == "llama", case .dense(let width, _)? = config.plans.first?.feedForward else {
                throw BenchmarkFault.setUp("the other side is a Llama; --model names one of another family")
            }
            return [
                threads, batch, rowTokens, rivalSteps, config.hidden, config.layers, config.heads, config.keyValueHeads,
                width, config.vocabulary, config.tiedEmbeddings ? 1 : 0,
            ].map { "\($0)" }
        }
    }
}
