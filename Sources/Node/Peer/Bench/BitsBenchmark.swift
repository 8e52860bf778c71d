// The same bits, whatever computes them: what a model answers to 32 requests, tokens and log-probabilities, hashed for every
// instruction set of this processor, 1, 7 and 32 requests in a batch, 1 and 2 threads, with the prompts' shared beginning
// computed for each or once. One hash for each precision is what must come out.
//
//   f32, bf16, int8, int4   {"hashes": how many there are, "hash": the first, "runs": of how many}
//   table                   a line a run
//
// Plain C is slow where numbers are not int8: minutes for all of it.

import Arithmetic
import Decoding
import Inference
import Primitives

enum BitsBenchmark {
    private static let requests = 32
    private static let answerTokens = 5
    private static let sharedTokens = 20

    static func run(_ plan: BenchmarkPlan) async throws -> [JSONMember] {
        let path = try BenchModel.path(plan)
        var members: [JSONMember] = [], table: [JSONValue] = []
        for precision in BenchModel.precisions(plan) {
            let model = try BenchModel.load(path, precision)
            var hashes: [String] = []
            for set in InstructionSet.available {
                for batch in [1, 7, 32] {
                    for threads in [1, 2] {
                        for shares in [false, true] {
                            let hash = try hash(model, set, batch: batch, threads: threads, sharesPrefix: shares)
                            hashes.append(hash)
                            table.append(
                                .object([
                                    "precision": .string(precision.rawValue), "instruction_set": .string(set.name),
                                    "batch": .integer(batch), "threads": .integer(threads),
                                    "cache": .string(shares ? "shared prefix" : "cold"), "hash": .string(hash),
                                ]))
                        }
                    }
                }
            }
            members.append(
                JSONMember(
                    precision.rawValue,
                    .object([
                        "hashes": .integer(Set(hashes).count), "hash": .string(hashes.first ?? ""),
                        "runs": .integer(hashes.count),
                    ])))
        }
        return members + [JSONMember("table", .array(table))]
    }

    private static func hash(
        _ model: LoadedModel, _ set: InstructionSet, batch: Int, threads: Int, sharesPrefix: Bool
    ) throws -> String {
        var limits = EngineLimits()
        limits.sequencesMax = batch
        limits.keepsPages = sharesPrefix
        let engine = Engine(model: model, limits: limits, pool: WorkerThreads(width: threads), instructionSet: set)
        let vocabulary = UInt64(model.config.vocabulary)
        var order: [SequenceID: Int] = [:]
        var heard = [[UInt8]](repeating: [], count: requests)
        for index in 0..<requests {
            var shared = SeededRandom(seed: 1), own = SeededRandom(seed: UInt64(index) + 2)
            // Some differ from the others within the second page, some only behind their common beginning.
            var prompt = (0..<sharedTokens).map { _ in Int32(shared.below(vocabulary)) }
            prompt += (0..<index % 5).map { _ in Int32(own.below(vocabulary)) }
            let id = try engine.submit(
                GenerationRequest(
                    prompt: prompt, tokensMax: answerTokens,
                    sampling: index.isMultiple(of: 2) ? .greedy : Sampling(temperature: 1, seed: UInt64(index)),
                    ignoresEnd: true, logProbabilities: 3))
            order[id] = index
        }
        while !engine.isIdle {
            for output in engine.step() {
                guard let index = order[output.id], let token = output.token else { continue }
                for (id, score) in [(token.id, token.logProbability ?? 0)]
                    + token.alternatives.map({ ($0.token, $0.logProbability) })
                {
                    for value in [UInt32(bitPattern: id), score.bitPattern] {
                        heard[index] += (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * UInt32($0))) }
                    }
                }
            }
        }
        return Hex.encode(Array(Digest(sha256: heard.flatMap { $0 }).bytes.prefix(16)))
    }
}
