// From a token to what it adds to a text. The chain of decoders is understood as a whole: what each token becomes by
// itself is worked out when the file is read; what looks at neighbours (bytes that make a character together, blanks
// at the very beginning) is left to StreamingDecoder.
//
// Source: github.com/huggingface/tokenizers, decoders.

import ModelFiles
import Primitives

struct TokenDecoder: Sendable {
    private static let stepsMax = 32
    private static let contentBytesMax = 64

    enum Step: Hashable, Sendable {
        case replace([UInt8], [UInt8])
        case strip([UInt8], start: Int, stop: Int)
        case metaspace([UInt8], dropsFirst: Bool)
        case wordPiece([UInt8], cleans: Bool)
        /// Tokens that follow another come behind a blank (files without a decoder).
        case blankBetween
    }

    /// Tokens spell bytes by stand-ins.
    var isByteLevel = false
    /// `<0x41>` is a byte.
    var readsByteTokens = false
    /// To each token by itself.
    var steps: [Step] = []
    /// To the whole text: up to `count` of this character go from its beginning.
    var stripsStart: (character: [UInt8], count: Int)?

    init(isByteLevel: Bool = false, readsByteTokens: Bool = false, steps: [Step] = [], stripsBlank: Bool = false) {
        self.isByteLevel = isByteLevel
        self.readsByteTokens = readsByteTokens
        self.steps = steps
        stripsStart = stripsBlank ? ([0x20], 1) : nil
    }

    init(_ json: JSONValue?, file: String) throws(ModelFault) {
        guard let json, !json.isNull else {
            steps = [.blankBetween]
            return
        }
        var isFused = false
        for item in try StepList.flatten(json, list: "decoders", file: file) {
            let kind = item["type"]?.text ?? "without a type"
            if isFused, kind != "Strip", kind != "Fuse" {
                throw .unsupported(file: file, feature: "decoder \(kind.prefix(40)) after Fuse")
            }
            if readsByteTokens, kind != "Fuse" {
                guard isFused else {
                    throw .unsupported(file: file, feature: "decoder \(kind.prefix(40)) between ByteFallback and Fuse")
                }
            }
            switch kind {
            case "ByteLevel":
                guard steps.isEmpty else { throw .unsupported(file: file, feature: "decoder ByteLevel after others") }
                isByteLevel = true
                isFused = true
            case "ByteFallback": readsByteTokens = true
            case "Fuse": isFused = true
            case "Replace":
                guard let pattern = item["pattern"]?["String"]?.text, !pattern.isEmpty else {
                    throw .unsupported(file: file, feature: "decoder Replace of an expression")
                }
                let content = Array((item["content"]?.text ?? "").utf8)
                guard content.count <= Self.contentBytesMax else {
                    throw .malformed(file: file, reason: "Replace puts more than \(Self.contentBytesMax) bytes")
                }
                steps.append(.replace(Array(pattern.utf8), content))
            case "Strip":
                guard let content = item["content"]?.text, content.unicodeScalars.count == 1,
                    let start = item["start"]?.count, let stop = item["stop"]?.count
                else { throw .malformed(file: file, reason: "Strip needs a character, start and stop") }
                let character = Array(content.utf8)
                if isFused {
                    guard stop == 0, stripsStart == nil else {
                        throw .unsupported(file: file, feature: "decoder Strip at the end of a text")
                    }
                    stripsStart = (character, start)
                } else {
                    steps.append(.strip(character, start: start, stop: stop))
                }
            case "Metaspace":
                let prepending = try Metaspace.prepending(item, file: file)
                steps.append(.metaspace(try Metaspace.mark(item, file: file), dropsFirst: prepending != .never))
            case "WordPiece":
                steps.append(
                    .wordPiece(Array((item["prefix"]?.text ?? "##").utf8), cleans: item["cleanup"]?.flag ?? true))
            default: throw .unsupported(file: file, feature: "decoder \(kind.prefix(40))")
            }
        }
        guard steps.count <= Self.stepsMax else {
            throw .malformed(file: file, reason: "more than \(Self.stepsMax) decoders")
        }
    }

    /// Whether the first token of a text can become something else than the same token further on.
    var treatsFirstApart: Bool {
        steps.contains { step in
            switch step {
            case .metaspace(_, let drops): drops
            case .wordPiece, .blankBetween: true
            default: false
            }
        }
    }

    /// The byte that a token like `<0x0A>` stands for.
    static func byte(_ token: ArraySlice<UInt8>) -> UInt8? {
        guard token.count == 6, token.starts(with: Array("<0x".utf8)), token.last == UInt8(ascii: ">") else {
            return nil
        }
        let digits = token.dropFirst(3).dropLast()
        // A sign would pass for a digit.
        guard digits.allSatisfy({ $0 >= 0x30 }) else { return nil }
        return UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
    }

    /// What a token becomes by itself.
    func piece(_ token: ArraySlice<UInt8>, isFirst: Bool) -> [UInt8] {
        if isByteLevel { return ByteAlphabet.decode(token) ?? Array(token) }
        var text = Array(token)
        for step in steps {
            switch step {
            case .replace(let pattern, let content):
                text = SplitPattern.literal(pattern).replace(in: text, with: content, bytesMax: .max)
            case .strip(let character, let start, let stop):
                var left = 0, right = 0
                while left < start, text.starts(with: character) {
                    text.removeFirst(character.count)
                    left += 1
                }
                while right < stop, text.suffix(character.count).elementsEqual(character) {
                    text.removeLast(character.count)
                    right += 1
                }
            case .metaspace(let mark, let dropsFirst):
                let blank: [UInt8] = dropsFirst && isFirst ? [] : [0x20]
                text = SplitPattern.literal(mark).replace(in: text, with: blank, bytesMax: .max)
            case .wordPiece(let prefix, let cleans):
                if !isFirst {
                    text =
                        !prefix.isEmpty && text.starts(with: prefix)
                        ? Array(text.dropFirst(prefix.count)) : [0x20] + text
                }
                if cleans { text = Self.cleaned(text) }
            case .blankBetween: if !isFirst { text = [0x20] + text }
            }
        }
        return text
    }

    /// English spacing as BERT's decoder mends it, token by token.
    private static func cleaned(_ text: [UInt8]) -> [UInt8] {
        let mends = [
            (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
            (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
        ]
        var text = text
        for (from, to) in mends {
            text = SplitPattern.literal(Array(from.utf8)).replace(in: text, with: Array(to.utf8), bytesMax: .max)
        }
        return text
    }
}
