// A model folder turned into what the engine computes with. The embedding table stays where the folder has it.

package import Arithmetic
import Kernels
package import ModelFiles
package import Tokenizers

/// The embedding table as the file has it: a row is decoded when its token is read, so what is mapped costs memory only
/// where it is read.
/// @unchecked Sendable: bytes that nobody writes.
final class EmbeddingTable: @unchecked Sendable {
    private let columns: Int
    private let type: BlockType
    private let rowBytes: Int
    private let base: UnsafeRawPointer?
    let byteCount: Int
    private let folder: any ModelFolder

    /// - Parameter folder: whose bytes the reader reads.
    init(_ reader: RowReader, of folder: any ModelFolder) {
        columns = reader.columns
        type = reader.type
        rowBytes = reader.type.byteCount(reader.columns)
        base = reader.rows > 0 ? reader.stored(row: 0) : nil
        byteCount = rowBytes * reader.rows
        self.folder = folder
    }

    func read(token: Int32, into out: UnsafeMutablePointer<Float>) {
        guard let base else { return }
        type.decode(base + Int(token) * rowBytes, count: columns, into: out)
    }
}

package final class LoadedModel: Sendable {
    package let config: ModelConfig
    package let precision: Precision
    /// Nil for a folder without a tokenizer: such a model takes token ids only.
    package let tokenizer: Tokenizer?
    package let template: ChatTemplate?
    let embeddings: EmbeddingTable
    /// Those of `range`.
    let layers: [Layer]
    let finalNorm: [Float]
    let head: PackedMatrix

    /// The layers that are here.
    package let range: Range<Int>
    /// Bytes that the weights take in memory.
    package let weightBytes: Int
    /// Of these, what every token of an answer is multiplied with; all experts counted.
    package var multipliedBytes: Int { weightBytes - embeddings.byteCount }
    package let multipliedWeights: Int

    /// Ids that end an answer.
    package var endTokens: Set<Int32> {
        var ids = Set(config.endTokens)
        if let end = tokenizer?.endToken { ids.insert(end) }
        return ids
    }

    /// - Parameters:
    ///   - prepared: matrices of this very model and precision that were packed before.
    ///   - part: what of the model is read; nil for all of it.
    package init(
        folder: any ModelFolder, precision: Precision, prepared: PreparedWeights? = nil, part: ModelPart? = nil
    ) throws(ModelFault) {
        let source = try ModelSource(folder: folder)
        let config = try source.config()
        let file = source.file
        let part = part ?? ModelPart(layers: 0..<config.layers, hasEnds: true)
        guard part.layers.upperBound <= config.layers else {
            throw .unsupported(
                file: file, feature: "layer \(part.layers.upperBound - 1) of a model that has \(config.layers) layers")
        }
        range = part.layers
        // Without its ends a part has tables of no rows.
        let endRows = part.hasEnds ? config.vocabulary : 0
        let table = try RowReader(
            try source.tensor(config.embeddingNames), firstRow: 0, rows: endRows, of: config.vocabulary,
            columns: config.hidden, file: file)
        // The head's checks (shape, finite values) hold for a tied table too; an untied one is read once more for them.
        if !config.tiedEmbeddings, prepared == nil {
            for token in 0..<endRows {
                let row = table.row(token)
                guard kernel_all_finite(row, row.count) == 1 else { throw .notFinite(tensor: table.name) }
            }
        }
        let headReader =
            config.tiedEmbeddings
            ? table
            : try RowReader(
                try source.tensor(config.headNames), firstRow: 0, rows: endRows, of: config.vocabulary,
                columns: config.hidden, file: file)
        let packedHead = prepared?.matrix(
            .head, rows: config.vocabulary, columns: config.hidden, precision: precision.ofHead, bias: nil)
        if let packedHead, part.hasEnds {
            head = packedHead
        } else {
            head = try PackedMatrix(headReader, precision: precision.ofHead, bias: nil, file: file)
        }
        embeddings = EmbeddingTable(table, of: folder)
        let reader = LayerReader(source: source, config: config, precision: precision, prepared: prepared)
        var layers: [Layer] = []
        layers.reserveCapacity(part.layers.count)
        for index in part.layers { layers.append(try reader.layer(index)) }
        self.layers = layers
        weightBytes = layers.reduce(head.byteCount + embeddings.byteCount) { $0 + $1.byteCount }
        multipliedWeights = layers.reduce(head.rows * head.columns) { $0 + $1.weightCount }
        finalNorm = try source.vector(config.finalNormNames, count: config.hidden, offset: config.normOffset)
        self.config = config
        self.precision = precision
        guard part.hasEnds else {
            tokenizer = nil
            template = nil
            return
        }
        let texts = if let gguf = source.gguf { try ModelTexts(gguf) } else { try ModelTexts(folder: folder) }
        tokenizer = texts.tokenizer
        template = texts.template
        if let tokenizer, tokenizer.vocabularyCount > config.vocabulary {
            throw .malformed(
                file: texts.file,
                reason: "has \(tokenizer.vocabularyCount) tokens, the model only \(config.vocabulary)")
        }
    }
}

extension LoadedModel {
    /// Ascending by place.
    var placedMatrices: [(MatrixPlace, PackedMatrix)] {
        var found: [(MatrixPlace, PackedMatrix)] = []
        for (index, layer) in layers.enumerated() {
            for linear in layer.linears {
                found.append((MatrixPlace(layer: range.lowerBound + index, slot: linear.slot), linear.matrix))
            }
        }
        return found.sorted { $0.0 < $1.0 } + [(.head, head)]
    }
}

extension Layer {
    fileprivate var byteCount: Int { linears.reduce(0) { $0 + $1.matrix.byteCount } }
    fileprivate var weightCount: Int { linears.reduce(0) { $0 + $1.matrix.rows * $1.matrix.columns } }

    fileprivate var linears: [Linear] {
        var linears: [Linear]
        switch attention {
        case .grouped(let attention): linears = [attention.query, attention.key, attention.value, attention.output]
        case .latent(let attention):
            linears = [attention.down, attention.output] + attention.keys + attention.values
            switch attention.query {
            case .direct(let query): linears.append(query)
            case .bottleneck(let down, _, let up): linears += [down, up]
            }
        }
        func add(_ unit: GatedUnit) { linears += [unit.gate, unit.up, unit.down] }
        switch feedForward {
        case .dense(let unit): add(unit)
        case .experts(let weights):
            if let shared = weights.shared { add(shared) }
            for expert in weights.experts { add(expert) }
        }
        return linears
    }
}
