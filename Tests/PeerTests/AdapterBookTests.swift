// Adapters by hand on a real engine: load, pin, unload, what is counted; pins and names of fusions outlive a restart.

import Gateway
import Inference
import Primitives
import Records
import Storage
import Testing

@testable import Peer

@Suite struct AdapterBookTests {
    private func service(_ home: TestHome, _ book: AdapterBook) throws -> (InferenceService, CID, CID) {
        let open = try home.open()
        let (model, _) = try open.shelf.importFolder(path: Starter.model, kind: .model, name: "starter")
        let (adapter, _) = try open.shelf.importFolder(
            path: Starter.adapter, kind: .adapter, name: "food", base: model)
        let peer = try SigningKey(seed: [UInt8](repeating: 3, count: 32)).publicKey.peerID
        let service = InferenceService(
            shelf: open.shelf, library: try TestDatanet([]).library, book: book, peer: peer, precision: "int8")
        return (service, model, adapter)
    }

    @Test func loadedPinnedUnloadedAndCounted() async throws {
        let home = try TestHome()
        let (service, model, adapter) = try service(home, try AdapterBook(store: nil))
        func standing() async -> AdapterStanding? { await service.standing(of: [adapter], base: model)[adapter] }
        #expect(await standing()?.report == nil)
        try await service.perform(.load, on: adapter)
        #expect(await standing()?.report?.state == .resident)
        #expect(await standing()?.report?.isPinned == false)
        var request = AnswerRequest(model: "starter:food", prompt: .messages([AnswerMessage(.user, "Define brisket.")]))
        request.tokensMax = 2
        for _ in 0..<2 {
            let answer = try await service.generate(request, model: model, adapter: adapter, name: "starter:food")
            for try await _ in answer.events {}
        }
        let usage = service.book.usage(of: adapter)
        #expect(usage.requests == 2 && usage.hits == 2 && usage.loads == 1 && usage.lastUsed != nil)
        try await service.perform(.pin, on: adapter)
        #expect(await standing()?.report?.isPinned == true && service.book.isPinned(adapter))
        try await service.perform(.unpin, on: adapter)
        #expect(await standing()?.report?.isPinned == false && !service.book.isPinned(adapter))
        try await service.perform(.unload, on: adapter)
        #expect(await standing()?.report == nil)
        // It comes in again when it is asked for.
        let answer = try await service.generate(request, model: model, adapter: adapter, name: "starter:food")
        for try await _ in answer.events {}
        #expect(service.book.usage(of: adapter).hits == 2 && service.book.usage(of: adapter).loads == 2)
        await #expect(throws: AnswerFault.self) { try await service.perform(.pin, on: model) }
    }

    /// Who runs with an adapter keeps it, whatever is done to its name.
    @Test func unloadingDisturbsNobody() async throws {
        let home = try TestHome()
        let (service, model, adapter) = try service(home, try AdapterBook(store: nil))
        var request = AnswerRequest(model: "starter:food", prompt: .messages([AnswerMessage(.user, "Define brisket.")]))
        request.tokensMax = 200
        request.ignoreEndOfSequence = true
        request.sampling.temperature = 0
        func tokens(unloadsAfter limit: Int) async throws -> [UInt32] {
            var tokens: [UInt32] = []
            let answer = try await service.generate(request, model: model, adapter: adapter, name: "starter:food")
            for try await case .token(let token) in answer.events {
                tokens.append(token.id)
                if tokens.count == limit { try await service.perform(.unload, on: adapter) }
            }
            return tokens
        }
        let whole = try await tokens(unloadsAfter: .max)
        #expect(try await tokens(unloadsAfter: 3) == whole && whole.count == 200)
    }

    @Test func pinsAndFusionsOutliveARestart() async throws {
        let home = try TestHome()
        let schema = Schema(version: 1, tables: AdapterBook.tables)
        let adapter = CID(.raw, hashing: [1]), base = CID(.raw, hashing: [2])
        let fusion = NamedFusion(
            name: "kitchen", base: base, parts: [.init(adapter: adapter, weight: -300_000)], method: "ties/500000/total"
        )
        do {
            let store = try Store(home: home.path, schema: schema)
            defer { store.close() }
            let book = try AdapterBook(store: store)
            #expect(try book.pin(adapter) && book.put(fusion))
        }
        let store = try Store(home: home.path, schema: schema)
        defer { store.close() }
        let book = try AdapterBook(store: store)
        #expect(book.pins == [adapter] && book.fusions == [fusion])
        try book.forget(adapter)
        try book.removeFusion("kitchen")
        #expect(try AdapterBook(store: store).pins.isEmpty && AdapterBook(store: store).fusions.isEmpty)
    }

    @Test func aPinIsKeptByTheNextEngine() async throws {
        let home = try TestHome()
        let book = try AdapterBook(store: nil)
        let (service, model, adapter) = try service(home, book)
        #expect(try book.pin(adapter))
        // The model comes into memory for something else.
        var request = AnswerRequest(model: "starter", prompt: .messages([AnswerMessage(.user, "Define brisket.")]))
        request.tokensMax = 1
        let answer = try await service.generate(request, model: model, adapter: nil, name: "starter")
        for try await _ in answer.events {}
        for _ in 0..<200 where await service.standing(of: [adapter], base: model)[adapter]?.report?.state != .resident {
            try await Task.sleep(for: .milliseconds(10))
        }
        let report = await service.standing(of: [adapter], base: model)[adapter]?.report
        #expect(report?.state == .resident && report?.isPinned == true)
    }
}
