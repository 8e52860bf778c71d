// What libp2p puts inside the Noise handshake (libp2p specs, noise/README.md): the identity key, and its signature over
// the static key of this handshake. It is what turns "someone" into a peer ID.
//
// Only Ed25519 identities are accepted. RSA, secp256k1 and ECDSA keys are refused by name: the others cost more to verify
// than a stranger should be able to ask for (CVE-2023-39533), and no peer of ours has one.

internal import Messages
package import Primitives
internal import SwiftProtobuf

package enum IdentityFault: Error, Hashable, Sendable {
    /// The payload is not the protobuf message that it should be.
    case malformed
    /// A key type that we refuse: "RSA", "Secp256k1" or "ECDSA".
    case refusedKeyType(String)
    case invalidKey(KeyFault)
    /// The signature is not the identity key's over this handshake's static key.
    case badSignature
    /// The peer proved an identity, but not the one that was dialled.
    case wrongPeer(expected: PeerID, found: PeerID)
}

enum NoiseIdentity {
    private static let signaturePrefix = Array("noise-libp2p-static-key:".utf8)

    static func payload(_ identity: SigningKey, staticPublic: [UInt8]) -> [UInt8] {
        let message = Wire_NoiseHandshakePayload(
            identityKey: encodeKey(identity.publicKey), signature: identity.sign(signaturePrefix + staticPublic).bytes)
        return encoded(message)
    }

    static func verify(
        _ payload: [UInt8], staticPublic: [UInt8], expected: PeerID?
    ) throws(IdentityFault) -> PublicKey {
        guard let message: Wire_NoiseHandshakePayload = decoded(payload) else { throw .malformed }
        let key = try decodeKey(message.identityKeyBytes)
        guard let signature = Signature(message.signatureBytes),
            key.verify(signature, over: signaturePrefix + staticPublic)
        else { throw .badSignature }
        if let expected, expected != key.peerID { throw .wrongPeer(expected: expected, found: key.peerID) }
        return key
    }

    /// The protobuf form of a key (libp2p specs, peer-ids/peer-ids.md).
    static func encodeKey(_ key: PublicKey) -> [UInt8] {
        encoded(Wire_PublicKeyMessage(type: .ed25519, bytes: key.bytes))
    }

    static func decodeKey(_ bytes: [UInt8]) throws(IdentityFault) -> PublicKey {
        guard let message: Wire_PublicKeyMessage = decoded(bytes) else { throw .malformed }
        switch message.type {
        case .ed25519: break
        case .rsa: throw .refusedKeyType("RSA")
        case .secp256K1: throw .refusedKeyType("Secp256k1")
        case .ecdsa: throw .refusedKeyType("ECDSA")
        }
        do {
            return try PublicKey(message.keyBytes)
        } catch {
            throw .invalidKey(error)
        }
    }
}

/// The wire form of a message of ours, whose required fields are all set.
func encoded(_ message: some Message) -> [UInt8] {
    guard let bytes: [UInt8] = try? message.serializedBytes() else {
        preconditionFailure("a message of ours lacks a required field")
    }
    return bytes
}

/// - Returns: nil unless `bytes` are a whole message of that type.
func decoded<M: Message>(_ bytes: [UInt8]) -> M? {
    try? M(serializedBytes: bytes)
}
