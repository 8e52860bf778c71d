// Chat templates against `transformers`: every render of the fixtures, and the language piece by piece.

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

    @Test(arguments: [
        "{% macro f() %}{% endmacro %}", "{{ x | unknown }}", "{% if x %}", "{% endif %}", "{{ x is weird }}",
        "{{ 'a }}",
        "{{ 1 2 }}", "{{ ; }}", "{{", "{% for x %}{% endfor %}", "{{ (1 }}", "{% set x %}a{% endset %}",
        "{% include 'x' %}",
    ])
    func templatesOutsideTheSubsetAreRefused(source: String) {
        #expect(throws: TemplateFault.self) { try ChatTemplate(source: source) }
    }

    @Test func templatesAreBounded() throws {
        let nested =
            String(repeating: "{% for x in range(1000) %}", count: 5) + String(repeating: "{% endfor %}", count: 5)
        #expect(throws: TemplateFault.self) { try ChatTemplate(source: nested).render([]) }
        #expect(throws: TemplateFault.self) { try ChatTemplate(source: "{{ " + String(repeating: "(", count: 5000)) }
        #expect(throws: TemplateFault.self) { try ChatTemplate(source: "{{ 1 // 0 }}").render([]) }
        #expect(throws: TemplateFault.self) { try ChatTemplate(source: "{{ 9223372036854775807 + 1 }}").render([]) }
        #expect(throws: TemplateFault.raised("no")) {
            try ChatTemplate(source: "{{ raise_exception('no') }}").render([])
        }
    }
}
