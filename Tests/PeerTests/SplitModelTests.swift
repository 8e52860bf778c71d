// A model too large for one peer, computed by several over loopback: the answer is that of one machine, also when a peer goes
// in the middle of it.

import Foundation
import Ledger
import Logging
import NodeCore
import Primitives
import Records
import Synchronization
import Testing

@testable import Peer

@Suite struct SplitModelTests {
    private let logger = Logger(label: "layers")

    private func start(_ flags: [String: String]) async throws -> (peer: RunningPeer, home: TestHome, model: CID) {
        let home = try TestHome()
        var options = PeerOptions(home: home.path, environment: [:])
        options.starter = false
        options.flags = ["listen": "/ip4/127.0.0.1/tcp/0", "http": "127.0.0.1:0"].merging(flags) { $1 }
        let peer = try await RunningPeer.start(options, logger: logger)
        let (model, _) = try peer.shelf.importFolder(path: Starter.model, kind: .model, name: "starter")
        await peer.advertise()
        return (peer, home, model)
    }

    private func answer(
        _ peer: RunningPeer, _ model: CID, _ number: UInt64, tokens: UInt64,
        onToken: @escaping @Sendable (Int) -> Void = { _ in }
    ) async throws -> NewsBox.Answer {
        var order = try order(model, decoding: .init(maxTokens: tokens), precision: "f32")
        order.settings.ignoreEndOfSequence = true
        let box = NewsBox(), take = box.take, count = Atomic(0)
        peer.inference.generate(order, ticket: Ticket(number)) { news in
            take(news)
            // On the engine's thread: what is done here comes before the next token.
            if case .token = news { onToken(count.add(1, ordering: .relaxed).newValue) }
        }
        return await box.answer()
    }

    @Test(.timeLimit(.minutes(3))) func aStageIsReplacedInTheMiddleOfAnAnswer() async throws {
        // Embeddings, head and the first layer.
        let (host, hostHome, model) = try await start(["memory.models": "10MiB"])
        let address = try #require(try await host.handle.listenAddresses().first).with(peer: host.handle.peer).text
        let joining = ["network": host.genesis.network.text, "bootstrap": address]
        let first = try await start(joining.merging(["layers.serve": "starter:0-2"]) { $1 })
        let others = [
            try await start(joining.merging(["layers.serve": "starter:3-5"]) { $1 }),
            try await start(joining.merging(["layers.serve": "starter:3-5", "layers.memory": "512MiB"]) { $1 }),
        ]
        defer { withExtendedLifetime((hostHome, first.home, others.map(\.home))) {} }
        for _ in 0..<200 {
            let offers = try await host.handle.read {
                $0.layerOffers(model, precision: "f32", numerics: 2, now: NodeDriver.wallTime())
            }
            if offers.count == 3 { break }
            try await Task.sleep(for: .milliseconds(50))
        }
        let whole = try await answer(first.peer, model, 1, tokens: 300)
        #expect(whole.tokens.count == 300 && whole.fault == nil)

        // The one that computes layers 3 to 5 is killed at the tenth token.
        let victim = Mutex<Int?>(nil), peers = others.map(\.peer)
        let split = try await answer(host, model, 2, tokens: 300) { count in
            guard count == 10, let used = peers.firstIndex(where: { $0.stages.sessions > 0 }) else { return }
            victim.withLock { $0 = used }
            let gone = DispatchSemaphore(value: 0)
            Task.detached {
                await peers[used].stop()
                gone.signal()
            }
            gone.wait()
        }
        #expect(split.fault == nil && split.tokens == whole.tokens && split.text == whole.text)
        let killed = try #require(victim.withLock { $0 })
        #expect(others[1 - killed].peer.stages.sessions == 1 && first.peer.stages.sessions == 1)
        #expect(try await host.handle.read { $0.stagesUsed } == 2)

        // Again, from pages that are kept by now on both sides.
        #expect(try await answer(host, model, 3, tokens: 300).tokens == whole.tokens)

        // Nobody left: an error that names the layers, and the next question hears it at once.
        await first.peer.stop()
        for number in 4...5 as ClosedRange<UInt64> {
            #expect(try await answer(host, model, number, tokens: 5).fault == "layers_missing")
        }
        // What was used of the others ends with their connections, a moment later.
        var used = 1
        for _ in 0..<200 where used > 0 {
            used = try await host.handle.read { $0.stagesUsed }
            try await Task.sleep(for: .milliseconds(50))
        }
        #expect(used == 0)
        await others[1 - killed].peer.stop()
        await host.stop()
    }

    @Test func theSettingsSayWhatTheyMean() throws {
        #expect(LayersWanted(text: "starter:0-2")?.layers == 0..<3)
        #expect(LayersWanted(text: "starter")?.layers == nil && LayersWanted(text: "starter")?.model == "starter")
        for text in ["", ":0-1", "a:1", "a:2-1", "a:-1-2", "a:0-9999", "a:0-1:2"] {
            #expect(LayersWanted(text: text) == nil)
        }
        let home = try TestHome()
        func settings(_ flags: [String: String]) throws -> Settings {
            try Settings(home: Home(path: home.path), flags: flags, environment: [:])
        }
        #expect(try settings(["memory.models": "6GiB"]).bytes("memory.models") == 6 << 30)
        #expect(try settings(["memory.models": "1500"]).bytes("memory.models") == 1500)
        #expect(try settings([:]).bytes("layers.memory") == 256 << 20)
        for flags in [
            ["memory.models": "much"], ["memory.models": "-1"], ["layers.serve": "a:2-1"], ["layers.for": "nobody"],
        ] {
            #expect(throws: SettingsFault.self) { try settings(flags) }
        }
    }
}
