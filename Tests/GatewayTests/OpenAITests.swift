import Gateway
import Primitives
import Synchronization
import Testing

/// The shapes that OpenAI's clients rely on.
@Suite(.serialized) struct OpenAITests {
    private static func chat(_ extra: String = "", model: String = "starter") -> String {
        #"{"model":"\#(model)","messages":[{"role":"user","content":"Define brisket."}]\#(extra)}"#
    }

    @Test func wholeAnswerNamesItsSourcesAndReceipt() async throws {
        try await TestGateway.with { (peer) async throws in
            let answer = try await peer.ask("POST", "/v1/chat/completions", Self.chat(#","datanet":"food""#))
            #expect(answer.status == 200)
            #expect(answer.header("x-receipt-id") == FakeNode.receiptID)
            let body = try answer.json()
            #expect(body["id"]?.text == "chatcmpl-4f1c0001")
            #expect(body["object"]?.text == "chat.completion")
            let choice = body["choices"]?.items?.first
            #expect(choice?["message"]?["content"]?.text == FakeNode.answer.joined())
            #expect(choice?["message"]?["role"]?.text == "assistant")
            #expect(choice?["finish_reason"]?.text == "stop")
            #expect(choice?["token_ids"]?.items?.count == FakeNode.answer.count)
            #expect(body["usage"]?["total_tokens"]?.integer == 51)
            #expect(body["receipt"]?["cost"]?.text == "0.00041")
            let shares = body["sources"]?.items?.compactMap { $0["ppm"]?.integer } ?? []
            #expect(shares == [620_000, 380_000])
            let request = peer.node.notes.withLock { $0.requests.last }
            #expect(request?.datanet == "food")
            #expect(request?.maySpend == false)
        }
    }

    @Test func streamKeepsEveryChunkRule() async throws {
        try await TestGateway.with { (peer) async throws in
            let extra = #","stream":true,"stream_options":{"include_usage":true},"n":2,"datanet":"food""#
            let answer = try await peer.ask("POST", "/v1/chat/completions", Self.chat(extra))
            #expect(answer.header("content-type") == "text/event-stream")
            #expect(answer.header("x-receipt-id") == FakeNode.receiptID)
            #expect(answer.events.last == "[DONE]")
            let chunks = try answer.events.dropLast().map { try JSONValue.parse($0) }
            #expect(Set(chunks.map { $0["id"]?.text }).count == 1)
            #expect(Set(chunks.map { $0["created"]?.integer }).count == 1)
            #expect(chunks.allSatisfy { $0["object"]?.text == "chat.completion.chunk" })
            for index in 0...1 {
                let own = chunks.compactMap { chunk in chunk["choices"]?.items?.first { $0["index"]?.integer == index }
                }
                #expect(own.first?["delta"]?["role"]?.text == "assistant")
                #expect(own.dropLast().allSatisfy { $0["finish_reason"] == .null })
                #expect(own.last?["delta"] == .object([:]))
                #expect(own.last?["finish_reason"]?.text == "stop")
                #expect(own.compactMap { $0["delta"]?["content"]?.text }.joined() == FakeNode.answer.joined())
            }
            #expect(chunks.dropLast().allSatisfy { $0["usage"] == .null })
            #expect(chunks.last?["choices"] == .array([]))
            #expect(chunks.last?["usage"]?["completion_tokens"]?.integer == 20)
            let closing = chunks[chunks.count - 2]
            #expect(closing["receipt"]?["id"]?.text == FakeNode.receiptID)
            #expect(closing["sources"]?.items?.count == 2)
        }
    }

    @Test func withoutUsageThereIsNoUsageField() async throws {
        try await TestGateway.with { (peer) async throws in
            let answer = try await peer.ask("POST", "/v1/chat/completions", Self.chat(#","stream":true"#))
            let chunks = try answer.events.dropLast().map { try JSONValue.parse($0) }
            #expect(chunks.allSatisfy { $0["usage"] == nil })
            #expect(answer.header("x-receipt-id") == nil)
            #expect(answer.trailer("x-receipt-id") == FakeNode.receiptID)
        }
    }

    @Test func aFailureAfterTheFirstByteIsSaidInTheStream() async throws {
        try await TestGateway.with { (peer) async throws in
            let answer = try await peer.ask(
                "POST", "/v1/chat/completions", Self.chat(#","stream":true"#, model: "broken"))
            #expect(answer.status == 200)
            let last = try JSONValue.parse(answer.events.last ?? "")
            #expect(last["error"]?["code"]?.text == "peer_stalled")
            #expect(!answer.events.contains("[DONE]"))
            #expect(try await peer.ask("POST", "/v1/chat/completions", Self.chat(model: "broken")).status == 504)
        }
    }

    @Test func aClientThatLeavesEndsGeneration() async throws {
        try await TestGateway.with { (peer) async throws in
            for stream in ["true", "false"] {
                let ended = peer.node.notes.withLock { $0.generationsEnded }
                let connection = try RawConnection(port: peer.address.port)
                try connection.send(
                    peer.request("POST", "/v1/chat/completions", Self.chat(#","stream":\#(stream)"#, model: "endless")))
                if stream == "true" { #expect(try await connection.line().contains("200")) }
                try await Task.sleep(for: .milliseconds(100))
                connection.shut()
                var waited = 0
                while peer.node.notes.withLock({ $0.generationsEnded }) == ended, waited < 200 {
                    try await Task.sleep(for: .milliseconds(20))
                    waited += 1
                }
                #expect(peer.node.notes.withLock { $0.generationsEnded } == ended + 1, "stream: \(stream)")
            }
        }
    }

    @Test func logProbabilitiesHaveBothShapes() async throws {
        try await TestGateway.with { (peer) async throws in
            let chat = try await peer.ask(
                "POST", "/v1/chat/completions", Self.chat(#","logprobs":true,"top_logprobs":2,"max_tokens":3"#)
            ).json()
            let content = chat["choices"]?.items?.first?["logprobs"]?["content"]?.items
            #expect(content?.count == 3)
            #expect(content?.first?["token"]?.text == "brisket")
            #expect(content?.first?["bytes"]?.items?.count == 7)
            #expect(content?.first?["top_logprobs"]?.items?.count == 2)
            #expect(chat["choices"]?.items?.first?["finish_reason"]?.text == "length")
            let text = try await peer.ask(
                "POST", "/v1/completions",
                #"{"model":"starter","prompt":[1,2],"max_tokens":2,"echo":true,"logprobs":1}"#
            ).json()
            let logprobs = text["choices"]?.items?.first?["logprobs"]
            #expect(logprobs?["token_logprobs"]?.items?.first == .null)
            #expect(logprobs?["tokens"]?.items?.compactMap(\.text) == ["Define", " it", "brisket", " (noun):"])
            #expect(logprobs?["text_offset"]?.items?.compactMap(\.integer) == [0, 6, 9, 16])
            #expect(text["choices"]?.items?.first?["text"]?.text == "Define itbrisket (noun):")
            #expect(peer.node.notes.withLock { $0.requests.last?.prompt } == .tokens([1, 2]))
        }
    }

    @Test func severalPromptsAreSeveralChoices() async throws {
        try await TestGateway.with { (peer) async throws in
            let body = #"{"model":"starter","prompt":["a","b"],"n":2,"max_tokens":1}"#
            let answer = try await peer.ask("POST", "/v1/completions", body).json()
            #expect(answer["choices"]?.items?.compactMap { $0["index"]?.integer } == [0, 1, 2, 3])
            #expect(answer["usage"]?["prompt_tokens"]?.integer == 82)
        }
    }

    @Test func whatIsAskedForArrives() async throws {
        try await TestGateway.with { (peer) async throws in
            let body = """
                {"model":"starter","adapter_id":"food","messages":[{"role":"developer","content":"be brief"},
                {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":null}],
                "max_completion_tokens":5,"max_tokens":9,"temperature":0.5,"top_p":0.9,"seed":-1,"stop":["x","y"],
                "logit_bias":{"7":-100},"presence_penalty":1,"frequency_penalty":-1,"top_k":40,"max_price":"0.01",
                "tools":[],"tool_choice":"auto","response_format":{"type":"text"},"user":"u","metadata":{"a":"b"},"store":null}
                """
            #expect(try await peer.ask("POST", "/v1/chat/completions", body).status == 200)
            let request = try #require(peer.node.notes.withLock { $0.requests.last })
            #expect(request.model == "starter:food")
            #expect(
                request.prompt
                    == .messages([
                        ChatMessage(.system, "be brief"), ChatMessage(.user, "ab"), ChatMessage(.assistant, ""),
                    ]))
            #expect(request.tokensMax == 5)
            #expect(request.sampling.temperature == 0.5)
            #expect(request.sampling.seed == .max)
            #expect(request.sampling.logitBias == [7: -100])
            #expect(request.stop == ["x", "y"])
            #expect(request.priceMax == Amount(text: "0.01"))
        }
    }

    @Test func toolsAndTheirCallsGoBothWays() async throws {
        try await TestGateway.with { (peer) async throws in
            let tool =
                #"{"type":"function","function":{"name":"weather","description":"d","parameters":{"properties":{"city":{"type":"string"}}}}}"#
            let talk =
                #"{"role":"user","content":"Rome?"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\": \"Rome\"}"}}]},{"role":"tool","tool_call_id":"call_1","content":"rain"}"#
            let body =
                #"{"model":"starter","messages":[\#(talk)],"tools":[\#(tool)],"tool_choice":"required","parallel_tool_calls":false"#
            let whole = try await peer.ask("POST", "/v1/chat/completions", body + "}")
            #expect(whole.status == 200, "\(whole.text)")
            let request = try #require(peer.node.notes.withLock { $0.requests.last })
            let tools = try #require(request.tools)
            #expect(tools.choice == .required && !tools.isParallel && tools.functions.map(\.name) == ["weather"])
            #expect(tools.functions[0].parameters["type"]?.text == "object")
            guard case .messages(let messages) = request.prompt else {
                Issue.record("messages are the prompt")
                return
            }
            #expect(messages.map(\.role) == [.user, .assistant, .tool])
            #expect(messages[1].toolCalls == [ToolCall(id: "call_1", name: "weather", arguments: #"{"city":"Rome"}"#)])
            #expect(messages[2].toolCallID == "call_1")
            let choice = try #require(try whole.json()["choices"]?.items?.first)
            #expect(choice["finish_reason"]?.text == "tool_calls")
            let call = try #require(choice["message"]?["tool_calls"]?.items?.first)
            #expect(call["function"]?["arguments"]?.text == #"{"city":"Rome"}"# && call["id"]?.text == "abcdefghi")

            let stream = try await peer.ask("POST", "/v1/chat/completions", body + #","stream":true}"#)
            #expect(stream.text.contains(#""tool_calls":[{"index":0,"id":"abcdefghi","type":"function""#))
            #expect(stream.text.contains(#""finish_reason":"tool_calls""#))
            let none =
                #"{"model":"starter","messages":[{"role":"user","content":"x"}],"tools":[\#(tool)],"tool_choice":"none"}"#
            #expect(try await peer.ask("POST", "/v1/chat/completions", none).status == 200)
            #expect(peer.node.notes.withLock { $0.requests.last?.tools } == nil)
        }
    }

    @Test func aQuestionIsQuotedAsItIsAsked() async throws {
        try await TestGateway.with { (peer) async throws in
            let body =
                #"{"prompt":"Define brisket.","model":"starter","datanet":"food","max_tokens":8,"merged_adapters":{"ids":["food"]},"logit_bias":{"7":1}}"#
            #expect(try await peer.ask("POST", "/api/v1/quote", body).code() == "token_required")
            let quote = try await peer.ask("POST", "/api/v1/quote", body, token: TestGateway.token.text)
            #expect(try quote.json()["estimate"]?.text == "0.000563")
            guard case .quote(let quoted)? = peer.node.notes.withLock({ $0.calls.last }) else {
                Issue.record("a quote was asked for")
                return
            }
            _ = try await peer.ask("POST", "/api/v1/ask", body, token: TestGateway.token.text)
            #expect(peer.node.notes.withLock { $0.requests.last } == quoted)
            #expect(quoted.sampling.temperature == 0 && quoted.isPaid && quoted.merge?.adapters == ["food"])
            let two = try await peer.ask(
                "POST", "/api/v1/quote", #"{"prompt":"x","n":2}"#, token: TestGateway.token.text)
            #expect(try two.param() == "n")
        }
    }

    @Test func formsAndFusionsArrive() async throws {
        try await TestGateway.with { (peer) async throws in
            let formats: [(String, AnswerFormat?)] = [
                (#","response_format":{"type":"text"}"#, nil),
                (#","response_format":{"type":"json_object"}"#, .jsonObject),
                (
                    #","response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object"}}}"#,
                    .jsonSchema(.object(["type": .string("object")]))
                ),
                (#","guided_grammar":"root ::= \"a\"""#, .grammar(#"root ::= "a""#)),
            ]
            for (field, format) in formats {
                #expect(try await peer.ask("POST", "/v1/chat/completions", Self.chat(field)).status == 200, "\(field)")
                #expect(peer.node.notes.withLock { $0.requests.last?.format } == format)
            }
            let merge =
                #","merged_adapters":{"ids":["a","b"],"weights":[0.5,2],"merge_strategy":"dare_ties","density":0.5}"#
            #expect(try await peer.ask("POST", "/v1/chat/completions", Self.chat(merge)).status == 200)
            #expect(
                peer.node.notes.withLock { $0.requests.last?.merge }
                    == AdapterMerge(adapters: ["a", "b"], weights: [0.5, 2], strategy: .dareTies, density: 0.5))
        }
    }

    @Test func embeddingsComeAsNumbersOrBase64() async throws {
        try await TestGateway.with { (peer) async throws in
            let numbers = try await peer.ask(
                "POST", "/v1/embeddings", #"{"model":"embedder","input":["ab","abc"],"encoding_format":"float"}"#
            ).json()
            let vectors = numbers["data"]?.items?.map { $0["embedding"]?.items?.compactMap(\.double) }
            #expect(vectors == [[2, 1], [3, 1]])
            #expect(numbers["data"]?.items?.last?["index"]?.integer == 1)
            #expect(numbers["usage"]?["total_tokens"]?.integer == 6)
            let base64 = try await peer.ask(
                "POST", "/v1/embeddings", #"{"model":"embedder","input":[1,2],"encoding_format":"base64"}"#
            ).json()
            #expect(base64["data"]?.items?.first?["embedding"]?.text == "AAAAQAAAAD8=")
            for (body, param) in [
                ("{}", "model"), (#"{"model":"embedder"}"#, "input"),
                (#"{"model":"embedder","input":""}"#, "input"),
                (#"{"model":"embedder","input":[["x"]]}"#, "input[0][0]"),
                (#"{"model":"embedder","input":"a","dimensions":3}"#, "dimensions"),
                (#"{"model":"embedder","input":"a","encoding_format":"int8"}"#, "encoding_format"),
                (#"{"model":"starter","input":"a"}"#, "model"),
            ] {
                let answer = try await peer.ask("POST", "/v1/embeddings", body)
                #expect(answer.status == 400, "\(body)")
                #expect(try answer.param() == param, "\(body)")
            }
        }
    }

    @Test func anAnswerIsToldAgainAndNotMadeAgain() async throws {
        try await TestGateway.with { (peer) async throws in
            for extra in ["", #","stream":true"#] {
                let header = ["Idempotency-Key": "one\(extra.count)"]
                let path = "/v1/chat/completions"
                let made = peer.node.notes.withLock { $0.requests.count }
                let first = try await peer.ask("POST", path, Self.chat(extra), headers: header)
                let second = try await peer.ask("POST", path, Self.chat(extra), headers: header)
                #expect(second.body == first.body && second.header("content-type") == first.header("content-type"))
                #expect(second.header("idempotent-replayed") == "true")
                #expect(second.header("x-receipt-id") == FakeNode.receiptID)
                #expect(peer.node.notes.withLock { $0.requests.count } == made + 1)
                let other = try await peer.ask("POST", path, Self.chat(#","seed":1"#), headers: header)
                #expect(other.status == 400)
                #expect(try other.code() == "key_reused")
                let key = try await peer.ask("POST", path, Self.chat(extra), token: TestGateway.apiKey, headers: header)
                #expect(key.status == 200 && key.header("idempotent-replayed") == nil)
            }
            // What failed is not told again.
            for _ in 0..<2 {
                let busy = try await peer.ask(
                    "POST", "/v1/chat/completions", Self.chat(model: "busy"), headers: ["Idempotency-Key": "busy"])
                #expect(busy.status == 429)
            }
        }
    }

    @Test(arguments: [
        (#""temperature":3"#, "temperature"), (#""temperature":"hot""#, "temperature"), (#""n":0"#, "n"),
        (#""n":1.5"#, "n"),
        (#""top_p":-0.1"#, "top_p"), (#""max_tokens":0"#, "max_tokens"), (#""stop":[""]"#, "stop[0]"),
        (#""tools":[{"type":"function"}]"#, "tools[0].function"), (#""functions":[{}]"#, "functions"),
        (#""tools":[{"type":"retrieval"}]"#, "tools[0].type"), (#""tools":{}"#, "tools"),
        (#""tools":[{"type":"function","function":{"name":"a b"}}]"#, "tools[0].function.name"),
        (
            #""tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"a"}}]"#,
            "tools"
        ),
        (
            #""tools":[{"type":"function","function":{"name":"a","parameters":{"type":"array"}}}]"#,
            "tools[0].function.parameters"
        ),
        (#""tool_choice":"required""#, "tool_choice"), (#""tool_choice":"sometimes""#, "tool_choice"),
        (
            #""tools":[{"type":"function","function":{"name":"a"}}],"tool_choice":{"type":"function","function":{"name":"b"}}"#,
            "tool_choice.function.name"
        ),
        (
            #""tools":[{"type":"function","function":{"name":"a"}}],"response_format":{"type":"json_object"}"#,
            "response_format"
        ),
        (#""parallel_tool_calls":"no""#, "parallel_tool_calls"),
        (#""response_format":{"type":"xml"}"#, "response_format.type"),
        (#""response_format":{"type":"json_schema"}"#, "response_format.json_schema"),
        (#""response_format":{"type":"json_schema","json_schema":{"schema":3}}"#, "response_format.json_schema.schema"),
        (#""response_format":{"type":"json_object"},"guided_json":{}"#, "guided_json"),
        (#""guided_regex":"a+""#, "guided_regex"),
        (#""modalities":["audio"]"#, "modalities"), (#""audio":{}"#, "audio"),
        (#""merged_adapters":{"ids":[]}"#, "merged_adapters.ids"),
        (#""merged_adapters":{"ids":["a","a"]}"#, "merged_adapters.ids"),
        (#""merged_adapters":{"ids":["a","b"],"weights":[1]}"#, "merged_adapters.weights"),
        (#""merged_adapters":{"ids":["a","b"],"weights":[1,"x"]}"#, "merged_adapters.weights[1]"),
        (#""merged_adapters":{"ids":["a","b"],"merge_strategy":"average"}"#, "merged_adapters.merge_strategy"),
        (#""merged_adapters":{"ids":["a","b"],"merge_strategy":"ties"}"#, "merged_adapters.density"),
        (#""merged_adapters":{"ids":["a"]},"adapter_id":"b""#, "merged_adapters"),
        (#""stream_options":{"include_usage":true}"#, "stream_options"), (#""stream":"yes""#, "stream"),
        (#""logit_bias":{"x":1}"#, "logit_bias.x"), (#""top_logprobs":3"#, "top_logprobs"),
        (#""max_price":"-1""#, "max_price"),
        (#""seed":1e99"#, "seed"),
    ])
    func unsupportedAndWrongFieldsAreNamed(field: String, param: String) async throws {
        try await TestGateway.with { (peer) async throws in
            let answer = try await peer.ask("POST", "/v1/chat/completions", Self.chat(",\(field)"))
            #expect(answer.status == 400)
            #expect(try answer.param() == param)
            #expect(try answer.json()["error"]?["type"]?.text == "invalid_request_error")
        }
    }

    @Test func badBodiesAreRefused() async throws {
        try await TestGateway.with { (peer) async throws in
            let cases = [
                ("{", 400, "invalid_json"), ("[]", 400, nil), (#"{"temperature":NaN}"#, 400, "invalid_json"),
                (#"{"messages":[]}"#, 400, "missing"), (#"{"model":"starter"}"#, 400, "missing"),
                (#"{"model":"none","messages":[{"role":"user","content":"x"}]}"#, 404, "model_not_found"),
                (#"{"model":"starter","messages":[{"role":"tool","content":"x"}]}"#, 400, "missing"),
                (#"{"model":"starter","messages":[{"role":"function","content":"x"}]}"#, 400, "unsupported_value"),
                (
                    #"{"model":"starter","messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"[]"}}]}]}"#,
                    400, "invalid_value"
                ),
                (
                    #"{"model":"starter","messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#, 400,
                    "unsupported_value"
                ),
                (#"{"model":"starter","messages":"hi"}"#, 400, "invalid_type"),
                (#"{"a":1,"a":2}"#, 400, "invalid_json"),
                (String(repeating: "[", count: 5_000), 400, "invalid_json"),
            ]
            for (body, status, code) in cases {
                let answer = try await peer.ask("POST", "/v1/chat/completions", body)
                #expect(answer.status == status, "\(body.prefix(60)): \(answer.text)")
                #expect(try answer.code() == code, "\(body.prefix(60))")
            }
            let busy = try await peer.ask("POST", "/v1/chat/completions", Self.chat(model: "busy"))
            #expect(busy.status == 429)
            #expect(busy.header("retry-after") == "7")
            let claimed = try RawConnection(port: peer.address.port)
            try claimed.send(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: \(peer.host)\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
            )
            #expect(try await claimed.answer().status == 413)
        }
    }

    @Test func tokenizing() async throws {
        try await TestGateway.with { (peer) async throws in
            let text = try await peer.ask(
                "POST", "/tokenize", #"{"model":"starter","prompt":"ab","add_special_tokens":true}"#
            ).json()
            #expect(text["tokens"]?.items?.compactMap(\.integer) == [1, 97, 98])
            #expect(text["count"]?.integer == 3)
            let chat = try await peer.ask(
                "POST", "/tokenize", #"{"model":"starter","messages":[{"role":"user","content":"abc"}],"date":"x"}"#
            ).json()
            #expect(chat["tokens"]?.items?.compactMap(\.integer) == [2, 3, 1])
            #expect(
                try await peer.ask("POST", "/detokenize", #"{"model":"starter","tokens":[104,105]}"#).json()["prompt"]?
                    .text == "hi")
            #expect(
                try await peer.ask("POST", "/detokenize", #"{"model":"starter","tokens":[-1]}"#).param() == "tokens[0]")
        }
    }

    @Test func modelsAreListed() async throws {
        try await TestGateway.with { (peer) async throws in
            let models = try await peer.ask("GET", "/v1/models").json()
            #expect(models["data"]?.items?.compactMap { $0["id"]?.text } == ["starter", "starter:food"])
            #expect(models["data"]?.items?.last?["parent"]?.text == "starter")
            #expect(try await peer.ask("GET", "/v1/models/starter:food").json()["id"]?.text == "starter:food")
            #expect(try await peer.ask("GET", "/v1/models/starter%3Afood").json()["id"]?.text == "starter:food")
            #expect(try await peer.ask("GET", "/v1/models/nothing").code() == "model_not_found")
        }
    }
}
