import Messages
import Primitives
import SwiftProtobuf
import Testing

@testable import BlockExchange

@Suite struct BitswapTests {
    private let content = randomContent(300_000, seed: 1)

    private func isOver(_ network: BlockNetwork) -> Bool { network.results[0] != nil }

    @Test func aFileComesFromThreePeersWithoutDuplicates() throws {
        let (file, blocks) = FileBuilder.build(content, chunkBytes: 4_096, linksMax: 16)
        var network = try BlockNetwork(count: 4, seed: 1)
        for server in 1...3 {
            network.keep(blocks, at: server)
            network.connect(0, server)
        }
        network.startFetch(file.root, at: 0, from: [1, 2, 3])
        network.run(for: .seconds(20), until: isOver)
        guard case .done(let progress) = network.results[0] else {
            Issue.record("\(network.results)")
            return
        }
        #expect(network.content(at: 0) == content)
        #expect(progress.blocks == Set(blocks.map(\.cid)).count && progress.bytes == UInt64(content.count))
        #expect(network.faults.isEmpty)
        #expect(network.engines[0].statistics.duplicateBlocks == 0)
        for server in 1...3 { #expect(network.engines[server].statistics.blocksSent > 5, "all three serve") }
        #expect(network.engines[0].openSessions.isEmpty)
    }

    @Test func aPeerThatFlipsAByteIsBlamedAndTheBlockFetchedElsewhere() throws {
        let (file, blocks) = FileBuilder.build(content, chunkBytes: 4_096, linksMax: 16)
        var network = try BlockNetwork(count: 4, seed: 2)
        for server in 1...3 {
            network.keep(blocks, at: server)
            network.connect(0, server)
        }
        var served = 0
        network.tamper = { from, _, bytes in
            guard from == 2, bytes.count > 3_000 else { return bytes }
            served += 1
            guard served == 3 else { return bytes }
            var altered = bytes
            altered[2_000] ^= 1
            return altered
        }
        network.startFetch(file.root, at: 0, from: [1, 2, 3])
        network.run(for: .seconds(20), until: isOver)
        #expect(network.content(at: 0) == content)
        #expect(network.faults.count == 1 && network.faults.first?.who == network.ids[2])
        guard case .corruptBlock = network.faults.first?.fault else {
            Issue.record("\(network.faults)")
            return
        }
        // Every block that was kept is what its name says.
        for (cid, bytes) in network.stores[0] { #expect(cid.verifies(bytes)) }
    }

    @Test func aPeerThatStallsIsTimedOutAndItsBlocksAskedElsewhere() throws {
        let (file, blocks) = FileBuilder.build(content, chunkBytes: 4_096, linksMax: 16)
        var network = try BlockNetwork(count: 3, seed: 3)
        for server in 1...2 {
            network.keep(blocks, at: server)
            network.connect(0, server)
        }
        network.tamper = { from, _, bytes in from == 2 && bytes.count > 1_000 ? nil : bytes }
        network.startFetch(file.root, at: 0, from: [1, 2])
        network.run(for: .seconds(60), until: isOver)
        #expect(network.content(at: 0) == content)
        #expect(!network.faults.isEmpty)
        for fault in network.faults {
            guard case .stalled = fault.fault, fault.who == network.ids[2] else {
                Issue.record("\(fault)")
                return
            }
        }
    }

    @Test func aPeerThatGoesIsReplaced() throws {
        let (file, blocks) = FileBuilder.build(content, chunkBytes: 4_096, linksMax: 16)
        var network = try BlockNetwork(count: 3, seed: 4)
        for server in 1...2 {
            network.keep(blocks, at: server)
            network.connect(0, server)
        }
        network.startFetch(file.root, at: 0, from: [1, 2])
        network.run(for: .milliseconds(120))
        #expect(network.results[0] == nil)
        network.disconnect(0, 1)
        network.run(for: .seconds(30), until: isOver)
        #expect(network.content(at: 0) == content && network.faults.isEmpty)
    }

    /// Each server has half of the blocks: DONT_HAVE sends the client to the other.
    @Test func halvesAreFoundWhereTheyAre() throws {
        let (file, blocks) = FileBuilder.build(content, chunkBytes: 4_096, linksMax: 16)
        var network = try BlockNetwork(count: 3, seed: 5)
        for (index, block) in blocks.enumerated() { network.keep([block], at: 1 + index % 2) }
        network.connect(0, 1)
        network.connect(0, 2)
        network.startFetch(file.root, at: 0, from: [1, 2])
        network.run(for: .seconds(60), until: isOver)
        #expect(network.content(at: 0) == content)
        #expect(network.faults.isEmpty && network.unavailable.isEmpty)
    }

    @Test func whatNobodyHasIsSaidAndComesWhenSomeoneGetsIt() throws {
        let block = Block(.raw, [1, 2, 3])
        var network = try BlockNetwork(count: 2, seed: 6)
        network.connect(0, 1)
        network.feed(0, .providers(SessionID(1), [network.ids[1]]))
        network.feed(0, .want(SessionID(1), [block.cid]))
        network.run(for: .seconds(2))
        #expect(network.unavailable == [block.cid] && network.received[0].isEmpty)
        // The server remembers who asked.
        network.keep([block], at: 1)
        network.feed(1, .stored([block.cid]))
        network.run(for: .seconds(1))
        #expect(network.received[0].map(\.block) == [block])
        #expect(network.faults.isEmpty)
    }

    @Test func resumeFetchesNothingTwice() throws {
        let (file, blocks) = FileBuilder.build(content, chunkBytes: 4_096, linksMax: 16)
        var network = try BlockNetwork(count: 2, seed: 7)
        network.keep(blocks, at: 1)
        network.connect(0, 1)
        network.startFetch(file.root, at: 0, from: [1])
        network.run(for: .seconds(20), until: { $0.stores[0].count > 30 })
        let kept = network.stores[0]
        let sentBefore = network.engines[1].statistics.blocksSent
        #expect(network.results[0] == nil)
        // Crash: the engine and the walk are gone, the store is not.
        network.disconnect(0, 1)
        network.engines[0] = Bitswap()
        network.connect(0, 1)
        network.startFetch(file.root, at: 0, from: [1])
        network.run(for: .seconds(20), until: isOver)
        guard case .done(let progress) = network.results[0] else {
            Issue.record("not done")
            return
        }
        #expect(network.content(at: 0) == content)
        #expect(progress.blocksFoundHere == kept.count)
        let distinct = Set(blocks.map(\.cid)).count
        #expect(network.engines[1].statistics.blocksSent - sentBefore == UInt64(distinct - kept.count))
    }

    @Test func aStoreThatRottedIsNotServed() throws {
        let block = Block(.raw, randomContent(100, seed: 1))
        var network = try BlockNetwork(count: 2, seed: 8)
        network.stores[1][block.cid] = [0] + block.bytes.dropFirst()
        network.connect(0, 1)
        network.feed(0, .providers(SessionID(1), [network.ids[1]]))
        network.feed(0, .want(SessionID(1), [block.cid]))
        network.run(for: .seconds(2))
        #expect(network.damaged == [block.cid] && network.received[0].isEmpty && network.faults.isEmpty)
    }

    @Test func aBlockNobodyAskedForIsNamed() throws {
        var network = try BlockNetwork(count: 2, seed: 9)
        network.connect(0, 1)
        let block = Block(.raw, [1])
        network.feed(0, .received(network.ids[1], ExchangeMessage(blocks: [block]).written()))
        #expect(network.faults.map(\.fault) == [.unwantedBlock(block.cid)])
    }

    @Test func aLateDuplicateIsCountedNotBlamed() throws {
        let block = Block(.raw, [1, 2])
        var network = try BlockNetwork(count: 2, seed: 10)
        network.keep([block], at: 1)
        network.connect(0, 1)
        network.feed(0, .providers(SessionID(1), [network.ids[1]]))
        network.feed(0, .want(SessionID(1), [block.cid]))
        network.run(for: .seconds(1))
        network.feed(0, .received(network.ids[1], ExchangeMessage(blocks: [block]).written()))
        #expect(network.faults.isEmpty && network.engines[0].statistics.duplicateBlocks == 1)
    }

    // MARK: Answering

    /// Who asks for much does not starve who asks for little.
    @Test func theSmallAskerIsServedEarly() throws {
        var parameters = BitswapParameters()
        parameters.loadsMax = 1
        var server = Bitswap(parameters: parameters)
        let keys = try (1...2).map { try SigningKey(seed: [UInt8](repeating: UInt8($0), count: 32)).publicKey.peerID }
        for peer in keys { _ = server.handle(.connected(peer), now: .start) }
        let blocks = (0..<40).map { Block(.raw, randomContent(1_000, seed: UInt64($0))) }
        let store = Dictionary(uniqueKeysWithValues: blocks.map { ($0.cid, $0.bytes) })
        func wants(_ list: some Collection<Block>) -> [UInt8] {
            ExchangeMessage(entries: list.map { WantEntry(cid: $0.cid) }).written()
        }
        var pending = server.handle(.received(keys[0], wants(blocks)), now: .start)
        pending += server.handle(.received(keys[1], wants(blocks.prefix(3))), now: .start)
        var served: [PeerID] = []
        while let effect = pending.first {
            pending.removeFirst()
            if case .load(let cid, let peer) = effect {
                served.append(peer)
                pending += server.handle(.loaded(cid, store[cid], for: peer), now: .start)
            }
        }
        #expect(served.count == 43)
        #expect(served.prefix(8).count { $0 == keys[1] } == 3)
    }

    @Test func wantListsAreBoundedAndACongestedPeerIsNotReadFor() throws {
        var parameters = BitswapParameters()
        parameters.wantsPerPeerMax = 5
        var server = Bitswap(parameters: parameters)
        let peer = try SigningKey(seed: [UInt8](repeating: 1, count: 32)).publicKey.peerID
        _ = server.handle(.connected(peer), now: .start)
        _ = server.handle(.congested(peer), now: .start)
        let entries = (0..<9).map { WantEntry(cid: CID(.raw, hashing: [UInt8($0)])) }
        let effects = server.handle(.received(peer, ExchangeMessage(entries: entries).written()), now: .start)
        #expect(effects == [.fault(peer, .wantListFull(max: 5))])
        let loads = server.handle(.writable(peer), now: .start)
        #expect(loads.count == parameters.loadsPerPeerMax)
        // A cancel takes back what waits.
        let cancels = entries.map { WantEntry(cid: $0.cid, isCancel: true) }
        _ = server.handle(.received(peer, ExchangeMessage(entries: cancels).written()), now: .start)
        #expect(server.handle(.loaded(entries[0].cid, [0], for: peer), now: .start).isEmpty)
    }

    @Test func namesOfVersionZeroAreUnderstood() throws {
        var wire = BitswapMessage()
        let block = Block(.dagPB, FileNode(parts: []).encoded())
        var entry = BitswapMessage.Wantlist.Entry()
        entry.block = .init(octets: [0x12, 0x20] + block.cid.digest.bytes)
        entry.sendDontHave = true
        wire.wantlist.entries = [entry]
        var server = Bitswap()
        let peer = try SigningKey(seed: [UInt8](repeating: 1, count: 32)).publicKey.peerID
        _ = server.handle(.connected(peer), now: .start)
        #expect(
            server.handle(.received(peer, try wire.serializedBytes()), now: .start) == [.load(block.cid, for: peer)])
        let effects = server.handle(.loaded(block.cid, nil, for: peer), now: .start)
        guard case .send(_, let bytes) = effects.first else {
            Issue.record("no answer")
            return
        }
        let answer = try BitswapMessage(serializedBytes: bytes)
        #expect(answer.blockPresences.map(\.cid.octets) == [[0x12, 0x20] + block.cid.digest.bytes])
        #expect(answer.blockPresences.first?.type == .dontHave)
        // And blocks without a prefix.
        var old = BitswapMessage()
        old.blocks = [.init(octets: block.bytes)]
        let reading = try ExchangeMessage.read(try old.serializedBytes(), parameters: BitswapParameters())
        #expect(reading.message.blocks == [block])
    }

    @Test func malformedMessagesAreNamed() throws {
        let parameters = BitswapParameters()
        #expect(throws: BitswapFault.malformedMessage("not a protobuf of the message")) {
            try ExchangeMessage.read([0xff], parameters: parameters)
        }
        var many = BitswapMessage()
        many.wantlist.entries = Array(repeating: BitswapMessage.Wantlist.Entry(), count: 1_025)
        #expect(throws: BitswapFault.malformedMessage("1025 want-list entries")) {
            try ExchangeMessage.read(try many.serializedBytes(), parameters: parameters)
        }
        var wire = BitswapMessage()
        for prefix: [UInt8] in [
            [], [1, 0x55, 0x12], [1, 0x55, 0x13, 0x40], [0, 0x55, 0x12, 0x20], [2, 0x55, 0x12, 0x20],
        ] {
            var block = BitswapMessage.Block()
            block.prefix = .init(octets: prefix)
            wire.payload.append(block)
        }
        let reading = try ExchangeMessage.read(try wire.serializedBytes(), parameters: parameters)
        #expect(reading.message.blocks.isEmpty && reading.faults.count == 5)
        let bytes = try wire.serializedBytes() as [UInt8]
        for index in bytes.indices {
            var flipped = bytes
            flipped[index] ^= 0x10
            _ = try? ExchangeMessage.read(flipped, parameters: parameters)
        }
    }

    /// Plants the bug that the byte-flip test exists for: a client that takes the sender's word for the name.
    @Test func theCanaryIsSeen() throws {
        let block = Block(.raw, randomContent(100, seed: 1))
        var altered = block.bytes
        altered[50] ^= 1
        let trusting = { (cid: CID, bytes: [UInt8]) in (cid, bytes) }
        let (cid, bytes) = trusting(block.cid, altered)
        #expect(!cid.verifies(bytes), "the check of the byte-flip test fails on a trusting client")
        #expect(Block(block.cid, verifying: altered) == nil)
    }
}
