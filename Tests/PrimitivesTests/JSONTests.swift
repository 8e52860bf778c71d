// RFC 8259 at its edges: the cases on which parsers differ (after Seriot, "Parsing JSON is a minefield"), with one
// verdict each. Where the RFC leaves a choice, ours is named beside the case.

import Primitives
import Testing

@Suite struct JSONTests {
    @Test(arguments: [
        "[]", "{}", " [ ] ", "[1,2]", "null", "true", "false", "0", "-0", "-0.0", "1e5", "1E+2", "1e-2", "0e1",
        "123.456e78",
        "\"\"", "\"\\u0000\"", "\"\\uD83D\\uDE00\"", "\"\\/\"", "\"\\b\\f\\n\\r\\t\\\"\\\\\"", "\"\u{7f}\"", "\"é😀\"",
        "\"\u{2028}\"", "{\"\":0}", "{\"a\":{\"b\":[null,{}]}}", "\r\n\t [\r\n]", "[[[[[[[[[[[[]]]]]]]]]]]]",
        "[123456789012345678901234567890]", "\"\\uFFFF\"", "{\"é\":1,\"e\u{301}\":2}",
    ])
    func accepted(text: String) throws {
        let value = try JSONValue.parse(text)
        // What is written reads back as the same value.
        #expect(try JSONValue.parse(value.serialized()) == value)
    }

    @Test(arguments: [
        "", " ", "[", "]", "{", "}", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1,,2]", "{\"a\"}", "{\"a\":}",
        "{\"a\":1,}", "{a:1}",
        "{'a':1}", "{\"a\" 1}", "{1:1}", "{\"a\":1 \"b\":2}", "{,}", "nul", "nulll", "True", "NaN", "Infinity",
        "-Infinity", "01", "-01",
        "1.", ".5", "+1", "--1", "1e", "1e+", "1.e1", "0x1", "1_000", "-", "1 2", "[] []", "\"", "\"abc", "\"\\",
        "\"\\u12", "\"\\u12G4\"",
        "\"\\x41\"", "\"\\a\"", "\"\t\"", "\"\n\"", "\"\u{0}\"", "'a'", "// c\n1", "/* c */1", "[1]\u{0}", "\u{feff}[]",
        "\u{a0}1", "[\u{c}]",
        "\"\\uD800\"", "\"\\uDC00\"", "\"\\uD800\\n\"", "\"\\uD800\\u0041\"", "\"\\uD83D\\uD83D\"", "\"\\u+123\"",
        "\"\\u 123\"",
        "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "undefined",
    ])
    func refused(text: String) {
        #expect(throws: JSONFault.self, "\(text)") { try JSONValue.parse(text) }
    }

    /// Overlong, surrogate, truncated and impossible UTF-8; UTF-16.
    @Test(arguments: [
        "22c0af22", "22eda08022", "22e28222", "22ff22", "22f490808022", "2280 22", "fffe5b005d00", "5b00",
    ])
    func bytesThatAreNotText(hex: String) {
        let content = bytes(hex.filter { $0 != " " })
        #expect(throws: JSONFault.self) { try JSONValue.parse(content) }
    }

    @Test func faultsSayWhere() {
        func place(_ text: String) -> String {
            do {
                _ = try JSONValue.parse(text)
                return "accepted"
            } catch {
                return "\(error.line):\(error.column)"
            }
        }
        #expect(place("[1,\n 2,\n x]") == "3:2")
        #expect(place("{\"a\" 1}") == "1:6")
        #expect(place("") == "1:1")
        #expect(place("[1] 2") == "1:5")
    }

    @Test func limitsHold() throws {
        let deep = String(repeating: "[", count: 65) + String(repeating: "]", count: 65)
        #expect(throws: Never.self) { try JSONValue.parse(deep) }
        #expect(throws: JSONFault.self) { try JSONValue.parse("[" + deep + "]") }
        #expect(throws: JSONFault.self) { try JSONValue.parse(String(repeating: "[", count: 1_000_000)) }
        #expect(throws: JSONFault.self) { try JSONValue.parse(String(repeating: "{\"\":", count: 100_000)) }
        #expect(throws: JSONFault.self) {
            try JSONValue.parse("[0,0,0]", limits: JSONLimits(bytesMax: 100, valuesMax: 3))
        }
        #expect(throws: JSONFault.self) { try JSONValue.parse("[0,0,0]", limits: JSONLimits(bytesMax: 6)) }
        #expect(throws: JSONFault.self) { try JSONValue.parse(String(repeating: "1", count: 65)) }
    }

    @Test func numbersKeepTheirText() throws {
        let value = try JSONValue.parse(
            "[9007199254740993, 18446744073709551615, 1e3, 1.5, -0, 1e400, 9223372036854775808]")
        let items = try #require(value.items)
        #expect(items[0].integer == 9_007_199_254_740_993)
        #expect(items[1] == .number("18446744073709551615"))
        #expect(items[1].integer == nil)
        #expect(items[2].integer == 1000)
        #expect(items[3].integer == nil)
        #expect(items[3].double == 1.5)
        #expect(items[4].integer == 0)
        #expect(items[5].double == nil)
        #expect(items[5].integer == nil)
        #expect(items[6].integer == nil)
        #expect(JSONValue.double(.nan) == .null)
        #expect(JSONValue.double(.infinity).isNull)
        #expect(JSONValue.integer(UInt64.max).serializedText == "18446744073709551615")
    }

    @Test func membersKeepTheirOrderAndAreFoundByName() throws {
        let value = try JSONValue.parse("{\"z\":1,\"a\":[true],\"m\":{\"k\":\"v\"},\"n\":null}")
        #expect(value.memberList?.map(\.key) == ["z", "a", "m", "n"])
        #expect(value["m"]?["k"]?.text == "v")
        #expect(value["a"]?.items?.first?.flag == true)
        #expect(value["n"]?.isNull == true)
        #expect(value["missing"] == nil)
        #expect(value["z"]?["z"] == nil)
        #expect(value.serializedText == "{\"z\":1,\"a\":[true],\"m\":{\"k\":\"v\"},\"n\":null}")
    }

    /// "é" in one scalar and in two are different names; Swift's String calls them equal, a vocabulary does not.
    @Test func namesAreComparedByTheirBytes() throws {
        let value = try JSONValue.parse("{\"\u{e9}\":1,\"e\u{301}\":2}")
        #expect(value["\u{e9}"]?.integer == 1)
        #expect(value["e\u{301}"]?.integer == 2)
        #expect(try JSONValue.parse("\"\u{e9}\"").serialized() != JSONValue.parse("\"e\u{301}\"").serialized())
    }

    @Test func controlCharactersAreEscaped() throws {
        let all = String(String.UnicodeScalarView((0..<0x80).compactMap(Unicode.Scalar.init)))
        let written = JSONValue.string(all).serialized()
        #expect(written.allSatisfy { $0 >= 0x20 })
        #expect(try JSONValue.parse(written).text == all)
        #expect(JSONValue.string("\u{1}\"\\").serializedText == "\"\\u0001\\\"\\\\\"")
    }

    @Test func noBytesTrap() {
        var random = SeededRandom(seed: 11)
        let alphabet = Array("{}[]\",:\\u0123456789abcdefnulltrue-+.eE \n\u{e9}".utf8)
        for _ in 0..<20_000 {
            let text = (0..<random.below(24)).map { _ in alphabet[Int(random.below(UInt64(alphabet.count)))] }
            if let value = try? JSONValue.parse(text) { #expect((try? JSONValue.parse(value.serialized())) == value) }
        }
    }
}
