// A model described: what the transformer computes, field by field. A family differs from the next by these values, not by
// code of its own: config.json or GGUF metadata (ConfigDialects, ConfigReader, FamilyTraits) become this, and LoadedModel
// and Transformer read nothing else.

import Arithmetic
package import ModelFiles
import Primitives

package enum ConfigLimit {
    static let layersMax = 512
    static let headsMax = 1024
    static let headDimensionMax = 1024
    static let widthMax = 1 << 18
    static let vocabularyMax = 1 << 21
    static let contextTokensMax = 1 << 22
    static let expertsMax = 1024
    /// Elements of one matrix: no shape within the limits above may need more than this.
    static let elementsMax = 1 << 34
}

package struct ModelConfig: Hashable, Sendable {
    package let family: String
    package let hidden: Int
    package let vocabulary: Int
    package let contextTokens: Int
    package let epsilon: Float
    package let tiedEmbeddings: Bool
    package let endTokens: [Int32]
    /// Gemma multiplies embeddings by sqrt(hidden).
    package let embeddingScale: Float?
    /// logits = cap * tanh(logits / cap) (Gemma 2).
    package let logitCap: Float?
    /// Gemma stores norm weights less one in Hugging Face folders.
    package let normOffset: Float
    package let activation: Activation
    package let attention: AttentionPlan
    /// Rotation tables; a layer names its own.
    package let ropes: [Rope]
    package let plans: [LayerPlan]
    package let naming: TensorNaming

    package var layers: Int { plans.count }
    package var heads: Int { attention.heads }
    /// What the cache holds of a layer and position: so many keys of `headDimension` and values of `valueDimension`.
    package var keyValueHeads: Int { attention.cachedHeads }
    package var headDimension: Int { attention.cachedKey }
    package var valueDimension: Int { attention.cachedValue }
}

extension ModelConfig {
    package init(folder: any ModelFolder) throws(ModelFault) {
        self = try ModelSource(folder: folder, readsTensors: false).config()
    }
}

package enum Activation: Hashable, Sendable {
    case silu
    case geluTanh
}

/// Which vectors a layer norms beside its two inputs.
package enum NormPlacement: Hashable, Sendable {
    case before
    /// Also what attention and the MLP answer, before it is added (Gemma 2 and 3, GLM-4).
    case beforeAndAfter
}

/// softmax(cap(scale q k)) v, of every layer.
package struct AttentionPlan: Hashable, Sendable {
    package let kind: AttentionKind
    package let heads: Int
    package let scale: Float
    /// score = cap * tanh(score / cap) (Gemma 2).
    package let scoreCap: Float?
    /// RMS norm over each head of q and k before the rotation (Qwen3, Gemma 3).
    package let headNorms: Bool
    /// Biases on what is made from the layer's input; on the output.
    package let inputBias: Bool
    package let outputBias: Bool
    /// Rotated pairs are neighbours rather than halves apart (GLM, DeepSeek).
    package let interleaved: Bool
    package let norms: NormPlacement

    var cachedHeads: Int {
        switch kind {
        case .grouped(let keyValueHeads, _): keyValueHeads
        case .latent: 1
        }
    }

    var cachedKey: Int {
        switch kind {
        case .grouped(_, let dimension): dimension
        case .latent(let plan): plan.paddedRank + plan.rotated
        }
    }

    var cachedValue: Int {
        switch kind {
        case .grouped(_, let dimension): dimension
        case .latent(let plan): plan.paddedRank
        }
    }
}

package enum AttentionKind: Hashable, Sendable {
    /// Heads share `keyValueHeads` keys and values evenly.
    case grouped(keyValueHeads: Int, dimension: Int)
    case latent(LatentPlan)
}

/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): all heads read one latent vector a position. Keys and
/// values are never made: W_UK is applied to the query and W_UV to what attention answers, so that the cache holds only
/// the latent and the rotated key.
package struct LatentPlan: Hashable, Sendable {
    /// Rank of the query's own bottleneck; nil where there is none.
    package let queryRank: Int?
    /// Width of the latent.
    package let rank: Int
    /// Channels of a head's key that do not and do turn with position.
    package let plain: Int
    package let rotated: Int
    /// Channels of a head's value.
    package let value: Int

    var paddedRank: Int { (rank + 15) / 16 * 16 }
}

package struct LayerPlan: Hashable, Sendable {
    /// Index into `ModelConfig.ropes`.
    package let rope: Int
    /// A position sees at most this many, itself included.
    package let window: Int?
    package let feedForward: FeedForwardPlan
}

package enum FeedForwardPlan: Hashable, Sendable {
    case dense(width: Int, bias: Bool)
    case experts(ExpertPlan)
}

/// Routed and shared experts (DeepSeekMoE).
package struct ExpertPlan: Hashable, Sendable {
    package let count: Int
    /// Experts that a token uses.
    package let used: Int
    package let width: Int
    /// Width of the expert that every token uses; 0 without one.
    package let sharedWidth: Int
    package let scoring: Scoring
    /// A token's experts come from the best `groupsUsed` of `groups` equal parts.
    package let groups: Int
    package let groupsUsed: Int
    package let normalizes: Bool
    package let scale: Float

    package enum Scoring: Hashable, Sendable {
        /// Softmax; a group is as good as its best expert (V2).
        case softmax
        /// Sigmoid, chosen by score plus a correction; a group is as good as its best two (V3).
        case correctedSigmoid
    }
}
