// Cuts a text into the words that the model then sees one by one. A step cuts, or rewrites what it was given (blanks to
// marks, bytes to their stand-ins); the pieces lie in one array of bytes and never overlap.
//
// Source: github.com/huggingface/tokenizers, pre_tokenizers.

import ModelFiles
import Primitives

enum Metaspace {
    /// ▁, which stands for a blank.
    static let mark: [UInt8] = [0xe2, 0x96, 0x81]

    enum Prepending: Sendable { case never, first, always }

    static func prepending(_ json: JSONValue, file: String) throws(ModelFault) -> Prepending {
        switch json["prepend_scheme"]?.text {
        case "never": return .never
        case "first": return .first
        case "always": return .always
        case nil: return json["add_prefix_space"]?.flag ?? true ? .always : .never
        case let name?: throw .unsupported(file: file, feature: "prepend_scheme \(name.prefix(40))")
        }
    }

    static func mark(_ json: JSONValue, file: String) throws(ModelFault) -> [UInt8] {
        let text = json["replacement"]?.text ?? "▁"
        guard text.unicodeScalars.count == 1 else {
            throw .malformed(file: file, reason: "Metaspace's replacement is not one character")
        }
        return Array(text.utf8)
    }
}

/// Pieces of a text: ranges of `bytes`, in order, none empty.
struct TextPieces {
    var bytes: [UInt8]
    var ranges: [Range<Int>]
    /// Whether the first piece begins where the whole text does.
    var isFirst: Bool
}

struct PreTokenizer: Sendable {
    enum Step: Sendable {
        case split(SplitPattern, SplitBehavior, inverted: Bool)
        case metaspace(mark: [UInt8], Metaspace.Prepending, splits: Bool)
        case prefixSpace
        case standIns
    }

    private(set) var steps: [Step] = []
    /// The pieces are bytes whose stand-ins the model knows.
    private(set) var isByteLevel = false

    /// GPT-2's expression: what `ByteLevel` with `use_regex` stands for.
    static let gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
    private static let punctuation = ScalarSet([
        .range(0x21, 0x2f), .range(0x3a, 0x40), .range(0x5b, 0x60), .range(0x7b, 0x7e),
        .categories(ScalarCategory.mask("P") ?? 0, negated: false),
    ])
    private static let space = ScalarSet([.space(negated: false)])

    init(steps: [Step], isByteLevel: Bool) {
        self.steps = steps
        self.isByteLevel = isByteLevel
    }

    init(_ json: JSONValue?, file: String) throws(ModelFault) {
        let items = try StepList.flatten(json, list: "pretokenizers", file: file)
        for (index, item) in items.enumerated() {
            let kind = item["type"]?.text ?? "without a type"
            func cut(_ set: ScalarSet, _ behavior: SplitBehavior) -> Step {
                .split(.expression(SplitExpression(set)), behavior, inverted: false)
            }
            switch kind {
            case "Split":
                steps.append(
                    .split(
                        try SplitPattern(item["pattern"], file: file),
                        try SplitBehavior(item["behavior"]?.text, file: file),
                        inverted: item["invert"]?.flag ?? false))
            case "ByteLevel":
                if item["add_prefix_space"]?.flag ?? true { steps.append(.prefixSpace) }
                if item["use_regex"]?.flag ?? true {
                    let expression = try SplitPattern.expression(Self.gpt2, file: file)
                    steps.append(.split(.expression(expression), .isolated, inverted: false))
                }
                guard !isByteLevel else { throw .unsupported(file: file, feature: "ByteLevel twice") }
                if index == items.count - 1 { isByteLevel = true } else { steps.append(.standIns) }
            case "Metaspace":
                steps.append(
                    .metaspace(
                        mark: try Metaspace.mark(item, file: file), try Metaspace.prepending(item, file: file),
                        splits: item["split"]?.flag ?? true))
            case "Digits":
                let digits = ScalarSet([.categories(ScalarCategory.mask("N") ?? 0, negated: false)])
                steps.append(cut(digits, item["individual_digits"]?.flag ?? false ? .isolated : .contiguous))
            case "Punctuation":
                steps.append(cut(Self.punctuation, try SplitBehavior(item["behavior"]?.text, file: file)))
            case "Whitespace":
                let word = ScalarSet.Item.word(joiners: true, negated: false)
                let words = SplitExpression(runs: [
                    ScalarSet([word]), ScalarSet([word, .space(negated: false)], negated: true),
                ])
                steps.append(.split(.expression(words), .removed, inverted: true))
            case "WhitespaceSplit": steps.append(cut(Self.space, .removed))
            case "BertPreTokenizer":
                steps += [cut(Self.space, .removed), cut(Self.punctuation, .isolated)]
            case "CharDelimiterSplit":
                guard let delimiter = item["delimiter"]?.text, delimiter.unicodeScalars.count == 1 else {
                    throw .malformed(file: file, reason: "CharDelimiterSplit has no character")
                }
                steps.append(.split(.literal(Array(delimiter.utf8)), .removed, inverted: false))
            default: throw .unsupported(file: file, feature: "pre-tokenizer \(kind)")
            }
        }
    }

    func apply(_ pieces: TextPieces) -> TextPieces {
        var pieces = pieces
        for step in steps {
            switch step {
            case .split(let pattern, let behavior, let inverted):
                pieces.ranges = Self.split(pieces, pattern, behavior, inverted: inverted)
            case .metaspace(let mark, let prepending, let splits):
                pieces = Self.rewritten(pieces) { piece, isFirst, out in
                    let begin = out.count
                    for byte in piece { if byte == 0x20 { out += mark } else { out.append(byte) } }
                    let prepends = prepending == .always || (prepending == .first && isFirst)
                    if prepends, !out[begin...].starts(with: mark) { out.insert(contentsOf: mark, at: begin) }
                }
                if splits {
                    pieces.ranges = Self.split(pieces, .literal(mark), .mergedWithNext, inverted: false)
                }
            case .prefixSpace:
                if pieces.ranges.allSatisfy({ pieces.bytes[$0.lowerBound] == 0x20 }) { break }
                pieces = Self.rewritten(pieces) { piece, _, out in
                    if piece.first != 0x20 { out.append(0x20) }
                    out += piece
                }
            case .standIns:
                pieces = Self.rewritten(pieces) { piece, _, out in
                    for byte in piece { out += ByteAlphabet.texts[Int(byte)] }
                }
            }
        }
        return pieces
    }

    private static func split(
        _ pieces: TextPieces, _ pattern: SplitPattern, _ behavior: SplitBehavior, inverted: Bool
    ) -> [Range<Int>] {
        var out: [Range<Int>] = []
        out.reserveCapacity(pieces.ranges.count)
        pieces.bytes.withUnsafeBufferPointer { bytes in
            for range in pieces.ranges {
                var afterMatch = false, isFirst = true
                pattern.visit(bytes, range) { stretch, found in
                    let isMatch = found != inverted
                    behavior.add(stretch, isMatch: isMatch, afterMatch: afterMatch, isFirst: isFirst, to: &out)
                    afterMatch = isMatch
                    isFirst = false
                }
            }
        }
        return out
    }

    /// Every piece anew; what becomes of it is appended to the bytes.
    private static func rewritten(
        _ pieces: TextPieces, _ write: (ArraySlice<UInt8>, _ isFirst: Bool, inout [UInt8]) -> Void
    ) -> TextPieces {
        var out = TextPieces(bytes: [], ranges: [], isFirst: pieces.isFirst)
        out.bytes.reserveCapacity(pieces.bytes.count)
        out.ranges.reserveCapacity(pieces.ranges.count)
        for (index, range) in pieces.ranges.enumerated() {
            let begin = out.bytes.count
            write(pieces.bytes[range], index == 0 && pieces.isFirst, &out.bytes)
            if out.bytes.count > begin { out.ranges.append(begin..<out.bytes.count) }
        }
        return out
    }
}
