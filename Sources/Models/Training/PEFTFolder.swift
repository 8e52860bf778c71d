// What was trained as a PEFT folder: adapter_config.json and adapter_model.safetensors, as PEFT's own save_pretrained writes
// them for a LoRA of these modules. Weights are f32.

package import Inference
import Primitives

package enum PEFTFolder {
    package static let configName = "adapter_config.json"
    package static let weightsName = "adapter_model.safetensors"

    /// - Parameters:
    ///   - base: the base model's name.
    ///   - initial: what the run went on from: its rank and alpha stay.
    package static func files(
        of trainer: Trainer, base: String, initial: AdapterFactors? = nil
    ) -> [(name: String, bytes: [UInt8])] {
        let rank = initial?.rank ?? trainer.settings.rank, alpha = initial?.alpha ?? trainer.settings.alpha
        let rootScaled = initial?.rootScaled ?? trainer.settings.rootScaled
        let modules = trainer.parameters.layout.modules
        var targets: [String] = [], ranks: [JSONMember] = [], alphas: [JSONMember] = []
        for module in modules {
            let path = module.module.module
            let last = path.split(separator: ".").last.map(String.init) ?? path
            if !targets.contains(last) { targets.append(last) }
            if module.rank != rank { ranks.append(JSONMember(path, .integer(module.rank))) }
            let own = module.scale * (rootScaled ? Double(module.rank).squareRoot() : Double(module.rank))
            if abs(own - alpha) > 1e-9 * abs(alpha) { alphas.append(JSONMember(path, .double(own))) }
        }
        let config = JSONValue.object([
            "alpha_pattern": .members(alphas), "base_model_name_or_path": .string(base), "bias": .string("none"),
            "fan_in_fan_out": .bool(false), "inference_mode": .bool(true), "init_lora_weights": .bool(true),
            "lora_alpha": number(alpha), "lora_dropout": .double(0), "modules_to_save": .null,
            "peft_type": .string("LORA"), "r": .integer(rank), "rank_pattern": .members(ranks),
            "target_modules": .strings(targets.sorted()), "task_type": .string("CAUSAL_LM"), "use_dora": .bool(false),
            "use_rslora": .bool(rootScaled),
        ])
        return [(configName, config.serialized()), (weightsName, weights(of: trainer))]
    }

    /// PEFT writes a whole alpha as an integer.
    private static func number(_ value: Double) -> JSONValue {
        Int(exactly: value).map { .integer($0) } ?? .double(value)
    }

    /// Tensors in ascending order of names, as safetensors' own writer orders those of one type.
    private static func weights(of trainer: Trainer) -> [UInt8] {
        var tensors: [(name: String, shape: [Int], values: [Float])] = []
        for module in trainer.parameters.layout.modules {
            let factors = trainer.parameters.weights(of: module)
            tensors.append((module.module.downName, [module.rank, module.module.columns], factors.down))
            tensors.append((module.module.upName, [module.module.rows, module.rank], factors.up))
        }
        tensors.sort { $0.name < $1.name }
        var members = [JSONMember("__metadata__", .object(["format": .string("pt")]))], offset = 0
        for tensor in tensors {
            let end = offset + tensor.values.count * 4
            members.append(
                JSONMember(
                    tensor.name,
                    .object([
                        "dtype": .string("F32"), "shape": .array(tensor.shape.map { .integer($0) }),
                        "data_offsets": .array([.integer(offset), .integer(end)]),
                    ])))
            offset = end
        }
        var header = JSONValue.members(members).serialized()
        while !header.count.isMultiple(of: 8) { header.append(0x20) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(8 + header.count + offset)
        withUnsafeBytes(of: UInt64(header.count).littleEndian) { bytes += $0 }
        bytes += header
        for tensor in tensors {
            for value in tensor.values { withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 } }
        }
        return bytes
    }
}
