// PEFT LoRA folders: y += scale * B(A x) on any of a layer's seven matrices. What this engine would compute
// differently from
// PEFT is refused by name.

package import ModelFiles
import Arithmetic
import Primitives

package enum AdapterLimit {
    package static let rankMax = 256
}

struct LowRank: Sendable {
    let down: PackedMatrix
    let up: PackedMatrix
    let scale: Float
}

package final class LoadedAdapter: Sendable {
    /// [layer][projection], nil where the adapter leaves the matrix alone.
    let updates: [[LowRank?]]
    package let rankMax: Int

    package var weightBytes: Int {
        updates.reduce(0) { $0 + $1.reduce(0) { $0 + ($1.map { $0.down.byteCount + $0.up.byteCount } ?? 0) } }
    }

    /// `config` is that of the base model that the adapter will run on: shapes are checked against it.
    package init(folder: any ModelFolder, config: ModelConfig) throws(ModelFault) {
        let file = "adapter_config.json", weights = "adapter_model.safetensors"
        guard let bytes = folder.bytes(of: file) else { throw .missing(file: file) }
        let json = try parseJSON(bytes, file: file)
        let settings = try AdapterSettings(json, file: file)
        let tensors = try Safetensors(folder: folder, stem: "adapter_model").tensors
        var updates = [[LowRank?]](
            repeating: Array(repeating: nil, count: Projection.allCases.count), count: config.layers)
        var used = 0, rankMax = 0
        for layer in 0..<config.layers {
            for projection in Projection.allCases {
                let module = "model.layers.\(layer).\(projection.module)"
                let name = "base_model.model." + module
                let a = tensors[name + ".lora_A.weight"], b = tensors[name + ".lora_B.weight"]
                guard a != nil || b != nil else { continue }
                guard let a, let b else {
                    throw .malformed(file: weights, reason: "\(name) has only one of lora_A and lora_B")
                }
                used += 2
                let rank = settings.rank(of: module)
                let (rows, columns) = projection.shape(in: config)
                updates[layer][projection.rawValue] = LowRank(
                    down: try PackedMatrix(a, rows: rank, columns: columns, precision: .f32, file: weights),
                    up: try PackedMatrix(b, rows: rows, columns: rank, precision: .f32, file: weights),
                    scale: settings.scale(of: module, rank: rank))
                rankMax = max(rankMax, rank)
            }
        }
        if used != tensors.count {
            let known = Set(
                (0..<config.layers).flatMap { layer in
                    Projection.allCases.flatMap { projection in
                        ["A", "B"].map {
                            "base_model.model.model.layers.\(layer).\(projection.module).lora_\($0).weight"
                        }
                    }
                })
            let strange = tensors.keys.sorted().first { !known.contains($0) } ?? ""
            throw .unsupported(file: weights, feature: "tensor \(strange)")
        }
        guard used > 0 else { throw .malformed(file: weights, reason: "holds no LoRA matrices for this model") }
        self.updates = updates
        self.rankMax = rankMax
        withExtendedLifetime(folder) {}
    }
}

/// adapter_config.json: the ranks and scales, and the refusals.
private struct AdapterSettings {
    let rank: Int
    let alpha: Double
    let rootScaled: Bool
    let rankPattern: [(key: String, value: Int)]
    let alphaPattern: [(key: String, value: Double)]

    init(_ json: JSONValue, file: String) throws(ModelFault) {
        let kind = json["peft_type"]?.text ?? "LORA"
        guard kind == "LORA" else { throw .unsupported(file: file, feature: "peft_type \(kind)") }
        for key in [
            "use_dora", "lora_bias", "modules_to_save", "fan_in_fan_out", "layer_replication", "use_qalora",
            "trainable_token_indices", "target_parameters", "alora_invocation_tokens", "use_bdlora",
        ] {
            guard let value = json[key], !value.isNull, value.flag != false, value.items?.isEmpty != true else {
                continue
            }
            throw .unsupported(file: file, feature: "\"\(key)\"")
        }
        if let bias = json["bias"]?.text, bias != "none" { throw .unsupported(file: file, feature: "bias \"\(bias)\"") }
        guard let rank = json["r"]?.count, (1...AdapterLimit.rankMax).contains(rank) else {
            throw .malformed(file: file, reason: "\"r\" is not between 1 and \(AdapterLimit.rankMax)")
        }
        self.rank = rank
        alpha = json["lora_alpha"]?.double ?? 8
        guard alpha.isFinite, abs(alpha) < 1e6 else {
            throw .malformed(file: file, reason: "\"lora_alpha\" is out of range")
        }
        rootScaled = json["use_rslora"]?.flag ?? false
        var ranks: [(key: String, value: Int)] = [], alphas: [(key: String, value: Double)] = []
        for member in json["rank_pattern"]?.memberList ?? [] {
            let key = member.key, value = member.value
            guard let number = value.count, (1...AdapterLimit.rankMax).contains(number) else {
                throw .malformed(
                    file: file, reason: "rank_pattern \"\(key)\" is not between 1 and \(AdapterLimit.rankMax)")
            }
            ranks.append((try Self.plain(key, file: file), number))
        }
        for member in json["alpha_pattern"]?.memberList ?? [] {
            let key = member.key, value = member.value
            guard let number = value.double, abs(number) < 1e6 else {
                throw .malformed(file: file, reason: "alpha_pattern \"\(key)\" is no number")
            }
            alphas.append((try Self.plain(key, file: file), number))
        }
        rankPattern = ranks
        alphaPattern = alphas
    }

    /// PEFT takes keys as regular expressions; those that are plain module names mean themselves.
    private static func plain(_ key: String, file: String) throws(ModelFault) -> String {
        guard !key.isEmpty,
            key.utf8.allSatisfy({ byte in
                byte == 0x2e || byte == 0x5f || (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20)
            })
        else { throw .unsupported(file: file, feature: "pattern \"\(key)\"") }
        return key
    }

    private static func matches(_ key: String, _ module: String) -> Bool {
        module == key || module.hasSuffix("." + key)
    }

    func rank(of module: String) -> Int { rankPattern.first { Self.matches($0.key, module) }?.value ?? rank }

    func scale(of module: String, rank: Int) -> Float {
        let alpha = alphaPattern.first { Self.matches($0.key, module) }?.value ?? alpha
        return Float(rootScaled ? alpha / Double(rank).squareRoot() : alpha / Double(rank))
    }
}
