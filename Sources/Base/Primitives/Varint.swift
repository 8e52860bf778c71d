// Unsigned varints (multiformats unsigned-varint: LEB128, at most 9 bytes, shortest form only) and the bounded cursor
// that every hand-written decoder reads through.

public enum VarintFault: Error, Hashable, Sendable {
    /// The bytes end inside the number.
    case truncated
    /// More than nine bytes, or 2^63 and above.
    case tooLong
    /// A shorter encoding of the same number exists.
    case notCanonical
}

public enum Varint {
    public static let bytesMax = 9

    public static func encode(_ value: UInt64) -> [UInt8] {
        var bytes: [UInt8] = []
        append(value, to: &bytes)
        return bytes
    }

    public static func append(_ value: UInt64, to bytes: inout [UInt8]) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    /// Reads one number at `offset`.
    /// - Returns: the value and how many bytes it took.
    public static func decode(_ bytes: some RandomAccessCollection<UInt8>, at offset: Int = 0)
        throws(VarintFault) -> (value: UInt64, length: Int)
    {
        guard offset >= 0, offset <= bytes.count else { throw .truncated }
        var value: UInt64 = 0
        var length = 0
        var index = bytes.index(bytes.startIndex, offsetBy: offset)
        while index < bytes.endIndex {
            let byte = bytes[index]
            guard length < bytesMax else { throw .tooLong }
            value |= UInt64(byte & 0x7f) << UInt64(7 * length)
            length += 1
            if byte < 0x80 {
                guard byte != 0 || length == 1 else { throw .notCanonical }
                return (value, length)
            }
            bytes.formIndex(after: &index)
        }
        if length >= bytesMax { throw .tooLong }
        throw .truncated
    }
}

public enum ReadFault: Error, Hashable, Sendable {
    case truncated(wanted: Int, left: Int)
    case varint(VarintFault)
    case trailingBytes(Int)
}

/// A cursor over bytes from outside. Each read is checked; nothing traps.
public struct ByteReader: Sendable {
    private let bytes: [UInt8]
    public private(set) var offset = 0

    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    public var left: Int { bytes.count - offset }
    public var isAtEnd: Bool { offset == bytes.count }

    public mutating func byte() throws(ReadFault) -> UInt8 {
        guard left >= 1 else { throw .truncated(wanted: 1, left: 0) }
        defer { offset += 1 }
        return bytes[offset]
    }

    public mutating func take(_ count: Int) throws(ReadFault) -> [UInt8] {
        guard count >= 0, count <= left else { throw .truncated(wanted: count, left: left) }
        defer { offset += count }
        return Array(bytes[offset..<offset + count])
    }

    /// A big-endian unsigned integer of `byteCount` bytes, at most eight.
    public mutating func bigEndian(_ byteCount: Int) throws(ReadFault) -> UInt64 {
        precondition(byteCount <= 8, "at most eight bytes fit UInt64")
        return try take(byteCount).reduce(0) { $0 << 8 | UInt64($1) }
    }

    public mutating func varint() throws(ReadFault) -> UInt64 {
        do {
            let (value, length) = try Varint.decode(bytes, at: offset)
            offset += length
            return value
        } catch {
            throw .varint(error)
        }
    }

    public mutating func rest() -> [UInt8] {
        defer { offset = bytes.count }
        return Array(bytes[offset...])
    }

    public func finish() throws(ReadFault) {
        guard isAtEnd else { throw .trailingBytes(left) }
    }
}
