// Vocabularies of GGUF files against llama.cpp, and against the tokenizer.json that each was made of
// (Tests/Fixtures/vocabularies/make.py). llama.cpp's own vocabularies are tried where $OPENLEDGER_LLAMA_VOCABULARIES names the
// "models" folder of its sources, which holds texts and ids for each.

import Foundation
import Primitives
import Testing

@testable import ModelFiles
@testable import Tokenizers

private let folder = repository.appending(path: "Tests/Fixtures/vocabularies")

/// A header with some of its values replaced.
private struct Changed: VocabularyMetadata {
    var base: GGUFFile
    var changes: [String: GGUFValue?] = [:]

    private func value(_ key: String) -> GGUFFile {
        guard let change = changes[key] else { return base }
        var metadata = base.metadata
        metadata[key] = change
        return GGUFFile(metadata: metadata)
    }

    func string(_ key: String) -> String? { value(key).string(key) }
    func flag(_ key: String) -> Bool? { value(key).flag(key) }
    func integer(_ key: String) -> Int? { value(key).integer(key) }
    func strings(_ key: String) -> [[UInt8]]? { value(key).strings(key) }
    func floats(_ key: String) -> [Float]? { value(key).floats(key) }
    func integers(_ key: String) -> [Int32]? { value(key).integers(key) }
}

private struct Vocabulary: CustomTestStringConvertible, Sendable {
    let name: String
    var testDescription: String { name }

    static let all = ["deepseek", "gemma", "glm4", "llama2", "llama3", "mistral", "qwen2"].map(Self.init)

    func bytes() throws -> [UInt8] { [UInt8](try Data(contentsOf: folder.appending(path: "\(name).gguf"))) }

    func header() throws -> GGUFFile { try bytes().withUnsafeBytes { try GGUFFile($0, file: "\(name).gguf") } }

    /// Ids of the tokenizer's test strings by the name of the rule that split them.
    func expected() throws -> [(rule: String, ids: [[Int32]])] {
        let json = try JSONValue.parse([UInt8](try Data(contentsOf: folder.appending(path: "\(name).json"))))
        return (json.memberList ?? []).map { ($0.key, ($0.value.items ?? []).map { int32s($0) }) }
    }

    /// The tokenizer that it was made of.
    var fixture: TokenizerFixture { .named(name) }
}

@Suite struct VocabularyTests {
    @Test(arguments: Vocabulary.all) fileprivate func encodesAsLlamaCpp(vocabulary: Vocabulary) throws {
        let header = try vocabulary.header()
        let cases = try vocabulary.fixture.expected()["cases"]?.items ?? []
        for (rule, expected) in try vocabulary.expected() {
            try #require(cases.count == expected.count)
            var changed = Changed(base: header)
            if rule != "llama" { changed.changes["tokenizer.ggml.pre"] = .string(Array(rule.utf8)) }
            let tokenizer = try Tokenizer(metadata: changed, file: vocabulary.name)
            // The models behind these names compose characters first, which llama.cpp leaves out.
            let composes = ["qwen2", "deepseek-r1-qwen", "qwen35"].contains(rule)
            for (item, ids) in zip(cases, expected) {
                let text = item["text"]?.text ?? ""
                if composes, !same(text, text.precomposedStringWithCanonicalMapping) { continue }
                #expect(tokenizer.encode(text, addSpecial: false) == ids, "\(rule): \(text.debugDescription)")
            }
        }
    }

    /// The same ids as the tokenizer.json's, where llama.cpp agrees with it or is known not to (see above).
    @Test(arguments: ["deepseek", "glm4", "llama2", "llama3", "qwen2"]) func encodesAsTheFolder(name: String) throws {
        let vocabulary = Vocabulary(name: name)
        let tokenizer = try Tokenizer(metadata: try vocabulary.header(), file: name)
        for item in try vocabulary.fixture.expected()["cases"]?.items ?? [] {
            let text = item["text"]?.text ?? ""
            #expect(tokenizer.encode(text, addSpecial: false) == int32s(item["ids_nospecial"]))
            // GLM's two tokens in front are written by its chat template; a GGUF has no place for them.
            if name != "glm4" { #expect(tokenizer.encode(text, addSpecial: true) == int32s(item["ids"])) }
        }
    }

    @Test(arguments: Vocabulary.all) fileprivate func decodesAsTheFolder(vocabulary: Vocabulary) throws {
        let tokenizer = try Tokenizer(metadata: try vocabulary.header(), file: vocabulary.name)
        let expected = try vocabulary.fixture.expected()
        for item in expected["cases"]?.items ?? [] {
            let ids = int32s(item["ids_nospecial"])
            #expect(same(tokenizer.decode(ids, skipSpecial: false), item["decoded"]?.text), "\(ids)")
            let skipped = tokenizer.decode(int32s(item["ids"]), skipSpecial: true)
            #expect(same(skipped, item["decoded_skip"]?.text), "\(ids)")
        }
        for item in expected["random_ids"]?.items ?? [] {
            let ids = int32s(item["ids"])
            #expect(same(tokenizer.decode(ids, skipSpecial: false), item["decoded"]?.text), "\(ids)")
        }
    }

    @Test(arguments: Vocabulary.all) fileprivate func rendersAsTheFolder(vocabulary: Vocabulary) throws {
        let header = try vocabulary.header()
        let texts = try ModelTexts(header)
        let tokenizer = try #require(texts.tokenizer), template = try #require(texts.template)
        let original = try vocabulary.fixture.tokenizer()
        #expect(tokenizer.beginText == original.beginText && tokenizer.endText == original.endText)
        #expect(tokenizer.endToken == original.endToken && tokenizer.vocabularyCount == original.vocabularyCount)
        var renders = 0
        for item in try vocabulary.fixture.expected()["chat"]?.items ?? [] where item["error"] == nil {
            var extra = item["kwargs"]?.memberList ?? []
            extra.removeAll { $0.key == "add_generation_prompt" }
            let text = try template.render(
                messages: item["messages"]?.items ?? [],
                addGenerationPrompt: item["kwargs"]?["add_generation_prompt"]?.flag ?? false, extra: extra)
            #expect(same(text, item["text"]?.text))
            renders += 1
        }
        #expect(renders > 0)
    }

    @Test func whatIsNotUnderstoodIsNamed() throws {
        let pairs = try Vocabulary(name: "llama3").header(), scored = try Vocabulary(name: "gemma").header()
        func fault(_ base: GGUFFile, _ key: String, _ value: GGUFValue?) -> ModelFault? {
            do {
                _ = try Tokenizer(metadata: Changed(base: base, changes: ["tokenizer.ggml.\(key)": value]), file: "f")
                return nil
            } catch {
                return error
            }
        }
        #expect(fault(pairs, "model", .string(Array("gpt2".utf8))) == nil)
        for rule in ["default", "bloom", ""] {
            #expect(
                fault(pairs, "pre", .string(Array(rule.utf8)))
                    == .unsupported(file: "f", feature: "tokenizer.ggml.pre \(rule)"))
        }
        #expect(
            fault(pairs, "model", .string(Array("rwkv".utf8)))
                == .unsupported(file: "f", feature: "tokenizer.ggml.model rwkv"))
        for (key, value) in [
            ("tokens", nil), ("tokens", .strings([])), ("tokens", .integers([1])), ("token_type", .integers([1])),
            ("bos_token_id", .integer(1 << 20)), ("eos_token_id", .integer(-1)),
            ("merges", .strings([Array("nothing".utf8)])), ("merges", .strings([[]])),
            ("merges", .strings([Array("h\u{141}\u{142} e".utf8)])),
        ] as [(String, GGUFValue?)] {
            #expect(fault(pairs, key, value) != nil, "\(key) \(String(describing: value))")
        }
        let count = scored.strings("tokenizer.ggml.tokens")?.count ?? 0
        for value in [nil, .floats([0]), .floats([Double](repeating: .nan, count: count))] as [GGUFValue?] {
            #expect(fault(scored, "scores", value) != nil)
        }
    }

    /// Weights alone are no fault.
    @Test func aFileWithoutAVocabularyTakesIdsOnly() throws {
        let header = try Vocabulary(name: "llama3").header()
        for kind in ["none", "no_vocab", nil] {
            var metadata = header.metadata
            metadata["tokenizer.ggml.model"] = kind.map { .string(Array($0.utf8)) }
            let texts = try ModelTexts(GGUFFile(metadata: metadata))
            #expect(texts.tokenizer == nil && texts.template == nil)
        }
    }

    /// Changed bytes are read or refused; whatever is read works on a text.
    @Test(arguments: Vocabulary.all) fileprivate func changedFilesNeverTrap(vocabulary: Vocabulary) throws {
        let good = try vocabulary.bytes()
        var random = SeededRandom(seed: 17)
        var refused = 0
        for round in 0..<80 {
            var bytes = good
            for _ in 0...Int(random.below(3)) {
                let at = Int(random.below(UInt64(bytes.count)))
                switch random.below(3) {
                case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes.removeSubrange(at..<min(at + 1 + Int(random.below(9)), bytes.count))
                default: bytes.insert(contentsOf: bytes[at..<min(at + 9, bytes.count)], at: at)
                }
            }
            if round == 0 { bytes.removeLast(bytes.count / 2) }
            guard let texts = try? ModelTexts(folder: MemoryFolder([GGUFFile.name: bytes])) else {
                refused += 1
                continue
            }
            let ids = texts.tokenizer?.encode("A b\u{301}c 123 \u{4e2d}\u{1f44d} <s>\n\n  x", addSpecial: true) ?? []
            _ = texts.tokenizer?.decode(ids.map { $0 &* 7 &- 3 }, skipSpecial: false)
            _ = try? texts.template?.render([ChatMessage(role: "user", content: "hi")])
        }
        #expect(refused > 0)
    }

    @Test func llamaCppsOwnVocabularies() throws {
        guard let path = ProcessInfo.processInfo.environment["OPENLEDGER_LLAMA_VOCABULARIES"] else {
            return print("VocabularyTests: OPENLEDGER_LLAMA_VOCABULARIES is not set; whole vocabularies are not tested")
        }
        for name in [
            "command-r", "deepseek-coder", "deepseek-llm", "gpt-2", "llama-bpe", "llama-spm", "mpt", "phi-3", "qwen2",
            "qwen35", "refact", "starcoder",
        ] {
            let url = URL(filePath: path).appending(path: "ggml-vocab-\(name).gguf")
            let data = [UInt8](try Data(contentsOf: url))
            let texts = String(decoding: try Data(contentsOf: url.appendingPathExtension("inp")), as: UTF8.self)
                .components(separatedBy: "\n__ggml_vocab_test__\n")
            let ids = String(decoding: try Data(contentsOf: url.appendingPathExtension("out")), as: UTF8.self)
                .split(separator: "\n", omittingEmptySubsequences: false)
                .map { $0.split(separator: " ").compactMap { Int32($0) } }
            let tokenizer = try #require(
                try ModelTexts(folder: MemoryFolder([GGUFFile.name: data])).tokenizer)
            for (text, expected) in zip(texts, ids) {
                // As above.
                if name.hasPrefix("qwen"), !same(text, text.precomposedStringWithCanonicalMapping) { continue }
                let found = tokenizer.encode(text, addSpecial: false)
                #expect(found == expected, "\(name): \(text.debugDescription)")
            }
        }
    }
}
