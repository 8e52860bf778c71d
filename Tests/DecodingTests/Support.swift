// Vocabularies, walks and fixtures that the tests of decoding share.

import Foundation
import Primitives
import Testing

@testable import Decoding

let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
let fixtures = repository.appending(path: "Tests/Fixtures/decoding")

func json(_ name: String) throws -> JSONValue {
    try JSONValue.parse([UInt8](Data(contentsOf: fixtures.appending(path: name))))
}

/// Tokens as a tokenizer has them: all bytes, words, punctuation in runs, pieces of characters.
struct TestVocabulary {
    /// The token that ends an answer; it has no text.
    static let end: Int32 = 0
    let texts: [[UInt8]]
    let trie: VocabularyTrie

    init(words: Int, seed: UInt64 = 1, dropsFirstBlank: Bool = false) {
        var texts: [[UInt8]] = [[]], seen: Set<[UInt8]> = []
        func add(_ bytes: [UInt8]) { if seen.insert(bytes).inserted { texts.append(bytes) } }
        for byte in 0...255 { add([UInt8(byte)]) }
        for text in [
            "{\"", "\":", "\": ", "\",", "\", \"", "\"}", "},", "}]", "[[", "[]", "{}", "]}", "\n  ", "  ", "\n",
            "\\\"",
            "\\n", "\\u00", "\\u", "true", "false", "null", " true", "tr", "ue", "nu", "ll", "12", "007", "0.", "-1",
            "e5",
            ".25", "é", "€", "😀", " é", "日本", "\" ", "a\"", "ab", "name", "\"name\"", "age", "kind", "cat", "next",
            "value",
            "202", "-0", "4-", "T1", ":00", "Z\"", "@", ".co", "::", "fe80",
        ] { add(Array(text.utf8)) }
        add([0xe2, 0x82])
        add([0xac, 0x22])
        add([0xf0, 0x9f])
        add([0x98, 0x80, 0x20])
        var random = SeededRandom(seed: seed)
        let letters = Array("etaoinshrdlucmfwypvbgkjqxz".utf8)
        while texts.count < words {
            var word: [UInt8] = random.below(2) == 0 ? [0x20] : []
            for _ in 0..<(2 + random.below(9)) {
                word.append(letters[Int(min(random.below(26), random.below(26)))])
            }
            if random.below(12) == 0 { word += Array(["\"", "\",", ".", ":", "\n"][Int(random.below(5))].utf8) }
            add(word)
        }
        self.texts = texts
        trie = VocabularyTrie(vocabulary: texts.count, dropsFirstBlank: dropsFirstBlank) { [texts] in texts[Int($0)] }
    }

    func constraint(_ grammar: Grammar) throws -> Constraint {
        try Constraint(grammar, vocabulary: trie, ends: [Self.end])
    }

    /// The tokens of a text, longest first.
    func encode(_ text: [UInt8]) -> [Int32] {
        let ids = Dictionary(uniqueKeysWithValues: texts.enumerated().map { ($1, Int32($0)) })
        var tokens: [Int32] = [], at = 0
        while at < text.count {
            var length = min(12, text.count - at)
            while length > 1, ids[Array(text[at..<at + length])] == nil { length -= 1 }
            tokens.append(ids[Array(text[at..<at + length])] ?? 0)
            at += length
        }
        return tokens
    }

    /// Whether a text, cut into tokens, is one that the grammar takes as a whole.
    func takes(_ text: String, _ grammar: Grammar) throws -> Bool {
        try takes(Array(text.utf8), grammar)
    }

    func takes(_ text: [UInt8], _ grammar: Grammar) throws -> Bool {
        var answers: [Bool] = []
        for tokens in [encode(text), text.map { Int32($0) + 1 }] {
            var constraint = try constraint(grammar)
            do {
                for token in tokens { try constraint.accept(token) }
                answers.append(constraint.isComplete)
            } catch {
                answers.append(false)
            }
        }
        #expect(answers[0] == answers[1], "how a text is cut into tokens changed the verdict")
        return answers[0]
    }
}

/// Chooses among allowed tokens until the grammar lets the text end; nil where it did not come to an end.
func walk(
    _ vocabulary: TestVocabulary, _ grammar: Grammar, _ random: inout SeededRandom, steps: Int = 250,
    visit: (inout Constraint, TokenMask) throws -> Void = { _, _ in }
) throws -> [UInt8]? {
    var constraint = try vocabulary.constraint(grammar)
    var text: [UInt8] = []
    let closers = Set(Array("\"}],:0".utf8))
    for step in 0..<steps {
        let mask = try constraint.allowed()
        try visit(&constraint, mask)
        if mask.contains(TestVocabulary.end), random.below(3) == 0 || constraint.isExhausted { return text }
        var choices = (0..<Int32(vocabulary.texts.count)).filter { mask.contains($0) && $0 != TestVocabulary.end }
        if random.below(100) < 20 + UInt64(step) {
            let short = choices.filter { vocabulary.texts[Int($0)].first.map(closers.contains) ?? false }
            if !short.isEmpty { choices = short }
        }
        guard !choices.isEmpty else { return constraint.isComplete ? text : nil }
        let token = choices[Int(random.below(UInt64(choices.count)))]
        try constraint.accept(token)
        text += vocabulary.texts[Int(token)]
    }
    return constraint.isComplete ? text : nil
}
