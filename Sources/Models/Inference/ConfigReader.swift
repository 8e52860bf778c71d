// config.json, or GGUF metadata in its words, turned into a ModelConfig. Two layouts exist: transformers 5 writes
// `rope_parameters` and `dtype`, transformers 4 `rope_theta`, `rope_scaling` and `torch_dtype`; both are read.

import ModelFiles
import Primitives

struct ConfigReader {
    let json: JSONValue
    let file: String
    let naming: TensorNaming
    /// One divisor a rotated pair, where the weights bring them.
    var ropeFactors: [Float]?
    var endTokens: [Int32] = []
    private let family: String
    private let traits: FamilyTraits

    init(_ json: JSONValue, naming: TensorNaming, file: String) throws(ModelFault) {
        guard let family = json["model_type"]?.text else {
            throw .malformed(file: file, reason: "\"model_type\" is missing")
        }
        guard let traits = FamilyTraits.all[family] else {
            throw .unsupported(file: file, feature: "model_type \"\(family)\"")
        }
        self.json = json
        self.file = file
        self.naming = naming
        self.family = family
        self.traits = traits
    }

    // MARK: Fields

    /// A key's value; what the family assumes where the key is absent, nil where it is null.
    private func value(_ key: String) -> JSONValue? {
        guard let value = json[key] ?? traits.defaults[key], !value.isNull else { return nil }
        return value
    }

    private func optionalCount(_ key: String, max: Int) throws(ModelFault) -> Int? {
        guard let value = value(key) else { return nil }
        guard let number = value.count, (1...max).contains(number) else {
            throw .malformed(file: file, reason: "\"\(key)\" is not between 1 and \(max)")
        }
        return number
    }

    private func count(_ key: String, max: Int) throws(ModelFault) -> Int {
        guard let number = try optionalCount(key, max: max) else {
            throw .malformed(file: file, reason: "\"\(key)\" is missing")
        }
        return number
    }

    private func optionalNumber(_ key: String, in range: ClosedRange<Double>) throws(ModelFault) -> Double? {
        guard let value = value(key) else { return nil }
        guard let number = value.double, range.contains(number) else {
            throw .malformed(
                file: file, reason: "\"\(key)\" is not between \(range.lowerBound) and \(range.upperBound)")
        }
        return number
    }

    private func flag(_ key: String) throws(ModelFault) -> Bool {
        guard let value = value(key) else { return false }
        guard let flag = value.flag else {
            throw .malformed(file: file, reason: "\"\(key)\" is neither true nor false")
        }
        return flag
    }

    // MARK: The description

    func config() throws(ModelFault) -> ModelConfig {
        if value("quantization_config") != nil {
            throw .unsupported(file: file, feature: "\"quantization_config\"")
        }
        let hidden = try count("hidden_size", max: ConfigLimit.widthMax)
        let layers = try count("num_hidden_layers", max: ConfigLimit.layersMax)
        let attention = try attention(hidden: hidden)
        let epsilon = try optionalNumber("rms_norm_eps", in: 1e-12...0.1) ?? 1e-6
        let ropes = try ropes(attention: attention)
        let windows = try windows(layers: layers)
        var plans: [LayerPlan] = []
        for layer in 0..<layers {
            plans.append(
                LayerPlan(
                    rope: windows[layer] != nil ? ropes.count - 1 : 0, window: windows[layer],
                    feedForward: try feedForward(layer: layer)))
        }
        let vocabulary = try count("vocab_size", max: ConfigLimit.vocabularyMax)
        let config = ModelConfig(
            family: family, hidden: hidden, vocabulary: vocabulary,
            contextTokens: try count("max_position_embeddings", max: ConfigLimit.contextTokensMax),
            epsilon: Float(epsilon), tiedEmbeddings: try flag("tie_word_embeddings"),
            endTokens: endTokens.filter { Int($0) < vocabulary },
            embeddingScale: traits.scalesEmbeddings ? Float(Double(hidden).squareRoot()) : nil,
            logitCap: try optionalNumber("final_logit_softcapping", in: 1e-3...1e6).map { Float($0) },
            normOffset: naming.isGGUF ? 0 : traits.normOffset, activation: try activation(), attention: attention,
            ropes: ropes, plans: plans, naming: naming)
        for layer in 0..<layers {
            for linear in config.linears(layer) where linear.rows > ConfigLimit.elementsMax / linear.columns {
                throw .malformed(
                    file: file, reason: "layer \(layer) has a matrix of \(linear.rows) x \(linear.columns)")
            }
        }
        return config
    }

    private func activation() throws(ModelFault) -> Activation {
        let name = (value("hidden_activation") ?? value("hidden_act"))?.text
        switch (traits.activation, name) {
        case (.silu, nil), (.silu, "silu"): return .silu
        case (.geluTanh, nil), (.geluTanh, "gelu_pytorch_tanh"), (.geluTanh, "gelu"): return .geluTanh
        default: throw .unsupported(file: file, feature: "hidden_act \"\(name ?? "")\"")
        }
    }

    private func attention(hidden: Int) throws(ModelFault) -> AttentionPlan {
        let heads = try count("num_attention_heads", max: ConfigLimit.headsMax)
        let bias = try flag("attention_bias")
        let kind: AttentionKind
        var scale: Double
        var interleaved = traits.interleaved
        if value("kv_lora_rank") != nil {
            let plan = LatentPlan(
                queryRank: try optionalCount("q_lora_rank", max: ConfigLimit.widthMax),
                rank: try count("kv_lora_rank", max: ConfigLimit.widthMax),
                plain: try count("qk_nope_head_dim", max: ConfigLimit.headDimensionMax),
                rotated: try count("qk_rope_head_dim", max: ConfigLimit.headDimensionMax),
                value: try count("v_head_dim", max: ConfigLimit.headDimensionMax))
            kind = .latent(plan)
            scale = 1 / Double(plan.plain + plan.rotated).squareRoot()
            if let rope = ropeSettings.global, ropeKind(rope) == "yarn", let m = rope["mscale_all_dim"]?.double,
                let factor = rope["factor"]?.double, m != 0
            {
                let scaled = Yarn.scale(factor, m)
                scale = scale * scaled * scaled
            }
            if json["rope_interleave"]?.flag == false { interleaved = false }
        } else {
            let keyValueHeads = try optionalCount("num_key_value_heads", max: ConfigLimit.headsMax) ?? heads
            guard heads.isMultiple(of: keyValueHeads) else {
                throw .malformed(
                    file: file, reason: "\(heads) heads cannot share \(keyValueHeads) key/value heads evenly")
            }
            let dimension =
                try optionalCount("head_dim", max: ConfigLimit.headDimensionMax) ?? max(1, hidden / heads)
            kind = .grouped(keyValueHeads: keyValueHeads, dimension: dimension)
            scale = 1 / (try optionalNumber("query_pre_attn_scalar", in: 1e-3...1e6) ?? Double(dimension)).squareRoot()
        }
        return AttentionPlan(
            kind: kind, heads: heads, scale: Float(scale),
            scoreCap: try optionalNumber("attn_logit_softcapping", in: 1e-3...1e6).map { Float($0) },
            headNorms: traits.headNorms, inputBias: traits.inputBias ?? bias, outputBias: traits.outputBias ?? bias,
            interleaved: interleaved, norms: traits.norms)
    }

    // MARK: Layers

    /// The window of each layer.
    private func windows(layers: Int) throws(ModelFault) -> [Int?] {
        var isWindowed = [Bool](repeating: false, count: layers)
        if let types = value("layer_types")?.items {
            guard types.count >= layers else {
                throw .malformed(file: file, reason: "\"layer_types\" names \(types.count) of \(layers) layers")
            }
            for (layer, type) in types.prefix(layers).enumerated() {
                switch type.text {
                case "sliding_attention": isWindowed[layer] = true
                case "full_attention": break
                default: throw .unsupported(file: file, feature: "layer type \"\(type.text ?? "")\"")
                }
            }
        } else {
            switch traits.windows {
            case .none: break
            case .every: isWindowed = isWindowed.map { _ in true }
            case .alternating: for layer in stride(from: 0, to: layers, by: 2) { isWindowed[layer] = true }
            case .allButEach:
                let own = json["_sliding_window_pattern"] == nil ? "sliding_window_pattern" : "_sliding_window_pattern"
                let pattern = try count(own, max: ConfigLimit.layersMax)
                for layer in 0..<layers { isWindowed[layer] = !(layer + 1).isMultiple(of: pattern) }
            case .fromLayer:
                guard try flag("use_sliding_window") else { break }
                let first = value("max_window_layers")?.count ?? 0
                for layer in 0..<layers { isWindowed[layer] = layer >= first }
            }
        }
        guard isWindowed.contains(true), value("sliding_window") != nil else {
            return Array(repeating: nil, count: layers)
        }
        let window = try count("sliding_window", max: ConfigLimit.contextTokensMax)
        return isWindowed.map { $0 ? window : nil }
    }

    private func feedForward(layer: Int) throws(ModelFault) -> FeedForwardPlan {
        let dense = FeedForwardPlan.dense(
            width: try count("intermediate_size", max: ConfigLimit.widthMax), bias: try flag("mlp_bias"))
        guard value("n_routed_experts") != nil else { return dense }
        let first = value("first_k_dense_replace")?.count ?? 0
        let every = try optionalCount("moe_layer_freq", max: ConfigLimit.layersMax) ?? 1
        guard layer >= first, layer.isMultiple(of: every) else { return dense }
        let experts = try count("n_routed_experts", max: ConfigLimit.expertsMax)
        let width = try count("moe_intermediate_size", max: ConfigLimit.widthMax)
        var shared = 0
        if let number = value("n_shared_experts")?.count, number > 0 {
            guard number <= ConfigLimit.widthMax / width else {
                throw .malformed(file: file, reason: "\(number) shared experts of \(width) are too wide")
            }
            shared = number * width
        }
        let scoring: ExpertPlan.Scoring = family == "deepseek_v3" ? .correctedSigmoid : .softmax
        let wanted = scoring == .softmax ? "softmax" : "sigmoid"
        if let name = value("scoring_func")?.text, name != wanted {
            throw .unsupported(file: file, feature: "scoring_func \"\(name)\"")
        }
        let isGrouped = scoring == .correctedSigmoid || value("topk_method")?.text == "group_limited_greedy"
        if scoring == .softmax, let method = value("topk_method")?.text,
            !["greedy", "group_limited_greedy"].contains(method)
        {
            throw .unsupported(file: file, feature: "topk_method \"\(method)\"")
        }
        let groups = isGrouped ? try count("n_group", max: experts) : 1
        let groupsUsed = isGrouped ? try count("topk_group", max: groups) : 1
        let used = try count("num_experts_per_tok", max: experts)
        guard experts.isMultiple(of: groups), used <= experts / groups * groupsUsed else {
            throw .malformed(
                file: file, reason: "\(used) of \(experts) experts cannot come from \(groupsUsed) of \(groups) groups")
        }
        return .experts(
            ExpertPlan(
                count: experts, used: used, width: width, sharedWidth: shared, scoring: scoring, groups: groups,
                groupsUsed: groupsUsed, normalizes: scoring == .correctedSigmoid ? try flag("norm_topk_prob") : false,
                scale: Float(try optionalNumber("routed_scaling_factor", in: 0...1e6) ?? 1)))
    }

    // MARK: Rotation

    /// The rotation of layers without and with a window, where they differ.
    private var ropeSettings: (global: JSONValue?, local: JSONValue?) {
        let parameters = value("rope_parameters")
        if let global = parameters?["full_attention"] { return (global, parameters?["sliding_attention"]) }
        return (parameters ?? value("rope_scaling"), nil)
    }

    private func ropeKind(_ json: JSONValue) -> String { json["rope_type"]?.text ?? json["type"]?.text ?? "default" }

    private func ropes(attention: AttentionPlan) throws(ModelFault) -> [Rope] {
        let (global, local) = ropeSettings
        let theta = value("rope_theta")?.double ?? 10000
        var ropes = [try rope(global, theta: theta, attention: attention)]
        if let local {
            ropes.append(try rope(local, theta: theta, attention: attention))
        } else if let theta = value("rope_local_base_freq")?.double {
            ropes.append(try rope(nil, theta: theta, attention: attention))
        }
        return ropes
    }

    private func rope(_ json: JSONValue?, theta: Double, attention: AttentionPlan) throws(ModelFault) -> Rope {
        let theta = json?["rope_theta"]?.double ?? theta
        guard theta > 1, theta <= 1e12 else { throw .malformed(file: file, reason: "\"rope_theta\" is out of range") }
        let dimension: Int
        switch attention.kind {
        case .latent(let plan): dimension = plan.rotated
        case .grouped(_, let whole):
            let factor = json?["partial_rotary_factor"]?.double ?? value("partial_rotary_factor")?.double ?? 1
            guard factor > 0, factor <= 1 else {
                throw .malformed(file: file, reason: "\"partial_rotary_factor\" is not between 0 and 1")
            }
            dimension = Int(Double(whole) * factor)
        }
        guard dimension >= 2, dimension.isMultiple(of: 2) else {
            throw .malformed(
                file: file, reason: "\(dimension) rotated channels cannot be paired (head_dim, partial_rotary_factor)")
        }
        if let ropeFactors {
            guard ropeFactors.count == dimension / 2, ropeFactors.allSatisfy({ $0 > 0 }) else {
                throw .malformed(file: file, reason: "rope_freqs.weight does not hold \(dimension / 2) factors")
            }
            return Rope(theta: theta, dimension: dimension, scaling: .factors(ropeFactors))
        }
        return Rope(theta: theta, dimension: dimension, scaling: try scaling(json))
    }

    private func scaling(_ json: JSONValue?) throws(ModelFault) -> RopeScaling {
        guard let json else { return .none }
        func number(_ key: String, default fallback: Double? = nil) throws(ModelFault) -> Double {
            guard let found = json[key], !found.isNull else {
                guard let fallback else { throw .malformed(file: file, reason: "rope scaling needs \"\(key)\"") }
                return fallback
            }
            guard let value = found.double, value > 0, value < 1e9 else {
                throw .malformed(file: file, reason: "rope scaling's \"\(key)\" is out of range")
            }
            return value
        }
        switch ropeKind(json) {
        case "default": return .none
        case "linear": return .linear(factor: Float(try number("factor")))
        case "llama3":
            let low = try number("low_freq_factor"), high = try number("high_freq_factor")
            guard high > low else {
                throw .malformed(file: file, reason: "high_freq_factor must exceed low_freq_factor")
            }
            return .llama3(
                factor: Float(try number("factor")), low: Float(low), high: Float(high),
                originalContext: Float(try number("original_max_position_embeddings")))
        case "yarn":
            let factor = try number("factor")
            var attentionFactor = Yarn.scale(factor)
            if let m = json["mscale"]?.double, let all = json["mscale_all_dim"]?.double, m != 0, all != 0 {
                attentionFactor = Yarn.scale(factor, m) / Yarn.scale(factor, all)
            }
            attentionFactor = try number("attention_factor", default: attentionFactor)
            let context = try count("max_position_embeddings", max: ConfigLimit.contextTokensMax)
            return .yarn(
                Yarn(
                    factor: factor,
                    originalContext: try number("original_max_position_embeddings", default: Double(context)),
                    betaFast: try number("beta_fast", default: 32), betaSlow: try number("beta_slow", default: 1),
                    truncates: json["truncate"]?.flag ?? true, attentionFactor: Float(attentionFactor)))
        case let kind: throw .unsupported(file: file, feature: "rope_type \"\(kind)\"")
        }
    }
}
