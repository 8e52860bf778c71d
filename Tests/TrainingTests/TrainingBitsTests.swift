// How the work is cut changes no bit: instruction sets, threads, the cut of a step into packed batches, layers kept or made a
// second time, company in a batch. And the forward half is serving's.

import Foundation
import ModelFixtures
import Primitives
import Testing

@testable import Arithmetic
@testable import Inference
@testable import ModelFiles
@testable import Training

@Suite struct TrainingBitsTests {
    private func run(_ trainer: Trainer, steps: Int = 3) throws -> [UInt32] {
        for _ in 0..<steps { _ = try trainer.advance() }
        return gradientBits(trainer) + bits(trainer)
    }

    @Test(arguments: ["llama3", "gemma2", "gemma3", "glm"], Precision.allCases)
    func bitsStay(name: String, precision: Precision) throws {
        let family = try TrainedFamily(name, precision: precision)
        let whole = try run(try family.trainer())
        for set in InstructionSet.available {
            #expect(try run(try family.trainer(instructionSet: set)) == whole, "\(name) on \(set.name)")
        }
        for width in [2, 3, 5] {
            #expect(try run(try family.trainer(pool: SerialPool(width: width))) == whole, "\(name) in \(width) slices")
        }
        for tokens in [1, 20, 37] {
            #expect(try run(try family.trainer(tokensMax: tokens)) == whole, "\(name) cut at \(tokens) tokens")
        }
        #expect(try run(try family.trainer(pool: SerialPool(width: 2), keptBytesMax: 0)) == whole, "\(name) twice")
    }

    /// The comparison sees one changed bit.
    @Test func aPlantedBitIsSeen() throws {
        let family = try TrainedFamily("llama3")
        let whole = try run(try family.trainer(), steps: 1), other = try family.trainer()
        other.parameters.weights[0] = Float(bitPattern: other.parameters.weights[0].bitPattern ^ 1)
        #expect(try run(other, steps: 1) != whole)
    }

    /// The loss of a row is that of the logits that serving computes, to the last bit of a float.
    @Test(arguments: ["llama3", "gemma2", "gemma3", "glm"], Precision.allCases)
    func theForwardHalfIsServings(name: String, precision: Precision) throws {
        let family = try TrainedFamily(name, precision: precision), trainer = try family.trainer()
        let adapter = try LoadedAdapter(
            folder: try folder(fixtures.appending(path: "\(name)/adapter_a")), config: family.model.config,
            precision: precision)
        for row in family.batches[0] {
            var batch = PackedBatch()
            batch.append(row)
            let losses = trainer.gradient.run(batch, weight: nil)
            let cache = PagePool(config: family.model.config, bytesMax: 64 << 20)
            let pages = try #require(cache.take(PagePool.pages(positions: row.tokens.count)))
            defer { cache.give(pages) }
            let transformer = Transformer(
                model: family.model, cache: cache, pool: SerialPool(), instructionSet: .best,
                rowsMax: row.tokens.count, logitRowsMax: row.tokens.count)
            transformer.forward(
                tokens: row.tokens,
                segments: [
                    BatchSegment(pages: pages, start: 0, count: row.tokens.count, row: 0, adapter: adapter)
                ])
            transformer.computeLogits(of: Array(0..<row.tokens.count)[...])
            var index = 0
            for position in 0..<row.tokens.count - 1 {
                guard let target = row.labels[position + 1] else { continue }
                let logits = UnsafeBufferPointer(
                    start: transformer.logits + position * transformer.logitStride,
                    count: family.model.config.vocabulary)
                let greatest = logits.max() ?? 0
                let sum = logits.reduce(0.0) { $0 + exp(Double($1) - Double(greatest)) }
                let expected = Double(greatest) + log(sum) - Double(logits[Int(target)])
                #expect(abs(losses[index] - expected) < 2e-6, "\(name) \(precision) at \(position)")
                index += 1
            }
            #expect(index == losses.count)
        }
    }

    /// A row computes the same whoever lies beside it: packing masks.
    @Test func rowsDoNotSeeEachOther() throws {
        let family = try TrainedFamily("gemma3"), trainer = try family.trainer(), rows = family.batches.flatMap { $0 }
        let alone = rows.map { row in
            var batch = PackedBatch()
            batch.append(row)
            return trainer.gradient.run(batch, weight: nil)
        }
        var batch = PackedBatch()
        for row in rows { batch.append(row) }
        let together = trainer.gradient.run(batch, weight: nil)
        #expect(alone.flatMap { $0 }.map(\.bitPattern) == together.map(\.bitPattern))
    }
}
