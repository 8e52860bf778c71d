// Identify and Identify push (libp2p specs, identify/README.md): what a peer says about itself.

internal import Messages
package import Primitives
internal import SwiftProtobuf

/// What the other side said in Identify. Only `record` is signed; the rest is its word.
package struct PeerInfo: Hashable, Sendable {
    package let peer: PeerID
    package let protocolVersion: String
    package let agentVersion: String
    package let protocols: [ProtocolID]
    package let listenAddresses: [Multiaddr]
    /// How the peer sees us.
    package let observedAddress: Multiaddr?
    package let record: PeerRecord?
    /// Whether it came by push, later than the first.
    package let isPush: Bool

    /// Strings of strangers are shown to people: no longer than this.
    private static let textBytesMax = 128

    init(
        decoding bytes: [UInt8], peer: PeerID, entriesMax: Int, isPush: Bool
    ) throws(IdentityFault) {
        guard let message: Wire_Identify = decoded(bytes) else { throw .malformed }
        if !message.publicKeyBytes.isEmpty {
            let key = try NoiseIdentity.decodeKey(message.publicKeyBytes)
            guard key.peerID == peer else { throw .wrongPeer(expected: peer, found: key.peerID) }
        }
        self.peer = peer
        self.isPush = isPush
        protocolVersion = Self.trimmed(message.protocolVersion)
        agentVersion = Self.trimmed(message.agentVersion)
        protocols = message.protocols.prefix(entriesMax).compactMap { ProtocolID($0) }
        listenAddresses = message.listenAddressBytes.prefix(entriesMax).compactMap { try? Multiaddr(bytes: $0) }
        observedAddress = message.observedAddressBytes.flatMap { try? Multiaddr(bytes: $0) }
        let envelope = message.signedPeerRecordBytes
        // A record that does not verify is as good as none: the addresses beside it are only the peer's word anyway.
        record = envelope.isEmpty ? nil : try? PeerRecord(opening: envelope, signer: peer)
    }

    /// The message that says `about` of the holder of `settings.identity`.
    static func message(_ settings: ConnectionSettings, about: LocalInfo, observed: Multiaddr?) -> [UInt8] {
        let key = settings.identity.publicKey
        let record = PeerRecord(peer: key.peerID, sequence: about.recordSequence, addresses: about.listenAddresses)
        let body = encoded(
            Wire_Identify(
                publicKey: NoiseIdentity.encodeKey(key), listenAddresses: about.listenAddresses.map(\.bytes),
                protocols: offered(settings.protocols).map(\.name), observedAddress: observed?.bytes,
                protocolVersion: about.protocolVersion, agentVersion: about.agentVersion,
                signedPeerRecord: record.sealed(by: settings.identity)))
        return Varint.encode(UInt64(body.count)) + body
    }

    /// What a listener answers for, in order.
    static func offered(_ protocols: [ProtocolID: ProtocolLimits]) -> [ProtocolID] {
        let own = protocols.filter { $0.value.inboundStreamsMax > 0 }.map(\.key)
        return (own + [.identify, .identifyPush, .ping]).sorted()
    }

    private static func trimmed(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.prefix(textBytesMax).filter { $0.value >= 0x20 }))
    }
}
