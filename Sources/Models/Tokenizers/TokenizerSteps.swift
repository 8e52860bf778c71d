// The steps around the merges that tokenizer.json spells out: normalisers, pre-tokenizers, decoders and the template of
// special tokens. Only combinations that the supported families use are understood; any other is refused by name.

package import ModelFiles
import Primitives

enum TokenizerSteps {
    /// A step or a sequence of steps, flattened.
    private static func steps(_ json: JSONValue?, _ list: String) -> [JSONValue] {
        guard let json, !json.isNull else { return [] }
        if json["type"]?.text == "Sequence" { return json[list]?.items ?? [] }
        return [json]
    }

    static func scheme(_ json: JSONValue, file: String) throws(ModelFault) -> Tokenizer.Scheme {
        var rule: SplitRule?, byteLevel = false, prefixSpace = false, composes = false
        var marking: Tokenizer.Marking?
        for step in steps(json["normalizer"], "normalizers") {
            switch step["type"]?.text {
            case "Prepend" where step["prepend"]?.text == "▁": marking = .always
            case "Replace" where step["pattern"]?["String"]?.text == " " && step["content"]?.text == "▁":
                marking = marking ?? Tokenizer.Marking.none
            case "NFC": composes = true
            case let kind: throw .unsupported(file: file, feature: "normalizer \(kind ?? "without a type")")
            }
        }
        for step in steps(json["pre_tokenizer"], "pretokenizers") {
            switch step["type"]?.text {
            case "Split" where step["invert"]?.flag != true:
                let isolated = step["behavior"]?.text == "Isolated"
                if let expression = step["pattern"]?["Regex"]?.text, isolated, rule == nil {
                    guard let known = SplitRule(expression: expression) else {
                        throw .unsupported(file: file, feature: "split expression \(expression)")
                    }
                    rule = known
                } else if step["pattern"]?["String"]?.text == " ", marking != nil {
                    // Blanks are marks by now: nothing is left to split at (Gemma).
                } else {
                    throw .unsupported(file: file, feature: "this Split pre-tokenizer")
                }
            case "ByteLevel":
                byteLevel = true
                prefixSpace = step["add_prefix_space"]?.flag ?? true
                if step["use_regex"]?.flag ?? true {
                    guard rule == nil else {
                        throw .unsupported(file: file, feature: "ByteLevel's split after another")
                    }
                    rule = .gpt2
                }
            case "Metaspace" where step["replacement"]?.text == "▁" && step["split"]?.flag == false:
                switch step["prepend_scheme"]?.text {
                case "first": marking = .first
                case "never": marking = Tokenizer.Marking.none
                case let other: throw .unsupported(file: file, feature: "Metaspace prepend_scheme \(other ?? "unset")")
                }
            case let kind: throw .unsupported(file: file, feature: "pre-tokenizer \(kind ?? "without a type")")
            }
        }
        switch (byteLevel, marking, rule) {
        case (true, nil, let rule?): return .byteLevel(rule, prefixSpace: prefixSpace, composes: composes)
        case (false, let marking?, nil) where !composes: return .blankMarks(marking)
        default: throw .unsupported(file: file, feature: "this combination of normalizer and pre-tokenizer")
        }
    }

    static func stripsFirstBlank(
        _ json: JSONValue, scheme: Tokenizer.Scheme, file: String
    ) throws(ModelFault) -> Bool {
        var strips = false
        for step in steps(json["decoder"], "decoders") {
            switch (step["type"]?.text, scheme) {
            case ("ByteLevel", .byteLevel): break
            case ("Replace", .blankMarks) where step["pattern"]?["String"]?.text == "▁" && step["content"]?.text == " ":
                break
            case ("ByteFallback", .blankMarks), ("Fuse", .blankMarks): break
            case ("Strip", .blankMarks)
            where step["content"]?.text == " " && step["start"]?.count == 1
                && step["stop"]?.count == 0:
                strips = true
            case (let kind, _): throw .unsupported(file: file, feature: "decoder \(kind ?? "without a type")")
            }
        }
        return strips
    }

    /// The ids before and after a single text.
    static func template(
        _ json: JSONValue?, ids: [[UInt8]: Int32], file: String
    ) throws(ModelFault) -> ([Int32], [Int32]) {
        var prefix: [Int32] = [], suffix: [Int32] = []
        for step in steps(json, "processors") {
            switch step["type"]?.text {
            case "ByteLevel": break
            case "TemplateProcessing":
                var seen = false
                for item in step["single"]?.items ?? [] {
                    if item["Sequence"] != nil {
                        seen = true
                    } else if let name = item["SpecialToken"]?["id"]?.text, let id = ids[Array(name.utf8)] {
                        if seen { suffix.append(id) } else { prefix.append(id) }
                    } else {
                        throw .malformed(file: file, reason: "the template names a token that does not exist")
                    }
                }
            case let kind: throw .unsupported(file: file, feature: "post-processor \(kind ?? "without a type")")
            }
        }
        return (prefix, suffix)
    }
}
