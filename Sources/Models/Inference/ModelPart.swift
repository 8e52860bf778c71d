// A model taken apart by layers: what a peer holds of it, and what that takes in memory before anything is read.

package import Arithmetic
package import ModelFiles

package struct ModelPart: Hashable, Sendable {
    /// Consecutive; may be empty.
    package let layers: Range<Int>
    /// Embeddings, head, tokenizer and template: what stands between text and layers.
    package let hasEnds: Bool

    package init(layers: Range<Int>, hasEnds: Bool) {
        self.layers = layers
        self.hasEnds = hasEnds
    }
}

/// Bytes that a model's weights take in memory, from its header alone.
package struct WeightPlan: Sendable {
    package let config: ModelConfig
    /// Of embeddings and head.
    package let ends: Int
    /// By layer.
    package let layers: [Int]

    package var whole: Int { bytes(of: ModelPart(layers: 0..<layers.count, hasEnds: true)) }

    package init(folder: any ModelFolder, precision: Precision) throws(ModelFault) {
        let source = try ModelSource(folder: folder)
        let config = try source.config()
        let table = try RowReader(
            try source.tensor(config.embeddingNames), rows: config.vocabulary, columns: config.hidden,
            file: source.file)
        ends =
            table.type.byteCount(config.hidden) * config.vocabulary
            + PackedSize(rows: config.vocabulary, columns: config.hidden, precision: precision.ofHead).bytes
        layers = (0..<config.layers).map { layer in
            config.linears(layer).reduce(0) { sum, shape in
                sum
                    + PackedSize(
                        rows: shape.rows, columns: shape.columns, precision: shape.staysExact ? .f32 : precision
                    ).bytes
            }
        }
        self.config = config
        withExtendedLifetime(folder) {}
    }

    package func bytes(of part: ModelPart) -> Int {
        layers[part.layers].reduce(part.hasEnds ? ends : 0, +)
    }

    /// The longest run of layers from `first` on that fits, beside the ends where they are wanted; nil where not even
    /// those fit.
    package func part(from first: Int, bytesMax: Int, hasEnds: Bool) -> ModelPart? {
        var left = bytesMax - (hasEnds ? ends : 0)
        guard left >= 0 else { return nil }
        var last = first
        while last < layers.count, layers[last] <= left {
            left -= layers[last]
            last += 1
        }
        return ModelPart(layers: first..<last, hasEnds: hasEnds)
    }
}

extension PackedSize {
    fileprivate var bytes: Int { quants + scales }
}
