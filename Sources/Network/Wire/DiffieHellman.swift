// X25519 (RFC 7748) by libsodium, as Noise's DH functions. A result of zero is refused: it means a point of small order,
// and a peer that can force it knows the key without knowing a secret.

internal import CSodium

package enum DiffieHellman {
    package static let byteCount = 32

    /// - Parameter secret: 32 random bytes.
    package static func publicKey(of secret: [UInt8]) -> [UInt8] {
        precondition(secret.count == byteCount, "an X25519 secret has 32 bytes")
        Sodium.require()
        var point = [UInt8](repeating: 0, count: byteCount)
        _ = crypto_scalarmult_base(&point, secret)
        return point
    }

    package static func shared(_ secret: [UInt8], _ point: [UInt8]) throws(NoiseFault) -> [UInt8] {
        guard point.count == byteCount else { throw .wrongLength(point.count) }
        var shared = [UInt8](repeating: 0, count: byteCount)
        guard crypto_scalarmult(&shared, secret, point) == 0 else { throw .smallOrderPoint }
        return shared
    }
}
