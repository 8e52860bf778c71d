import Primitives
import Testing

@testable import Decoding

/// Whatever is asked, the answer is a grammar or a fault, in bounded time and memory.
@Suite struct HostileGrammarTests {
    private let vocabulary = ConstraintTests.vocabulary

    /// Compiles and takes some steps; answers whether anything was refused.
    private func survive(_ make: () throws -> Grammar, _ random: inout SeededRandom) -> Bool {
        do {
            let grammar = try make()
            #expect(grammar.nodeCount <= GrammarLimit.nodesMax)
            _ = try walk(vocabulary, grammar, &random, steps: 12)
            return false
        } catch {
            return true
        }
    }

    @Test func knownWaysToExplode() throws {
        var random = SeededRandom(seed: 1)
        let deep = String(repeating: "(", count: 5000) + "\"a\"" + String(repeating: ")", count: 5000)
        let towers = "root ::= (((\"a\"{1000}){1000}){1000}){1000}"
        let left = "root ::= a\na ::= b? a \"x\" | \"y\"\nb ::= \"b\""
        let mutual = "root ::= a\na ::= b\nb ::= a | \"z\""
        for text in [
            "root ::= \(deep)", towers, left, mutual, "root ::= root", "root ::= nothing", "a ::= \"b\"", "root",
        ] {
            #expect(survive({ try Grammar.gbnf(text) }, &random), "\(text.prefix(60))")
        }
        // Ambiguous without end: the number of readings doubles with each byte, the number of places must not.
        let ambiguous = "root ::= s\ns ::= \"a\" s | \"a\" s | \"a\" s \"a\" s | \"a\""
        var constraint = try vocabulary.constraint(try Grammar.gbnf(ambiguous))
        for _ in 0..<60 { try constraint.accept(Int32(UInt8(ascii: "a")) + 1) }
        #expect(constraint.isComplete)
        // Many counters at once: taken, and each step is a step.
        _ = survive({ try Grammar.gbnf("root ::= (\"a\"{1,300} | \"aa\"{1,300} | [a-c]{1,300}){1,300}") }, &random)
        var nested: JSONValue = .object(["type": .string("string")])
        for _ in 0..<200 { nested = .object(["type": .string("array"), "items": nested]) }
        #expect(survive({ try Grammar.schema(nested) }, &random))
        let branches = JSONValue.array((0..<60).map { .object(["const": .integer($0)]) })
        let product = JSONValue.object([
            "allOf": .array((0..<6).map { _ in .object(["anyOf": branches]) })
        ])
        #expect(survive({ try Grammar.schema(product) }, &random))
        let pattern = JSONValue.object(["type": .string("string"), "pattern": .string("^((a{1,99}){1,99}){1,99}$")])
        #expect(survive({ try Grammar.schema(pattern) }, &random))
    }

    @Test func nestingStopsBeforeTheStackIsUnbounded() throws {
        var constraint = try vocabulary.constraint(try Grammar.json(.value))
        let open = Int32(UInt8(ascii: "[")) + 1
        var depth = 0
        while try constraint.allowed().contains(open), depth < 10_000 {
            try constraint.accept(open)
            depth += 1
        }
        #expect((30..<GrammarLimit.callDepthMax).contains(depth))
        for _ in 0..<depth { try constraint.accept(Int32(UInt8(ascii: "]")) + 1) }
        #expect(constraint.isComplete)
    }

    @Test func randomGrammarsAreTakenOrRefused() {
        var random = SeededRandom(seed: 77), refused = 0
        let parts = [
            "root", " ::= ", "a", "b", "\"x\"", "[a-z]", "[^\"]", "(", ")", "|", "*", "+", "?", "{2}", "{1,}", "{0,9}",
            "\n",
            " ", "\\", "\"", "]", ".", "#c\n", "\"\\u00e9\"", "root ::= a\n", "a ::= ", "\nb ::= ",
        ]
        for _ in 0..<1500 {
            var text = random.below(2) == 0 ? "root ::= " : ""
            for _ in 0..<random.below(30) { text += parts[Int(random.below(UInt64(parts.count)))] }
            if survive({ try Grammar.gbnf(text) }, &random) { refused += 1 }
        }
        #expect(refused > 100 && refused < 1500)
    }

    @Test func randomSchemasAreTakenOrRefused() {
        var random = SeededRandom(seed: 78), refused = 0
        let words = [
            "type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems",
            "minItems",
            "maxItems", "minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum",
            "anyOf",
            "oneOf", "allOf", "$ref", "$defs", "nullable", "not", "title",
        ]
        func value(_ depth: Int) -> JSONValue {
            switch random.below(depth > 4 ? 6 : 10) {
            case 0: return .integer(Int64(random.below(40)) - 4)
            case 1:
                return .string(
                    ["#", "#/$defs/a", "string", "object", "array", "integer", "date", "^a+$", "a"][
                        Int(random.below(9))])
            case 2: return .bool(random.below(2) == 0)
            case 3: return .number(["1e3", "-0.5", "12345678901234567890", "1e400"][Int(random.below(4))])
            case 4: return .null
            case 5: return .array([])
            case 6, 7: return .array((0..<random.below(4)).map { _ in value(depth + 1) })
            default:
                var members: [JSONMember] = []
                for _ in 0..<random.below(4) {
                    let key = random.below(6) == 0 ? "a" : words[Int(random.below(UInt64(words.count)))]
                    if !members.contains(where: { $0.key == key }) { members.append(JSONMember(key, value(depth + 1))) }
                }
                return .members(members)
            }
        }
        for _ in 0..<3000 {
            let schema = value(0)
            if survive({ try Grammar.schema(schema) }, &random) { refused += 1 }
        }
        #expect(refused > 500 && refused < 3000)
    }
}
