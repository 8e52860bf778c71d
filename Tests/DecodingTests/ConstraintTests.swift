import Foundation
import Primitives
import Testing

@testable import Decoding

@Suite struct ConstraintTests {
    static let vocabulary = TestVocabulary(words: 900)

    private struct Entry {
        let source: JSONValue
        let grammar: Grammar
        let valid: [String]
        let invalid: [String]
    }

    private func entries() throws -> [Entry] {
        try (try json("schemas.json").items ?? []).map { entry in
            let schema = entry["schema"] ?? .null
            return Entry(
                source: schema, grammar: try Grammar.schema(schema),
                valid: (entry["valid"]?.items ?? []).compactMap(\.text),
                invalid: (entry["invalid"]?.items ?? []).compactMap(\.text))
        }
    }

    // MARK: Masks

    /// A mask is right when it allows just the tokens that can be accepted.
    private func faults(_ constraint: Constraint, _ mask: TokenMask) -> Int {
        var faults = 0
        for token in 0..<Int32(Self.vocabulary.texts.count) {
            var copy = constraint
            var isAccepted = true
            do { try copy.accept(token) } catch { isAccepted = false }
            if isAccepted != mask.contains(token) { faults += 1 }
        }
        return faults
    }

    @Test func masksAllowWhatCanBeAccepted() throws {
        var random = SeededRandom(seed: 11), choices = random.fork(), checked = 0
        for entry in try entries() {
            for _ in 0..<3 {
                var visits = 0
                _ = try walk(Self.vocabulary, entry.grammar, &random, steps: 60) { constraint, mask in
                    visits += 1
                    guard visits <= 8 || choices.below(6) == 0 else { return }
                    checked += 1
                    #expect(faults(constraint, mask) == 0, "\(entry.source.serializedText)")
                }
            }
        }
        #expect(checked > 500)
    }

    @Test func aWrongMaskIsSeen() throws {
        var constraint = try Self.vocabulary.constraint(try Grammar.json(.object))
        var mask = try constraint.allowed()
        #expect(faults(constraint, mask) == 0)
        mask.insert(77)
        #expect(faults(constraint, mask) == 1)
    }

    @Test func longTextsShareMasksAndForgetNothing() throws {
        // Counted texts whose copies stand in for one another, and enough states to make the recogniser forget.
        var random = SeededRandom(seed: 2), choices = random.fork()
        let grammar = try Grammar.schema(
            .object(["type": .string("string"), "minLength": .integer(300), "maxLength": .integer(900)]))
        var lengths: [Int] = []
        for _ in 0..<4 {
            guard
                let text = try walk(
                    Self.vocabulary, grammar, &random, steps: 2000,
                    visit: { constraint, mask in
                        if choices.below(12) == 0 { #expect(faults(constraint, mask) == 0) }
                    })
            else { continue }
            lengths.append(try JSONValue.parse(text).text?.unicodeScalars.count ?? 0)
        }
        #expect(!lengths.isEmpty && lengths.allSatisfy { (300...900).contains($0) })
    }

    // MARK: Schemas

    @Test func instancesAreJudgedAsByJsonschema() throws {
        for entry in try entries() {
            for text in entry.valid {
                #expect(
                    try Self.vocabulary.takes(text, entry.grammar), "\(entry.source.serializedText) refuses \(text)")
            }
            for text in entry.invalid {
                #expect(
                    try !Self.vocabulary.takes(text, entry.grammar), "\(entry.source.serializedText) takes \(text)")
            }
        }
    }

    /// The verdict of the Python package on walks; nil where it is not installed.
    private func judge(_ lines: [(schema: JSONValue, text: [UInt8])]) throws -> [String]? {
        let python = ProcessInfo.processInfo.environment["OPENLEDGER_JSONSCHEMA_PYTHON"] ?? "python3"
        func run(_ arguments: [String], input: Data) throws -> (status: Int32, output: String) {
            let file = FileManager.default.temporaryDirectory.appending(path: "walks-\(UUID().uuidString)")
            try input.write(to: file)
            defer { try? FileManager.default.removeItem(at: file) }
            let process = Process(), output = Pipe()
            process.executableURL = URL(filePath: "/usr/bin/env")
            process.arguments = [python] + arguments
            process.standardInput = try FileHandle(forReadingFrom: file)
            process.standardOutput = output
            process.standardError = FileHandle.nullDevice
            try process.run()
            let data = output.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return (process.terminationStatus, String(decoding: data, as: UTF8.self))
        }
        guard try run(["-c", "import jsonschema"], input: Data()).status == 0 else { return nil }
        var input: [UInt8] = []
        for line in lines {
            let text = String(decoding: line.text, as: UTF8.self)
            input += JSONValue.object(["schema": line.schema, "text": .string(text)]).serialized() + [0x0a]
        }
        let (status, output) = try run([fixtures.appending(path: "check_walks.py").path], input: Data(input))
        #expect(status == 0)
        return output.split(separator: "\n").map(String.init)
    }

    @Test func everyWalkThroughTheMaskIsValid() throws {
        var random = SeededRandom(seed: 41)
        var lines: [(schema: JSONValue, text: [UInt8])] = [], unfinished = 0
        for entry in try entries() {
            for _ in 0..<60 {
                guard let text = try walk(Self.vocabulary, entry.grammar, &random) else {
                    unfinished += 1
                    continue
                }
                #expect(String(validating: text, as: UTF8.self) != nil, "half a character was let through")
                lines.append((entry.source, text))
            }
        }
        #expect(lines.count > 2500, "\(unfinished) walks did not end")
        guard let invalid = try judge(lines) else {
            Issue.record("skipped: python3 has no jsonschema package; pip install jsonschema", severity: .warning)
            return
        }
        #expect(invalid.isEmpty, "\(invalid.count) of \(lines.count) are invalid; \(invalid.first ?? "")")
        // A canary: judged by a tighter schema, some walks must fail.
        let tight = lines.map { line -> (schema: JSONValue, text: [UInt8]) in
            guard case .members(let members) = line.schema, line.schema["maximum"] != nil else { return line }
            return (.members(members.filter { $0.key != "maximum" } + [JSONMember("maximum", .integer(-1))]), line.text)
        }
        #expect(try judge(tight)?.isEmpty == false)
    }

    // MARK: Edges

    @Test func partsOfCharactersAreFollowed() throws {
        let grammar = try Grammar.schema(.object(["const": .string("€😀")]))
        let vocabulary = Self.vocabulary
        func id(_ bytes: [UInt8]) -> Int32 { Int32(vocabulary.texts.firstIndex(of: bytes) ?? -1) }
        var constraint = try vocabulary.constraint(grammar)
        for piece: [UInt8] in [[0x22], [0xe2, 0x82], [0xac], [0xf0, 0x9f], [0x98], [0x80], [0x22]] {
            let mask = try constraint.allowed()
            #expect(mask.contains(id(piece)))
            #expect(!constraint.isComplete && !mask.contains(TestVocabulary.end))
            try constraint.accept(id(piece))
        }
        #expect(constraint.isComplete && constraint.isExhausted)
        let last = try constraint.allowed()
        #expect(last.count == 1 && last.contains(TestVocabulary.end))
        try constraint.accept(TestVocabulary.end)
        #expect(throws: ConstraintFault.notAllowed(token: id([0x22]))) { try constraint.accept(id([0x22])) }
    }

    @Test func copiesGoTheirOwnWay() throws {
        var first = try Self.vocabulary.constraint(try Grammar.gbnf("root ::= \"a\" | \"bb\""))
        var second = first
        try first.accept(Int32(UInt8(ascii: "a")) + 1)
        try second.accept(Int32(UInt8(ascii: "b")) + 1)
        #expect(first.isExhausted && !second.isComplete)
    }

    @Test func theBlankThatIsNotShownIsNotRead() throws {
        let vocabulary = TestVocabulary(words: 900, dropsFirstBlank: true)
        var constraint = try vocabulary.constraint(try Grammar.gbnf("root ::= \"true\" | \"x\""))
        func id(_ text: String) -> Int32 { Int32(vocabulary.texts.firstIndex(of: Array(text.utf8)) ?? -1) }
        let mask = try constraint.allowed()
        #expect(mask.contains(id(" true")) && mask.contains(id("true")) && mask.contains(id(" ")))
        try constraint.accept(id(" true"))
        #expect(constraint.isComplete)
        var plain = try vocabulary.constraint(try Grammar.gbnf("root ::= \"x\" \" true\""))
        try plain.accept(id("x"))
        #expect(try plain.allowed().contains(id(" true")))
    }

    @Test func aVocabularyWithoutTheBytesIsNamed() throws {
        let poor = VocabularyTrie(vocabulary: 3) { [[], [0x61], [0x62]][Int($0)] }
        var constraint = try Constraint(try Grammar.gbnf("root ::= \"z\""), vocabulary: poor, ends: [0])
        #expect(throws: ConstraintFault.noTokenFits) { try constraint.allowed() }
    }

    // MARK: Refusals

    private static let refused: [(String, String)] = [
        (##"{"type":"object","properties":{"a":{"type":"string","format":"color"}}}"##, "#/properties/a/format"),
        (##"{"not":{"type":"string"}}"##, "#/not"),
        (##"{"type":"array","uniqueItems":true}"##, "#/uniqueItems"),
        (##"{"type":"object","patternProperties":{"^a":{}}}"##, "#/patternProperties"),
        (##"{"type":"string","pattern":"(?=a)b"}"##, "#"),
        (##"{"type":"string","pattern":"(a)\\1"}"##, "#"),
        (##"{"type":"number","multipleOf":0.1}"##, "#/multipleOf"),
        (##"{"$ref":"http://example.com/schema"}"##, "#/$ref"),
        (##"{"$ref":"#/$defs/nothing"}"##, "#/$ref"),
        (##"{"$defs":{"a":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}"##, "#/$defs/a"),
        (##"{"type":"object","properties":{"me":{"$ref":"#"}},"required":["me"],"additionalProperties":false}"##, "#"),
        (##"{"type":"colour"}"##, "#/type"),
        (##"{"type":"string","enum":["a"],"minLength":3}"##, "#"),
        (##"{"type":"string","maxLength":100000000}"##, "#"),
        (##"{"type":"array","minItems":100000000}"##, "#"),
        (##"{"enum":[]}"##, "#/enum"),
        (##"{"type":"string","minLength":-1}"##, "#/minLength"),
        (##"{"properties":[]}"##, "#/properties"),
        (##"{"required":"a"}"##, "#/required"),
        (##"{"items":[{"type":"string"}]}"##, "#/items"),
        (##"{"anyOf":[]}"##, "#/anyOf"),
        ("5", "#"),
        (##"{"type":"integer","minimum":5,"maximum":4}"##, "#"),
    ]

    @Test(arguments: refused)
    func refusalsPointIntoTheSchema(_ schema: String, _ place: String) throws {
        let value = try JSONValue.parse(schema)
        do throws(GrammarFault) {
            _ = try Grammar.schema(value)
            Issue.record("taken: \(schema)")
        } catch {
            #expect(error.place == place, "\(error)")
            #expect(error.reason.count > 15)
        }
    }
}
