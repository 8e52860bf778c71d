// A node made of answers, in the very forms of Protocol/api.md: what the tests, the browser test and the client test talk
// to. It generates a fixed sentence, one word a token, and keeps a note of every call.

import Gateway
import Primitives
import Synchronization

final class FakeNode: NodeService {
    struct Notes {
        var calls: [NodeCall] = []
        var streams: [NodeStreamCall] = []
        var requests: [GenerationRequest] = []
        var generationsEnded = 0
        var rows = 3
        var hasFaucetMoney = false
        var datanets: [String] = ["food"]
    }

    static let peer = "12D3KooWD3bfmNbuuuVCYwkjnFt3ukm3qaB3hDED3peHHXawvRAG"
    static let other = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"
    static let receiptID = "9c0f3a41d27e7f0b6c55e2a8d1b49f7733aa0c1e5d6f8b92c4e7a1035b6d9f20"
    static let answer = ["brisket", " (noun):", " a", " cut", " of", " meat", " from", " the", " breast", "."]
    static let bundle: [UInt8] = [0xa1, 0x61, 0x61, 0x01]
    static let block = Array("a block of the fake node".utf8)
    static let blockCID = CID(.raw, hashing: block)

    let notes = Mutex(Notes())
    /// Between two tokens; slow for those who watch, 0 for those who test.
    let tokenNanoseconds: UInt64

    init(tokenNanoseconds: UInt64 = 0) { self.tokenNanoseconds = tokenNanoseconds }

    func readiness() async -> Readiness { Readiness(isReady: true, state: "ready", sentence: "Ready.") }

    func modelCards() async throws(NodeFault) -> [ModelCard] {
        [
            ModelCard(
                id: "starter", createdSeconds: 1_700_000_000, owner: "openledger", parent: nil, root: nil,
                contextLength: 512, isLocal: true,
                facts: ModelFacts(
                    family: "llama", parameters: 5_475_584, bytes: 11_000_000, precision: "int8", isLoaded: true)),
            ModelCard(
                id: "starter:food", createdSeconds: 1_700_000_000, owner: Self.peer, parent: "starter",
                root: Self.blockCID.text, contextLength: 512, isLocal: true),
        ]
    }

    var numericsRevision: UInt64 { 2 }

    /// A thousandth for each request, a millionth for each prompt token, a hundred-thousandth for each answer token.
    func price() async throws(NodeFault) -> AnswerPrice {
        AnswerPrice(
            request: Amount(baseUnits: 1_000_000_000_000_000), promptToken: Amount(baseUnits: 1_000_000_000_000),
            answerToken: Amount(baseUnits: 10_000_000_000_000))
    }

    /// Each text's length, and one.
    func embed(_ request: EmbeddingRequest) async throws(NodeFault) -> Embeddings {
        guard request.model == "embedder" else {
            throw NodeFault(
                .invalid, "\(request.model) gives text, not vectors", param: "model", code: "not_an_embedder")
        }
        let vectors = request.inputs.map { input -> [Float] in
            switch input {
            case .text(let text): [Float(text.utf8.count), 1]
            case .tokens(let tokens): [Float(tokens.count), 0.5]
            }
        }
        return Embeddings(model: request.model, vectors: vectors, promptTokens: 3 * vectors.count)
    }

    func generate(_ request: GenerationRequest) async throws(NodeFault) -> Generation {
        notes.withLock { $0.requests.append(request) }
        if request.model == "busy" {
            throw NodeFault(.busy, "the queue is full", code: "queue_full", retryAfterSeconds: 7)
        }
        if request.model == "remote", !request.maySpend {
            throw NodeFault.tokenRequired("a neighbour serves this model, and is paid")
        }
        guard
            ["starter", "starter:food", "starter:kitchen", "remote", "endless", "broken", "free", ""].contains(
                request.model)
        else {
            throw NodeFault(.missing, "there is no model \"\(request.model)\"", param: "model", code: "model_not_found")
        }
        return Generation(
            requestID: "4f1c0001", model: request.model.isEmpty ? "starter" : request.model, servedBy: Self.peer,
            isLocal: request.model != "remote", receiptID: request.datanet == nil ? nil : Self.receiptID,
            events: events(for: request))
    }

    private func events(for request: GenerationRequest) -> AsyncThrowingStream<GenerationEvent, any Error> {
        let (stream, continuation) = AsyncThrowingStream<GenerationEvent, any Error>.makeStream()
        let task = Task { [tokenNanoseconds] in
            let words = request.tokensMax.map { Array(Self.answer.prefix($0)) } ?? Self.answer
            if request.echo {
                continuation.yield(.token(TokenEvent(id: 1, text: "Define", isPrompt: true)))
                continuation.yield(.token(Self.token(2, " it", request, isPrompt: true)))
            }
            repeat {
                for choice in 0..<request.choices {
                    for (index, word) in words.enumerated() {
                        if Task.isCancelled { return }
                        try? await Task.sleep(
                            nanoseconds: max(tokenNanoseconds, request.model == "endless" ? 1_000_000 : 0))
                        continuation.yield(.token(Self.token(UInt32(10 + index), word, request, choice: choice)))
                    }
                }
                if request.model == "broken" {
                    continuation.finish(
                        throwing: NodeFault(.timeout, "the neighbour stopped answering", code: "peer_stalled"))
                    return
                }
            } while request.model == "endless"
            for choice in 0..<(request.tools == nil ? 0 : request.choices) {
                continuation.yield(
                    .toolCall(
                        choice: choice, ToolCall(id: "abcdefghi", name: "weather", arguments: #"{"city":"Rome"}"#)))
                continuation.yield(.finished(choice: choice, .toolCalls))
            }
            for choice in 0..<(request.tools == nil ? request.choices : 0) {
                continuation.yield(.finished(choice: choice, words.count < Self.answer.count ? .length : .stop))
            }
            if request.datanet != nil { continuation.yield(.sources(Self.sources)) }
            if request.model != "free" {
                continuation.yield(
                    .receipt(ReceiptNote(id: Self.receiptID, cost: Amount(text: "0.00041") ?? .zero, state: "signed")))
            }
            continuation.yield(.usage(promptTokens: 41, completionTokens: words.count * request.choices))
            continuation.finish()
        }
        continuation.onTermination = { [notes = NotesReference(self)] _ in
            task.cancel()
            notes.node.notes.withLock { $0.generationsEnded += 1 }
        }
        return stream
    }

    private struct NotesReference: Sendable {
        let node: FakeNode
        init(_ node: FakeNode) { self.node = node }
    }

    private static func token(
        _ id: UInt32, _ text: String, _ request: GenerationRequest, choice: Int = 0, isPrompt: Bool = false
    ) -> TokenEvent {
        guard let count = request.logProbabilities else {
            return TokenEvent(choice: choice, id: id, text: text, isPrompt: isPrompt)
        }
        let chosen = TokenCandidate(id: id, text: text, bytes: Array(text.utf8), logProbability: -0.25)
        let other = TokenCandidate(id: 9, text: "<|end|>", bytes: Array("<|end|>".utf8), logProbability: -1.5)
        return TokenEvent(
            choice: choice, id: id, text: text, isPrompt: isPrompt, chosen: chosen,
            alternatives: Array([chosen, other].prefix(count)))
    }

    static let sources = [
        AnswerSource(
            row: "\(blockCID.text)#1042", rowID: "food-1042", datanet: blockCID.text, datanetName: "food",
            contributor: peer, share: PartsPerMillion(620_000),
            text: "brisket (noun): a cut of meat from the breast or lower chest especially of beef.", license: "WordNet"
        ),
        AnswerSource(
            row: "\(blockCID.text)#7", rowID: "food-7", datanet: blockCID.text, datanetName: "food", contributor: other,
            share: PartsPerMillion(380_000), text: "gumbo (noun): <b>a soup</b> or stew thickened with okra pods.",
            license: "WordNet"),
    ]

    func tokenize(_ request: TokenizeRequest) async throws(NodeFault) -> [UInt32] {
        switch request.input {
        case .text(let text, let addsSpecials): (addsSpecials ? [1] : []) + text.utf8.map(UInt32.init)
        case .messages(let messages, _, let extras):
            [2] + messages.map { UInt32($0.content.utf8.count) } + [UInt32(extras.count)]
        }
    }

    func detokenize(_ tokens: [UInt32], model: String) async throws(NodeFault) -> String {
        String(decoding: tokens.map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
    }

    func perform(_ call: NodeCall) async throws(NodeFault) -> JSONValue {
        let rows = notes.withLock { notes in
            notes.calls.append(call)
            if case .createDatanet(let description) = call { notes.datanets.append(description.name) }
            if case .addRows(_, let upload) = call, !upload.bytes.contains(UInt8(ascii: "!")) { notes.rows += 2 }
            if case .faucet = call { notes.hasFaucetMoney = true }
            return (notes.rows, notes.datanets, notes.hasFaucetMoney)
        }
        return try FakeAnswers.answer(call, rows: rows.0, datanets: rows.1, isRich: rows.2)
    }

    func stream(_ call: NodeStreamCall) async throws(NodeFault) -> any AsyncSequence<JSONValue, any Error> & Sendable {
        notes.withLock { $0.streams.append(call) }
        let (stream, continuation) = AsyncThrowingStream<JSONValue, any Error>.makeStream()
        if case .exportDatanet = call {
            continuation.yield(
                .object(["prompt": .string("Define gumbo."), "completion": .string("gumbo (noun): a soup.")]))
        } else if case .trainingEvents("paused") = call {
            continuation.yield(.object(["event": .string("done"), "state": .string("paused")]))
        } else {
            for step in 1...3 {
                continuation.yield(
                    .object([
                        "event": .string("progress"), "done_bytes": .integer(step * 100), "total_bytes": .integer(300),
                        "blocks": .integer(step),
                    ]))
            }
            continuation.yield(.object(["event": .string("done"), "bytes": .integer(300)]))
        }
        continuation.finish()
        return stream
    }

    func events() async throws(NodeFault) -> any AsyncSequence<NodeEvent, any Error> & Sendable {
        let (stream, continuation) = AsyncThrowingStream<NodeEvent, any Error>.makeStream()
        continuation.yield(NodeEvent(.batch, .object(["height": .integer(128)])))
        return EndlessStream(stream: stream, continuation: continuation)
    }

    func receiptBundle(_ id: String) async throws(NodeFault) -> [UInt8] {
        guard id == Self.receiptID else {
            throw NodeFault(.missing, "there is no receipt \(id)", code: "receipt_not_found")
        }
        return Self.bundle
    }

    func block(_ cid: CID) async throws -> [UInt8]? { cid == Self.blockCID ? Self.block : nil }

    func blocks(
        below root: CID, blocksMax: Int
    ) async throws(NodeFault) -> any AsyncSequence<Block, any Error> & Sendable {
        AsyncThrowingStream { continuation in
            continuation.yield(Block(cid: Self.blockCID, bytes: Self.block))
            continuation.finish()
        }
    }
}

/// Keeps the continuation, so that the stream stays open until someone stops listening.
private struct EndlessStream: AsyncSequence, Sendable {
    let stream: AsyncThrowingStream<NodeEvent, any Error>
    let continuation: AsyncThrowingStream<NodeEvent, any Error>.Continuation

    func makeAsyncIterator() -> AsyncThrowingStream<NodeEvent, any Error>.Iterator { stream.makeAsyncIterator() }
}
