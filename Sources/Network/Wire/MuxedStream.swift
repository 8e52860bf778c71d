// What a connection knows of one stream beyond Yamux: which protocol is being agreed on or spoken, and how its bytes are
// cut into messages.
//
//     outbound ─▶ dialing ──▶ speaking          (one proposal: the owner may send while still dialing)
//     inbound  ─▶ listening ─▶ speaking

internal import Primitives

struct MuxedStream: Sendable {
    /// Who deals with what arrives.
    enum Service: Sendable {
        case owner
        /// We read what the peer says of itself.
        case identifyReader(isPush: Bool)
        /// We say what we are, and finish.
        case identifyWriter
        /// We send 32 bytes back.
        case pong(PingEcho)
        /// We sent these 32 bytes.
        case ping(PingCall)
        /// Answered: what follows is nobody's.
        case spent
    }

    struct Use: Sendable {
        let name: ProtocolID
        let limits: ProtocolLimits
        var assembler: MessageAssembler?
        var service: Service

        init(_ name: ProtocolID, _ limits: ProtocolLimits, _ service: Service) {
            self.name = name
            self.limits = limits
            self.service = service
            if case .messages(let bytesMax) = limits.framing { assembler = MessageAssembler(bytesMax: bytesMax) }
        }
    }

    let origin: StreamOrigin
    let opened: Instant
    var negotiation: Negotiation
    var use: Use?
    /// What an outbound stream is for, until the protocol is agreed.
    var purpose: Service
    /// Whether the owner was told of the stream, and so must be told of its end.
    var isAnnounced = false
    /// Handed up and not yet consumed.
    var unconsumed = 0
    /// Credit held back while too much is unconsumed.
    var owed = 0

    var isAgreed: Bool { negotiation.isAgreed }

    var isOwners: Bool {
        if case .owner = use?.service ?? purpose { return true }
        return false
    }
}

/// The answering side of `/ipfs/ping/1.0.0`: every 32 bytes go back as they came.
struct PingEcho: Sendable {
    private var waiting: [UInt8] = []

    /// - Returns: whole blocks to send back.
    mutating func read(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        waiting.append(contentsOf: bytes)
        let whole = waiting.count / PingCall.byteCount * PingCall.byteCount
        defer { waiting.removeFirst(whole) }
        return Array(waiting.prefix(whole))
    }
}

/// The asking side of `/ipfs/ping/1.0.0`.
struct PingCall: Sendable {
    static let byteCount = 32
    /// Unanswered echoes that we keep for a peer that does not read them.
    static let bufferBytesMax = 4 * 1024

    let sent: Instant
    private let payload: [UInt8]
    private var answer: [UInt8] = []

    init(payload: [UInt8], sent: Instant) {
        self.payload = payload
        self.sent = sent
    }

    /// - Returns: whether the right answer is complete; nil while it is not; false when it is wrong.
    mutating func read(_ bytes: ArraySlice<UInt8>) -> Bool? {
        answer.append(contentsOf: bytes.prefix(Self.byteCount + 1 - answer.count))
        guard answer.count >= Self.byteCount else { return payload.starts(with: answer) ? nil : false }
        return answer == payload
    }
}
