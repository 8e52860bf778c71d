import Datanets
import Gateway
import Ledger
import NodeCore
import Primitives
import Records
import Synchronization
import Testing

@testable import Peer

@Suite struct InferenceServiceTests {
    private static let answer = "brisket (noun): a cut of meat from the breast or lower chest especially of beef."

    private struct Bench {
        let home: TestHome
        let service: InferenceService
        let datanet: TestDatanet
        let model: CID
    }

    private func bench() throws -> Bench {
        let home = try TestHome()
        let open = try home.open()
        let (model, _) = try open.shelf.importFolder(path: Starter.model, kind: .model, name: "starter")
        // Two contributors; the second repeats a row of the first's, which earns nothing.
        let brisket = try Starter.rows(["Define brisket.", "Define chuck short ribs."])
        let others = try Starter.rows(["gumbo"])
        let datanet = try TestDatanet([brisket, others + brisket])
        let peer = try SigningKey(seed: [UInt8](repeating: 3, count: 32)).publicKey.peerID
        let service = InferenceService(
            shelf: open.shelf, library: datanet.library, book: try AdapterBook(store: nil), peer: peer,
            precision: "int8")
        return Bench(home: home, service: service, datanet: datanet, model: model)
    }

    @Test func answersAnOrderFromADatanet() async throws {
        let bench = try bench()
        let box = NewsBox()
        let order = try order(bench.model, datanet: bench.datanet.held.id.digest)
        bench.service.generate(order, ticket: Ticket(1), news: box.take)
        let answer = await box.answer()
        #expect(answer.text == Self.answer && answer.end == .stop && answer.fault == nil)
        let start = try #require(answer.start)
        // Nobody's share is known before the answer.
        #expect(start.sources.allSatisfy { $0.share == .none && $0.reason == nil })
        #expect(start.sources.first?.text == Self.answer)
        #expect(start.sources.allSatisfy { $0.salt.count == 16 && $0.contributor == start.sources[0].contributor })
        #expect(start.data.snapshots == [bench.datanet.held.snapshot] && start.data.indexes.count == 1)
        #expect(start.data.retrieval?.settings == ["k1": 1_200_000, "b": 750_000])
        #expect(start.model.weights == bench.model && start.model.precision == "int8")
        #expect(start.model.tokenizer != nil && start.model.template != nil)
        let prompt = try await bench.service.detokenize(start.promptTokens, model: bench.model)
        #expect(prompt.hasPrefix("<|user|>Context:\n1. \(Self.answer)\n"))
        #expect(prompt.hasSuffix("\n\nDefine brisket.<|end|><|assistant|>"))
        // The token that ends an answer is one of its tokens.
        #expect(try await bench.service.detokenize(answer.tokens, model: bench.model) == Self.answer + "<|end|>")
        #expect(bench.service.load.tokensGenerated == UInt64(answer.tokens.count))
    }

    @Test func refusesByName() async throws {
        let bench = try bench()
        let adapter = AdapterUse(adapter: CID(.raw, hashing: [1]), owner: nil)
        let long = AskPrompt.text(String(repeating: "brisket ", count: 4000))
        let orders: [(AskOrder, String)] = [
            (try order(CID(.raw, hashing: [])), "model_missing"),
            (try order(bench.model, adapters: [adapter]), "adapter_missing"),
            (try order(bench.model, adapters: [adapter, adapter]), "fusion"),
            (try order(bench.model, precision: "f64"), "precision"),
            (try order(bench.model, decoding: Decoding(repetitionPenalty: 0, maxTokens: 4)), "out_of_range"),
            (try order(bench.model, decoding: Decoding(topP: 0, maxTokens: 4)), "out_of_range"),
            (try order(bench.model, prompt: long), "context_length_exceeded"),
            (try order(bench.model, prompt: .tokens([.max])), "token_out_of_range"),
            (try order(bench.model, datanet: .zero), "datanet_missing"),
            (try order(bench.model, datanet: .zero, prompt: .tokens([1])), "datanet"),
        ]
        for (number, (order, code)) in orders.enumerated() {
            let box = NewsBox()
            bench.service.generate(order, ticket: Ticket(UInt64(number)), news: box.take)
            let answer = await box.answer()
            #expect(answer.fault == code && answer.start == nil)
        }
    }

    @Test func stopsWhenTold() async throws {
        let bench = try bench()
        let box = NewsBox()
        var order = try order(bench.model, decoding: Decoding(maxTokens: 900))
        order.settings.ignoreEndOfSequence = true
        // Told on the engine's own thread at the first token: however fast the engine is, it has hardly begun.
        let service = bench.service
        service.generate(order, ticket: Ticket(7)) { news in
            if case .token = news { service.stop(Ticket(7)) }
            box.take(news)
        }
        let answer = await box.answer()
        #expect(answer.end == .cancelled && answer.tokens.count < 900)
        let left = bench.service.orders.withLock { $0.count }
        #expect(left == 0)
    }

    @Test func adaptersAndLeastRecentModels() async throws {
        let bench = try bench()
        let (adapter, _) = try bench.service.shelf.importFolder(
            path: Starter.adapter, kind: .adapter, name: "food", base: bench.model)
        var texts: Set<String> = []
        for (number, adapters) in [[], [AdapterUse(adapter: adapter, owner: nil)]].enumerated() {
            let box = NewsBox()
            bench.service.generate(
                try order(bench.model, adapters: adapters, decoding: Decoding(maxTokens: 12)),
                ticket: Ticket(UInt64(number)), news: box.take)
            texts.insert(await box.answer().text)
        }
        #expect(texts.count == 2)
        #expect(bench.service.loadedModels == [bench.model])
        // The engine tells the end before it is idle.
        while !bench.service.loadedModels.isEmpty {
            bench.service.unload(bench.model)
            try await Task.sleep(for: .milliseconds(5))
        }
        bench.service.close()
        let box = NewsBox()
        bench.service.generate(try order(bench.model), ticket: Ticket(9), news: box.take)
        #expect(await box.answer().fault == "closing")
    }

    @Test func answersTheGateway() async throws {
        let bench = try bench()
        var request = AnswerRequest(
            model: "starter", prompt: .messages([AnswerMessage(.user, "Define brisket.")]))
        request.sampling.temperature = 0
        request.choices = 2
        request.logProbabilities = 2
        request.datanet = bench.datanet.held.id.text
        let answer = try await bench.service.generate(request, model: bench.model, adapter: nil, name: "starter")
        #expect(answer.isLocal && answer.model == "starter")
        var texts = ["", ""]
        var ends: [Int] = []
        var sources: [AnswerSource] = []
        var usage: (Int, Int)?
        for try await event in answer.events {
            switch event {
            case .token(let token):
                #expect(sources.isEmpty, "sources come with the end")
                texts[token.choice] += token.text
                #expect(token.chosen?.id == token.id && token.alternatives.count == 2)
            case .finished(let choice, let reason):
                ends.append(choice)
                #expect(reason == .stop)
            case .sources(let given): sources = given
            case .usage(let prompt, let completion): usage = (prompt, completion)
            case .receipt: Issue.record("a free answer has no receipt")
            case .toolCall: Issue.record("nobody offered tools")
            }
        }
        #expect(texts == [Self.answer, Self.answer] && ends.sorted() == [0, 1])
        #expect(sources.reduce(0) { $0 + $1.share.value } == 1_000_000 && sources.first?.rowID != nil)
        #expect((usage?.1 ?? 0) > 20)
    }

    @Test func echoesAndScores() async throws {
        let bench = try bench()
        let prompt = try await bench.service.tokenize("Define brisket.", addSpecialTokens: false, model: bench.model)
        var request = AnswerRequest(model: "starter", prompt: .tokens(prompt))
        request.echo = true
        request.tokensMax = 0
        request.logProbabilities = 0
        let answer = try await bench.service.generate(request, model: bench.model, adapter: nil, name: "starter")
        var text = "", scored = 0
        for try await case .token(let token) in answer.events {
            text += token.text
            scored += token.chosen == nil ? 0 : 1
            #expect(token.isPrompt)
        }
        #expect(text == "Define brisket." && scored == prompt.count - 1)
        request.sampling.logitBias = [.max: 1]
        await #expect(throws: AnswerFault.self) {
            _ = try await bench.service.generate(request, model: bench.model, adapter: nil, name: "starter")
        }
    }

    private func tokens(_ bench: Bench, _ request: AnswerRequest, merged: [CID] = []) async throws -> [UInt32] {
        let answer = try await bench.service.generate(
            request, model: bench.model, adapter: nil, merged: merged, name: "starter")
        var tokens: [UInt32] = []
        for try await case .token(let token) in answer.events { tokens.append(token.id) }
        return tokens
    }

    @Test func whatIsAskedOfTheSamplerIsDone() async throws {
        let bench = try bench()
        var request = AnswerRequest(model: "starter", prompt: .messages([AnswerMessage(.user, "Define brisket.")]))
        request.sampling.temperature = 0
        request.tokensMax = 6
        let plain = try await tokens(bench, request)
        let first = try #require(plain.first)
        request.sampling.logitBias = [first: -100]
        #expect(try await tokens(bench, request).first != first)
        request.sampling.logitBias = [first: 100]
        #expect(try await tokens(bench, request) == Array(repeating: first, count: 6))
        request.sampling.logitBias = [:]
        request.sampling.temperature = 2
        request.sampling.minP = 1
        #expect(try await tokens(bench, request) == plain)
        request.tenant = "00112233445566ff"
        #expect(try await tokens(bench, request) == plain)
        request.sampling.minP = 2
        await #expect(throws: AnswerFault.self) { _ = try await tokens(bench, request) }
    }

    @Test func adaptersAreFused() async throws {
        let bench = try bench()
        let (adapter, _) = try bench.service.shelf.importFolder(
            path: Starter.adapter, kind: .adapter, name: "food", base: bench.model)
        var request = AnswerRequest(model: "starter", prompt: .messages([AnswerMessage(.user, "Define brisket.")]))
        request.sampling.temperature = 0
        request.tokensMax = 8
        let alone = try await bench.service.generate(
            request, model: bench.model, adapter: adapter, name: "starter:food")
        var expected: [UInt32] = []
        for try await case .token(let token) in alone.events { expected.append(token.id) }
        request.merge = AnswerMerge(adapters: ["food"], weights: [1])
        #expect(try await tokens(bench, request, merged: [adapter]) == expected)
        request.merge = AnswerMerge(adapters: ["food"], weights: [0])
        let without = try await tokens(bench, request, merged: [adapter])
        request.merge = nil
        #expect(try await tokens(bench, request) == without)
    }

    private func first<Events: AsyncSequence>(of events: Events) async throws -> Events.Element? {
        for try await event in events { return event }
        return nil
    }

    @Test func anAbandonedAnswerEnds() async throws {
        let bench = try bench()
        var request = AnswerRequest(model: "starter", prompt: .text("Define brisket."))
        request.ignoreEndOfSequence = true
        // Eight to one context each would be eight times a thousand tokens.
        for _ in 0..<8 {
            let answer = try await bench.service.generate(request, model: bench.model, adapter: nil, name: "starter")
            #expect(try await first(of: answer.events) != nil)
        }
        while bench.service.load.running > 0 { try await Task.sleep(for: .milliseconds(5)) }
        #expect(bench.service.load.tokensGenerated < 7_000)
    }
}

@Suite struct LibraryTests {
    @Test func findsRowsAndCountsThem() throws {
        let gumbo = try Starter.rows(["Define gumbo."]), brisket = try Starter.rows(["Define brisket."])
        let datanet = try TestDatanet([gumbo, brisket])
        let library = datanet.library
        let found = try library.find("Define brisket.", in: datanet.held.id.digest)
        let first = try #require(found.passages.first)
        #expect(first.ordinal == UInt64(gumbo.count) && first.row.prompt == "Define brisket.")
        #expect(first.name == "\(datanet.held.shards[1].text)#0" && first.licence == "WordNet-3.0")
        #expect(try library.find("What is a gumbo?", in: datanet.held.id.digest).passages.first?.ordinal == 0)
        #expect(try library.find("carburettor", in: datanet.held.id.digest).passages.isEmpty)
        #expect(throws: LibraryFault.self) { try library.find("gumbo", in: .zero) }
    }

    @Test func saysWhatIsMissing() throws {
        let datanet = try TestDatanet([try Starter.rows(["gumbo"])])
        let library = Library(read: { _ in nil }, datanet: { [held = datanet.held] _ in held })
        #expect(throws: LibraryFault.self) { try library.find("gumbo", in: .zero) }
    }
}
