// The key in a file that may lie anywhere: sealed by a passphrase, read back once before it counts as written.

import Foundation
package import Primitives

package enum KeyBackup {
    private static let magic = Array("openledger-key-1\n".utf8)
    private static let bytes =
        magic.count + PassphraseSeal.saltBytes + PassphraseSeal.nonceBytes + 32 + PassphraseSeal.overheadBytes

    /// Writes a new file. Never overwrites.
    package static func write(_ home: Home, to path: String, passphrase: [UInt8]) throws -> PublicKey {
        guard home.hasKey else { throw HomeFault.key(path: home.keyPath, reason: "this home has no key yet") }
        let key = try home.signingKey()
        let salt = Home.randomBytes(PassphraseSeal.saltBytes)
        let nonce = Home.randomBytes(PassphraseSeal.nonceBytes)
        let sealed = try PassphraseSeal.seal(key.seed, passphrase: passphrase, salt: salt, nonce: nonce, context: magic)
        try Home.writeNew(magic + salt + nonce + sealed, to: path)
        guard try read(path, passphrase: passphrase).publicKey == key.publicKey else {
            throw HomeFault.backup("\(path) does not read back; do not rely on it")
        }
        return key.publicKey
    }

    /// Puts a backed-up key into a home that has none.
    package static func restore(_ path: String, into home: Home, passphrase: [UInt8]) throws -> PublicKey {
        guard !home.hasKey else { throw HomeFault.exists(path: home.keyPath) }
        let key = try read(path, passphrase: passphrase)
        try home.write(key)
        return key.publicKey
    }

    private static func read(_ path: String, passphrase: [UInt8]) throws -> SigningKey {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw HomeFault.backup("\(path) cannot be read")
        }
        guard data.count == bytes, data.starts(with: magic) else { throw HomeFault.backup("\(path) is no key backup") }
        var reader = ByteReader(Array(data))
        _ = try reader.take(magic.count)
        let salt = try reader.take(PassphraseSeal.saltBytes)
        let nonce = try reader.take(PassphraseSeal.nonceBytes)
        do {
            let seed = try PassphraseSeal.open(
                reader.rest(), passphrase: passphrase, salt: salt, nonce: nonce, context: magic)
            return try SigningKey(seed: seed)
        } catch SealFault.refused {
            throw HomeFault.backup("the passphrase is wrong, or \(path) is damaged")
        }
    }
}
