// Tokens a second of the starter model on one core, through the engine that the peer serves with, in f32 and in int8.
//
//   prefill           tokens of a 256-token prompt a second, up to the first token of the answer
//   decode            tokens of one answer a second, after the first one, from a 16-token prompt to position 144
//   decode_lora       the same with one adapter
//   decode_8          eight answers at once: tokens of all of them a second
//   served, served_8  decode and decode_8 as the peer serves: pages kept, drafts made
//
// Greedy, the end token ignored, so that every run does the same work.

import Arithmetic
import Foundation
import Inference
import Primitives
import Records

enum DecodeBenchmark {
    private static let prefillTokens = 256
    private static let promptTokens = 16
    private static let answerTokens = 129
    private static let sequences = 8
    private static let adapterName = "bench"
    private static let measures = 6

    static func run(_ plan: BenchmarkPlan) async throws -> [JSONMember] {
        guard let starter = Starter.find(nil) else {
            throw BenchmarkFault.setUp(
                "the starter model was not found: run a program that was built in the source tree, "
                    + "or set OPENLEDGER_STARTER to its folder Bootstrap/starter")
        }
        guard let adapter = starter.adapters.first else {
            throw BenchmarkFault.setUp("\(starter.model)/../adapters holds no adapter; restore Bootstrap/starter")
        }
        let slice = Double(plan.seconds) / Double(measures * Precision.allCases.count)
        var members: [JSONMember] = []
        for precision in Precision.allCases {
            let figures = try measure(starter.model, adapter.path, precision, slice: slice)
            members.append(JSONMember(precision.rawValue, .members(figures)))
        }
        return members + [
            JSONMember("instruction_set", .string(InstructionSet.best.name)),
            JSONMember("sequences", .integer(sequences)), JSONMember("adapter", .string(adapter.name)),
            JSONMember("threads", .integer(1)),
        ]
    }

    private static func measure(
        _ model: String, _ adapter: String, _ precision: Precision, slice: Double
    ) throws -> [JSONMember] {
        let loading = Stopwatch()
        let loaded = try LoadedModel(
            folder: try MappedFolder(try FolderFiles.list(model, kind: .model)), precision: precision)
        let loadSeconds = loading.seconds
        // Every prompt is computed and every token is plainly decoded: no kept pages, no drafts.
        var limits = EngineLimits()
        limits.keepsPages = false
        limits.speculatingSequencesMax = 0
        let engine = Engine(model: loaded, limits: limits)
        let folder = try MappedFolder(try FolderFiles.list(adapter, kind: .adapter))
        try engine.register(
            try LoadedAdapter(folder: folder, config: loaded.config, precision: precision), as: adapterName)
        let prefill = try repeated(slice) { try prefilling(engine) }
        let decode = try repeated(slice) { try decoding(engine, count: 1, adapter: nil) }
        let lora = try repeated(slice) { try decoding(engine, count: 1, adapter: adapterName) }
        let batch = try repeated(slice) { try decoding(engine, count: sequences, adapter: nil) }
        let serving = Engine(model: loaded)
        let served = try repeated(slice) { try decoding(serving, count: 1, adapter: nil) }
        let servedBatch = try repeated(slice) { try decoding(serving, count: sequences, adapter: nil) }
        return [
            .figure("prefill_tokens_per_second", prefill), .figure("decode_tokens_per_second", decode),
            .figure("decode_lora_tokens_per_second", lora), .figure("decode_8_tokens_per_second", batch),
            .figure("served_tokens_per_second", served), .figure("served_8_tokens_per_second", servedBatch),
            .figure("load_ms", loadSeconds * 1000),
        ]
    }

    /// Tokens a second over as many runs as fit `slice`, one at least, after one that is not counted.
    private static func repeated(
        _ slice: Double, _ once: () throws -> (tokens: Int, seconds: Double)
    ) throws -> Double {
        _ = try once()
        var tokens = 0
        var seconds = 0.0
        let watch = Stopwatch()
        repeat {
            let run = try once()
            tokens += run.tokens
            seconds += run.seconds
        } while watch.seconds < slice
        return seconds > 0 ? Double(tokens) / seconds : 0
    }

    private static func prefilling(_ engine: Engine) throws -> (tokens: Int, seconds: Double) {
        _ = try engine.submit(
            GenerationRequest(prompt: prompt(prefillTokens, engine, 0), tokensMax: 1, ignoresEnd: true))
        let watch = Stopwatch()
        while !engine.isIdle { _ = engine.step() }
        return (prefillTokens, watch.seconds)
    }

    private static func decoding(
        _ engine: Engine, count: Int, adapter: String?
    ) throws -> (tokens: Int, seconds: Double) {
        var begun: Set<SequenceID> = []
        for index in 0..<count {
            _ = try engine.submit(
                GenerationRequest(
                    prompt: prompt(promptTokens, engine, index), adapter: adapter, tokensMax: answerTokens,
                    ignoresEnd: true))
        }
        while begun.count < count, !engine.isIdle {
            for output in engine.step() where output.token != nil { begun.insert(output.id) }
        }
        let watch = Stopwatch()
        var tokens = 0
        while !engine.isIdle {
            for output in engine.step() {
                if output.finish == .notFinite {
                    throw BenchmarkFault.setUp("the starter model's weights are damaged; restore Bootstrap/starter")
                }
                if output.token != nil { tokens += 1 }
            }
        }
        return (tokens, watch.seconds)
    }

    /// Tokens that differ from place to place and from sequence to sequence.
    private static func prompt(_ count: Int, _ engine: Engine, _ index: Int) -> [Int32] {
        let vocabulary = engine.model.config.vocabulary
        return (0..<count).map { Int32((300 + 37 * $0 + 101 * index) % max(1, vocabulary)) }
    }
}
