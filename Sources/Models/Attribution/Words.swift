// The tokeniser of retrieval: words as runs of letters and digits, lower case, a few function words left out. Every peer
// must cut the same text into the same words, so it uses Unicode properties only, no locale, no library's word breaker.

/// Version 1 of the tokeniser; its number is part of the index commitment.
package enum Words {
    package static let version: UInt64 = 1
    /// Words beyond these are not indexed; a longer word counts by its beginning.
    package static let bytesMax = 64

    /// Words that say nothing at all.
    static let stop: Set<String> = [
        "a", "an", "and", "as", "at", "be", "by", "for", "from", "in", "it", "its", "of", "on", "or", "that", "the",
        "to",
        "with",
    ]

    /// Words of the question's form. They tell rows about one thing apart ("What is …", "What kind of …"), but
    /// a row that has nothing else in common with the question is no answer to it.
    static let framing: Set<String> = [
        "about", "are", "define", "describe", "do", "does", "explain", "how", "is", "kind", "mean", "means", "sentence",
        "tell", "thing", "use", "was", "were", "what", "which", "who", "why",
    ]

    package static func split(_ text: String) -> [String] {
        var words: [String] = []
        var word = ""
        func isPart(_ scalar: Unicode.Scalar) -> Bool {
            switch scalar.properties.generalCategory {
            case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .nonspacingMark,
                .spacingMark, .decimalNumber, .letterNumber, .otherNumber:
                true
            default: false
            }
        }
        func end() {
            if !word.isEmpty, !stop.contains(word) { words.append(word) }
            word = ""
        }
        for scalar in text.unicodeScalars {
            if isPart(scalar) {
                if word.utf8.count < bytesMax { word += scalar.properties.lowercaseMapping }
            } else if scalar != "'" && scalar != "\u{2019}" {
                // An apostrophe joins: "child's" is one word, "childs".
                end()
            }
        }
        end()
        return words
    }
}
