// The routes that Ollama's clients call, over the same node. Host, Origin, content type, keys and limits are those of the
// OpenAI routes; only a fault looks otherwise: `{"error":"…"}`, since Ollama's clients print it as it is.

import HTTPTypes
import Hummingbird
import Primitives

struct OllamaRoutes: Sendable {
    /// The interface that is spoken; clients look at it to know what they may ask.
    private static let version = "0.9.0"
    /// A model leaves memory when another needs the room, not at a time.
    private static let expires = "2318-01-01T00:00:00Z"
    private static let inferPaths = ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings"]
    static let paths = Set(inferPaths + ["/api/version", "/api/tags", "/api/show", "/api/ps"])

    let desk: AnswerDesk

    private var service: any NodeService { desk.service }
    private var limits: GatewayLimits { desk.limits }

    func add(to group: RouterGroup<GatewayContext>) {
        group.get("api/version") { _, _ in Response.json(.object(["version": .string(Self.version)])) }
        group.get("api/tags") { _, _ in
            let cards = try await service.modelCards().filter(\.isLocal)
            return Response.json(.object(["models": .array(cards.map { .members($0.ollama) })]))
        }
        group.get("api/ps") { _, _ in
            let cards = try await service.modelCards().filter { $0.facts?.isLoaded == true }
            let models = cards.map { card in
                JSONValue.members(
                    card.ollama + [
                        JSONMember("expires_at", .string(Self.expires)), JSONMember("size_vram", .integer(0)),
                        JSONMember("context_length", .integer(card.contextLength)),
                    ])
            }
            return Response.json(.object(["models": .array(models)]))
        }
        group.post("api/show") { request, _ in
            var request = request
            let fields = try await request.json(limits)
            let key = fields["model"] == nil && fields["name"] != nil ? "name" : "model"
            return Response.json(try await card(named: fields.name(key)).ollamaDetails)
        }
        group.post("api/chat") { request, context in
            var request = request
            let asked = try await OllamaRequest.chat(request.json(limits), limits: limits)
            return try await answer(asked, .chat, request, context)
        }
        group.post("api/generate") { request, context in
            var request = request
            let asked = try await OllamaRequest.generate(request.json(limits), limits: limits)
            return try await answer(asked, .generate, request, context)
        }
        group.post("api/embed") { request, context in try await embed(request, context, key: "input") }
        group.post("api/embeddings") { request, context in try await embed(request, context, key: "prompt") }
    }

    private func card(named name: String) async throws(NodeFault) -> ModelCard {
        let wanted = OllamaRequest.model(name)
        guard let card = try await service.modelCards().first(where: { $0.id == wanted }) else {
            throw NodeFault(
                .missing, "model '\(name.prefix(128))' not found", param: "model", code: "model_not_found")
        }
        return card
    }

    // MARK: Text

    private func answer(
        _ asked: OllamaRequest, _ shape: OllamaShape, _ request: Request, _ context: GatewayContext
    ) async throws -> Response {
        let begun = ContinuousClock.now
        if asked.isEmpty {
            _ = try await card(named: asked.model)
            let empty = OllamaAnswer(shape: shape, model: asked.model, begun: begun)
                .empty(reason: asked.unloads ? "unload" : "load")
            return Response.json(empty)
        }
        var generations = [asked.generation]
        let charge = try await desk.charge(&generations, context.authority)
        guard let first = generations.first else { throw NodeFault(.broken, "no request", code: "internal") }
        let meter = desk.meter(context)
        let generation = try await service.generate(first)
        charge.began()
        let answer = OllamaAnswer(shape: shape, model: asked.model, begun: begun)
        return asked.isStreamed
            ? streamed(generation, answer, charge, meter, request)
            : try await whole(generation, answer, charge, meter, request)
    }

    private func whole(
        _ generation: Generation, _ answer: OllamaAnswer, _ charge: AnswerCharge, _ meter: AnswerMeter,
        _ request: Request
    ) async throws -> Response {
        let body = try await request.body.consumeWithCancellationOnInboundClose { _ in
            var answer = answer
            try await read(generation, &answer, charge, meter) { _ in }
            return answer.last(whole: true)
        }
        var response = Response.json(body)
        response.headers[.connection] = "close"
        response.headers.append(contentsOf: charge.headers)
        return response
    }

    private func streamed(
        _ generation: Generation, _ answer: OllamaAnswer, _ charge: AnswerCharge, _ meter: AnswerMeter,
        _ request: Request
    ) -> Response {
        .pieces(type: "application/x-ndjson", request: request, headers: charge.headers) { pieces, fault in
            try await pieces.line(fault.ollamaJSON)
        } write: { pieces in
            var answer = answer
            try await read(generation, &answer, charge, meter) { try await pieces.line($0) }
            try await pieces.line(answer.last(whole: false))
            return nil
        }
    }

    private func read(
        _ generation: Generation, _ answer: inout OllamaAnswer, _ charge: AnswerCharge, _ meter: AnswerMeter,
        tell: (JSONValue) async throws -> Void
    ) async throws {
        var meter = meter
        do {
            for try await event in generation.events {
                charge.take(event)
                meter.take(event)
                if let line = answer.take(event) { try await tell(line) }
            }
            try Task.checkCancellation()
        } catch {
            meter.broke(error)
            throw error
        }
        meter.ended()
    }

    // MARK: Vectors

    /// - Parameter key: `prompt` for the older form, which answers with one vector and no counters.
    private func embed(_ request: Request, _ context: GatewayContext, key: String) async throws -> Response {
        let begun = ContinuousClock.now
        var request = request
        let fields = try await request.json(limits)
        var wanted = try EmbeddingRequest(ollama: fields, key: key, limits: limits)
        let charge = try await desk.charge(&wanted, context.authority)
        let taken = ContinuousClock.now
        let answer = try await service.embed(wanted)
        charge.took(promptTokens: answer.promptTokens)
        let vectors = answer.vectors.map { JSONValue.array($0.map { .double(Double($0)) }) }
        let body: JSONValue =
            key == "prompt"
            ? .object(["embedding": vectors.first ?? .array([])])
            : .object([
                "model": .string(try fields.name("model")), "embeddings": .array(vectors),
                "total_duration": .integer((ContinuousClock.now - begun).nanoseconds),
                "load_duration": .integer((taken - begun).nanoseconds),
                "prompt_eval_count": .integer(answer.promptTokens),
            ])
        var response = Response.json(body)
        response.headers.append(contentsOf: charge.headers)
        return response
    }
}

extension NodeFault {
    var ollamaJSON: JSONValue {
        var members = [JSONMember("error", .string(message))]
        if let param { members.append(JSONMember("param", .string(param))) }
        if let code { members.append(JSONMember("code", .string(code))) }
        return .members(members)
    }
}

extension ModelCard {
    private var details: JSONValue {
        let family = facts?.family ?? ""
        return .object([
            "parent_model": .string(parent ?? ""), "format": .string("safetensors"), "family": .string(family),
            "families": .strings(family.isEmpty ? [] : [family]), "parameter_size": .string(size),
            "quantization_level": .string((facts?.precision ?? "").uppercased()),
        ])
    }

    /// As `5.5M`.
    private var size: String {
        let count = Double(facts?.parameters ?? 0)
        let (value, unit) =
            count >= 1e9 ? (count / 1e9, "B") : count >= 1e6 ? (count / 1e6, "M") : (count / 1e3, "K")
        return "\((value * 10).rounded() / 10)\(unit)"
    }

    private var ollamaName: String { id.contains(":") ? id : "\(id):latest" }

    fileprivate var ollama: [JSONMember] {
        [
            JSONMember("name", .string(ollamaName)), JSONMember("model", .string(ollamaName)),
            JSONMember("modified_at", .string(Timestamp.text(seconds: createdSeconds))),
            JSONMember("size", .integer(facts?.bytes ?? 0)), JSONMember("digest", .string(root ?? "")),
            JSONMember("details", details),
        ]
    }

    fileprivate var ollamaDetails: JSONValue {
        let family = facts?.family ?? "unknown"
        let isEmbedder = facts?.isEmbedder == true
        return .object([
            "modelfile": .string("FROM \(parent ?? id)\n"), "parameters": .string(""), "template": .string(""),
            "license": .string(""), "details": details,
            "model_info": .object([
                "general.architecture": .string(family),
                "general.parameter_count": .integer(facts?.parameters ?? 0),
                "\(family).context_length": .integer(contextLength),
            ]),
            "capabilities": .strings([isEmbedder ? "embedding" : "completion"]),
            "modified_at": .string(Timestamp.text(seconds: createdSeconds)),
        ])
    }
}
