// Signed peer records (libp2p RFC 0002, signed envelopes; RFC 0003, routing records): addresses that a peer vouches for
// with its identity key, so that a third party can pass them on without being able to change them.

internal import Messages
package import Primitives
internal import SwiftProtobuf

package struct PeerRecord: Hashable, Sendable {
    package static let addressesMax = 64
    private static let domain = Array("libp2p-peer-record".utf8)
    private static let payloadType: [UInt8] = [0x03, 0x01]

    package let peer: PeerID
    package let sequence: UInt64
    package let addresses: [Multiaddr]

    package init(peer: PeerID, sequence: UInt64, addresses: [Multiaddr]) {
        self.peer = peer
        self.sequence = sequence
        self.addresses = Array(addresses.prefix(Self.addressesMax))
    }

    /// The envelope's bytes.
    package func sealed(by key: SigningKey) -> [UInt8] {
        let payload = encoded(
            Wire_PeerRecord(peerID: peer.bytes, sequence: sequence, addresses: addresses.map(\.bytes)))
        return encoded(
            Wire_SignedEnvelope(
                publicKey: NoiseIdentity.encodeKey(key.publicKey), payloadType: Self.payloadType, payload: payload,
                signature: key.sign(Self.signedBytes(payload)).bytes))
    }

    /// - Parameter signer: whose record it has to be.
    /// - Throws: `IdentityFault`.
    package init(opening bytes: [UInt8], signer: PeerID) throws(IdentityFault) {
        guard let envelope: Wire_SignedEnvelope = decoded(bytes), envelope.payloadTypeBytes == Self.payloadType else {
            throw .malformed
        }
        let key = try NoiseIdentity.decodeKey(envelope.publicKeyBytes)
        guard key.peerID == signer else { throw .wrongPeer(expected: signer, found: key.peerID) }
        let payload = envelope.payloadBytes
        guard let signature = Signature(envelope.signatureBytes),
            key.verify(signature, over: Self.signedBytes(payload))
        else { throw .badSignature }
        guard let record: Wire_PeerRecord = decoded(payload), record.peerIDBytes == signer.bytes else {
            throw .malformed
        }
        let known = record.addressBytes.prefix(Self.addressesMax).compactMap { try? Multiaddr(bytes: $0) }
        self.init(peer: signer, sequence: record.seq, addresses: known)
    }

    private static func signedBytes(_ payload: [UInt8]) -> [UInt8] {
        [domain, payloadType, payload].flatMap { Varint.encode(UInt64($0.count)) + $0 }
    }
}
