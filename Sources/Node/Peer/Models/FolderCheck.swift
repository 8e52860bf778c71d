// What a folder must be before it is taken onto the shelf, and what the shelf says of it. The engine itself is the judge.

import Arithmetic
import Inference
import ModelFiles
import Primitives
import Records
import Tokenizers

/// What the shelf keeps of a folder besides its manifest.
struct FolderFacts: Hashable, Sendable {
    /// Numbers in the weight files.
    var parameters: UInt64 = 0
    /// Tokens; 0 for an adapter whose base is not here.
    var contextLength = 0
    var family = ""
    var rank: Int?
    /// Millionths.
    var alpha: UInt64?
    /// What it is served in; nil: in what the peer's settings say.
    var precision: Precision?
    /// Not told to the network, and not served to others.
    var isWithheld = false
}

enum FolderCheck {
    /// What a sentence embedder is called where others have their family.
    static let embedderFamily = "bert"

    /// - Parameter base: the base model's configuration, for an adapter whose base is here.
    static func facts(
        _ kind: FolderKind, files: [String], bytes: UInt64, folder: any ModelFolder, base: ModelConfig?
    ) throws(ShelfFault) -> FolderFacts {
        var facts = FolderFacts()
        switch kind {
        case .model where Embedder.isEmbedder(folder):
            let embedder = try inModel { () throws(ModelFault) in try Embedder(folder: folder) }
            facts.contextLength = embedder.contextTokens
            facts.family = embedderFamily
        case .model:
            let config: ModelConfig
            if bytes <= ShelfLimits.wholeCheckBytesMax {
                config = try inModel { () throws(ModelFault) in
                    try LoadedModel(folder: folder, precision: .f32).config
                }
            } else {
                config = try inModel { () throws(ModelFault) in
                    _ = try ModelTexts(folder: folder)
                    return try ModelConfig(folder: folder)
                }
            }
            facts.contextLength = config.contextTokens
            facts.family = config.family
        case .adapter:
            if let base {
                _ = try inModel { () throws(ModelFault) in try LoadedAdapter(folder: folder, config: base) }
                facts.contextLength = base.contextTokens
                facts.family = base.family
            }
            (facts.rank, facts.alpha) = try scale(folder)
        }
        if let bytes = folder.bytes(of: GGUFFile.name) {
            let file = try inModel { () throws(ModelFault) in try GGUFFile(bytes, file: GGUFFile.name) }
            facts.precision = losslessPrecision(of: file)
            for view in file.tensors.values {
                let count = view.shape.reduce(UInt64(1)) { $0.multipliedSaturating(by: UInt64(max(0, $1))) }
                facts.parameters = facts.parameters.addingSaturating(count)
            }
        }
        for file in files where file.hasSuffix(".safetensors") {
            guard let bytes = folder.bytes(of: file) else { continue }
            let (sum, overflow) = facts.parameters.addingReportingOverflow(try parameters(in: bytes, file: file))
            facts.parameters = overflow ? .max : sum
        }
        return facts
    }

    /// The precision that takes the file's blocks as they stand, where all weights of its layers are of that kind.
    private static func losslessPrecision(of file: GGUFFile) -> Precision? {
        // A router is f32 in a file of any kind.
        let weights = file.tensors.values.filter { view in
            view.name.hasPrefix("blk.") && view.shape.count > 1 && !view.name.hasSuffix("ffn_gate_inp.weight")
        }
        switch Set(weights.map(\.dtype)) {
        case ["Q8_0"]: return .int8
        case ["Q4_0"]: return .int4
        default: return nil
        }
    }

    private static func scale(_ folder: any ModelFolder) throws(ShelfFault) -> (rank: Int?, alpha: UInt64?) {
        let file = "adapter_config.json"
        guard let bytes = folder.bytes(of: file) else { throw .model(.missing(file: file)) }
        let json: JSONValue
        do {
            json = try JSONValue.parse([UInt8](bytes))
        } catch {
            throw .model(.malformed(file: file, reason: "\(error)"))
        }
        guard let rank = json["r"]?.integer, rank > 0 else {
            throw .model(.malformed(file: file, reason: "\"r\" is missing or not positive"))
        }
        let alpha = json["lora_alpha"]?.double ?? 8
        guard alpha >= 0, alpha < 1e6 else {
            throw .model(.malformed(file: file, reason: "\"lora_alpha\" is out of range"))
        }
        return (rank, UInt64((alpha * 1e6).rounded()))
    }

    /// The header of a safetensors file: eight bytes of length, little-endian, then JSON with a shape for each tensor.
    private static func parameters(
        in bytes: UnsafeRawBufferPointer, file: String
    ) throws(ShelfFault) -> UInt64 {
        func fault(_ reason: String) -> ShelfFault { .model(.malformed(file: file, reason: reason)) }
        guard bytes.count >= 8 else { throw fault("is no safetensors file") }
        var length: UInt64 = 0
        for index in 0..<8 { length |= UInt64(bytes[index]) << UInt64(8 * index) }
        guard length <= UInt64(min(ShelfLimits.headerBytesMax, bytes.count - 8)) else {
            throw fault("its header does not fit into it")
        }
        let header: JSONValue
        do {
            header = try JSONValue.parse(
                [UInt8](bytes[8..<8 + Int(length)]), limits: JSONLimits(bytesMax: ShelfLimits.headerBytesMax))
        } catch {
            throw fault("\(error)")
        }
        var total: UInt64 = 0
        for member in header.memberList ?? [] where member.key != "__metadata__" {
            var count: UInt64 = 1
            for side in member.value["shape"]?.items ?? [] {
                guard let side = side.integer, side >= 0 else { throw fault("tensor \(member.key) has no shape") }
                let (product, overflow) = count.multipliedReportingOverflow(by: UInt64(side))
                guard !overflow else { throw fault("tensor \(member.key) is too large") }
                count = product
            }
            let (sum, overflow) = total.addingReportingOverflow(count)
            guard !overflow else { throw fault("is too large") }
            total = sum
        }
        return total
    }
}

extension UInt64 {
    fileprivate func multipliedSaturating(by other: UInt64) -> UInt64 {
        let (product, overflow) = multipliedReportingOverflow(by: other)
        return overflow ? .max : product
    }

    fileprivate func addingSaturating(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
