// The vocabulary that a GGUF file carries in its header. The header is read elsewhere and asked through a protocol; the
// text rules that GGUF only names ("tokenizer.ggml.pre") are spelled out here for the families that we load.
//
// Source: github.com/ggml-org/ggml docs/gguf.md; the named rules are the expressions of the models' own tokenizer.json.

package import ModelFiles

/// What a GGUF header answers. Keys are whole ("tokenizer.ggml.tokens"); nil where a key is absent or of another type.
package protocol VocabularyMetadata {
    func string(_ key: String) -> String?
    func flag(_ key: String) -> Bool?
    /// Of any integer type.
    func integer(_ key: String) -> Int?
    /// As bytes, since nothing makes them UTF-8.
    func strings(_ key: String) -> [[UInt8]]?
    func floats(_ key: String) -> [Float]?
    func integers(_ key: String) -> [Int32]?
}

extension Tokenizer {
    /// - Parameter file: the file's name, for messages.
    package init(metadata: some VocabularyMetadata, file: String) throws(ModelFault) {
        try self.init(try GGUFVocabulary(metadata, file: file).parts(), file: file)
    }
}

struct GGUFVocabulary {
    private enum Kind {
        static let unknown: Int32 = 2
        static let control: Int32 = 3
        static let userDefined: Int32 = 4
        static let byte: Int32 = 6
    }

    private let metadata: any VocabularyMetadata
    private let file: String
    private let tokens: [[UInt8]]
    private let kinds: [Int32]
    private var vocabulary: TokenTable

    init(_ metadata: any VocabularyMetadata, file: String) throws(ModelFault) {
        self.metadata = metadata
        self.file = file
        guard let tokens = metadata.strings("tokenizer.ggml.tokens"), !tokens.isEmpty else {
            throw .malformed(file: file, reason: "tokenizer.ggml.tokens is missing")
        }
        guard tokens.count <= TokenizerLimit.tokensMax else {
            throw .malformed(file: file, reason: "more than \(TokenizerLimit.tokensMax) tokens")
        }
        self.tokens = tokens
        kinds = metadata.integers("tokenizer.ggml.token_type") ?? [Int32](repeating: 1, count: tokens.count)
        guard kinds.count == tokens.count else {
            throw .malformed(file: file, reason: "tokenizer.ggml.token_type has another length than the tokens")
        }
        vocabulary = TokenTable(count: tokens.count)
        for (id, token) in tokens.enumerated() {
            guard token.count <= TokenizerLimit.tokenBytesMax, vocabulary.add(token, id: Int32(id)) else {
                throw .malformed(file: file, reason: "token \(id) is too long, or the tokens collide")
            }
        }
    }

    private func fault(_ reason: String) -> ModelFault { .malformed(file: file, reason: reason) }

    func parts() throws(ModelFault) -> Tokenizer.Parts {
        switch metadata.string("tokenizer.ggml.model") {
        case "gpt2": return try bytePairs()
        case "llama": return try scored()
        case let kind:
            throw .unsupported(file: file, feature: "tokenizer.ggml.model \((kind ?? "(absent)").prefix(40))")
        }
    }

    private func token(_ key: String) throws(ModelFault) -> Int32? {
        guard let id = metadata.integer(key) else { return nil }
        guard id >= 0, id < tokens.count else { throw fault("\(key) is no token") }
        return Int32(id)
    }

    private func added() throws(ModelFault) -> [AddedToken] {
        var added: [AddedToken] = []
        let apart: Set<Int32> = [Kind.unknown, Kind.control, Kind.userDefined]
        for (id, kind) in kinds.enumerated() where apart.contains(kind) {
            let text = tokens[id]
            guard !text.isEmpty else { continue }
            guard text.count <= AddedTokens.textBytesMax else { throw fault("added token \(id) is too long") }
            added.append(AddedToken(text: text, id: Int32(id), special: kind != Kind.userDefined))
        }
        guard added.count <= TokenizerLimit.addedTokensMax else {
            throw fault("more than \(TokenizerLimit.addedTokensMax) added tokens")
        }
        return added
    }

    private func finish(
        _ model: Tokenizer.Model, _ decoder: TokenDecoder, addsBegin: Bool
    ) throws(ModelFault) -> Tokenizer.Parts {
        let added = try added()
        var bytes: [Int32: UInt8] = [:]
        for (id, kind) in kinds.enumerated() where kind == Kind.byte {
            bytes[Int32(id)] = TokenDecoder.byte(tokens[id][...])
        }
        let plain = Set(added.lazy.map(\.id))
        var parts = Tokenizer.Parts(
            model: model, vocabulary: vocabulary, added: added, decoder: decoder,
            pieces: TokenPieces(vocabulary, decoder, plain: plain, byteTokens: bytes))
        let begin = try token("tokenizer.ggml.bos_token_id"), end = try token("tokenizer.ggml.eos_token_id")
        if let begin, metadata.flag("tokenizer.ggml.add_bos_token") ?? addsBegin { parts.template.prefix = [begin] }
        if let end, metadata.flag("tokenizer.ggml.add_eos_token") ?? false { parts.template.suffix = [end] }
        parts.beginText = begin.map { String(decoding: tokens[Int($0)], as: UTF8.self) }
        parts.endText = end.map { String(decoding: tokens[Int($0)], as: UTF8.self) }
        parts.endToken = end
        return parts
    }

    // MARK: Byte-level BPE

    private func bytePairs() throws(ModelFault) -> Tokenizer.Parts {
        let name = metadata.string("tokenizer.ggml.pre") ?? "default"
        guard let rule = NamedSplit(name) else {
            throw .unsupported(file: file, feature: "tokenizer.ggml.pre \(name.prefix(40))")
        }
        let merges = metadata.strings("tokenizer.ggml.merges") ?? []
        guard merges.count <= TokenizerLimit.mergesMax else {
            throw fault("more than \(TokenizerLimit.mergesMax) merges")
        }
        var list = MergeList(count: merges.count)
        for (rank, merge) in merges.enumerated() {
            // The blank that parts the two may not be the first byte, which could belong to the left one.
            let sides = merge.dropFirst().split(separator: 0x20, maxSplits: 1, omittingEmptySubsequences: false)
            guard let first = merge.first, sides.count == 2,
                list.add([first] + sides[0], Array(sides[1]), vocabulary)
            else { throw fault("merge \(rank) is not a pair of tokens that make a token") }
        }
        var steps: [PreTokenizer.Step] = []
        for source in rule.expressions {
            let expression = try SplitPattern.expression(source, file: file)
            steps.append(.split(.expression(expression), .isolated, inverted: false))
        }
        let model = BytePairs(
            vocabulary: vocabulary, merges: list.table, takesWholeWords: rule.takesWholeWords, byteTokens: [],
            unknown: -1, fusesUnknown: false, isByteLevel: true, opensWords: -1)
        var parts = try finish(.pairs(model), TokenDecoder(isByteLevel: true), addsBegin: rule.addsBegin)
        parts.preTokenizer = PreTokenizer(steps: steps, isByteLevel: true)
        if rule.composes { parts.normalizer = Normalizer(steps: [.composed]) }
        return parts
    }

    // MARK: SentencePiece

    private func scored() throws(ModelFault) -> Tokenizer.Parts {
        guard let scores = metadata.floats("tokenizer.ggml.scores"), scores.count == tokens.count else {
            throw fault("tokenizer.ggml.scores is missing or has another length than the tokens")
        }
        guard scores.allSatisfy({ !$0.isNaN }) else {
            throw fault("tokenizer.ggml.scores holds a value that is no number")
        }
        var byteTokens = [Int32](repeating: -1, count: 256)
        for (id, kind) in kinds.enumerated() where kind == Kind.byte {
            guard let byte = TokenDecoder.byte(tokens[id][...]) else { throw fault("byte token \(id) names no byte") }
            byteTokens[Int(byte)] = Int32(id)
        }
        // The higher score merges first; equal scores have equal ranks.
        var ranks = [UInt32](repeating: 0, count: tokens.count)
        var rank: UInt32 = 0, previous: Float?
        for id in scores.indices.sorted(by: { scores[$0] > scores[$1] }) {
            if let previous, previous != scores[id] { rank += 1 }
            previous = scores[id]
            ranks[id] = rank
        }
        let model = ScoredPieces(
            vocabulary: vocabulary, ranks: ranks, byteTokens: byteTokens.contains { $0 >= 0 } ? byteTokens : [],
            unknown: try token("tokenizer.ggml.unknown_token_id") ?? -1,
            splitsAtMarks: !tokens.contains { MergeList.holdsMarkInside($0) })
        let prefixes = metadata.flag("tokenizer.ggml.add_space_prefix") ?? true
        let decoder = TokenDecoder(
            readsByteTokens: true, steps: [.replace(Metaspace.mark, [0x20])], stripsBlank: prefixes)
        var parts = try finish(.scored(model), decoder, addsBegin: true)
        var steps: [Normalizer.Step] = [.replace(.literal([0x20]), Metaspace.mark)]
        if prefixes { steps.insert(.prepend([0x20]), at: 0) }
        parts.normalizer = Normalizer(steps: steps)
        return parts
    }
}
