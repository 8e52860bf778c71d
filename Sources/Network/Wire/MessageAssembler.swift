// Cuts a stream's bytes into messages: an unsigned varint length, then that many bytes. A message is bounded by the
// protocol's limit before a byte of it is kept, and memory grows with what has arrived, not with what was announced.

internal import Primitives

package enum FramingFault: Error, Hashable, Sendable {
    case badLength
    /// Longer than the protocol allows.
    case tooLong(bytes: UInt64, max: Int)
    /// The stream was finished inside a message.
    case truncated
}

struct MessageAssembler: Sendable {
    private static let reservedBytesMax = 256 * 1024

    private let bytesMax: Int
    private var lengthBytes: [UInt8] = []
    private var wanted: Int?
    private var message: [UInt8] = []

    init(bytesMax: Int) {
        self.bytesMax = bytesMax
    }

    /// Whether nothing of a further message has arrived.
    var isBetweenMessages: Bool { lengthBytes.isEmpty && wanted == nil }

    /// - Returns: the next whole message, or nil when `input[cursor..<end]` is used up before its end.
    mutating func next(_ input: [UInt8], _ cursor: inout Int, end: Int) throws(FramingFault) -> [UInt8]? {
        while true {
            if let wanted {
                let take = min(end - cursor, wanted - message.count)
                message.append(contentsOf: input[cursor..<cursor + take])
                cursor += take
                guard message.count == wanted else { return nil }
                defer { message = [] }
                self.wanted = nil
                return message
            }
            guard cursor < end else { return nil }
            lengthBytes.append(input[cursor])
            cursor += 1
            try readLength()
        }
    }

    private mutating func readLength() throws(FramingFault) {
        if lengthBytes.last ?? 0 >= 0x80 {
            guard lengthBytes.count < Varint.bytesMax else { throw .badLength }
            return
        }
        guard let (length, _) = try? Varint.decode(lengthBytes) else { throw .badLength }
        guard length <= UInt64(bytesMax) else { throw .tooLong(bytes: length, max: bytesMax) }
        lengthBytes = []
        wanted = Int(length)
        message.reserveCapacity(min(Int(length), Self.reservedBytesMax))
    }
}
