// PEFT LoRA folders: y += B(scale * A x) on any of a layer's linear layers. What this engine would compute differently from
// PEFT is refused by name.

package import Arithmetic
package import ModelFiles
import Primitives

package enum AdapterLimit {
    package static let rankMax = 256
    /// Of the factors of several adapters side by side.
    package static let stackedRankMax = 1024
}

package final class LoadedAdapter: Sendable {
    /// [layer][position in `ModelConfig.linears(layer)`], nil where the adapter leaves the matrix alone.
    let updates: [[LowRank?]]
    package let rankMax: Int
    /// Bytes that the factors take in memory.
    package let weightBytes: Int

    init(updates: [[LowRank?]]) {
        self.updates = updates
        rankMax = updates.reduce(0) { $1.reduce($0) { max($0, $1?.rank ?? 0) } }
        weightBytes = updates.reduce(0) { $1.reduce($0) { $0 + ($1?.byteCount ?? 0) } }
    }

    /// - Parameters:
    ///   - config: that of the base model that the adapter will run on: shapes are checked against it.
    ///   - precision: the base's; beside f32 weights the factors are f32 too, beside others as the file has them.
    ///   - memory: where the factors go; the heap where there is none.
    package convenience init(
        folder: any ModelFolder, config: ModelConfig, precision: Precision = .f32,
        memory: (any FactorMemory)? = nil
    ) throws(ModelFault) {
        let weights = "adapter_model.safetensors"
        let settings = try AdapterSettings(folder: folder)
        let tensors = try Safetensors(folder: folder, stem: "adapter_model").tensors
        let widens = precision == .f32
        var cutter = FactorCutter(memory?.piece(Self.bytes(of: tensors, widens: widens)))
        var updates: [[LowRank?]] = []
        var used: Set<String> = []
        for layer in 0..<config.layers {
            var slots = [LowRank?](repeating: nil, count: config.linears(layer).count)
            for module in config.adapterModules(layer) {
                guard !used.contains(module.downName),
                    let pair = try Self.pair(module, tensors, rank: settings.rank(of: module.module), file: weights)
                else { continue }
                used.insert(module.downName)
                used.insert(module.upName)
                let rank = pair.down.rows / module.experts
                for part in module.parts {
                    slots[part.slot] = try Self.lowRank(
                        module, part, pair, scale: settings.scale(of: module.module, rank: rank), widens: widens,
                        file: weights, from: &cutter)
                }
            }
            updates.append(slots)
        }
        if used.count != tensors.count, let strange = tensors.keys.sorted().first(where: { !used.contains($0) }) {
            throw .unsupported(file: weights, feature: "tensor \(strange)")
        }
        guard !used.isEmpty else { throw .malformed(file: weights, reason: "holds no LoRA matrices for this model") }
        self.init(updates: updates)
        withExtendedLifetime(folder) {}
    }

    /// What the file's matrices take as factors. Those that are cut or turned may take a little more. Of the shapes, which
    /// nobody has checked yet, only the bytes behind them are believed.
    private static func bytes(of tensors: [String: TensorView], widens: Bool) -> Int {
        tensors.values.reduce(0) { sum, tensor in
            guard let type = BlockType.named[tensor.dtype] else { return sum }
            let kind = widens ? .f32 : FactorKind(type)
            let elements = tensor.bytes.count / type.bytes * type.elements
            let columns = min(elements, tensor.shape.last ?? 0), rows = columns == 0 ? 0 : elements / columns
            return sum + FactorCutter.rounded(AdapterFactor.bytes(kind, rows: rows, columns: columns))
        }
    }

    private static func lowRank(
        _ module: AdapterModule, _ part: AdapterModule.Part, _ pair: (down: RowReader, up: RowReader), scale: Double,
        widens: Bool, file: String, from memory: inout FactorCutter
    ) throws(ModelFault) -> LowRank {
        if module.experts == 1, !part.transposed, part.firstRow == 0, part.rows == module.rows {
            return LowRank(
                down: try AdapterFactor(pair.down, widens: widens, file: file, from: &memory),
                up: try AdapterFactor(pair.up, widens: widens, file: file, from: &memory), scale: scale)
        }
        let (down, up) = module.factors(part, down: pair.down, up: pair.up)
        return LowRank(
            down: try AdapterFactor(try RowReader(down, file: file), widens: widens, file: file, from: &memory),
            up: try AdapterFactor(try RowReader(up, file: file), widens: widens, file: file, from: &memory),
            scale: scale)
    }

    /// A module's two tensors; nil where the file has neither, or those of another module under the same names.
    private static func pair(
        _ module: AdapterModule, _ tensors: [String: TensorView], rank: Int, file: String
    ) throws(ModelFault) -> (down: RowReader, up: RowReader)? {
        let a = tensors[module.downName], b = tensors[module.upName]
        guard a != nil || b != nil else { return nil }
        guard let a, let b else {
            throw .malformed(file: file, reason: "\(module.module) has only one of lora_A and lora_B")
        }
        if module.experts > 1, a.shape.last != module.columns || b.shape.first != module.rows { return nil }
        return (
            try RowReader(a, rows: module.experts * rank, columns: module.columns, file: file),
            try RowReader(b, rows: module.rows, columns: module.experts * rank, file: file)
        )
    }
}

/// adapter_config.json: the ranks and scales, and the refusals.
struct AdapterSettings {
    let rank: Int
    let alpha: Double
    let rootScaled: Bool
    let rankPattern: [(key: String, value: Int)]
    let alphaPattern: [(key: String, value: Double)]

    init(folder: any ModelFolder) throws(ModelFault) {
        let file = "adapter_config.json"
        guard let bytes = folder.bytes(of: file) else { throw .missing(file: file) }
        let json = try parseJSON(bytes, file: file)
        let kind = json["peft_type"]?.text ?? "LORA"
        guard kind == "LORA" else { throw .unsupported(file: file, feature: "peft_type \(kind)") }
        for key in [
            "use_dora", "lora_bias", "modules_to_save", "fan_in_fan_out", "layer_replication", "use_qalora",
            "trainable_token_indices", "alora_invocation_tokens", "use_bdlora",
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

    /// PEFT takes keys as regular expressions; those that are plain module names, or end in one after `.*\\.`, mean that.
    private static func plain(_ key: String, file: String) throws(ModelFault) -> String {
        let key = key.hasPrefix(".*\\.") ? String(key.dropFirst(4)) : key
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

    func scale(of module: String, rank: Int) -> Double {
        let alpha = alphaPattern.first { Self.matches($0.key, module) }?.value ?? alpha
        return rootScaled ? alpha / Double(rank).squareRoot() : alpha / Double(rank)
    }
}
