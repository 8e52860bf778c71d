// A SHA-256 digest: the name of content, of a network, of a batch. Stored as four big-endian words so that comparing,
// hashing and copying cost no allocation. Four plain words, not a SIMD vector: Swift 6.3 makes the frames of async
// functions that take a 16-aligned value too small and writes past them.

internal import Crypto

/// 32 bytes that are the SHA-256 (FIPS 180-4) of something.
public struct Digest: Hashable, Comparable, Sendable {
    public static let byteCount = 32
    public static let zero = Digest(Words(a: 0, b: 0, c: 0, d: 0))

    struct Words: Hashable, Sendable {
        var a: UInt64
        var b: UInt64
        var c: UInt64
        var d: UInt64

        subscript(_ index: Int) -> UInt64 {
            switch index {
            case 0: a
            case 1: b
            case 2: c
            default: d
            }
        }
    }

    let words: Words

    private init(_ words: Words) { self.words = words }

    /// - Returns: nil unless `bytes` has exactly 32 bytes.
    public init?(_ bytes: some Collection<UInt8>) {
        // Byte by byte through a collection that the compiler does not know here, it was half of a peer's start.
        let known = bytes.withContiguousStorageIfAvailable { Self.words(UnsafeRawBufferPointer($0)) }
        guard let words = known ?? Array(bytes).withUnsafeBytes(Self.words) else { return nil }
        self.words = words
    }

    private static func words(_ bytes: UnsafeRawBufferPointer) -> Words? {
        guard bytes.count == byteCount else { return nil }
        func word(_ offset: Int) -> UInt64 {
            UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        return Words(a: word(0), b: word(8), c: word(16), d: word(24))
    }

    /// Hashes `bytes`.
    public init(sha256 bytes: [UInt8]) {
        self.init(hash: SHA256.hash(data: bytes))
    }

    public init(sha256 bytes: some Collection<UInt8>) {
        self.init(sha256: Array(bytes))
    }

    /// Hashes the concatenation of `parts` without joining them.
    public init(sha256Of parts: [[UInt8]]) {
        var hasher = SHA256()
        for part in parts { hasher.update(data: part) }
        self.init(hash: hasher.finalize())
    }

    /// Hashes memory that the caller keeps alive for the call.
    public init(sha256 buffer: UnsafeRawBufferPointer) {
        var hasher = SHA256()
        hasher.update(bufferPointer: buffer)
        self.init(hash: hasher.finalize())
    }

    private init(hash: SHA256.Digest) {
        guard let words = hash.withUnsafeBytes(Self.words) else { preconditionFailure("SHA-256 has 32 bytes") }
        self.words = words
    }

    public var bytes: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Self.byteCount) { buffer, count in
            let raw = UnsafeMutableRawBufferPointer(buffer)
            for index in 0..<4 {
                raw.storeBytes(of: words[index].bigEndian, toByteOffset: index * 8, as: UInt64.self)
            }
            count = Self.byteCount
        }
    }

    /// Bit `index`, counted from the most significant bit of the first byte; the path in a sparse Merkle tree.
    public func bit(_ index: Int) -> Bool {
        precondition(index >= 0 && index < 256, "a digest has 256 bits")
        return words[index >> 6] >> UInt64(63 - (index & 63)) & 1 == 1
    }

    /// 64 lower-case hexadecimal digits.
    public var hex: String { Hex.encode(bytes) }

    public static func < (left: Digest, right: Digest) -> Bool {
        for index in 0..<4 where left.words[index] != right.words[index] {
            return left.words[index] < right.words[index]
        }
        return false
    }
}

extension Digest: CustomStringConvertible {
    public var description: String { hex }
}

/// SHA-256 fed in pieces.
public struct DigestBuilder: Sendable {
    private var hasher = SHA256()

    public init() {}

    public mutating func update(_ bytes: [UInt8]) { hasher.update(data: bytes) }
    public mutating func update(_ bytes: ArraySlice<UInt8>) { hasher.update(data: bytes) }

    public func finish() -> Digest {
        let copy = hasher
        guard let digest = Digest(Array(copy.finalize())) else { preconditionFailure("SHA-256 has 32 bytes") }
        return digest
    }
}

/// HMAC-SHA-256 (RFC 2104), for Noise's HKDF and for keys derived from keys.
public func hmacSHA256(key: [UInt8], _ message: [UInt8]) -> [UInt8] {
    Array(HMAC<SHA256>.authenticationCode(for: message, using: SymmetricKey(data: key)))
}
