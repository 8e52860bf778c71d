// Perplexity of rows that a model did not learn, in each precision, through the engine that the peer serves with. Every token
// of a row but its first is scored.
//
//   f32, bf16, int8, int4   exp of the mean negative log-probability
//   int8_above_f32          by how much it is greater, as a share; int4_above_f32 and bf16_above_f32 likewise
//   rival                   llama.cpp on the same tokens, F32 and its own Q8_0 and Q4_0 of the same weights: where
//                           OPENLEDGER_LLAMACPP_PYTHON names its Python

import Arithmetic
import Foundation
import Inference
import Primitives

enum PerplexityBenchmark {
    private static let rowsMax = 20_000
    private static let atOnce = 64
    private static let rivalSecondsMax = 3600.0

    static func run(_ plan: BenchmarkPlan) async throws -> [JSONMember] {
        let path = try BenchModel.path(plan)
        let rows = Array(try (plan.rows.map(BenchModel.rows) ?? BenchModel.heldOut()).prefix(rowsMax))
        var members: [JSONMember] = [], tokens: [[Int32]] = []
        var plain = 0.0
        for precision in Precision.allCases {
            let model = try BenchModel.load(path, precision)
            if precision == .f32 {
                tokens = try rows.map { try BenchModel.tokens($0, model) }
                    .filter { (2...model.config.contextTokens).contains($0.count) }
            }
            let perplexity = try perplexity(of: tokens, model)
            members.append(.figure(precision.rawValue, perplexity, decimals: 5))
            if precision == .f32 { plain = perplexity }
            if precision != .f32 {
                members.append(.figure("\(precision.rawValue)_above_f32", perplexity / plain - 1, decimals: 6))
            }
        }
        members.append(JSONMember("rows", .integer(tokens.count)))
        members.append(JSONMember("tokens", .integer(tokens.reduce(0) { $0 + $1.count - 1 })))
        members.append(JSONMember("rival", try await rival(path, tokens)))
        return members
    }

    private static func perplexity(of rows: [[Int32]], _ model: LoadedModel) throws -> Double {
        var limits = EngineLimits()
        limits.keepsPages = false
        let engine = Engine(model: model, limits: limits)
        var sum = 0.0, count = 0
        for start in stride(from: 0, to: rows.count, by: atOnce) {
            for row in rows[start..<min(rows.count, start + atOnce)] {
                _ = try engine.submit(
                    GenerationRequest(prompt: row, tokensMax: 0, logProbabilities: 0, scoresPrompt: true))
            }
            while !engine.isIdle {
                for output in engine.step() {
                    for token in output.prompt.dropFirst() {
                        guard let score = token.logProbability, score.isFinite else {
                            throw BenchmarkFault.setUp("a row has a token of no probability; the weights are damaged")
                        }
                        sum -= Double(score)
                        count += 1
                    }
                }
            }
        }
        return exp(sum / Double(max(1, count)))
    }

    private static func rival(_ model: String, _ rows: [[Int32]]) async throws -> JSONValue {
        let folder = try BenchFolder.make()
        defer { BenchFolder.remove(folder) }
        let file = "\(folder)/rows.json"
        let json = JSONValue.object(["rows": .array(rows.map { .array($0.map { .integer(Int($0)) }) })])
        guard FileManager.default.createFile(atPath: file, contents: Data(json.serialized())) else {
            throw BenchmarkFault.setUp("\(file) cannot be written; TMPDIR names another folder")
        }
        return try await Rival.llamaCppPerplexity.run([model, file], secondsMax: rivalSecondsMax)
    }
}
