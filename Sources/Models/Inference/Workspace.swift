// The memory of one forward pass, made once for so many rows: nothing is allocated while tokens are computed.
//
// Strides are multiples of 32, a whole int8 block: what lies between a row's length and its stride stays zero.

import Kernels

/// The buffers of one engine, freed with it.
final class FloatArena {
    private var blocks: [UnsafeMutableRawPointer] = []

    func make<T: ExpressibleByIntegerLiteral & BitwiseCopyable>(_ type: T.Type, _ count: Int) -> UnsafeMutablePointer<T>
    {
        let bytes = max(count, 1) * MemoryLayout<T>.stride
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
        blocks.append(memory)
        return memory.initializeMemory(as: type, repeating: 0, count: max(count, 1))
    }

    deinit {
        for block in blocks { block.deallocate() }
    }
}

/// Rows of floats.
struct Rows {
    let values: UnsafeMutablePointer<Float>
    let stride: Int

    subscript(row: Int) -> UnsafeMutablePointer<Float> { values + row * stride }
}

final class Workspace {
    /// Rows of an expert's share begin at multiples of this.
    static let expertRowAlignment = 16

    /// The residual stream, and what the last sublayer adds to it.
    let stream: Rows
    let delta: Rows
    let normed: Activations
    let attended: Activations
    /// Outputs of the gate, by width; `up` is as wide as the widest.
    private let gated: [Int: Activations]
    let up: Rows
    let query: Rows
    let key: Rows
    let value: Rows
    /// The rows whose logits are wanted.
    let last: Activations
    let logits: Rows
    let latent: LatentSpace?
    let experts: ExpertSpace?
    /// Products of LoRA's first factors.
    let lowRank: UnsafeMutablePointer<Float>
    /// By rope: [row][pair].
    let cosines: [Rows]
    let sines: [Rows]
    /// By slice: room for the products of LoRA's first factors.
    let factors: [UnsafeMutablePointer<kernel_product>]
    let rowSegment: UnsafeMutablePointer<Int>
    private let arena: FloatArena

    init(config: ModelConfig, rows: Int, logitRows: Int, slices: Int, lowRankFloats: Int) {
        let arena = FloatArena()
        self.arena = arena
        let expertRows = ExpertSpace.rows(config, batchRows: rows)
        let widths = config.feedForwardWidths
        let attentionColumns = config.attentionOutputColumns
        let quantRows = max(rows, expertRows)
        var activationWidths = widths.union([config.hidden, attentionColumns])
        if case .latent(let plan) = config.attention.kind, let rank = plan.queryRank { activationWidths.insert(rank) }
        let quants = QuantSpace(arena: arena, rows: quantRows, columns: activationWidths.max() ?? 1)
        func rowsOf(_ columns: Int, count: Int = 0) -> Rows {
            let stride = (columns + 31) / 32 * 32
            return Rows(values: arena.make(Float.self, (count == 0 ? rows : count) * stride), stride: stride)
        }
        func activations(_ columns: Int, count: Int = 0) -> Activations {
            quants.activations(rowsOf(columns, count: count))
        }
        stream = rowsOf(config.hidden)
        delta = rowsOf(config.hidden)
        normed = activations(config.hidden)
        attended = activations(attentionColumns)
        gated = Dictionary(uniqueKeysWithValues: widths.map { ($0, activations($0, count: quantRows)) })
        up = rowsOf(widths.max() ?? 1, count: quantRows)
        last = activations(config.hidden, count: logitRows)
        logits = rowsOf(config.vocabulary, count: logitRows)
        switch config.attention.kind {
        case .grouped(let keyValueHeads, let dimension):
            query = rowsOf(config.heads * dimension)
            key = rowsOf(keyValueHeads * dimension)
            value = rowsOf(keyValueHeads * dimension)
            latent = nil
        case .latent(let plan):
            query = rowsOf(config.heads * (plan.plain + plan.rotated))
            key = rowsOf(config.headDimension)
            value = key
            latent = LatentSpace(
                bottleneck: plan.queryRank.map { activations($0) }, down: rowsOf(plan.rank + plan.rotated),
                queryHeadStride: (config.headDimension + 15) / 16 * 16, valueHeadStride: (plan.value + 15) / 16 * 16,
                query: rowsOf(config.heads * ((config.headDimension + 15) / 16 * 16)),
                answer: rowsOf(config.heads * config.valueDimension),
                value: rowsOf(config.heads * ((plan.value + 15) / 16 * 16)))
        }
        experts =
            expertRows == 0
            ? nil
            : ExpertSpace(config, arena: arena, batchRows: rows, input: activations(config.hidden, count: expertRows))
        lowRank = arena.make(Float.self, quantRows * lowRankFloats)
        cosines = config.ropes.map { rowsOf($0.pairs) }
        sines = config.ropes.map { rowsOf($0.pairs) }
        factors = (0..<slices).map { _ in .allocate(capacity: rows * Transformer.groupMax) }
        rowSegment = arena.make(Int.self, rows)
    }

    deinit {
        for list in factors { list.deallocate() }
    }

    func gated(width: Int) -> Activations {
        guard let found = gated[width] else { preconditionFailure("no layer is \(width) wide") }
        return found
    }
}

/// What latent attention needs beside it.
struct LatentSpace {
    /// The query's bottleneck.
    let bottleneck: Activations?
    /// [latent, rotated key] as the matrix gives them.
    let down: Rows
    let queryHeadStride: Int
    let valueHeadStride: Int
    /// By head: the query in the latent's space, then its rotated part.
    let query: Rows
    /// By head: what attention answers, in the latent's space.
    let answer: Rows
    /// By head: the answer's value channels.
    let value: Rows
}

extension ModelConfig {
    /// Widths of gates, shared and routed experts'.
    fileprivate var feedForwardWidths: Set<Int> {
        var widths: Set<Int> = []
        for plan in plans {
            switch plan.feedForward {
            case .dense(let width, _): widths.insert(width)
            case .experts(let plan):
                widths.formUnion(plan.sharedWidth > 0 ? [plan.width, plan.sharedWidth] : [plan.width])
            }
        }
        return widths
    }

    fileprivate var attentionOutputColumns: Int {
        switch attention.kind {
        case .grouped(_, let dimension): heads * dimension
        case .latent(let plan): heads * plan.value
        }
    }
}

/// int8 blocks of whatever activations were made last.
struct QuantSpace {
    private let quants: UnsafeMutableRawPointer

    init(arena: FloatArena, rows: Int, columns: Int) {
        quants = UnsafeMutableRawPointer(
            arena.make(UInt8.self, Activations.quantBytes(rows: rows, columns: columns)))
    }

    func activations(_ rows: Rows) -> Activations {
        Activations(values: rows.values, stride: rows.stride, quants: quants)
    }
}
