// Bytes, who signed them, and the signature: how every record of ours travels. The payload stays the bytes that were
// signed; nothing is ever re-serialised to check it.

package import Primitives

package enum EnvelopeFault: Error, Hashable, Sendable {
    case malformed(CBORFault)
    case badSignature(signer: PublicKey)
}

package struct SignedEnvelope: Hashable, Sendable {
    package static let overheadBytesMax = 256

    package let payload: [UInt8]
    package let signer: PublicKey
    package let signature: Signature

    package init(payload: [UInt8], signer: PublicKey, signature: Signature) {
        self.payload = payload
        self.signer = signer
        self.signature = signature
    }

    package init(_ payload: [UInt8], by key: SigningKey, domain: Domain, network: NetworkID) {
        self.init(
            payload: payload, signer: key.publicKey,
            signature: key.sign(signedBytes(domain, network: network, payload: payload)))
    }

    package func isValid(_ domain: Domain, network: NetworkID) -> Bool {
        signer.verify(signature, over: signedBytes(domain, network: network, payload: payload))
    }

    package var cbor: CBOR {
        .map(["payload": .bytes(payload), "signer": .publicKey(signer), "signature": .signature(signature)])
    }

    package func encoded() -> [UInt8] { cbor.encoded() }

    package init(cbor: CBOR, payloadBytesMax: Int) throws(CBORFault) {
        var fields = try CBORFields(cbor, "SignedEnvelope")
        payload = try fields.bytes("payload", max: payloadBytesMax)
        signer = try fields.publicKey("signer")
        signature = try fields.signature("signature")
        try fields.finish()
    }

    package init(decoding bytes: [UInt8], payloadBytesMax: Int) throws(CBORFault) {
        let limits = CBORLimits(bytesMax: payloadBytesMax + Self.overheadBytesMax)
        try self.init(cbor: CBOR.decode(bytes, limits: limits), payloadBytesMax: payloadBytesMax)
    }

    /// Decodes and checks the signature: the payload of what this returns may be believed to come from `signer`.
    package static func open(
        _ bytes: [UInt8], domain: Domain, network: NetworkID, payloadBytesMax: Int
    ) throws(EnvelopeFault) -> SignedEnvelope {
        let envelope: SignedEnvelope
        do {
            envelope = try SignedEnvelope(decoding: bytes, payloadBytesMax: payloadBytesMax)
        } catch {
            throw .malformed(error)
        }
        guard envelope.isValid(domain, network: network) else { throw .badSignature(signer: envelope.signer) }
        return envelope
    }
}
