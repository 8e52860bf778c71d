// tokenizer.json: byte-level BPE (LLaMA 3, Qwen, GLM-4, the starter) and SentencePiece-style BPE with byte fallback
// (LLaMA 2,
// Mistral). Text is bytes throughout: Swift's String would hold two tokens that differ only in normal form for one.
//
//     text --added tokens cut out--> stretches --normalise--> --split--> words --merge--> ids --template--> ids
//
// Source: github.com/huggingface/tokenizers.

package import ModelFiles
import Primitives

package enum TokenizerLimit {
    static let tokensMax = 1 << 21
    static let mergesMax = 1 << 21
    static let addedTokensMax = 1 << 16
}

package struct Tokenizer: Sendable {
    package static let file = "tokenizer.json"

    enum Scheme: Hashable, Sendable {
        /// `composes`: characters are brought to normal form C first.
        case byteLevel(SplitRule, prefixSpace: Bool, composes: Bool)
        /// Blanks become ▁; the mark is put before the whole text, or before every stretch between added tokens, or
        /// nowhere.
        case blankMarks(Marking)
    }

    enum Marking: Hashable, Sendable { case none, first, always }

    /// What a token contributes to text.
    enum Piece: Sendable {
        case text([UInt8])
        case byte(UInt8)
    }

    let scheme: Scheme
    let pieces: [Piece?]
    let special: Set<Int32>
    let stripsFirstBlank: Bool
    private let ids: [[UInt8]: Int32]
    private let pairs: BytePairs
    private let added: [UInt8: [(bytes: [UInt8], id: Int32)]]
    private let ignoreMerges: Bool
    private let byteFallback: [Int32]?
    private let unknown: Int32?
    /// The token of each byte's stand-in.
    private let byteIDs: [Int32?]
    private let prefix: [Int32]
    private let suffix: [Int32]
    package let endToken: Int32?
    /// As the chat template sees them.
    package let beginText: String?
    package let endText: String?

    /// One more than the highest id.
    package var vocabularyCount: Int { pieces.count }

    package init(folder: any ModelFolder) throws(ModelFault) {
        let file = Self.file
        guard let bytes = folder.bytes(of: file) else { throw .missing(file: file) }
        let json = try parseJSON(bytes, file: file)
        func fault(_ reason: String) -> ModelFault { .malformed(file: file, reason: reason) }
        func unsupported(_ feature: String) -> ModelFault { .unsupported(file: file, feature: feature) }
        guard let model = json["model"], let vocabulary = model["vocab"]?.memberList else {
            throw fault("\"model.vocab\" is missing or not an object")
        }
        if let kind = model["type"]?.text, kind != "BPE" { throw unsupported("model type \(kind)") }
        for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            if let value = model[key], !value.isNull, value.text != "" { throw unsupported("model.\(key)") }
        }
        guard vocabulary.count <= TokenizerLimit.tokensMax else {
            throw fault("more than \(TokenizerLimit.tokensMax) tokens")
        }
        var ids: [[UInt8]: Int32] = [:]
        ids.reserveCapacity(vocabulary.count)
        var texts: [Int32: String] = [:]
        for member in vocabulary {
            guard let id = member.value.count, id < TokenizerLimit.tokensMax else {
                throw fault("token \"\(member.key)\" has no id below \(TokenizerLimit.tokensMax)")
            }
            ids[Array(member.key.utf8)] = Int32(id)
            texts[Int32(id)] = member.key
        }
        pairs = try Self.pairs(model["merges"]?.items ?? [], ids: ids)
        ignoreMerges = model["ignore_merges"]?.flag ?? false
        scheme = try TokenizerSteps.scheme(json, file: file)
        unknown = model["unk_token"]?.text.flatMap { ids[Array($0.utf8)] }
        var fallback: [Int32]?
        if model["byte_fallback"]?.flag == true {
            let found = (0..<256).compactMap { ids[Array("<0x\(Hex.encode([UInt8($0)]).uppercased())>".utf8)] }
            guard found.count == 256 else { throw fault("byte_fallback needs the 256 byte tokens") }
            fallback = found
        }
        byteFallback = fallback
        (ids: self.ids, added: added, special: special) = try Self.addedTokens(
            json, ids: ids, texts: &texts, file: file)
        byteIDs = ByteAlphabet.scalars.map { [ids = self.ids] in ids[Array(String($0).utf8)] }
        stripsFirstBlank = try TokenizerSteps.stripsFirstBlank(json, scheme: scheme, file: file)
        (prefix, suffix) = try TokenizerSteps.template(json["post_processor"], ids: self.ids, file: file)
        let fallbackIDs = Dictionary(uniqueKeysWithValues: (fallback ?? []).enumerated().map { ($1, UInt8($0)) })
        var pieces = [Piece?](repeating: nil, count: Int(texts.keys.max() ?? -1) + 1)
        for (id, text) in texts { pieces[Int(id)] = Self.piece(text, scheme: scheme, byte: fallbackIDs[id]) }
        self.pieces = pieces
        let settings = try folder.bytes(of: "tokenizer_config.json").map { bytes throws(ModelFault) in
            try parseJSON(bytes, file: "tokenizer_config.json")
        }
        func name(_ key: String) -> String? { settings?[key]?.text ?? settings?[key]?["content"]?.text }
        beginText = name("bos_token")
        endText = name("eos_token")
        endToken = endText.flatMap { [ids = self.ids] in ids[Array($0.utf8)] }
    }

    private static func piece(_ text: String, scheme: Scheme, byte: UInt8?) -> Piece {
        switch scheme {
        case .byteLevel: return .text(ByteAlphabet.decode(text) ?? Array(text.utf8))
        case .blankMarks:
            if let byte { return .byte(byte) }
            var bytes: [UInt8] = []
            for scalar in text.unicodeScalars { bytes += scalar == "▁" ? [0x20] : Array(String(scalar).utf8) }
            return .text(bytes)
        }
    }

    private static func pairs(_ merges: [JSONValue], ids: [[UInt8]: Int32]) throws(ModelFault) -> BytePairs {
        guard merges.count <= TokenizerLimit.mergesMax else {
            throw .malformed(file: file, reason: "more than \(TokenizerLimit.mergesMax) merges")
        }
        var table: [UInt64: BytePairs.Merge] = [:]
        table.reserveCapacity(merges.count)
        for (rank, merge) in merges.enumerated() {
            var sides: [[UInt8]] = []
            if let text = merge.text {
                sides = Array(text.utf8).split(separator: 0x20, maxSplits: 1).map(Array.init)
            } else {
                sides = (merge.items ?? []).compactMap { $0.text.map { Array($0.utf8) } }
            }
            guard sides.count == 2, let left = ids[sides[0]], let right = ids[sides[1]],
                let whole = ids[sides[0] + sides[1]]
            else { throw .malformed(file: file, reason: "merge \(rank) is not a pair of tokens that make a token") }
            let pair = BytePairs.pair(left, right)
            table[pair] = BytePairs.Merge(rank: Int32(rank), token: whole)
        }
        return BytePairs(table)
    }

    // swift-format-ignore
    private static func addedTokens(
        _ json: JSONValue, ids: [[UInt8]: Int32], texts: inout [Int32: String], file: String
    ) throws(ModelFault) -> (ids: [[UInt8]: Int32], added: [UInt8: [(bytes: [UInt8], id: Int32)]], special: Set<Int32>) {
        var ids = ids, special: Set<Int32> = []
        var added: [UInt8: [(bytes: [UInt8], id: Int32)]] = [:]
        let tokens = json["added_tokens"]?.items ?? []
        guard tokens.count <= TokenizerLimit.addedTokensMax else {
            throw .malformed(file: file, reason: "more than \(TokenizerLimit.addedTokensMax) added tokens")
        }
        for token in tokens {
            guard let content = token["content"]?.text, !content.isEmpty, let id = token["id"]?.count,
                id < TokenizerLimit.tokensMax
            else { throw .malformed(file: file, reason: "an added token has no content or no id") }
            for flag in ["single_word", "lstrip", "rstrip"] where token[flag]?.flag == true {
                throw .unsupported(file: file, feature: "added token \"\(content)\" with \(flag)")
            }
            let bytes = Array(content.utf8)
            ids[bytes] = Int32(id)
            texts[Int32(id)] = content
            if token["special"]?.flag == true { special.insert(Int32(id)) }
            added[bytes[0], default: []].append((bytes, Int32(id)))
        }
        // The longest of those that begin alike is tried first.
        for key in added.keys { added[key]?.sort { $0.bytes.count > $1.bytes.count } }
        return (ids, added, special)
    }

    package func id(of token: String) -> Int32? { ids[Array(token.utf8)] }

    // MARK: Encoding

    /// The ids of a text. `addSpecial` puts the template's tokens (a beginning-of-text, say) around it.
    package func encode(_ text: String, addSpecial: Bool) -> [Int32] {
        let bytes = Array(text.utf8)
        var out = addSpecial ? prefix : []
        var start = 0, at = 0
        while at < bytes.count {
            if let match = added[bytes[at]]?.first(where: { bytes[at...].starts(with: $0.bytes) }) {
                if at > start { encodeStretch(bytes[start..<at], first: start == 0, into: &out) }
                out.append(match.id)
                at += match.bytes.count
                start = at
            } else {
                at += 1
            }
        }
        if start < bytes.count { encodeStretch(bytes[start...], first: start == 0, into: &out) }
        if addSpecial { out += suffix }
        return out
    }

    private func encodeStretch(_ bytes: ArraySlice<UInt8>, first: Bool, into out: inout [Int32]) {
        switch scheme {
        case .byteLevel(let rule, let prefixSpace, let composes):
            var spaced = composes ? NormalForm.composed(bytes) : Array(bytes)
            if prefixSpace, spaced.first != 0x20 { spaced.insert(0x20, at: 0) }
            for word in rule.split(spaced) {
                let symbols = word.compactMap { byteIDs[Int($0)] }
                if ignoreMerges, let whole = ids[word.flatMap { Array(String(ByteAlphabet.scalars[Int($0)]).utf8) }] {
                    out.append(whole)
                } else {
                    pairs.encode(symbols, into: &out)
                }
            }
        case .blankMarks(let marking):
            var marked: [UInt8] = []
            let mark = Array("▁".utf8)
            let body = bytes.flatMap { $0 == 0x20 ? mark : [$0] }
            // Metaspace ("first") adds no mark before one that is there; the Prepend normaliser ("always") does.
            if marking == .always || (marking == .first && first && !body.starts(with: mark)) { marked = mark }
            marked += body
            pairs.encode(characters(marked), into: &out)
        }
    }

    /// One symbol a character; those outside the vocabulary as their bytes, or as one unknown token a run.
    private func characters(_ bytes: [UInt8]) -> [Int32] {
        var out: [Int32] = []
        var unknownRun = false
        for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
            let character = Array(String(scalar).utf8)
            if let id = ids[character] {
                out.append(id)
                unknownRun = false
            } else if let byteFallback {
                out += character.map { byteFallback[Int($0)] }
                unknownRun = false
            } else if let unknown, !unknownRun {
                out.append(unknown)
                unknownRun = true
            }
        }
        return out
    }

    // MARK: Decoding

    /// The text of a whole answer. Bytes that are no UTF-8 become U+FFFD.
    package func decode(_ tokens: [Int32], skipSpecial: Bool) -> String {
        var decoder = StreamingDecoder(self, skipSpecial: skipSpecial, holdsRuns: true)
        var text = ""
        for token in tokens { text += decoder.add(token) }
        return text + decoder.finish()
    }
}
