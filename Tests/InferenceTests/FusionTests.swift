// Several adapters for one request, against what PEFT itself computes (Tests/Fixtures/fusion/make.py), and merging into
// the base.

import Arithmetic
import Decoding
import Foundation
import ModelFixtures
import Testing

@testable import Inference
@testable import ModelFiles

@Suite struct FusionTests {
    private static let url = repository.appending(path: "Tests/Fixtures/fusion")
    private static let prompt: [Int32] = [1, 140, 345, 395, 90, 17, 230, 9, 44, 501, 77, 3]

    private let family: Family
    private let weights: [String: LoadedAdapter]
    private let reference: MemoryFolder
    private let tensors: [String: TensorView]

    init() throws {
        family = try Family("llama3")
        var weights = family.adapters
        for name in ["c", "d"] {
            weights[name] = try LoadedAdapter(
                folder: try folder(Self.url.appending(path: name)), config: family.model.config)
        }
        self.weights = weights
        reference = try folder(Self.url)
        tensors = try Safetensors(folder: reference, stem: "reference").tensors
    }

    private func expected(_ name: String) throws -> [Float] {
        guard let view = tensors[name] else { throw ModelFault.missing(file: name) }
        let reader = try RowReader(view, rows: view.shape[0], columns: view.shape[1], file: "reference")
        return (0..<view.shape[0]).flatMap { reader.row($0) }
    }

    private func worst(_ left: [Float], _ right: [Float]) -> Float {
        left.count == right.count ? zip(left, right).map { abs($0 - $1) }.max() ?? 0 : .infinity
    }

    private func fusion(_ parts: [(String, Double)], _ method: AdapterFusion.Method) -> AdapterFusion {
        AdapterFusion(parts: parts.map { .init(adapter: $0.0, weight: $0.1) }, method: method)
    }

    private func make(_ fusion: AdapterFusion) throws -> LoadedAdapter {
        try FusedAdapter(parts: fusion.parts.compactMap { weights[$0.adapter] }, fusion: fusion).make()
    }

    private static let cases: [(name: String, parts: [(String, Double)], method: AdapterFusion.Method)] = [
        ("linear", [("a", 0.7), ("b", -0.4)], .linear),
        ("ties", [("a", 0.8), ("c", 0.5)], .ties(density: 0.7)),
        ("ties_frequency", [("c", 0.4), ("a", -0.2)], .ties(density: 0.3, sign: .frequency)),
        ("dare_linear", [("a", 0.6), ("c", 0.6)], .dareLinear(density: 0.4, seed: 11)),
        ("dare_ties", [("a", 0.9), ("c", 0.3)], .dareTies(density: 0.5, seed: 12)),
    ]

    @Test(arguments: 0..<5) func fusionsEqualPEFT(index: Int) throws {
        let item = Self.cases[index]
        let fused = try make(fusion(item.parts, item.method))
        if item.name != "linear" {
            // layers.1.self_attn.v_proj
            let update = try #require(fused.updates[1][2])
            #expect(try worst(update.down.values(), expected("down.\(item.name)")) < 1e-6)
            #expect(try worst(update.up.values(), expected("up.\(item.name)")) < 1e-6)
        }
        let rows = logits(of: Self.prompt, model: family.model, adapter: fused).suffix(3)
        #expect(try worst(rows.flatMap { $0 }, expected("logits.\(item.name)")) < 1e-4)
    }

    /// Ranks 1, 5, 37 and 256, rsLoRA, patterns of both kinds, 16 bits.
    @Test func ranksAndPatterns() throws {
        let adapter = try #require(weights["d"])
        #expect(adapter.rankMax == 256 && adapter.updates[0][0]?.rank == 1 && adapter.updates[0][2]?.rank == 37)
        let rows = logits(of: Self.prompt, model: family.model, adapter: adapter).suffix(3)
        #expect(try worst(rows.flatMap { $0 }, expected("logits.d")) < 1e-4)
    }

    /// On a base that is not f32 factors stay as the file has them, and widening changes no bit.
    @Test func sixteenBitsStaySixteen() throws {
        let small = try Family("llama3", precision: .int8)
        let url = Self.url.appending(path: "d")
        let narrow = try LoadedAdapter(
            folder: try folder(url), config: small.model.config, precision: small.model.precision)
        let wide = try LoadedAdapter(folder: try folder(url), config: small.model.config, precision: .f32)
        #expect(narrow.updates[0][0]?.down.kind == .f16 && wide.updates[0][0]?.down.kind == .f32)
        #expect(narrow.weightBytes * 10 < wide.weightBytes * 6)
        #expect(
            bits(logits(of: Self.prompt, model: small.model, adapter: narrow))
                == bits(logits(of: Self.prompt, model: small.model, adapter: wide)))
        // Of several kinds too.
        let mixed = AdapterFusion(parts: [.init(adapter: "d", weight: 1), .init(adapter: "c", weight: 0)])
        let fused = try FusedAdapter(parts: [narrow, weights["c"] ?? narrow], fusion: mixed).make()
        #expect(
            bits(logits(of: Self.prompt, model: small.model, adapter: fused))
                == bits(logits(of: Self.prompt, model: small.model, adapter: narrow)))
    }

    @Test func whatCannotBeFusedIsRefused() throws {
        #expect(throws: ModelFault.self) { try make(fusion([("a", 1), ("b", 1)], .ties(density: 0.5))) }
        // d has rank 256 on one matrix: five of it are beyond the limit.
        #expect(throws: ModelFault.self) {
            try make(fusion((0..<5).map { ("d", Double($0 + 1)) }, .linear))
        }
        let engine = try self.engine()
        func refused(_ fusion: AdapterFusion, adapter: String? = nil) -> EngineFault? {
            do throws(EngineFault) {
                _ = try engine.submit(
                    GenerationRequest(prompt: Self.prompt, adapter: adapter, tokensMax: 1, fusion: fusion))
                return nil
            } catch {
                return error
            }
        }
        #expect(refused(fusion([("x", 1)], .linear)) == .adapterUnknown("x"))
        for bad in [
            fusion([], .linear), fusion(Array(repeating: ("a", 1), count: 17), .linear), fusion([("a", .nan)], .linear),
        ] {
            guard case .parameter("merged_adapters", _)? = refused(bad) else {
                Issue.record("accepted \(bad)")
                continue
            }
        }
        for density in [0, -1, 1.5, .nan] {
            guard case .parameter("density", _)? = refused(fusion([("a", 1)], .ties(density: density))) else {
                Issue.record("accepted density \(density)")
                continue
            }
        }
        guard case .parameter? = refused(fusion([("a", 1)], .linear), adapter: "a") else {
            Issue.record("accepted a fusion beside an adapter")
            return
        }
    }

    private func engine() throws -> Engine {
        let engine = Engine(model: family.model)
        for (name, adapter) in weights { try engine.declare(name, bytes: adapter.weightBytes) }
        return engine
    }

    /// Through the engine: parts are read, the fusion is made once and kept.
    @Test func fusionsAreServed() throws {
        let engine = try engine()
        func ask(_ fusion: AdapterFusion) throws -> Heard {
            let id = try engine.submit(
                GenerationRequest(prompt: Self.prompt, tokensMax: 6, ignoresEnd: true, fusion: fusion))
            var heard = Heard()
            while !engine.isIdle {
                engine.serveLoads(weights)
                for output in engine.step() where output.id == id { heard.hear(output) }
                #expect(engine.faults == [])
            }
            return heard
        }
        let fusion = fusion([("a", 0.7), ("b", -0.4)], .linear)
        let first = try ask(fusion)
        #expect(first.tokens.count == 6 && engine.statistics.adapterLoads == 3)
        #expect(try ask(fusion) == first && engine.statistics.adapterLoads == 3)
        #expect(engine.statistics.adapterHits == 1 && engine.statistics.adapterMisses == 1)
        // One whose ranks differ fails by name, and only it.
        #expect(try ask(self.fusion([("a", 1), ("b", 1)], .ties(density: 1))).tokens.isEmpty)
        #expect(engine.statistics.adapterLoadFailures == 1)
    }

    @Test func chanceIsAFunctionOfItsPlace() {
        let stream = FusionChance.stream(seed: 1, part: 0, place: FusionChance.place(layer: 2, slot: 3, isUp: false))
        #expect(FusionChance.number(stream, 5) == FusionChance.number(stream, 5))
        #expect(FusionChance.number(stream, 5) != FusionChance.number(stream, 6))
        for (seed, part, layer, slot, isUp) in [
            (2, 0, 2, 3, false), (1, 1, 2, 3, false), (1, 0, 3, 3, false), (1, 0, 2, 4, false), (1, 0, 2, 3, true),
        ] as [(UInt64, Int, Int, Int, Bool)] {
            let place = FusionChance.place(layer: layer, slot: slot, isUp: isUp)
            #expect(FusionChance.stream(seed: seed, part: part, place: place) != stream)
        }
        let kept = (0..<10_000).count { FusionChance.number(stream, $0) < 0.3 }
        #expect(kept > 2850 && kept < 3150)
    }

    // MARK: Merging

    @Test func mergingEqualsPEFT() throws {
        let base = try folder(fixtures.appending(path: "llama3")), adapter = try folder(Self.url.appending(path: "d"))
        let merged = try MergedModel(base: base, adapters: [(adapter, 1)])
        var file: [UInt8] = []
        merged.write { file += $0 }
        #expect(file.count == merged.byteCount)
        var files = try files(of: fixtures.appending(path: "llama3"))
        files["model.safetensors"] = file
        let tensors = try Safetensors(folder: MemoryFolder(files), stem: "model").tensors
        for module in ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"] {
            let view = try #require(tensors[module + ".weight"])
            let reader = try RowReader(view, rows: view.shape[0], columns: view.shape[1], file: "merged")
            let values = (0..<view.shape[0]).flatMap { reader.row($0) }
            #expect(try worst(values, expected("merged.d.\(module)")) < 1e-6)
        }
        let model = try LoadedModel(folder: MemoryFolder(files), precision: .f32)
        let rows = logits(of: Self.prompt, model: model).suffix(3)
        #expect(try worst(rows.flatMap { $0 }, expected("logits.d")) < 1e-4)
        // Twice the same bytes: a new CID is a function of its parts.
        var again: [UInt8] = []
        try MergedModel(base: base, adapters: [(adapter, 1)]).write { again += $0 }
        #expect(again == file)
    }

    @Test func mergingRefusesByName() throws {
        let adapter = try folder(Self.url.appending(path: "d"))
        let other = try folder(starter.appending(path: "model"))
        #expect(throws: ModelFault.self) { try MergedModel(base: other, adapters: [(adapter, 1)]) }
        #expect(throws: ModelFault.missing(file: "model.safetensors")) {
            try MergedModel(base: adapter, adapters: [(adapter, 1)])
        }
    }
}
