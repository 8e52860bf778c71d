// The 12-byte header of Yamux (hashicorp/yamux spec.md): version, type, flags, stream, length, big-endian.

struct YamuxHeader: Hashable, Sendable {
    static let byteCount = 12

    enum Kind: UInt8, Sendable { case data = 0, windowUpdate = 1, ping = 2, goAway = 3 }

    struct Flags: OptionSet, Hashable, Sendable {
        let rawValue: UInt16
        static let syn = Flags(rawValue: 1)
        static let ack = Flags(rawValue: 2)
        static let fin = Flags(rawValue: 4)
        static let rst = Flags(rawValue: 8)
    }

    var kind: Kind
    var flags: Flags
    var stream: UInt32
    /// Bytes that follow (data), a window's increase, a ping's value, or the reason of a go-away.
    var length: UInt32

    init(_ kind: Kind, _ flags: Flags = [], stream: UInt32, length: UInt32) {
        self.kind = kind
        self.flags = flags
        self.stream = stream
        self.length = length
    }

    /// - Parameter bytes: exactly 12.
    init(decoding bytes: [UInt8]) throws(YamuxFault) {
        precondition(bytes.count == Self.byteCount, "a Yamux header has 12 bytes")
        guard bytes[0] == 0 else { throw .badVersion(bytes[0]) }
        guard let kind = Kind(rawValue: bytes[1]) else { throw .unknownType(bytes[1]) }
        self.kind = kind
        flags = Flags(rawValue: UInt16(bytes[2]) << 8 | UInt16(bytes[3]))
        stream = bytes[4..<8].reduce(0) { $0 << 8 | UInt32($1) }
        length = bytes[8..<12].reduce(0) { $0 << 8 | UInt32($1) }
    }

    func encode(to out: inout [UInt8]) {
        out.append(0)
        out.append(kind.rawValue)
        out.append(UInt8(truncatingIfNeeded: flags.rawValue >> 8))
        out.append(UInt8(truncatingIfNeeded: flags.rawValue))
        for shift in stride(from: UInt32(24), through: 0, by: -8) {
            out.append(UInt8(truncatingIfNeeded: stream >> shift))
        }
        for shift in stride(from: UInt32(24), through: 0, by: -8) {
            out.append(UInt8(truncatingIfNeeded: length >> shift))
        }
    }
}

package enum YamuxFault: Error, Hashable, Sendable {
    case badVersion(UInt8)
    case unknownType(UInt8)
    /// A stream opened with an ID of the other side's half, or with one that is not above all before it.
    case badStreamID(UInt32)
    /// A frame for a stream that was never opened.
    case unknownStream(UInt32)
    /// More data than the window allowed.
    case windowExceeded(stream: UInt32, bytes: UInt32, window: Int)
    /// An increase that takes the send window beyond 2^32 - 1.
    case windowOverflow(stream: UInt32)
    /// Data, or a second end, behind the end of the stream.
    case dataAfterFinish(stream: UInt32)
    /// Streams are opened and reset, or opened beyond the limit, faster than the budget allows.
    case resetFlood
    /// Pings or empty frames beyond the budget, or more answers owed than the peer reads.
    case controlFlood
    /// Data for streams that are gone, beyond what their windows had allowed.
    case discardFlood
}
