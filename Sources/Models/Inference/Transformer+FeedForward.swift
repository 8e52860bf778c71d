// The second half of a layer where every row takes the same matrices: down(activation(gate x) * up x).

import Kernels

extension Transformer {
    func feedForward(_ unit: GatedUnit, _ steps: LayerSteps, _ input: NormedInput, layer: Int) {
        prepare(space.normed, for: steps.feedForwardInput, layer: layer) { makeInput($0, input) }
        multiplyUnit(unit, steps, layer: layer)
    }

    /// The unit's answer to the normed rows, left in `delta`.
    func multiplyUnit(_ unit: GatedUnit, _ steps: LayerSteps, layer: Int) {
        multiply(space.normed, by: steps.feedForwardInput, layer: layer)
        let gated = space.gated(width: unit.width)
        prepare(gated, for: steps.feedForwardOutput, layer: layer) { row in
            activate(gated.values + row * gated.stride, space.up[row], unit.width)
        }
        multiply(gated, by: steps.feedForwardOutput, layer: layer)
    }

    /// gate = activation(gate) * up.
    func activate(_ gate: UnsafeMutablePointer<Float>, _ up: UnsafePointer<Float>, _ count: Int) {
        switch config.activation {
        case .silu: kernel_silu_multiply(isa, gate, up, count)
        case .geluTanh: kernel_gelu_tanh_multiply(isa, gate, up, count)
        }
    }
}
