// One forward pass over a batch: the tokens of several sequences, each at its own position and with its own adapter. Reads
// like the paper; every step is a kernel over rows (tokens) or tiles (outputs), cut into as many slices as the pool is wide.
// Which rows share a batch, how a prompt was cut into chunks and how wide the pool is change no bit of any row.
//
//     x -> norm -> attention -> (norm) -> + -> norm -> gated unit or experts -> (norm) -> +
//
// What a step computes is said by ModelConfig and the layers' weights; no family is named here.
// Transformer+Attention: the first half. Transformer+FeedForward and +Experts: the second. Transformer+Products: matrices
// and adapters.

import Arithmetic
import Kernels

/// Consecutive tokens of one sequence within a batch.
struct BatchSegment {
    let pages: PageTable
    let start: Int
    let count: Int
    /// The first of its rows in the batch.
    let row: Int
    let adapter: LoadedAdapter?
}

final class Transformer {
    let model: LoadedModel
    let rowsMax: Int
    let logitRowsMax: Int
    let config: ModelConfig
    let isa: Int32
    let pool: any WorkerPool
    let width: Int
    let cache: PagePool
    let space: Workspace
    let steps: [LayerSteps]
    private let frequencies: [[Float]]
    var segments: [BatchSegment] = []
    var rows = 0
    /// The layer whose keys and values are the first in a page.
    var firstCached: Int
    /// Of the batch: its greatest rank as whole tiles.
    var rankStride = 16

    /// Rows of logits after `computeLogits`.
    var logits: UnsafeMutablePointer<Float> { space.logits.values }
    var logitStride: Int { space.logits.stride }

    init(
        model: LoadedModel, cache: PagePool, pool: any WorkerPool, instructionSet: InstructionSet, rowsMax: Int,
        logitRowsMax: Int
    ) {
        self.model = model
        self.cache = cache
        self.pool = pool
        self.rowsMax = rowsMax
        self.logitRowsMax = logitRowsMax
        isa = instructionSet.code
        width = max(1, pool.width)
        config = model.config
        firstCached = model.range.lowerBound
        let space = Workspace(
            config: model.config, rows: rowsMax, logitRows: logitRowsMax, slices: width,
            lowRankFloats: Self.groupMax * Self.rankStrideMax)
        self.space = space
        steps = model.layers.map { LayerSteps($0, space) }
        frequencies = model.config.ropes.map(\.inverseFrequencies)
    }

    /// Runs all layers; what the last one says of each row is left in place for `computeLogits`.
    func forward(tokens: [Int32], segments batch: [BatchSegment]) {
        begin(tokens: tokens, segments: batch)
        run(layers: 0..<config.layers)
        end()
    }

    /// Puts tokens at the beginning of the stream.
    func begin(tokens: [Int32], segments batch: [BatchSegment]) {
        begin(rows: tokens.count, segments: batch)
        for (row, token) in tokens.enumerated() {
            model.embeddings.read(token: token, into: space.stream[row])
            if let scale = config.embeddingScale { kernel_scale(isa, space.stream[row], config.hidden, scale) }
        }
    }

    /// Takes a batch whose rows' stream is filled by whoever calls.
    func begin(rows count: Int, segments batch: [BatchSegment]) {
        precondition(count <= rowsMax)
        segments = batch
        rows = count
        rankStride = (segments.reduce(1) { max($0, $1.adapter?.rankMax ?? 0) } + 15) / 16 * 16
        for (index, segment) in segments.enumerated() {
            for token in 0..<segment.count {
                space.rowSegment[segment.row + token] = index
                turn(row: segment.row + token, position: segment.start + token)
            }
        }
    }

    /// Runs consecutive layers that are here. The stream holds what those before them left, and then what they leave: the
    /// last sublayer's answer is added to it, so that whoever goes on needs nothing else.
    func run(layers: Range<Int>) {
        guard !layers.isEmpty else { return }
        var pending: [Float]?
        for index in layers {
            let place = index - model.range.lowerBound
            let layer = model.layers[place], steps = steps[place]
            let input = NormedInput(
                addsDelta: index > layers.lowerBound, deltaNorm: pending, norm: layer.beforeAttention)
            switch layer.attention {
            case .grouped(let weights): attend(weights, steps, input, layer: index)
            case .latent(let weights): attend(weights, steps, input, layer: index)
            }
            let middle = NormedInput(
                addsDelta: true, deltaNorm: layer.afterAttention, norm: layer.beforeFeedForward)
            switch layer.feedForward {
            case .dense(let unit): feedForward(unit, steps, middle, layer: index)
            case .experts(let weights): feedForward(weights, steps, middle, layer: index)
            }
            pending = layer.afterFeedForward
        }
        for row in 0..<rows { addDelta(row, norm: pending) }
    }

    func end() { segments.removeAll(keepingCapacity: true) }

    /// Logits of at most `logitRowsMax` of the batch's rows, in their order.
    func computeLogits(of chosen: ArraySlice<Int>) {
        precondition(chosen.count <= logitRowsMax)
        let last = space.last
        for (index, row) in chosen.enumerated() {
            kernel_rmsnorm(
                isa, space.stream[row], config.hidden, model.finalNorm, config.epsilon,
                last.values + index * last.stride)
        }
        let head = model.head
        if head.precision.isQuantized { quantize(last, from: 0, to: chosen.count) }
        pool.run(count: width) { slice in
            let (from, to) = part(head.tiles, slice)
            guard from < to else { return }
            head.multiply(
                isa: isa, from: from, to: to, input: last, output: logits, stride: logitStride, tokens: chosen.count)
            if let cap = config.logitCap {
                for index in 0..<chosen.count {
                    kernel_soft_cap(isa, space.logits[index] + from * 16, (to - from) * 16, cap)
                }
            }
        }
    }

    /// A slice's share of `count` things.
    func part(_ count: Int, _ slice: Int) -> (Int, Int) {
        (count * slice / width, count * (slice + 1) / width)
    }

    /// The angles of one row, for every rotation that the model has.
    private func turn(row: Int, position: Int) {
        for (index, rope) in config.ropes.enumerated() {
            let cosines = space.cosines[index][row], sines = space.sines[index][row]
            let factor = rope.attentionFactor
            for pair in 0..<rope.pairs {
                var sine = 0.0, cosine = 0.0
                kernel_sincos(Double(Float(position) * frequencies[index][pair]), &sine, &cosine)
                cosines[pair] = Float(cosine) * factor
                sines[pair] = Float(sine) * factor
            }
        }
    }

    /// stream += norm(delta).
    func addDelta(_ row: Int, norm: [Float]?) {
        let delta = space.delta[row]
        if let norm { kernel_rmsnorm(isa, delta, config.hidden, norm, config.epsilon, delta) }
        kernel_add(isa, space.stream[row], delta, config.hidden)
    }

    /// One row of a sublayer's input.
    func makeInput(_ row: Int, _ input: NormedInput) {
        if input.addsDelta { addDelta(row, norm: input.deltaNorm) }
        kernel_rmsnorm(
            isa, space.stream[row], config.hidden, input.norm, config.epsilon,
            space.normed.values + row * space.normed.stride)
    }
}

/// How a sublayer's input comes from the stream: what the last one left is added first.
struct NormedInput {
    let addsDelta: Bool
    let deltaNorm: [Float]?
    let norm: [Float]
}
