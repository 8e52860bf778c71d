// Chat templates against `transformers`: every render of the fixtures, and the language piece by piece.

import Foundation
import ModelFiles
import Primitives
import Testing

@testable import Tokenizers

@Suite struct TemplateTests {
    @Test(arguments: TokenizerFixture.all) func rendersAsTheReference(fixture: TokenizerFixture) throws {
        let tokenizer = try fixture.tokenizer(), expected = try fixture.expected()
        let conversations = expected["chat"]?.items ?? []
        guard !conversations.isEmpty else { return }
        let template = try #require(try ChatTemplate(folder: try fixture.folder()))
        for item in conversations {
            var extra = item["kwargs"]?.memberList ?? []
            extra.removeAll { $0.key == "add_generation_prompt" }
            func render() throws -> String {
                try template.render(
                    messages: item["messages"]?.items ?? [],
                    addGenerationPrompt: item["kwargs"]?["add_generation_prompt"]?.flag ?? false, extra: extra)
            }
            if let error = item["error"]?.text {
                #expect(throws: TemplateFault.raised(error)) { try render() }
            } else {
                let text = try render()
                #expect(same(text, item["text"]?.text))
                #expect(tokenizer.encode(text, addSpecial: false) == int32s(item["ids"]))
            }
        }
    }

    @Test(arguments: [
        ("{% for x in [1, 2, 3] if x != 2 %}{{ loop.index }}:{{ x }} {% endfor %}", "1:1 2:3 "),
        ("{% set ns = namespace(n=0) %}{% for x in 'abc' %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "3"),
        ("{% set a = 1 %}{% for x in [1] %}{% set a = 2 %}{% endfor %}{{ a }}", "1"),
        ("  {% if true %}\n  x\n  {%- endif %}\ny\n", "  xy"),
        ("{{ 'a' if false else 'b' }}{{ none is none }}{{ x is defined }}{{ x }}", "bTrueFalse"),
        ("{{ messages[-1]['role'] ~ messages[0].content[1:] }}", "useri"),
        ("{{ ' x '.strip() }}{{ 'a,b'.split(',')[1] }}{{ 'ab' | upper | length }}{{ [1, 2] | join('-') }}", "xb21-2"),
        ("{{ {'a': [1, 'é\"'], 'b': none} | tojson }}", "{\"a\": [1, \"é\\\"\"], \"b\": null}"),
        ("{{ 1 + 2 * 3 }}{{ 7 // 2 }}{{ -7 % 3 }}{{ not 1 == 2 and 'b' in 'abc' }}", "732True"),
        ("{# gone #}{{ \"it's\" }}{{- ' x' -}}  y", "it's xy"),
    ])
    func templateLanguage(source: String, expected: String) throws {
        let template = try ChatTemplate(source: source)
        #expect(try template.render([ChatMessage(role: "user", content: "hi")]) == expected)
    }

    /// With the line and the words that were not understood.
    @Test(arguments: [
        ("{{ x | unknown }}", "line 1: filter \"unknown\" is not supported"),
        ("a\n{% if x %}", "line 2: {% endif %} is missing"),
        ("{% endif %}", "closes nothing"), ("\n\n{{ x is weird }}", "line 3: test \"weird\""),
        ("{{ 'a }}", "does not end"),
        ("{{ 1 2 }}", "unexpected 2"), ("{{ ; }}", "unexpected character"), ("{{", "does not end"),
        ("{% for x %}{% endfor %}", "needs \"in\""), ("{{ (1 }}", "closes nothing"),
        ("{% include 'x' %}", "{% include %}"),
        ("{% break %}", "outside a loop"), ("{{ a ** b }}", "\"**\""), ("{{ f(*a) }}", "\"*\""),
    ])
    func whatLiesOutsideIsRefusedByName(source: String, reason: String) {
        let error = #expect(throws: TemplateFault.self) { try ChatTemplate(source: source) }
        #expect("\(error.map { "\($0)" } ?? "")".contains(reason), "\(error.map { "\($0)" } ?? "")")
    }

    /// Every one of these would take for ever, or all memory, or all stack.
    @Test(arguments: [
        String(repeating: "{% for x in range(1000) %}", count: 5) + String(repeating: "{% endfor %}", count: 5),
        "{{ " + String(repeating: "(", count: 5000), "{{ 1 // 0 }}", "{{ 9223372036854775807 + 1 }}",
        "{{ 'x' * 9223372036854775807 }}", "{{ range(99999999999)|list }}",
        "{% set ns = namespace(s='xx') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(90000) %}{% set ns.l = [ns.l] %}{% endfor %}",
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "{{ strftime_now('%Y') }}",
        "{% for i in range(1000000) %}{{ messages }}{% endfor %}", "{{ 'a'.replace('', 'b') }}", "{{ [1][::0] }}",
        "{{ -(-9223372036854775807 - 1) }}", "{{ (-9223372036854775807 - 1) // -1 }}", "{{ '' | first | upper + 1 }}",
    ])
    func hostileTemplatesEndInAFault(source: String) {
        #expect(throws: TemplateFault.self) {
            try ChatTemplate(source: source).render([ChatMessage(role: "user", content: "x")])
        }
    }

    @Test func theTemplatesOwnRefusalIsToldApart() throws {
        #expect(throws: TemplateFault.raised("no user")) {
            try ChatTemplate(source: "{{ raise_exception('no ' ~ messages[0].role) }}")
                .render([ChatMessage(role: "user", content: "")])
        }
    }

    @Test func theDateIsTheCallers() throws {
        let template = try ChatTemplate(source: "{{ strftime_now('%d %b %Y, %A %H:%M:%S') }}")
        let now = WallTime(milliseconds: 1_753_000_000_000)
        #expect(try template.render(messages: [], now: now) == "20 Jul 2025, Sunday 08:26:40")
        #expect(try template.render(messages: [], now: WallTime(milliseconds: -1)) == "31 Dec 1969, Wednesday 23:59:59")
    }

    @Test func namedTemplates() throws {
        let named = JSONValue.array([
            .object(["name": .string("default"), "template": .string("plain")]),
            .object(["name": .string("tool_use"), "template": .string("{{ tools | tojson }}")]),
        ])
        let settings = JSONValue.object(["chat_template": named]).serialized()
        let template = try #require(try ChatTemplate(folder: MemoryFolder(["tokenizer_config.json": settings])))
        #expect(try template.render(messages: []) == "plain")
        #expect(try template.render(messages: [], tools: [.object(["a": .integer(1)])]) == "[{\"a\": 1}]")
    }

    /// The language beside Jinja itself: sources, variables and what transformers' environment makes of them.
    @Test func rendersWhatJinjaRenders() throws {
        let url = repository.appending(path: "Tests/Fixtures/tokenizers/templates.json")
        let all = try JSONValue.parse([UInt8](try Data(contentsOf: url)), limits: .tokenizer)
        let messages = try #require(all["messages"]?.items), tools = all["tools"]?.items
        for item in all["cases"]?.items ?? [] {
            let source = item["source"]?.text ?? ""
            func render() throws -> String {
                try ChatTemplate(source: source, beginText: "<s>", endText: "</s>").render(
                    messages: messages, tools: tools, extra: [JSONMember("extra_key", .string("EK"))],
                    now: WallTime(milliseconds: 1_753_000_000_000))
            }
            if let text = item["text"]?.text {
                #expect(same(try render(), text), "\(source)")
            } else {
                #expect(throws: TemplateFault.self, "\(source)") { try render() }
            }
        }
    }
}
