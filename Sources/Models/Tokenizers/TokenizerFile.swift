// Reads tokenizer.json: byte-level BPE (LLaMA 3, Qwen, GLM-4, DeepSeek), SentencePiece-style BPE with byte fallback
// (LLaMA 2, Mistral, Gemma) and WordPiece (BERT). Truncation and padding are the caller's business and ignored. A part
// that is not understood is refused by name.

package import ModelFiles
import Primitives

extension Tokenizer {
    package init(folder: any ModelFolder) throws(ModelFault) {
        let file = Self.file
        guard let bytes = folder.bytes(of: file) else { throw .missing(file: file) }
        let json = try parseJSON(bytes, file: file)
        let settings = try folder.bytes(of: "tokenizer_config.json").map { bytes throws(ModelFault) in
            try parseJSON(bytes, file: "tokenizer_config.json")
        }
        try self.init(try TokenizerFile(json, file: file).parts(settings: settings), file: file)
    }

    init(_ parts: Parts, file: String) throws(ModelFault) {
        guard let tokenizer = Self(parts) else {
            throw .malformed(file: file, reason: "the added tokens collide in the search table")
        }
        self = tokenizer
    }
}

struct TokenizerFile {
    private let json: JSONValue
    private let model: JSONValue
    private let kind: String
    private let file: String

    init(_ json: JSONValue, file: String) throws(ModelFault) {
        self.json = json
        self.file = file
        guard let model = json["model"], model["vocab"] != nil else {
            throw .malformed(file: file, reason: "\"model.vocab\" is missing")
        }
        self.model = model
        // Old files leave the type out: merges make BPE.
        kind = model["type"]?.text ?? (model["merges"] == nil ? "WordPiece" : "BPE")
        guard kind == "BPE" || kind == "WordPiece" else {
            throw .unsupported(file: file, feature: "model type \(kind.prefix(40))")
        }
    }

    func parts(settings: JSONValue?) throws(ModelFault) -> Tokenizer.Parts {
        var (vocabulary, added) = try tokens()
        let normalizer = try Normalizer(json["normalizer"], file: file)
        let preTokenizer = try PreTokenizer(json["pre_tokenizer"], file: file)
        let decoder = try TokenDecoder(json["decoder"], file: file)
        let template = try TokenTemplate(json["post_processor"], vocabulary: vocabulary, file: file)
        let tokenModel = try kind == "BPE" ? bytePairs(vocabulary, preTokenizer) : wordPieces(vocabulary)
        // With equal texts the first one counts.
        var seen: Set<[UInt8]> = []
        added.removeAll { !seen.insert($0.text).inserted }
        // The library shows an added token as its normaliser leaves it.
        var texts: [Int32: [UInt8]] = [:]
        for token in added where token.normalized { texts[token.id] = normalizer.apply(token.text) }
        func name(_ key: String) -> String? { settings?[key]?.text ?? settings?[key]?["content"]?.text }
        let endText = name("eos_token")
        return Tokenizer.Parts(
            model: tokenModel, vocabulary: vocabulary, added: added, normalizer: normalizer,
            preTokenizer: preTokenizer, template: template, decoder: decoder,
            pieces: TokenPieces(vocabulary, decoder, texts: texts), beginText: name("bos_token"), endText: endText,
            endToken: endText.flatMap { vocabulary.id($0) })
    }

    private func fault(_ reason: String) -> ModelFault { .malformed(file: file, reason: reason) }

    private func tokens() throws(ModelFault) -> (TokenTable, [AddedToken]) {
        guard let members = model["vocab"]?.memberList else { throw fault("\"model.vocab\" is not an object") }
        let items = json["added_tokens"]?.items ?? []
        guard members.count + items.count <= TokenizerLimit.tokensMax else {
            throw fault("more than \(TokenizerLimit.tokensMax) tokens")
        }
        guard items.count <= TokenizerLimit.addedTokensMax else {
            throw fault("more than \(TokenizerLimit.addedTokensMax) added tokens")
        }
        var vocabulary = TokenTable(count: members.count + items.count)
        func add(_ text: String, _ id: Int?) throws(ModelFault) {
            guard let id, id < TokenizerLimit.tokensMax else {
                throw fault("token \"\(text.prefix(40))\" has no id below \(TokenizerLimit.tokensMax)")
            }
            let bytes = Array(text.utf8)
            guard bytes.count <= TokenizerLimit.tokenBytesMax else {
                throw fault("token \(id) is longer than \(TokenizerLimit.tokenBytesMax) bytes")
            }
            guard vocabulary.add(bytes, id: Int32(id)) else { throw fault("the tokens collide in the search table") }
        }
        for member in members { try add(member.key, member.value.count) }
        vocabulary.endModel()
        var added: [AddedToken] = []
        for item in items {
            guard let content = item["content"]?.text, let id = item["id"]?.count else {
                throw fault("an added token has no content or no id")
            }
            guard content.utf8.count <= AddedTokens.textBytesMax else {
                throw fault("added token \(id) is longer than \(AddedTokens.textBytesMax) bytes")
            }
            try add(content, id)
            guard !content.isEmpty else { continue }
            let special = item["special"]?.flag ?? false
            added.append(
                AddedToken(
                    text: Array(content.utf8), id: vocabulary.id(content) ?? Int32(id),
                    singleWord: item["single_word"]?.flag ?? false, stripsLeft: item["lstrip"]?.flag ?? false,
                    stripsRight: item["rstrip"]?.flag ?? false, normalized: item["normalized"]?.flag ?? !special,
                    special: special))
        }
        return (vocabulary, added)
    }

    private func unknown(_ vocabulary: TokenTable) throws(ModelFault) -> Int32 {
        guard let name = model["unk_token"]?.text else { return -1 }
        guard let id = vocabulary.id(name) else { throw fault("\"unk_token\" is no token") }
        return id
    }

    private func wordPieces(_ vocabulary: TokenTable) throws(ModelFault) -> Tokenizer.Model {
        let unknown = try unknown(vocabulary)
        guard unknown >= 0 else { throw fault("WordPiece needs an \"unk_token\"") }
        let most = model["max_input_chars_per_word"]?.count ?? 100
        guard most <= 1 << 12 else { throw fault("\"max_input_chars_per_word\" is too large") }
        return .words(
            WordPieces(
                vocabulary: vocabulary, unknown: unknown,
                continuation: Array((model["continuing_subword_prefix"]?.text ?? "##").utf8), charactersMax: most))
    }

    private func bytePairs(_ vocabulary: TokenTable, _ pre: PreTokenizer) throws(ModelFault) -> Tokenizer.Model {
        for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            if let value = model[key], !value.isNull, value.text != "", value.double != 0 {
                throw .unsupported(file: file, feature: "model.\(key)")
            }
        }
        let merges = model["merges"]?.items ?? []
        guard merges.count <= TokenizerLimit.mergesMax else {
            throw fault("more than \(TokenizerLimit.mergesMax) merges")
        }
        var list = MergeList(count: merges.count)
        for (rank, merge) in merges.enumerated() {
            var sides: [[UInt8]] = []
            if let text = merge.text {
                sides = text.utf8.split(separator: 0x20, maxSplits: 1).map(Array.init)
            } else {
                sides = (merge.items ?? []).compactMap { $0.text.map { Array($0.utf8) } }
            }
            guard sides.count == 2, list.add(sides[0], sides[1], vocabulary) else {
                throw fault("merge \(rank) is not a pair of tokens that make a token")
            }
        }
        var byteTokens: [Int32] = []
        if model["byte_fallback"]?.flag == true {
            byteTokens = (0..<256).map { vocabulary.id("<0x\(Hex.encode([UInt8($0)]).uppercased())>") ?? -1 }
        }
        return .pairs(
            BytePairs(
                vocabulary: vocabulary, merges: list.table, takesWholeWords: model["ignore_merges"]?.flag ?? false,
                byteTokens: byteTokens, unknown: try unknown(vocabulary),
                fusesUnknown: model["fuse_unk"]?.flag ?? false, isByteLevel: pre.isByteLevel,
                opensWords: list.opensWords(vocabulary)))
    }
}

/// The merges of a file, in order.
struct MergeList {
    private(set) var table: PairTable
    private var rank: UInt64 = 0
    private var marksInside = false

    init(count: Int) { table = PairTable(count: count) }

    /// False if these are not two tokens that make a token, or the table's neighbourhood is full.
    mutating func add(_ left: [UInt8], _ right: [UInt8], _ vocabulary: TokenTable) -> Bool {
        let text = left + right
        guard let first = vocabulary.id(left), let second = vocabulary.id(right), let whole = vocabulary.id(text) else {
            return false
        }
        if !marksInside { marksInside = Self.holdsMarkInside(text) }
        defer { rank += 1 }
        return table.set(BytePairs.pair(first, second), rank << 32 | UInt64(UInt32(bitPattern: whole)))
    }

    /// The token of ▁, if no merge puts one behind another character.
    func opensWords(_ vocabulary: TokenTable) -> Int32 {
        marksInside ? -1 : vocabulary.id(Metaspace.mark) ?? -1
    }

    /// Whether ▁ stands behind another character.
    static func holdsMarkInside(_ text: [UInt8]) -> Bool {
        var at = 0
        while text[at...].starts(with: Metaspace.mark) { at += Metaspace.mark.count }
        var found = false
        text.withUnsafeBufferPointer { text in
            SplitPattern.literal(Metaspace.mark).visit(text, at..<text.count) { _, isMatch in found = found || isMatch }
        }
        return found
    }
}
