// One forward pass over a batch: the tokens of several sequences, each at its own position and with its own adapter.
// Reads
// like the paper; every step is a kernel over rows (tokens) or tiles (outputs), cut into as many slices as the pool is
// wide.
// Which rows share a batch, how a prompt was cut into chunks and how wide the pool is change no bit of any row.
//
//     x -> norm -> q k v -> rotate -> cache -> attention -> o -> + -> norm -> gate up -> silu -> down -> +

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
    private static let rankStride = AdapterLimit.rankMax
    private static let groupMax = 3

    let model: LoadedModel
    let rowsMax: Int
    let logitRowsMax: Int
    let logitStride: Int
    /// Rows of logits after `computeLogits`.
    let logits: UnsafeMutablePointer<Float>
    private let config: ModelConfig
    private let isa: Int32
    private let pool: any WorkerPool
    private let width: Int
    private let cache: PagePool
    private let hiddenStride: Int
    private let stream: UnsafeMutablePointer<Float>
    private let delta: UnsafeMutablePointer<Float>
    private let normed: Activations
    private let attended: Activations
    private let gated: Activations
    private let last: Activations
    /// By `Projection.rawValue`: where its product goes, and the stride of a row there.
    private let outputs: [(values: UnsafeMutablePointer<Float>, stride: Int)]
    private let lowRank: UnsafeMutablePointer<Float>
    private let cosines: UnsafeMutablePointer<Float>
    private let sines: UnsafeMutablePointer<Float>
    private let scores: UnsafeMutablePointer<Float>
    private let scoreStride: Int
    private let rowSegment: UnsafeMutablePointer<Int>
    private let arena: FloatArena
    private var segments: [BatchSegment] = []
    private var rows = 0

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
        // 32 is a whole int8 block: what lies between a row's length and its stride stays zero.
        func stride(_ count: Int) -> Int { (count + 31) / 32 * 32 }
        let queryStride = stride(config.heads * config.headDimension)
        let keyStride = stride(config.keyValueHeads * config.headDimension)
        let middleStride = stride(config.intermediate)
        hiddenStride = stride(config.hidden)
        let arena = FloatArena()
        self.arena = arena
        let blocks = max(hiddenStride, queryStride, middleStride) / 32
        let quants = arena.make(Int8.self, rowsMax * blocks * 32)
        let quantScales = arena.make(Float.self, rowsMax * blocks), sums = arena.make(Int32.self, rowsMax * blocks)
        func activations(_ stride: Int, rows: Int) -> Activations {
            Activations(
                values: arena.make(Float.self, rows * stride), stride: stride, quants: quants, scales: quantScales,
                sums: sums)
        }
        stream = arena.make(Float.self, rowsMax * hiddenStride)
        delta = arena.make(Float.self, rowsMax * hiddenStride)
        normed = activations(hiddenStride, rows: rowsMax)
        attended = activations(queryStride, rows: rowsMax)
        gated = activations(middleStride, rows: rowsMax)
        last = activations(hiddenStride, rows: logitRowsMax)
        let query = arena.make(Float.self, rowsMax * queryStride)
        let key = arena.make(Float.self, rowsMax * keyStride), value = arena.make(Float.self, rowsMax * keyStride)
        let up = arena.make(Float.self, rowsMax * middleStride)
        outputs = [
            (query, queryStride), (key, keyStride), (value, keyStride), (delta, hiddenStride),
            (gated.values, middleStride), (up, middleStride), (delta, hiddenStride),
        ]
        lowRank = arena.make(Float.self, rowsMax * Self.groupMax * Self.rankStride)
        cosines = arena.make(Float.self, rowsMax * config.headDimension / 2)
        sines = arena.make(Float.self, rowsMax * config.headDimension / 2)
        scoreStride = (config.contextTokens + 31) / 16 * 16
        scores = arena.make(Float.self, width * scoreStride)
        rowSegment = arena.make(Int.self, rowsMax)
        logitStride = stride(config.vocabulary)
        logits = arena.make(Float.self, logitRowsMax * logitStride)
    }

    /// Runs the layers; what the last one says of each row is left in place for `computeLogits`.
    func forward(tokens: [Int32], segments batch: [BatchSegment]) {
        precondition(tokens.count <= rowsMax)
        segments = batch
        rows = tokens.count
        for (row, token) in tokens.enumerated() {
            model.embeddings.read(token: token, into: stream + row * hiddenStride)
        }
        let half = config.headDimension / 2
        for (index, segment) in segments.enumerated() {
            for token in 0..<segment.count {
                let row = segment.row + token
                rowSegment[row] = index
                rotation(position: segment.start + token, cosines + row * half, sines + row * half)
            }
        }
        for index in 0..<config.layers {
            let layer = model.layers[index]
            prepare(
                normed, columns: config.hidden, addsDelta: index > 0, norm: layer.inputNorm, layer: index, group: 0..<3)
            multiply(normed, layer: index, group: 0..<3)
            rotateAndCache(layer: index)
            attend(layer: index)
            prepare(attended, columns: attended.stride, layer: index, group: 3..<4)
            multiply(attended, layer: index, group: 3..<4)
            prepare(normed, columns: config.hidden, addsDelta: true, norm: layer.postNorm, layer: index, group: 4..<6)
            multiply(normed, layer: index, group: 4..<6)
            prepare(gated, columns: config.intermediate, activates: true, layer: index, group: 6..<7)
            multiply(gated, layer: index, group: 6..<7)
        }
        for row in 0..<rows { kernel_add(isa, stream + row * hiddenStride, delta + row * hiddenStride, config.hidden) }
        segments.removeAll(keepingCapacity: true)
    }

    /// Logits of at most `logitRowsMax` of the batch's rows, in their order.
    func computeLogits(of chosen: ArraySlice<Int>) {
        precondition(chosen.count <= logitRowsMax)
        for (index, row) in chosen.enumerated() {
            kernel_rmsnorm(
                isa, stream + row * hiddenStride, config.hidden, model.finalNorm, config.epsilon,
                last.values + index * hiddenStride)
        }
        let head = model.head
        if head.precision == .int8 { quantize(last, from: 0, to: chosen.count) }
        pool.run(count: width) { slice in
            let (from, to) = part(head.tiles, slice)
            head.multiply(
                isa: isa, from: from, to: to, input: last, output: logits, stride: logitStride, tokens: chosen.count)
        }
    }

    private func part(_ count: Int, _ slice: Int) -> (Int, Int) {
        (count * slice / width, count * (slice + 1) / width)
    }

    private func rotation(position: Int, _ cosines: UnsafeMutablePointer<Float>, _ sines: UnsafeMutablePointer<Float>) {
        for pair in 0..<config.headDimension / 2 {
            var sine = 0.0, cosine = 0.0
            kernel_sincos(Double(Float(position) * model.inverseFrequencies[pair]), &sine, &cosine)
            cosines[pair] = Float(cosine)
            sines[pair] = Float(sine)
        }
    }

    private func quantize(_ input: Activations, from: Int, to: Int) {
        let blocks = input.stride / 32
        kernel_quantize(
            isa, input.values + from * input.stride, input.stride, to - from, blocks, input.quants + from * blocks * 32,
            input.scales + from * blocks, input.sums + from * blocks)
    }

    /// Makes the input of a group of matrices, row by row: residual, norm or activation, int8 blocks, LoRA's first
    /// half.
    private func prepare(
        _ input: Activations, columns: Int, addsDelta: Bool = false, norm: [Float]? = nil, activates: Bool = false,
        layer: Int, group: Range<Int>
    ) {
        pool.run(count: width) { slice in
            let (from, to) = part(rows, slice)
            guard from < to else { return }
            for row in from..<to {
                if addsDelta { kernel_add(isa, stream + row * hiddenStride, delta + row * hiddenStride, config.hidden) }
                if let norm {
                    kernel_rmsnorm(
                        isa, stream + row * hiddenStride, config.hidden, norm, config.epsilon,
                        input.values + row * input.stride)
                }
                if activates {
                    let up = outputs[Projection.up.rawValue]
                    kernel_silu_multiply(isa, input.values + row * input.stride, up.values + row * up.stride, columns)
                }
            }
            if model.precision == .int8 { quantize(input, from: from, to: to) }
            for segment in segments {
                let first = max(from, segment.row), end = min(to, segment.row + segment.count)
                guard let adapter = segment.adapter, first < end else { continue }
                for index in group {
                    guard let update = adapter.updates[layer][index] else { continue }
                    let here = Activations(
                        values: input.values + first * input.stride, stride: input.stride, quants: input.quants,
                        scales: input.scales, sums: input.sums)
                    update.down.multiply(
                        isa: isa, from: 0, to: update.down.tiles, input: here,
                        output: lowRank + (first * Self.groupMax + index - group.lowerBound) * Self.rankStride,
                        stride: Self.groupMax * Self.rankStride, tokens: end - first)
                }
            }
        }
    }

    /// The products of a group of matrices with one input, and LoRA's second half.
    private func multiply(_ input: Activations, layer: Int, group: Range<Int>) {
        let matrices = model.layers[layer].matrices
        pool.run(count: width) { slice in
            for index in group {
                let matrix = matrices[index], output = outputs[index]
                let (from, to) = part(matrix.tiles, slice)
                guard from < to else { continue }
                matrix.multiply(
                    isa: isa, from: from, to: to, input: input, output: output.values, stride: output.stride,
                    tokens: rows)
                for segment in segments {
                    guard let update = segment.adapter?.updates[layer][index] else { continue }
                    update.up.multiplyAdd(
                        isa: isa, from: from, to: to,
                        input: lowRank + (segment.row * Self.groupMax + index - group.lowerBound) * Self.rankStride,
                        inputStride: Self.groupMax * Self.rankStride, scale: update.scale,
                        output: output.values + segment.row * output.stride, stride: output.stride,
                        tokens: segment.count)
                }
            }
        }
    }

    private func offset(layer: Int, head: Int) -> Int { (layer * config.keyValueHeads + head) * cache.floatsPerHead }

    private func rotateAndCache(layer index: Int) {
        let layer = model.layers[index], dimension = config.headDimension, half = dimension / 2
        let (queries, queryStride) = outputs[Projection.query.rawValue]
        let (keys, keyStride) = outputs[Projection.key.rawValue], values = outputs[Projection.value.rawValue].values
        pool.run(count: width) { slice in
            let (from, to) = part(rows, slice)
            for row in from..<to {
                let query = queries + row * queryStride, key = keys + row * keyStride
                if let norm = layer.queryNorm {
                    for head in 0..<config.heads {
                        let at = query + head * dimension
                        kernel_rmsnorm(isa, at, dimension, norm, config.epsilon, at)
                    }
                }
                if let norm = layer.keyNorm {
                    for head in 0..<config.keyValueHeads {
                        let at = key + head * dimension
                        kernel_rmsnorm(isa, at, dimension, norm, config.epsilon, at)
                    }
                }
                kernel_rotate(isa, query, config.heads, dimension, half, 0, cosines + row * half, sines + row * half)
                kernel_rotate(isa, key, config.keyValueHeads, dimension, half, 0, cosines + row * half, sines + row * half)
                let segment = segments[rowSegment[row]]
                let position = segment.start + row - segment.row
                guard let page = segment.pages.pages[position / PagePool.positionsPerPage] else { continue }
                let writable = UnsafeMutablePointer(mutating: page)
                for head in 0..<config.keyValueHeads {
                    let at = writable + offset(layer: index, head: head)
                    kernel_store_kv(
                        at, at + cache.keyFloats, position % PagePool.positionsPerPage, dimension, dimension,
                        key + head * dimension,
                        values + row * keyStride + head * dimension)
                }
            }
        }
    }

    private func attend(layer: Int) {
        let dimension = config.headDimension, group = config.heads / config.keyValueHeads
        let (queries, queryStride) = outputs[Projection.query.rawValue]
        let scale = 1 / Float(dimension).squareRoot()
        pool.run(count: width) { slice in
            for item in stride(from: slice, to: rows * config.keyValueHeads, by: width) {
                let row = item / config.keyValueHeads, head = item % config.keyValueHeads
                let segment = segments[rowSegment[row]]
                let position = segment.start + row - segment.row
                let first = config.slidingWindow.map { max(0, position - $0 + 1) } ?? 0
                let keyOffset = offset(layer: layer, head: head)
                kernel_attention(
                    isa, queries + row * queryStride + head * group * dimension, dimension, group, dimension, dimension,
                    segment.pages.pages, keyOffset, keyOffset + cache.keyFloats, first, position, scale, 0,
                    scores + slice * scoreStride,
                    attended.values + row * attended.stride + head * group * dimension, dimension)
            }
        }
    }
}

/// The buffers of one engine, made once and freed with it.
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
