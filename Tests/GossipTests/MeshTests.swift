import Primitives
import Testing

@testable import Gossip

private let topic = GossipTopic("/openledger/test/receipts")

@Suite struct MeshTests {
    @Test(arguments: [1, 2] as [UInt64])
    func everyMessageReachesEveryoneOnceAndMeshesKeepTheirDegree(seed: UInt64) throws {
        var network = try GossipNetwork(count: 16, seed: seed)
        network.connectAtRandom(degree: 5)
        for index in network.routers.indices { network.feed(index, .subscribe(topic)) }
        network.run(for: .seconds(5))
        for index in network.routers.indices { network.feed(index, .publish(topic, [UInt8(index)])) }
        network.run(for: .seconds(3))

        #expect(network.published.count == 16)
        for index in network.routers.indices {
            let others = network.published.filter { !$0.bytes.starts(with: network.ids[index].bytes) }
            #expect(network.delivered[index].count == Set(network.delivered[index]).count, "delivered twice")
            #expect(network.delivered[index].sorted() == others.sorted())
            let degree = network.routers[index].meshPeers(topic).count
            // Below five only if everyone else is a link already or in backoff.
            let links = Set(network.routers[index].meshPeers(topic))
            let free = network.routers[index].candidates(topic, now: network.now, besides: links)
            #expect(degree <= 12 && (degree >= 5 || free.isEmpty))
            // Links stand on both sides.
            for peer in network.routers[index].meshPeers(topic) {
                let other = try #require(network.ids.firstIndex(of: peer))
                #expect(network.routers[other].meshPeers(topic).contains(network.ids[index]))
            }
        }
        #expect(network.faultsSeen.isEmpty)
    }

    @Test func theSameSeedReplaysTheSameRun() throws {
        func run() throws -> ([[MessageID]], Int) {
            var network = try GossipNetwork(count: 12, seed: 7)
            network.connectAtRandom(degree: 4)
            for index in network.routers.indices { network.feed(index, .subscribe(topic)) }
            network.faults = GossipFaults(lossPercent: 10, duplicatePercent: 10, reorders: true)
            network.run(for: .seconds(2))
            for index in network.routers.indices { network.feed(index, .publish(topic, [UInt8(index)])) }
            network.run(for: .seconds(5))
            return (network.delivered, network.sends)
        }
        let (first, second) = (try run(), try run())
        #expect(first.0 == second.0)
        #expect(first.1 == second.1)
    }

    @Test(arguments: [11, 12] as [UInt64])
    func lossDuplicationAndReorderingDelayButDoNotLose(seed: UInt64) throws {
        var network = try GossipNetwork(count: 16, seed: seed)
        network.connectAtRandom(degree: 6)
        for index in network.routers.indices { network.feed(index, .subscribe(topic)) }
        network.run(for: .seconds(3))
        network.faults = GossipFaults(lossPercent: 20, duplicatePercent: 20, reorders: true)
        for round in 0..<10 {
            network.feed(round % 16, .publish(topic, [UInt8(round)]))
            network.run(for: .milliseconds(300))
        }
        network.run(for: .seconds(8))
        for index in network.routers.indices {
            let others = network.published.filter { !$0.bytes.starts(with: network.ids[index].bytes) }
            #expect(network.delivered[index].sorted() == others.sorted())
        }
    }

    /// Two peers that are in each other's mesh, where every message on the link is lost and only control passes, get
    /// them by IHAVE and IWANT from a third.
    @Test func whatTheMeshLosesGossipBrings() throws {
        var parameters = GossipParameters()
        parameters.floodPublish = false
        parameters.meshDegree = 2
        parameters.meshDegreeMin = 1
        parameters.meshDegreeMax = 2
        parameters.meshDegreeOutbound = 0
        var network = try GossipNetwork(count: 8, seed: 5, parameters: parameters)
        for left in 0..<8 { for right in left + 1..<8 { network.connect(left, right) } }
        for index in 0..<8 { network.feed(index, .subscribe(topic)) }
        network.run(for: .seconds(3))
        // From now on no message travels unasked, only what IWANT asked for.
        var asked: Set<[Int]> = []
        let limits = parameters
        network.carries = { from, to, bytes in
            guard let rpc = try? GossipRPC.read(bytes, parameters: limits).rpc else { return false }
            if !rpc.iwant.isEmpty { asked.insert([to, from]) }
            return rpc.messages.isEmpty || asked.contains([from, to])
        }
        network.feed(0, .publish(topic, [1, 2, 3]))
        network.run(for: .seconds(6))
        for index in 1..<8 { #expect(network.delivered[index].count == 1, "peer \(index)") }
    }

    @Test func aMessageThatIsNotAcceptedStopsThere() throws {
        var network = try GossipNetwork(count: 3, seed: 1)
        network.connect(0, 1)
        network.connect(1, 2)
        for index in 0..<3 { network.feed(index, .subscribe(topic)) }
        network.run(for: .seconds(2))
        network.verdict = { index, message in index == 1 ? (message.data == [0] ? .reject : .ignore) : .accept }
        network.feed(0, .publish(topic, [0]))
        network.feed(0, .publish(topic, [1]))
        network.run(for: .seconds(3))
        #expect(network.delivered[2].isEmpty)
        #expect(network.faultsSeen.map(\.fault) == [.rejectedMessage(network.published[0])])
        #expect(network.faultsSeen.first?.who == network.ids[0])
    }

    @Test func aMeshThatIsTooLargeIsPrunedAndKeepsDialledLinks() throws {
        var network = try GossipNetwork(count: 20, seed: 3)
        for index in 1..<16 { network.connect(index, 0) }
        for index in 16..<20 { network.connect(0, index) }
        for index in 1..<20 { network.feed(index, .subscribe(topic)) }
        network.feed(0, .subscribe(topic))
        network.run(for: .seconds(4))
        let links = network.routers[0].meshPeers(topic)
        #expect(links.count >= 5 && links.count <= 12)
        #expect(links.count { network.ids[16...].contains($0) } >= 2)
    }

    @Test func peersOfVersion1_0AreServed() throws {
        var network = try GossipNetwork(count: 2, seed: 2)
        network.connect(0, 1, version: .v1_0)
        for index in 0..<2 { network.feed(index, .subscribe(topic)) }
        network.run(for: .seconds(2))
        network.feed(0, .publish(topic, [9]))
        network.feed(1, .unsubscribe(topic))
        network.feed(1, .subscribe(topic))
        network.run(for: .seconds(1))
        #expect(network.delivered[1].count == 1)
    }

    @Test func leavingPrunesAndBacksOff() throws {
        var network = try GossipNetwork(count: 2, seed: 2)
        network.connect(0, 1)
        for index in 0..<2 { network.feed(index, .subscribe(topic)) }
        network.run(for: .seconds(2))
        #expect(network.routers[1].meshPeers(topic) == [network.ids[0]])
        network.feed(0, .unsubscribe(topic))
        network.run(for: .milliseconds(500))
        #expect(network.routers[1].meshPeers(topic).isEmpty)
        network.feed(0, .subscribe(topic))
        network.run(for: .seconds(5))
        #expect(network.routers[0].meshPeers(topic).isEmpty, "the backoff of ten seconds holds")
        network.run(for: .seconds(8))
        #expect(network.routers[0].meshPeers(topic) == [network.ids[1]])
        #expect(network.faultsSeen.isEmpty)
    }

    @Test func publishingWithoutSubscribingUsesTheFanout() throws {
        var network = try GossipNetwork(count: 6, seed: 4)
        for index in 1..<6 { network.connect(0, index) }
        for index in 1..<6 { network.feed(index, .subscribe(topic)) }
        network.run(for: .seconds(1))
        network.feed(0, .publish(topic, [1]))
        network.run(for: .seconds(1))
        for index in 1..<6 { #expect(network.delivered[index].count == 1) }
        #expect(network.delivered[0].isEmpty)
    }
}
