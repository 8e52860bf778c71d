import Foundation
import Primitives
import Testing

@testable import Gossip

/// RPCs that py-libp2p built and signed (Tests/Fixtures/Gossip/make_fixtures.py).
@Suite struct ForeignRPCTests {
    private let cases: [String: [UInt8]]
    private let parameters = GossipParameters()

    init() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../Fixtures/Gossip/py-libp2p-rpc.txt")
        var cases: [String: [UInt8]] = [:]
        for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
            let words = line.split(separator: " ")
            try #require(words.count == 2)
            let bytes: [UInt8] = try #require(Hex.decode(String(words[1])))
            cases[String(words[0])] = bytes
        }
        self.cases = cases
    }

    private func read(_ name: String) throws -> GossipRPC.Reading {
        try GossipRPC.read(try #require(cases[name]), parameters: parameters)
    }

    @Test func theirSignaturesHold() throws {
        let name = try #require(cases["author"])
        let author = try #require(PeerID(multihash: name))
        for (name, data) in [
            ("publish", [Array("hello".utf8)]), ("publish-without-key", [Array("hello".utf8)]), ("publish-empty", [[]]),
            ("publish-1KiB-twice", [Array((0..<1024).map { UInt8(truncatingIfNeeded: $0) }), Array("x".utf8)]),
        ] {
            let reading = try read(name)
            #expect(reading.faults.isEmpty, "\(name)")
            #expect(reading.rpc.messages.map(\.data) == data, "\(name)")
            for message in reading.rpc.messages {
                #expect(message.author == author && message.signatureHolds(), "\(name)")
                #expect(message.topic == GossipTopic("/openledger/fixture/receipts"))
            }
        }
        #expect(try read("publish").rpc.messages.first?.sequenceNumber == 1_763_800_000)
    }

    /// What we forward is byte for byte what the author signed.
    @Test func whatIsForwardedStaysValid() throws {
        let rpc = try read("publish-without-key").rpc
        let written = rpc.written(version: .v1_1, bytesMax: parameters.rpcBytesMax)
        #expect(written == [try #require(cases["publish-without-key"])])
    }

    @Test func whatWasAlteredIsRefused() throws {
        for name in ["reject-altered-data", "reject-second-topic"] {
            let reading = try read(name)
            #expect(reading.rpc.messages.allSatisfy { !$0.signatureHolds() }, "\(name)")
        }
    }

    @Test func unknownFieldsAreIgnoredAndControlIsRead() throws {
        let subscriptions = try read("subscribe").rpc.subscriptions
        #expect(
            subscriptions == [
                Subscription(topic: GossipTopic("a"), isOn: true), Subscription(topic: GossipTopic("b"), isOn: false),
            ])
        let control = try read("control").rpc
        #expect(
            control.ihave == [
                Announcement(
                    topic: GossipTopic("a"), ids: [MessageID([0, 0xff, 0x80]), MessageID(Array("id2".utf8))])
            ])
        #expect(control.iwant == [MessageID([0xfe])])
        #expect(control.graft == [GossipTopic("a")])
        #expect(control.prune == [Pruning(topic: GossipTopic("b"), backoff: .seconds(60))])
    }

    @Test func everyPrefixAndFlippedBitIsReadWithoutATrap() throws {
        for (_, bytes) in cases.sorted(by: { $0.key < $1.key }) where bytes.count < 300 {
            for length in 0..<bytes.count {
                _ = try? GossipRPC.read(Array(bytes.prefix(length)), parameters: parameters)
                var flipped = bytes
                flipped[length] ^= 1 << UInt8(length % 8)
                _ = try? GossipRPC.read(flipped, parameters: parameters)
            }
        }
    }
}
