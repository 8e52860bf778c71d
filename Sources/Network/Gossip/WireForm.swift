// A message as protobuf. The form that is signed is the message without signature and key, fields in the order of
// their numbers, unknown fields last, as every libp2p implementation marshals it.

internal import Messages
internal import Primitives
internal import SwiftProtobuf

enum WireForm {
    /// The bytes that are signed after the prefix.
    static func unsigned(
        author: PeerID, topic: GossipTopic, data: [UInt8], sequence: [UInt8], unknownFields: [UInt8]
    ) -> [UInt8] {
        var wire = Messages.GossipsubMessage()
        wire.from = .init(octets: author.bytes)
        wire.data = .init(octets: data)
        wire.seqno = .init(octets: sequence)
        wire.topic = topic.name
        return bytes(of: wire) + unknownFields
    }

    static func write(_ message: GossipMessage) -> Messages.GossipsubMessage {
        var wire = Messages.GossipsubMessage()
        if !message.unknownFields.isEmpty {
            // They were unknown fields of a parsed message: parsing them alone cannot fail.
            wire = (try? Messages.GossipsubMessage(serializedBytes: message.unknownFields)) ?? wire
        }
        wire.from = .init(octets: message.author.bytes)
        wire.data = .init(octets: message.data)
        wire.seqno = .init(octets: message.sequence)
        wire.topic = message.topic.name
        wire.signature = .init(octets: message.signature.bytes)
        return wire
    }

    static func read(
        _ wire: Messages.GossipsubMessage, parameters: GossipParameters
    ) throws(SigningFault) -> GossipMessage {
        guard wire.hasFrom else { throw .missingAuthor }
        guard let author = PeerID(multihash: wire.from.octets) else { throw .malformedAuthor }
        guard wire.hasSeqno, !wire.seqno.isEmpty else { throw .missingSequence }
        guard wire.seqno.count == GossipMessage.sequenceByteCount else {
            throw .malformedSequence(bytes: wire.seqno.count)
        }
        let topic = GossipTopic(wire.topic)
        guard wire.hasTopic, !topic.utf8.isEmpty, topic.utf8.count <= parameters.topicBytesMax else {
            throw .missingTopic
        }
        guard wire.data.count <= parameters.dataBytesMax else { throw .dataTooLarge(bytes: wire.data.count) }
        guard wire.hasSignature, !wire.signature.isEmpty else { throw .missingSignature }
        guard let signature = Signature(wire.signature.octets) else {
            throw .malformedSignature(bytes: wire.signature.count)
        }
        guard let key = author.publicKey else { throw .unsupportedKey }
        if wire.hasKey, !wire.key.isEmpty, wire.key.octets != GossipMessage.keyPrefix + key.bytes {
            throw .keyIsNotAuthors
        }
        return GossipMessage(
            author: author, topic: topic, data: wire.data.octets, sequence: wire.seqno.octets, signature: signature,
            unknownFields: wire.unknownFields.data.octets)
    }

    static func bytes(of message: some SwiftProtobuf.Message) -> [UInt8] {
        do {
            return try message.serializedBytes()
        } catch {
            preconditionFailure("a message without required fields always serialises: \(error)")
        }
    }
}
