// The tokens that a file puts around a text.
//
// Source: github.com/huggingface/tokenizers, processors.

import ModelFiles
import Primitives

struct TokenTemplate: Hashable, Sendable {
    private static let idsMax = 64

    var prefix: [Int32] = []
    var suffix: [Int32] = []

    init(prefix: [Int32] = [], suffix: [Int32] = []) {
        self.prefix = prefix
        self.suffix = suffix
    }

    init(_ json: JSONValue?, vocabulary: TokenTable, file: String) throws(ModelFault) {
        for step in try StepList.flatten(json, list: "processors", file: file) {
            let kind = step["type"]?.text ?? "without a type"
            switch kind {
            case "ByteLevel": break
            case "TemplateProcessing": try add(step, vocabulary, file)
            case "BertProcessing", "RobertaProcessing":
                prefix = [try Self.pair(step["cls"], "cls", vocabulary, file)] + prefix
                suffix.append(try Self.pair(step["sep"], "sep", vocabulary, file))
            default: throw .unsupported(file: file, feature: "post-processor \(kind.prefix(40))")
            }
        }
        guard prefix.count + suffix.count <= Self.idsMax else {
            throw .malformed(file: file, reason: "the template puts more than \(Self.idsMax) tokens around a text")
        }
        if let id = (prefix + suffix).first(where: { vocabulary.text($0) == nil }) {
            throw .malformed(
                file: file, reason: "the template puts token \(id) around a text, which the vocabulary does not have")
        }
    }

    private mutating func add(_ step: JSONValue, _ vocabulary: TokenTable, _ file: String) throws(ModelFault) {
        var before: [Int32] = [], behind: [Int32] = [], seen = false
        for item in step["single"]?.items ?? [] {
            if let sequence = item["Sequence"] {
                guard !seen, sequence["id"]?.text ?? "A" == "A" else {
                    throw .unsupported(file: file, feature: "a template that takes the text twice")
                }
                seen = true
                continue
            }
            guard let name = item["SpecialToken"]?["id"]?.text else {
                throw .malformed(file: file, reason: "the template has a part that is neither text nor token")
            }
            var ids: [Int32] = []
            for id in step["special_tokens"]?[name]?["ids"]?.items ?? [] {
                guard let id = id.count, id < TokenizerLimit.tokensMax else {
                    throw .malformed(file: file, reason: "the template's \"\(name.prefix(40))\" has a bad id")
                }
                ids.append(Int32(id))
            }
            if ids.isEmpty { ids = vocabulary.id(name).map { [$0] } ?? [] }
            guard !ids.isEmpty, ids.count <= Self.idsMax else {
                throw .malformed(file: file, reason: "the template names \"\(name.prefix(40))\", which does not exist")
            }
            if seen { behind += ids } else { before += ids }
        }
        guard seen else { throw .malformed(file: file, reason: "the template leaves the text out") }
        prefix = before + prefix
        suffix += behind
    }

    private static func pair(
        _ json: JSONValue?, _ key: String, _ vocabulary: TokenTable, _ file: String
    ) throws(ModelFault) -> Int32 {
        guard let id = json?.items?.dropFirst().first?.count, id < TokenizerLimit.tokensMax else {
            throw .malformed(file: file, reason: "the post-processor's \"\(key)\" is no pair of text and id")
        }
        return Int32(id)
    }
}
