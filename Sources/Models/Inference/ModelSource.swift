// Where a model comes from: a Hugging Face folder or a GGUF file, opened and ready to be described and read.

import ModelFiles
import Primitives

struct ModelSource {
    /// The file that faults about weights name.
    let file: String
    let tensors: [String: TensorView]
    /// Present where the folder holds a GGUF.
    let gguf: GGUFFile?
    private let folder: any ModelFolder

    /// Without its tensors a Hugging Face folder can only be described.
    init(folder: any ModelFolder, readsTensors: Bool = true) throws(ModelFault) {
        self.folder = folder
        if let bytes = folder.bytes(of: GGUFFile.name) {
            let gguf = try GGUFFile(bytes, file: GGUFFile.name)
            self.gguf = gguf
            file = GGUFFile.name
            tensors = gguf.tensors
        } else {
            gguf = nil
            file = "model.safetensors"
            tensors = readsTensors ? try Safetensors(folder: folder, stem: "model").tensors : [:]
        }
    }

    func config() throws(ModelFault) -> ModelConfig {
        if let gguf {
            var reader = try ConfigReader(
                try ConfigDialect.gguf(gguf, name: file), naming: .gguf(gguf.naming), file: file)
            if let view = gguf.tensors["rope_freqs.weight"] {
                reader.ropeFactors = try vector(view, count: view.shape.reduce(1, *))
            }
            for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
                if let id = gguf.metadata["tokenizer.ggml." + key]?.count, let token = Int32(exactly: id) {
                    reader.endTokens.append(token)
                }
            }
            return try reader.config()
        }
        let name = "config.json"
        guard let bytes = folder.bytes(of: name) else { throw .missing(file: name) }
        let (json, naming) = try ConfigDialect.huggingFace(try parseJSON(bytes, file: name), file: name)
        var reader = try ConfigReader(json, naming: naming, file: name)
        reader.endTokens = try endTokens(json)
        return try reader.config()
    }

    /// generation_config.json adds to what ends an answer.
    private func endTokens(_ json: JSONValue) throws(ModelFault) -> [Int32] {
        var found: Set<Int32> = []
        var sources = [json]
        if let bytes = folder.bytes(of: "generation_config.json") {
            sources.append(try parseJSON(bytes, file: "generation_config.json"))
        }
        for source in sources {
            let value = source["eos_token_id"]
            for item in value?.items ?? value.map({ [$0] }) ?? [] {
                if let id = item.count, let token = Int32(exactly: id) { found.insert(token) }
            }
        }
        return found.sorted()
    }

    // MARK: Tensors

    /// The first of several names that the file has.
    func tensor(_ names: [String]) throws(ModelFault) -> TensorView {
        for name in names { if let view = tensors[name] { return view } }
        throw .malformed(file: file, reason: "tensor \(names.first ?? "") is missing")
    }

    /// A vector of finite values, `offset` added to each.
    func vector(_ names: [String], count: Int, offset: Float = 0) throws(ModelFault) -> [Float] {
        try vector(try tensor(names), count: count).map { $0 + offset }
    }

    private func vector(_ view: TensorView, count: Int) throws(ModelFault) -> [Float] {
        try finite(try RowReader(view, rows: count, columns: 1, file: file))
    }

    /// The values of a reader with one column.
    func finite(_ reader: RowReader) throws(ModelFault) -> [Float] {
        var values: [Float] = []
        values.reserveCapacity(reader.rows)
        var one: Float = 0
        for row in 0..<reader.rows {
            reader.read(row: row, into: &one)
            guard one.isFinite else { throw .notFinite(tensor: reader.name) }
            values.append(one)
        }
        return values
    }
}

extension GGUFFile {
    /// How llama.cpp laid out this file's query and key rows: only architecture "llama" has them paired side by side.
    fileprivate var naming: GGUFNaming {
        GGUFNaming(pairsRows: metadata["general.architecture"]?.text == "llama")
    }
}
