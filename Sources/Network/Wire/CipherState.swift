// Noise's CipherState (Noise Protocol Framework, revision 34, section 5.1) for ChaChaPoly: a key, a counter, and two
// operations that work in place. The order inside them is the invariant: verify, then count. A ciphertext that does not
// open leaves the nonce where it was.

internal import CSodium

package enum NoiseFault: Error, Hashable, Sendable {
    /// The authentication tag is wrong: other key, other nonce, or altered bytes.
    case notAuthentic
    /// 2^64 - 1 messages were sealed under one key; the number itself is reserved (section 5.1).
    case nonceExhausted
    /// A message longer than 65535 bytes, or shorter than its fixed parts.
    case wrongLength(Int)
    /// X25519 gave zero: the other side sent a point of small order.
    case smallOrderPoint
}

/// libsodium must be initialised before use; `sodium_init` is idempotent and thread-safe.
enum Sodium {
    static let ready: Bool = sodium_init() >= 0
    static func require() { precondition(ready, "libsodium could not be initialised") }
}

package struct CipherState: Sendable {
    package static let keyBytes = 32
    package static let tagBytes = 16

    private let key: [UInt8]
    /// The number of messages that went through; also the nonce of the next one.
    package private(set) var nonce: UInt64

    /// - Parameter nonce: where to count from; zero but in tests of exhaustion.
    package init(key: [UInt8], nonce: UInt64 = 0) {
        precondition(key.count == Self.keyBytes, "a ChaChaPoly key has 32 bytes")
        Sodium.require()
        self.key = key
        self.nonce = nonce
    }

    /// Encrypts `buffer[start...]` where it lies and appends the 16-byte tag.
    package mutating func seal(
        _ buffer: inout [UInt8], from start: Int, associated: [UInt8] = []
    ) throws(NoiseFault) {
        guard nonce != .max else { throw .nonceExhausted }
        let length = buffer.count - start
        precondition(length >= 0, "the plaintext starts inside the buffer")
        buffer.append(contentsOf: repeatElement(0, count: Self.tagBytes))
        let npub = nonceBytes
        buffer.withUnsafeMutableBufferPointer { bytes in
            guard let base = bytes.baseAddress else { return }
            _ = crypto_aead_chacha20poly1305_ietf_encrypt(
                base + start, nil, base + start, UInt64(length), associated, UInt64(associated.count), nil, npub, key)
        }
        nonce += 1
    }

    /// Decrypts `buffer[range]`, tag included, where it lies.
    /// - Returns: the range of the plaintext.
    /// - Throws: `notAuthentic`; the bytes in `range` are lost then, the nonce is unchanged.
    package mutating func open(
        _ buffer: inout [UInt8], _ range: Range<Int>, associated: [UInt8] = []
    ) throws(NoiseFault) -> Range<Int> {
        guard nonce != .max else { throw .nonceExhausted }
        guard range.count >= Self.tagBytes, range.lowerBound >= 0, range.upperBound <= buffer.count else {
            throw .wrongLength(range.count)
        }
        let npub = nonceBytes
        let verdict = buffer.withUnsafeMutableBufferPointer { bytes -> Int32 in
            guard let base = bytes.baseAddress else { return -1 }
            return crypto_aead_chacha20poly1305_ietf_decrypt(
                base + range.lowerBound, nil, nil, base + range.lowerBound, UInt64(range.count), associated,
                UInt64(associated.count), npub, key)
        }
        guard verdict == 0 else { throw .notAuthentic }
        nonce += 1
        return range.lowerBound..<range.upperBound - Self.tagBytes
    }

    /// Four zero bytes, then the counter little-endian (section 12.3).
    private var nonceBytes: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 12) { bytes, count in
            for index in 0..<4 { bytes[index] = 0 }
            for index in 0..<8 { bytes[4 + index] = UInt8(truncatingIfNeeded: nonce >> UInt64(8 * index)) }
            count = 12
        }
    }
}
