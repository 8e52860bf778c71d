// The gradients of rows at an adapter's weights, projected: what an influence index is made of, and what is asked of it. One
// pass forward and back over packed rows, as in training; instead of LoRA's gradients each row's own projection is summed, so
// nothing as large as a gradient is ever held for a row. The bits are those of training's rule: they do not depend on the
// processor, the threads or who shares a batch.

package import Arithmetic
package import Attribution
import GradientKernels
package import Inference
import ModelFiles
package import Primitives

package final class InfluencePass {
    package let projection: InfluenceProjection
    private let gradient: GradientPass
    private let projector: GradientProjector
    private let tokensMax: Int

    /// At a trainer's weights as they are; it computes nothing else meanwhile.
    /// - Parameter rows: the Merkle root of the trainer's rows.
    package convenience init(of trainer: Trainer, rows: Digest) throws(InfluenceFault) {
        try self.init(trainer.gradient, rows: rows, tokensMax: trainer.tokensMax)
    }

    /// At the weights of an adapter that was trained before.
    /// - Parameters:
    ///   - rows: the Merkle root of its rows, from its `TrainingManifest`.
    ///   - rowTokensMax: of the longest row, or prompt and answer, that it will be asked of.
    ///   - tokensMax: of rows that are computed at once.
    package convenience init(
        model: LoadedModel, adapter: AdapterFactors, rows: Digest, rowTokensMax: Int,
        pool: any WorkerPool = SerialPool(), instructionSet: InstructionSet = .best,
        tokensMax: Int = TrainingLimit.packedTokensMax, keptBytesMax: Int = 1 << 30
    ) throws {
        let parameters = AdapterParameters(AdapterLayout(adapter.chosen, config: model.config))
        parameters.read(adapter.modules)
        let longest = min(rowTokensMax, TrainingLimit.rowTokensMax, model.config.contextTokens)
        let gradient = try GradientPass(
            model: model, parameters: parameters, pool: pool, instructionSet: instructionSet, tokensMax: tokensMax,
            rowTokensMax: longest, keptBytesMax: keptBytesMax)
        try self.init(gradient, rows: rows, tokensMax: tokensMax)
    }

    private init(_ gradient: GradientPass, rows: Digest, tokensMax: Int) throws(InfluenceFault) {
        projection = try InfluenceProjection(gradient.parameters.layout, rows: rows)
        self.gradient = gradient
        self.tokensMax = tokensMax
        projector = GradientProjector(projection, gradient)
    }

    package var byteCount: Int { projector.byteCount }

    /// Bytes that a pass at an adapter's weights takes beside the base, before it is made.
    package static func byteCount(
        base: TrainingBase, adapter: AdapterFactors, rowTokensMax: Int, tokensMax: Int, width: Int, keptBytesMax: Int
    ) throws -> Int {
        let layout = AdapterLayout(adapter.chosen, config: base.config), memory = FloatMemory(measures: true)
        let longest = min(rowTokensMax, TrainingLimit.rowTokensMax, base.config.contextTokens)
        let pass = try GradientPass(
            measuring: base, parameters: AdapterParameters(layout, memory: memory), width: width, tokensMax: tokensMax,
            rowTokensMax: longest, keptBytesMax: keptBytesMax, memory: memory)
        return memory.byteCount + byteCount(layout, rowsMax: pass.rowsMax, width: pass.width)
    }

    /// Bytes that it takes beside a gradient pass of this layout, before it is made.
    package static func byteCount(_ layout: AdapterLayout, rowsMax: Int, width: Int) -> Int {
        let memory = FloatMemory(measures: true)
        guard let projection = try? InfluenceProjection(layout, rows: Digest(sha256: [])) else { return 0 }
        GradientProjector.lay(memory, projection, layout, rowsMax: rowsMax, width: width)
        return memory.byteCount
    }

    /// Bytes that the index of so many rows takes while it is made; 0 for a layout that none is made for.
    static func indexByteCount(_ layout: AdapterLayout, rows: Int) -> Int {
        guard let projection = try? InfluenceProjection(layout, rows: Digest(sha256: [])) else { return 0 }
        return InfluenceIndexBuilder.byteCount(projection.shape, rows: rows)
    }

    /// The projected gradient of each row: of the mean loss of its scored tokens; zeros where nothing is scored.
    /// - Parameter isWanted: asked before each packed batch; false ends it.
    /// - Returns: false where it was ended.
    package func gradients(
        of rows: [TrainingRow], while isWanted: () throws -> Bool = { true }, _ take: ([Float]) -> Void
    ) throws -> Bool {
        precondition(rows.allSatisfy { $0.inputCount <= gradient.rowTokensMax })
        let columns = projection.shape.columns
        gradient.projector = projector
        defer { gradient.projector = nil }
        var next = 0
        for batch in PackedBatch.cut(rows, tokensMax: tokensMax) {
            guard try isWanted() else { return false }
            _ = gradient.run(batch, weight: 1)
            for index in batch.sequences.indices {
                // Rows without a scored token are in no batch.
                while rows[next].inputCount == 0 {
                    take([Float](repeating: 0, count: columns))
                    next += 1
                }
                take(projector.row(index, weight: 1 / Float(rows[next].scoredCount)))
                next += 1
            }
        }
        for _ in next..<rows.count { take([Float](repeating: 0, count: columns)) }
        return true
    }

    /// The influence index of rows, in their order: row i of the index is row i of `rows`.
    /// - Parameters:
    ///   - owners: whether each row owns its cluster (`NearDuplicates.owners`): others are zeros.
    ///   - isWanted: asked before each packed batch with the rows that are done; false ends it without an index.
    package func index(
        of rows: [TrainingRow], owners: [Bool], while isWanted: (_ done: Int) throws -> Bool = { _ in true }
    ) throws -> InfluenceIndex? {
        precondition(rows.count == owners.count)
        var builder = InfluenceIndexBuilder(projection.shape), done = 0
        let isWhole = try gradients(of: rows, while: { try isWanted(done) }) { gradient in
            builder.add(gradient, isOwner: owners[done])
            done += 1
        }
        return isWhole ? try builder.finish() : nil
    }

    /// What an answer is asked of an index as: the gradient of its mean loss after its prompt, corrected and quantised. From
    /// here on `InfluenceIndex.scores` is integers, the same for every peer; and so are these bytes for every peer that has
    /// the model in one precision, the adapter and the index.
    /// - Parameters:
    ///   - prompt: tokens as the model read them.
    ///   - answer: tokens that it gave, with the one that ended it where that was given.
    ///   - isWanted: asked before each layer.
    /// - Throws: where the answer is empty, both are longer than `rowTokensMax`, or the index is of another shape;
    ///   `CancellationError` where nobody wants it any more.
    package func query(
        prompt: [Int32], answer: [Int32], index: InfluenceIndex, while isWanted: @escaping () -> Bool = { true }
    ) throws -> [Int8] {
        let row = TrainingRow(tokens: prompt + answer, labels: prompt.map { _ in nil } + answer.map { $0 })
        guard row.scoredCount > 0 else { throw TrainingFault.rows("the answer has no token that a prompt precedes") }
        guard row.inputCount <= gradient.rowTokensMax else {
            throw TrainingFault.rows("prompt and answer have \(row.tokens.count) tokens, more than was made room for")
        }
        guard row.tokens.allSatisfy({ $0 >= 0 && Int($0) < gradient.config.vocabulary }) else {
            throw TrainingFault.rows("a token id is outside the vocabulary of \(gradient.config.vocabulary)")
        }
        guard index.shape == projection.shape else {
            throw InfluenceFault.shape("another shape than the adapter's projection: it is another adapter's")
        }
        var found: [Float] = []
        gradient.isWanted = isWanted
        defer { gradient.isWanted = { true } }
        _ = try gradients(of: [row]) { found = $0 }
        guard !gradient.isBroken else { throw CancellationError() }
        return try index.query(found)
    }
}

/// Sums the projections of a packed batch's rows while its backward half runs.
final class GradientProjector {
    private let projection: InfluenceProjection
    private let layout: AdapterLayout
    private let memory = FloatMemory()
    /// Of each module, [output][sign], and of those that fold the signs of the short side, [rank][sign].
    private var signs: [FloatRows] = []
    private var folds: [[Float]] = []
    /// By slice: delta times the signs, a row a token.
    private var products: [FloatRows] = []
    /// By slice: one row's sum, [sign][rank].
    private var sums: [FloatRows] = []
    /// [sequence][column].
    private var out: FloatRows

    var byteCount: Int { memory.byteCount }

    init(_ projection: InfluenceProjection, _ gradient: GradientPass) {
        self.projection = projection
        layout = gradient.parameters.layout
        let laid = Self.lay(
            memory, projection, layout, rowsMax: gradient.rowsMax, width: gradient.width)
        (signs, products, sums, out) = (laid.signs, laid.products, laid.sums, laid.out)
        for matrix in projection.matrices {
            let module = layout.modules[matrix.place], wide = matrix.wide, rows = module.module.rows
            let values = projection.signs(of: matrix, count: (rows + (matrix.folds ? module.rank : 0)) * wide)
            for row in 0..<rows {
                for column in 0..<wide { signs[matrix.place][row][column] = values[row * wide + column] }
            }
            folds.append(Array(values[(rows * wide)...]))
        }
    }

    /// The buffers.
    @discardableResult
    static func lay(
        _ memory: FloatMemory, _ projection: InfluenceProjection, _ layout: AdapterLayout, rowsMax: Int, width: Int
    ) -> (signs: [FloatRows], products: [FloatRows], sums: [FloatRows], out: FloatRows) {
        let widest = projection.matrices.reduce(0) { max($0, $1.wide) }
        let rank = layout.modules.reduce(0) { max($0, $1.width) }
        return (
            projection.matrices.map { memory.rows(layout.modules[$0.place].module.rows, columns: $0.wide) },
            (0..<width).map { _ in memory.rows(rowsMax, columns: widest) },
            (0..<width).map { _ in memory.rows(widest, columns: rank) },
            memory.rows(PackedBatch.sequencesMax, columns: projection.shape.columns)
        )
    }

    /// A row's columns after a pass with weight 1.
    func row(_ sequence: Int, weight: Float) -> [Float] {
        (0..<projection.shape.columns).map { out[sequence][$0] * weight }
    }

    /// The columns of one module, of every sequence of the batch.
    func project(
        _ place: Int, _ pass: GradientPass, low: FloatRows, slice: Int, deltas: (_ slot: Int) -> FloatRows
    ) {
        let matrix = projection.matrices[place], module = layout.modules[place], signs = signs[place]
        let products = products[slice], sum = sums[slice], tiles = (matrix.wide + 15) / 16
        for (index, part) in module.parts.enumerated() {
            let delta = deltas(part.slot)
            var product = gradient_product(
                m: signs[part.firstRow], tile_stride: 16, depth_stride: signs.stride, x: delta.values,
                x_stride: delta.stride, x_step: 1, y: products.values, y_stride: products.stride, tiles: tiles,
                depth: part.rows, rows: pass.rows, mode: Int32(index == 0 ? GRADIENT_REPLACE : GRADIENT_CONTINUE))
            gradient_multiply(pass.isa, &product)
        }
        for (index, sequence) in pass.batch.sequences.enumerated() {
            var product = gradient_product(
                m: low[sequence.start] + module.column, tile_stride: 16, depth_stride: low.stride,
                x: products[sequence.start], x_stride: 1, x_step: products.stride, y: sum.values, y_stride: sum.stride,
                tiles: module.width / 16, depth: sequence.count, rows: matrix.wide, mode: Int32(GRADIENT_REPLACE))
            gradient_multiply(pass.isa, &product)
            let columns = out[index] + matrix.first
            for sign in 0..<matrix.wide {
                if matrix.folds {
                    var value: Float = 0
                    for rank in 0..<module.rank { value += folds[place][rank * matrix.wide + sign] * sum[sign][rank] }
                    columns[sign] = value
                } else {
                    for rank in 0..<module.rank { columns[sign * module.rank + rank] = sum[sign][rank] }
                }
            }
        }
    }
}

extension GradientPass {
    /// In place of a layer's gradients of A and B.
    func project(_ layer: Int, _ projector: GradientProjector, slice: Int) {
        let tape = tape(layer)
        for input in LayerInput.allCases {
            for index in group(layer, input).modules where index % width == slice {
                projector.project(index, self, low: tape.lowRank[input.rawValue], slice: slice) { slot in
                    switch slot {
                    case 0: tape.query
                    case 1: tape.key
                    case 2: tape.value
                    case 3: space.attentionGradient
                    case 4: tape.gate
                    case 5: tape.up
                    default: space.feedForwardGradient
                    }
                }
            }
        }
    }
}

extension AdapterFactors {
    /// As a layout takes them.
    var chosen: [(layer: Int, module: AdapterModule, rank: Int, scale: Double)] {
        modules.map { (layer: $0.layer, module: $0.module, rank: $0.rank, scale: $0.scale) }
    }
}
