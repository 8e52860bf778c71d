// A paid order gives what the free answer to the same request gives: bias, form, choice, fusion, log-probabilities.

import Gateway
import Ledger
import NodeCore
import Primitives
import Records
import Synchronization
import Testing

@testable import Peer

@Suite struct PaidAnswerTests {
    private struct Bench {
        let home: TestHome
        let service: InferenceService
        let model: CID
        let adapters: [CID]

        init() throws {
            home = try TestHome()
            let open = try home.open()
            let (model, _) = try open.shelf.importFolder(path: Starter.model, kind: .model, name: "starter")
            self.model = model
            adapters = try ["food", "anatomy"].map { name in
                try open.shelf.importFolder(
                    path: "\(Starter.folder)/adapters/\(name)", kind: .adapter, name: name, base: model
                ).0
            }
            let peer = try SigningKey(seed: [UInt8](repeating: 3, count: 32)).publicKey.peerID
            service = InferenceService(
                shelf: open.shelf, library: try TestDatanet([]).library, book: try AdapterBook(store: nil), peer: peer,
                precision: "int8")
        }

        func free(_ request: AnswerRequest, merged: [CID] = []) async throws -> [[UInt32]] {
            var tokens = [[UInt32]](repeating: [], count: request.choices)
            let answer = try await service.generate(
                request, model: model, adapter: nil, merged: merged, name: "starter")
            for try await case .token(let token) in answer.events { tokens[token.choice].append(token.id) }
            return tokens
        }

        func paid(_ order: AskOrder) async throws -> (NewsBox.Answer, [[TokenScore]]) {
            let box = NewsBox(), scores = ScoreBox()
            service.generate(order, ticket: Ticket(UInt64(order.settings.choice))) { news in
                if case .token(_, _, let given) = news { scores.add(given) }
                box.take(news)
            }
            return (await box.answer(), scores.all)
        }
    }

    private func request(_ change: (inout AnswerRequest) -> Void) -> AnswerRequest {
        var request = AnswerRequest(
            model: "starter", prompt: .messages([AnswerMessage(.user, "Define brisket.")]))
        request.tokensMax = 12
        request.sampling.seed = 77
        change(&request)
        return request
    }

    private func order(_ bench: Bench, _ temperature: UInt64 = 1_000_000) throws -> AskOrder {
        try PeerTests.order(bench.model, decoding: Decoding(seed: 77, temperature: temperature, maxTokens: 12))
    }

    @Test func choicesOfAPaidAnswerAreThoseOfAFreeOne() async throws {
        let bench = try Bench()
        let free = try await bench.free(request { $0.choices = 3 })
        #expect(Set(free).count > 1, "choices that are all alike would show nothing")
        for choice in 0..<3 {
            var order = try order(bench)
            order.settings.choice = UInt32(choice)
            #expect(try await bench.paid(order).0.tokens == free[choice])
        }
    }

    @Test func biasAndFormAreKept() async throws {
        let bench = try Bench()
        let plain = try await bench.paid(try order(bench, 0)).0
        let first = try #require(plain.tokens.first)
        var order = try order(bench, 0)
        order.settings.bias = [AskBias(token: first, bias: -100_000_000)]
        let banned = try await bench.paid(order).0
        #expect(!banned.tokens.contains(first))
        let same = request {
            $0.sampling.temperature = 0
            $0.sampling.logitBias = [first: -100]
        }
        #expect(try await bench.free(same)[0] == banned.tokens)

        var formed = try self.order(bench, 0)
        formed.settings.form = .schema(#"{"enum":["brisket","femur"]}"#)
        let text = try await bench.paid(formed).0.text
        #expect(["\"brisket\"", "\"femur\""].contains(text))
        formed.settings.form = .schema("{")
        #expect(try await bench.paid(formed).0.fault == "invalid_value")
        formed.settings.form = .grammar("root ::= nothing")
        #expect(try await bench.paid(formed).0.fault == "invalid_value")
        formed.settings.form = nil
        formed.settings.bias = [AskBias(token: .max, bias: 0)]
        #expect(try await bench.paid(formed).0.fault == "token_out_of_range")
    }

    @Test func scoresComeWithEachToken() async throws {
        let bench = try Bench()
        var order = try order(bench, 0)
        order.logProbabilities = 2
        let (answer, scores) = try await bench.paid(order)
        #expect(scores.count == answer.tokens.count && scores.allSatisfy { $0.count == 3 })
        for (token, given) in zip(answer.tokens, scores) {
            #expect(given[0].id == token && given[1].logProbability >= given[2].logProbability)
            // Greedy: the token is the likeliest.
            #expect(given[0].logProbability == given[1].logProbability)
        }
    }

    @Test(arguments: [
        ("linear", AdapterMerge.Strategy.linear), ("ties/500000/total", .ties), ("dare_linear/500000", .dareLinear),
        ("dare_ties/500000/total", .dareTies),
    ])
    func aFusionIsTheOneOfAFreeAnswer(text: String, strategy: AdapterMerge.Strategy) async throws {
        let bench = try Bench()
        var order = try order(bench, 0)
        order.adapters = zip(bench.adapters, [700_000, -300_000]).map {
            AdapterUse(adapter: $0, weight: $1, owner: nil)
        }
        order.fusion = text
        let answer = try await bench.paid(order).0
        #expect(answer.start?.model.fusion == text && answer.start?.model.adapters == order.adapters)
        let same = request {
            $0.sampling.temperature = 0
            $0.merge = AdapterMerge(
                adapters: ["food", "anatomy"], weights: [0.7, -0.3], strategy: strategy, density: 0.5)
        }
        #expect(try await bench.free(same, merged: bench.adapters)[0] == answer.tokens)
    }

    @Test func aMethodHasOneText() {
        for text in [
            "linear", "ties/500000/total", "ties/1/frequency", "dare_linear/1000000", "dare_ties/250000/total",
        ] {
            #expect(OrderFusion(text: text)?.text == text)
        }
        for text in [
            "", "linear/1000000", "ties", "ties/0/total", "ties/1000001/total", "ties/0500000/total", "ties/5e5/total",
            "ties/500000", "ties/500000/most", "dare_linear/500000/total", "cat",
        ] {
            #expect(OrderFusion(text: text) == nil, "\(text)")
        }
    }
}

/// Written on the engine's thread, read when it has ended.
private final class ScoreBox: Sendable {
    private let scores = Mutex<[[TokenScore]]>([])

    func add(_ given: [TokenScore]) { scores.withLock { $0.append(given) } }
    var all: [[TokenScore]] { scores.withLock { $0 } }
}
