import Messages
import Primitives
import SwiftProtobuf
import Testing

@testable import Gossip

private let topic = GossipTopic("t")

/// A message as a stranger would write it, before and after tampering.
private func wire(_ key: SigningKey, sequence: UInt64 = 5) -> GossipsubMessage {
    WireForm.write(GossipMessage(signedBy: key, topic: topic, data: [1, 2, 3], sequence: sequence))
}

private func rpc(_ message: GossipsubMessage) throws -> [UInt8] {
    var rpc = GossipsubRPC()
    rpc.publish = [message]
    return try rpc.serializedBytes()
}

@Suite struct SigningTests {
    let author: SigningKey
    let other: SigningKey
    let neighbour: PeerID
    var router: GossipRouter

    init() throws {
        author = try SigningKey(seed: [UInt8](repeating: 1, count: 32))
        other = try SigningKey(seed: [UInt8](repeating: 2, count: 32))
        let own = try SigningKey(seed: [UInt8](repeating: 3, count: 32))
        neighbour = other.publicKey.peerID
        router = GossipRouter(
            key: own, parameters: GossipParameters(), random: SeededRandom(seed: 1), firstSequence: 1)
        _ = router.handle(.connected(neighbour, version: .v1_1, outbound: false), now: .start)
        _ = router.handle(.subscribe(topic), now: .start)
    }

    /// The faults and the number of deliveries that the message causes.
    private mutating func receive(_ message: GossipsubMessage) throws -> (faults: [GossipFault], deliveries: Int) {
        var faults: [GossipFault] = []
        var deliveries = 0
        for effect in router.handle(.received(neighbour, try rpc(message)), now: .start) {
            if case .fault(_, let fault) = effect { faults.append(fault) }
            if case .deliver = effect { deliveries += 1 }
        }
        return (faults, deliveries)
    }

    private mutating func expectFault(
        _ fault: SigningFault, at location: SourceLocation = #_sourceLocation,
        _ change: (inout GossipsubMessage) -> Void
    ) throws {
        var message = wire(author)
        change(&message)
        let (faults, deliveries) = try receive(message)
        #expect(faults == [.invalidMessage(fault)], sourceLocation: location)
        #expect(deliveries == 0, sourceLocation: location)
    }

    @Test mutating func aSignedMessageIsDelivered() throws {
        let (faults, deliveries) = try receive(wire(author))
        #expect(faults.isEmpty && deliveries == 1)
        // And once only.
        #expect(try receive(wire(author)).deliveries == 0)
        #expect(router.duplicates == 1)
    }

    @Test mutating func theKeyFieldMayRepeatTheAuthorsKey() throws {
        var message = wire(author)
        message.key = .init(octets: [0x08, 0x01, 0x12, 0x20] + author.publicKey.bytes)
        #expect(try receive(message).deliveries == 1)
    }

    @Test mutating func fieldsWeDoNotKnowAreKeptAndSigned() throws {
        // Field 15, one byte, inside the signed part, as a later version of the protocol might add.
        let extra: [UInt8] = [0x78, 0x07]
        let author = author.publicKey.peerID
        let unsigned = WireForm.unsigned(
            author: author, topic: topic, data: [4], sequence: [0, 0, 0, 0, 0, 0, 0, 1], unknownFields: extra)
        let message = GossipMessage(
            author: author, topic: topic, data: [4], sequence: [0, 0, 0, 0, 0, 0, 0, 1],
            signature: self.author.sign(GossipMessage.signaturePrefix + unsigned), unknownFields: extra)
        #expect(message.signatureHolds())
        #expect(try receive(WireForm.write(message)).deliveries == 1)
    }

    @Test mutating func strictSignRefuses() throws {
        try expectFault(.missingAuthor) { $0.clearFrom() }
        try expectFault(.malformedAuthor) { $0.from = .init(octets: [1, 2, 3]) }
        try expectFault(.missingSequence) { $0.clearSeqno() }
        try expectFault(.malformedSequence(bytes: 4)) { $0.seqno = .init(octets: [0, 0, 0, 1]) }
        try expectFault(.missingTopic) { $0.clearTopic() }
        try expectFault(.missingSignature) { $0.clearSignature() }
        try expectFault(.malformedSignature(bytes: 3)) { $0.signature = .init(octets: [1, 2, 3]) }
        // sha2-256 peer ID: its key is not in it.
        try expectFault(.unsupportedKey) { $0.from = .init(octets: [0x12, 0x20] + [UInt8](repeating: 7, count: 32)) }
        let foreign = other.publicKey
        try expectFault(.keyIsNotAuthors) {
            $0.key = .init(octets: [0x08, 0x01, 0x12, 0x20] + foreign.bytes)
        }
        try expectFault(.wrongSignature) { $0.data = .init(octets: [1, 2, 4]) }
        try expectFault(.wrongSignature) { $0.from = .init(octets: foreign.peerID.bytes) }
        try expectFault(.wrongSignature) { $0.seqno = .init(octets: [0, 0, 0, 0, 0, 0, 0, 6]) }
        let signedByOther = wire(other).signature
        try expectFault(.wrongSignature) { $0.signature = signedByOther }
    }

    /// A forgery with the identifier of a true message must not make the true one look seen.
    @Test mutating func aForgeryDoesNotCensor() throws {
        var forged = wire(author)
        forged.data = .init(octets: [9])
        #expect(try receive(forged).deliveries == 0)
        #expect(try receive(wire(author)).deliveries == 1)
    }

    @Test func verificationCanBeLeftToTheOwner() throws {
        var parameters = GossipParameters()
        parameters.verifiesInline = false
        var router = GossipRouter(
            key: other, parameters: parameters, random: SeededRandom(seed: 1), firstSequence: 1)
        let neighbour = author.publicKey.peerID
        let second = try SigningKey(seed: [UInt8](repeating: 4, count: 32))
        _ = router.handle(.connected(neighbour, version: .v1_1, outbound: false), now: .start)
        _ = router.handle(.connected(second.publicKey.peerID, version: .v1_1, outbound: false), now: .start)
        _ = router.handle(.subscribe(topic), now: .start)
        var forged = wire(second)
        forged.data = .init(octets: [9])
        let tickets = try [forged, wire(second)].compactMap { message -> (GossipTicket, GossipMessage)? in
            let effects = router.handle(.received(neighbour, try rpc(message)), now: .start)
            guard case .verify(let ticket, let message) = effects.first else { return nil }
            return (ticket, message)
        }
        try #require(tickets.count == 2)
        #expect(!tickets[0].1.signatureHolds() && tickets[1].1.signatureHolds())
        #expect(
            router.handle(.verified(tickets[0].0, false), now: .start)
                == [.fault(neighbour, .invalidMessage(.wrongSignature))])
        #expect(
            router.handle(.verified(tickets[1].0, true), now: .start)
                == [.deliver(tickets[1].0, tickets[1].1, from: neighbour)])
        // A verdict before the signature, or twice, changes nothing.
        #expect(router.handle(.validated(tickets[0].0, .accept), now: .start).isEmpty)
    }

    @Test mutating func ourOwnNameIsNotForOthers() throws {
        let own = try SigningKey(seed: [UInt8](repeating: 3, count: 32))
        let (faults, deliveries) = try receive(wire(own, sequence: 99))
        #expect(deliveries == 0)
        guard case .forgedOwnMessage = faults.first else { return #expect(Bool(false)) }
    }

    /// Plants the bug that these tests exist for: a verifier that skips the data. The suite must see it.
    @Test func theCanaryIsSeen() {
        let message = GossipMessage(signedBy: author, topic: topic, data: [1], sequence: 1)
        let altered = GossipMessage(
            author: message.author, topic: topic, data: [2], sequence: message.sequence, signature: message.signature)
        func brokenVerifier(_ message: GossipMessage) -> Bool {
            let unsigned = WireForm.unsigned(
                author: message.author, topic: message.topic, data: [1], sequence: message.sequence,
                unknownFields: [])
            guard let key = message.author.publicKey else { return false }
            return key.verify(message.signature, over: GossipMessage.signaturePrefix + unsigned)
        }
        #expect(brokenVerifier(altered), "the planted bug accepts what")
        #expect(!altered.signatureHolds(), "the true verifier refuses")
    }
}
