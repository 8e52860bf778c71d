// multistream-select 1.0 (multiformats/multistream-select): how two peers agree on what comes next, for the secure
// channel, for the muxer and for every stream.
//
//     dialer    header ─ proposal ─▶ … ◀─ header ─ echo             agreed
//                                      ◀─ header ─ "na" ─ next proposal …
//     listener  header ─▶ … ◀─ header ─ proposal: echo, or "na"; "ls" is answered with the list
//
// Both sides send their header unasked, and the dialer its first proposal with it, so that agreement costs no extra round
// trip. Bytes behind the agreed line belong to the next layer and are left where they are.

internal import Primitives

package enum MultistreamFault: Error, Hashable, Sendable {
    /// A line longer than 1024 bytes, of zero length, or with a malformed length.
    case badLength
    /// A line does not end in a line break or is not UTF-8.
    case malformedLine
    /// The first line is not "/multistream/1.0.0".
    case notMultistream
    /// The answer is neither the proposal nor "na".
    case unexpectedAnswer
    /// The other side speaks none of the protocols that were proposed.
    case noneAgreed
    /// More than 64 proposals.
    case tooManyProposals
}

package enum Multistream {
    /// Line length, the length prefix not counted.
    package static let lineBytesMax = 1024
    package static let proposalsMax = 64
    static let header = "/multistream/1.0.0"
    static let refusal = "na"
    static let list = "ls"

    package static func line(_ text: String) -> [UInt8] {
        let body = Array(text.utf8) + [0x0a]
        return Varint.encode(UInt64(body.count)) + body
    }
}

/// Collects one line at a time from bytes that arrive in any pieces.
struct LineReader: Sendable {
    private var lengthBytes: [UInt8] = []
    private var wanted: Int?
    private var body: [UInt8] = []

    /// - Returns: the next line without its line break, or nil when `input` is used up before its end.
    mutating func next(_ input: [UInt8], _ cursor: inout Int, end: Int) throws(MultistreamFault) -> String? {
        while cursor < end {
            guard let wanted else {
                lengthBytes.append(input[cursor])
                cursor += 1
                try readLength()
                continue
            }
            let take = min(end - cursor, wanted - body.count)
            body.append(contentsOf: input[cursor..<cursor + take])
            cursor += take
            if body.count == wanted { return try finishLine() }
        }
        return nil
    }

    private mutating func readLength() throws(MultistreamFault) {
        if lengthBytes.last ?? 0 >= 0x80 {
            guard lengthBytes.count < 3 else { throw .badLength }
            return
        }
        guard let (length, _) = try? Varint.decode(lengthBytes), length > 0, length <= UInt64(Multistream.lineBytesMax)
        else { throw .badLength }
        wanted = Int(length)
        lengthBytes = []
    }

    private mutating func finishLine() throws(MultistreamFault) -> String {
        guard body.popLast() == 0x0a, let text = String(validating: body, as: UTF8.self) else { throw .malformedLine }
        body = []
        wanted = nil
        return text
    }
}

package struct MultistreamDialer: Sendable {
    private let protocols: [ProtocolID]
    private var index = 0
    private var heardHeader = false
    private var reader = LineReader()

    /// - Parameter protocols: in order of preference, one to 64.
    package init(_ protocols: [ProtocolID]) {
        precondition(!protocols.isEmpty && protocols.count <= Multistream.proposalsMax, "one to 64 proposals")
        self.protocols = protocols
    }

    /// What to send before anything is heard.
    package var opening: [UInt8] { Multistream.line(Multistream.header) + Multistream.line(protocols[0].name) }

    /// Reads from `input[cursor..<end]`; replies are appended to `out`.
    /// - Returns: the agreed protocol, or nil while more is needed.
    package mutating func read(
        _ input: [UInt8], _ cursor: inout Int, end: Int, replies out: inout [UInt8]
    ) throws(MultistreamFault) -> ProtocolID? {
        while let line = try reader.next(input, &cursor, end: end) {
            if !heardHeader {
                guard line == Multistream.header else { throw .notMultistream }
                heardHeader = true
            } else if line == protocols[index].name {
                return protocols[index]
            } else if line == Multistream.refusal {
                index += 1
                guard index < protocols.count else { throw .noneAgreed }
                out.append(contentsOf: Multistream.line(protocols[index].name))
            } else {
                throw .unexpectedAnswer
            }
        }
        return nil
    }
}

package struct MultistreamListener: Sendable {
    private let offered: [ProtocolID]
    private var heardHeader = false
    private var proposals = 0
    private var reader = LineReader()

    /// - Parameter offered: what may be agreed on.
    package init(_ offered: [ProtocolID]) {
        self.offered = offered
    }

    package var opening: [UInt8] { Multistream.line(Multistream.header) }

    /// Reads from `input[cursor..<end]`; replies are appended to `out`.
    /// - Returns: the agreed protocol, or nil while more is needed.
    package mutating func read(
        _ input: [UInt8], _ cursor: inout Int, end: Int, replies out: inout [UInt8]
    ) throws(MultistreamFault) -> ProtocolID? {
        while let line = try reader.next(input, &cursor, end: end) {
            if !heardHeader {
                guard line == Multistream.header else { throw .notMultistream }
                heardHeader = true
                continue
            }
            proposals += 1
            guard proposals <= Multistream.proposalsMax else { throw .tooManyProposals }
            if line == Multistream.list {
                out.append(contentsOf: listing)
            } else if let agreed = offered.first(where: { $0.name == line }) {
                out.append(contentsOf: Multistream.line(line))
                return agreed
            } else {
                out.append(contentsOf: Multistream.line(Multistream.refusal))
            }
        }
        return nil
    }

    /// One message whose body is the lines of all protocols and a last line break.
    private var listing: [UInt8] {
        var body: [UInt8] = []
        for name in offered.sorted() { body.append(contentsOf: Multistream.line(name.name)) }
        body.append(0x0a)
        return Varint.encode(UInt64(body.count)) + body
    }
}

/// One negotiation, from whichever side, until it is over.
enum Negotiation: Sendable {
    case dialing(MultistreamDialer)
    case listening(MultistreamListener)
    case agreed

    init(_ role: Connection.Role, _ name: ProtocolID) {
        switch role {
        case .dialer: self = .dialing(MultistreamDialer([name]))
        case .listener: self = .listening(MultistreamListener([name]))
        }
    }

    var isAgreed: Bool {
        if case .agreed = self { return true }
        return false
    }

    var opening: [UInt8] {
        switch self {
        case .dialing(let dialer): dialer.opening
        case .listening(let listener): listener.opening
        case .agreed: []
        }
    }

    /// As the sides' own `read`; once agreed, it reads nothing and returns nil.
    mutating func read(
        _ input: [UInt8], _ cursor: inout Int, end: Int, replies out: inout [UInt8]
    ) throws(MultistreamFault) -> ProtocolID? {
        let agreed: ProtocolID?
        switch self {
        case .dialing(var dialer):
            agreed = try dialer.read(input, &cursor, end: end, replies: &out)
            self = .dialing(dialer)
        case .listening(var listener):
            agreed = try listener.read(input, &cursor, end: end, replies: &out)
            self = .listening(listener)
        case .agreed:
            return nil
        }
        if agreed != nil { self = .agreed }
        return agreed
    }
}
