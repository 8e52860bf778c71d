// The starter model as one GGUF file with its own vocabulary and chat template: it answers as the folder does, bit for bit.

import Foundation
import ModelFixtures
import Primitives
import Testing

@testable import Arithmetic
@testable import Inference
@testable import ModelFiles
@testable import Tokenizers

/// Writes GGUF version 3; what is written is checked against foreign files elsewhere (VocabularyTests, GGUFTests).
private struct GGUFWriter {
    private var entries: [[UInt8]] = []
    private var infos: [[UInt8]] = []
    private var data: [UInt8] = []

    static func little(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian, Array.init)
    }
    static func string(_ text: String) -> [UInt8] { little(UInt64(text.utf8.count)) + Array(text.utf8) }

    mutating func add(_ key: String, _ value: Int) {
        entries.append(Self.string(key) + Self.little(UInt32(4)) + Self.little(UInt32(value)))
    }
    mutating func add(_ key: String, _ value: Float) {
        entries.append(Self.string(key) + Self.little(UInt32(6)) + Self.little(value.bitPattern))
    }
    mutating func add(_ key: String, _ value: String) {
        entries.append(Self.string(key) + Self.little(UInt32(8)) + Self.string(value))
    }
    mutating func add(_ key: String, _ values: [String]) {
        entries.append(
            Self.string(key) + Self.little(UInt32(9)) + Self.little(UInt32(8)) + Self.little(UInt64(values.count))
                + values.flatMap(Self.string))
    }
    mutating func add(_ key: String, kinds: [Int32]) {
        entries.append(
            Self.string(key) + Self.little(UInt32(9)) + Self.little(UInt32(5)) + Self.little(UInt64(kinds.count))
                + kinds.flatMap { Self.little($0) })
    }

    mutating func add(tensor name: String, shape: [Int], type: UInt32, _ bytes: [UInt8]) {
        data += [UInt8](repeating: 0, count: (32 - data.count % 32) % 32)
        infos.append(
            Self.string(name) + Self.little(UInt32(shape.count))
                + shape.reversed().flatMap { Self.little(UInt64($0)) } + Self.little(type)
                + Self.little(UInt64(data.count)))
        data += bytes
    }

    var bytes: [UInt8] {
        var out = Array("GGUF".utf8) + Self.little(UInt32(3)) + Self.little(UInt64(infos.count))
        out += Self.little(UInt64(entries.count))
        out += entries.flatMap { $0 } + infos.flatMap { $0 }
        return out + [UInt8](repeating: 0, count: (32 - out.count % 32) % 32) + data
    }
}

@Suite struct GGUFStarterTests {
    /// llama.cpp's order of query and key rows: the two halves of a head alternate.
    private static func paired(_ bytes: [UInt8], heads: Int, rows: Int) -> [UInt8] {
        let rowBytes = bytes.count / rows, half = rows / heads / 2
        var out: [UInt8] = []
        for head in 0..<heads {
            for pair in 0..<half {
                for side in 0..<2 {
                    let row = (head * 2 + side) * half + pair
                    out += bytes[row * rowBytes..<(row + 1) * rowBytes]
                }
            }
        }
        return out
    }

    private static func packed(_ source: MemoryFolder) throws -> [UInt8] {
        let config = try ModelConfig(folder: source)
        var writer = GGUFWriter()
        writer.add("general.architecture", "llama")
        for (key, value) in [
            ("context_length", config.contextTokens), ("embedding_length", config.hidden),
            ("block_count", config.layers), ("feed_forward_length", 704), ("attention.head_count", config.heads),
            ("attention.head_count_kv", config.keyValueHeads), ("vocab_size", config.vocabulary),
        ] { writer.add("llama.\(key)", value) }
        writer.add("llama.attention.layer_norm_rms_epsilon", Float(1e-5))
        writer.add("llama.rope.freq_base", Float(10000))
        let json = try JSONValue.parse(Array(try #require(source.bytes(of: Tokenizer.file))), limits: .tokenizer)
        var texts = [String](repeating: "", count: config.vocabulary)
        var kinds = [Int32](repeating: 1, count: config.vocabulary)
        for member in json["model"]?["vocab"]?.memberList ?? [] { texts[member.value.count ?? 0] = member.key }
        for item in json["added_tokens"]?.items ?? [] {
            texts[item["id"]?.count ?? 0] = item["content"]?.text ?? ""
            kinds[item["id"]?.count ?? 0] = 3
        }
        let merges = (json["model"]?["merges"]?.items ?? []).map { merge in
            merge.text ?? (merge.items ?? []).compactMap(\.text).joined(separator: " ")
        }
        writer.add("tokenizer.ggml.model", "gpt2")
        writer.add("tokenizer.ggml.pre", "gpt-2")
        writer.add("tokenizer.ggml.tokens", texts)
        writer.add("tokenizer.ggml.token_type", kinds: kinds)
        writer.add("tokenizer.ggml.merges", merges)
        writer.add("tokenizer.ggml.bos_token_id", 0)
        writer.add("tokenizer.ggml.eos_token_id", 3)
        let template = try #require(source.bytes(of: "chat_template.jinja"))
        writer.add("tokenizer.chat_template", String(decoding: template, as: UTF8.self))
        let names = [
            "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
            "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        ]
        let tensors = try Safetensors(folder: source, stem: "model").tensors
        for (name, view) in tensors.sorted(by: { $0.key < $1.key }) {
            var bytes = Array(view.bytes), type: UInt32 = 30
            var theirs = ["model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"]
            for layer in 0..<config.layers {
                for (ours, gguf) in names {
                    theirs["model.layers.\(layer).\(ours).weight"] = "blk.\(layer).\(gguf).weight"
                }
            }
            if name.contains("q_proj") { bytes = paired(bytes, heads: config.heads, rows: view.shape[0]) }
            if name.contains("k_proj") { bytes = paired(bytes, heads: config.keyValueHeads, rows: view.shape[0]) }
            // Vectors are floats of 32 bits in every GGUF: a bf16's bits above zeros.
            if view.shape.count == 1 {
                type = 0
                bytes = stride(from: 0, to: bytes.count, by: 2).flatMap { [0, 0, bytes[$0], bytes[$0 + 1]] }
            }
            writer.add(tensor: try #require(theirs[name]), shape: view.shape, type: type, bytes)
        }
        return writer.bytes
    }

    @Test func answersAsTheFolder() throws {
        let source = try folder(starter.appending(path: "model"))
        let plain = try LoadedModel(folder: source, precision: .f32)
        let packed = try LoadedModel(
            folder: MemoryFolder([GGUFFile.name: try Self.packed(source)]), precision: .f32)
        let messages = [ChatMessage(role: "user", content: "Define brisket \u{e9}\u{4e2d} 12.")]
        let text = try #require(try packed.template?.render(messages))
        #expect(text == (try plain.template?.render(messages)))
        let ids = try #require(packed.tokenizer?.encode(text, addSpecial: false))
        #expect(ids == plain.tokenizer?.encode(text, addSpecial: false))
        #expect(packed.endTokens == plain.endTokens && packed.endTokens.contains(3))
        #expect(bits(logits(of: ids, model: packed)) == bits(logits(of: ids, model: plain)))
        let answers = try [plain, packed].map { model in
            let engine = Engine(model: model)
            let id = try engine.submit(GenerationRequest(prompt: ids, tokensMax: 48))
            return drain(engine)[id]
        }
        #expect(answers[0] == answers[1] && answers[0]?.tokens.isEmpty == false)
    }
}
