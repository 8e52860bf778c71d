import Arithmetic
import Foundation
import Inference
import Logging
import Primitives
import Records
import Testing

@testable import Peer

@Suite struct PreparedShelfTests {
    @Test func aModelIsPackedOnceAndMappedFromThenOn() throws {
        let home = FileManager.default.temporaryDirectory.appendingPathComponent("openledger-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: home) }
        let shelf = try PreparedShelf(path: home, logger: Logger(label: "test"), bytesMin: 0, reserveBytes: 0)
        let folder = try MappedFolder(try FolderFiles.list(Starter.model, kind: .model))
        let key = EngineKey(model: CID(.raw, hashing: [1]), precision: .int8)
        #expect(shelf.weights(key) == nil)
        let model = try LoadedModel(folder: folder, precision: .int8)
        shelf.keep(model, as: key)
        shelf.drain()
        let weights = try #require(shelf.weights(key))
        #expect(shelf.weights(EngineKey(model: key.model, precision: .int4)) == nil)
        let mapped = try LoadedModel(folder: folder, precision: .int8, prepared: weights)
        #expect(mapped.weightBytes == model.weightBytes)
        // Cut short, as by a disk that lost its end: not taken.
        let path = "\(home)/\(try #require(try FileManager.default.contentsOfDirectory(atPath: home).first))"
        truncate(path, 5000)
        #expect(shelf.weights(key) == nil)
        shelf.remove(key.model)
        shelf.drain()
        #expect(try FileManager.default.contentsOfDirectory(atPath: home).isEmpty)
    }

    @Test func smallModelsAreNotKept() throws {
        let home = FileManager.default.temporaryDirectory.appendingPathComponent("openledger-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: home) }
        let shelf = try PreparedShelf(path: home, logger: Logger(label: "test"))
        let folder = try MappedFolder(try FolderFiles.list(Starter.model, kind: .model))
        shelf.keep(
            try LoadedModel(folder: folder, precision: .int8),
            as: EngineKey(model: CID(.raw, hashing: [1]), precision: .int8))
        shelf.drain()
        #expect(try FileManager.default.contentsOfDirectory(atPath: home).isEmpty)
    }
}

@Suite struct ComputeFormTests {
    @Test func oneWordForWeightsAndCache() {
        for weights in Precision.allCases {
            for cache in CachePrecision.allCases {
                let form = ComputeForm(weights, cache: cache)
                #expect(ComputeForm(text: form.text) == form)
            }
        }
        #expect(ComputeForm(text: "int8+kv8") == ComputeForm(.int8, cache: .int8))
        for text in ["", "kv8", "+kv8", "int8+kv4", "int8+kv8+kv8", "INT8"] { #expect(ComputeForm(text: text) == nil) }
    }
}
