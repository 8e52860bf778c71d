// How a byte-level vocabulary of a GGUF cuts a text into words: the file only names the rule ("tokenizer.ggml.pre").
//
// Source: the expressions of the models' own tokenizer.json, under the names that llama.cpp's llama-vocab.cpp gives them.

/// A rule that GGUF files name.
struct NamedSplit {
    var expressions: [String]
    var takesWholeWords = false
    var addsBegin = false
    var composes = false

    private static let contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
    private static let remainder = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    private static let marked =
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
        + "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    private static let upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
    /// The letters with case that the first DeepSeek tokenizers list one by one.
    private static let cased =
        "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅ"
        + "ὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-"
        + "ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
    private static let lead = "[^\\r\\n\\p{L}\\p{N}]?"

    init?(_ name: String) {
        switch name {
        case "llama-bpe", "llama3", "llama-v3":
            self.init(
                expressions: [Self.contraction + "\\p{N}{1,3}" + Self.remainder], takesWholeWords: true,
                addsBegin: true)
        case "qwen2", "deepseek-r1-qwen", "megrez":
            self.init(expressions: [Self.contraction + "\\p{N}" + Self.remainder], composes: true)
        case "qwen35":
            self.init(
                expressions: [
                    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
                        + "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
                ], composes: true)
        case "chatglm-bpe": self.init(expressions: [Self.contraction + "\\p{N}{1,3}" + Self.remainder])
        case "glm4":
            self.init(expressions: [Self.contraction + "\\p{N}{1,3}" + Self.remainder], takesWholeWords: true)
        case "deepseek-llm":
            self.init(expressions: [
                "[\r\n]", "\\s?[" + Self.cased + "]+", "\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+", "\\s+$",
                "[一-龥ࠀ-一가-\u{d7ff}]+", "\\p{N}+",
            ])
        case "deepseek-coder":
            self.init(expressions: ["[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-\u{d7ff}]+", "\\p{N}"])
        case "deepseek-v3":
            self.init(expressions: ["\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", Self.marked])
        case "gpt-2", "mpt", "olmo", "jais": self.init(expressions: [PreTokenizer.gpt2])
        case "starcoder", "smollm", "refact", "command-r":
            self.init(expressions: ["\\p{N}", PreTokenizer.gpt2])
        case "tekken":
            let word =
                Self.lead + Self.upper + "*" + Self.lower + "+|" + Self.lead + Self.upper + "+" + Self.lower + "*"
            self.init(
                expressions: [
                    word + "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
                ],
                takesWholeWords: true, addsBegin: true)
        default: return nil
        }
    }

    private init(expressions: [String], takesWholeWords: Bool = false, addsBegin: Bool = false, composes: Bool = false)
    {
        self.expressions = expressions
        self.takesWholeWords = takesWholeWords
        self.addsBegin = addsBegin
        self.composes = composes
    }
}
