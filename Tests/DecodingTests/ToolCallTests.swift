// Tool calls out of an answer's text, however it is cut into pieces; what is no call stays text.

import Decoding
import Primitives
import Testing
import Tokenizers

struct ToolCallTests {
    typealias Piece = ToolCallParser.Piece

    /// Joined, so that how the text was cut does not matter.
    private func pieces(_ form: ToolForm, _ parts: [String]) -> [Piece] {
        var parser = ToolCallParser(form, names: ["weather", "time"])
        var joined: [Piece] = []
        for piece in parts.flatMap({ parser.add($0) }) + parser.finish() {
            if case .text(let more) = piece, case .text(let text)? = joined.last {
                joined[joined.count - 1] = .text(text + more)
            } else {
                joined.append(piece)
            }
        }
        return joined
    }

    private static let rome = Piece.call(name: "weather", arguments: #"{"city":"Rome"}"#)
    private static let now = Piece.call(name: "time", arguments: "{}")

    static let cases: [(ToolForm, String, [Piece])] = [
        (.tagged, "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>", [rome]),
        (
            .tagged,
            "I look.\n<tool_call>{\"name\":\"weather\",\"arguments\":{\"city\":\"Rome\"}}</tool_call>\n<tool_call>{\"name\":\"time\"}</tool_call>",
            [.text("I look.\n"), rome, now]
        ),
        // An end that the model leaves out.
        (.tagged, "<tool_call>{\"name\":\"time\",\"arguments\":{}}", [now]),
        (
            .tagged, "<tool_call>{\"name\":\"other\"}</tool_call>",
            [.text("<tool_call>{\"name\":\"other\"}</tool_call>")]
        ),
        (
            .tagged, "<tool_call>{\"name\":\"time\",\"arguments\":[]}</tool_call>!",
            [.text("<tool_call>{\"name\":\"time\",\"arguments\":[]}</tool_call>!")]
        ),
        (.tagged, "a <tool_ b <tool_call", [.text("a <tool_ b <tool_call")]),
        (.tagged, "plain < text", [.text("plain < text")]),
        (
            .bracketed,
            "[TOOL_CALLS] [{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}, {\"name\":\"time\",\"arguments\":{}}]",
            [rome, now]
        ),
        (.bracketed, "[TOOL_CALLS]weather[ARGS]{\"city\": \"Rome\"}[TOOL_CALLS]time{}", [rome, now]),
        (.bracketed, "[TOOL_CALLS]{", [.text("[TOOL_CALLS]{")]),
        (
            .fenced,
            "x<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\":\"Rome\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>time<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            [.text("x"), rome, now]
        ),
        (.bare, " {\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\"}}", [rome]),
        (.bare, "{\"name\": \"nobody\", \"parameters\": {}}", [.text("{\"name\": \"nobody\", \"parameters\": {}}")]),
        (.bare, "It is {\"name\": \"time\"}", [.text("It is {\"name\": \"time\"}")]),
    ]

    @Test(arguments: cases.indices)
    func callsAreFoundHoweverTheTextIsCut(index: Int) {
        let (form, text, expected) = Self.cases[index]
        #expect(pieces(form, [text]) == expected)
        #expect(pieces(form, text.map { String($0) }) == expected)
        for cut in [3, 7, 11] {
            var parts: [String] = [], rest = text[...]
            while !rest.isEmpty {
                parts.append(String(rest.prefix(cut)))
                rest = rest.dropFirst(cut)
            }
            #expect(pieces(form, parts) == expected)
        }
    }

    /// Text is shown as soon as it cannot be the beginning of a mark.
    @Test func textDoesNotWait() {
        var parser = ToolCallParser(.tagged, names: ["time"])
        #expect(parser.add("Hello <") == [.text("Hello ")])
        #expect(parser.add("b>") == [.text("<b>")])
        #expect(parser.add("<tool_call>{") == [])
        #expect(parser.finish() == [.text("<tool_call>{")])
    }

    @Test func anEndlessCallIsTextInTheEnd() {
        var parser = ToolCallParser(.tagged, names: ["time"])
        let long = "<tool_call>" + String(repeating: "x", count: ToolCallParser.heldBytesMax)
        #expect(parser.add(long) == [.text(long)])
    }

    @Test func aForcedCallKeepsItsSchema() throws {
        let city = try JSONValue.parse(
            ##"{"type":"object","properties":{"city":{"$ref":"#/$defs/name"}},"required":["city"],"additionalProperties":false,"$defs":{"name":{"enum":["Rome","Bern"]}}}"##
        )
        let tools = [("weather", city), ("time", try JSONValue.parse(#"{"type":"object"}"#))].map {
            (name: $0.0, parameters: $0.1)
        }
        #expect(ForcedToolCall.named("weather").schema(tools, isParallel: true) == city)
        let any = try #require(ForcedToolCall.any.schema(tools, isParallel: false))
        // A reference is still to what it was.
        #expect(any["$defs"]?["tool0"]?["properties"]?["city"]?["$ref"]?.text == "#/$defs/tool0/$defs/name")
        _ = try Grammar.schema(any)
        let names: Set = ["weather", "time"]
        #expect(
            ForcedToolCall.any.calls(#"[{"name":"weather","arguments":{"city":"Rome"}}]"#, names: names) == [Self.rome])
        #expect(ForcedToolCall.named("weather").calls(#"{"city":"Rome"}"#, names: names) == [Self.rome])
        for cut in [#"[{"name":"weather","argu"#, "[]", #"[{"name":"x","arguments":{}}]"#, "3"] {
            #expect(ForcedToolCall.any.calls(cut, names: names) == nil)
        }
    }

    @Test func aTemplateSaysItsForm() throws {
        func form(_ source: String) throws -> ToolForm? { try ChatTemplate(source: source).toolForm }
        #expect(try form("{% if tools %}<tool_call>{% endif %}{{ messages }}") == .tagged)
        #expect(try form("{%- if tools is not none %}{{ '[TOOL_CALLS]' }}{% endif %}") == .bracketed)
        #expect(try form("{% for t in tools %}<｜tool▁calls▁begin｜>{% endfor %}") == .fenced)
        #expect(try form("{{ tools | tojson }}") == .bare)
        #expect(try form("You have tools. {{ message.tools }}{% if message.tool_calls %}<tool_call>{% endif %}") == nil)
    }
}
