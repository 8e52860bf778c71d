// One hash a model and precision: Tests/KernelHashes/model.c makes the engine's step from the kernels and the page alone,
// over a description and weights that are written here. What it says of every instruction set, of arm64's under qemu too,
// must be what the engine says. Families with latent attention or experts are not described to it.

import Foundation
import ModelFixtures
import Testing

@testable import Arithmetic
@testable import Inference
@testable import ModelFiles

/// The words of model.c's input.
private struct Description {
    private var words: [UInt32] = [0x6c65_646f]

    mutating func add(_ values: Int...) { words += values.map { UInt32($0) } }
    mutating func add(_ values: [Float]) { words += values.map(\.bitPattern) }
    mutating func add(optional values: [Float]?) {
        add(values == nil ? 0 : 1)
        add(values ?? [])
    }

    mutating func add(_ rows: [[Float]], _ matrix: PackedMatrix) {
        add(matrix.rows, matrix.columns)
        for row in rows { add(row) }
        add(optional: matrix.bias.map { bias in (0..<matrix.tiles * 16).map { bias[$0] } })
    }

    var data: Data { words.withUnsafeBytes { Data($0) } }

    init(_ url: URL, _ model: LoadedModel, _ tokens: [Int32]) throws {
        let config = model.config
        add(config.layers, config.hidden, config.heads, config.keyValueHeads, config.headDimension, tokens.count)
        add(config.activation == .geluTanh ? 1 : 0, config.attention.interleaved ? 1 : 0, config.ropes.count)
        add([
            config.epsilon, config.attention.scale, config.attention.scoreCap ?? 0, config.logitCap ?? 0,
            config.embeddingScale ?? 0,
        ])
        for rope in config.ropes {
            add(rope.pairs)
            add([rope.attentionFactor] + rope.inverseFrequencies)
        }
        for token in tokens {
            var row = [Float](repeating: 0, count: config.hidden)
            row.withUnsafeMutableBufferPointer { buffer in
                if let base = buffer.baseAddress { model.embeddings.read(token: token, into: base) }
            }
            add(row)
        }
        let holder = try folder(url)
        let tensors = try Safetensors(folder: holder, stem: "model").tensors
        func rows(_ name: String, _ matrix: PackedMatrix, from first: Int = 0) throws -> [[Float]] {
            let view = try #require(tensors[name], "\(name)")
            let reader = try RowReader(view, rows: view.shape[0], columns: matrix.columns, file: "model")
            return (first..<first + matrix.rows).map { reader.row($0) }
        }
        for (index, layer) in model.layers.enumerated() {
            guard case .grouped(let attention) = layer.attention, case .dense(let unit) = layer.feedForward else {
                throw ModelFault.unsupported(file: "model.c", feature: "this layer")
            }
            add(config.plans[index].window ?? 0, config.plans[index].rope)
            add(layer.beforeAttention)
            add(optional: layer.afterAttention)
            add(layer.beforeFeedForward)
            add(optional: layer.afterFeedForward)
            add(optional: attention.queryNorm)
            add(optional: attention.keyNorm)
            let place = "model.layers.\(index)."
            for (name, linear) in [
                ("q", attention.query), ("k", attention.key), ("v", attention.value), ("o", attention.output),
            ] { add(try rows("\(place)self_attn.\(name)_proj.weight", linear.matrix), linear.matrix) }
            let isFused = tensors["\(place)mlp.gate_up_proj.weight"] != nil
            let names = isFused ? ["gate_up", "gate_up"] : ["gate", "up"]
            for (part, linear) in [unit.gate, unit.up].enumerated() {
                let first = isFused ? part * linear.matrix.rows : 0
                add(try rows("\(place)mlp.\(names[part])_proj.weight", linear.matrix, from: first), linear.matrix)
            }
            add(try rows("\(place)mlp.down_proj.weight", unit.down.matrix), unit.down.matrix)
        }
        add(model.finalNorm)
        let head = config.tiedEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight"
        add(try rows(head, model.head), model.head)
        withExtendedLifetime(holder) {}
    }
}

struct ModelHashTests {
    private static let tokens = 20

    private static let models: [URL] = {
        let names = ["llama2", "llama3", "gemma2", "gemma3", "glm"]
        var urls = names.map { fixtures.appending(path: $0) } + [starter.appending(path: "model")]
        if let shared = ProcessInfo.processInfo.environment["OPENLEDGER_SHARED"] {
            urls += ["mistral", "qwen2", "qwen3", "gemma", "glm4"].map {
                URL(filePath: "\(shared)/fixtures/models/\($0)")
            }
        }
        return urls
    }()

    private static func hash(_ rows: [[Float]]) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for value in rows.joined() {
            for shift in stride(from: UInt32(0), to: 32, by: 8) {
                hash = (hash ^ UInt64(value.bitPattern >> shift & 255)) &* 0x100_0000_01b3
            }
        }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    @Test func theEngineAndTheKernelsAloneAgree() async throws {
        guard let clang = KernelProgram.clang else {
            print("SKIPPED: ModelHashTests needs clang, which comes with the Swift toolchain")
            return
        }
        try await KernelProgram.inFolder { folder in
            func objects(_ flags: [String]) async throws -> [String] {
                try await KernelProgram.compile("model.c", clang, flags, in: folder)
            }
            func linked(_ objects: [String], _ file: URL, _ flags: [String]) async throws -> String {
                let embedded = try await KernelProgram.embed(file, clang, flags, in: folder)
                return try await KernelProgram.link(objects + [embedded], clang, flags, in: folder)
            }
            let host = try await objects(KernelProgram.host), qemu = KernelProgram.qemu
            if qemu == nil { print("SKIPPED: arm64 needs qemu-aarch64 to run here (Debian: qemu-user-static)") }
            let arm = qemu == nil ? [] : try await objects(KernelProgram.arm64)
            for url in Self.models {
                let (description, expected) = try Self.engine(url)
                let file = folder.appendingPathComponent("model.bin"), name = url.lastPathComponent
                try description.write(to: file)
                let program = (
                    here: try await linked(host, file, KernelProgram.host),
                    there: qemu == nil ? nil : try await linked(arm, file, KernelProgram.arm64)
                )
                let here = try await KernelProgram.run(program.here, [])
                #expect(here.status == 0)
                Self.check(here.text, expected, name)
                // The planted difference must be seen.
                let planted = try await KernelProgram.run(program.here, ["planted"])
                #expect(KernelProgram.hashes(planted.text)["f32"]?.values.contains(expected["f32"] ?? "") == false)
                guard let qemu, let arm = program.there else { continue }
                let there = try await KernelProgram.run(qemu, [arm])
                #expect(there.status == 0 && there.text.contains("neon-dot"), "\(name): \(there.text)")
                Self.check(there.text, expected, name)
            }
        }
    }

    /// What model.c is told, and the hash of each precision.
    private static func engine(_ url: URL) throws -> (description: Data, hashes: [String: String]) {
        var hashes: [String: String] = [:], tokens: [Int32] = []
        var description: Description?
        for precision in Precision.allCases {
            let model = try LoadedModel(folder: try folder(url), precision: precision)
            if tokens.isEmpty {
                tokens = (0..<Self.tokens).map { Int32((11 + 37 * $0) % model.config.vocabulary) }
                description = try Description(url, model, tokens)
            }
            hashes[precision.rawValue] = hash(logits(of: tokens, model: model, chunk: 7, width: 2))
        }
        return (try #require(description).data, hashes)
    }

    private static func check(_ text: String, _ expected: [String: String], _ name: String) {
        let found = KernelProgram.hashes(text)
        for (precision, hash) in expected {
            let sets = found[precision] ?? [:]
            #expect(!sets.isEmpty && Set(sets.values) == [hash], "\(name) \(precision) \(hash): \(text)")
            print("\(name) \(precision) \(hash) \(sets.keys.sorted())")
        }
    }
}
