// Answers of this peer's engine, repeated by it: what it gave is the same, what was changed is found.

import Ledger
import NodeCore
import Primitives
import Records
import Testing

@testable import Peer

@Suite struct ReexecutionTests {
    private struct Bench {
        let home: TestHome
        let service: InferenceService
        let model: CID
    }

    private func bench() throws -> Bench {
        let home = try TestHome()
        let shelf = try home.open().shelf
        let (model, _) = try shelf.importFolder(path: Starter.model, kind: .model, name: "starter")
        let datanet = try TestDatanet([try Starter.rows(["Define brisket."])])
        let peer = try SigningKey(seed: [UInt8](repeating: 3, count: 32)).publicKey.peerID
        return Bench(
            home: home,
            service: InferenceService(
                shelf: shelf, library: datanet.library, book: try AdapterBook(store: nil), peer: peer), model: model)
    }

    /// The order's answer, as its receipt and opening would have it.
    private func answered(_ bench: Bench, _ order: AskOrder) async throws -> ReexecutionOrder {
        let box = NewsBox()
        bench.service.generate(order, ticket: Ticket(1), news: box.take)
        let answer = await box.answer()
        let start = try #require(answer.start, "\(answer.fault ?? "")")
        return try reexecution(order, start, answer.tokens)
    }

    private func reexecution(
        _ order: AskOrder, _ start: AnswerStart, _ tokens: [UInt32]
    ) throws -> ReexecutionOrder {
        let key = try SigningKey(seed: [UInt8](repeating: 9, count: 32)).publicKey
        let opening = AuditOpening(
            promptTokens: start.promptTokens, answerTokens: tokens, promptSalt: order.promptSalt,
            answerSalt: order.answerSalt, settings: order.settings)
        let receipt = Receipt(
            network: NetworkID(.zero), allowance: order.allowance, sequence: 1, request: order.request, expiry: 9,
            model: start.model, decoding: order.decoding,
            prompt: try #require(
                Commitment(salt: order.promptSalt, content: Commitment.content(tokens: start.promptTokens))),
            answer: try #require(opening.answerCommitment(tokens[...])),
            promptTokens: UInt64(start.promptTokens.count), answerTokens: UInt64(tokens.count), data: .none,
            price: order.price, amount: .zero, total: .zero, payer: order.payer, payerKey: key, server: order.payer,
            serverKey: key)
        return ReexecutionOrder(receipt: receipt, opening: opening)
    }

    private func reexecuted(_ bench: Bench, _ order: ReexecutionOrder) async -> Reexecution {
        await withCheckedContinuation { continuation in
            bench.service.reexecute(order) { continuation.resume(returning: $0) }
        }
    }

    private func orders(_ bench: Bench, adapter: CID) throws -> [AskOrder] {
        let hot = Decoding(seed: 4, temperature: 1_200_000, topK: 40, topP: 950_000, maxTokens: 48)
        let penal = Decoding(
            seed: 5, temperature: 800_000, repetitionPenalty: 1_200_000, frequencyPenalty: 300_000,
            presencePenalty: 200_000, maxTokens: 48)
        var stopped = try order(bench.model, decoding: Decoding(maxTokens: 64))
        stopped.settings.stop = ["meat"]
        var endless = try order(bench.model, decoding: hot)
        endless.settings.ignoreEndOfSequence = true
        return [
            try order(bench.model), try order(bench.model, decoding: hot),
            try order(bench.model, decoding: penal, precision: "f32"), stopped, endless,
            try order(bench.model, adapters: [AdapterUse(adapter: adapter, owner: nil)], decoding: hot),
            try order(bench.model, decoding: hot, precision: "bf16"),
            try order(bench.model, decoding: hot, precision: "int4"),
        ]
    }

    @Test func whatWasGivenIsTheSame() async throws {
        let bench = try bench()
        let (adapter, _) = try bench.service.shelf.importFolder(
            path: Starter.adapter, kind: .adapter, name: "food", base: bench.model)
        for (number, order) in try orders(bench, adapter: adapter).enumerated() {
            let given = try await answered(bench, order)
            #expect(await reexecuted(bench, given) == .done(.same(ended: true)), "order \(number)")
            // A beginning of it, as a payer leaves who cancels.
            var cut = given
            cut.opening.answerTokens.removeLast()
            #expect(await reexecuted(bench, cut) == .done(.same(ended: false)), "order \(number)")
            cut.opening.answerTokens = []
            #expect(await reexecuted(bench, cut) == .done(.same(ended: false)))
            // One token that is not the model's, anywhere.
            for place in [0, given.opening.answerTokens.count - 1] {
                var changed = given
                let right = given.opening.answerTokens[place]
                changed.opening.answerTokens[place] = right == 5 ? 6 : 5
                #expect(
                    await reexecuted(bench, changed) == .done(.differs(position: UInt64(place), found: right)),
                    "order \(number)")
            }
            var longer = given
            longer.opening.answerTokens += [5, 5]
            #expect(
                await reexecuted(bench, longer)
                    == .done(.differs(position: UInt64(given.opening.answerTokens.count), found: nil)))
        }
    }

    @Test func othersSettingsAreOtherAnswers() async throws {
        let bench = try bench()
        let (adapter, _) = try bench.service.shelf.importFolder(
            path: Starter.adapter, kind: .adapter, name: "food", base: bench.model)
        let hot = Decoding(seed: 4, temperature: 1_500_000, maxTokens: 64)
        var order = try order(bench.model, decoding: hot, precision: "f32")
        order.settings.ignoreEndOfSequence = true
        let given = try await answered(bench, order)
        func differs(_ change: (inout ReexecutionOrder) -> Void) async -> Bool {
            var changed = given
            change(&changed)
            if case .done(.differs) = await reexecuted(bench, changed) { return true }
            return false
        }
        #expect(await !differs { _ in })
        #expect(await differs { $0.receipt.decoding.seed = 5 })
        #expect(await differs { $0.receipt.decoding.temperature = 3_000_000 })
        #expect(await differs { $0.receipt.model.precision = "int4" })
        #expect(await differs { $0.receipt.model.adapters = [AdapterUse(adapter: adapter, owner: nil)] })
        #expect(await differs { $0.opening.promptTokens.swapAt(0, 1) })
        #expect(await differs { $0.receipt.decoding.maxTokens = 3 })
    }

    @Test func whatCannotBeRepeatedToTheLetterIsRefused() async throws {
        let bench = try bench()
        let given = try await answered(bench, try order(bench.model, decoding: Decoding(maxTokens: 4)))
        func code(_ change: (inout ReexecutionOrder) -> Void) async -> String? {
            var changed = given
            change(&changed)
            if case .refused(let code, _) = await reexecuted(bench, changed) { return code }
            return nil
        }
        let other = CID(.raw, hashing: [1])
        #expect(await code { $0.receipt.model.numerics += 1 } == "numerics")
        #expect(await code { $0.receipt.model.precision = "f64" } == "precision")
        #expect(await code { $0.receipt.model.weights = other } == "model_missing")
        #expect(await code { $0.receipt.model.tokenizer = other } == "tokenizer")
        #expect(await code { $0.receipt.model.template = nil } == "tokenizer")
        #expect(
            await code { $0.receipt.model.adapters = [AdapterUse(adapter: other, owner: nil)] } == "adapter_missing")
        #expect(
            await code { $0.receipt.model.adapters = [AdapterUse(adapter: other, weight: 5, owner: nil)] } == "fusion")
        #expect(await code { $0.opening.promptTokens[0] = .max } == "token_out_of_range")
        #expect(await code { $0.opening.promptTokens = [] } == "prompt_empty")
        #expect(await code { $0.receipt.decoding.topP = 0 } == "out_of_range")
    }
}
