// Every family against transformers and PEFT. A few are committed; the rest are found through OPENLEDGER_SHARED, and other
// seeds and dimensions in the folders of models that OPENLEDGER_FAMILIES names, separated by colons.

import Foundation
import ModelFixtures
import Primitives
import Testing

@testable import Arithmetic
@testable import Inference
@testable import ModelFiles

/// Folders of models with references.
let familyFolders = modelFolders { _ in true }

extension URL {
    /// What a failing test shows.
    fileprivate var tag: String { pathComponents.suffix(3).joined(separator: "/") }
}

@Suite struct FamilyTests {
    @Test func thereAreFamilies() {
        let names = Set(familyFolders.map(\.lastPathComponent))
        #expect(names.isSuperset(of: ["llama2", "llama3", "gemma2", "gemma3", "glm", "deepseek_v3"]))
        if names.count < 14 { print("FamilyTests: OPENLEDGER_SHARED is not set; only \(names.sorted()) are tested") }
    }

    @Test(arguments: familyFolders) func logitsEqualTheReference(url: URL) throws {
        let family = try Family(at: url)
        for tag in [nil, "a", "b"] as [String?] {
            for (index, prompt) in family.prompts.enumerated() {
                let expected = try family.expected(tag ?? "base", index)
                let computed = logits(of: prompt, model: family.model, adapter: tag.flatMap { family.adapters[$0] })
                let rows = computed.suffix(expected.count)
                #expect(rows.count == expected.count)
                let worst = distance(Array(rows), expected)
                #expect(worst < 1e-4, "\(url.tag) \(tag ?? "base"), prompt \(index) differs by \(worst)")
                let probabilities = distance(rows.map(logSoftmax), expected.map(logSoftmax))
                #expect(probabilities < 2e-4, "\(url.tag) \(tag ?? "base"), prompt \(index): \(probabilities)")
            }
        }
    }

    @Test(arguments: familyFolders) func greedyTokensEqualTheReference(url: URL) throws {
        let family = try Family(at: url)
        let engine = Engine(model: family.model)
        for (tag, adapter) in family.adapters { try engine.register(adapter, as: tag) }
        var expected: [SequenceID: [Int32]] = [:]
        for tag in ["base", "a", "b"] {
            for (index, prompt) in family.prompts.enumerated() where family.marginIsSafe(tag, index) {
                let tokens = family.greedy(tag, index)
                let id = try engine.submit(
                    GenerationRequest(
                        prompt: prompt, adapter: tag == "base" ? nil : tag, tokensMax: tokens.count, ignoresEnd: true))
                expected[id] = tokens
            }
        }
        #expect(expected.count >= 4, "\(url.tag)")
        let answers = drain(engine)
        for (id, tokens) in expected {
            #expect(answers[id]?.tokens == tokens, "\(url.tag)")
            #expect(answers[id]?.finish == .length)
        }
        #expect(engine.cacheBytesInUse == 0)
    }

    @Test(arguments: familyFolders) func bothConfigStylesAreOne(url: URL) throws {
        var files = try files(of: url)
        let new = try ModelConfig(folder: MemoryFolder(files))
        files["config.json"] = files["config_v4.json"]
        #expect(try ModelConfig(folder: MemoryFolder(files)) == new, "\(url.tag)")
    }

    /// How the work is cut changes no bit: chunks of a prompt, slices of the machine, instruction sets.
    @Test(arguments: familyFolders, Precision.allCases) func bitsStay(url: URL, precision: Precision) throws {
        let family = try Family(at: url, precision: precision)
        guard let prompt = family.prompts.max(by: { $0.count < $1.count }) else { return }
        let adapter = family.adapters["a"]
        let whole = bits(logits(of: prompt, model: family.model, adapter: adapter))
        for (chunk, width) in [(1, 1), (7, 3), (16, 2)] {
            let other = logits(of: prompt, model: family.model, adapter: adapter, chunk: chunk, width: width)
            #expect(bits(other) == whole, "\(url.tag) in chunks of \(chunk)")
        }
        let scalar = logits(of: prompt, model: family.model, adapter: adapter, instructionSet: .scalar)
        #expect(bits(scalar) == whole, "\(url.tag)")
    }

    /// THUDM's own folder of the same weights as glm.
    @Test func chatGLMIsGLM() throws {
        for url in familyFolders where url.lastPathComponent == "glm" {
            let own = url.deletingLastPathComponent().appending(path: "chatglm")
            guard FileManager.default.fileExists(atPath: own.path) else { continue }
            let family = try Family(at: url)
            let model = try LoadedModel(folder: try folder(own), precision: .f32)
            for prompt in family.prompts {
                #expect(bits(logits(of: prompt, model: model)) == bits(logits(of: prompt, model: family.model)))
            }
        }
    }

    /// A sliding window and a long context: positions far beyond the fixtures', against the same tokens in one chunk.
    @Test func longPromptsStay() throws {
        var files = try files(of: fixtures.appending(path: "gemma3"))
        let json = try JSONValue.parse(files["config.json"] ?? [])
        let members = (json.memberList ?? []).filter { $0.key != "max_position_embeddings" }
        files["config.json"] =
            JSONValue.members(members + [JSONMember("max_position_embeddings", .integer(4096))]).serialized()
        let model = try LoadedModel(folder: MemoryFolder(files), precision: .f32)
        var noise = Noise(4)
        let prompt = (0..<2100).map { _ in Int32((noise.next() + 1) * 255) }
        let a = logits(of: prompt, model: model, chunk: 256),
            b = logits(of: prompt, model: model, chunk: 1000, width: 3)
        #expect(bits(a) == bits(b) && a.allSatisfy { $0.allSatisfy(\.isFinite) })
    }
}

func distance(_ a: [[Float]], _ b: [[Float]]) -> Float {
    zip(a, b).flatMap { zip($0, $1).map { abs($0 - $1) } }.max() ?? .infinity
}

func logSoftmax(_ row: [Float]) -> [Float] {
    let peak = Double(row.max() ?? 0)
    let sum = log(row.reduce(0.0) { $0 + exp(Double($1) - peak) })
    return row.map { Float(Double($0) - peak - sum) }
}
