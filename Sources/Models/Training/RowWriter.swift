// Rows of a datanet, or of a file, as tokens and labels. A pair is what a chat of that prompt and completion would be: the
// model's template around the prompt, the completion, the token that ends an answer; the completion and that token are scored.
// A text is scored whole. A row of token ids is taken as it stands.

package import Datanets
package import Inference
import Primitives
import Tokenizers

package struct RowWriter {
    private let tokenizer: Tokenizer?
    private let template: ChatTemplate?
    private let endToken: Int32?
    private let vocabulary: Int
    /// Tokens of a row at most; what is longer is cut.
    package let tokensMax: Int
    /// Rows that were cut.
    package private(set) var cutCount = 0

    package init(model: LoadedModel) { self.init(base: TrainingBase(model)) }

    package init(base: TrainingBase) {
        tokenizer = base.tokenizer
        template = base.template
        endToken = base.tokenizer?.endToken ?? base.config.endTokens.first
        vocabulary = base.config.vocabulary
        tokensMax = min(TrainingLimit.rowTokensMax, base.config.contextTokens)
    }

    package mutating func row(_ content: RowContent) throws(TrainingFault) -> TrainingRow {
        guard let tokenizer else { throw .rows("this model has no tokenizer; give rows as input_ids and labels") }
        let end = endToken.map { [$0] } ?? []
        switch content {
        case .text(let text):
            let tokens = tokenizer.encode(text, addSpecial: true) + end
            return cut(TrainingRow(tokens: tokens, labels: tokens.map { $0 }))
        case .pair(let prompt, let completion):
            let before: [Int32]
            if let template {
                do {
                    let text = try template.render([ChatMessage(role: "user", content: prompt)])
                    before = tokenizer.encode(text, addSpecial: false)
                } catch {
                    throw .rows("the model's chat template refuses a prompt: \(error)")
                }
            } else {
                before = tokenizer.encode(prompt, addSpecial: true)
            }
            let after = tokenizer.encode(completion, addSpecial: false) + end
            return cut(TrainingRow(tokens: before + after, labels: before.map { _ in nil } + after.map { $0 }))
        }
    }

    private mutating func cut(_ row: TrainingRow) -> TrainingRow {
        guard row.tokens.count > tokensMax else { return row }
        cutCount += 1
        return TrainingRow(tokens: Array(row.tokens.prefix(tokensMax)), labels: Array(row.labels.prefix(tokensMax)))
    }

    // MARK: JSON lines

    /// Bytes of a line of token ids at most.
    private static let lineLimits = JSONLimits(
        bytesMax: 1 << 20, depthMax: 4, valuesMax: 4 * TrainingLimit.rowTokensMax)

    /// Whether a file's rows are token ids, by its first line.
    package static func holdsTokens(_ bytes: [UInt8]) -> Bool {
        guard let first = bytes.split(separator: 0x0a).first,
            let value = try? JSONValue.parse(Array(first), limits: lineLimits)
        else { return false }
        return value["input_ids"] != nil
    }

    /// Rows of `input_ids` and `labels`, -100 for what is not scored; without labels everything is. `attention_mask`, where it
    /// stands, ends a row at its first 0.
    package mutating func tokenRows(_ bytes: [UInt8], file: String) throws(TrainingFault) -> [TrainingRow] {
        var rows: [TrainingRow] = [], line = 0
        for slice in bytes.split(separator: 0x0a, omittingEmptySubsequences: false) {
            line += 1
            guard slice.contains(where: { $0 != 0x20 && $0 != 0x0d && $0 != 0x09 }) else { continue }
            guard rows.count < TrainingLimit.rowsMax else {
                throw .rows("\(file):\(line): more than \(TrainingLimit.rowsMax) rows")
            }
            let value: JSONValue
            do {
                value = try JSONValue.parse(Array(slice), limits: Self.lineLimits)
            } catch {
                throw .rows("\(file):\(line): column \(error.column): \(error.reason)")
            }
            rows.append(cut(try tokenRow(value, at: "\(file):\(line)")))
        }
        return rows
    }

    private func tokenRow(_ value: JSONValue, at place: String) throws(TrainingFault) -> TrainingRow {
        guard let items = value["input_ids"]?.items else {
            throw .rows("\(place): \"input_ids\" is missing or no list of token ids")
        }
        var tokens: [Int32] = []
        for item in items {
            guard let id = item.integer, (0..<vocabulary).contains(id) else {
                throw .rows("\(place): \"input_ids\" holds what is no token of this model: \(item.serializedText)")
            }
            tokens.append(Int32(id))
        }
        var labels: [Int32?] = tokens.map { $0 }
        if let given = value["labels"], !given.isNull {
            guard let items = given.items, items.count == tokens.count else {
                throw .rows("\(place): \"labels\" is no list as long as \"input_ids\"")
            }
            for (index, item) in items.enumerated() {
                guard let id = item.integer, id == -100 || (0..<vocabulary).contains(id) else {
                    throw .rows("\(place): \"labels\" holds neither -100 nor a token: \(item.serializedText)")
                }
                labels[index] = id == -100 ? nil : Int32(id)
            }
        }
        if let mask = value["attention_mask"]?.items {
            guard mask.count == tokens.count else {
                throw .rows("\(place): \"attention_mask\" is not as long as \"input_ids\"")
            }
            let count = mask.firstIndex { $0.integer == 0 } ?? tokens.count
            guard mask[count...].allSatisfy({ $0.integer == 0 }) else {
                throw .rows("\(place): \"attention_mask\" has a 1 behind a 0; only padding on the right is taken")
            }
            return TrainingRow(tokens: Array(tokens[..<count]), labels: Array(labels[..<count]))
        }
        return TrainingRow(tokens: tokens, labels: labels)
    }
}
