// Gossip and blocks against py-libp2p, both ways: nothing of a hundred messages is lost, and ten MiB arrive whole.

import BlockExchange
import Foundation
import Gossip
import Primitives
import Testing

private let topic = "/openledger/interop/receipts"
private let fileBytes = 10 << 20

@Suite(.serialized, .enabled(if: InteropPython.path != nil)) struct ContentInteropTests {
    /// A py-libp2p peer and ours, connected; `weDial` says by whom.
    private func pair(
        weDial: Bool, _ arguments: [String], _ body: (LoopNode, PythonPeer, PeerID) async throws -> Void
    ) async throws {
        let us = try LoopNode(7, topics: [GossipTopic(topic)])
        defer { us.stop() }
        let address = try await us.listen()
        let python = try PythonPeer(["--seed", "carol"] + arguments + (weDial ? [] : ["--connect", address.text]))
        defer { python.stop() }
        let listening = try await python.event("listening")
        let peer = try #require((listening.value("peer") as? String).flatMap { PeerID(text: $0) })
        if weDial {
            let text = try #require((listening.value("addrs") as? [String])?.first)
            let theirs = try Multiaddr(text: text)
            us.dial((theirs.withoutPeer ?? theirs).with(peer: peer))
        }
        _ = try await us.wait("connection") { $0.connected.contains(peer) ? true : nil }
        try await body(us, python, peer)
    }

    @Test(arguments: [true, false]) func aHundredMessagesEachWay(weDial: Bool) async throws {
        try await pair(weDial: weDial, ["--topic", topic]) { us, python, peer in
            let name = GossipTopic(topic)
            _ = try await us.wait("mesh") { $0.mesh[name] == [peer] ? true : nil }
            // They also list their own.
            func ours() -> [PythonPeer.Event] { python.events("msg").filter { $0.value("own") as? Bool == false } }
            // Ten at a time, the next when those are there: their queue of 32 drops what a busy computer lets pile up.
            for round in 1...10 {
                try python.tell("pub \(topic) 10 1024")
                for number in 0..<10 {
                    let data = Array("\(round) \(number) ".utf8) + [UInt8](repeating: 0x2e, count: 1_024)
                    us.post { $0.drive(.publish(name, Array(data.prefix(1_024)))) }
                }
                _ = try await us.wait("\(round) times ten messages") { $0.delivered.count >= 10 * round ? true : nil }
                for _ in 0..<1_500 where ours().count < 10 * round { try await Task.sleep(for: .milliseconds(20)) }
            }
            let delivered = us.report.delivered
            #expect(delivered.count == 100 && Set(delivered.map(\.sequence)).count == 100)
            #expect(delivered.allSatisfy { $0.author == peer && $0.data.count == 1_024 })
            #expect(ours().count == 100)
            #expect(
                ours().allSatisfy { $0.value("size") as? Int == 1_024 && $0.value("from_") as? String == us.id.text })
            #expect(us.report.gossipFaults.isEmpty)
        }
    }

    @Test func theyFetchOurFile() async throws {
        try await pair(weDial: false, ["--bitswap"]) { us, python, _ in
            var random = SeededRandom(seed: 1)
            let content = random.bytes(fileBytes)
            let (file, blocks) = FileBuilder.build(content, chunkBytes: 256 << 10, linksMax: 174)
            us.post { $0.keep(blocks) }
            _ = try await python.event("connected")
            try python.tell("fetch \(file.root.text) \(us.id.text) 40")
            let fetched = try await python.event("fetch", seconds: 60)
            let result = try #require(fetched.value("result") as? [String: Any])
            #expect(result["size"] as? Int == fileBytes)
            #expect(result["sha256"] as? String == Digest(sha256: content).hex)
            #expect(us.report.blockFaults.isEmpty)
        }
    }

    @Test func weFetchTheirFile() async throws {
        try await pair(weDial: true, ["--bitswap"]) { us, python, peer in
            try python.tell("add \(fileBytes) 5 256")
            let added = try await python.event("add")
            let result = try #require(added.value("result") as? [String: Any])
            let root = try CID(text: try #require(result["root"] as? String))
            us.post { $0.startFetch(root, from: peer) }
            let done = try await us.wait("file", seconds: 60) { $0.fetchResult }
            guard case .done(let progress) = done else {
                Issue.record("\(done)")
                return
            }
            #expect(progress.bytes == UInt64(fileBytes) && progress.files == 1)
            #expect(Digest(sha256: us.report.fetched).hex == result["sha256"] as? String)
            #expect(us.report.statistics.duplicateBlocks == 0)
            #expect(us.report.blockFaults.isEmpty)
        }
    }
}
