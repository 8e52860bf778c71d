// A BERT-family sentence embedder: every token sees every other, the last layer's vectors are averaged and brought to
// length one. Source: arXiv 1810.04805, and sentence-transformers for what follows the encoder.
//
//     words + positions + types -> norm -> [attention -> + -> norm -> gelu unit -> + -> norm]* -> mean -> / length

package import Arithmetic
import Kernels
package import ModelFiles
import Primitives
package import Tokenizers

/// Why a text has no vector.
package enum EmbedderFault: Error, Hashable, CustomStringConvertible {
    case empty
    case tokenOutOfRange(token: Int32, vocabulary: Int)
    case notFinite

    package var description: String {
        switch self {
        case .empty: "a text has no tokens"
        case .tokenOutOfRange(let token, let vocabulary): "token \(token) is not in a vocabulary of \(vocabulary)"
        case .notFinite: "the model computed a value that is not finite; its weights are unusable"
        }
    }
}

package final class Embedder: Sendable {
    package let dimensions: Int
    /// Tokens that count; what follows is cut off, the closing one kept.
    package let contextTokens: Int
    package let vocabulary: Int
    /// Nil for a folder without tokenizer.json.
    package let tokenizer: Tokenizer?
    private let heads: Int
    private let intermediate: Int
    private let epsilon: Float
    private let words: EmbeddingTable
    private let positions: [[Float]]
    /// Of the only token type that a single text has.
    private let type: [Float]
    private let inputNorm: Norm
    private let layers: [Block]

    private struct Norm: Sendable {
        let weight: [Float]
        let bias: [Float]
    }

    private struct Block: Sendable {
        let query: PackedMatrix
        let key: PackedMatrix
        let value: PackedMatrix
        let output: PackedMatrix
        let attentionNorm: Norm
        let up: PackedMatrix
        let down: PackedMatrix
        let outputNorm: Norm
    }

    /// Whether a folder says that it holds such a model.
    package static func isEmbedder(_ folder: any ModelFolder) -> Bool {
        guard let bytes = folder.bytes(of: "config.json"), let json = try? parseJSON(bytes, file: "config.json") else {
            return false
        }
        return json["model_type"]?.text == "bert"
    }

    package var weightBytes: Int {
        layers.reduce(words.byteCount) { sum, block in
            [block.query, block.key, block.value, block.output, block.up, block.down].reduce(sum) { $0 + $1.byteCount }
        }
    }

    package init(folder: any ModelFolder) throws(ModelFault) {
        let file = "config.json"
        guard let bytes = folder.bytes(of: file) else { throw .missing(file: file) }
        let json = try parseJSON(bytes, file: file)
        func count(_ key: String, max: Int) throws(ModelFault) -> Int {
            guard let number = json[key]?.count, (1...max).contains(number) else {
                throw .malformed(file: file, reason: "\"\(key)\" is not between 1 and \(max)")
            }
            return number
        }
        try Self.check(json, folder, file: file)
        let hidden = try count("hidden_size", max: ConfigLimit.widthMax)
        dimensions = hidden
        heads = try count("num_attention_heads", max: ConfigLimit.headsMax)
        intermediate = try count("intermediate_size", max: ConfigLimit.widthMax)
        vocabulary = try count("vocab_size", max: ConfigLimit.vocabularyMax)
        let positionCount = try count("max_position_embeddings", max: 1 << 16)
        let types = try count("type_vocab_size", max: 1 << 10)
        let layerCount = try count("num_hidden_layers", max: ConfigLimit.layersMax)
        guard hidden.isMultiple(of: heads) else {
            throw .malformed(file: file, reason: "hidden_size \(hidden) is no multiple of \(heads) heads")
        }
        epsilon = Float(json["layer_norm_eps"]?.double ?? 1e-12)
        var context = positionCount
        if let bytes = folder.bytes(of: "sentence_bert_config.json") {
            let sentence = try parseJSON(bytes, file: "sentence_bert_config.json")
            if let limit = sentence["max_seq_length"]?.count, limit > 1 { context = min(context, limit) }
        }
        contextTokens = context

        let source = try ModelSource(folder: folder)
        func names(_ name: String) -> [String] { [name, "bert." + name] }
        func norm(_ name: String) throws(ModelFault) -> Norm {
            Norm(
                weight: try source.vector(names(name + ".weight"), count: hidden),
                bias: try source.vector(names(name + ".bias"), count: hidden))
        }
        func reader(_ name: String, _ rows: Int, _ columns: Int) throws(ModelFault) -> RowReader {
            try RowReader(try source.tensor(names(name)), rows: rows, columns: columns, file: source.file)
        }
        func linear(_ name: String, _ rows: Int, _ columns: Int) throws(ModelFault) -> PackedMatrix {
            try PackedMatrix(
                try reader(name + ".weight", rows, columns), precision: .f32,
                bias: try source.vector(names(name + ".bias"), count: rows), file: source.file)
        }
        func table(_ name: String, _ rows: Int) throws(ModelFault) -> RowReader {
            let reader = try reader(name, rows, hidden)
            for row in 0..<rows {
                let values = reader.row(row)
                guard kernel_all_finite(values, hidden) == 1 else { throw .notFinite(tensor: reader.name) }
            }
            return reader
        }
        words = EmbeddingTable(try table("embeddings.word_embeddings.weight", vocabulary), of: folder)
        let positionReader = try table("embeddings.position_embeddings.weight", positionCount)
        positions = (0..<context).map { positionReader.row($0) }
        type = try table("embeddings.token_type_embeddings.weight", types).row(0)
        inputNorm = try norm("embeddings.LayerNorm")
        var layers: [Block] = []
        for index in 0..<layerCount {
            let prefix = "encoder.layer.\(index)."
            layers.append(
                Block(
                    query: try linear(prefix + "attention.self.query", hidden, hidden),
                    key: try linear(prefix + "attention.self.key", hidden, hidden),
                    value: try linear(prefix + "attention.self.value", hidden, hidden),
                    output: try linear(prefix + "attention.output.dense", hidden, hidden),
                    attentionNorm: try norm(prefix + "attention.output.LayerNorm"),
                    up: try linear(prefix + "intermediate.dense", intermediate, hidden),
                    down: try linear(prefix + "output.dense", hidden, intermediate),
                    outputNorm: try norm(prefix + "output.LayerNorm")))
        }
        self.layers = layers
        tokenizer = folder.bytes(of: Tokenizer.file) == nil ? nil : try Tokenizer(folder: folder)
        if let tokenizer, tokenizer.vocabularyCount > vocabulary {
            throw .malformed(
                file: Tokenizer.file,
                reason: "has \(tokenizer.vocabularyCount) tokens, the model only \(vocabulary)")
        }
        withExtendedLifetime(folder) {}
    }

    /// What this would compute differently is refused by name.
    private static func check(_ json: JSONValue, _ folder: any ModelFolder, file: String) throws(ModelFault) {
        guard json["model_type"]?.text == "bert" else {
            throw .unsupported(file: file, feature: "model_type \"\(json["model_type"]?.text ?? "")\" as an embedder")
        }
        for (key, wanted) in [("hidden_act", "gelu"), ("position_embedding_type", "absolute")] {
            if let value = json[key]?.text, value != wanted {
                throw .unsupported(file: file, feature: "\(key) \"\(value)\"")
            }
        }
        let pooling = "1_Pooling/config.json"
        guard let bytes = folder.bytes(of: pooling) else { return }
        let modes = try parseJSON(bytes, file: pooling).memberList ?? []
        for mode in modes where mode.key.hasPrefix("pooling_mode_") && mode.key != "pooling_mode_mean_tokens" {
            if mode.value.flag == true { throw .unsupported(file: pooling, feature: "\"\(mode.key)\"") }
        }
    }

    /// One vector of length one a text; texts are token ids with the model's own first and last.
    package func embed(
        _ texts: [[Int32]], pool: any WorkerPool = SerialPool(), instructionSet: InstructionSet = .best
    ) throws(EmbedderFault) -> [[Float]] {
        for text in texts {
            guard !text.isEmpty else { throw .empty }
            if let token = text.first(where: { $0 < 0 || Int($0) >= vocabulary }) {
                throw .tokenOutOfRange(token: token, vocabulary: vocabulary)
            }
        }
        let pass = Pass(
            self, rows: min(contextTokens, texts.map(\.count).max() ?? 0), pool: pool, isa: instructionSet.code)
        var vectors: [[Float]] = []
        for text in texts {
            let tokens = text.count > contextTokens ? text.prefix(contextTokens - 1) + text.suffix(1) : text[...]
            let vector = pass.run(Array(tokens))
            guard kernel_all_finite(vector, vector.count) == 1 else { throw .notFinite }
            vectors.append(vector)
        }
        return vectors
    }

    /// Texts to vectors; nil where the folder has no tokenizer.
    package func embed(
        texts: [String], pool: any WorkerPool = SerialPool()
    ) throws(EmbedderFault) -> [[Float]]? {
        guard let tokenizer else { return nil }
        return try embed(texts.map { tokenizer.encode($0, addSpecial: true) }, pool: pool)
    }

    /// The memory of one call.
    private final class Pass {
        private let model: Embedder
        private let pool: any WorkerPool
        private let isa: Int32
        private let arena = FloatArena()
        private let x: Rows
        private let y: Rows
        private let query: Rows
        private let key: Rows
        private let value: Rows
        private let middle: Rows
        private let pages: [UnsafeMutablePointer<Float>]
        private let pageTable: [UnsafeRawPointer?]
        /// Matrices of floats read no int8 blocks.
        private let noQuants: UnsafeMutableRawPointer
        private let headFloats: Int
        private let keyFloats: Int
        private let dimension: Int

        init(_ model: Embedder, rows: Int, pool: any WorkerPool, isa: Int32) {
            self.model = model
            self.pool = pool
            self.isa = isa
            let arena = arena
            func make(_ columns: Int) -> Rows {
                let stride = (columns + 31) / 32 * 32
                return Rows(values: arena.make(Float.self, rows * stride), stride: stride)
            }
            x = make(model.dimensions)
            y = make(model.dimensions)
            query = make(model.dimensions)
            key = make(model.dimensions)
            value = make(model.dimensions)
            middle = make(model.intermediate)
            dimension = model.dimensions / model.heads
            keyFloats = dimension * 16
            headFloats = keyFloats + (dimension + 15) / 16 * 16 * 16
            let floats = model.heads * headFloats
            pages = (0..<(rows + 15) / 16).map { _ in arena.make(Float.self, floats) }
            pageTable = pages.map { UnsafeRawPointer($0) }
            noQuants = UnsafeMutableRawPointer(arena.make(UInt8.self, 64))
        }

        func run(_ tokens: [Int32]) -> [Float] {
            let count = tokens.count
            for (row, token) in tokens.enumerated() {
                model.words.read(token: token, into: x[row])
                kernel_add(isa, x[row], model.positions[row], model.dimensions)
                kernel_add(isa, x[row], model.type, model.dimensions)
                norm(x[row], model.inputNorm)
            }
            for block in model.layers {
                multiply(block.query, x, query, count)
                multiply(block.key, x, key, count)
                multiply(block.value, x, value, count)
                attend(count)
                multiply(block.output, query, y, count)
                addAndNorm(block.attentionNorm, count)
                multiply(block.up, x, middle, count)
                for row in 0..<count { kernel_gelu_erf(isa, middle[row], model.intermediate) }
                multiply(block.down, middle, y, count)
                addAndNorm(block.outputNorm, count)
            }
            var mean = [Float](repeating: 0, count: model.dimensions)
            for row in 0..<count { kernel_add(isa, &mean, x[row], model.dimensions) }
            let length = mean.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            return mean.map { Float(Double($0) / length) }
        }

        private func norm(_ row: UnsafeMutablePointer<Float>, _ norm: Norm) {
            kernel_layernorm(isa, row, model.dimensions, norm.weight, norm.bias, model.epsilon, row)
        }

        private func addAndNorm(_ weights: Norm, _ count: Int) {
            for row in 0..<count {
                kernel_add(isa, x[row], y[row], model.dimensions)
                norm(x[row], weights)
            }
        }

        private func multiply(_ matrix: PackedMatrix, _ input: Rows, _ output: Rows, _ count: Int) {
            let width = max(1, pool.width), tiles = matrix.tiles
            pool.run(count: width) { slice in
                let from = tiles * slice / width, to = tiles * (slice + 1) / width
                guard from < to else { return }
                matrix.multiply(
                    isa: isa, from: from, to: to,
                    input: Activations(values: input.values, stride: input.stride, quants: noQuants),
                    output: output.values, stride: output.stride, tokens: count)
            }
        }

        /// Every position reads all of them, as if it were the last; the answer replaces the query.
        private func attend(_ count: Int) {
            for row in 0..<count {
                let page = pages[row / 16]
                for head in 0..<model.heads {
                    let at = page + head * headFloats
                    kernel_store_kv(
                        at, at + keyFloats, row % 16, dimension, dimension, 0, key[row] + head * dimension,
                        value[row] + head * dimension)
                }
            }
            let width = max(1, pool.width), scale = 1 / Float(dimension).squareRoot()
            pageTable.withUnsafeBufferPointer { table in
                pool.run(count: width) { slice in
                    for item in stride(from: slice, to: count * model.heads, by: width) {
                        let row = item / model.heads, head = item % model.heads
                        var job = kernel_attention_job(
                            q: query[row] + head * dimension, q_token_stride: query.stride, q_head_stride: dimension,
                            tokens: 1, group: 1, key_dim: dimension, value_dim: dimension, position: count - 1,
                            window: 0, scale: scale, soft_cap: 0, pages: table.baseAddress,
                            key_offset: head * headFloats * 4, value_offset: (head * headFloats + keyFloats) * 4,
                            is_int8: 0, out: y[row] + head * dimension, out_token_stride: y.stride,
                            out_head_stride: dimension)
                        kernel_attend(isa, &job)
                    }
                }
            }
            query.values.update(from: y.values, count: count * y.stride)
        }
    }
}
