// Tools where the template takes them: calls that must be made are made, by the starter model with another template; a
// template without tools says so by name.

import Foundation
import Gateway
import Primitives
import Records
import Testing

@testable import Peer

@Suite struct ToolAnswerTests {
    private static let template = """
        {%- if tools %}<|user|>{% for tool in tools %}{{ tool.function.name }} {% endfor %}<tool_call><|end|>{%- endif %}
        {%- for message in messages %}<|{{ message.role }}|>{{ message.content or '' }}
        {%- for call in message.tool_calls or [] %}{{ call.function.name }} {{ call.function.arguments.city }}{% endfor %}
        {%- endfor %}<|assistant|>
        """
    private static let weather = ToolFunction(
        name: "weather",
        parameters: .object([
            "type": .string("object"), "properties": .object(["city": .object(["enum": .strings(["Rome", "Bern"])])]),
            "required": .strings(["city"]), "additionalProperties": .bool(false),
        ]), json: .object(["type": .string("function"), "function": .object(["name": .string("weather")])]))

    private func bench(tooled: Bool) throws -> (TestHome, InferenceService, CID) {
        let home = try TestHome()
        let open = try home.open()
        var path = Starter.model
        if tooled {
            path = home.path + "/tooled"
            try FileManager.default.copyItem(atPath: Starter.model, toPath: path)
            try Data(Self.template.utf8).write(to: URL(filePath: path + "/chat_template.jinja"))
        }
        let (model, _) = try open.shelf.importFolder(path: path, kind: .model, name: "starter")
        let peer = try SigningKey(seed: [UInt8](repeating: 3, count: 32)).publicKey.peerID
        let service = InferenceService(
            shelf: open.shelf, library: try TestDatanet([]).library, book: try AdapterBook(store: nil), peer: peer,
            precision: "int8")
        return (home, service, model)
    }

    private func request(_ choice: AnswerTools.Choice?) -> AnswerRequest {
        var request = AnswerRequest(model: "starter", prompt: .messages([AnswerMessage(.user, "Rain in Rome?")]))
        request.tokensMax = 64
        request.sampling.temperature = 0
        request.tools = choice.map { AnswerTools(functions: [Self.weather], choice: $0, isParallel: false) }
        return request
    }

    @Test(arguments: [AnswerTools.Choice.named("weather"), .required])
    func aCallThatMustBeMadeIsMade(choice: AnswerTools.Choice) async throws {
        let (home, service, model) = try bench(tooled: true)
        defer { withExtendedLifetime(home) {} }
        let answer = try await service.generate(request(choice), model: model, adapter: nil, name: "starter")
        var calls: [AnswerCall] = [], text = "", finish: AnswerFinish?
        for try await event in answer.events {
            switch event {
            case .toolCall(_, let call): calls.append(call)
            case .token(let token): text += token.text
            case .finished(_, let reason): finish = reason
            default: break
            }
        }
        #expect(calls.count == 1 && calls.first?.name == "weather" && calls.first?.id.count == 9)
        #expect([#"{"city":"Rome"}"#, #"{"city":"Bern"}"#].contains(calls.first?.arguments))
        #expect(text.isEmpty && finish == .toolCalls)
    }

    @Test func aConversationGoesOnAfterACall() async throws {
        let (home, service, model) = try bench(tooled: true)
        defer { withExtendedLifetime(home) {} }
        var asked = AnswerMessage(.assistant, "")
        asked.toolCalls = [AnswerCall(id: "abcdefghi", name: "weather", arguments: #"{"city":"Bern"}"#)]
        var told = AnswerMessage(.tool, "rain")
        told.toolCallID = "abcdefghi"
        let messages = [AnswerMessage(.user, "Rain?"), asked, told]
        let tokens = try await service.tokenize(messages, addGenerationPrompt: true, extras: [:], model: model)
        let text = try await service.detokenize(tokens, model: model)
        #expect(text.contains("weather Bern") && text.contains("rain"))
    }

    @Test func aTemplateWithoutToolsSaysSo() async throws {
        let (home, service, model) = try bench(tooled: false)
        defer { withExtendedLifetime(home) {} }
        await #expect {
            _ = try await service.generate(request(.auto), model: model, adapter: nil, name: "starter")
        } throws: { error in
            (error as? AnswerFault)?.param == "tools"
        }
        var answered = request(nil)
        answered.prompt = .messages([AnswerMessage(.user, "Rain?"), AnswerMessage(.tool, "rain")])
        await #expect {
            _ = try await service.generate(answered, model: model, adapter: nil, name: "starter")
        } throws: { error in
            (error as? AnswerFault)?.param == "messages"
        }
    }
}
