// A model folder turned into what the engine computes with. After loading, nothing refers to the folder's bytes.

package import ModelFiles
package import Tokenizers
package import Arithmetic
import Kernels

/// The seven matrices that a layer has and an adapter may change.
package enum Projection: Int, CaseIterable, Hashable, Sendable {
    case query, key, value, output, gate, up, down

    /// The module's name within its layer in Hugging Face folders.
    package var module: String {
        switch self {
        case .query: "self_attn.q_proj"
        case .key: "self_attn.k_proj"
        case .value: "self_attn.v_proj"
        case .output: "self_attn.o_proj"
        case .gate: "mlp.gate_proj"
        case .up: "mlp.up_proj"
        case .down: "mlp.down_proj"
        }
    }

    package func shape(in config: ModelConfig) -> (rows: Int, columns: Int) {
        switch self {
        case .query: (config.heads * config.headDimension, config.hidden)
        case .key, .value: (config.keyValueHeads * config.headDimension, config.hidden)
        case .output: (config.hidden, config.heads * config.headDimension)
        case .gate, .up: (config.intermediate, config.hidden)
        case .down: (config.hidden, config.intermediate)
        }
    }

    func hasBias(in config: ModelConfig) -> Bool {
        switch self {
        case .query, .key, .value: config.attentionBias
        case .output: config.outputBias
        case .gate, .up, .down: config.mlpBias
        }
    }
}

struct Layer: Sendable {
    let inputNorm: [Float]
    let postNorm: [Float]
    let queryNorm: [Float]?
    let keyNorm: [Float]?
    /// By `Projection.rawValue`.
    let matrices: [PackedMatrix]
}

/// The embedding table as the file has it: a row is decoded when its token is read.
/// @unchecked Sendable: written only in the initialiser, read-only from then on.
final class EmbeddingTable: @unchecked Sendable {
    let hidden: Int
    private let dtype: String
    private let bytes: UnsafeMutableRawBufferPointer

    init(_ view: TensorView, hidden: Int) {
        self.hidden = hidden
        dtype = view.dtype
        bytes = .allocate(byteCount: view.bytes.count, alignment: 64)
        bytes.copyMemory(from: view.bytes)
    }

    deinit { bytes.deallocate() }

    func read(token: Int32, into out: UnsafeMutablePointer<Float>) {
        let size = TensorView.elementBytes[dtype] ?? 4
        RowReader.decode(
            UnsafeRawBufferPointer(bytes), dtype: dtype, offset: Int(token) * hidden * size, count: hidden, into: out)
    }
}

package final class LoadedModel: Sendable {
    package let config: ModelConfig
    package let precision: Precision
    /// Nil for a folder without tokenizer.json: such a model takes token ids only.
    package let tokenizer: Tokenizer?
    package let template: ChatTemplate?
    package let inverseFrequencies: [Float]
    let embeddings: EmbeddingTable
    let layers: [Layer]
    let finalNorm: [Float]
    let head: PackedMatrix

    /// Bytes that the weights take in memory.
    package var weightBytes: Int {
        layers.reduce(head.byteCount) { $0 + $1.matrices.reduce(0) { $0 + $1.byteCount } }
    }

    /// Ids that end an answer.
    package var endTokens: Set<Int32> {
        var ids = Set(config.endTokens)
        if let end = tokenizer?.endToken { ids.insert(end) }
        return ids
    }

    package init(folder: any ModelFolder, precision: Precision) throws(ModelFault) {
        let config = try ModelConfig(folder: folder)
        let file = "model.safetensors"
        let tensors = try Safetensors(folder: folder, stem: "model").tensors
        func tensor(_ name: String) throws(ModelFault) -> TensorView {
            guard let view = tensors[name] else { throw .malformed(file: file, reason: "tensor \(name) is missing") }
            return view
        }
        func vector(_ name: String, _ count: Int) throws(ModelFault) -> [Float] {
            let view = try tensor(name)
            let reader = try RowReader(view, rows: count, columns: 1, file: file)
            var values: [Float] = []
            values.reserveCapacity(count)
            var one: Float = 0
            for row in 0..<count {
                reader.read(row: row, into: &one)
                guard one.isFinite else { throw .notFinite(tensor: name) }
                values.append(one)
            }
            return values
        }
        let embedding = try tensor("model.embed_tokens.weight")
        // The head's checks (shape, finite values) hold for a tied table too; an untied one is read once more for them.
        let table = try RowReader(embedding, rows: config.vocabulary, columns: config.hidden, file: file)
        if !config.tiedEmbeddings {
            var row = [Float](repeating: 0, count: config.hidden)
            for token in 0..<config.vocabulary {
                row.withUnsafeMutableBufferPointer { buffer in
                    if let base = buffer.baseAddress { table.read(row: token, into: base) }
                }
                guard kernel_all_finite(row, row.count) == 1 else { throw .notFinite(tensor: embedding.name) }
            }
        }
        head = try PackedMatrix(
            config.tiedEmbeddings ? embedding : try tensor("lm_head.weight"), rows: config.vocabulary,
            columns: config.hidden, precision: precision, file: file)
        embeddings = EmbeddingTable(embedding, hidden: config.hidden)
        var layers: [Layer] = []
        for index in 0..<config.layers {
            let prefix = "model.layers.\(index)."
            var matrices: [PackedMatrix] = []
            for projection in Projection.allCases {
                let (rows, columns) = projection.shape(in: config)
                let name = prefix + projection.module
                matrices.append(
                    try PackedMatrix(
                        try tensor(name + ".weight"), rows: rows, columns: columns, precision: precision,
                        bias: projection.hasBias(in: config) ? try vector(name + ".bias", rows) : nil, file: file))
            }
            layers.append(
                Layer(
                    inputNorm: try vector(prefix + "input_layernorm.weight", config.hidden),
                    postNorm: try vector(prefix + "post_attention_layernorm.weight", config.hidden),
                    queryNorm: config.headNorms
                        ? try vector(prefix + "self_attn.q_norm.weight", config.headDimension) : nil,
                    keyNorm: config.headNorms
                        ? try vector(prefix + "self_attn.k_norm.weight", config.headDimension) : nil,
                    matrices: matrices))
        }
        self.layers = layers
        finalNorm = try vector("model.norm.weight", config.hidden)
        inverseFrequencies = config.inverseFrequencies
        self.config = config
        self.precision = precision
        tokenizer = folder.bytes(of: Tokenizer.file) == nil ? nil : try Tokenizer(folder: folder)
        template = try ChatTemplate(folder: folder)
        if let tokenizer, tokenizer.vocabularyCount > config.vocabulary {
            throw .malformed(
                file: Tokenizer.file,
                reason: "has \(tokenizer.vocabularyCount) tokens, the model only \(config.vocabulary)")
        }
        withExtendedLifetime(folder) {}
    }
}
