import Primitives
import Testing

@testable import Gossip

private let topic = GossipTopic("t")

/// What a router answers when a neighbour, or its owner, goes beyond a limit.
@Suite struct LimitTests {
    private let neighbourKey: SigningKey
    private let neighbour: PeerID
    private var parameters = GossipParameters()

    init() throws {
        neighbourKey = try SigningKey(seed: [UInt8](repeating: 2, count: 32))
        neighbour = neighbourKey.publicKey.peerID
    }

    private func router(_ change: (inout GossipParameters) -> Void = { _ in }) throws -> GossipRouter {
        var parameters = parameters
        change(&parameters)
        let key = try SigningKey(seed: [UInt8](repeating: 3, count: 32))
        var router = GossipRouter(key: key, parameters: parameters, random: SeededRandom(seed: 1), firstSequence: 1)
        _ = router.handle(.subscribe(topic), now: .start)
        _ = router.handle(.connected(neighbour, version: .v1_1, outbound: false), now: .start)
        return router
    }

    private func faults(_ effects: [GossipEffect]) -> [GossipFault] {
        effects.compactMap { if case .fault(_, let fault) = $0 { fault } else { nil } }
    }

    private func sent(_ effects: [GossipEffect]) -> [GossipRPC] {
        effects.compactMap { effect in
            guard case .send(_, let bytes) = effect else { return nil }
            return try? GossipRPC.read(bytes, parameters: parameters).rpc
        }
    }

    private func bytes(_ rpc: GossipRPC) throws -> [UInt8] {
        try #require(rpc.written(version: .v1_1, bytesMax: 1 << 24).first)
    }

    private func message(_ number: UInt64, size: Int = 8) -> GossipMessage {
        GossipMessage(
            signedBy: neighbourKey, topic: topic, data: [UInt8](repeating: 1, count: size), sequence: number)
    }

    @Test func anRPCThatIsTooLongOrNoProtobufIsNamed() throws {
        var router = try router()
        let long = [UInt8](repeating: 0, count: (1 << 20) + 1)
        #expect(
            faults(router.handle(.received(neighbour, long), now: .start)) == [
                .rpcTooLarge(bytes: (1 << 20) + 1, bytesMax: 1 << 20)
            ])
        #expect(
            faults(router.handle(.received(neighbour, [0xff, 0xff]), now: .start)) == [
                .malformedRPC("not a protobuf of the RPC")
            ])
        // A stranger who is not connected is nobody.
        let stranger = try SigningKey(seed: [UInt8](repeating: 9, count: 32)).publicKey.peerID
        #expect(router.handle(.received(stranger, [0xff]), now: .start).isEmpty)
    }

    @Test func subscriptionsAreBounded() throws {
        var router = try router { $0.topicsPerPeerMax = 3 }
        let rpc = GossipRPC(
            subscriptions: (0..<5).map { Subscription(topic: GossipTopic("topic \($0)"), isOn: true) })
        let effects = router.handle(.received(neighbour, try bytes(rpc)), now: .start)
        #expect(faults(effects) == [.tooManyTopics(max: 3), .tooManyTopics(max: 3)])
        #expect((0..<5).count { !router.subscribers(GossipTopic("topic \($0)")).isEmpty } == 3)
        let long = GossipRPC(subscriptions: [
            Subscription(topic: GossipTopic(String(repeating: "x", count: 257)), isOn: true)
        ])
        #expect(
            faults(router.handle(.received(neighbour, try bytes(long)), now: .start)) == [.topicTooLong(bytes: 257)])
        let many = GossipRPC(subscriptions: (0..<257).map { Subscription(topic: GossipTopic("\($0)"), isOn: true) })
        #expect(
            faults(router.handle(.received(neighbour, try bytes(many)), now: .start))
                == [.malformedRPC("257 subscriptions")])
    }

    @Test func ihaveIsHeededTenTimesAHeartbeat() throws {
        var router = try router()
        for round in 1...12 {
            let rpc = GossipRPC(ihave: [Announcement(topic: topic, ids: [MessageID([UInt8(round)])])])
            let effects = router.handle(.received(neighbour, try bytes(rpc)), now: .start)
            #expect(sent(effects).flatMap(\.iwant).count == (round <= 10 ? 1 : 0))
            #expect(faults(effects) == (round <= 10 ? [] : [.ihaveFlood(rpcs: round)]))
        }
        _ = router.handle(.heartbeat, now: .start)
        let rpc = GossipRPC(ihave: [Announcement(topic: topic, ids: [MessageID([99])])])
        #expect(sent(router.handle(.received(neighbour, try bytes(rpc)), now: .start)).flatMap(\.iwant).count == 1)
    }

    @Test func idsAskedOfAPeerAreBounded() throws {
        var router = try router { $0.idsPerHeartbeatMax = 10 }
        let ids = (0..<50).map { MessageID([UInt8($0)]) }
        let effects = router.handle(
            .received(neighbour, try bytes(GossipRPC(ihave: [Announcement(topic: topic, ids: ids)]))), now: .start)
        #expect(sent(effects).flatMap(\.iwant).count == 10)
    }

    @Test func aBrokenPromiseIsNamed() throws {
        var router = try router()
        let id = MessageID([1, 2, 3])
        let rpc = GossipRPC(ihave: [Announcement(topic: topic, ids: [id])])
        _ = router.handle(.received(neighbour, try bytes(rpc)), now: .start)
        #expect(faults(router.handle(.heartbeat, now: .start + .seconds(2))).isEmpty)
        #expect(faults(router.handle(.heartbeat, now: .start + .seconds(3))) == [.brokenPromise(id)])
        #expect(faults(router.handle(.heartbeat, now: .start + .seconds(4))).isEmpty)
    }

    @Test func iwantIsAnsweredThriceAndWithinItsBounds() throws {
        var router = try router { $0.idsPerHeartbeatMax = 10 }
        var id = MessageID([])
        for effect in router.handle(.publish(topic, [1]), now: .start) {
            if case .published(let name, recipients: _) = effect { id = name }
        }
        let rpc = try bytes(GossipRPC(iwant: [id]))
        for round in 1...5 {
            let effects = router.handle(.received(neighbour, rpc), now: .start)
            #expect(sent(effects).flatMap(\.messages).count == (round <= 3 ? 1 : 0))
        }
        let flood = try bytes(GossipRPC(iwant: (0..<10).map { MessageID([UInt8($0)]) }))
        #expect(faults(router.handle(.received(neighbour, flood), now: .start)) == [.iwantFlood(ids: 10)])
    }

    @Test func graftIsRefusedInBackoffAndWhenFull() throws {
        var router = try router { $0.meshDegreeMax = 1 }
        let graft = try bytes(GossipRPC(graft: [topic]))
        #expect(router.handle(.received(neighbour, graft), now: .start).isEmpty)
        #expect(router.meshPeers(topic) == [neighbour])
        let second = try SigningKey(seed: [UInt8](repeating: 5, count: 32)).publicKey.peerID
        _ = router.handle(.connected(second, version: .v1_1, outbound: false), now: .start)
        let full = router.handle(.received(second, graft), now: .start)
        #expect(sent(full).flatMap(\.prune) == [Pruning(topic: topic, backoff: .seconds(60))])
        #expect(faults(full).isEmpty)
        let again = router.handle(.received(second, graft), now: .start + .seconds(30))
        #expect(faults(again) == [.graftDuringBackoff(topic)])
        // A GRAFT for a topic that is not ours gets no answer.
        let foreign = try bytes(GossipRPC(graft: [GossipTopic("other")]))
        #expect(router.handle(.received(second, foreign), now: .start).isEmpty)
    }

    @Test func ownersAreToldWhatCannotBePublished() throws {
        var router = try router { $0.dataBytesMax = 10 }
        #expect(
            router.handle(.publish(topic, [UInt8](repeating: 0, count: 11)), now: .start)
                == [.refused(topic, .tooLarge(bytes: 11, bytesMax: 10))])
        let long = GossipTopic(String(repeating: "x", count: 300))
        #expect(
            router.handle(.subscribe(long), now: .start) == [.refused(long, .topicTooLong(bytes: 300, bytesMax: 256))])
    }

    @Test func pendingValidationsAreShedAndCanBeHadAgain() throws {
        var router = try router { $0.pendingValidationsMax = 1 }
        let rpc = try bytes(GossipRPC(messages: [message(1), message(2)]))
        let effects = router.handle(.received(neighbour, rpc), now: .start)
        guard case .deliver(let ticket, let first, from: _) = effects.first else {
            Issue.record("the first message is delivered")
            return
        }
        let id = MessageID.authorAndSequence(message(2))
        #expect(first.sequenceNumber == 1 && effects.last == .shed(id))
        _ = router.handle(.validated(ticket, .accept), now: .start)
        let again = router.handle(.received(neighbour, try bytes(GossipRPC(messages: [message(2)]))), now: .start)
        guard case .deliver = again.first else {
            Issue.record("the second message comes again")
            return
        }
    }

    @Test func aLongRPCIsSplit() throws {
        let messages = (0..<5).map { message(UInt64($0), size: 300_000) }
        let ids = (0..<5_000).map { MessageID([UInt8](repeating: UInt8($0 % 251), count: 128)) }
        let rpc = GossipRPC(
            subscriptions: [Subscription(topic: topic, isOn: true)], messages: messages,
            ihave: [Announcement(topic: topic, ids: ids)], graft: [topic])
        let parts = rpc.written(version: .v1_1, bytesMax: 1 << 20)
        #expect(parts.count >= 2)
        var readings = GossipRPC()
        for part in parts {
            #expect(part.count <= 1 << 20)
            let reading = try GossipRPC.read(part, parameters: parameters)
            #expect(reading.faults.isEmpty)
            readings.subscriptions += reading.rpc.subscriptions
            readings.messages += reading.rpc.messages
            readings.graft += reading.rpc.graft
            readings.ihave += reading.rpc.ihave
        }
        #expect(readings.messages == messages && readings.graft == [topic])
        #expect(readings.ihave.flatMap(\.ids) == ids)
        // The largest message that may be published fits an RPC.
        let largest = GossipRPC(messages: [message(9, size: parameters.dataBytesMax)])
        #expect(largest.written(version: .v1_1, bytesMax: 1 << 20).map { $0.count <= 1 << 20 } == [true])
    }

    @Test func aCongestedPeerLosesGossipFirstAndOurOwnNever() throws {
        var router = try router {
            $0.queuedBytesMax = 4_000
            $0.queuedOwnBytesMax = 8_000
        }
        let graft = try bytes(GossipRPC(subscriptions: [Subscription(topic: topic, isOn: true)], graft: [topic]))
        _ = router.handle(.received(neighbour, graft), now: .start)
        _ = router.handle(.congested(neighbour), now: .start)
        // Forwarded messages of another author, then our own until the forwarded ones must go.
        let third = try SigningKey(seed: [UInt8](repeating: 6, count: 32))
        _ = router.handle(.connected(third.publicKey.peerID, version: .v1_1, outbound: false), now: .start)
        for number in 0..<3 {
            let message = GossipMessage(
                signedBy: third, topic: topic, data: [UInt8](repeating: 7, count: 1_000), sequence: UInt64(number))
            let effects = router.handle(
                .received(third.publicKey.peerID, try bytes(GossipRPC(messages: [message]))), now: .start)
            guard case .deliver(let ticket, _, from: _) = effects.first else {
                Issue.record("delivered")
                return
            }
            #expect(router.handle(.validated(ticket, .accept), now: .start).isEmpty)
        }
        for _ in 0..<3 {
            let effects = router.handle(.publish(topic, [UInt8](repeating: 8, count: 1_000)), now: .start)
            #expect(effects.count == 1)
        }
        let drained = sent(router.handle(.writable(neighbour), now: .start)).flatMap(\.messages)
        #expect(drained.prefix(3).allSatisfy { $0.data.first == 8 } && drained.count == 3)

        // Ours alone beyond its bound: the peer is too slow.
        _ = router.handle(.congested(neighbour), now: .start)
        var effects: [GossipEffect] = []
        for _ in 0..<10 { effects += router.handle(.publish(topic, [UInt8](repeating: 8, count: 1_000)), now: .start) }
        #expect(effects.contains(.giveUp(neighbour)))
        #expect(router.connectedPeers == [third.publicKey.peerID])
    }

    @Test func theSeenCacheForgetsInTimeAndInSize() {
        var cache = SeenCache(life: .seconds(10), countMax: 3)
        let fresh = (0..<5).map { cache.insert(MessageID([UInt8($0)]), now: .start) }
        #expect(fresh == Array(repeating: true, count: 5))
        #expect(cache.count == 3 && !cache.contains(MessageID([1])) && cache.contains(MessageID([2])))
        let early = cache.insert(MessageID([4]), now: .start + .seconds(9))
        let late = cache.insert(MessageID([4]), now: .start + .seconds(10))
        #expect(!early && late)
        #expect(cache.count == 1)
    }

    @Test func theMessageCacheForgetsByHeartbeatAndInSize() {
        var parameters = GossipParameters()
        parameters.cachedMessagesMax = 2
        var cache = MessageCache(parameters)
        for number in 0..<3 { cache.put(MessageID([UInt8(number)]), message(UInt64(number))) }
        #expect(cache.count == 2 && !cache.contains(MessageID([0])))
        for beat in 1...5 {
            #expect(cache.gossip(topic: topic).count == (beat <= 3 ? 2 : 0))
            #expect(cache.count == 2)
            cache.shift()
        }
        #expect(cache.count == 0 && cache.bytes == 0)
    }
}
