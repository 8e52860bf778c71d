// The split expressions of byte-level tokenizers, each as a scanner written by hand: a general regular-expression
// engine
// would be slower and would promise more than these models need. An expression that is not in this list is refused by
// name.

/// Which of the known expressions. Source: the `pre_tokenizer` of the families' tokenizer.json.
enum SplitRule: Hashable, Sendable {
    /// GPT-2: what `ByteLevel` with `use_regex` stands for.
    case gpt2
    /// LLaMA 3 and GLM-4 take numbers three digits at a time, Qwen 2 one.
    case llama3(digitsMax: Int)

    private static let contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
    private static let remainder = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

    init?(expression: String) {
        switch expression {
        case Self.contraction + "\\p{N}{1,3}" + Self.remainder: self = .llama3(digitsMax: 3)
        case Self.contraction + "\\p{N}" + Self.remainder: self = .llama3(digitsMax: 1)
        case "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+": self = .gpt2
        default: return nil
        }
    }

    private enum Kind { case letter, number, space, other }

    private static func kind(_ scalar: Unicode.Scalar) -> Kind {
        if scalar.isASCII {
            switch scalar.value {
            case 0x41...0x5a, 0x61...0x7a: return .letter
            case 0x30...0x39: return .number
            case 0x20, 0x09...0x0d: return .space
            default: return .other
            }
        }
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return .letter
        case .decimalNumber, .letterNumber, .otherNumber: return .number
        default: return scalar.properties.isWhitespace ? .space : .other
        }
    }

    /// Cuts the text; the pieces joined are the text.
    func split(_ text: [UInt8]) -> [ArraySlice<UInt8>] {
        var scalars: [Unicode.Scalar] = [], kinds: [Kind] = [], offsets: [Int] = []
        var offset = 0
        for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
            scalars.append(scalar)
            kinds.append(Self.kind(scalar))
            offsets.append(offset)
            offset += UTF8.width(scalar)
        }
        offsets.append(offset)
        let count = scalars.count
        func run(_ from: Int, _ wanted: Kind, max: Int = .max) -> Int {
            var at = from
            while at < count, at - from < max, kinds[at] == wanted { at += 1 }
            return at
        }
        func isNewline(_ at: Int) -> Bool { scalars[at] == "\n" || scalars[at] == "\r" }
        var pieces: [ArraySlice<UInt8>] = []
        var at = 0
        while at < count {
            var end = contractionEnd(scalars, at)
            if end == at { end = wordEnd(at, count: count, scalars: scalars, kinds: kinds, run: run) }
            if end == at, scalars[at] == " " || kinds[at] == .other {
                let start = scalars[at] == " " ? at + 1 : at
                let stop = run(start, .other)
                if stop > start {
                    end = stop
                    if case .llama3 = self { while end < count, isNewline(end) { end += 1 } }
                }
            }
            if end == at {
                let stop = run(at, .space)
                end = stop
                var newline: Int?
                if case .llama3 = self { newline = (at..<stop).last(where: isNewline) }
                if let newline {
                    end = newline + 1
                } else if stop < count, stop - at > 1 {
                    end = stop - 1
                }
            }
            if end == at { end = at + 1 }
            pieces.append(text[offsets[at]..<offsets[end]])
            at = end
        }
        return pieces
    }

    /// Letters with what may precede them, or numbers.
    private func wordEnd(
        _ at: Int, count: Int, scalars: [Unicode.Scalar], kinds: [Kind], run: (Int, Kind, Int) -> Int
    ) -> Int {
        switch self {
        case .gpt2:
            let start = scalars[at] == " " ? at + 1 : at
            let letters = run(start, .letter, .max)
            if letters > start { return letters }
            let numbers = run(start, .number, .max)
            return numbers > start ? numbers : at
        case .llama3(let digitsMax):
            if kinds[at] == .letter { return run(at, .letter, .max) }
            if kinds[at] == .number { return run(at, .number, digitsMax) }
            if scalars[at] != "\r", scalars[at] != "\n", at + 1 < count, kinds[at + 1] == .letter {
                return run(at + 1, .letter, .max)
            }
            return at
        }
    }

    private func contractionEnd(_ scalars: [Unicode.Scalar], _ at: Int) -> Int {
        guard scalars[at] == "'", at + 1 < scalars.count else { return at }
        func letter(_ index: Int) -> Unicode.Scalar? {
            guard index < scalars.count else { return nil }
            let scalar = scalars[index]
            if self == .gpt2 { return scalar }
            if scalar.value == 0x17f { return "s" }  // long s folds to s
            return scalar.isASCII && scalar.properties.isUppercase ? Unicode.Scalar(scalar.value + 32) : scalar
        }
        switch letter(at + 1) {
        case "s", "t", "m", "d": return at + 2
        case "r" where letter(at + 2) == "e", "v" where letter(at + 2) == "e", "l" where letter(at + 2) == "l":
            return at + 3
        default: return at
        }
    }
}

/// GPT-2's printable stand-ins for the 256 bytes.
enum ByteAlphabet {
    /// Byte to scalar.
    static let scalars: [Unicode.Scalar] = {
        var next: UInt32 = 256
        return (0..<256).map { (byte: UInt32) in
            let printable = (0x21...0x7e).contains(byte) || (0xa1...0xac).contains(byte) || (0xae...0xff).contains(byte)
            defer { if !printable { next += 1 } }
            return Unicode.Scalar(printable ? byte : next) ?? " "
        }
    }()

    private static let bytes: [Unicode.Scalar: UInt8] = Dictionary(
        uniqueKeysWithValues: scalars.enumerated().map { ($1, UInt8($0)) })

    /// The bytes that a token stands for; nil where it has a character that is no stand-in.
    static func decode(_ token: String) -> [UInt8]? {
        var result: [UInt8] = []
        for scalar in token.unicodeScalars {
            guard let byte = bytes[scalar] else { return nil }
            result.append(byte)
        }
        return result
    }
}
