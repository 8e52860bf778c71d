// Where each part of a model lies in its file: the one place where tensor names are written.

import ModelFiles

package enum TensorNaming: Hashable, Sendable {
    case huggingFace
    /// THUDM's own key names.
    case chatGLM
    case gguf(GGUFNaming)

    var isGGUF: Bool { if case .gguf = self { true } else { false } }
}

package struct GGUFNaming: Hashable, Sendable {
    /// Query and key rows of a head lie in rotated pairs.
    let pairsRows: Bool
}

/// A linear layer's rows within a tensor that may hold more than it.
struct TensorPlace: Hashable {
    /// Without ".weight" and ".bias".
    let module: String
    var firstRow = 0
    /// Rows of the whole tensor, or columns of `LinearShape` where `transposed`.
    var totalRows: Int
    /// Rows of one head where they are paired side by side.
    var pairedRows: Int?
    /// The tensor's rows are the matrix's columns.
    var transposed = false
}

/// The norms and other vectors of a layer.
enum LayerVector {
    case beforeAttention, afterAttention, beforeFeedForward, afterFeedForward
    case query, key, queryLatent, latent
    case expertCorrection
}

extension ModelConfig {
    private var traits: FamilyTraits { FamilyTraits.all[family] ?? FamilyTraits() }

    /// Prefixes that a Hugging Face folder's text model may have.
    private static let roots = ["model.", "language_model.model.", "model.language_model."]

    var embeddingNames: [String] {
        switch naming {
        case .huggingFace: Self.roots.map { $0 + "embed_tokens.weight" }
        case .chatGLM: ["transformer.embedding.word_embeddings.weight"]
        case .gguf: ["token_embd.weight"]
        }
    }

    var finalNormNames: [String] {
        switch naming {
        case .huggingFace: Self.roots.map { $0 + "norm.weight" }
        case .chatGLM: ["transformer.encoder.final_layernorm.weight"]
        case .gguf: ["output_norm.weight"]
        }
    }

    var headNames: [String] {
        switch naming {
        case .huggingFace: ["lm_head.weight", "language_model.lm_head.weight"]
        case .chatGLM: ["transformer.output_layer.weight"]
        case .gguf: ["output.weight"]
        }
    }

    func names(of vector: LayerVector, layer: Int) -> [String] {
        if case .gguf = naming {
            let name =
                switch vector {
                case .beforeAttention: "attn_norm.weight"
                case .afterAttention: "post_attention_norm.weight"
                case .beforeFeedForward: "ffn_norm.weight"
                case .afterFeedForward: "post_ffw_norm.weight"
                case .query: "attn_q_norm.weight"
                case .key: "attn_k_norm.weight"
                case .queryLatent: "attn_q_a_norm.weight"
                case .latent: "attn_kv_a_norm.weight"
                case .expertCorrection: "exp_probs_b.bias"
                }
            return ["blk.\(layer).\(name)"]
        }
        let name =
            switch vector {
            case .beforeAttention: "input_layernorm.weight"
            case .afterAttention: traits.afterAttention + ".weight"
            case .beforeFeedForward: traits.beforeFeedForward + ".weight"
            case .afterFeedForward: traits.afterFeedForward + ".weight"
            case .query: "self_attn.q_norm.weight"
            case .key: "self_attn.k_norm.weight"
            case .queryLatent: "self_attn.q_a_layernorm.weight"
            case .latent: "self_attn.kv_a_layernorm.weight"
            case .expertCorrection: "mlp.gate.e_score_correction_bias"
            }
        return naming == .chatGLM
            ? ["transformer.encoder.layers.\(layer).\(name)"] : Self.roots.map { "\($0)layers.\(layer).\(name)" }
    }

    /// Where a linear layer's weight may lie, the likeliest first.
    func places(of linear: LinearShape, layer: Int) -> [TensorPlace] {
        switch naming {
        case .huggingFace:
            let places = huggingFacePlaces(linear)
            return Self.roots.flatMap { root in
                places.map { $0.named("\(root)layers.\(layer).\($0.module)") }
            }
        case .chatGLM:
            return chatGLMPlaces(linear).map { $0.named("transformer.encoder.layers.\(layer).\($0.module)") }
        case .gguf(let gguf):
            return ggufPlaces(linear, gguf).map { $0.named("blk.\(layer).\($0.module)") }
        }
    }

    /// Where PEFT's names put the same layer: those of the Hugging Face model, whatever file the base came from.
    func peftPlaces(of linear: LinearShape, layer: Int) -> [TensorPlace] {
        naming == .chatGLM
            ? places(of: linear, layer: layer)
            : huggingFacePlaces(linear).map { $0.named("model.layers.\(layer).\($0.module)") }
    }

    // MARK: Hugging Face

    private func huggingFacePlaces(_ linear: LinearShape) -> [TensorPlace] {
        let rows = linear.rows
        func whole(_ module: String) -> [TensorPlace] { [TensorPlace(module: module, totalRows: rows)] }
        switch linear.projection {
        case .query: return whole("self_attn.q_proj")
        case .key: return whole("self_attn.k_proj")
        case .value: return whole("self_attn.v_proj")
        case .output: return whole("self_attn.o_proj")
        case .queryDown: return whole("self_attn.q_a_proj")
        case .queryUp: return whole("self_attn.q_b_proj")
        case .latentDown: return whole("self_attn.kv_a_proj_with_mqa")
        case .headKey(let head):
            return [absorbed("self_attn.kv_b_proj", head: head, skips: 0, transposed: true)]
        case .headValue(let head):
            return [absorbed("self_attn.kv_b_proj", head: head, skips: linear.latent?.plain ?? 0, transposed: false)]
        case .gate:
            return whole("mlp.gate_proj") + [TensorPlace(module: "mlp.gate_up_proj", totalRows: 2 * rows)]
        case .up:
            return whole("mlp.up_proj")
                + [TensorPlace(module: "mlp.gate_up_proj", firstRow: rows, totalRows: 2 * rows)]
        case .down: return whole("mlp.down_proj")
        case .router: return whole("mlp.gate")
        case .sharedGate: return whole("mlp.shared_experts.gate_proj")
        case .sharedUp: return whole("mlp.shared_experts.up_proj")
        case .sharedDown: return whole("mlp.shared_experts.down_proj")
        case .expertGate(let expert): return whole("mlp.experts.\(expert).gate_proj")
        case .expertUp(let expert): return whole("mlp.experts.\(expert).up_proj")
        case .expertDown(let expert): return whole("mlp.experts.\(expert).down_proj")
        }
    }

    /// One head's keys or values within kv_b_proj, which holds [plain keys, values] head after head.
    private func absorbed(_ module: String, head: Int, skips: Int, transposed: Bool) -> TensorPlace {
        guard case .latent(let plan) = attention.kind else { return TensorPlace(module: module, totalRows: 0) }
        let each = plan.plain + plan.value
        return TensorPlace(
            module: module, firstRow: head * each + skips, totalRows: heads * each, transposed: transposed)
    }

    // MARK: ChatGLM

    private func chatGLMPlaces(_ linear: LinearShape) -> [TensorPlace] {
        let rows = linear.rows, queries = heads * headDimension, keys = keyValueHeads * headDimension
        func fused(_ first: Int) -> [TensorPlace] {
            [TensorPlace(module: "self_attention.query_key_value", firstRow: first, totalRows: queries + 2 * keys)]
        }
        switch linear.projection {
        case .query: return fused(0)
        case .key: return fused(queries)
        case .value: return fused(queries + keys)
        case .output: return [TensorPlace(module: "self_attention.dense", totalRows: rows)]
        case .gate: return [TensorPlace(module: "mlp.dense_h_to_4h", totalRows: 2 * rows)]
        case .up: return [TensorPlace(module: "mlp.dense_h_to_4h", firstRow: rows, totalRows: 2 * rows)]
        case .down: return [TensorPlace(module: "mlp.dense_4h_to_h", totalRows: rows)]
        default: return []
        }
    }

    // MARK: GGUF

    private func ggufPlaces(_ linear: LinearShape, _ gguf: GGUFNaming) -> [TensorPlace] {
        let rows = linear.rows, queries = heads * headDimension, keys = keyValueHeads * headDimension
        func whole(_ module: String, paired: Bool = false) -> TensorPlace {
            TensorPlace(module: module, totalRows: rows, pairedRows: paired && gguf.pairsRows ? headDimension : nil)
        }
        func fused(_ first: Int) -> TensorPlace {
            TensorPlace(module: "attn_qkv", firstRow: first, totalRows: queries + 2 * keys)
        }
        func expert(_ module: String, _ index: Int) -> [TensorPlace] {
            [TensorPlace(module: module, firstRow: index * rows, totalRows: (linear.experts ?? 1) * rows)]
        }
        func perHead(_ module: String, _ head: Int) -> TensorPlace {
            TensorPlace(module: module, firstRow: head * rows, totalRows: heads * rows)
        }
        switch linear.projection {
        case .query: return [whole("attn_q", paired: true), fused(0)]
        case .key: return [whole("attn_k", paired: true), fused(queries)]
        case .value: return [whole("attn_v"), fused(queries + keys)]
        case .output: return [whole("attn_output")]
        case .queryDown: return [whole("attn_q_a")]
        case .queryUp: return [whole("attn_q_b")]
        case .latentDown: return [whole("attn_kv_a_mqa")]
        case .headKey(let head):
            return [perHead("attn_k_b", head), absorbed("attn_kv_b", head: head, skips: 0, transposed: true)]
        case .headValue(let head):
            return [
                perHead("attn_v_b", head),
                absorbed("attn_kv_b", head: head, skips: linear.latent?.plain ?? 0, transposed: false),
            ]
        // glm4 and chatglm keep gate and up as one "ffn_up".
        case .gate: return [whole("ffn_gate"), TensorPlace(module: "ffn_up", totalRows: 2 * rows)]
        case .up:
            return [whole("ffn_up"), TensorPlace(module: "ffn_up", firstRow: rows, totalRows: 2 * rows)]
        case .down: return [whole("ffn_down")]
        case .router: return [whole("ffn_gate_inp")]
        case .sharedGate: return [whole("ffn_gate_shexp")]
        case .sharedUp: return [whole("ffn_up_shexp")]
        case .sharedDown: return [whole("ffn_down_shexp")]
        case .expertGate(let index): return expert("ffn_gate_exps", index)
        case .expertUp(let index): return expert("ffn_up_exps", index)
        case .expertDown(let index): return expert("ffn_down_exps", index)
        }
    }
}

extension TensorPlace {
    fileprivate func named(_ module: String) -> Self {
        Self(
            module: module, firstRow: firstRow, totalRows: totalRows, pairedRows: pairedRows, transposed: transposed)
    }
}
