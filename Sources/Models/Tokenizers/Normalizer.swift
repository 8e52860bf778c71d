// What tokenizer.json does to a text before it is split: each step takes UTF-8 and gives UTF-8.
//
// Source: github.com/huggingface/tokenizers, normalizers.

import ModelFiles
import Primitives

struct Normalizer: Sendable {
    private static let stepsMax = 16
    private static let contentBytesMax = 64
    /// A text may grow to so many times its length, and a little more; steps stop replacing beyond it.
    private static let growthMax = 32
    private static let growthSpare = 4096

    enum Step: Sendable {
        case prepend([UInt8])
        case replace(SplitPattern, [UInt8])
        case composed
        case decomposed
        case lowercase
        case strip(left: Bool, right: Bool)
        case stripAccents
        case bert(cleans: Bool, chinese: Bool, accents: Bool, lowercase: Bool)
    }

    let steps: [Step]

    init(steps: [Step]) { self.steps = steps }

    init(_ json: JSONValue?, file: String) throws(ModelFault) {
        var steps: [Step] = []
        for item in try StepList.flatten(json, list: "normalizers", file: file) {
            let kind = item["type"]?.text ?? "without a type"
            switch kind {
            case "Prepend":
                let text = Array((item["prepend"]?.text ?? "").utf8)
                guard text.count <= Self.contentBytesMax else {
                    throw .malformed(file: file, reason: "Prepend puts more than \(Self.contentBytesMax) bytes")
                }
                steps.append(.prepend(text))
            case "Replace":
                let content = Array((item["content"]?.text ?? "").utf8)
                guard content.count <= Self.contentBytesMax else {
                    throw .malformed(file: file, reason: "Replace puts more than \(Self.contentBytesMax) bytes")
                }
                steps.append(.replace(try SplitPattern(item["pattern"], file: file), content))
            case "NFC": steps.append(.composed)
            case "NFD": steps.append(.decomposed)
            case "Lowercase": steps.append(.lowercase)
            case "Strip":
                steps.append(
                    .strip(left: item["strip_left"]?.flag ?? true, right: item["strip_right"]?.flag ?? true))
            case "StripAccents": steps.append(.stripAccents)
            case "BertNormalizer":
                let lowercase = item["lowercase"]?.flag ?? true
                steps.append(
                    .bert(
                        cleans: item["clean_text"]?.flag ?? true,
                        chinese: item["handle_chinese_chars"]?.flag ?? true,
                        accents: item["strip_accents"]?.flag ?? lowercase, lowercase: lowercase))
            default: throw .unsupported(file: file, feature: "normalizer \(kind)")
            }
        }
        guard steps.count <= Self.stepsMax else {
            throw .malformed(file: file, reason: "more than \(Self.stepsMax) normalizers")
        }
        self.steps = steps
    }

    func apply(_ text: [UInt8]) -> [UInt8] {
        let most = text.count * Self.growthMax + Self.growthSpare
        var text = text
        for step in steps { text = Self.apply(step, text, bytesMax: most) }
        return text
    }

    private static func apply(_ step: Step, _ text: [UInt8], bytesMax: Int) -> [UInt8] {
        switch step {
        case .prepend(let prefix): return text.isEmpty ? text : prefix + text
        case .replace(let pattern, let content): return pattern.replace(in: text, with: content, bytesMax: bytesMax)
        case .composed: return NormalForm.composed(text)
        case .decomposed: return NormalForm.decomposed(text)
        case .lowercase: return lowercased(text)
        case .strip(let left, let right):
            var scalars = Substring(String(decoding: text, as: UTF8.self)).unicodeScalars
            if left { while scalars.first?.properties.isWhitespace == true { scalars.removeFirst() } }
            if right { while scalars.last?.properties.isWhitespace == true { scalars.removeLast() } }
            return Array(String(scalars).utf8)
        case .stripAccents: return without(text, categories: "M")
        case .bert(let cleans, let chinese, let accents, let lowercase):
            var text = text
            if cleans || chinese { text = cleaned(text, cleans: cleans, chinese: chinese) }
            if accents { text = without(NormalForm.decomposed(text), categories: "Mn") }
            return lowercase ? lowercased(text) : text
        }
    }
    /// Every scalar through `change`, which appends what becomes of it.
    private static func mapped(
        _ text: [UInt8], _ change: (UInt32, UnsafeBufferPointer<UInt8>, inout [UInt8]) -> Void
    ) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(text.count)
        text.withUnsafeBufferPointer { text in
            var at = 0
            while at < text.count {
                let start = at
                let value = UTF8Reading.scalar(text, &at, end: text.count)
                change(value, UnsafeBufferPointer(rebasing: text[start..<at]), &out)
            }
        }
        return out
    }

    private static func lowercased(_ text: [UInt8]) -> [UInt8] {
        mapped(text) { value, character, out in
            if value < 0x80 {
                let isUpper = value >= 0x41 && value <= 0x5a
                out.append(UInt8(truncatingIfNeeded: isUpper ? value + 32 : value))
            } else if let scalar = Unicode.Scalar(value) {
                out += scalar.properties.lowercaseMapping.utf8
            }
        }
    }

    private static func without(_ text: [UInt8], categories: String) -> [UInt8] {
        let mask = ScalarCategory.mask(categories) ?? 0
        return ScalarCategory.basicPlane.withUnsafeBufferPointer { plane in
            mapped(text) { value, character, out in
                let category = ScalarCategory.of(value, plane) & 0x1f
                if mask >> UInt32(category) & 1 == 0 { out += character }
            }
        }
    }

    /// BERT's cleaning: control characters go, white ones become blanks, Chinese ones stand alone.
    private static func cleaned(_ text: [UInt8], cleans: Bool, chinese: Bool) -> [UInt8] {
        let other = ["Cc", "Cf", "Cs", "Co"].reduce(0) { $0 | (ScalarCategory.mask($1) ?? 0) }
        return ScalarCategory.basicPlane.withUnsafeBufferPointer { plane in
            mapped(text) { value, character, out in
                let category = ScalarCategory.of(value, plane)
                if cleans {
                    let isLayout = value == 0x09 || value == 0x0a || value == 0x0d
                    if isLayout || category & ScalarCategory.space != 0 {
                        if isLayout || other >> UInt32(category & 0x1f) & 1 == 0 { out.append(0x20) }
                        return
                    }
                    if value == 0 || value == 0xfffd || other >> UInt32(category & 0x1f) & 1 != 0 { return }
                }
                let isAlone = chinese && isChinese(value)
                if isAlone { out.append(0x20) }
                out += character
                if isAlone { out.append(0x20) }
            }
        }
    }

    private static func isChinese(_ value: UInt32) -> Bool {
        switch value {
        case 0x4e00...0x9fff, 0x3400...0x4dbf, 0x20000...0x2a6df, 0x2a700...0x2b73f, 0x2b740...0x2b81f,
            0x2b920...0x2ceaf, 0xf900...0xfaff, 0x2f800...0x2fa1f:
            true
        default: false
        }
    }
}
