// config.json in the two layouts that exist: transformers 5 writes `rope_parameters` and `dtype`, transformers 4
// `rope_theta`, `rope_scaling` and `torch_dtype`. A family differs from the next by the fields of this value, not by
// code of
// its own: the transformer reads the fields.

package import ModelFiles
import Arithmetic
import Primitives

package enum ConfigLimit {
    static let layersMax = 512
    static let headsMax = 1024
    static let headDimensionMax = 1024
    static let widthMax = 1 << 18
    static let vocabularyMax = 1 << 21
    static let contextTokensMax = 1 << 22
}

/// Rotary frequencies. Source: transformers `modeling_rope_utils`.
package enum RopeScaling: Hashable, Sendable {
    case none
    case linear(factor: Float)
    case llama3(factor: Float, low: Float, high: Float, originalContext: Float)
}

package struct ModelConfig: Hashable, Sendable {
    package let family: String
    package let hidden: Int
    package let intermediate: Int
    package let layers: Int
    package let heads: Int
    package let keyValueHeads: Int
    package let headDimension: Int
    package let vocabulary: Int
    package let contextTokens: Int
    package let epsilon: Float
    package let tiedEmbeddings: Bool
    package let ropeTheta: Double
    package let ropeScaling: RopeScaling
    /// Biases on q, k and v; on o; on the three of the MLP.
    package let attentionBias: Bool
    package let outputBias: Bool
    package let mlpBias: Bool
    /// RMS norm over each head of q and k before the rotation (Qwen3).
    package let headNorms: Bool
    /// A position sees at most this many, itself included (Mistral).
    package let slidingWindow: Int?
    package let endTokens: [Int32]

    package init(folder: any ModelFolder) throws(ModelFault) {
        let file = "config.json"
        guard let bytes = folder.bytes(of: file) else { throw .missing(file: file) }
        let json = try parseJSON(bytes, file: file)
        func count(_ key: String, max: Int, default fallback: Int? = nil) throws(ModelFault) -> Int {
            guard let value = json[key], !value.isNull else {
                if let fallback { return fallback }
                throw .malformed(file: file, reason: "\"\(key)\" is missing")
            }
            guard let number = value.count, (1...max).contains(number) else {
                throw .malformed(file: file, reason: "\"\(key)\" is not between 1 and \(max)")
            }
            return number
        }
        guard let family = json["model_type"]?.text else {
            throw .malformed(file: file, reason: "\"model_type\" is missing")
        }
        guard ["llama", "mistral", "qwen2", "qwen3"].contains(family) else {
            throw .unsupported(file: file, feature: "model_type \"\(family)\"")
        }
        self.family = family
        let activation = json["hidden_act"]?.text ?? "silu"
        guard activation == "silu" else { throw .unsupported(file: file, feature: "hidden_act \"\(activation)\"") }
        for key in ["quantization_config", "layer_types_override"] where json[key].map({ !$0.isNull }) ?? false {
            throw .unsupported(file: file, feature: "\"\(key)\"")
        }
        hidden = try count("hidden_size", max: ConfigLimit.widthMax)
        intermediate = try count("intermediate_size", max: ConfigLimit.widthMax)
        layers = try count("num_hidden_layers", max: ConfigLimit.layersMax)
        heads = try count("num_attention_heads", max: ConfigLimit.headsMax)
        keyValueHeads = try count("num_key_value_heads", max: ConfigLimit.headsMax, default: heads)
        headDimension = try count("head_dim", max: ConfigLimit.headDimensionMax, default: Swift.max(1, hidden / heads))
        vocabulary = try count("vocab_size", max: ConfigLimit.vocabularyMax)
        contextTokens = try count("max_position_embeddings", max: ConfigLimit.contextTokensMax)
        guard heads.isMultiple(of: keyValueHeads) else {
            throw .malformed(file: file, reason: "\(heads) heads cannot share \(keyValueHeads) key/value heads evenly")
        }
        guard headDimension.isMultiple(of: 2) else {
            throw .malformed(file: file, reason: "head_dim \(headDimension) is odd; rotation pairs its halves")
        }
        let epsilon = json["rms_norm_eps"]?.double ?? 1e-6
        guard epsilon > 0, epsilon < 1 else {
            throw .malformed(file: file, reason: "\"rms_norm_eps\" is not between 0 and 1")
        }
        self.epsilon = Float(epsilon)
        tiedEmbeddings = json["tie_word_embeddings"]?.flag ?? false
        let qwen2 = family == "qwen2"
        attentionBias = qwen2 || (json["attention_bias"]?.flag ?? false)
        outputBias = !qwen2 && (json["attention_bias"]?.flag ?? false)
        mlpBias = json["mlp_bias"]?.flag ?? false
        headNorms = family == "qwen3"
        let windowed = family == "mistral" || json["use_sliding_window"]?.flag == true
        if windowed, let window = json["sliding_window"], !window.isNull {
            slidingWindow = try count("sliding_window", max: ConfigLimit.contextTokensMax)
            guard family == "mistral" else {
                throw .unsupported(file: file, feature: "use_sliding_window in \(family)")
            }
        } else {
            slidingWindow = nil
        }
        let rope = json["rope_parameters"].flatMap { $0.isNull ? nil : $0 }
        let scaling = rope ?? json["rope_scaling"].flatMap { $0.isNull ? nil : $0 }
        let theta = rope?["rope_theta"]?.double ?? json["rope_theta"]?.double ?? 10000
        guard theta >= 1, theta <= 1e12 else { throw .malformed(file: file, reason: "\"rope_theta\" is out of range") }
        ropeTheta = theta
        ropeScaling = try Self.scaling(scaling, file: file)
        endTokens = try Self.endTokens(json: json, folder: folder, vocabulary: vocabulary)
    }

    private static func scaling(_ json: JSONValue?, file: String) throws(ModelFault) -> RopeScaling {
        guard let json else { return .none }
        func number(_ key: String) throws(ModelFault) -> Float {
            guard let value = json[key]?.double, value > 0, value < 1e9 else {
                throw .malformed(file: file, reason: "rope scaling needs \"\(key)\"")
            }
            return Float(value)
        }
        let kind = json["rope_type"]?.text ?? json["type"]?.text ?? "default"
        if let partial = json["partial_rotary_factor"]?.double, partial != 1 {
            throw .unsupported(file: file, feature: "partial_rotary_factor \(partial)")
        }
        switch kind {
        case "default": return .none
        case "linear": return .linear(factor: try number("factor"))
        case "llama3":
            let low = try number("low_freq_factor"), high = try number("high_freq_factor")
            guard high > low else {
                throw .malformed(file: file, reason: "high_freq_factor must exceed low_freq_factor")
            }
            return .llama3(
                factor: try number("factor"), low: low, high: high,
                originalContext: try number("original_max_position_embeddings"))
        default: throw .unsupported(file: file, feature: "rope_type \"\(kind)\"")
        }
    }

    /// generation_config.json has the last word on what ends an answer.
    private static func endTokens(
        json: JSONValue, folder: any ModelFolder, vocabulary: Int
    ) throws(ModelFault) -> [Int32] {
        var found: Set<Int32> = []
        var sources = [json]
        if let bytes = folder.bytes(of: "generation_config.json") {
            sources.append(try parseJSON(bytes, file: "generation_config.json"))
        }
        for source in sources {
            let value = source["eos_token_id"]
            for item in value?.items ?? value.map({ [$0] }) ?? [] {
                if let id = item.count, id < vocabulary { found.insert(Int32(id)) }
            }
        }
        return found.sorted()
    }

    /// Angle per position of each pair, as transformers computes it: single precision, in its order of operations.
    package var inverseFrequencies: [Float] {
        (0..<headDimension / 2).map { pair in
            let exponent = Float(2 * pair) / Float(headDimension)
            let plain = 1 / Float(DoubleMath.pow(ropeTheta, Double(exponent)))
            switch ropeScaling {
            case .none: return plain
            case .linear(let factor): return plain / factor
            case .llama3(let factor, let low, let high, let original):
                let wavelength = 2 * Float.pi / plain
                if wavelength > original / low { return plain / factor }
                if wavelength < original / high { return plain }
                let smooth = (original / wavelength - low) / (high - low)
                return (1 - smooth) * plain / factor + smooth * plain
            }
        }
    }
}
