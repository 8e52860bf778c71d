// Noise's SymmetricState (revision 34, section 5.2) with SHA-256: the chaining key that collects every secret and the
// hash that collects every byte on the wire.

internal import Primitives

struct SymmetricState: Sendable {
    private var chainingKey: [UInt8]
    private(set) var hash: [UInt8]
    private var cipher: CipherState?

    /// - Parameter protocolName: at most 32 bytes, padded with zeros (HASHLEN).
    init(protocolName: String) {
        var name = Array(protocolName.utf8)
        precondition(name.count <= Digest.byteCount, "a longer name would have to be hashed")
        name.append(contentsOf: repeatElement(0, count: Digest.byteCount - name.count))
        hash = name
        chainingKey = name
    }

    var hasKey: Bool { cipher != nil }

    mutating func mixKey(_ material: [UInt8]) {
        let (next, key) = Self.derive(chainingKey, material)
        chainingKey = next
        cipher = CipherState(key: key)
    }

    mutating func mixHash(_ data: [UInt8]) {
        hash = Digest(sha256Of: [hash, data]).bytes
    }

    mutating func encryptAndHash(_ plaintext: [UInt8]) throws(NoiseFault) -> [UInt8] {
        var text = plaintext
        try cipher?.seal(&text, from: 0, associated: hash)
        mixHash(text)
        return text
    }

    /// Changes nothing when it throws.
    mutating func decryptAndHash(_ ciphertext: [UInt8]) throws(NoiseFault) -> [UInt8] {
        var text = ciphertext
        if let range = try cipher?.open(&text, 0..<text.count, associated: hash) {
            text.removeSubrange(range.upperBound...)
        }
        mixHash(ciphertext)
        return text
    }

    /// The keys of the two directions: initiator's first.
    consuming func split() -> (CipherState, CipherState) {
        let (first, second) = Self.derive(chainingKey, [])
        return (CipherState(key: first), CipherState(key: second))
    }

    /// Noise's HKDF with two outputs (section 4.3).
    private static func derive(_ chainingKey: [UInt8], _ material: [UInt8]) -> ([UInt8], [UInt8]) {
        let secret = hmacSHA256(key: chainingKey, material)
        let first = hmacSHA256(key: secret, [0x01])
        return (first, hmacSHA256(key: secret, first + [0x02]))
    }
}
