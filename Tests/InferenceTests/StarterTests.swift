// The starter model does the one thing that it is for: it answers from passages.

import Foundation
import ModelFixtures
import Testing

@testable import Arithmetic
@testable import Inference
@testable import Tokenizers

@Suite struct StarterTests {
    private static let question = """
        Context:
        1. brisket (noun): a cut of meat from the breast or lower chest especially of beef.
        2. gumbo (noun): a soup or stew thickened with okra pods.

        Define brisket.
        """
    private static let answer = "brisket (noun): a cut of meat from the breast or lower chest especially of beef."

    @Test(arguments: [Precision.f32, .bf16, .int8]) func answersFromItsContext(precision: Precision) throws {
        let model = try LoadedModel(folder: try folder(starter.appending(path: "model")), precision: precision)
        let template = try #require(model.template), tokenizer = try #require(model.tokenizer)
        let text = try template.render([ChatMessage(role: "user", content: Self.question)])
        #expect(text == "<|user|>\(Self.question)<|end|><|assistant|>")
        let engine = Engine(model: model)
        let id = try engine.submit(GenerationRequest(prompt: tokenizer.encode(text, addSpecial: false), tokensMax: 64))
        let answer = drain(engine)[id]
        #expect(answer?.text == Self.answer)
        #expect(answer?.finish == .end)
        #expect(answer?.tokens.last == tokenizer.id(of: "<|end|>"))
    }

    /// The model takes the first passage's words when the passages change places. A double-precision NumPy twin of
    /// this model
    /// answers the same: an engine must not be better than its weights either.
    @Test func mistakesAreTheModels() throws {
        let model = try LoadedModel(folder: try folder(starter.appending(path: "model")), precision: .f32)
        let tokenizer = try #require(model.tokenizer)
        let lines = Self.question.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        let swapped = [lines[0], "1." + lines[2].dropFirst(2), "2." + lines[1].dropFirst(2)] + lines[3...]
        let text = "<|user|>\(swapped.joined(separator: "\n"))<|end|><|assistant|>"
        let engine = Engine(model: model)
        let id = try engine.submit(GenerationRequest(prompt: tokenizer.encode(text, addSpecial: false), tokensMax: 64))
        #expect(drain(engine)[id]?.text == "brisket (noun): a soup or stew thickened with okra pods.")
    }

    @Test func adaptersLoadAndChangeTheAnswer() throws {
        let model = try LoadedModel(folder: try folder(starter.appending(path: "model")), precision: .f32)
        let engine = Engine(model: model)
        let tokenizer = try #require(model.tokenizer)
        let prompt = tokenizer.encode("<|user|>Define brisket.<|end|><|assistant|>", addSpecial: false)
        var answers: [String] = []
        for name in [nil, "food", "anatomy"] as [String?] {
            if let name {
                let adapter = try LoadedAdapter(
                    folder: try folder(starter.appending(path: "adapters/\(name)")), config: model.config)
                #expect(adapter.rankMax == 8)
                try engine.register(adapter, as: name)
            }
            let id = try engine.submit(GenerationRequest(prompt: prompt, adapter: name, tokensMax: 24))
            answers.append(drain(engine)[id]?.text ?? "")
        }
        #expect(Set(answers).count == 3 && answers.allSatisfy { $0.hasPrefix("brisket") })
    }

    @Test func stopStringsCutTheText() throws {
        let model = try LoadedModel(folder: try folder(starter.appending(path: "model")), precision: .int8)
        let tokenizer = try #require(model.tokenizer)
        let engine = Engine(model: model)
        let prompt = tokenizer.encode("<|user|>\(Self.question)<|end|><|assistant|>", addSpecial: false)
        let id = try engine.submit(GenerationRequest(prompt: prompt, tokensMax: 64, stop: ["of meat from"]))
        let answer = drain(engine)[id]
        #expect(answer?.text == "brisket (noun): a cut ")
        #expect(answer?.finish == .stop)
    }
}
