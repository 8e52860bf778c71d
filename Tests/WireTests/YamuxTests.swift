// Yamux alone: what a peer must not do, how windows grow, and that streams take turns.

import Primitives
import Testing

@testable import Wire

@Suite struct YamuxTests {
    private static func session(isDialer: Bool = false, _ change: (inout YamuxLimits) -> Void = { _ in }) -> Yamux {
        var limits = YamuxLimits()
        change(&limits)
        return Yamux(isDialer: isDialer, limits: limits, sendLowWaterBytes: 1_000, now: .start)
    }

    private static func frame(
        _ kind: YamuxHeader.Kind, _ flags: YamuxHeader.Flags = [], _ stream: UInt32, _ length: UInt32,
        body: [UInt8] = []
    ) -> [UInt8] {
        var out: [UInt8] = []
        YamuxHeader(kind, flags, stream: stream, length: length).encode(to: &out)
        return out + body
    }

    /// Feeds `bytes` and returns what they said.
    @discardableResult
    private static func feed(
        _ session: inout Yamux, _ bytes: [UInt8], now: Instant = .start
    ) throws(YamuxFault) -> [Yamux.Input] {
        var cursor = 0
        var statements: [Yamux.Input] = []
        while let next = try session.next(bytes, &cursor, end: bytes.count, now: now) { statements.append(next) }
        return statements
    }

    private static func frames(_ session: inout Yamux) throws -> [YamuxHeader] {
        var headers: [YamuxHeader] = []
        while session.hasOutput {
            var out: [UInt8] = []
            session.fill(&out, room: NoiseSession.plaintextBytesMax)
            var offset = 0
            while offset < out.count {
                let header = try YamuxHeader(decoding: Array(out[offset..<offset + 12]))
                headers.append(header)
                offset += 12 + (header.kind == .data ? Int(header.length) : 0)
            }
        }
        return headers
    }

    @Test func readsAStreamsLife() throws {
        var session = Self.session()
        let bytes =
            Self.frame(.windowUpdate, .syn, 1, 0) + Self.frame(.data, [], 1, 3, body: [1, 2, 3])
            + Self.frame(.data, .fin, 1, 1, body: [4])
        #expect(
            try Self.feed(&session, bytes) == [.opened(1), .data(1, 24..<27), .data(1, 39..<40), .finished(1)])
        // In single bytes it says the same, with the data in pieces.
        var slow = Self.session()
        var kinds: [String] = []
        for byte in bytes { kinds += try Self.feed(&slow, [byte]).map { "\($0)".prefix(4).description } }
        #expect(kinds == ["open", "data", "data", "data", "data", "fini"])
    }

    @Test func violationsAreNamed() throws {
        func fault(_ bytes: [[UInt8]], isDialer: Bool = false) -> YamuxFault? {
            var session = Self.session(isDialer: isDialer)
            do {
                try Self.feed(&session, Array(bytes.joined()))
                return nil
            } catch {
                return error
            }
        }
        let open = Self.frame(.windowUpdate, .syn, 1, 0)
        #expect(fault([[1] + open.dropFirst()]) == .badVersion(1))
        #expect(fault([[0, 9] + open.dropFirst(2)]) == .unknownType(9))
        #expect(fault([Self.frame(.windowUpdate, .syn, 2, 0)]) == .badStreamID(2))
        #expect(fault([open], isDialer: true) == .badStreamID(1))
        #expect(fault([open, open]) == .badStreamID(1))
        #expect(
            fault([Self.frame(.windowUpdate, .syn, 5, 0), Self.frame(.windowUpdate, .syn, 3, 0)]) == .badStreamID(3))
        #expect(fault([Self.frame(.data, [], 1, 1, body: [0])]) == .unknownStream(1))
        #expect(fault([Self.frame(.data, [], 2, 1, body: [0])]) == .unknownStream(2))
        #expect(fault([Self.frame(.data, [], 0, 0)]) == .unknownStream(0))
        let window = UInt32(YamuxLimits.windowBytesInitial)
        #expect(
            fault([open, Self.frame(.data, [], 1, window + 1)])
                == .windowExceeded(stream: 1, bytes: window + 1, window: Int(window)))
        #expect(fault([open, Self.frame(.windowUpdate, [], 1, .max)]) == .windowOverflow(stream: 1))
        #expect(
            fault([open, Self.frame(.data, .fin, 1, 0), Self.frame(.data, [], 1, 1, body: [1])])
                == .dataAfterFinish(stream: 1))
        #expect(
            fault([open, Self.frame(.data, .fin, 1, 0), Self.frame(.data, .fin, 1, 0)]) == .dataAfterFinish(stream: 1))
    }

    @Test func theWindowIsExactOverSeveralFrames() throws {
        var session = Self.session()
        try Self.feed(&session, Self.frame(.windowUpdate, .syn, 1, 0))
        let half = [UInt8](repeating: 0, count: 128 * 1024)
        try Self.feed(&session, Self.frame(.data, [], 1, UInt32(half.count), body: half))
        try Self.feed(&session, Self.frame(.data, [], 1, UInt32(half.count), body: half))
        #expect(throws: YamuxFault.windowExceeded(stream: 1, bytes: 1, window: 0)) {
            try Self.feed(&session, Self.frame(.data, [], 1, 1, body: [1]))
        }
    }

    @Test func resetFloodsEnd() throws {
        var session = Self.session { $0.resetBurstMax = 100 }
        #expect(throws: YamuxFault.resetFlood) {
            for index in UInt32(0)..<1_000 {
                let id = index * 2 + 1
                try Self.feed(&session, Self.frame(.windowUpdate, .syn, id, 0) + Self.frame(.windowUpdate, .rst, id, 0))
                _ = try Self.frames(&session)
            }
        }
        // At a pace that the budget allows it may go on.
        var calm = Self.session { $0.resetBurstMax = 100 }
        var now = Instant.start
        for index in UInt32(0)..<1_000 {
            now = now + .milliseconds(50)
            let id = index * 2 + 1
            try Self.feed(
                &calm, Self.frame(.windowUpdate, .syn, id, 0) + Self.frame(.windowUpdate, .rst, id, 0), now: now)
            _ = try Self.frames(&calm)
        }
        #expect(calm.inboundCount == 0)
    }

    @Test func openingBeyondTheLimitIsResetAndThenEnds() throws {
        var session = Self.session {
            $0.inboundStreamsMax = 4
            $0.resetBurstMax = 8
        }
        var opened = 0
        #expect(throws: YamuxFault.resetFlood) {
            for index in UInt32(0)..<100 {
                for case .opened(let id) in try Self.feed(&session, Self.frame(.windowUpdate, .syn, index * 2 + 1, 0)) {
                    opened += 1
                    if session.isOverInboundLimit { session.reset(id) }
                }
                #expect(session.inboundCount <= 5)
            }
        }
        #expect(opened == 12)
    }

    @Test func idleFramesAndPingsAreBounded() throws {
        for bytes in [Self.frame(.ping, .syn, 0, 7), Self.frame(.data, [], 1, 0), Self.frame(.windowUpdate, [], 1, 0)] {
            var session = Self.session { $0.idleFrameBurstMax = 50 }
            try Self.feed(&session, Self.frame(.windowUpdate, .syn, 1, 0))
            #expect(throws: YamuxFault.controlFlood) {
                for _ in 0..<60 {
                    try Self.feed(&session, bytes)
                    _ = try Self.frames(&session)
                }
            }
        }
    }

    @Test func dataForGoneStreamsIsBounded() throws {
        var session = Self.session()
        try Self.feed(&session, Self.frame(.windowUpdate, .syn, 1, 0))
        session.reset(1)
        let window = [UInt8](repeating: 0, count: YamuxLimits.windowBytesInitial)
        try Self.feed(&session, Self.frame(.data, [], 1, UInt32(window.count), body: window))
        #expect(throws: YamuxFault.discardFlood) {
            try Self.feed(&session, Self.frame(.data, [], 1, 1, body: [1]))
        }
    }

    @Test func aStreamResetWithinAFrameIsDiscardedToItsEnd() throws {
        var session = Self.session()
        try Self.feed(&session, Self.frame(.windowUpdate, .syn, 1, 0))
        let body = [UInt8](repeating: 0, count: YamuxLimits.windowBytesInitial)
        let frame = Self.frame(.data, [], 1, UInt32(body.count), body: body)
        try Self.feed(&session, Array(frame.prefix(100)))
        session.reset(1)
        try Self.feed(&session, Array(frame.dropFirst(100)))
        #expect(try Self.feed(&session, Self.frame(.windowUpdate, .syn, 3, 0)) == [.opened(3)])
    }

    @Test func windowsGrowWithTheNetworkAndNotBeyondTheLimit() throws {
        var session = Self.session { $0.windowGrowthBytesMax = 2 << 20 }
        try Self.feed(&session, Self.frame(.windowUpdate, .syn, 1, 0))
        var now = Instant.start
        session.ping(now: now)
        now = now + .milliseconds(60)
        let ping = try Self.frames(&session).first { $0.kind == .ping }
        try Self.feed(&session, Self.frame(.ping, .ack, 0, try #require(ping).length), now: now)
        #expect(session.roundTrip == .milliseconds(60))
        var grants: [UInt32] = []
        for _ in 0..<12 {
            now = now + .milliseconds(60)
            let window = try #require(session.stream(1)).receiveLeft
            let body = [UInt8](repeating: 0, count: window)
            try Self.feed(&session, Self.frame(.data, [], 1, UInt32(window), body: body), now: now)
            session.consumed(1, window, now: now)
            grants += try Self.frames(&session).filter { $0.kind == .windowUpdate && $0.stream == 1 }.map(\.length)
        }
        #expect(try #require(session.stream(1)).receiveWindow == 256 * 1024 + 2 << 20)
        #expect(grants.contains { $0 > 512 * 1024 })
        // A slow reader's window stays as it is.
        var slow = Self.session()
        try Self.feed(&slow, Self.frame(.windowUpdate, .syn, 1, 0))
        for _ in 0..<5 {
            now = now + .seconds(2)
            let body = [UInt8](repeating: 0, count: 128 * 1024)
            try Self.feed(&slow, Self.frame(.data, [], 1, UInt32(body.count), body: body), now: now)
            slow.consumed(1, body.count, now: now)
        }
        #expect(try #require(slow.stream(1)).receiveWindow == YamuxLimits.windowBytesInitial)
    }

    @Test func streamsTakeTurns() throws {
        var session = Self.session(isDialer: true)
        let ids = (0..<4).compactMap { _ in session.open(now: .start) }
        for id in ids { session.send(id, [UInt8](repeating: 0, count: 200_000)) }
        let data = try Self.frames(&session).filter { $0.kind == .data }
        #expect(Set(data.prefix(4).map(\.stream)).count == 4)
        #expect(data.map { Int($0.length) }.reduce(0, +) == 800_000)
    }

    @Test func sendingStopsAtTheWindow() throws {
        var session = Self.session(isDialer: true)
        let opened = session.open(now: .start)
        let id = try #require(opened)
        session.send(id, [UInt8](repeating: 0, count: 300_000))
        session.finish(id)
        var data = try Self.frames(&session).filter { $0.kind == .data }
        #expect(data.map { Int($0.length) }.reduce(0, +) == YamuxLimits.windowBytesInitial)
        #expect(!data.contains { $0.flags.contains(.fin) })
        try Self.feed(&session, Self.frame(.windowUpdate, .ack, id, 100_000))
        data = try Self.frames(&session)
        #expect(data.map { Int($0.length) }.reduce(0, +) == 300_000 - YamuxLimits.windowBytesInitial)
        #expect(data.last?.flags == .fin)
    }

    @Test func outboundStreamsAreBounded() throws {
        var session = Self.session(isDialer: true) { $0.unacknowledgedMax = 3 }
        let ids = (0..<5).compactMap { _ in session.open(now: .start) }
        #expect(ids == [1, 3, 5])
        try Self.feed(&session, Self.frame(.windowUpdate, .ack, 1, 0))
        #expect(session.open(now: .start) == 7)
        try Self.feed(&session, Self.frame(.goAway, [], 0, 0))
        try Self.feed(&session, Self.frame(.windowUpdate, .ack, 3, 0))
        #expect(session.open(now: .start) == nil)
    }
}
