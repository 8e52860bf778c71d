// Ed25519 keys and signatures by libsodium. Strict everywhere: canonical encodings only, small-order points refused;
// libsodium's verdict is the reference for every other verifier of ours (Protocol/identity.md).

internal import CSodium

public enum KeyFault: Error, Hashable, Sendable {
    case wrongLength(expected: Int, got: Int)
    /// Not a canonical encoding of a point of the prime-order group, or of small order.
    case invalidPoint
}

/// libsodium must be initialised before use; `sodium_init` is idempotent and thread-safe.
enum Sodium {
    static let ready: Bool = sodium_init() >= 0
    static func require() { precondition(ready, "libsodium could not be initialised") }
}

/// An Ed25519 public key (RFC 8032), 32 bytes, validated when made.
public struct PublicKey: Hashable, Comparable, Sendable {
    public static let byteCount = 32
    private let storage: Digest

    /// - Throws: `KeyFault` unless the bytes are a canonical point of the prime-order subgroup.
    public init(_ bytes: some Collection<UInt8>) throws(KeyFault) {
        guard let storage = Digest(bytes) else { throw .wrongLength(expected: Self.byteCount, got: bytes.count) }
        Sodium.require()
        guard crypto_core_ed25519_is_valid_point(storage.bytes) == 1 else { throw .invalidPoint }
        self.storage = storage
    }

    init(trusted storage: Digest) { self.storage = storage }

    public var bytes: [UInt8] { storage.bytes }
    public var peerID: PeerID { PeerID(self) }
    public var account: AccountID { AccountID(self) }

    public func verify(_ signature: Signature, over message: [UInt8]) -> Bool {
        Sodium.require()
        return crypto_sign_verify_detached(signature.bytes, message, UInt64(message.count), bytes) == 0
    }

    public static func < (left: PublicKey, right: PublicKey) -> Bool { left.storage < right.storage }
}

extension PublicKey: CustomStringConvertible {
    public var description: String { peerID.text }
}

/// An Ed25519 signature, 64 bytes; only `PublicKey.verify` says whether it is one.
public struct Signature: Hashable, Sendable {
    public static let byteCount = 64
    private let head: Digest
    private let tail: Digest

    /// - Returns: nil unless there are exactly 64 bytes.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.byteCount, let head = Digest(bytes.prefix(32)), let tail = Digest(bytes.suffix(32))
        else { return nil }
        self.head = head
        self.tail = tail
    }

    public var bytes: [UInt8] { head.bytes + tail.bytes }
}

/// An Ed25519 secret key. It never describes itself, so that no log can print it.
public struct SigningKey: Sendable, CustomStringConvertible {
    public let publicKey: PublicKey
    /// The 32-byte seed of RFC 8032: all that has to be kept.
    public let seed: [UInt8]
    private let secret: [UInt8]

    /// - Parameter seed: 32 bytes of randomness from the adapter layer.
    public init(seed: [UInt8]) throws(KeyFault) {
        guard seed.count == 32 else { throw .wrongLength(expected: 32, got: seed.count) }
        Sodium.require()
        var publicBytes = [UInt8](repeating: 0, count: 32)
        var secret = [UInt8](repeating: 0, count: 64)
        guard crypto_sign_seed_keypair(&publicBytes, &secret, seed) == 0, let digest = Digest(publicBytes) else {
            throw .invalidPoint
        }
        publicKey = PublicKey(trusted: digest)
        self.seed = seed
        self.secret = secret
    }

    public func sign(_ message: [UInt8]) -> Signature {
        var bytes = [UInt8](repeating: 0, count: Signature.byteCount)
        crypto_sign_detached(&bytes, nil, message, UInt64(message.count), secret)
        guard let signature = Signature(bytes) else { preconditionFailure("libsodium signs 64 bytes") }
        return signature
    }

    public var description: String { "SigningKey(\(publicKey))" }
}

/// 32 bytes that name an account: its founding Ed25519 key. The account outlives the key (delegation on the chain), so
/// the name says who, not which key signs today. Text form: the libp2p peer ID of that key.
public struct AccountID: Hashable, Comparable, Sendable, CustomStringConvertible {
    private let storage: Digest

    public init(_ key: PublicKey) { storage = key.digestForm }

    /// - Throws: `KeyFault` unless the bytes are a valid public key.
    public init(_ bytes: some Collection<UInt8>) throws(KeyFault) {
        self.init(try PublicKey(bytes))
    }

    /// - Returns: nil unless `text` is a peer ID that carries an Ed25519 key.
    public init?(text: String) {
        guard let key = PeerID(text: text)?.publicKey else { return nil }
        self.init(key)
    }

    public var bytes: [UInt8] { storage.bytes }
    public var foundingKey: PublicKey { PublicKey(trusted: storage) }
    public var text: String { foundingKey.peerID.text }
    public var description: String { text }

    public static func < (left: AccountID, right: AccountID) -> Bool { left.storage < right.storage }
}

extension PublicKey {
    var digestForm: Digest { storage }
}

/// The hash of a network's genesis: which money, which rules.
public struct NetworkID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let digest: Digest

    public init(_ digest: Digest) { self.digest = digest }
    /// - Returns: nil unless `text` is 64 hexadecimal digits.
    public init?(text: String) {
        guard let bytes = Hex.decode(text), let digest = Digest(bytes) else { return nil }
        self.digest = digest
    }

    public var bytes: [UInt8] { digest.bytes }
    public var text: String { digest.hex }
    public var description: String { text }

    public static func < (left: NetworkID, right: NetworkID) -> Bool { left.digest < right.digest }
}

/// What a signature is for. A signature made for one purpose or network is never valid for another.
public enum Domain: String, Sendable, CaseIterable {
    case receipt, voucher, request, vote, transaction, contribution, manifest, catalog, advert, consensus, evidence
    case proposal, allowance, training, checkpoint, settlement, audit
}

/// The bytes that are signed: `"openledger/1/<domain>\n"`, 32 bytes of network, then the dag-cbor payload.
public func signedBytes(_ domain: Domain, network: NetworkID, payload: [UInt8]) -> [UInt8] {
    Array("openledger/1/\(domain.rawValue)\n".utf8) + network.bytes + payload
}
