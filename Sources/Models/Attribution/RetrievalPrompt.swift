// The one form in which passages go before a question. The starter model was trained on exactly this, and the
// commitment to the prompt in a receipt is over these bytes.

package enum RetrievalPrompt {
    /// "Context:\n1. …\n2. …\n\n<question>"; the question alone when there is no passage. Line breaks inside a passage
    /// become spaces, so that a row cannot pass itself off as two, or as the question.
    package static func build(passages: [String], question: String) -> String {
        guard !passages.isEmpty else { return question }
        var text = "Context:\n"
        for (index, passage) in passages.prefix(RetrievalLimits.passagesMax).enumerated() {
            let line = passage.split(whereSeparator: \.isNewline).joined(separator: " ")
            text += "\(index + 1). \(line)\n"
        }
        return text + "\n" + question
    }
}
