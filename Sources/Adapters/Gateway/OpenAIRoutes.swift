// `/v1/…`, `/tokenize`, `/detokenize` and `/api/v1/ask`: everything that ends in the node's `generate`.

import HTTPTypes
import Hummingbird
import NIOCore
import Primitives

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

struct OpenAIRoutes: Sendable {
    let desk: AnswerDesk

    private var service: any NodeService { desk.service }
    private var limits: GatewayLimits { desk.limits }

    func add(to group: RouterGroup<GatewayContext>) {
        group.get("v1/models") { _, _ in
            let cards = try await service.modelCards()
            return Response.json(.object(["object": .string("list"), "data": .array(cards.map(\.json))]))
        }
        group.get("v1/models/:model") { _, context in
            let name = try context.name("model")
            guard let card = try await service.modelCards().first(where: { $0.id == name }) else {
                throw NodeFault(.missing, "there is no model \"\(name)\"", param: "model", code: "model_not_found")
            }
            return Response.json(card.json)
        }
        group.post("v1/chat/completions") { request, context in
            var request = request
            let fields = try await request.json(limits)
            return try await answer(OpenAIRequest.chat(fields, limits: limits), .chat, fields, request, context)
        }
        group.post("v1/completions") { request, context in
            var request = request
            let fields = try await request.json(limits)
            return try await answer(
                OpenAIRequest.completion(fields, limits: limits), .completion, fields, request, context)
        }
        group.post("tokenize") { request, context in
            var request = request
            let tokenize = try await TokenizeRequest(request.json(limits), limits: limits)
            let charge = try await desk.count(context.authority)
            let tokens = try await service.tokenize(tokenize)
            charge.took(promptTokens: 0)
            return Response.json(
                .object(["tokens": .array(tokens.map(JSONValue.integer)), "count": .integer(tokens.count)]))
        }
        group.post("detokenize") { request, context in
            var request = request
            let fields = try await request.json(limits)
            let list = try fields.required("tokens", fields["tokens"])
            let tokens = try fields.tokens(list, "tokens", countMax: limits.promptTokensMax)
            let model = try OpenAIRequest.model(fields)
            let charge = try await desk.count(context.authority)
            let text = try await service.detokenize(tokens, model: model)
            charge.took(promptTokens: 0)
            return Response.json(.object(["prompt": .string(text)]))
        }
    }

    // MARK: Completions

    private func answer(
        _ openAI: OpenAIRequest, _ shape: OpenAIShape, _ fields: RequestFields, _ request: Request,
        _ context: GatewayContext
    ) async throws -> Response {
        let recorder: Replays.Recorder?
        let digest = Digest(sha256: Array(request.uri.path.utf8) + fields.object.serialized())
        switch try desk.replays.open(request, context.authority, body: digest) {
        case .replay(let answer): return answer.response
        case .answer(let fresh): recorder = fresh
        }
        var openAI = openAI
        let charge = try await desk.charge(&openAI.generations, context.authority)
        guard let first = openAI.generations.first else {
            throw NodeFault(.invalid, "prompt must not be empty", param: "prompt", code: "missing")
        }
        let meter = desk.meter(context)
        let generation = try await service.generate(first)
        charge.began()
        let batch = AnswerBatch(
            openAI: openAI, shape: shape, id: shape.idPrefix + generation.requestID, createdSeconds: Int64(time(nil)),
            numericsRevision: service.numericsRevision, charge: charge, meter: meter, recorder: recorder)
        return openAI.isStreamed
            ? streamed(batch, generation, request) : try await whole(batch, generation, request)
    }

    /// One HTTP request's generations and what they share.
    private struct AnswerBatch: Sendable {
        let openAI: OpenAIRequest
        let shape: OpenAIShape
        let id: String
        let createdSeconds: Int64
        let numericsRevision: UInt64
        let charge: AnswerCharge
        let meter: AnswerMeter
        let recorder: Replays.Recorder?

        func answer(_ index: Int, _ generation: Generation) -> Answer {
            let request = openAI.generations[index]
            return Answer(
                shape: shape, id: id, createdSeconds: createdSeconds, numericsRevision: numericsRevision,
                generation: generation, request: request, firstChoice: index * request.choices)
        }
    }

    private func whole(_ batch: AnswerBatch, _ first: Generation, _ request: Request) async throws -> Response {
        let answers = try await request.body.consumeWithCancellationOnInboundClose { _ in
            var meter = batch.meter
            var answers: [Answer] = []
            do {
                for (index, generationRequest) in batch.openAI.generations.enumerated() {
                    let generation = index == 0 ? first : try await next(generationRequest, batch)
                    var answer = batch.answer(index, generation)
                    for try await event in generation.events {
                        batch.charge.take(event)
                        meter.take(event)
                        answer.take(event, keepsText: true)
                    }
                    answers.append(answer)
                }
                try Task.checkCancellation()
            } catch {
                meter.broke(error)
                throw error
            }
            meter.ended()
            return answers
        }
        guard let last = answers.last else { throw NodeFault(.broken, "no answer", code: "internal") }
        let body =
            last.head(object: batch.shape.object)
            + [
                JSONMember("choices", .array(answers.flatMap { $0.wholeChoices() })),
                JSONMember("usage", Self.usage(of: answers)),
            ] + last.provenance(answers.flatMap(\.receipts))
        let bytes = JSONValue.members(body).serialized()
        batch.recorder?.add(bytes)
        batch.recorder?.keep(type: "application/json", receiptID: last.receipt?.id)
        var response = Response.bytes(bytes, type: "application/json")
        response.headers[.connection] = "close"
        response.headers[.receiptID] = last.receipt?.id
        response.headers.append(contentsOf: batch.charge.headers)
        return response
    }

    /// A later prompt of several.
    private func next(_ request: GenerationRequest, _ batch: AnswerBatch) async throws(NodeFault) -> Generation {
        let generation = try await service.generate(request)
        batch.charge.began()
        return generation
    }

    private static func usage(of answers: [Answer]) -> JSONValue {
        let prompt = answers.reduce(0) { $0 + ($1.promptTokens ?? 0) }
        let completion = answers.reduce(0) { $0 + $1.completionTokens }
        return .object([
            "prompt_tokens": .integer(prompt), "completion_tokens": .integer(completion),
            "total_tokens": .integer(prompt + completion),
        ])
    }

    private func streamed(_ batch: AnswerBatch, _ first: Generation, _ request: Request) -> Response {
        var headers = first.receiptID.map { HTTPFields([HTTPField(name: .receiptID, value: $0)]) } ?? [:]
        headers.append(contentsOf: batch.charge.headers)
        return .pieces(type: Self.eventStream, request: request, headers: headers) { pieces, fault in
            try await pieces.data(fault.json(faultsShownMax: limits.faultsShownMax))
        } write: { pieces in
            pieces.recorder = batch.recorder
            var meter = batch.meter
            let answers: [Answer]
            do {
                answers = try await stream(batch, first, &pieces, &meter)
            } catch {
                meter.broke(error)
                throw error
            }
            meter.ended()
            let receiptID = first.receiptID ?? answers.last?.receipt?.id
            batch.recorder?.keep(type: Self.eventStream, receiptID: receiptID)
            guard first.receiptID == nil, let receiptID else { return nil }
            return [.receiptID: receiptID]
        }
    }

    private static let eventStream = "text/event-stream"

    private func stream(
        _ batch: AnswerBatch, _ first: Generation, _ pieces: inout PieceWriter, _ meter: inout AnswerMeter
    ) async throws -> [Answer] {
        let noUsage: JSONValue? = batch.openAI.includesUsage ? .null : nil
        var answers: [Answer] = []
        for (index, generationRequest) in batch.openAI.generations.enumerated() {
            let generation = index == 0 ? first : try await next(generationRequest, batch)
            var answer = batch.answer(index, generation)
            for choice in answer.openingChoices() {
                try await pieces.data(answer.chunk(choices: [choice], usage: noUsage))
            }
            var textOffsets = [Int](repeating: 0, count: generationRequest.choices)
            for try await event in generation.events {
                batch.charge.take(event)
                meter.take(event)
                answer.take(event, keepsText: false)
                if case .toolCall(let choice, let call) = event {
                    try await pieces.data(answer.chunk(choices: [answer.choice(choice, call)], usage: noUsage))
                }
                guard case .token(let token) = event, textOffsets.indices.contains(token.choice) else { continue }
                let choice = answer.choice(token, textOffset: textOffsets[token.choice])
                textOffsets[token.choice] += token.text.unicodeScalars.count
                try await pieces.data(answer.chunk(choices: [choice], usage: noUsage))
            }
            // Events end early where nobody listens any more.
            try Task.checkCancellation()
            for choice in answer.choices.indices {
                let isLast = choice == answer.choices.count - 1
                try await pieces.data(
                    answer.chunk(
                        choices: [answer.closingChoice(choice)], usage: noUsage,
                        tail: isLast ? answer.provenance : []))
            }
            answers.append(answer)
        }
        if batch.openAI.includesUsage, let last = answers.last {
            try await pieces.data(last.chunk(choices: [], usage: Self.usage(of: answers)))
        }
        try await pieces.done()
        return answers
    }

    // MARK: Ask

    /// The command's and the page's question: JSON lines.
    func ask(_ request: Request, _ context: GatewayContext) async throws -> Response {
        var request = request
        let question = try await Self.question(request.json(limits), context, limits: limits)
        let generation = try await service.generate(question)
        return .lines(request: request) { pieces in
            let servedBy: [JSONMember] = [
                JSONMember("event", .string("served_by")), JSONMember("peer", .string(generation.servedBy)),
                JSONMember("local", .bool(generation.isLocal)),
            ]
            try await pieces.line(.members(servedBy))
            var answer = Answer(
                shape: .chat, id: generation.requestID, createdSeconds: 0, numericsRevision: service.numericsRevision,
                generation: generation, request: question, firstChoice: 0)
            for try await event in generation.events {
                answer.take(event, keepsText: false)
                switch event {
                case .token(let token) where !token.text.isEmpty:
                    try await pieces.line(.object(["event": .string("token"), "text": .string(token.text)]))
                case .sources(let sources):
                    try await pieces.line(
                        .object(["event": .string("sources"), "sources": .array(sources.map(\.json))]))
                case .receipt(let receipt):
                    try await pieces.line(.object(["event": .string("receipt"), "receipt": receipt.json]))
                default: break
                }
            }
            let finish = answer.choices.first?.finish ?? .stop
            try await pieces.line(
                .object([
                    "event": .string("done"), "finish_reason": .string(finish.rawValue), "usage": answer.usage,
                ]))
            return nil
        }
    }

    /// What it would cost: NodeCall.quote.
    func quote(_ request: Request, _ context: GatewayContext) async throws -> Response {
        var request = request
        let question = try await Self.question(request.json(limits), context, limits: limits)
        return Response.json(try await service.perform(.quote(question)))
    }

    private static func question(
        _ fields: RequestFields, _ context: GatewayContext, limits: GatewayLimits
    ) throws(NodeFault) -> GenerationRequest {
        let messages: [ChatMessage]
        if let items = try fields.list("messages", countMax: limits.messagesMax) {
            guard fields["prompt"] == nil else { throw fields.fault("prompt", "and messages cannot both be given") }
            messages = try OpenAIRequest.messages(items, limits: limits)
        } else {
            messages = [ChatMessage(.user, try fields.name("prompt", bytesMax: limits.jsonBytesMax))]
        }
        var request = GenerationRequest(
            model: try fields.text("model", bytesMax: 256) ?? "", prompt: .messages(messages))
        try OpenAIRequest.readShared(fields, into: &request, limits: limits)
        guard request.choices == 1 else { throw fields.fault("n", "must be 1: a question has one answer") }
        if fields["temperature"] == nil { request.sampling.temperature = 0 }
        request.tokensMax = try fields.integer("max_tokens", in: 1...limits.promptTokensMax)
        request.maySpend = context.authority.isOwner
        request.isPaid = true
        return request
    }
}

extension ModelCard {
    fileprivate var json: JSONValue {
        var members = [
            JSONMember("id", .string(id)), JSONMember("object", .string("model")),
            JSONMember("created", .integer(createdSeconds)), JSONMember("owned_by", .string(owner)),
            JSONMember("context_length", .integer(contextLength)), JSONMember("local", .bool(isLocal)),
        ]
        if let parent { members.append(JSONMember("parent", .string(parent))) }
        if let root { members.append(JSONMember("root", .string(root))) }
        return .members(members)
    }
}
