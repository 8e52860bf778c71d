// One pubsub message and the StrictSign policy (libp2p specs, pubsub/README.md, "Message Signing"): author, sequence
// number and signature are required, the signature is over "libp2p-pubsub:" and the protobuf without signature and key,
// and the key is the one inside the author's peer ID.

package import Primitives

/// The binary name of a message.
package struct MessageID: Hashable, Comparable, Sendable {
    package let bytes: [UInt8]

    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    package static func < (left: Self, right: Self) -> Bool { left.bytes.lexicographicallyPrecedes(right.bytes) }

    /// The specification's default: author, then the eight bytes of the sequence number.
    package static let authorAndSequence: @Sendable (GossipMessage) -> MessageID = { message in
        MessageID(message.author.bytes + message.sequence)
    }

    /// The SHA-256 of the data: equal data is one message, whoever publishes it.
    package static let contentDigest: @Sendable (GossipMessage) -> MessageID = { message in
        MessageID(Digest(sha256: message.data).bytes)
    }
}

package enum SigningFault: Error, Hashable, Sendable {
    case missingAuthor
    case malformedAuthor
    case missingSequence
    case malformedSequence(bytes: Int)
    case missingTopic
    case missingSignature
    case malformedSignature(bytes: Int)
    /// The author's peer ID does not contain an Ed25519 key: such messages cannot be checked here.
    case unsupportedKey
    /// The key field is there and is not the key of the author.
    case keyIsNotAuthors
    case wrongSignature
    case dataTooLarge(bytes: Int)
}

package struct GossipMessage: Hashable, Sendable {
    package static let signaturePrefix = Array("libp2p-pubsub:".utf8)
    package static let sequenceByteCount = 8
    /// What an Ed25519 key looks like in the key field: protobuf {1: Ed25519, 2: 32 bytes}.
    static let keyPrefix: [UInt8] = [0x08, 0x01, 0x12, 0x20]

    package let author: PeerID
    package let topic: GossipTopic
    package let data: [UInt8]
    /// Eight bytes, big-endian.
    package let sequence: [UInt8]
    package let signature: Signature
    /// Fields we do not know: kept, since the author may have signed them.
    let unknownFields: [UInt8]

    init(
        author: PeerID, topic: GossipTopic, data: [UInt8], sequence: [UInt8], signature: Signature,
        unknownFields: [UInt8] = []
    ) {
        self.author = author
        self.topic = topic
        self.data = data
        self.sequence = sequence
        self.signature = signature
        self.unknownFields = unknownFields
    }

    /// Makes and signs a message of our own.
    package init(signedBy key: SigningKey, topic: GossipTopic, data: [UInt8], sequence number: UInt64) {
        let author = key.publicKey.peerID
        let sequence = (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(56 - 8 * $0)) }
        let unsigned = WireForm.unsigned(
            author: author, topic: topic, data: data, sequence: sequence, unknownFields: [])
        self.init(
            author: author, topic: topic, data: data, sequence: sequence,
            signature: key.sign(Self.signaturePrefix + unsigned))
    }

    package var sequenceNumber: UInt64 { sequence.reduce(0) { $0 << 8 | UInt64($1) } }

    /// Whether the author signed this. Costs an Ed25519 verification (about 50 µs) and needs nothing but the message.
    package func signatureHolds() -> Bool {
        guard let key = author.publicKey else { return false }
        let unsigned = WireForm.unsigned(
            author: author, topic: topic, data: data, sequence: sequence, unknownFields: unknownFields)
        return key.verify(signature, over: Self.signaturePrefix + unsigned)
    }

    /// Its size on the wire without the field header, rounded up; used for limits.
    var bytesOnWire: Int {
        author.bytes.count + topic.utf8.count + data.count + sequence.count + Signature.byteCount
            + unknownFields.count + 32
    }
}
