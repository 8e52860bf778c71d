// Three homes on loopback: one answers for pay, one audits, one pays and holds no model.

import Foundation
import Gateway
import Ledger
import Logging
import NodeCore
import Primitives
import Records
import Storage
import Testing

@testable import Peer

@Suite(.serialized) struct AuditingPeersTests {
    private final class Homes: Sendable {
        let folders: [String]
        let server: RunningPeer
        let auditor: RunningPeer
        let payer: RunningPeer
        let service: PeerService

        init(payerFlags: [String: String]) async throws {
            let folders = (0..<3).map { _ in
                "\(FileManager.default.temporaryDirectory.path)/ola-\(UInt32.random(in: 0 ... .max))"
            }
            self.folders = folders
            func options(_ index: Int, _ flags: [String: String]) -> PeerOptions {
                var options = PeerOptions(home: folders[index], environment: [:])
                options.starter = index < 2
                options.starterPath = Starter.folder
                options.flags = ["listen": "/ip4/127.0.0.1/tcp/0", "http": "127.0.0.1:0", "precision": "int8"]
                    .merging(flags) { $1 }
                return options
            }
            let logger = Logger(label: "auditing") { _ in SwiftLogNoOpLogHandler() }
            server = try await RunningPeer.start(options(0, [:]), logger: logger)
            func address(_ peer: RunningPeer) async throws -> String {
                try #require(try await peer.handle.listenAddresses().first).with(peer: peer.handle.peer).text
            }
            let network = server.genesis.network.text
            let first = try await address(server)
            auditor = try await RunningPeer.start(
                options(1, ["network": network, "bootstrap": first]), logger: logger)
            let both = "\(first),\(try await address(auditor))"
            payer = try await RunningPeer.start(
                options(2, ["network": network, "bootstrap": both].merging(payerFlags) { $1 }), logger: logger)
            service = PeerService(peer: payer)
        }

        func stop() async {
            for peer in [payer, auditor, server] { await peer.stop() }
            for folder in folders { try? FileManager.default.removeItem(atPath: folder) }
        }

        func until<Value: Sendable>(
            _ what: String, _ body: () async throws -> Value?
        ) async throws -> Value {
            for _ in 0..<600 {
                if let value = try await body() { return value }
                try await Task.sleep(for: .milliseconds(100))
            }
            throw NodeFault(.timeout, "not in a minute: \(what)", code: "test")
        }

        /// A paid answer of the server's; its receipt.
        func ask() async throws -> String {
            _ = try await service.perform(.faucet(account: nil))
            let (account, server) = (payer.handle.account, self.server.handle.peer)
            let auditor = self.auditor.handle.peer
            _ = try await until("money and two offers") {
                try await self.payer.handle.read { node in
                    node.accountState(account).free > .zero && node.catalog.adverts[server] != nil
                        && node.catalog.adverts[auditor] != nil ? true : nil
                }
            }
            var request = GenerationRequest(
                model: "starter", prompt: .messages([ChatMessage(.user, "Define brisket.")]))
            request.peer = server.text
            request.maySpend = true
            request.isPaid = true
            request.tokensMax = 24
            request.sampling.seed = 7
            request.stop = ["zebra"]
            let answer = try await service.generate(request)
            for try await case .receipt(let note) in answer.events { return note.id }
            throw NodeFault(.broken, "the answer has no receipt", code: "test")
        }
    }

    private func names(_ value: JSONValue) -> [String] {
        (value["checks"]?.items ?? []).compactMap { check in
            check["verdict"]?.text == "pass" ? check["name"]?.text : "not \(check["name"]?.text ?? "")"
        }
    }

    @Test func aNeighbourRepeatsAnAnswer() async throws {
        let homes = try await Homes(payerFlags: ["audit.share": "0"])
        let id = try await homes.ask()
        let value = try await homes.service.perform(
            .audit(receipt: id, peer: nil, here: false, publish: false, attribution: false))
        #expect(value["audit"]?["outcome"]?.text == "same" && value["holds"]?.flag == true)
        #expect(value["audit"]?["auditor"]?.text == homes.auditor.handle.account.text)
        #expect(value["audit"]?["answer"]?.text == value["signed_answer"]?.text)
        #expect(names(value) == ["signatures", "prompt", "answer", "settings", "weights", "tokens", "end"])
        let shown = try await homes.service.perform(.receipt(id))
        #expect(shown["audits"]?.items?.count == 1 && shown["evidence"] == .null)
        // The payer does not hold the model; the server, who does, can audit what it gave.
        await #expect(throws: NodeFault.self) {
            try await homes.service.perform(
                .audit(receipt: id, peer: nil, here: true, publish: false, attribution: false))
        }
        let there = PeerService(peer: homes.server)
        let own = try await homes.until("the server keeps its receipt") {
            try? await there.perform(.audit(receipt: id, peer: nil, here: true, publish: false, attribution: false))
        }
        #expect(own["audit"]?["outcome"]?.text == "same")

        // The same receipt over another answer, signed by both: somebody must see it.
        let key = PeerService(peer: homes.payer).own
        let digest = try #require(Hex.decode(id).flatMap { Digest($0) })
        var record = try #require(try key.receipt(digest))
        record.answerTokens[3] = record.answerTokens[3] == 9 ? 10 : 9
        var receipt = record.signed.receipt
        let order = try AskOrder(decoding: record.order)
        receipt.answer = try #require(
            Commitment(salt: order.answerSalt, content: Commitment.content(tokens: record.answerTokens)))
        record.signed = SignedReceipt(receipt, server: homes.server.key, payer: homes.payer.key)
        await withCheckedContinuation { done in
            homes.payer.store.persist([.put(.mine, key: record.storageKey, value: record.encoded())]) { done.resume() }
        }
        let lie = try await homes.service.perform(
            .audit(receipt: receipt.id.hex, peer: nil, here: false, publish: false, attribution: false))
        #expect(lie["audit"]?["outcome"]?.text == "differs" && lie["audit"]?["position"]?.integer == 3)
        #expect(lie["holds"]?.flag == false && names(lie).last == "not tokens")
        // One verdict, by somebody else: a claim.
        #expect(lie["evidence"]?.flag == false)
        let status = try await homes.service.perform(.status)
        #expect(status["audits"]?["differs"]?.integer == 1 && status["audits"]?["distrusted"]?.items == [])
        await homes.stop()
    }

    /// Nobody asks for it: every answer is drawn, the payer cannot repeat it itself, and it may show its prompts.
    @Test func aPeerAuditsByItself() async throws {
        let homes = try await Homes(payerFlags: ["audit.share": "1", "audit.open": "true"])
        let id = try await homes.ask()
        let audit = try await homes.until("an audit that nobody asked for") {
            try await homes.service.perform(.receipt(id))["audits"]?.items?.first
        }
        #expect(audit["outcome"]?.text == "same")
        #expect(audit["auditor"]?.text == homes.auditor.handle.account.text)
        await homes.stop()
    }
}
