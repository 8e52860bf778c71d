// Which modules an adapter has and where their numbers lie: one flat array of floats, so that a step of the optimiser and a
// checkpoint know nothing of matrices. Of each module A lies row by row, and B turned: [rank][rows], so that a lane is an
// output of the layer in both. Lines are padded to whole tiles with zeros, which stay zero.

package import Inference

/// What the linear layers of a layer read.
enum LayerInput: Int, CaseIterable, Sendable {
    case attentionInput, attentionOutput, feedForwardInput, feedForwardOutput

    /// Of a slot of `ModelConfig.linears`.
    init(slot: Int) {
        self =
            switch slot {
            case 0, 1, 2: .attentionInput
            case 3: .attentionOutput
            case 4, 5: .feedForwardInput
            default: .feedForwardOutput
            }
    }
}

/// A module that is trained.
package struct TrainedModule: Sendable {
    package let module: AdapterModule
    package let layer: Int
    package let rank: Int
    package let scale: Double
    let input: LayerInput
    /// Floats into the flat array, and from one line to the next.
    let downOffset: Int
    let downStride: Int
    let parts: [Part]
    /// Where its products stand among those of its input's modules.
    var column = 0

    struct Part: Sendable {
        let slot: Int
        /// Its first row of B.
        let firstRow: Int
        let rows: Int
        let offset: Int
        let stride: Int
        /// Into the turned copies: B row by row.
        let turned: Int
    }

    /// Of a line of products: the rank as whole tiles.
    var width: Int { rank.rounded(to: 16) }
}

package struct AdapterLayout: Sendable {
    package let modules: [TrainedModule]
    /// Floats of the flat array.
    package let count: Int
    /// Floats of the turned copies.
    let turnedCount: Int
    /// [layer][input].
    let groups: [[Group]]

    /// The modules that read one input.
    struct Group: Sendable {
        var modules: [Int] = []
        /// Floats of their products side by side.
        var width = 0
        /// Their A turned, [column][width], in the turned copies.
        var turned = 0
        var columns = 0
    }

    /// - Parameter chosen: in ascending order of layers.
    package init(_ chosen: [(layer: Int, module: AdapterModule, rank: Int, scale: Double)], config: ModelConfig) {
        var modules: [TrainedModule] = [], offset = 0, turned = 0
        var groups = [[Group]](
            repeating: [Group](repeating: Group(), count: LayerInput.allCases.count), count: config.layers)
        for choice in chosen {
            guard let first = choice.module.parts.first else { continue }
            let input = LayerInput(slot: first.slot), rank = choice.rank
            let downStride = choice.module.columns.rounded(to: 16), downOffset = offset
            offset += rank * downStride
            var parts: [TrainedModule.Part] = []
            for part in choice.module.parts {
                let stride = part.rows.rounded(to: 16)
                parts.append(
                    TrainedModule.Part(
                        slot: part.slot, firstRow: part.firstRow, rows: part.rows, offset: offset, stride: stride,
                        turned: turned))
                offset += rank * stride
                turned += part.rows * rank.rounded(to: 16)
            }
            var module = TrainedModule(
                module: choice.module, layer: choice.layer, rank: rank, scale: choice.scale, input: input,
                downOffset: downOffset, downStride: downStride, parts: parts)
            module.column = groups[choice.layer][input.rawValue].width
            groups[choice.layer][input.rawValue].modules.append(modules.count)
            groups[choice.layer][input.rawValue].width += module.width
            groups[choice.layer][input.rawValue].columns = choice.module.columns
            modules.append(module)
        }
        for layer in groups.indices {
            for input in groups[layer].indices {
                groups[layer][input].turned = turned
                turned += groups[layer][input].columns * groups[layer][input].width
            }
        }
        self.modules = modules
        self.groups = groups
        count = offset
        turnedCount = turned
    }
}

extension ModelConfig {
    /// The modules of every linear layer, by the names that the base's own folder has: each layer once.
    package var allModules: [(layer: Int, module: AdapterModule)] {
        let fuses = family.hasPrefix("glm")
        return (0..<layers).flatMap { layer in
            adapterModules(layer).filter { module in
                guard module.experts == 1, !module.parts.contains(where: \.transposed) else { return false }
                // GLM keeps gate and up as one matrix, everybody else two; both names are known for the same layers.
                let isGate = module.parts.contains { $0.slot == 4 || $0.slot == 5 }
                return !isGate || naming == .chatGLM || fuses == (module.parts.count == 2)
            }.map { (layer, $0) }
        }
    }
}
