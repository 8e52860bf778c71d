// The engine that the peer serves with against llama.cpp, on one model: `bench serving --model bench-q8_0.gguf --adapter
// peft-0 … --threads N`. Tests/Interop/bench_llamacpp.py makes the files and is the other side; where
// OPENLEDGER_LLAMACPP_PYTHON names its Python, rounds of both alternate and each figure is the median of its rounds.
//
//   prefill            tokens of a 512-token prompt a second, up to the first token of the answer
//   decode             tokens of one answer a second, from position 512 on; _lora: with one adapter
//   sequences_8        eight answers at once from 64-token prompts: tokens of all of them; _8_loras: each with its own
//
// Shares: decode reads all weights once a token, so its limit is the memory's measured speed; prefill's is that of the
// int8 kernel on a matrix that stays in the cache.
//
// Greedy, the end token ignored, no drafts: every run does the same work.

import Arithmetic
import Foundation
import Inference
import Primitives
import Records

enum ServingBenchmark {
    private static let rounds = 5
    private static let rivalSecondsMax = 300.0

    static func run(_ plan: BenchmarkPlan) async throws -> [JSONMember] {
        guard let path = plan.model else {
            throw BenchmarkFault.setUp(
                "--model names the model; Tests/Interop/bench_llamacpp.py make FOLDER makes one and its adapters")
        }
        let side = try ServingSide(path, plan)
        var ours: [[(String, Double)]] = [], theirs: [[(String, Double)]] = []
        var fault: JSONValue?
        for round in 0..<rounds {
            ours.append(try side.round(round))
            let rival = try await Rival.llamaCpp.run(
                ["measure", path, "\(plan.threads)"], secondsMax: rivalSecondsMax)
            guard rival["error"] == nil, let members = rival.memberList else {
                fault = rival
                continue
            }
            theirs.append(
                members.compactMap { member in
                    guard member.key.hasSuffix("_per_second"), let value = member.value.double else { return nil }
                    return (member.key, value)
                })
        }
        let own = medians(ours), other = medians(theirs)
        var members = [
            JSONMember("model", .string((path as NSString).lastPathComponent)),
            JSONMember("precision", .string(side.model.precision.rawValue)),
            JSONMember("threads", .integer(plan.threads)), JSONMember("rounds", .integer(rounds)),
            JSONMember("adapters", .integer(plan.adapters.count)),
            JSONMember("instruction_set", .string(InstructionSet.best.name)),
            JSONMember("ours", .members(own.map { .figure($0.0, $0.1) })),
        ]
        if let fault { members.append(JSONMember("rival", fault)) }
        if !other.isEmpty {
            members.append(JSONMember("rival", .members(other.map { .figure($0.0, $0.1) })))
            let ratios = own.compactMap { figure in
                other.first { $0.0 == figure.0 }.map { JSONMember.figure(figure.0, figure.1 / $0.1, decimals: 2) }
            }
            members.append(JSONMember("ratios", .members(ratios)))
        }
        return members + (try side.limits(own))
    }

    /// By name, in the order of the first round.
    private static func medians(_ rounds: [[(String, Double)]]) -> [(String, Double)] {
        guard let first = rounds.first else { return [] }
        return first.map { name, _ in
            let values = rounds.compactMap { round in round.first { $0.0 == name }?.1 }.sorted()
            return (name, values[values.count / 2])
        }
    }
}

/// Our side: one engine, as the peer makes it.
final class ServingSide {
    private static let prefillTokens = 512
    private static let promptTokens = 64
    private static let decodeTokens = 32
    private static let steps = 16
    private static let sequences = 8

    let model: LoadedModel
    private let engine: Engine
    private let adapters: [String]
    private let threads: Int
    private let loadSeconds: Double

    init(_ path: String, _ plan: BenchmarkPlan) throws {
        let watch = Stopwatch()
        let folder = try MappedFolder(try FolderFiles.list(path, kind: .model))
        let precision = plan.precision.flatMap(Precision.init(rawValue:))
        model = try LoadedModel(
            folder: folder, precision: precision ?? (path.lowercased().contains("q4_0") ? .int4 : .int8))
        loadSeconds = watch.seconds
        threads = plan.threads
        var limits = EngineLimits()
        limits.speculatingSequencesMax = 0
        engine = Engine(
            model: model, limits: limits, pool: WorkerThreads(width: plan.threads, weightBytes: model.weightBytes))
        var names: [String] = []
        for (index, path) in plan.adapters.enumerated() {
            let folder = try MappedFolder(try FolderFiles.list(path, kind: .adapter))
            let adapter = try LoadedAdapter(
                folder: folder, config: model.config, precision: model.precision, memory: LargePages.adapters)
            try engine.register(adapter, as: "adapter-\(index)")
            names.append("adapter-\(index)")
        }
        adapters = names
    }

    /// - Parameter number: makes its prompts others than those of another round: no page of theirs is kept.
    func round(_ number: Int) throws -> [(String, Double)] {
        var figures: [(String, Double)] = []
        let (prefill, decode) = try single(adapter: nil, salt: number * 4)
        figures.append(("prefill_tokens_per_second", prefill))
        figures.append(("decode_tokens_per_second", decode))
        figures.append(("sequences_8_tokens_per_second", try together([], salt: number * 4 + 1)))
        if let first = adapters.first {
            figures.append(("decode_lora_tokens_per_second", try single(adapter: first, salt: number * 4 + 2).1))
            figures.append(("sequences_8_8_loras_tokens_per_second", try together(adapters, salt: number * 4 + 3)))
        }
        return figures
    }

    private func single(adapter: String?, salt: Int) throws -> (Double, Double) {
        _ = try engine.submit(request(Self.prefillTokens, 0, adapter, Self.decodeTokens + 1, salt))
        var watch = Stopwatch()
        var prefill = 0.0
        while prefill == 0, !engine.isIdle {
            for output in engine.step() where output.token != nil { prefill = watch.seconds }
        }
        watch = Stopwatch()
        while !engine.isIdle { _ = engine.step() }
        return (Double(Self.prefillTokens) / prefill, Double(Self.decodeTokens) / watch.seconds)
    }

    private func together(_ adapters: [String], salt: Int) throws -> Double {
        var begun: Set<SequenceID> = []
        for index in 0..<Self.sequences {
            let adapter = adapters.isEmpty ? nil : adapters[index % adapters.count]
            _ = try engine.submit(
                request(Self.promptTokens, index, adapter, Self.steps + Self.sequences + 8, salt))
        }
        while begun.count < Self.sequences, !engine.isIdle {
            for output in engine.step() where output.token != nil { begun.insert(output.id) }
        }
        let watch = Stopwatch()
        var tokens = 0
        for _ in 0..<Self.steps { tokens += engine.step().count { $0.token != nil } }
        let seconds = watch.seconds
        while !engine.isIdle { _ = engine.step() }
        return Double(tokens) / seconds
    }

    private func request(
        _ count: Int, _ sequence: Int, _ adapter: String?, _ tokensMax: Int, _ salt: Int
    ) -> GenerationRequest {
        let vocabulary = max(1, model.config.vocabulary)
        let prompt = (0..<count).map { Int32((300 + 37 * $0 + 101 * sequence + 1009 * salt) % vocabulary) }
        return GenerationRequest(prompt: prompt, adapter: adapter, tokensMax: tokensMax, ignoresEnd: true)
    }

    // MARK: Limits of the machine

    func limits(_ figures: [(String, Double)]) throws -> [JSONMember] {
        let bandwidth = MachineProbe.memoryBytesPerSecond(threads: threads)
        let products = MachineProbe.int8OperationsPerSecond(threads: threads)
        // Every weight is multiplied once a token, the embedding table is only read where its row is.
        let perToken = 2 * Double(model.multipliedWeights)
        func figure(_ name: String) -> Double { figures.first { $0.0 == name }?.1 ?? 0 }
        let decodeShare = figure("decode_tokens_per_second") * Double(model.multipliedBytes) / bandwidth
        var members = [
            JSONMember.figure("load_ms", loadSeconds * 1000),
            .figure("weights_mb", Double(model.multipliedBytes) / 1e6),
            .figure("memory_gb_per_second", bandwidth / 1e9), .figure("int8_gop_per_second", products / 1e9),
            .figure("decode_share_of_memory", decodeShare, decimals: 3),
        ]
        if model.precision.isQuantized {
            members.append(
                .figure(
                    "prefill_share_of_int8", figure("prefill_tokens_per_second") * perToken / products, decimals: 3))
        }
        if !adapters.isEmpty {
            // What eight different adapters add to a step, against reading them once.
            let plain = 8 / figure("sequences_8_tokens_per_second")
            let adapted = 8 / figure("sequences_8_8_loras_tokens_per_second")
            let reading = Double(engine.statistics.adapterBytes) / bandwidth
            members += [
                .figure("adapter_mb", Double(engine.statistics.adapterBytes) / 1e6),
                .figure("adapters_add_ms", (adapted - plain) * 1000, decimals: 2),
                .figure("adapters_add_over_reading", (adapted - plain) / reading, decimals: 2),
                .figure(
                    "one_adapter_costs",
                    1 - figure("decode_lora_tokens_per_second") / figure("decode_tokens_per_second"), decimals: 3),
            ]
        }
        return members
    }
}
