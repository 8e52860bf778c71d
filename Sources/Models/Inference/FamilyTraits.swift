// What a family's name says that its config.json need not: the one table of families.

import Primitives

/// Where a norm or a linear layer is found; the names within a layer of Hugging Face folders that differ by family.
struct FamilyTraits {
    var norms = NormPlacement.before
    var normOffset: Float = 0
    var headNorms = false
    var interleaved = false
    var activation = Activation.silu
    var scalesEmbeddings = false
    /// Biases of q, k and v, and of o: as `attention_bias` says unless fixed here.
    var inputBias: Bool?
    var outputBias: Bool?
    var windows = WindowRule.none
    /// Names of the norms that follow attention, precede the MLP and follow it.
    var afterAttention = ""
    var beforeFeedForward = "post_attention_layernorm"
    var afterFeedForward = ""
    /// What transformers takes where config.json is silent.
    var defaults: [String: JSONValue] = [:]

    /// Which layers have a window where `layer_types` does not say.
    enum WindowRule {
        case none
        case every
        /// Even layers (Gemma 2).
        case alternating
        /// All but each n-th (Gemma 3).
        case allButEach
        /// Those from `max_window_layers` on, where `use_sliding_window` is set (Qwen).
        case fromLayer
    }

    private static let gemma = Self(
        normOffset: 1, activation: .geluTanh, scalesEmbeddings: true,
        defaults: ["tie_word_embeddings": .bool(true), "head_dim": .integer(256)])

    private static let gemma2: Self = {
        var traits = gemma
        traits.norms = .beforeAndAfter
        traits.windows = .alternating
        traits.afterAttention = "post_attention_layernorm"
        traits.beforeFeedForward = "pre_feedforward_layernorm"
        traits.afterFeedForward = "post_feedforward_layernorm"
        let more: [String: JSONValue] = [
            "query_pre_attn_scalar": .integer(256), "sliding_window": .integer(4096),
            "attn_logit_softcapping": .double(50), "final_logit_softcapping": .double(30),
        ]
        traits.defaults.merge(more) { _, new in new }
        return traits
    }()

    private static let gemma3: Self = {
        var traits = gemma2
        traits.headNorms = true
        traits.windows = .allButEach
        let more: [String: JSONValue] = [
            "attn_logit_softcapping": .null, "final_logit_softcapping": .null, "rope_theta": .integer(1_000_000),
            "rope_local_base_freq": .integer(10_000), "sliding_window_pattern": .integer(6),
            "vocab_size": .integer(262_208), "num_attention_heads": .integer(8), "num_key_value_heads": .integer(4),
            "max_position_embeddings": .integer(131_072),
        ]
        traits.defaults.merge(more) { _, new in new }
        return traits
    }()

    private static let glm = Self(
        interleaved: true, outputBias: false,
        defaults: [
            "partial_rotary_factor": .double(0.5), "head_dim": .integer(128), "rms_norm_eps": .double(1.5625e-7),
        ]
    )

    private static let glm4: Self = {
        var traits = glm
        traits.norms = .beforeAndAfter
        traits.afterAttention = "post_self_attn_layernorm"
        traits.afterFeedForward = "post_mlp_layernorm"
        return traits
    }()

    private static let deepSeek = Self(
        interleaved: true,
        defaults: [
            "kv_lora_rank": .integer(512), "qk_rope_head_dim": .integer(64), "qk_nope_head_dim": .integer(128),
            "v_head_dim": .integer(128), "n_group": .integer(1), "topk_group": .integer(1),
            "first_k_dense_replace": .integer(0), "routed_scaling_factor": .integer(1), "moe_layer_freq": .integer(1),
        ])

    static let all: [String: Self] = [
        "llama": Self(), "mistral": Self(windows: .every, defaults: ["sliding_window": .integer(4096)]),
        "qwen2": Self(inputBias: true, outputBias: false, windows: .fromLayer),
        "qwen3": Self(headNorms: true, windows: .fromLayer),
        "glm": glm, "glm4": glm4, "gemma": gemma, "gemma2": gemma2, "gemma3_text": gemma3,
        "deepseek_v2": deepSeek, "deepseek_v3": deepSeek,
    ]
}
