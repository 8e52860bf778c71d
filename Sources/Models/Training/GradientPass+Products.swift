// Products with frozen matrices, forwards and backwards, and LoRA's halves beside them.
//
// Forwards a matrix is read in its tiles. Backwards it is needed by columns: some rows and columns at a time are unpacked,
// widened and turned into a panel that stays in the cache while all tokens pass, so that there is no second copy of any
// matrix and one product serves every precision.

import Arithmetic
import GradientKernels
import Inference
import Kernels

extension GradientPass {
    // MARK: Forwards

    /// Rows [from, to) of a sublayer's input for its matrices: int8 blocks where the weights are int8 or int4, and scale A x of
    /// the input's modules.
    func prepare(_ input: FloatRows, _ kind: LayerInput, columns: Int, layer: Int, slice: Int, from: Int, to: Int) {
        if model.precision.isQuantized {
            kernel_quantize(
                isa, input[from], input.stride, 0, to - from, (columns + 31) / 32, space.quants[slice])
        }
        let group = group(layer, kind)
        guard group.width > 0 else { return }
        let low = tape(layer).lowRank[kind.rawValue]
        var product = gradient_product(
            m: parameters.turned + group.turned, tile_stride: 16, depth_stride: group.width, x: input[from],
            x_stride: input.stride, x_step: 1, y: low[from], y_stride: low.stride, tiles: group.width / 16,
            depth: columns, rows: to - from, mode: Int32(GRADIENT_REPLACE))
        gradient_multiply(isa, &product)
        scaleLowRank(low, group, from: from, to: to)
    }

    private func scaleLowRank(_ low: FloatRows, _ group: AdapterLayout.Group, from: Int, to: Int) {
        for index in group.modules {
            let module = parameters.layout.modules[index], scale = Float(module.scale)
            for row in from..<to { kernel_scale(isa, low[row] + module.column, module.width, scale) }
        }
    }

    /// output = matrix input + bias + B h, of rows [from, to). `prepare` came before.
    func multiply(
        _ matrix: PackedMatrix, slot: Int, _ input: FloatRows, into output: FloatRows, layer: Int, slice: Int,
        from: Int,
        to: Int
    ) {
        multiply(
            matrix, input[from], input.stride, quants: space.quants[slice], into: output[from], output.stride,
            tokens: to - from)
        let kind = LayerInput(slot: slot), low = tape(layer).lowRank[kind.rawValue]
        for index in group(layer, kind).modules {
            let module = parameters.layout.modules[index]
            for part in module.parts where part.slot == slot {
                var product = gradient_product(
                    m: parameters.weights + part.offset, tile_stride: 16, depth_stride: part.stride,
                    x: low[from] + module.column, x_stride: low.stride, x_step: 1, y: output[from],
                    y_stride: output.stride, tiles: part.stride / 16, depth: module.rank, rows: to - from,
                    mode: Int32(GRADIENT_ADD))
                gradient_multiply(isa, &product)
            }
        }
    }

    func multiply(
        _ matrix: PackedMatrix, _ x: UnsafeMutablePointer<Float>, _ xStride: Int, quants: UnsafeMutableRawPointer,
        into y: UnsafeMutablePointer<Float>, _ yStride: Int, tokens: Int
    ) {
        guard matrix.precision == .f32 else {
            matrix.multiply(
                isa: isa, x: x, xStride: xStride, quants: quants, y: y, yStride: yStride, tokens: tokens)
            return
        }
        let parts = matrix.parts, tiles = (matrix.rows + 15) / 16
        var product = gradient_product(
            m: parts.tiles.assumingMemoryBound(to: Float.self), tile_stride: matrix.columns * 16, depth_stride: 16,
            x: x,
            x_stride: xStride, x_step: 1, y: y, y_stride: yStride, tiles: tiles, depth: matrix.columns, rows: tokens,
            mode: Int32(GRADIENT_REPLACE))
        gradient_multiply(isa, &product)
        if let bias = parts.bias {
            for token in 0..<tokens { kernel_add(isa, y + token * yStride, bias, tiles * 16) }
        }
    }

    // MARK: Backwards

    /// out = or += the gradient of a matrix's input: the sum over its rows of delta times them. int8 activations count as the
    /// floats that they stand for.
    func multiplyBack(
        _ matrix: PackedMatrix, _ delta: UnsafePointer<Float>, _ deltaStride: Int,
        into out: UnsafeMutablePointer<Float>,
        _ outStride: Int, continues: Bool, slice: Int, tokens: Int
    ) {
        let parts = matrix.parts, panel = space.panels[slice]
        let kind: Int32 =
            switch matrix.precision {
            case .f32: Int32(GRADIENT_F32)
            case .bf16: Int32(GRADIENT_BF16)
            case .int8: Int32(GRADIENT_INT8)
            case .int4: Int32(GRADIENT_INT4)
            }
        for column in stride(from: 0, to: matrix.columns, by: GradientSpace.panelColumns) {
            let wide = min(GradientSpace.panelColumns, (matrix.columns - column).rounded(to: 16))
            for row in stride(from: 0, to: matrix.rows, by: GradientSpace.panelRows) {
                let high = min(GradientSpace.panelRows, matrix.rows - row)
                gradient_unpack(parts.tiles, parts.scales, kind, matrix.columns, row, high, column, wide, panel)
                var product = gradient_product(
                    m: panel, tile_stride: 16, depth_stride: wide, x: delta + row, x_stride: deltaStride, x_step: 1,
                    y: out + column, y_stride: outStride, tiles: wide / 16, depth: high, rows: tokens,
                    mode: Int32(row == 0 && !continues ? GRADIENT_REPLACE : GRADIENT_CONTINUE))
                gradient_multiply(isa, &product)
            }
        }
    }

    /// scale B^T delta of an input's modules; `deltas` holds the gradient of each slot's output.
    func lowRankBack(_ kind: LayerInput, layer: Int, from: Int, to: Int, deltas: (_ slot: Int) -> FloatRows) {
        let group = group(layer, kind), low = space.lowRankGradient[kind.rawValue]
        for index in group.modules {
            let module = parameters.layout.modules[index]
            for (place, part) in module.parts.enumerated() {
                let delta = deltas(part.slot)
                var product = gradient_product(
                    m: parameters.turned + part.turned, tile_stride: 16, depth_stride: module.width, x: delta[from],
                    x_stride: delta.stride, x_step: 1, y: low[from] + module.column, y_stride: low.stride,
                    tiles: module.width / 16, depth: part.rows, rows: to - from,
                    mode: Int32(place == 0 ? GRADIENT_REPLACE : GRADIENT_CONTINUE))
                gradient_multiply(isa, &product)
            }
        }
        scaleLowRank(low, group, from: from, to: to)
    }

    /// out += A^T (scale B^T delta) of an input's modules.
    func addLowRankBack(_ kind: LayerInput, into out: FloatRows, layer: Int, from: Int, to: Int) {
        let low = space.lowRankGradient[kind.rawValue]
        for index in group(layer, kind).modules {
            let module = parameters.layout.modules[index]
            var product = gradient_product(
                m: parameters.weights + module.downOffset, tile_stride: 16, depth_stride: module.downStride,
                x: low[from] + module.column, x_stride: low.stride, x_step: 1, y: out[from], y_stride: out.stride,
                tiles: module.downStride / 16, depth: module.rank, rows: to - from, mode: Int32(GRADIENT_CONTINUE))
            gradient_multiply(isa, &product)
        }
    }

    /// A slice's lanes of the gradients of A and B of an input's modules: sums over tokens that go on.
    func addGradients(
        _ kind: LayerInput, input: FloatRows, layer: Int, slice: Int, deltas: (_ slot: Int) -> FloatRows
    ) {
        let lowGradient = space.lowRankGradient[kind.rawValue], low = tape(layer).lowRank[kind.rawValue]
        for index in group(layer, kind).modules {
            let module = parameters.layout.modules[index]
            accumulate(
                lanes: input, input.stride, over: lowGradient, column: module.column, rank: module.rank,
                into: parameters.gradients + module.downOffset, module.downStride, slice: slice)
            for part in module.parts {
                let delta = deltas(part.slot)
                accumulate(
                    lanes: delta, delta.stride, over: low, column: module.column, rank: module.rank,
                    into: parameters.gradients + part.offset, part.stride, slice: slice)
            }
        }
    }

    /// out[r][i] += sum over tokens of low[token][r] lanes[token][i].
    private func accumulate(
        lanes: FloatRows, _ stride: Int, over low: FloatRows, column: Int, rank: Int,
        into out: UnsafeMutablePointer<Float>, _ outStride: Int, slice: Int
    ) {
        let tiles = outStride / 16, from = tiles * slice / width, to = tiles * (slice + 1) / width
        guard from < to else { return }
        var product = gradient_product(
            m: lanes.values + from * 16, tile_stride: 16, depth_stride: stride, x: low.values + column, x_stride: 1,
            x_step: low.stride, y: out + from * 16, y_stride: outStride, tiles: to - from, depth: rows, rows: rank,
            mode: Int32(GRADIENT_CONTINUE))
        gradient_multiply(isa, &product)
    }
}
