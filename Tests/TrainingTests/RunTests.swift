// Runs: cut off and gone on with, with settings of every kind, written out and read again, seeds and orders.

import Foundation
import ModelFixtures
import Primitives
import Testing
import Tokenizers

@testable import Arithmetic
@testable import Datanets
@testable import Inference
@testable import ModelFiles
@testable import Training

@Suite struct RunTests {
    private let key = [UInt8](repeating: 7, count: 32)

    private func settings(_ family: TrainedFamily) -> TrainingSettings {
        var settings = family.settings
        settings.steps = 9
        settings.batch = 3
        settings.shuffles = true
        settings.seed = 5
        settings.schedule = .cosine
        settings.warmup = 3
        settings.clip = 0.5
        return settings
    }

    @Test func aRunThatIsCutOffEndsInTheSameWeights() throws {
        let family = try TrainedFamily("llama3"), settings = settings(family)
        let whole = try family.trainer(settings)
        while !whole.isDone { _ = try whole.advance() }
        for stop in [0, 1, 4, 8] {
            let first = try family.trainer(settings)
            while first.step < stop { _ = try first.advance() }
            let bytes = TrainingCheckpoint.bytes(of: first, key: key)
            let second = try family.trainer(settings)
            #expect(TrainingCheckpoint.restore(bytes, into: second, key: key))
            #expect(second.step == stop)
            while !second.isDone { _ = try second.advance() }
            #expect(bits(second) == bits(whole), "cut off at \(stop)")
        }
    }

    @Test func aCheckpointThatIsNotTheRunsIsRefused() throws {
        let family = try TrainedFamily("llama3"), settings = settings(family), trainer = try family.trainer(settings)
        _ = try trainer.advance()
        let bytes = TrainingCheckpoint.bytes(of: trainer, key: key), fresh = try family.trainer(settings)
        let before = bits(fresh)
        #expect(!TrainingCheckpoint.restore(bytes, into: fresh, key: [UInt8](repeating: 8, count: 32)))
        #expect(!TrainingCheckpoint.restore([], into: fresh, key: key))
        #expect(!TrainingCheckpoint.restore(Array(bytes.dropLast()), into: fresh, key: key))
        for place in [0, 5, 40, 50, 100, bytes.count - 1] {
            var other = bytes
            other[place] ^= 1
            #expect(!TrainingCheckpoint.restore(other, into: fresh, key: key), "byte \(place)")
        }
        #expect(bits(fresh) == before && fresh.step == 0)
        #expect(TrainingCheckpoint.restore(bytes, into: fresh, key: key))
    }

    @Test func seedsDecide() throws {
        let family = try TrainedFamily("llama2")
        func run(_ seed: UInt64) throws -> [UInt32] {
            var settings = settings(family)
            settings.seed = seed
            settings.rank = 3
            let trainer = try Trainer(model: family.model, rows: family.batches.flatMap { $0 }, settings: settings)
            for _ in 0..<4 { _ = try trainer.advance() }
            return bits(trainer)
        }
        #expect(try run(1) == run(1))
        #expect(try run(1) != run(2))
    }

    @Test func everyRowComesOnceAPass() {
        var order = RowOrder(rows: 10, seed: 3, shuffles: true)
        let places = (0..<10).flatMap { order.rows(of: $0, batch: 3) }
        for pass in 0..<3 { #expect(places[pass * 10..<pass * 10 + 10].sorted() == Array(0..<10)) }
        #expect(Array(places[0..<10]) != Array(places[10..<20]))
        var again = RowOrder(rows: 10, seed: 3, shuffles: true)
        #expect(again.rows(of: 5, batch: 3) == Array(places[15..<18]))
        var plain = RowOrder(rows: 4, seed: 3, shuffles: false)
        #expect(plain.rows(of: 1, batch: 3) == [3, 0, 1])
    }

    @Test func theLearningRateRisesAndFalls() {
        var settings = TrainingSettings()
        settings.steps = 100
        settings.learningRate = 1
        settings.warmup = 10
        settings.schedule = .cosine
        #expect(abs(settings.learningRate(at: 4) - 0.5 * (0.05 + 0.475 * (1 + cos(.pi * 0.04)))) < 1e-12)
        #expect(abs(settings.learningRate(at: 50) - 0.525) < 1e-12)
        settings.schedule = .constant
        #expect(settings.learningRate(at: 0) == 0.1 && settings.learningRate(at: 99) == 1)
    }

    /// What is written serves as it was trained, and can be gone on with.
    @Test(arguments: ["llama3", "glm", "gemma3"]) func aWrittenFolderIsTheAdapter(name: String) throws {
        let family = try TrainedFamily(name), trainer = try family.trainer()
        _ = try trainer.advance()
        let files = PEFTFolder.files(of: trainer, base: name, initial: family.adapter)
        let written = MemoryFolder(Dictionary(uniqueKeysWithValues: files.map { ($0.name, $0.bytes) }))
        _ = try LoadedAdapter(folder: written, config: family.model.config)
        let again = try AdapterFactors(folder: written, config: family.model.config)
        let other = try Trainer(
            model: family.model, rows: family.batches[0], settings: family.settings, initial: again)
        #expect(bits(other) == bits(trainer))
    }

    @Test func aNewAdapterHasEveryLinearLayerOnce() throws {
        for (name, modules) in [("llama3", 7), ("glm", 6)] {
            let config = try TrainedFamily(name).model.config
            let chosen = config.allModules
            #expect(chosen.count == modules * config.layers, "\(name)")
            for layer in 0..<config.layers {
                let slots = chosen.filter { $0.layer == layer }.flatMap { $0.module.parts.map(\.slot) }
                #expect(slots.sorted() == Array(0..<7), "\(name)")
            }
        }
    }

    @Test func whatCannotBeTrainedIsRefused() throws {
        let family = try TrainedFamily("llama3"), rows = family.batches[0]
        var settings = family.settings
        settings.learningRate = .nan
        #expect(throws: TrainingFault.self) { try family.trainer(settings) }
        #expect(throws: TrainingFault.self) {
            try Trainer(
                model: family.model, rows: [TrainingRow(tokens: [1, 2], labels: [nil, nil])],
                settings: family.settings)
        }
        #expect(throws: TrainingFault.self) {
            try Trainer(
                model: family.model, rows: [TrainingRow(tokens: [1, 100_000], labels: [nil, 1])],
                settings: family.settings)
        }
        let experts = try LoadedModel(
            folder: try folder(fixtures.appending(path: "deepseek_v3")), precision: .f32)
        #expect(throws: ModelFault.self) {
            try Trainer(model: experts, rows: rows, settings: family.settings)
        }
    }

    /// What a run is said to take before it begins is what it takes.
    @Test(arguments: ["llama3", "gemma3", "glm"], [Precision.f32, .int4])
    func theEstimateIsTheMemory(name: String, precision: Precision) throws {
        let family = try TrainedFamily(name, precision: precision), rows = family.batches.flatMap { $0 }
        var sizes: Set<Int> = []
        for (width, kept) in [(1, 1 << 30), (3, 1 << 30), (2, 0)] {
            let bytes = try Trainer.byteCounts(
                base: TrainingBase(family.model), rows: rows, settings: family.settings, initial: family.adapter,
                width: width, keptBytesMax: kept)
            let trainer = try family.trainer(pool: SerialPool(width: width), keptBytesMax: kept)
            #expect(trainer.byteCount == bytes.steps)
            let pass = try InfluencePass(of: trainer, rows: Digest(sha256: []))
            #expect(trainer.byteCount + pass.byteCount == bytes.influence)
            sizes.insert(bytes.steps)
        }
        #expect(sizes.count == 3)
        let evaluator = try Evaluator(
            model: family.model, adapter: family.adapter, rows: rows, pool: SerialPool(width: 2))
        #expect(
            try Evaluator.byteCount(
                base: TrainingBase(family.model), adapter: family.adapter, rows: rows, width: 2)
                == evaluator.byteCount)
    }

    @Test func whatIsNoNumberIsNoAdapter() throws {
        let family = try TrainedFamily("llama3")
        // A loss that is no number.
        let huge = try family.trainer()
        for index in 0..<huge.parameters.layout.count { huge.parameters.weights[index] *= 1e30 }
        huge.parameters.turn()
        #expect(throws: TrainingFault.diverged(step: 1)) { try huge.advance() }
        // Weights that the last step made so: no later loss tells.
        for steps in [1, 2] {
            var settings = family.settings
            settings.steps = steps
            settings.learningRate = 100
            let last = try family.trainer(settings)
            last.parameters.first[0] = .greatestFiniteMagnitude
            let fault = #expect(throws: TrainingFault.self) { while !last.isDone { _ = try last.advance() } }
            #expect(fault == .diverged(step: steps))
        }
    }

    // MARK: Rows

    @Test func pairsAreWhatAChatWouldBe() throws {
        let model = try LoadedModel(folder: try folder(starter.appending(path: "model")), precision: .f32)
        let tokenizer = try #require(model.tokenizer)
        var writer = RowWriter(model: model)
        let row = try writer.row(.pair(prompt: "What is a cat?", completion: "An animal."))
        #expect(
            tokenizer.decode(row.tokens, skipSpecial: false)
                == "<|user|>What is a cat?<|end|><|assistant|>An animal.<|end|>")
        let scored = zip(row.tokens, row.labels).filter { $0.1 != nil }.map(\.0)
        #expect(tokenizer.decode(scored, skipSpecial: false) == "An animal.<|end|>")
        #expect(zip(row.tokens, row.labels).allSatisfy { $0.1 == nil || $0.1 == $0.0 })
        let text = try writer.row(.text("A text."))
        #expect(text.scoredCount == text.tokens.count - 1)
    }

    @Test func rowsOfTokenIdsAreReadStrictly() throws {
        let model = try TrainedFamily("llama3").model
        func read(_ text: String) throws -> [TrainingRow] {
            var writer = RowWriter(model: model)
            return try writer.tokenRows([UInt8](text.utf8), file: "rows.jsonl")
        }
        let rows = try read(#"{"input_ids":[1,2,3],"labels":[-100,2,3]}"# + "\n\n" + #"{"input_ids":[4,5]}"#)
        #expect(rows.map(\.tokens) == [[1, 2, 3], [4, 5]])
        #expect(rows[0].labels == [nil, 2, 3] && rows[1].labels == [4, 5])
        for (bad, says) in [
            (#"{"input_ids":[1,-2]}"#, "rows.jsonl:1"), (#"{"input_ids":[1],"labels":[]}"#, "labels"),
            (#"{"labels":[1]}"#, "input_ids"), ("[", "column"),
            (#"{"input_ids":[1,2],"attention_mask":[0,1]}"#, "attention_mask"),
            (#"{"input_ids":[9999999]}"#, "no token"),
        ] {
            let fault = #expect(throws: TrainingFault.self) { try read(bad) }
            #expect(fault?.description.contains(says) == true, "\(String(describing: fault))")
        }
    }

    @Test func theEvaluatorAgreesWithTheTrainer() throws {
        let family = try TrainedFamily("gemma2"), trainer = try family.trainer(), rows = family.batches[1]
        let own = try #require(try trainer.heldOutLoss(of: rows))
        let evaluator = try Evaluator(model: family.model, adapter: family.adapter, rows: rows)
        #expect(evaluator.loss(of: rows) == own)
        #expect(abs(own.perplexity - exp(own.loss)) < 1e-9 * own.perplexity)
        let base = try Evaluator(model: family.model, adapter: nil, rows: rows)
        #expect(base.loss(of: rows) != own)
        #expect(evaluator.loss(of: rows) { false } == nil)
    }

    @Test func manifestsAreReadAsTheyAreWritten() throws {
        let base = CID(.raw, hashing: [1]), digest = Digest(sha256: [2])
        for (datanet, initial) in [(nil, nil), (CID(.raw, hashing: [3]), CID(.raw, hashing: [4]))] as [(CID?, CID?)] {
            let manifest = TrainingManifest(
                base: base, datanet: datanet, rows: digest, rowCount: 3, numerics: 2, precision: "int8",
                settings: TrainingSettings(), initial: initial, weights: digest, steps: 9)
            let bytes = manifest.encoded(), read = try TrainingManifest(decoding: bytes)
            #expect(read == manifest && read.initial == initial && read.settings.count == 15)
            #expect(
                TrainingSettings(named: Dictionary(uniqueKeysWithValues: read.settings.map { ($0.name, $0.value) }))
                    == TrainingSettings())
            for place in stride(from: 0, to: bytes.count, by: 3) {
                var other = bytes
                other[place] ^= 0x55
                if let read = try? TrainingManifest(decoding: other) { #expect(read != manifest) }
            }
            #expect(throws: CBORFault.self) { try TrainingManifest(decoding: Array(bytes.dropLast())) }
        }
    }

    @Test func rowsCommitToWhatTheySay() throws {
        let model = try LoadedModel(folder: try folder(starter.appending(path: "model")), precision: .f32)
        func root(_ text: String) throws -> Digest {
            try TrainingRows(jsonl: [UInt8](text.utf8), file: "rows", model: model).root
        }
        let pair = #"{"prompt":"a","completion":"b"}"#
        #expect(try root(pair) == root(pair + "\n"))
        #expect(try root(pair) != root(#"{"prompt":"a","completion":"c"}"#))
        #expect(try root(#"{"input_ids":[5,6]}"#) != root(#"{"input_ids":[5,6],"labels":[-100,6]}"#))
        #expect(throws: TrainingFault.self) { try root(#"{"prompt":"a"}"#) }
    }

    @Test func overlapIsROUGEs() {
        // rouge_score 0.1.2, rougeL without stemming.
        #expect(
            abs(TextOverlap.rougeL("the cat was found under the bed", "the cat was under the bed") - 0.923_076_923)
                < 1e-8)
        #expect(TextOverlap.rougeL("a b", "c d") == 0)
        #expect(TextOverlap.isExact(" a  b\n", "a b") && !TextOverlap.isExact("a", "b"))
    }
}
