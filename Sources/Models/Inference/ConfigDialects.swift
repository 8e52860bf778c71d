// Other ways of saying what config.json says, translated key by key into the words of transformers: ChatGLM's own
// config, a text model within a multimodal one, and GGUF metadata.

import ModelFiles
import Primitives

enum ConfigDialect {
    /// config.json in the words of ConfigReader, and how the folder's tensors are named.
    static func huggingFace(_ json: JSONValue, file: String) throws(ModelFault) -> (JSONValue, TensorNaming) {
        switch json["model_type"]?.text {
        case "chatglm": return (try chatGLM(json, file: file), .chatGLM)
        case "gemma3":
            guard let text = json["text_config"] else {
                throw .malformed(file: file, reason: "\"text_config\" is missing")
            }
            return (with(text, ["model_type": .string("gemma3_text")]), .huggingFace)
        default: return (json, .huggingFace)
        }
    }

    private static func with(_ json: JSONValue, _ more: KeyValuePairs<String, JSONValue>) -> JSONValue {
        let kept = (json.memberList ?? []).filter { member in !more.contains { $0.key == member.key } }
        return .members(kept + more.map { JSONMember($0.key, $0.value) })
    }

    // MARK: ChatGLM

    /// THUDM's ChatGLM 2 and 3 and glm-4-9b. Source: their configuration_chatglm.py and modeling_chatglm.py.
    private static func chatGLM(_ json: JSONValue, file: String) throws(ModelFault) -> JSONValue {
        let fixed: [String: Bool] = [
            "add_bias_linear": false, "apply_residual_connection_post_layernorm": false, "post_layer_norm": true,
            "rmsnorm": true,
        ]
        for (key, wanted) in fixed.sorted(by: { $0.key < $1.key }) {
            if let flag = json[key]?.flag, flag != wanted {
                throw .unsupported(file: file, feature: "\"\(key)\": \(flag)")
            }
        }
        if json["quantization_bit"]?.integer ?? 0 != 0 {
            throw .unsupported(file: file, feature: "\"quantization_bit\"")
        }
        let names: KeyValuePairs = [
            "hidden_size": "hidden_size", "ffn_hidden_size": "intermediate_size", "num_layers": "num_hidden_layers",
            "num_attention_heads": "num_attention_heads", "kv_channels": "head_dim",
            "padded_vocab_size": "vocab_size", "seq_length": "max_position_embeddings",
            "layernorm_epsilon": "rms_norm_eps", "add_qkv_bias": "attention_bias",
            "tie_word_embeddings": "tie_word_embeddings", "eos_token_id": "eos_token_id",
        ]
        var members = [JSONMember("model_type", .string("glm"))]
        for (theirs, ours) in names {
            if let value = json[theirs] { members.append(JSONMember(ours, value)) }
        }
        let groups = json["multi_query_attention"]?.flag == true ? json["multi_query_group_num"] : nil
        if let groups { members.append(JSONMember("num_key_value_heads", groups)) }
        members.append(JSONMember("rope_theta", .double(10000 * (json["rope_ratio"]?.double ?? 1))))
        return .members(members)
    }

    // MARK: GGUF

    /// The model type of each architecture that llama.cpp names.
    private static let architectures = [
        "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma", "gemma2": "gemma2",
        "gemma3": "gemma3_text", "glm4": "glm4", "chatglm": "glm", "deepseek2": "deepseek_v2",
    ]

    /// `architecture.` keys and ours.
    private static let keys: KeyValuePairs = [
        "embedding_length": "hidden_size", "block_count": "num_hidden_layers",
        "context_length": "max_position_embeddings",
        "feed_forward_length": "intermediate_size", "attention.head_count": "num_attention_heads",
        "attention.head_count_kv": "num_key_value_heads", "attention.key_length": "head_dim",
        "attention.layer_norm_rms_epsilon": "rms_norm_eps", "rope.freq_base": "rope_theta",
        "attention.sliding_window": "sliding_window", "attn_logit_softcapping": "attn_logit_softcapping",
        "final_logit_softcapping": "final_logit_softcapping", "attention.q_lora_rank": "q_lora_rank",
        "attention.kv_lora_rank": "kv_lora_rank", "expert_count": "n_routed_experts",
        "expert_used_count": "num_experts_per_tok", "expert_shared_count": "n_shared_experts",
        "expert_feed_forward_length": "moe_intermediate_size", "leading_dense_block_count": "first_k_dense_replace",
        "expert_weights_scale": "routed_scaling_factor", "expert_weights_norm": "norm_topk_prob",
        "expert_group_count": "n_group", "expert_group_used_count": "topk_group",
    ]

    static func gguf(_ file: GGUFFile, name: String) throws(ModelFault) -> JSONValue {
        guard let architecture = file.metadata["general.architecture"]?.text else {
            throw .malformed(file: name, reason: "metadata \"general.architecture\" is missing")
        }
        guard let family = architectures[architecture] else {
            throw .unsupported(file: name, feature: "architecture \"\(architecture)\"")
        }
        func number(_ key: String) -> Double? { file.metadata["\(architecture).\(key)"]?.number }
        func json(_ value: GGUFValue) -> JSONValue? {
            switch value {
            case .integer(let number): .integer(number)
            case .float(let number): .double(number)
            case .flag(let flag): .bool(flag)
            default: nil
            }
        }
        var members: [String: JSONValue] = [
            "model_type": .string(family),
            "tie_word_embeddings": .bool(file.tensors["output.weight"] == nil),
            "attention_bias": .bool(
                file.tensors["blk.0.attn_q.bias"] != nil || file.tensors["blk.0.attn_qkv.bias"] != nil),
        ]
        for (theirs, ours) in keys {
            if let value = file.metadata["\(architecture).\(theirs)"].flatMap(json) { members[ours] = value }
        }
        members["vocab_size"] = file.tensors["token_embd.weight"]?.shape.first.map { .integer($0) }
        let width = number("embedding_length") ?? 1, heads = max(1, number("attention.head_count") ?? 1)
        let key = number("attention.key_length") ?? width / heads
        members["head_dim"] = whole(key)
        if let turned = number("rope.dimension_count"), key > 0 {
            members["partial_rotary_factor"] = .double(turned / key)
        }
        members["rope_scaling"] = scaling(architecture, file)
        adjust(&members, family: family, key: key, width: width / heads, layers: number("block_count") ?? 0)
        if architecture == "deepseek2" { latent(&members, file, number) }
        return .members(members.sorted { $0.key < $1.key }.map { JSONMember($0.key, $0.value) })
    }

    /// A width as a count; what is absurd stays so, and is refused where it is read.
    private static func whole(_ width: Double) -> JSONValue { .integer(Int(max(0, min(width, 1_048_576)))) }

    /// What llama.cpp knows of a family and the file does not say.
    private static func adjust(
        _ members: inout [String: JSONValue], family: String, key: Double, width: Double, layers: Double
    ) {
        guard family == "gemma2" || family == "gemma3_text" else { return }
        // Only the 27-billion models scale queries by hidden / heads. Source: llama.cpp, load_hparams.
        let isLargest = layers == (family == "gemma2" ? 46 : 62)
        members["query_pre_attn_scalar"] = .double(isLargest ? width : key)
    }

    /// deepseek2: newer files give the latent's own widths as key_length and the true ones as ..._mla.
    private static func latent(
        _ members: inout [String: JSONValue], _ file: GGUFFile, _ number: (String) -> Double?
    ) {
        let turned = number("rope.dimension_count") ?? 64
        let key = number("attention.key_length_mla") ?? number("attention.key_length") ?? 192
        let value = number("attention.value_length_mla") ?? number("attention.value_length") ?? 128
        members["qk_rope_head_dim"] = .double(turned)
        members["qk_nope_head_dim"] = .double(key - turned)
        members["v_head_dim"] = .double(value)
        for name in ["qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"] {
            members[name] = whole(members[name]?.double ?? 0)
        }
        if number("expert_gating_func") == 2 {
            members["model_type"] = .string("deepseek_v3")
            members["norm_topk_prob"] = members["norm_topk_prob"] ?? .bool(true)
        }
        members["topk_method"] = .string(members["n_group"] == nil ? "greedy" : "group_limited_greedy")
    }

    private static func scaling(_ architecture: String, _ file: GGUFFile) -> JSONValue? {
        func value(_ key: String) -> GGUFValue? { file.metadata["\(architecture).rope.scaling.\(key)"] }
        guard let kind = value("type")?.text, kind != "none", let factor = value("factor")?.number else { return nil }
        var members = [JSONMember("rope_type", .string(kind)), JSONMember("factor", .double(factor))]
        if let context = value("original_context_length")?.number {
            members.append(JSONMember("original_max_position_embeddings", .double(context)))
        }
        // DeepSeek: 0.1 times mscale_all_dim, its mscale being the same.
        if let multiplier = value("yarn_log_multiplier")?.number, multiplier != 0 {
            members.append(JSONMember("mscale", .double(multiplier * 10)))
            members.append(JSONMember("mscale_all_dim", .double(multiplier * 10)))
        }
        return .members(members)
    }
}
