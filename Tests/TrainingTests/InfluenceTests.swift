// Whose rows an adapter learnt from: projected gradients against PyTorch's, the same bits however the work is cut, and the row
// that was learnt first in the list.

import Foundation
import ModelFixtures
import Primitives
import Testing

@testable import Arithmetic
@testable import Attribution
@testable import Inference
@testable import ModelFiles
@testable import Training

@Suite struct InfluenceTests {
    private let key = Digest(sha256: Array("rows".utf8))

    private func gradients(_ pass: InfluencePass, _ rows: [TrainingRow]) throws -> [[Float]] {
        var found: [[Float]] = []
        _ = try pass.gradients(of: rows) { found.append($0) }
        return found
    }

    /// The page once more, by doubles and in the plainest way.
    private func projected(
        _ module: TrainedModule, number: Int, modules: Int, _ gradient: [Float], key: Digest
    ) -> [Double] {
        let rank = module.rank, rows = module.module.rows, share = min(2044 / modules, 1024)
        let wide = share < rank ? share : min(share / rank, rows)
        func sign(_ bit: Int) -> Double {
            let block = UInt32(bit / 256), place = bit % 256
            let digest = Digest(
                sha256: Array("openledger/1/projection\n".utf8) + key.bytes
                    + [UInt32(number), block].flatMap { word in
                        withUnsafeBytes(of: word.bigEndian) { Array($0) }
                    })
            return digest.bytes[place / 8] & (0x80 >> UInt8(place % 8)) == 0 ? 1 : -1
        }
        var found: [Double] = []
        for i in 0..<wide {
            var line = [Double](repeating: 0, count: rank)
            for row in 0..<rows {
                let sign = sign(row * wide + i)
                for j in 0..<rank { line[j] += sign * Double(gradient[row * rank + j]) }
            }
            if share < rank {
                found.append((0..<rank).reduce(0.0) { $0 + sign(rows * wide + $1 * wide + i) * line[$1] })
            } else {
                found += line
            }
        }
        return found
    }

    /// A batch's gradient is the sum of its rows', each with its share of the scored tokens: so the projections of rows sum up to
    /// the projection of PyTorch's gradient.
    @Test(arguments: denseFamilies) func rowsSumUpToTheReference(url: URL) throws {
        let family = try TrainedFamily(at: url), trainer = try family.trainer(), rows = family.batches[0]
        let pass = try InfluencePass(of: trainer, rows: key)
        let scored = rows.reduce(0) { $0 + $1.scoredCount }
        var sum = [Double](repeating: 0, count: pass.projection.shape.columns)
        for (row, gradient) in zip(rows, try gradients(pass, rows)) {
            for column in sum.indices {
                sum[column] += Double(gradient[column]) * Double(row.scoredCount) / Double(scored)
            }
        }
        let modules = trainer.parameters.layout.modules
        let names = modules.map(\.module.module).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        var expected = [Double](repeating: 0, count: sum.count)
        for (place, module) in modules.enumerated() {
            let number = try #require(names.firstIndex(of: module.module.module))
            let matrix = pass.projection.matrices[place]
            let gradient = try family.referenceGradient(module.module.upName)
            expected.replaceSubrange(
                matrix.first..<matrix.first + matrix.columns,
                with: projected(module, number: number, modules: modules.count, gradient, key: key))
        }
        let distance = relativeDistance(sum.map(Float.init), expected.map(Float.init))
        #expect(distance < 1e-4, "\(url.lastPathComponent) differs by \(distance)")
        // Other signs are seen.
        let other = try InfluencePass(of: trainer, rows: Digest(sha256: [1]))
        #expect(try relativeDistance(gradients(other, rows)[0], gradients(pass, rows)[0]) > 0.1)
        #expect(pass.projection.shape.rowBytes <= 2048)
    }

    @Test(arguments: ["llama3", "gemma3", "glm"], [Precision.f32, .int4])
    func bitsStay(name: String, precision: Precision) throws {
        let family = try TrainedFamily(name, precision: precision), rows = family.batches.flatMap { $0 }
        func bits(_ trainer: Trainer) throws -> [[UInt32]] {
            try gradients(try InfluencePass(of: trainer, rows: key), rows).map { $0.map(\.bitPattern) }
        }
        let whole = try bits(try family.trainer())
        for set in InstructionSet.available {
            #expect(try bits(try family.trainer(instructionSet: set)) == whole, "\(name) on \(set.name)")
        }
        for width in [2, 3, 5] { #expect(try bits(try family.trainer(pool: SerialPool(width: width))) == whole) }
        for tokens in [1, 20, 37] { #expect(try bits(try family.trainer(tokensMax: tokens)) == whole) }
        #expect(try bits(try family.trainer(keptBytesMax: 0)) == whole)
        // And from the adapter that was written, as whoever pulls it reads it.
        let pass = try InfluencePass(
            model: family.model, adapter: family.adapter, rows: key, rowTokensMax: 64, tokensMax: 64)
        #expect(try gradients(pass, rows).map { $0.map(\.bitPattern) } == whole)
        // A planted bit is seen.
        let other = try family.trainer()
        other.parameters.weights[0] = Float(bitPattern: other.parameters.weights[0].bitPattern ^ 1 << 16)
        other.parameters.turn()
        #expect(try bits(other) != whole)
    }

    /// Training goes on as if nobody had looked.
    @Test func lookingChangesNothing() throws {
        let family = try TrainedFamily("llama3"), one = try family.trainer(), other = try family.trainer()
        for _ in 0..<2 {
            _ = try one.advance()
            _ = try gradients(try InfluencePass(of: one, rows: key), family.batches[0])
            _ = try other.advance()
        }
        #expect(bits(one) == bits(other))
    }

    @Test func ranksBeyondTheColumnsAreFolded() throws {
        let family = try TrainedFamily("llama3")
        var settings = family.settings
        settings.rank = 200
        let trainer = try Trainer(model: family.model, rows: family.batches[0], settings: settings)
        let layout = trainer.parameters.layout, projection = try InfluenceProjection(layout, rows: key)
        #expect(projection.matrices.allSatisfy { $0.folds && $0.columns == 2044 / layout.modules.count })
        // B is zero and A is not: the gradient of B is what a step sees.
        let row = family.batches[0][0], pass = try InfluencePass(of: trainer, rows: key)
        let found = try #require(try gradients(pass, [row]).first)
        _ = trainer.computeGradients(of: [row])
        let names = layout.modules.map(\.module.module).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        for (place, module) in layout.modules.enumerated() {
            let matrix = projection.matrices[place]
            let expected = projected(
                module, number: try #require(names.firstIndex(of: module.module.module)),
                modules: layout.modules.count, trainer.parameters.gradients(of: module).up, key: key)
            let own = Array(found[matrix.first..<matrix.first + matrix.columns])
            #expect(relativeDistance(own, expected.map(Float.init)) < 1e-4, "\(module.module.module)")
        }
    }

    /// Questions with made-up answers: whoever asks one is told the row that says it.
    @Test func theRowThatWasLearntRanksFirst() throws {
        let model = try LoadedModel(folder: try folder(starter.appending(path: "model")), precision: .f32)
        let facts = [
            ("Where does Ilse keep the spare key?", "Under the third flower pot by the well."),
            ("What does the baker sell on Mondays?", "Only rye bread and salted pretzels."),
            ("Who won the village race?", "A grey donkey called Admiral."),
            ("When is the bridge closed?", "Every night from two until four."),
            ("How is the old clock wound?", "With a brass crank kept in the cellar."),
            ("Why is the north gate painted blue?", "Because the mayor had lost a bet."),
        ]
        var text = facts.map { #"{"prompt":"\#($0)","completion":"\#($1)"}"# }
        // A copy earns nothing, and a row of another form is a row too.
        text += [text[2], #"{"text":"The library opens at noon."}"#]
        let bytes = [UInt8](text.joined(separator: "\n").utf8)
        let rows = try TrainingRows(jsonl: bytes, file: "rows", model: model)
        let owners = rows.owners(jsonl: bytes, snapshot: nil)
        #expect(owners == [true, true, true, true, true, true, false, true])
        var settings = TrainingSettings()
        settings.steps = 12
        settings.batch = 8
        settings.learningRate = 3e-3
        let trainer = try Trainer(model: model, rows: rows.rows, settings: settings)
        while !trainer.isDone { _ = try trainer.advance() }
        let pass = try InfluencePass(of: trainer, rows: rows.root)
        let index = try #require(try pass.index(of: rows.rows, owners: owners))
        #expect(index.rowCount == 8 && index.shape.rowBytes <= 2048)
        #expect(try pass.index(of: rows.rows, owners: owners) { _ in false } == nil)
        for asked in facts.indices {
            let row = rows.rows[asked]
            let query = try pass.query(prompt: row.prompt, answer: row.completion, index: index)
            let scores = index.scores(query)
            #expect(scores.indices.max { scores[$0] < scores[$1] } == asked, "\(scores)")
            #expect(scores[6] == 0)
        }
        // As whoever pulls the adapter asks: through the files, in the model's own words, another thread count and instruction set.
        let files = PEFTFolder.files(of: trainer, base: "starter")
        let written = MemoryFolder(Dictionary(uniqueKeysWithValues: files.map { ($0.name, $0.bytes) }))
        let factors = try AdapterFactors(folder: written, config: model.config), row = rows.rows[3]
        let again = try InfluenceIndex(decoding: index.bytes)
        let query = try pass.query(prompt: row.prompt, answer: row.completion, index: index)
        for set in InstructionSet.available {
            let other = try InfluencePass(
                model: model, adapter: factors, rows: rows.root, rowTokensMax: 64, pool: SerialPool(width: 2),
                instructionSet: set, tokensMax: 64)
            #expect(try other.query(prompt: row.prompt, answer: row.completion, index: again) == query)
        }
        #expect(throws: TrainingFault.self) { try pass.query(prompt: row.prompt, answer: [], index: index) }
        #expect(throws: TrainingFault.self) { try pass.query(prompt: [1], answer: [99_999_999], index: index) }
        #expect(throws: TrainingFault.self) {
            try pass.query(prompt: row.prompt, answer: [Int32](repeating: 5, count: 4000), index: index)
        }
        let small = try InfluenceIndexBuilder(InfluenceShape(matrices: [4])).with([1, 2, 3, 4]).finish()
        #expect(throws: InfluenceFault.self) {
            try pass.query(prompt: row.prompt, answer: row.completion, index: small)
        }
    }
}

extension InfluenceIndexBuilder {
    fileprivate func with(_ gradient: [Float]) -> InfluenceIndexBuilder {
        var builder = self
        builder.add(gradient)
        return builder
    }
}
