// One forward and backward pass over a packed batch: the gradients of LoRA's factors, added to what they hold. The forward
// half is that of serving, bit for bit. Work is cut by rows, by the heads of a sequence and by lanes of gradients, never
// inside a sum, and sums over tokens go on from batch to batch: neither threads nor the cut of a step changes a bit.
//
//     forward   [x -> norm -> q k v] | [attention] | [o -> + -> norm -> gate up -> down -> +, next layer's first part] | …
//     backward  [down, gate up, norm, o] | [attention] | [q k v, norm] | [gradients of A and B] | next layer
//
// `|` is where all wait for all. GradientPass+Forward, +Backward, +Attention, +Head and +Products hold the steps.

import Arithmetic
import GradientKernels
import Inference
import Kernels
import ModelFiles

/// What a layer's backward half needs of its forward half, a row a token.
struct LayerTape {
    /// Before the norms over heads, where there are any.
    let rawQuery: FloatRows?
    let rawKey: FloatRows?
    let query: FloatRows
    let key: FloatRows
    let value: FloatRows
    let attended: FloatRows
    /// Before the norms that follow attention and feed-forward, where there are any.
    let attentionAnswer: FloatRows?
    let feedForwardAnswer: FloatRows?
    /// The stream between the halves.
    let middle: FloatRows
    let gate: FloatRows
    let up: FloatRows
    /// scale A x of every module, by input.
    let lowRank: [FloatRows]
}

package final class GradientPass {
    /// Nil where the pass only measures.
    private let loaded: LoadedModel?
    let layers: [FrozenLayer]
    let config: ModelConfig
    let parameters: AdapterParameters
    let isa: Int32
    let pool: any WorkerPool
    let width: Int
    let rowsMax: Int
    let rowTokensMax: Int
    let keepsLayers: Bool
    let tapes: [LayerTape]
    /// The stream before each layer, and after the last.
    let streams: [FloatRows]
    let space: GradientSpace
    let heads: Int
    let keyValueHeads: Int
    let dimension: Int
    let feedForwardWidth: Int
    var batch = PackedBatch()
    var rows = 0
    /// Where it is set, a backward half ends in rows' projections instead of the parameters' gradients.
    var projector: GradientProjector?
    /// Asked before each layer; a pass that nobody wants any more ends there, and what it leaves is nothing.
    var isWanted: () -> Bool = { true }
    private(set) var isBroken = false
    private let memory: FloatMemory

    package var byteCount: Int { memory.byteCount }

    var model: LoadedModel {
        guard let loaded else { preconditionFailure("a pass that measures computes nothing") }
        return loaded
    }

    convenience init(
        model: LoadedModel, parameters: AdapterParameters, pool: any WorkerPool, instructionSet: InstructionSet,
        tokensMax: Int, rowTokensMax: Int, keptBytesMax: Int
    ) throws(ModelFault) {
        try self.init(
            TrainingBase(model), model, parameters: parameters, pool: pool, instructionSet: instructionSet,
            tokensMax: tokensMax, rowTokensMax: rowTokensMax, keptBytesMax: keptBytesMax, memory: FloatMemory())
    }

    /// A pass that has a `byteCount` and cannot run; the base needs no weights for it.
    /// - Parameter memory: one that measures.
    convenience init(
        measuring base: TrainingBase, parameters: AdapterParameters, width: Int, tokensMax: Int, rowTokensMax: Int,
        keptBytesMax: Int, memory: FloatMemory
    ) throws(ModelFault) {
        precondition(memory.measures)
        try self.init(
            base, nil, parameters: parameters, pool: SerialPool(width: width), instructionSet: .best,
            tokensMax: tokensMax, rowTokensMax: rowTokensMax, keptBytesMax: keptBytesMax, memory: memory)
    }

    /// - Parameters:
    ///   - tokensMax: of one packed batch; a longer row makes a batch of its own, up to `rowTokensMax`.
    ///   - keptBytesMax: where the forward halves of all layers take more, each is made a second time when it is needed.
    private init(
        _ base: TrainingBase, _ model: LoadedModel?, parameters: AdapterParameters, pool: any WorkerPool,
        instructionSet: InstructionSet, tokensMax: Int, rowTokensMax: Int, keptBytesMax: Int, memory: FloatMemory
    ) throws(ModelFault) {
        let config = base.config
        try config.checkTrainable()
        layers = try model?.frozenLayers() ?? []
        loaded = model
        self.parameters = parameters
        self.pool = pool
        self.config = config
        isa = instructionSet.code
        let width = max(1, pool.width)
        self.width = width
        rowsMax = max(tokensMax, rowTokensMax)
        self.rowTokensMax = rowTokensMax
        guard case .grouped(let keyValueHeads, let dimension) = config.attention.kind else {
            throw .unsupported(file: "the model", feature: "training through latent attention (\(config.family))")
        }
        heads = config.heads
        self.keyValueHeads = keyValueHeads
        self.dimension = dimension
        feedForwardWidth = base.feedForwardWidth
        let rowsMax = rowsMax, heads = heads, widest = feedForwardWidth
        func rows(_ columns: Int) -> FloatRows { memory.rows(rowsMax, columns: columns) }
        let normsHeads = config.attention.headNorms, normsAfter = config.attention.norms == .beforeAndAfter
        let groupWidths = LayerInput.allCases.map { input in
            parameters.layout.groups.reduce(0) { max($0, $1[input.rawValue].width) }
        }
        let columns =
            (normsHeads ? 3 : 2) * (heads + keyValueHeads) * dimension + (normsAfter ? 3 : 1) * config.hidden
            + 2 * widest + groupWidths.reduce(0, +)
        keepsLayers = config.layers * rowsMax * columns * 4 <= keptBytesMax
        let keepsLayers = keepsLayers
        streams = (0...config.layers).map { _ in rows(config.hidden) }
        tapes = (0..<(keepsLayers ? config.layers : 1)).map { _ in
            LayerTape(
                rawQuery: normsHeads ? rows(heads * dimension) : nil,
                rawKey: normsHeads ? rows(keyValueHeads * dimension) : nil, query: rows(heads * dimension),
                key: rows(keyValueHeads * dimension), value: rows(keyValueHeads * dimension),
                attended: rows(heads * dimension), attentionAnswer: normsAfter ? rows(config.hidden) : nil,
                feedForwardAnswer: normsAfter ? rows(config.hidden) : nil, middle: rows(config.hidden),
                gate: rows(widest), up: rows(widest), lowRank: groupWidths.map { rows($0) })
        }
        space = GradientSpace(
            memory, config: config, rows: rowsMax, rowTokens: rowTokensMax, slices: width, widest: widest,
            groupWidths: groupWidths, heads: heads, keyValueHeads: keyValueHeads, dimension: dimension,
            isQuantized: base.precision.isQuantized, headRows: config.vocabulary)
        self.memory = memory
    }

    /// The loss of each scored token of a batch, in their order; with `weight`, its gradient times that is added to what the
    /// parameters' gradients hold.
    func run(_ batch: PackedBatch, weight: Float?) -> [Double] {
        precondition(batch.tokens.count <= rowsMax)
        self.batch = batch
        rows = batch.tokens.count
        isBroken = false
        guard rows > 0 else { return [] }
        preparePages()
        forward()
        guard !isBroken else { return [] }
        let losses = head(weight: weight)
        if weight != nil { backward() }
        return losses
    }

    func goesOn() -> Bool {
        if !isBroken { isBroken = !isWanted() }
        return !isBroken
    }

    func tape(_ layer: Int) -> LayerTape { tapes[keepsLayers ? layer : 0] }

    /// A slice's share of the rows, in whole groups of 16.
    func part(_ slice: Int) -> (from: Int, to: Int) {
        let groups = (rows + 15) / 16
        return (min(rows, groups * slice / width * 16), min(rows, groups * (slice + 1) / width * 16))
    }

    /// Every slice's share of the rows.
    func eachPart(_ body: (_ slice: Int, _ from: Int, _ to: Int) -> Void) {
        pool.run(count: width) { slice in
            let (from, to) = part(slice)
            if from < to { body(slice, from, to) }
        }
    }

    func group(_ layer: Int, _ input: LayerInput) -> AdapterLayout.Group {
        parameters.layout.groups[layer][input.rawValue]
    }
}

/// Buffers that all layers share.
final class GradientSpace {
    let normed: FloatRows
    let normedMiddle: FloatRows
    let delta: FloatRows
    let gated: FloatRows
    /// Gradients: of the stream, of what the halves add to it, of normed inputs, of attention's answer.
    let streamGradient: FloatRows
    let attentionGradient: FloatRows
    let feedForwardGradient: FloatRows
    let normedGradient: FloatRows
    let attendedGradient: FloatRows
    /// scale B^T delta of every module, by input.
    let lowRankGradient: [FloatRows]
    /// By rope: [position][pair]; sines also negated, for turning back.
    let cosines: [FloatRows]
    let sines: [FloatRows]
    let negatedSines: [FloatRows]
    let rowPosition: UnsafeMutablePointer<Int>
    /// By slice.
    let quants: [UnsafeMutablePointer<UInt8>]
    let panels: [UnsafeMutablePointer<Float>]
    let heads: [HeadSpace]
    let attention: [AttentionSpace]
    /// Keys and values of one layer in the pages that attention reads.
    let pages: UnsafeMutablePointer<UInt8>
    let pageBytes: Int
    let keyBytes: Int
    let headBytes: Int
    let pageTable: UnsafeMutablePointer<UnsafeRawPointer?>
    let pageCount: Int

    /// Rows and columns of a frozen matrix that are unpacked at once.
    static let panelRows = 256, panelColumns = 64

    init(
        _ memory: FloatMemory, config: ModelConfig, rows: Int, rowTokens: Int, slices: Int, widest: Int,
        groupWidths: [Int], heads: Int, keyValueHeads: Int, dimension: Int, isQuantized: Bool, headRows: Int
    ) {
        func make(_ columns: Int) -> FloatRows { memory.rows(rows, columns: columns) }
        let hidden = config.hidden
        normed = make(hidden)
        normedMiddle = make(hidden)
        delta = make(hidden)
        gated = make(widest)
        streamGradient = make(hidden)
        attentionGradient = make(hidden)
        feedForwardGradient = make(hidden)
        normedGradient = make(hidden)
        attendedGradient = make(heads * dimension)
        lowRankGradient = groupWidths.map { make($0) }
        let longest = max(rowTokens, 1)
        cosines = config.ropes.map { memory.rows(longest, columns: $0.pairs) }
        sines = config.ropes.map { memory.rows(longest, columns: $0.pairs) }
        negatedSines = config.ropes.map { memory.rows(longest, columns: $0.pairs) }
        rowPosition = memory.make(Int.self, rows)
        let columnsMax = max(hidden, widest, heads * dimension)
        let quantRows = (rows / slices + 32).rounded(to: 16), quantBlocks = (columnsMax + 31) / 32
        let quantBytes = isQuantized ? quantRows / 16 * quantBlocks * Int(KERNEL_ACTIVATION_BLOCK_BYTES) : 1
        quants = (0..<slices).map { _ in memory.make(UInt8.self, quantBytes) }
        panels = (0..<slices).map { _ in memory.floats(Self.panelRows * Self.panelColumns) }
        self.heads = (0..<slices).map { _ in HeadSpace(memory, hidden: hidden, vocabulary: headRows) }
        attention = (0..<slices).map { _ in AttentionSpace(memory, positions: longest, dimension: dimension) }
        keyBytes = dimension * 16 * 4
        headBytes = keyBytes + 16 * dimension.rounded(to: 16) * 4
        pageBytes = headBytes * keyValueHeads
        pageCount = rows / 16 + PackedBatch.sequencesMax
        pages = memory.make(UInt8.self, pageCount * pageBytes)
        pageTable = .allocate(capacity: pageCount)
        pageTable.initialize(repeating: nil, count: pageCount)
        guard !memory.measures else { return }
        for (index, rope) in config.ropes.enumerated() {
            let frequencies = rope.inverseFrequencies, factor = rope.attentionFactor
            for position in 0..<longest {
                for pair in 0..<rope.pairs {
                    var sine = 0.0, cosine = 0.0
                    kernel_sincos(Double(Float(position) * frequencies[pair]), &sine, &cosine)
                    cosines[index][position][pair] = Float(cosine) * factor
                    sines[index][position][pair] = Float(sine) * factor
                    negatedSines[index][position][pair] = -(Float(sine) * factor)
                }
            }
        }
    }

    deinit { pageTable.deallocate() }
}

/// Of the output head, for some rows at a time.
struct HeadSpace {
    let rows: Int
    let last: FloatRows
    let logits: FloatRows
    let gradient: FloatRows
    let quants: UnsafeMutablePointer<UInt8>

    init(_ memory: FloatMemory, hidden: Int, vocabulary: Int) {
        rows = max(16, min(256, (2 << 20) / max(1, vocabulary)))
        quants = memory.make(
            UInt8.self, rows.rounded(to: 16) / 16 * ((hidden + 31) / 32) * Int(KERNEL_ACTIVATION_BLOCK_BYTES))
        last = memory.rows(rows, columns: hidden)
        logits = memory.rows(rows, columns: vocabulary)
        gradient = memory.rows(rows, columns: hidden)
    }
}

/// Of one key/value head of one sequence.
struct AttentionSpace {
    static let queriesAtOnce = 64

    /// [position][channel], [channel][position].
    let query: FloatRows
    let key: FloatRows
    let value: FloatRows
    let turnedKey: FloatRows
    let turnedValue: FloatRows
    let answerGradient: FloatRows
    let queryGradient: FloatRows
    let keyGradient: FloatRows
    let valueGradient: FloatRows
    /// [query][position].
    let scores: FloatRows
    let scoreGradients: FloatRows
    let room: UnsafeMutablePointer<Float>

    init(_ memory: FloatMemory, positions: Int, dimension: Int) {
        query = memory.rows(positions, columns: dimension)
        key = memory.rows(positions, columns: dimension)
        value = memory.rows(positions, columns: dimension)
        turnedKey = memory.rows(dimension, columns: positions)
        turnedValue = memory.rows(dimension, columns: positions)
        answerGradient = memory.rows(positions, columns: dimension)
        queryGradient = memory.rows(positions, columns: dimension)
        keyGradient = memory.rows(positions, columns: dimension)
        valueGradient = memory.rows(positions, columns: dimension)
        scores = memory.rows(Self.queriesAtOnce, columns: positions)
        scoreGradients = memory.rows(Self.queriesAtOnce, columns: positions)
        room = memory.floats(positions.rounded(to: 32))
    }
}
