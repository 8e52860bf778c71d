import Primitives
import Synchronization
import Testing

@testable import Gateway

/// The shapes that Ollama's clients rely on.
@Suite(.serialized) struct OllamaTests {
    private static let chat = #"{"model":"starter","messages":[{"role":"user","content":"Define brisket."}]"#

    @Test func chatStreamsLinesAndEndsWithCounters() async throws {
        try await TestGateway.with { (peer) async throws in
            let answer = try await peer.ask("POST", "/api/chat", Self.chat + "}")
            #expect(answer.status == 200)
            #expect(answer.header("content-type") == "application/x-ndjson")
            let lines = try answer.lines.map { try JSONValue.parse($0) }
            #expect(lines.dropLast().allSatisfy { $0["done"] == .bool(false) && $0["model"]?.text == "starter" })
            #expect(lines.compactMap { $0["message"]?["content"]?.text }.joined() == FakeNode.answer.joined())
            let last = try #require(lines.last)
            #expect(last["done"] == .bool(true) && last["done_reason"]?.text == "stop")
            #expect(last["eval_count"]?.integer == 10 && last["prompt_eval_count"]?.integer == 41)
            for key in ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"] {
                #expect((last[key]?.integer ?? -1) >= 0, "\(key)")
            }
            #expect(last["receipt"]?["id"]?.text == FakeNode.receiptID)
            #expect(last["created_at"]?.text?.hasSuffix("Z") == true)
        }
    }

    @Test func generateWithoutAStream() async throws {
        try await TestGateway.with { (peer) async throws in
            let body = """
                {"model":"starter:latest","prompt":"hi","system":"be brief","stream":false,"keep_alive":"5m","format":"json",
                "options":{"num_predict":3,"temperature":0.5,"top_k":7,"seed":42,"stop":["x"],"num_ctx":4096,"num_gpu":1,
                "repeat_penalty":1.5,"min_p":0.1}}
                """
            let answer = try await peer.ask("POST", "/api/generate", body)
            #expect(answer.header("content-type") == "application/json")
            let json = try answer.json()
            #expect(json["response"]?.text == FakeNode.answer.prefix(3).joined())
            #expect(json["model"]?.text == "starter:latest" && json["done_reason"]?.text == "length")
            let request = try #require(peer.node.notes.withLock { $0.requests.last })
            #expect(request.model == "starter" && request.tokensMax == 3 && request.format == .jsonObject)
            #expect(request.prompt == .messages([ChatMessage(.system, "be brief"), ChatMessage(.user, "hi")]))
            #expect(request.sampling.temperature == 0.5 && request.sampling.topK == 7 && request.sampling.topP == 0.9)
            #expect(request.sampling.seed == 42 && request.sampling.repetitionPenalty == 1.5)
            #expect(request.sampling.minP == 0.1 && request.stop == ["x"])
            _ = try await peer.ask(
                "POST", "/api/generate",
                #"{"model":"starter","prompt":"hi","raw":true,"format":{"type":"object"},"options":{"seed":-1}}"#)
            let raw = try #require(peer.node.notes.withLock { $0.requests.last })
            #expect(raw.prompt == .text("hi") && raw.sampling.seed == nil && raw.tokensMax == nil)
            #expect(raw.format == .jsonSchema(.object(["type": .string("object")])))
            let asked = peer.node.notes.withLock { $0.requests.count }
            let load = try await peer.ask("POST", "/api/generate", #"{"model":"starter"}"#).json()
            #expect(load["done_reason"]?.text == "load" && load["done"] == .bool(true))
            let unload = try await peer.ask("POST", "/api/chat", #"{"model":"starter","messages":[],"keep_alive":0}"#)
            #expect(try unload.json()["done_reason"]?.text == "unload")
            #expect(peer.node.notes.withLock { $0.requests.count } == asked)
        }
    }

    @Test func modelsAreListedAndShown() async throws {
        try await TestGateway.with { (peer) async throws in
            #expect(try await peer.ask("GET", "/api/version").json()["version"]?.text?.isEmpty == false)
            let tags = try await peer.ask("GET", "/api/tags").json()["models"]?.items
            #expect(tags?.compactMap { $0["name"]?.text } == ["starter:latest", "starter:food"])
            #expect(tags?.first?["details"]?["parameter_size"]?.text == "5.5M")
            #expect(tags?.first?["size"]?.integer == 11_000_000)
            #expect(tags?.first?["modified_at"]?.text == "2023-11-14T22:13:20Z")
            let loaded = try await peer.ask("GET", "/api/ps").json()["models"]?.items
            #expect(loaded?.compactMap { $0["model"]?.text } == ["starter:latest"])
            let shown = try await peer.ask("POST", "/api/show", #"{"model":"starter:latest"}"#).json()
            #expect(shown["model_info"]?["general.architecture"]?.text == "llama")
            #expect(shown["model_info"]?["llama.context_length"]?.integer == 512)
            #expect(shown["capabilities"] == .strings(["completion"]))
            #expect(try await peer.ask("POST", "/api/show", #"{"name":"starter"}"#).status == 200)
        }
    }

    @Test func faultsAreTexts() async throws {
        try await TestGateway.with { (peer) async throws in
            for (path, body, status, param) in [
                ("/api/chat", Self.chat + #","tools":[{"type":"function"}]}"#, 400, "tools[0].function"),
                ("/api/chat", Self.chat + #","think":true}"#, 400, "think"),
                ("/api/chat", Self.chat + #","options":{"temperature":9}}"#, 400, "options.temperature"),
                ("/api/chat", Self.chat + #","options":{"mirostat":2}}"#, 400, "options.mirostat"),
                ("/api/chat", Self.chat + #","format":"xml"}"#, 400, "format"),
                (
                    "/api/chat", #"{"model":"starter","messages":[{"role":"user","content":"x","images":["aa"]}]}"#,
                    400,
                    "messages[0].images"
                ),
                ("/api/generate", #"{"model":"starter","prompt":"x","images":["aa"]}"#, 400, "images"),
                ("/api/generate", #"{"model":"starter","prompt":"x","suffix":"y"}"#, 400, "suffix"),
                ("/api/generate", #"{"model":"starter","prompt":"x","template":"y"}"#, 400, "template"),
                ("/api/generate", #"{"model":"starter","prompt":"x","context":[1]}"#, 400, "context"),
                ("/api/generate", #"{"prompt":"x"}"#, 400, "model"),
                ("/api/generate", #"{"model":"none","prompt":"x"}"#, 404, "model"),
                ("/api/show", #"{"model":"none"}"#, 404, "model"),
                ("/api/embed", #"{"model":"starter","input":"x"}"#, 400, "model"),
            ] {
                let answer = try await peer.ask("POST", path, body)
                #expect(answer.status == status, "\(body): \(answer.text)")
                #expect(try answer.json()["error"]?.text?.isEmpty == false)
                #expect(try answer.json()["param"]?.text == param, "\(body)")
            }
            let broken = try await peer.ask("POST", "/api/chat", Self.chat.replacing("starter", with: "broken") + "}")
            let last = try JSONValue.parse(broken.lines.last ?? "")
            #expect(last["error"]?.text == "the neighbour stopped answering")
            let busy = try await peer.ask("POST", "/api/chat", Self.chat.replacing("starter", with: "busy") + "}")
            #expect(busy.status == 429 && busy.header("retry-after") == "7")
        }
    }

    /// As strict as the OpenAI routes.
    @Test func guardsAreTheSame() async throws {
        try await TestGateway.with { (peer) async throws in
            let body = Self.chat + "}"
            let foreign = try await peer.ask("POST", "/api/chat", body, headers: ["Origin": "http://evil.example"])
            #expect(foreign.status == 403)
            #expect(try await peer.ask("GET", "/api/tags", headers: ["Host": "evil.example"]).status == 403)
            let plain = try await peer.ask("POST", "/api/chat", body, headers: ["Content-Type": "text/plain"])
            #expect(plain.status == 415)
            #expect(try plain.json()["error"]?.text?.isEmpty == false)
        }
        try await TestGateway.with(bind: "0.0.0.0") { (peer) async throws in
            #expect(try await peer.ask("GET", "/api/tags").status == 401)
            #expect(try await peer.ask("POST", "/api/chat", Self.chat + "}").status == 401)
            #expect(try await peer.ask("GET", "/api/tags", token: TestGateway.apiKey).status == 200)
        }
    }

    @Test func embeddings() async throws {
        try await TestGateway.with { (peer) async throws in
            let many = try await peer.ask("POST", "/api/embed", #"{"model":"embedder","input":["ab","abc"]}"#).json()
            #expect(many["embeddings"]?.items?.map { $0.items?.compactMap(\.double) } == [[2, 1], [3, 1]])
            #expect(many["prompt_eval_count"]?.integer == 6)
            let one = try await peer.ask("POST", "/api/embeddings", #"{"model":"embedder","prompt":"ab"}"#).json()
            #expect(one["embedding"]?.items?.compactMap(\.double) == [2, 1])
        }
    }

    @Test func aClientThatLeavesEndsGeneration() async throws {
        try await TestGateway.with { (peer) async throws in
            let connection = try RawConnection(port: peer.address.port)
            try connection.send(
                peer.request("POST", "/api/chat", Self.chat.replacing("starter", with: "endless") + "}"))
            #expect(try await connection.line().contains("200"))
            connection.shut()
            var waited = 0
            while peer.node.notes.withLock({ $0.generationsEnded }) == 0, waited < 200 {
                try await Task.sleep(for: .milliseconds(20))
                waited += 1
            }
            #expect(peer.node.notes.withLock { $0.generationsEnded } == 1)
        }
    }

    @Test func datesAreRight() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"), (951_782_399, "2000-02-28T23:59:59Z"), (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"), (4_107_542_400, "2100-03-01T00:00:00Z"),
            (.max, "9999-12-31T23:59:59Z"), (.min, "1970-01-01T00:00:00Z"),
        ] as [(Int64, String)] { #expect(Timestamp.text(seconds: seconds) == text) }
        #expect(Timestamp.text(seconds: 1, nanoseconds: 5) == "1970-01-01T00:00:01.000000005Z")
    }

    @Test func answersAreMeasured() async throws {
        try await TestGateway.with { (peer) async throws in
            _ = try await peer.ask("POST", "/api/chat", Self.chat + "}")
            _ = try await peer.ask(
                "POST", "/v1/chat/completions", #"{"model":"broken","messages":[{"role":"user","content":"x"}]}"#)
            let text = try await peer.ask("GET", "/metrics").text
            for line in [
                #"openledger_time_to_first_token_seconds_count{route="/api/chat"} 1"#,
                #"openledger_inter_token_seconds_count{route="/api/chat"} 9"#,
                #"openledger_answer_tokens_total{route="/api/chat"} 10.0"#,
                #"openledger_prompt_tokens_total{route="/api/chat"} 41.0"#,
                #"openledger_answers_total{end="whole",route="/api/chat"} 1.0"#,
                #"openledger_answers_total{end="fault",route="/v1/chat/completions"} 1.0"#,
            ] { #expect(text.contains(line), "\(line)\n\(text)") }
        }
    }
}
