// A verifiable random function: the holder of a key turns an input into 64 pseudorandom bytes and a proof, and anyone
// with the public key checks that no other bytes were possible. The election beacon is made of these, so that nobody,
// not even the proposer who adds the next one, can choose the outcome; he can only withhold it.
//
// ECVRF-EDWARDS25519-SHA512-TAI, suite 0x03 of RFC 9381, built on libsodium's public group operations. Two checks are
// stricter than the RFC asks: the public key and Gamma must lie in the prime-order subgroup, canonically encoded. An
// honest prover never produces anything else, and it leaves one encoding for every proof.

internal import CSodium

/// An 80-byte proof pi = Gamma (32) || c (16) || s (32), RFC 9381 section 5.5.
public struct VRFProof: Hashable, Sendable {
    public static let byteCount = 80

    public let bytes: [UInt8]

    /// - Parameter bytes: exactly 80 bytes; whether they prove anything is `VRF.verify`'s to say.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        self.bytes = Array(bytes)
    }
}

/// The 64 bytes beta that a valid proof stands for.
public struct VRFOutput: Hashable, Sendable {
    public static let byteCount = 64

    public let bytes: [UInt8]

    fileprivate init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }
}

public enum VRF {
    /// Proves the output of `key` on `alpha`. Deterministic: the nonce is RFC 8032's (section 5.4.2.2).
    public static func prove(key: SigningKey, alpha: [UInt8]) -> VRFProof {
        let publicKey = key.publicKey.bytes
        var expanded = sha512(key.seed)
        expanded[0] &= 248
        expanded[31] &= 127
        expanded[31] |= 64
        let secret = Array(expanded[0..<32])

        // Both fail with probability below 2^-250 for a key that `SigningKey` accepted.
        guard let point = hashToCurve(salt: publicKey, alpha), let gamma = multiply(secret, point) else {
            preconditionFailure("no curve point among 256 hashes")
        }
        let nonce = reduce(sha512(Array(expanded[32..<64]) + point))
        guard let u = multiplyBase(nonce), let v = multiply(nonce, point) else {
            preconditionFailure("the nonce is zero")
        }
        let challenge = challenge(publicKey, point, gamma, u, v)
        let response = scalarAdd(scalarMultiply(challenge + zeros(16), reduce(secret + zeros(32))), nonce)
        return VRFProof(unchecked: gamma + challenge + response)
    }

    /// The output that `proof` shows for `alpha`, or nil where it shows nothing: wrong key, wrong input, altered bytes,
    /// a scalar not below the group order, a point not canonical or outside the prime-order subgroup.
    public static func verify(publicKey: PublicKey, alpha: [UInt8], proof: VRFProof) -> VRFOutput? {
        let key = publicKey.bytes
        let gamma = Array(proof.bytes[0..<32])
        let challengeGiven = Array(proof.bytes[32..<48])
        let response = Array(proof.bytes[48..<80])
        guard crypto_core_ed25519_is_valid_point(key) == 1, crypto_core_ed25519_is_valid_point(gamma) == 1,
            reduce(response + zeros(32)) == response,
            let point = hashToCurve(salt: key, alpha)
        else { return nil }

        let scalar = challengeGiven + zeros(16)
        guard let sB = multiplyBase(response), let cY = multiply(scalar, key), let u = subtract(sB, cY),
            let sH = multiply(response, point), let cGamma = multiply(scalar, gamma), let v = subtract(sH, cGamma),
            challenge(key, point, gamma, u, v) == challengeGiven,
            let cleared = timesCofactor(gamma)
        else { return nil }
        return VRFOutput(sha512([suite, 0x03] + cleared + [0x00]))
    }

    // MARK: RFC 9381 section 5.4

    private static let suite: UInt8 = 0x03
    private static let attemptsMax = 256

    /// Section 5.4.1.1, try and increment; the result is in the prime-order subgroup.
    private static func hashToCurve(salt: [UInt8], _ alpha: [UInt8]) -> [UInt8]? {
        for attempt in 0..<attemptsMax {
            let candidate = Array(sha512([suite, 0x01] + salt + alpha + [UInt8(attempt), 0x00])[0..<32])
            guard isCanonical(candidate), let point = timesCofactor(candidate),
                crypto_core_ed25519_is_valid_point(point) == 1
            else { continue }
            return point
        }
        return nil
    }

    /// Section 5.4.3, cut to 16 bytes.
    private static func challenge(
        _ key: [UInt8], _ point: [UInt8], _ gamma: [UInt8], _ u: [UInt8], _ v: [UInt8]
    ) -> [UInt8] {
        Array(sha512([suite, 0x02] + key + point + gamma + u + v + [0x00])[0..<16])
    }

    // MARK: Group operations. Points and scalars are 32 little-endian bytes; nil where libsodium refuses the point.

    /// y < 2^255 - 19 once the sign bit is masked: libsodium's group operations would reduce it silently.
    private static func isCanonical(_ point: [UInt8]) -> Bool {
        if point[31] & 0x7f != 0x7f || point[0] < 0xed { return true }
        return point[1..<31].contains { $0 != 0xff }
    }

    private static func timesCofactor(_ point: [UInt8]) -> [UInt8]? {
        add(point, point).flatMap { add($0, $0) }.flatMap { add($0, $0) }
    }

    private static func add(_ left: [UInt8], _ right: [UInt8]) -> [UInt8]? {
        var result = zeros(32)
        return crypto_core_ed25519_add(&result, left, right) == 0 ? result : nil
    }

    private static func subtract(_ left: [UInt8], _ right: [UInt8]) -> [UInt8]? {
        var result = zeros(32)
        return crypto_core_ed25519_sub(&result, left, right) == 0 ? result : nil
    }

    private static func multiply(_ scalar: [UInt8], _ point: [UInt8]) -> [UInt8]? {
        var result = zeros(32)
        return crypto_scalarmult_ed25519_noclamp(&result, scalar, point) == 0 ? result : nil
    }

    private static func multiplyBase(_ scalar: [UInt8]) -> [UInt8]? {
        var result = zeros(32)
        return crypto_scalarmult_ed25519_base_noclamp(&result, scalar) == 0 ? result : nil
    }

    /// 64 bytes modulo the group order.
    private static func reduce(_ wide: [UInt8]) -> [UInt8] {
        var result = zeros(32)
        crypto_core_ed25519_scalar_reduce(&result, wide)
        return result
    }

    private static func scalarMultiply(_ left: [UInt8], _ right: [UInt8]) -> [UInt8] {
        var result = zeros(32)
        crypto_core_ed25519_scalar_mul(&result, left, right)
        return result
    }

    private static func scalarAdd(_ left: [UInt8], _ right: [UInt8]) -> [UInt8] {
        var result = zeros(32)
        crypto_core_ed25519_scalar_add(&result, left, right)
        return result
    }

    private static func sha512(_ bytes: [UInt8]) -> [UInt8] {
        var result = zeros(64)
        crypto_hash_sha512(&result, bytes, UInt64(bytes.count))
        return result
    }

    private static func zeros(_ count: Int) -> [UInt8] {
        [UInt8](repeating: 0, count: count)
    }
}

extension VRFProof {
    fileprivate init(unchecked bytes: [UInt8]) {
        precondition(bytes.count == Self.byteCount)
        self.bytes = bytes
    }
}
