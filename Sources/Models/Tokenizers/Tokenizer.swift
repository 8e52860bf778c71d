// Text to token ids and back, as the `tokenizers` library does it. Text is bytes throughout: Swift's String would hold
// two texts that differ only in normal form for one.
//
//     text --added tokens cut out--> stretches --normalise--> --split--> words --model--> ids --template--> ids
//
// A tokenizer is read once (TokenizerFile from tokenizer.json, GGUFVocabulary from a GGUF header) and never changes.
//
// Source: github.com/huggingface/tokenizers.

package enum TokenizerLimit {
    static let tokensMax = 1 << 21
    static let mergesMax = 1 << 21
    static let addedTokensMax = 1 << 16
    static let tokenBytesMax = 1 << 12
}

package struct Tokenizer: Sendable {
    package static let file = "tokenizer.json"

    enum Model: Sendable {
        case pairs(BytePairs)
        case scored(ScoredPieces)
        case words(WordPieces)
    }

    /// All that a file says. Whoever reads a file fills this.
    struct Parts {
        var model: Model
        var vocabulary: TokenTable
        var added: [AddedToken] = []
        var normalizer = Normalizer(steps: [])
        var preTokenizer = PreTokenizer(steps: [], isByteLevel: false)
        var template = TokenTemplate()
        var decoder = TokenDecoder()
        var pieces: TokenPieces
        var beginText: String?
        var endText: String?
        var endToken: Int32?
    }

    private let model: Model
    let vocabulary: TokenTable
    private let rawTokens: AddedTokens
    private let normalizedTokens: AddedTokens
    private let special: [Bool]
    private let normalizer: Normalizer
    private let preTokenizer: PreTokenizer
    private let template: TokenTemplate
    let decoder: TokenDecoder
    let pieces: TokenPieces
    package let endToken: Int32?
    /// As the chat template sees them.
    package let beginText: String?
    package let endText: String?

    /// Nil if the added tokens' texts are hostile.
    init?(_ parts: Parts) {
        var normalized = parts.added.filter(\.normalized)
        for index in normalized.indices { normalized[index].text = parts.normalizer.apply(normalized[index].text) }
        normalized.removeAll { $0.text.isEmpty }
        guard let raw = AddedTokens(parts.added.filter { !$0.normalized }), let cooked = AddedTokens(normalized) else {
            return nil
        }
        rawTokens = raw
        normalizedTokens = cooked
        var special = [Bool](repeating: false, count: parts.vocabulary.idCount)
        for token in parts.added where token.special && Int(token.id) < special.count { special[Int(token.id)] = true }
        self.special = special
        model = parts.model
        vocabulary = parts.vocabulary
        normalizer = parts.normalizer
        preTokenizer = parts.preTokenizer
        template = parts.template
        decoder = parts.decoder
        pieces = parts.pieces
        beginText = parts.beginText
        endText = parts.endText
        endToken = parts.endToken
    }

    /// One more than the highest id.
    package var vocabularyCount: Int { pieces.count }

    package func id(of token: String) -> Int32? { vocabulary.id(token) }

    /// Whether a token is one of control, which `skipSpecial` leaves out of texts.
    package func isSpecial(_ token: Int32) -> Bool {
        token >= 0 && Int(token) < special.count && special[Int(token)]
    }

    /// Whether a text's very first blank is an artefact of the vocabulary and not shown.
    package var stripsFirstBlank: Bool { decoder.stripsStart?.character == [0x20] }

    /// What a token adds to a text, half characters included; nil for control tokens and ids without a token.
    package func bytes(of token: Int32) -> [UInt8]? {
        guard !isSpecial(token), let piece = pieces[token] else { return nil }
        switch piece {
        case .byte(let byte): return [byte]
        case .text(let text): return Array(text)
        }
    }

    // MARK: Encoding

    private struct Scratch {
        var pairs = BytePairs.Scratch()
        var scored = ScoredPieces.Scratch()
    }

    /// The ids of a text. `addSpecial` puts the template's tokens (a beginning-of-text, say) around it.
    package func encode(_ text: String, addSpecial: Bool) -> [Int32] {
        let bytes = Array(text.utf8)
        var out = addSpecial ? template.prefix : []
        out.reserveCapacity(bytes.count / 4 + 8)
        var scratch = Scratch()
        rawTokens.visit(bytes) { part in
            switch part {
            case .token(let id): out.append(id)
            case .text(let range): encode(bytes, range, &scratch, &out)
            }
        }
        if addSpecial { out += template.suffix }
        return out
    }

    private func encode(_ bytes: [UInt8], _ range: Range<Int>, _ scratch: inout Scratch, _ out: inout [Int32]) {
        let startsText = range.lowerBound == 0
        if normalizer.steps.isEmpty, normalizedTokens.isEmpty {
            return words(TextPieces(bytes: bytes, ranges: [range], isFirst: startsText), &scratch, &out)
        }
        let text = normalizer.apply(Array(bytes[range]))
        normalizedTokens.visit(text) { part in
            switch part {
            case .token(let id): out.append(id)
            case .text(let range):
                let isFirst = startsText && range.lowerBound == 0
                words(TextPieces(bytes: text, ranges: [range], isFirst: isFirst), &scratch, &out)
            }
        }
    }

    private func words(_ pieces: TextPieces, _ scratch: inout Scratch, _ out: inout [Int32]) {
        let pieces = preTokenizer.apply(pieces)
        pieces.bytes.withUnsafeBufferPointer { bytes in
            for range in pieces.ranges {
                let word = UnsafeBufferPointer(rebasing: bytes[range])
                switch model {
                case .pairs(let pairs): pairs.encode(word, &scratch.pairs, into: &out)
                case .scored(let scored): scored.encode(word, &scratch.scored, into: &out)
                case .words(let words): words.encode(word, into: &out)
                }
            }
        }
    }

    // MARK: Decoding

    /// The text of a whole answer. Bytes that are no UTF-8 become U+FFFD.
    package func decode(_ tokens: [Int32], skipSpecial: Bool) -> String {
        var decoder = StreamingDecoder(self, skipSpecial: skipSpecial, holdsRuns: true)
        var text: [UInt8] = []
        for token in tokens { text += decoder.addBytes(token) }
        text += decoder.finishBytes()
        return String(decoding: text, as: UTF8.self)
    }
}
