// Content identifiers (multiformats CIDv1), sha2-256 only: the name of a block is the hash of its bytes.

public enum CIDFault: Error, Hashable, Sendable {
    case malformed(String)
    case unsupportedVersion(UInt64)
    case unsupportedCodec(UInt64)
    /// Only sha2-256 with 32 bytes is accepted: one hash, one trust.
    case unsupportedHash(UInt64)
}

public struct CID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public enum Codec: UInt8, Sendable, CaseIterable {
        case raw = 0x55
        case dagPB = 0x70
        case dagCBOR = 0x71
    }

    /// Binary form: version, codec, hash code, hash length, hash.
    public static let byteCount = 36

    public let codec: Codec
    public let digest: Digest

    public init(_ codec: Codec, digest: Digest) {
        self.codec = codec
        self.digest = digest
    }

    public init(_ codec: Codec, hashing block: [UInt8]) {
        self.init(codec, digest: Digest(sha256: block))
    }

    public init(bytes: some Collection<UInt8>) throws(CIDFault) {
        var reader = ByteReader(Array(bytes))
        do {
            let version = try reader.varint()
            guard version == 1 else { throw CIDFault.unsupportedVersion(version) }
            let code = try reader.varint()
            guard let narrow = UInt8(exactly: code), let codec = Codec(rawValue: narrow) else {
                throw CIDFault.unsupportedCodec(code)
            }
            let hash = try reader.varint()
            guard hash == 0x12, try reader.varint() == 32 else { throw CIDFault.unsupportedHash(hash) }
            guard let digest = Digest(try reader.take(32)) else { throw CIDFault.malformed("short hash") }
            try reader.finish()
            self.init(codec, digest: digest)
        } catch let fault as CIDFault {
            throw fault
        } catch {
            throw .malformed("\(error)")
        }
    }

    /// Reads the multibase base32 form, `b…`.
    public init(text: String) throws(CIDFault) {
        guard text.utf8.count <= 128, text.hasPrefix("b"), let bytes = Base32.decode(text.dropFirst()) else {
            throw .malformed("a CID here is \"b\" and base32, as in bafy…")
        }
        try self.init(bytes: bytes)
    }

    public var bytes: [UInt8] { [0x01, codec.rawValue, 0x12, 0x20] + digest.bytes }
    public var text: String { "b" + Base32.encode(bytes) }
    public var description: String { text }

    /// Whether `block` is the content that this CID names.
    public func verifies(_ block: [UInt8]) -> Bool { Digest(sha256: block) == digest }

    public static func < (left: CID, right: CID) -> Bool {
        left.codec == right.codec ? left.digest < right.digest : left.codec.rawValue < right.codec.rawValue
    }
}
