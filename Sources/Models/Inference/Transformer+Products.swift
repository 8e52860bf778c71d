// Matrices times rows, with LoRA's two halves beside them.

import Arithmetic
import Kernels

/// One matrix and where its product goes.
struct Product {
    let linear: Linear
    let output: Rows
    /// Its place among the products of one input.
    let lane: Int
}

/// The products of one layer, bound to the workspace once.
struct LayerSteps {
    let attentionInput: [Product]
    /// From the query's bottleneck.
    let queryUp: [Product]
    let attentionOutput: [Product]
    /// Gate and up of the dense or shared unit, and down.
    let feedForwardInput: [Product]
    let feedForwardOutput: [Product]

    init(_ layer: Layer, _ space: Workspace) {
        func products(_ pairs: [(Linear, Rows)]) -> [Product] {
            pairs.enumerated().map { Product(linear: $1.0, output: $1.1, lane: $0) }
        }
        switch layer.attention {
        case .grouped(let weights):
            attentionInput = products([
                (weights.query, space.query), (weights.key, space.key), (weights.value, space.value),
            ])
            queryUp = []
            attentionOutput = products([(weights.output, space.delta)])
        case .latent(let weights):
            guard let latent = space.latent else { preconditionFailure("the plan has no latent attention") }
            switch weights.query {
            case .direct(let query):
                attentionInput = products([(query, space.query), (weights.down, latent.down)])
                queryUp = []
            case .bottleneck(let down, _, let up):
                let middle = latent.bottleneck.map { Rows(values: $0.values, stride: $0.stride) } ?? space.query
                attentionInput = products([(down, middle), (weights.down, latent.down)])
                queryUp = products([(up, space.query)])
            }
            attentionOutput = products([(weights.output, space.delta)])
        }
        let unit: GatedUnit? =
            switch layer.feedForward {
            case .dense(let unit): unit
            case .experts(let weights): weights.shared
            }
        feedForwardInput = unit.map { products($0.inputs(space)) } ?? []
        feedForwardOutput = unit.map { products([($0.down, space.delta)]) } ?? []
    }
}

extension GatedUnit {
    var width: Int { gate.matrix.rows }

    func inputs(_ space: Workspace) -> [(Linear, Rows)] {
        let gated = space.gated(width: width)
        return [(gate, Rows(values: gated.values, stride: gated.stride)), (up, space.up)]
    }
}

/// Consecutive rows with one adapter.
struct AdapterRun {
    let row: Int
    let count: Int
    let adapter: LoadedAdapter?
}

extension Transformer {
    /// Products of one input, at most.
    static let groupMax = 3
    /// Floats that a row may need for one product's LoRA.
    static let rankStrideMax = AdapterLimit.stackedRankMax

    func quantize(_ input: Activations, from: Int, to: Int) {
        kernel_quantize(isa, input.values, input.stride, from, to, input.stride / 32, input.quants)
    }

    /// Makes every row of an input, its int8 blocks and what LoRA's first factors say of it.
    func prepare(_ input: Activations, for products: [Product], layer: Int, make: (_ row: Int) -> Void) {
        pool.run(count: width) { slice in
            let (from, to) = part(rows, slice)
            guard from < to else { return }
            for row in from..<to { make(row) }
            if model.precision.isQuantized { quantize(input, from: from, to: to) }
            multiplyDown(products, input, layer: layer, from: from, to: to, slice: slice)
        }
    }

    /// The products of one input, LoRA's second factors included.
    func multiply(_ input: Activations, by products: [Product], layer: Int) {
        pool.run(count: width) { slice in
            for product in products {
                let (from, to) = part(product.linear.matrix.tiles, slice)
                guard from < to else { continue }
                product.linear.matrix.multiply(
                    isa: isa, from: from, to: to, input: input, output: product.output.values,
                    stride: product.output.stride, tokens: rows)
                forRuns(from: 0, to: rows) { multiplyUp(product, layer: layer, tiles: from..<to, $0) }
            }
        }
    }

    /// A whole product of rows [from, to), LoRA included, by one slice: for matrices too small to be cut.
    func multiplyWhole(_ product: Product, _ input: Activations, layer: Int, from: Int, to: Int) {
        let matrix = product.linear.matrix
        forRuns(from: from, to: to) { run in
            if var down = down(product, input, layer: layer, run) { kernel_products(isa, &down, 1) }
        }
        matrix.multiply(
            isa: isa, from: 0, to: matrix.tiles, input: input.from(from), output: product.output[from],
            stride: product.output.stride, tokens: to - from)
        forRuns(from: from, to: to) { multiplyUp(product, layer: layer, tiles: 0..<matrix.tiles, $0) }
    }

    /// The runs of rows [from, to) that have an adapter.
    private func forRuns(from: Int, to: Int, _ body: (AdapterRun) -> Void) {
        for segment in segments {
            let first = max(from, segment.row), end = min(to, segment.row + segment.count)
            guard first < end, segment.adapter != nil else { continue }
            body(AdapterRun(row: first, count: end - first, adapter: segment.adapter))
        }
    }

    /// LoRA's first factors times rows [from, to): the short products of all sequences go side by side.
    private func multiplyDown(
        _ products: [Product], _ input: Activations, layer: Int, from: Int, to: Int, slice: Int
    ) {
        let list = space.factors[slice]
        var count = 0
        forRuns(from: from, to: to) { run in
            for product in products {
                guard let product = down(product, input, layer: layer, run) else { continue }
                list[count] = product
                count += 1
            }
        }
        if count > 0 { kernel_products(isa, list, count) }
    }

    private func lowRank(row: Int, lane: Int) -> UnsafeMutablePointer<Float> {
        space.lowRank + (row * Self.groupMax + lane) * rankStride
    }

    /// LoRA's first factor times a run of rows: h = scales (A x).
    private func down(
        _ product: Product, _ input: Activations, layer: Int, _ run: AdapterRun
    ) -> kernel_product? {
        guard let update = run.adapter?.updates[layer][product.linear.slot] else { return nil }
        let factor = update.down
        return kernel_product(
            tiles: factor.tiles, tile_begin: 0, tile_end: factor.tileCount, columns: factor.columns,
            x: input.values + run.row * input.stride, x_stride: input.stride, tokens: run.count,
            scales: update.scales, y: lowRank(row: run.row, lane: product.lane),
            y_stride: Self.groupMax * rankStride, kind: factor.kind.rawValue, add: 0)
    }

    func multiplyDown(_ product: Product, _ input: Activations, layer: Int, _ run: AdapterRun) {
        if var product = down(product, input, layer: layer, run) { kernel_products(isa, &product, 1) }
    }

    /// Adds LoRA's second factor times that: y += B h.
    func multiplyUp(_ product: Product, layer: Int, tiles: Range<Int>, _ run: AdapterRun) {
        guard let update = run.adapter?.updates[layer][product.linear.slot] else { return }
        let factor = update.up
        var up = kernel_product(
            tiles: factor.tiles, tile_begin: tiles.lowerBound, tile_end: tiles.upperBound, columns: factor.columns,
            x: lowRank(row: run.row, lane: product.lane), x_stride: Self.groupMax * rankStride, tokens: run.count,
            scales: nil, y: product.output[run.row], y_stride: product.output.stride, kind: factor.kind.rawValue,
            add: 1)
        kernel_products(isa, &up, 1)
    }
}
