// Yamux (hashicorp/yamux spec.md, libp2p specs yamux/README.md): many streams over one secure channel, each with its own
// flow control. This is the session: it reads frames out of decrypted bytes, keeps the table of streams, and fills
// buffers with frames for the streams in turn. It knows nothing of protocols, sockets or encryption.
//
// Everything that a peer can make grow has a limit: streams, windows, owed control frames, resets, empty frames, and data
// for streams that are gone.

internal import Primitives

struct Yamux: Sendable {
    /// What a frame says, one statement at a time.
    enum Input: Hashable, Sendable {
        /// The peer opened a stream. Answer with `reset` if it is not wanted.
        case opened(UInt32)
        /// Bytes of a stream: where they lie in the input.
        case data(UInt32, Range<Int>)
        case finished(UInt32)
        /// The peer reset the stream; it is gone.
        case reset(UInt32)
        case pong(Span)
        /// The peer opens no more streams and accepts none.
        case goAway(code: UInt32)
    }

    /// What became of a stream when frames were filled or credit came.
    enum Notice: Hashable, Sendable {
        case drained(UInt32)
        /// Both sides have finished; the stream is gone.
        case closed(UInt32)
    }

    private enum FrameState: Sendable {
        case header
        case body(YamuxHeader, left: Int)
        case trailer(YamuxHeader)
    }

    let limits: YamuxLimits
    let sendLowWaterBytes: Int
    private let localParity: UInt32
    private(set) var streams: [UInt32: YamuxStream] = [:]
    private(set) var outboundCount = 0
    private(set) var unacknowledgedCount = 0
    private var nextStream: UInt32
    private var highestRemote: UInt32 = 0
    private var frame = FrameState.header
    private var headerBytes: [UInt8] = []
    private var control = ByteQueue()
    private var line: [UInt32] = []
    private var lineHead = 0
    private var growthLeft: Int
    private var discardAllowance = 0
    private var resetBudget: Budget
    private var idleBudget: Budget
    private var pingValue: UInt32 = 0
    private var pingSent: Instant?
    private(set) var roundTrip: Span?
    private(set) var bufferedBytes = 0
    private(set) var peerWentAway = false
    private(set) var notices: [Notice] = []

    init(isDialer: Bool, limits: YamuxLimits, sendLowWaterBytes: Int, now: Instant) {
        self.limits = limits
        self.sendLowWaterBytes = sendLowWaterBytes
        localParity = isDialer ? 1 : 0
        nextStream = isDialer ? 1 : 2
        growthLeft = limits.windowGrowthBytesMax
        resetBudget = Budget(burst: limits.resetBurstMax, perSecond: limits.resetsPerSecondMax, now: now)
        idleBudget = Budget(burst: limits.idleFrameBurstMax, perSecond: limits.idleFramesPerSecondMax, now: now)
    }

    var inboundCount: Int { streams.count - outboundCount }
    var hasOutput: Bool { !control.isEmpty || lineHead < line.count }
    /// Since when a ping is unanswered.
    var pingOutstandingSince: Instant? { pingSent }

    func stream(_ id: UInt32) -> YamuxStream? { streams[id] }

    mutating func takeNotices() -> [Notice] {
        defer { notices = [] }
        return notices
    }

    // MARK: Reading

    /// Reads on in `input[cursor..<end]`.
    /// - Returns: the next statement, or nil when the input is used up.
    mutating func next(
        _ input: [UInt8], _ cursor: inout Int, end: Int, now: Instant
    ) throws(YamuxFault) -> Input? {
        while true {
            switch frame {
            case .header:
                let take = min(YamuxHeader.byteCount - headerBytes.count, end - cursor)
                headerBytes.append(contentsOf: input[cursor..<cursor + take])
                cursor += take
                guard headerBytes.count == YamuxHeader.byteCount else { return nil }
                let header = try YamuxHeader(decoding: headerBytes)
                headerBytes.removeAll(keepingCapacity: true)
                if let statement = try begin(header, now: now) { return statement }
            case .body(let header, let left):
                guard cursor < end else { return nil }
                let take = min(left, end - cursor)
                let range = cursor..<cursor + take
                cursor += take
                frame = take == left ? .trailer(header) : .body(header, left: left - take)
                if streams[header.stream] != nil { return .data(header.stream, range) }
                try discard(take)
            case .trailer(let header):
                frame = .header
                if let statement = try finish(header, now: now) { return statement }
            }
        }
    }

    private mutating func begin(_ header: YamuxHeader, now: Instant) throws(YamuxFault) -> Input? {
        switch header.kind {
        case .ping:
            return try readPing(header, now: now)
        case .goAway:
            peerWentAway = true
            return .goAway(code: header.length)
        case .data, .windowUpdate:
            break
        }
        let isNew = header.flags.contains(.syn)
        if isNew { try admit(header.stream, now: now) }
        try acknowledge(header.stream)
        if header.kind == .windowUpdate {
            try widen(header, now: now)
            frame = .trailer(header)
        } else {
            try accept(header, now: now)
            frame = header.length == 0 ? .trailer(header) : .body(header, left: Int(header.length))
        }
        return isNew ? .opened(header.stream) : nil
    }

    private mutating func admit(_ id: UInt32, now: Instant) throws(YamuxFault) {
        guard id != 0, id & 1 != localParity, id > highestRemote else { throw .badStreamID(id) }
        highestRemote = id
        streams[id] = YamuxStream(isInbound: true, now: now)
        if inboundCount > limits.inboundStreamsMax {
            guard resetBudget.take(now: now) else { throw .resetFlood }
        } else {
            push(YamuxHeader(.windowUpdate, .ack, stream: id, length: 0))
        }
    }

    /// Whether the stream just opened is one more than allowed.
    var isOverInboundLimit: Bool { inboundCount > limits.inboundStreamsMax }

    private mutating func acknowledge(_ id: UInt32) throws(YamuxFault) {
        if let stream = streams[id] {
            guard !stream.isAcknowledged else { return }
            streams[id]?.isAcknowledged = true
            unacknowledgedCount -= 1
        } else {
            let isOurs = id & 1 == localParity
            guard id != 0, isOurs ? id < nextStream : id <= highestRemote else { throw .unknownStream(id) }
        }
    }

    private mutating func accept(_ header: YamuxHeader, now: Instant) throws(YamuxFault) {
        if header.length == 0 {
            guard !header.flags.isEmpty || idleBudget.take(now: now) else { throw .controlFlood }
        }
        guard let stream = streams[header.stream] else { return }
        guard !stream.remoteFinished else { throw .dataAfterFinish(stream: header.stream) }
        guard Int(header.length) <= stream.receiveLeft else {
            throw .windowExceeded(stream: header.stream, bytes: header.length, window: stream.receiveLeft)
        }
        streams[header.stream]?.receiveLeft -= Int(header.length)
    }

    private mutating func widen(_ header: YamuxHeader, now: Instant) throws(YamuxFault) {
        if header.length == 0, header.flags.isEmpty {
            guard idleBudget.take(now: now) else { throw .controlFlood }
        }
        guard let stream = streams[header.stream] else { return }
        let window = stream.sendWindow + Int(header.length)
        guard window <= Int(UInt32.max) else { throw .windowOverflow(stream: header.stream) }
        streams[header.stream]?.sendWindow = window
        queue(header.stream)
    }

    private mutating func finish(_ header: YamuxHeader, now: Instant) throws(YamuxFault) -> Input? {
        let id = header.stream
        guard let stream = streams[id] else { return nil }
        if header.flags.contains(.rst) {
            if id & 1 != localParity {
                guard resetBudget.take(now: now) else { throw .resetFlood }
            }
            remove(id)
            return .reset(id)
        }
        guard header.flags.contains(.fin) else { return nil }
        guard !stream.remoteFinished else { throw .dataAfterFinish(stream: id) }
        streams[id]?.remoteFinished = true
        closeIfDone(id)
        return .finished(id)
    }

    private mutating func readPing(_ header: YamuxHeader, now: Instant) throws(YamuxFault) -> Input? {
        if header.flags.contains(.syn) {
            guard idleBudget.take(now: now) else { throw .controlFlood }
            push(YamuxHeader(.ping, .ack, stream: 0, length: header.length))
            try checkControl()
            return nil
        }
        guard let sent = pingSent, header.length == pingValue else { return nil }
        pingSent = nil
        let measured = now.since(sent)
        // The least of what was seen is the network's part; the rest is queues.
        roundTrip = min(measured, roundTrip ?? measured)
        return .pong(measured)
    }

    private mutating func discard(_ count: Int) throws(YamuxFault) {
        discardAllowance -= count
        guard discardAllowance >= 0 else { throw .discardFlood }
    }

    // MARK: Writing

    /// - Returns: the new stream, or nil when a limit is reached or the peer went away.
    mutating func open(now: Instant) -> UInt32? {
        guard outboundCount < limits.outboundStreamsMax, unacknowledgedCount < limits.unacknowledgedMax,
            !peerWentAway, nextStream < UInt32.max - 2
        else { return nil }
        let id = nextStream
        nextStream += 2
        streams[id] = YamuxStream(isInbound: false, now: now)
        outboundCount += 1
        unacknowledgedCount += 1
        push(YamuxHeader(.windowUpdate, .syn, stream: id, length: 0))
        return id
    }

    mutating func send(_ id: UInt32, _ bytes: [UInt8]) {
        guard streams[id]?.local == .open else { return }
        streams[id]?.outgoing.append(bytes)
        bufferedBytes += bytes.count
        queue(id)
    }

    mutating func setAboveHighWater(_ id: UInt32) {
        streams[id]?.isAboveHighWater = true
    }

    /// Ends our direction once everything that waits is sent.
    mutating func finish(_ id: UInt32) {
        guard streams[id]?.local == .open else { return }
        streams[id]?.local = .finishing
        queue(id)
    }

    mutating func reset(_ id: UInt32) {
        guard streams[id] != nil else { return }
        push(YamuxHeader(.windowUpdate, .rst, stream: id, length: 0))
        remove(id)
    }

    /// The owner has dealt with `count` bytes of the stream.
    mutating func consumed(_ id: UInt32, _ count: Int, now: Instant) {
        guard var stream = streams.removeValue(forKey: id) else { return }
        stream.uncredited += count
        let grant = stream.creditDue(
            roundTrip: roundTrip, windowMax: limits.windowBytesMax, growthLeft: &growthLeft, now: now)
        streams[id] = stream
        if let grant { push(YamuxHeader(.windowUpdate, stream: id, length: grant)) }
    }

    /// Asks for a round trip; at most one ping is under way.
    mutating func ping(now: Instant) {
        guard pingSent == nil else { return }
        pingSent = now
        pingValue &+= 1
        push(YamuxHeader(.ping, .syn, stream: 0, length: pingValue))
    }

    /// - Parameter code: 0 normal, 1 protocol error, 2 internal error.
    mutating func goAway(code: UInt32) {
        push(YamuxHeader(.goAway, stream: 0, length: code))
    }

    /// Throws when the peer makes us owe more control frames than it reads.
    func checkControl() throws(YamuxFault) {
        guard control.count <= limits.controlBytesMax else { throw .controlFlood }
    }

    /// Appends at most `room` bytes of whole frames to `out`: control frames first, then the streams in turn.
    mutating func fill(_ out: inout [UInt8], room: Int) {
        let end = out.count + room
        let headerBytes = YamuxHeader.byteCount
        control.move(min(control.count, room / headerBytes * headerBytes), to: &out)
        guard control.isEmpty else { return }
        while lineHead < line.count, end - out.count > headerBytes {
            let id = line[lineHead]
            lineHead += 1
            sendTurn(id, end - out.count - headerBytes, to: &out)
        }
        if lineHead == line.count || lineHead >= 1024 {
            line.removeSubrange(0..<lineHead)
            lineHead = 0
        }
    }

    private mutating func sendTurn(_ id: UInt32, _ room: Int, to out: inout [UInt8]) {
        guard var stream = streams.removeValue(forKey: id) else { return }
        stream.isQueued = false
        let count = min(stream.outgoing.count, stream.sendWindow, room, limits.dataFrameBytesMax)
        let isLast = stream.local == .finishing && count == stream.outgoing.count
        if count > 0 || isLast {
            YamuxHeader(.data, isLast ? .fin : [], stream: id, length: UInt32(count)).encode(to: &out)
            stream.outgoing.move(count, to: &out)
            stream.sendWindow -= count
            bufferedBytes -= count
            if isLast { stream.local = .finished }
        }
        if stream.isAboveHighWater, stream.outgoing.count <= sendLowWaterBytes {
            stream.isAboveHighWater = false
            notices.append(.drained(id))
        }
        streams[id] = stream
        queue(id)
        closeIfDone(id)
    }

    private mutating func push(_ header: YamuxHeader) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(YamuxHeader.byteCount)
        header.encode(to: &bytes)
        control.append(bytes)
    }

    private mutating func queue(_ id: UInt32) {
        guard let stream = streams[id], !stream.isQueued, stream.canSend else { return }
        streams[id]?.isQueued = true
        line.append(id)
    }

    private mutating func closeIfDone(_ id: UInt32) {
        guard let stream = streams[id], stream.remoteFinished, stream.local == .finished else { return }
        remove(id)
        notices.append(.closed(id))
    }

    private mutating func remove(_ id: UInt32) {
        guard let stream = streams.removeValue(forKey: id) else { return }
        bufferedBytes -= stream.outgoing.count
        growthLeft += stream.receiveWindow - YamuxLimits.windowBytesInitial
        discardAllowance += stream.receiveLeft
        if case .body(let header, let left) = frame, header.stream == id { discardAllowance += left }
        if id & 1 == localParity { outboundCount -= 1 }
        if !stream.isAcknowledged { unacknowledgedCount -= 1 }
    }
}
