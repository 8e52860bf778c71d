// What was packed and mapped computes the same bits as what is packed anew, and no byte of the file can trap the reader.

import Arithmetic
import Foundation
import ModelFixtures
import Primitives
import Testing

@testable import Inference
@testable import ModelFiles

struct PreparedWeightsTests {
    private final class Image {
        let bytes: UnsafeMutableRawBufferPointer

        init(_ content: [UInt8]) {
            bytes = .allocate(byteCount: max(1, content.count), alignment: 64)
            bytes.copyBytes(from: content)
        }

        deinit { bytes.deallocate() }

        func weights(_ count: Int, key: [UInt8], _ precision: Precision) -> PreparedWeights? {
            PreparedWeights(
                UnsafeRawBufferPointer(rebasing: bytes[..<count]), owner: self, key: key, precision: precision)
        }
    }

    private static let key = [UInt8](repeating: 7, count: 32)

    private func image(_ model: LoadedModel) -> [UInt8] {
        var bytes: [UInt8] = []
        model.writePrepared(key: Self.key) { bytes += $0 }
        return bytes
    }

    private func answer(_ model: LoadedModel) throws -> [Int32] {
        let engine = Engine(model: model)
        let prompt = (0..<20).map { Int32(3 + 5 * $0) % Int32(model.config.vocabulary) }
        _ = try engine.submit(GenerationRequest(prompt: prompt, tokensMax: 12, ignoresEnd: true))
        var tokens: [Int32] = []
        while !engine.isIdle { tokens += engine.step().compactMap { $0.token?.id } }
        return tokens
    }

    @Test(arguments: ["llama3", "gemma2", "deepseek_v3"], Precision.allCases)
    func whatIsMappedComputesTheSame(family: String, precision: Precision) throws {
        let files = try folder(fixtures.appending(path: family))
        let model = try LoadedModel(folder: files, precision: precision)
        let bytes = image(model)
        let held = Image(bytes)
        let weights = try #require(held.weights(bytes.count, key: Self.key, precision))
        let mapped = try LoadedModel(folder: files, precision: precision, prepared: weights)
        #expect(try answer(mapped) == answer(model))
        #expect(image(mapped) == bytes)
        // They are used: a planted change is seen.
        let at = try #require(bytes.indices.last { bytes[$0] != 0 })
        var planted = bytes
        planted[at] ^= 0x55
        let other = Image(planted)
        let changed = try #require(other.weights(planted.count, key: Self.key, precision))
        #expect(image(try LoadedModel(folder: files, precision: precision, prepared: changed)) == planted)
    }

    @Test func whatIsNotMeantIsNotTaken() throws {
        let model = try LoadedModel(folder: try folder(fixtures.appending(path: "llama3")), precision: .int8)
        let bytes = image(model)
        let held = Image(bytes)
        #expect(held.weights(bytes.count, key: [UInt8](repeating: 8, count: 32), .int8) == nil)
        #expect(held.weights(bytes.count, key: Self.key, .int4) == nil)
        for count in [0, 1, 55, 56, 100, bytes.count / 2, bytes.count - 1] {
            #expect(held.weights(count, key: Self.key, .int8) == nil)
        }
        var older = bytes
        older[4] ^= 1
        #expect(Image(older).weights(bytes.count, key: Self.key, .int8) == nil)
    }

    @Test func noByteOfTheIndexTraps() throws {
        let files = try folder(fixtures.appending(path: "llama3"))
        let bytes = image(try LoadedModel(folder: files, precision: .int8))
        var random = SeededRandom(seed: 11)
        var taken = 0
        for _ in 0..<2000 {
            var mutated = bytes
            for _ in 0..<Int(1 + random.next() % 3) {
                let at = Int(random.next() % 400)
                mutated[at] = UInt8(truncatingIfNeeded: random.next())
            }
            let held = Image(mutated)
            guard let weights = held.weights(mutated.count, key: Self.key, .int8) else { continue }
            taken += 1
            if taken % 40 == 0 { _ = try? LoadedModel(folder: files, precision: .int8, prepared: weights) }
        }
        #expect(taken > 0)
    }
}
