// Tokens per CPU-second of a large model, for comparison with another engine in the same hour: wall time is worth
// nothing on a machine that builds something else meanwhile. Runs where OPENLEDGER_BENCH_MODEL names a model folder,
// with OPENLEDGER_BENCH_PRECISION (int8) and OPENLEDGER_BENCH_ADAPTERS (PEFT folders, separated by commas); prints one
// JSON object.

import Arithmetic
import Foundation
import Inference
import ModelFixtures
import Testing

private let environment = ProcessInfo.processInfo.environment

@Suite(.serialized, .enabled(if: environment["OPENLEDGER_BENCH_MODEL"] != nil)) struct SpeedTests {
    private static let rounds = 3
    private static let prefillTokens = 512
    private static let promptTokens = 64
    private static let sequences = 8

    private func cpuSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    private func prompt(_ count: Int, _ index: Int) -> [Int32] {
        (0..<count).map { Int32(300 + (37 * $0 + 101 * index) % 30000) }
    }

    @Test func tokensPerCPUSecond() throws {
        let model = try LoadedModel(
            folder: try folder(URL(filePath: environment["OPENLEDGER_BENCH_MODEL"] ?? "")),
            precision: Precision(rawValue: environment["OPENLEDGER_BENCH_PRECISION"] ?? "int8") ?? .int8)
        var limits = EngineLimits()
        limits.keepsPages = false
        limits.cacheBytesMax = 1 << 30
        limits.stepTokensMax = 512
        let engine = Engine(model: model, limits: limits)
        var names: [String?] = []
        for path in (environment["OPENLEDGER_BENCH_ADAPTERS"] ?? "").split(separator: ",") {
            let adapter = try LoadedAdapter(
                folder: try folder(URL(filePath: String(path))), config: model.config, precision: model.precision)
            try engine.register(adapter, as: String(path))
            names.append(String(path))
        }
        var figures = ["prefill_512": 0.0]
        for round in 0..<Self.rounds {
            figures["prefill_512"] = max(figures["prefill_512"] ?? 0, try prefill(engine, round))
            var cases: [(String, [String?])] = [
                ("decode", [nil]), ("decode_8", Array(repeating: nil, count: Self.sequences)),
            ]
            if let first = names.first { cases.append(("decode_lora", [first])) }
            if names.count >= Self.sequences { cases.append(("decode_8_loras", Array(names.prefix(Self.sequences)))) }
            for (name, adapters) in cases {
                let prompt = adapters.count == 1 ? Self.prefillTokens : Self.promptTokens
                figures[name] = max(figures[name] ?? 0, try decode(engine, adapters, prompt: prompt))
            }
        }
        let text = figures.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \(($0.value * 10).rounded() / 10)" }
        print("{\(text.joined(separator: ", "))}")
    }

    private func prefill(_ engine: Engine, _ index: Int) throws -> Double {
        _ = try engine.submit(
            GenerationRequest(prompt: prompt(Self.prefillTokens, index), tokensMax: 1, ignoresEnd: true))
        let began = cpuSeconds()
        while !engine.isIdle { _ = engine.step() }
        return Double(Self.prefillTokens) / (cpuSeconds() - began)
    }

    private func decode(_ engine: Engine, _ adapters: [String?], prompt count: Int) throws -> Double {
        for (index, adapter) in adapters.enumerated() {
            _ = try engine.submit(
                GenerationRequest(
                    prompt: prompt(count, index), adapter: adapter, tokensMax: 12, ignoresEnd: true))
        }
        var begun: Set<SequenceID> = []
        while begun.count < adapters.count, !engine.isIdle {
            for output in engine.step() where output.token != nil { begun.insert(output.id) }
        }
        var best = 0.0
        while !engine.isIdle {
            let began = cpuSeconds()
            let tokens = engine.step().filter { $0.token != nil }.count
            if tokens == adapters.count { best = max(best, Double(tokens) / (cpuSeconds() - began)) }
        }
        return best
    }
}
