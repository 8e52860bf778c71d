// Bytes under a passphrase: Argon2id at libsodium's moderate cost, then XChaCha20-Poly1305. For files that may lie anywhere.

internal import CSodium

public enum SealFault: Error, Hashable, Sendable {
    case wrongLength
    /// 256 MiB are needed to stretch a passphrase.
    case notEnoughMemory
    /// The passphrase is wrong, or the bytes are damaged.
    case refused
}

public enum PassphraseSeal {
    public static let saltBytes = 16
    public static let nonceBytes = 24
    public static let overheadBytes = 16

    /// - Parameters:
    ///   - salt: 16 random bytes, new for each seal.
    ///   - nonce: 24 random bytes, new for each seal.
    ///   - context: authenticated, not sealed: what the bytes are.
    public static func seal(
        _ bytes: [UInt8], passphrase: [UInt8], salt: [UInt8], nonce: [UInt8], context: [UInt8]
    ) throws(SealFault) -> [UInt8] {
        guard nonce.count == nonceBytes else { throw .wrongLength }
        let key = try stretched(passphrase, salt)
        var sealed = [UInt8](repeating: 0, count: bytes.count + overheadBytes)
        guard
            crypto_aead_xchacha20poly1305_ietf_encrypt(
                &sealed, nil, bytes, UInt64(bytes.count), context, UInt64(context.count), nil, nonce, key) == 0
        else { throw .refused }
        return sealed
    }

    public static func open(
        _ sealed: [UInt8], passphrase: [UInt8], salt: [UInt8], nonce: [UInt8], context: [UInt8]
    ) throws(SealFault) -> [UInt8] {
        guard nonce.count == nonceBytes, sealed.count >= overheadBytes else { throw .wrongLength }
        let key = try stretched(passphrase, salt)
        var bytes = [UInt8](repeating: 0, count: sealed.count - overheadBytes)
        guard
            crypto_aead_xchacha20poly1305_ietf_decrypt(
                &bytes, nil, nil, sealed, UInt64(sealed.count), context, UInt64(context.count), nonce, key) == 0
        else { throw .refused }
        return bytes
    }

    private static func stretched(_ passphrase: [UInt8], _ salt: [UInt8]) throws(SealFault) -> [UInt8] {
        guard salt.count == saltBytes else { throw .wrongLength }
        Sodium.require()
        var key = [UInt8](repeating: 0, count: 32)
        let text = passphrase.map { CChar(bitPattern: $0) }
        guard
            crypto_pwhash(
                &key, UInt64(key.count), text, UInt64(text.count), salt, UInt64(crypto_pwhash_opslimit_moderate()),
                Int(crypto_pwhash_memlimit_moderate()), crypto_pwhash_alg_argon2id13()) == 0
        else { throw .notEnoughMemory }
        return key
    }
}
