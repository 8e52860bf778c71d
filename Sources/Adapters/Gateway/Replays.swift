// Answers that a client asks for again because it did not hear the first one: told once more, and paid once.
//
//     fresh ──▶ running ──whole──▶ kept (10 min, a bounded number of bytes) ──same request──▶ replayed
//                  │ fault, or the client left: forgotten, so that asking again asks anew
//                  └ asked again meanwhile: 409, wait
//
// A client names its request with `Idempotency-Key`; a name belongs to whoever sent it, and to one body.

import HTTPTypes
import Hummingbird
import NIOCore
import Primitives
import Synchronization

extension HTTPField.Name {
    static let idempotencyKey = HTTPField.Name("Idempotency-Key")!
    static let idempotentReplayed = HTTPField.Name("Idempotent-Replayed")!
}

struct ReplayKey: Sendable, Hashable {
    let tenant: String
    let text: String
}

struct RecordedAnswer: Sendable, Hashable {
    var type: String
    var receiptID: String?
    var body: [UInt8]
}

enum ReplayAction: Sendable, Hashable {
    case begin, running, otherBody
    case replay(RecordedAnswer)
}

/// As a value: time is an argument.
struct ReplayTable: Sendable {
    static let entriesMax = 512
    static let answerBytesMax = 1 << 20
    static let bytesMax = 32 << 20
    static let life = Span.minutes(10)

    private enum State {
        case running
        case kept(RecordedAnswer, until: Instant)
    }

    private var entries: [ReplayKey: (body: Digest, state: State)] = [:]
    /// Of kept answers, oldest first.
    private var order: [ReplayKey] = []
    private var bytes = 0

    mutating func begin(_ key: ReplayKey, body: Digest, now: Instant) -> ReplayAction {
        dropOld(now)
        guard let entry = entries[key] else {
            // When all places run, this one is answered and not remembered.
            if entries.count >= Self.entriesMax { dropOldest() }
            if entries.count < Self.entriesMax { entries[key] = (body, .running) }
            return .begin
        }
        guard entry.body == body else { return .otherBody }
        switch entry.state {
        case .running: return .running
        case .kept(let answer, _): return .replay(answer)
        }
    }

    /// - Parameter answer: nil where there is none to be told again.
    mutating func end(_ key: ReplayKey, _ answer: RecordedAnswer?, now: Instant) {
        guard let entry = entries[key], case .running = entry.state else { return }
        guard let answer, answer.body.count <= Self.answerBytesMax else {
            entries[key] = nil
            return
        }
        entries[key]?.state = .kept(answer, until: now + Self.life)
        order.append(key)
        bytes += answer.body.count
        while bytes > Self.bytesMax { dropOldest() }
    }

    private mutating func dropOld(_ now: Instant) {
        while let first = order.first, case .kept(_, let until)? = entries[first]?.state, until < now { dropOldest() }
    }

    private mutating func dropOldest() {
        guard !order.isEmpty else { return }
        let key = order.removeFirst()
        if case .kept(let answer, _)? = entries[key]?.state { bytes -= answer.body.count }
        entries[key] = nil
    }
}

final class Replays: Sendable {
    private let table = Mutex(ReplayTable())
    private let start = ContinuousClock.now

    private var now: Instant {
        Instant(nanoseconds: UInt64(clamping: (ContinuousClock.now - start).components.seconds) * 1_000_000_000)
    }

    /// Records one answer; forgotten unless `keep` was called.
    final class Recorder: Sendable {
        private let replays: Replays
        private let key: ReplayKey
        private let body = Mutex<[UInt8]>([])

        fileprivate init(_ replays: Replays, _ key: ReplayKey) {
            self.replays = replays
            self.key = key
        }

        func add(_ bytes: [UInt8]) {
            body.withLock { if $0.count <= ReplayTable.answerBytesMax { $0 += bytes } }
        }

        func keep(type: String, receiptID: String?) {
            let answer = RecordedAnswer(type: type, receiptID: receiptID, body: body.withLock { $0 })
            let now = replays.now
            replays.table.withLock { $0.end(key, answer, now: now) }
        }

        deinit {
            let now = replays.now
            replays.table.withLock { $0.end(key, nil, now: now) }
        }
    }

    enum Opening: Sendable {
        case answer(Recorder?)
        case replay(RecordedAnswer)
    }

    func open(_ request: Request, _ authority: Authority, body: Digest) throws(NodeFault) -> Opening {
        guard let text = request.headers[.idempotencyKey], !text.isEmpty else { return .answer(nil) }
        guard text.utf8.count <= 256 else {
            throw NodeFault(
                .invalid, "Idempotency-Key may have 256 bytes", param: "Idempotency-Key", code: "too_long")
        }
        var tenant = authority.name
        if case .key(let digest) = authority { tenant = digest.hex }
        let key = ReplayKey(tenant: tenant, text: text)
        let now = now
        switch table.withLock({ $0.begin(key, body: body, now: now) }) {
        case .begin: return .answer(Recorder(self, key))
        case .replay(let answer): return .replay(answer)
        case .running:
            throw NodeFault(
                .conflict, "the request with this Idempotency-Key is being answered", param: "Idempotency-Key",
                code: "request_running", retryAfterSeconds: 1)
        case .otherBody:
            throw NodeFault(
                .invalid, "this Idempotency-Key was used for another request", param: "Idempotency-Key",
                code: "key_reused")
        }
    }
}

extension RecordedAnswer {
    var response: Response {
        var response = Response.bytes(body, type: type)
        response.headers[.receiptID] = receiptID
        response.headers[.idempotentReplayed] = "true"
        return response
    }
}
