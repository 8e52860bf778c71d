// libp2p peer IDs (libp2p specs, peer-ids): the multihash of a protobuf-encoded public key. Ours are Ed25519, whose
// key is short enough to stand in the ID itself (identity multihash); others are accepted as names only.

public struct PeerID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// A sha2-256 multihash has 34 bytes, an identity multihash of a key at most 44.
    public static let bytesMax = 64
    /// identity multihash, 36 bytes: protobuf {1: Ed25519, 2: 32 bytes}
    private static let ed25519Prefix: [UInt8] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20]

    /// The multihash.
    public let bytes: [UInt8]

    public init(_ key: PublicKey) { bytes = Self.ed25519Prefix + key.bytes }

    /// - Returns: nil unless `multihash` is an identity or sha2-256 multihash of the right length.
    public init?(multihash: some Collection<UInt8>) {
        let bytes = Array(multihash)
        guard bytes.count >= 2, bytes.count <= Self.bytesMax, Int(bytes[1]) == bytes.count - 2 else { return nil }
        switch bytes[0] {
        case 0x00: guard bytes[1] <= 42 else { return nil }
        case 0x12: guard bytes[1] == 32 else { return nil }
        default: return nil
        }
        self.bytes = bytes
    }

    /// Reads base58btc (`12D3Koo…`, `Qm…`) or a CIDv1 with codec libp2p-key (`bafzaa…`).
    public init?(text: String) {
        if text.hasPrefix("1") || text.hasPrefix("Qm") {
            guard let bytes = Base58.decode(text) else { return nil }
            self.init(multihash: bytes)
        } else if text.hasPrefix("b"), let bytes = Base32.decode(text.dropFirst()), bytes.starts(with: [0x01, 0x72]) {
            self.init(multihash: bytes.dropFirst(2))
        } else {
            return nil
        }
    }

    public var text: String { Base58.encode(bytes) }
    public var description: String { text }

    /// The key inside the ID; nil for IDs that are only a hash, and for keys that are not valid Ed25519 points.
    public var publicKey: PublicKey? {
        guard bytes.count == 38, bytes.starts(with: Self.ed25519Prefix) else { return nil }
        return try? PublicKey(bytes.dropFirst(6))
    }

    public static func < (left: PeerID, right: PeerID) -> Bool { left.bytes.lexicographicallyPrecedes(right.bytes) }
}
