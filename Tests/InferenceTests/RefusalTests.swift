// Files that lie, are cut short or are of another kind: refused with what is wrong, never a trap.

import Arithmetic
import Foundation
import ModelFixtures
import Primitives
import Testing

@testable import Inference
@testable import ModelFiles

@Suite struct RefusalTests {
    private static let good = try? files(of: fixtures.appending(path: "llama3"))

    private func fault(_ change: (inout [String: [UInt8]]) -> Void) throws -> ModelFault? {
        var files = try #require(Self.good)
        change(&files)
        do {
            _ = try LoadedModel(folder: MemoryFolder(files), precision: .f32)
            return nil
        } catch {
            return error
        }
    }

    private func config(_ key: String, _ value: JSONValue) throws -> ModelFault? {
        try fault { files in
            guard let json = try? JSONValue.parse(files["config.json"] ?? []) else { return }
            let members = (json.memberList ?? []).filter { $0.key != key } + [JSONMember(key, value)]
            files["config.json"] = JSONValue.members(members).serialized()
        }
    }

    private static let weights = "model.safetensors"

    private func header(_ text: String, data: Int = 16) throws -> ModelFault? {
        try fault { files in
            let bytes = Array(text.utf8)
            files[Self.weights] =
                withUnsafeBytes(of: UInt64(bytes.count).littleEndian, Array.init) + bytes
                + Array(repeating: 0, count: data)
        }
    }

    @Test func theGoodOneIsAccepted() throws { #expect(try fault { _ in } == nil) }

    @Test func truncationAnywhereIsRefused() throws {
        let count = try #require(Self.good?[Self.weights]).count
        for length in [0, 1, 7, 8, 9, 100, 3000, count / 2, count - 1] {
            let found = try fault { $0[Self.weights] = Array(($0[Self.weights] ?? []).prefix(length)) }
            guard case .malformed? = found else {
                Issue.record("cut to \(length): \(String(describing: found))")
                continue
            }
        }
        #expect(try fault { $0[Self.weights]?.append(0) } != nil)
        #expect(try fault { $0[Self.weights] = nil } == .missing(file: Self.weights))
        #expect(try fault { $0["config.json"] = nil } == .missing(file: "config.json"))
    }

    @Test func lyingHeadersAreRefused() throws {
        for text in [
            "", "[]", "{", "nonsense", "{\"a\":1}", "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,12]}}",
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}}",
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,1600]}}",
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[-16,0]}}",
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[4.5],\"data_offsets\":[0,16]}}",
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[-4],\"data_offsets\":[0,16]}}",
            "{\"a\":{\"dtype\":\"Q9\",\"shape\":[4],\"data_offsets\":[0,16]}}",
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,9223372036854775807],\"data_offsets\":[0,16]}}",
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[4,16]}}",
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}",
        ] {
            guard case .malformed? = try header(text) else {
                Issue.record("accepted: \(text)")
                continue
            }
        }
        let long = try fault { $0[Self.weights] = Array(repeating: 0xff, count: 64) }
        #expect(long?.description.contains("does not fit") == true)
    }

    @Test func absurdConfigurationsAreRefused() throws {
        for (key, value) in [
            ("hidden_size", .integer(1 << 40)), ("hidden_size", .integer(0)), ("hidden_size", .integer(-64)),
            ("hidden_size", .integer(128)), ("num_hidden_layers", .integer(513)), ("num_hidden_layers", .integer(3)),
            ("num_attention_heads", .integer(0)), ("num_key_value_heads", .integer(3)), ("head_dim", .integer(15)),
            ("vocab_size", .integer(513)), ("vocab_size", .string("512")), ("max_position_embeddings", .null),
            ("rms_norm_eps", .integer(0)), ("intermediate_size", .double(1.5)), ("attention_bias", .bool(true)),
        ] as [(String, JSONValue)] {
            guard case .malformed? = try config(key, value) else {
                Issue.record("accepted \(key) \(value)")
                continue
            }
        }
        #expect(
            try config("model_type", .string("rwkv"))
                == .unsupported(file: "config.json", feature: "model_type \"rwkv\""))
        #expect(try config("hidden_act", .string("relu")) != nil)
        #expect(try config("quantization_config", .object(["bits": .integer(4)])) != nil)
        #expect(
            try config("rope_parameters", .object(["rope_type": .string("dynamic"), "rope_theta": .integer(10000)]))
                == .unsupported(file: "config.json", feature: "rope_type \"dynamic\""))
    }

    @Test func nonFiniteWeightsAreRefused() throws {
        let found = try fault { files in
            // The last tensor's last value.
            let count = files[Self.weights]?.count ?? 4
            files[Self.weights]?.replaceSubrange(count - 4..<count, with: [0, 0, 0xc0, 0x7f])
        }
        guard case .notFinite? = found else {
            Issue.record("\(String(describing: found))")
            return
        }
    }

    @Test func shardNamesStayInTheFolder() throws {
        for name in ["../x.safetensors", "/etc/passwd", "", "a\\b"] {
            let found = try fault { files in
                files[Self.weights] = nil
                files["model.safetensors.index.json"] =
                    JSONValue.object(["weight_map": .object(["t": .string(name)])]).serialized()
            }
            guard case .malformed? = found else {
                Issue.record("accepted \(name)")
                continue
            }
        }
        let absent = try fault { files in
            files[Self.weights] = nil
            files["model.safetensors.index.json"] =
                JSONValue.object(["weight_map": .object(["t": .string("m.safetensors")])]).serialized()
        }
        #expect(absent == .missing(file: "m.safetensors"))
    }

    @Test func adaptersThatWouldComputeSomethingElseAreRefused() throws {
        let model = try LoadedModel(folder: MemoryFolder(try #require(Self.good)), precision: .f32)
        let good = try files(of: fixtures.appending(path: "llama3/adapter_a"))
        func fault(_ key: String, _ value: JSONValue) throws -> ModelFault? {
            var files = good
            let json = try JSONValue.parse(files["adapter_config.json"] ?? [])
            let members = (json.memberList ?? []).filter { $0.key != key } + [JSONMember(key, value)]
            files["adapter_config.json"] = JSONValue.members(members).serialized()
            do {
                _ = try LoadedAdapter(folder: MemoryFolder(files), config: model.config)
                return nil
            } catch {
                return error
            }
        }
        #expect(try fault("r", .integer(4)) == nil)
        for (key, value) in [
            ("use_dora", .bool(true)), ("lora_bias", .bool(true)), ("modules_to_save", .strings(["lm_head"])),
            ("bias", .string("all")), ("peft_type", .string("IA3")), ("rank_pattern", .object(["q.*": .integer(2)])),
        ] as [(String, JSONValue)] {
            guard case .unsupported(_, let feature)? = try fault(key, value) else {
                Issue.record("accepted \(key)")
                continue
            }
            #expect(!feature.isEmpty)
        }
        for (key, value) in [
            ("r", .integer(5)), ("r", .integer(0)), ("r", .integer(257)),
            ("rank_pattern", .object(["q_proj": .integer(2)])),
        ] as [(String, JSONValue)] {
            guard case .malformed? = try fault(key, value) else {
                Issue.record("accepted \(key) \(value)")
                continue
            }
        }
        #expect(try fault("alpha_pattern", .object(["layers.0.self_attn.q_proj": .integer(2)])) == nil)
        // The adapter of a model with other dimensions.
        let other = try LoadedModel(folder: try folder(starter.appending(path: "model")), precision: .int8)
        #expect(throws: ModelFault.self) { try LoadedAdapter(folder: MemoryFolder(good), config: other.config) }
    }

    /// Bytes changed anywhere in the small files: some answer, never a trap, and whatever loads has the shapes that its
    /// description says. The canary believes any description: the same check must catch it.
    @Test(arguments: ["llama3", "gemma3", "deepseek_v3"]) func changedBytesNeverTrap(name: String) throws {
        let files = try files(of: fixtures.appending(path: name))
        var noise = Noise(9), loaded = 0, believed = 0
        let rounds = 120
        func below(_ bound: Int) -> Int { Int((noise.next() + 1) / 2 * Float(bound - 1)) }
        for _ in 0..<rounds {
            var broken = files
            let file = below(3) > 0 ? "config.json" : Self.weights
            for _ in 0...below(3) {
                let count = min(broken[file]?.count ?? 1, 4000), at = below(count)
                switch below(4) {
                case 0: broken[file]?[at] ^= UInt8(1 + below(127))
                case 1: broken[file]?.insert(UInt8(ascii: "9"), at: at)
                case 2: broken[file]?.remove(at: at)
                // A digit for a digit: a description that still parses.
                default:
                    let digits = (broken[file] ?? []).prefix(count).indices.filter {
                        (0x30...0x39).contains(broken[file]?[$0] ?? 0)
                    }
                    if !digits.isEmpty { broken[file]?[digits[below(digits.count)]] = UInt8(0x30 + below(10)) }
                }
            }
            if let model = try? LoadedModel(folder: MemoryFolder(broken), precision: .f32) {
                loaded += 1
                #expect(model.config.hasTensors(of: broken))
            }
            if let config = try? ModelConfig(folder: MemoryFolder(broken)), !config.hasTensors(of: broken) {
                believed += 1
            }
        }
        #expect(loaded > 0 && loaded < rounds)
        #expect(believed > 0, "the check catches nothing")
    }
}

extension ModelConfig {
    /// Whether the files hold each linear layer that the description names, in its shape.
    fileprivate func hasTensors(of files: [String: [UInt8]]) -> Bool {
        guard let tensors = try? Safetensors(folder: MemoryFolder(files), stem: "model").tensors else { return false }
        for layer in 0..<min(layers, 8) {
            for linear in linears(layer) {
                let places = places(of: linear, layer: layer)
                let fits = places.contains { place in
                    guard let shape = tensors[place.module + ".weight"]?.shape else { return false }
                    return shape == [place.totalRows, place.transposed ? linear.rows : linear.columns]
                }
                if !fits { return false }
            }
        }
        return tensors[embeddingNames[0]]?.shape == [vocabulary, hidden]
    }
}
