// A model as whoever trains beside it sees it: its matrices stay as they are packed, nothing of it changes. Only what is
// trained so far is shown: dense layers with grouped attention; another plan is refused by name.

import Kernels
package import ModelFiles

/// The seven linear layers of a dense layer, in the order of `ModelConfig.linears`.
package struct FrozenLayer: Sendable {
    package let beforeAttention: [Float]
    package let afterAttention: [Float]?
    package let beforeFeedForward: [Float]
    package let afterFeedForward: [Float]?
    /// Over each head of q and k, where the model has them.
    package let queryNorm: [Float]?
    package let keyNorm: [Float]?
    package let query: PackedMatrix
    package let key: PackedMatrix
    package let value: PackedMatrix
    package let output: PackedMatrix
    package let gate: PackedMatrix
    package let up: PackedMatrix
    package let down: PackedMatrix

    /// By slot of `ModelConfig.linears`.
    package var matrices: [PackedMatrix] { [query, key, value, output, gate, up, down] }
}

extension ModelConfig {
    /// Refuses by name what is not trained so far.
    package func checkTrainable() throws(ModelFault) {
        guard case .grouped = attention.kind else {
            throw .unsupported(file: "the model", feature: "training through latent attention (\(family))")
        }
        for plan in plans {
            guard case .dense = plan.feedForward else {
                throw .unsupported(file: "the model", feature: "training through experts (\(family))")
            }
        }
    }
}

extension LoadedModel {
    /// All layers, of a whole model whose layers are dense.
    package func frozenLayers() throws(ModelFault) -> [FrozenLayer] {
        try config.checkTrainable()
        guard range == 0..<config.layers else {
            throw .unsupported(file: "the model", feature: "training on layers \(range) alone")
        }
        var frozen: [FrozenLayer] = []
        for layer in layers {
            guard case .grouped(let attention) = layer.attention, case .dense(let unit) = layer.feedForward else {
                preconditionFailure("a layer is what its plan says")
            }
            frozen.append(
                FrozenLayer(
                    beforeAttention: layer.beforeAttention, afterAttention: layer.afterAttention,
                    beforeFeedForward: layer.beforeFeedForward, afterFeedForward: layer.afterFeedForward,
                    queryNorm: attention.queryNorm, keyNorm: attention.keyNorm, query: attention.query.matrix,
                    key: attention.key.matrix, value: attention.value.matrix, output: attention.output.matrix,
                    gate: unit.gate.matrix, up: unit.up.matrix, down: unit.down.matrix))
        }
        return frozen
    }

    package var frozenHead: PackedMatrix { head }
    package var frozenFinalNorm: [Float] { finalNorm }

    /// The stream's beginning for a token.
    package func embed(_ token: Int32, into out: UnsafeMutablePointer<Float>, isa: Int32) {
        embeddings.read(token: token, into: out)
        if let scale = config.embeddingScale { kernel_scale(isa, out, config.hidden, scale) }
    }
}

/// Where a matrix lies, in the tiles of kernels.h; valid while the matrix lives.
package struct PackedParts {
    package let tiles: UnsafeRawPointer
    package let scales: UnsafePointer<UInt16>?
    package let bias: UnsafePointer<Float>?
}

extension PackedMatrix {
    package var parts: PackedParts {
        guard let tiles = quantBytes.baseAddress else { preconditionFailure("a matrix has memory") }
        return PackedParts(
            tiles: tiles,
            scales: scaleBytes.baseAddress?.assumingMemoryBound(to: UInt16.self), bias: bias.map { UnsafePointer($0) })
    }

    /// The whole product, bias included, of `tokens` rows, as serving computes it.
    /// - Parameter quants: int8 blocks of the rows, where the weights are int8 or int4.
    package func multiply(
        isa: Int32, x: UnsafeMutablePointer<Float>, xStride: Int, quants: UnsafeMutableRawPointer,
        y: UnsafeMutablePointer<Float>, yStride: Int, tokens: Int
    ) {
        multiply(
            isa: isa, from: 0, to: (rows + 15) / 16,
            input: Activations(values: x, stride: xStride, quants: quants), output: y, stride: yStride, tokens: tokens)
    }
}

/// LoRA's two factors of one PEFT module, as floats.
package struct ModuleFactors: Sendable {
    package let module: AdapterModule
    package let layer: Int
    package let rank: Int
    /// alpha / rank, or alpha / sqrt(rank).
    package let scale: Double
    /// A, [rank][columns]; B, [rows][rank].
    package let down: [Float]
    package let up: [Float]
}

/// A PEFT folder to go on from.
package struct AdapterFactors: Sendable {
    package let rank: Int
    package let alpha: Double
    package let rootScaled: Bool
    package let modules: [ModuleFactors]

    /// - Parameter config: the base model's.
    package init(folder: any ModelFolder, config: ModelConfig) throws(ModelFault) {
        let settings = try AdapterSettings(folder: folder), file = "adapter_model.safetensors"
        let tensors = try Safetensors(folder: folder, stem: "adapter_model").tensors
        var modules: [ModuleFactors] = [], used: Set<String> = []
        for layer in 0..<config.layers {
            for module in config.adapterModules(layer) where !used.contains(module.downName) {
                guard tensors[module.downName] != nil || tensors[module.upName] != nil else { continue }
                guard let a = tensors[module.downName], let b = tensors[module.upName] else {
                    throw .malformed(file: file, reason: "\(module.module) has only one of lora_A and lora_B")
                }
                let rank = settings.rank(of: module.module)
                let down = try RowReader(a, rows: rank, columns: module.columns, file: file)
                let up = try RowReader(b, rows: module.rows, columns: rank, file: file)
                used.formUnion([module.downName, module.upName])
                modules.append(
                    ModuleFactors(
                        module: module, layer: layer, rank: rank,
                        scale: settings.scale(of: module.module, rank: rank), down: try Self.values(down),
                        up: try Self.values(up)))
            }
        }
        if let strange = tensors.keys.sorted().first(where: { !used.contains($0) }) {
            throw .unsupported(file: file, feature: "tensor \(strange)")
        }
        guard !modules.isEmpty else { throw .malformed(file: file, reason: "holds no LoRA matrices for this model") }
        rank = settings.rank
        alpha = settings.alpha
        rootScaled = settings.rootScaled
        self.modules = modules
        withExtendedLifetime(folder) {}
    }

    private static func values(_ reader: RowReader) throws(ModelFault) -> [Float] {
        var values: [Float] = []
        values.reserveCapacity(reader.rows * reader.columns)
        for row in 0..<reader.rows { values += reader.row(row) }
        guard kernel_all_finite(values, values.count) == 1 else { throw .notFinite(tensor: reader.name) }
        return values
    }
}
