// What nobody should be able to do: make a tokenizer trap, hang or fill the memory, by its file or by a text.

import ModelFiles
import Primitives
import Testing

@testable import Tokenizers

@Suite struct HostileTests {
    /// One enormous word, or a text that every rule looks at twice, costs about as much as any other.
    @Test(arguments: TokenizerFixture.all) func longTextsAreNotQuadratic(fixture: TokenizerFixture) throws {
        let tokenizer = try fixture.tokenizer()
        for unit in [
            "a", " ", "aeiou", "\n", "0", "'", "\u{1f44d}\u{1f3fd}", "\u{4e2d}", "\u{301}", "<|", "a ", "\u{2581}",
        ] {
            let text = String(repeating: unit, count: 200_000 / unit.utf8.count)
            let ids = tokenizer.encode(text, addSpecial: false)
            #expect(!ids.isEmpty)
        }
    }

    /// Mutated files are read or refused; whatever is read works on a text.
    @Test(arguments: TokenizerFixture.all) func mutatedFilesNeverTrap(fixture: TokenizerFixture) throws {
        let good = try fixture.bytes("tokenizer.json")
        var random = SeededRandom(seed: 11)
        let words: [[UInt8]] = ["0", "-1", "99999999999", "null", "true", "\"\"", "[]", "{}", "1e300"].map {
            Array($0.utf8)
        }
        for _ in 0..<60 {
            var bytes = good
            for _ in 0...Int(random.below(3)) {
                let at = Int(random.below(UInt64(bytes.count)))
                switch random.below(4) {
                case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes.replaceSubrange(at..<min(at + 8, bytes.count), with: words[Int(random.below(9))])
                case 2: bytes.removeSubrange(at..<min(at + 40, bytes.count))
                default: bytes.insert(contentsOf: bytes[at..<min(at + 60, bytes.count)], at: at)
                }
            }
            Self.exercise(bytes)
        }
    }

    /// Values at random places of the tree become others: the file stays JSON and gets past the parser.
    @Test(arguments: TokenizerFixture.all) func changedTreesNeverTrap(fixture: TokenizerFixture) throws {
        let good = try fixture.json("tokenizer.json")
        var random = SeededRandom(seed: 13)
        for key in ["normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens", "model"] {
            for _ in 0..<25 {
                let members = (good.memberList ?? []).map { member in
                    member.key == key ? JSONMember(key, Self.changed(member.value, &random, depth: 0)) : member
                }
                Self.exercise(JSONValue.members(members).serialized())
            }
        }
    }

    private static func changed(_ value: JSONValue, _ random: inout SeededRandom, depth: Int) -> JSONValue {
        let others: [JSONValue] = [
            .null, .bool(true), .integer(-1), .integer(1 << 40), .string(""), .string("\u{2581}"), .string("ByteLevel"),
            .string("Split"), .string("Fuse"), .array([]), .members([]), .integer(0), .string("(?=a)\\s+|[^"),
        ]
        switch value {
        case .members(let members) where !members.isEmpty && random.below(8) > 0:
            let place = Int(random.below(UInt64(members.count)))
            var members = members
            members[place] = JSONMember(members[place].key, changed(members[place].value, &random, depth: depth + 1))
            return .members(members)
        case .array(let items) where !items.isEmpty && random.below(8) > 0:
            let place = Int(random.below(UInt64(items.count)))
            var items = items
            items[place] = changed(items[place], &random, depth: depth + 1)
            return .array(items)
        default: return others[Int(random.below(UInt64(others.count)))]
        }
    }

    private static func exercise(_ bytes: [UInt8]) {
        guard let tokenizer = try? Tokenizer(folder: MemoryFolder(["tokenizer.json": bytes])) else { return }
        let text = "Hello  world <s>\u{2581}\n\u{1f600} 123 e\u{301} <|im_end|>"
        let ids = tokenizer.encode(text, addSpecial: true)
        _ = tokenizer.decode(ids + [-1, .max, .min, 0], skipSpecial: false)
        _ = ids.map { tokenizer.bytes(of: $0) }
    }

    @Test func whatIsNotUnderstoodIsRefusedByName() throws {
        let good = try TokenizerFixture.named("llama3").json("tokenizer.json")
        func fault(_ key: String, _ value: JSONValue) -> String? {
            let members = (good.memberList ?? []).filter { $0.key != key } + [JSONMember(key, value)]
            do {
                _ = try Tokenizer(folder: MemoryFolder(["tokenizer.json": JSONValue.members(members).serialized()]))
                return nil
            } catch {
                return "\(error)"
            }
        }
        func split(_ source: String) -> JSONValue {
            .object([
                "type": .string("Split"), "pattern": .object(["Regex": .string(source)]),
                "behavior": .string("Isolated"),
            ])
        }
        #expect(fault("version", .string("1.0")) == nil)
        #expect(fault("truncation", .object(["max_length": .integer(3)])) == nil)
        #expect(fault("pre_tokenizer", split("(a+)+b"))?.contains("a group is repeated") == true)
        #expect(fault("pre_tokenizer", split("(?<=a)b"))?.contains("(?<") == true)
        #expect(fault("pre_tokenizer", split("a*"))?.contains("matches the empty text") == true)
        #expect(fault("pre_tokenizer", split("\\p{Han}+"))?.contains("Han") == true)
        #expect(
            fault("pre_tokenizer", .object(["type": .string("UnicodeScripts")]))?.contains("UnicodeScripts") == true)
        #expect(fault("normalizer", .object(["type": .string("Precompiled")]))?.contains("Precompiled") == true)
        #expect(fault("decoder", .object(["type": .string("CTC")]))?.contains("CTC") == true)
        #expect(fault("post_processor", .object(["type": .string("X")]))?.contains("X") == true)
        let unigram = JSONValue.object(["type": .string("Unigram"), "vocab": .array([])])
        #expect(fault("model", unigram)?.contains("Unigram") == true)
        #expect(fault("model", .null) != nil)
    }

    /// An expression that backtracks without end meets its budget: the same text still gives the same pieces.
    @Test func expressionsHaveABudget() throws {
        let expression = try SplitExpression("a*a*a*a*a*a*b|c")
        let text = [UInt8](repeating: 0x61, count: 20_000)
        func pieces() -> [Range<Int>] {
            var ranges: [Range<Int>] = []
            text.withUnsafeBufferPointer { text in
                expression.visit(text, from: 0, to: text.count) { range, _ in ranges.append(range) }
            }
            return ranges
        }
        #expect(pieces() == [0..<20_000])
        #expect(pieces() == pieces())
    }
}
