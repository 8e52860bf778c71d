// The two halves of one stage's session. The coordinator's cuts what an engine's step needs into messages and puts the
// answers together again; the stage's lets through what was granted, in order, and no more than its limits.
//
//   coordinator: opening ──opened──▶ open ⇄ computing ──fault, silence, end──▶ over
//   stage:       waiting ──open──▶ opening ──opened──▶ computing ⇄ resting ──fault, idleness, end──▶ over

package import Primitives
package import Records

/// Why a session with a stage is over.
package enum LayersFault: Error, Hashable, Sendable {
    case refused(code: String, message: String)
    case malformed(String)
    case silent(seconds: UInt64)
    case vanished
    case notConnected

    package var description: String {
        switch self {
        case .refused(let code, let message): "it refused (\(code)): \(message)"
        case .malformed(let reason): "it answered something malformed: \(reason)"
        case .silent(let seconds): "it was silent for \(seconds) s"
        case .vanished: "it went away"
        case .notConnected: "it is not connected"
        }
    }
}

// MARK: The coordinator's half

package enum LayersAction: Hashable, Sendable {
    case send(LayersMessage)
    case opened(pages: Int, hidden: Int)
    /// All rows of the work that was handed in.
    case computed([UInt8])
    case over(LayersFault)
}

package struct LayersExchange: Sendable {
    private enum State: Sendable {
        case opening
        case open
        case over
    }

    /// Messages on their way at once.
    static let unansweredMax = StageExchange.waitingMax
    package static let openPatience = Span.seconds(300)
    package static let patience = Span.seconds(30)

    package let request: LayersRequest
    private var state = State.opening
    private var hidden = 0
    private var step: UInt64 = 0
    private var answered: UInt64 = 0
    private var unsent: [LayerWork] = []
    /// Bytes of rows that each unanswered message will bring.
    private var expected: [Int] = []
    private var rows: [UInt8] = []
    private var isComputing = false
    private var heard: Instant

    package init(_ request: LayersRequest, now: Instant) {
        self.request = request
        heard = now
    }

    package var isOver: Bool { if case .over = state { true } else { false } }

    package func begin() -> [LayersAction] { [.send(.open(request))] }

    /// One work at a time.
    package mutating func compute(_ work: LayerWork, now: Instant) -> [LayersAction] {
        guard case .open = state, !isComputing else { return [] }
        isComputing = true
        rows = []
        unsent = work.messages(rowBytes: hidden * 4)
        heard = now
        return go()
    }

    private mutating func go() -> [LayersAction] {
        var actions: [LayersAction] = []
        while expected.count < Self.unansweredMax, !unsent.isEmpty {
            let next = unsent.removeFirst()
            step += 1
            expected.append(next.rows.count)
            actions.append(.send(.compute(step: step, next)))
        }
        if expected.isEmpty, isComputing {
            isComputing = false
            actions.append(.computed(rows))
            rows = []
        }
        return actions
    }

    package mutating func received(_ message: LayersMessage, now: Instant) -> [LayersAction] {
        heard = now
        switch (state, message) {
        case (.over, _): return []
        case (_, .refused(let code, let message)): return end(.refused(code: code, message: message))
        case (.opening, .opened(let pages, let hidden)):
            guard pages > 0, pages <= request.pages, hidden > 0 else {
                return end(.malformed("it granted \(pages) pages of \(request.pages)"))
            }
            state = .open
            self.hidden = hidden
            return [.opened(pages: pages, hidden: hidden)]
        case (.open, .computed(let step, let bytes)):
            guard let bytesDue = expected.first, step == answered + 1 else {
                return end(.malformed("step \(step) instead of \(answered + 1)"))
            }
            guard bytes.count == bytesDue else {
                return end(.malformed("\(bytes.count) bytes of rows instead of \(bytesDue)"))
            }
            answered = step
            expected.removeFirst()
            rows += bytes
            return go()
        default: return end(.malformed("a message out of turn"))
        }
    }

    package mutating func malformed(_ reason: String) -> [LayersAction] { isOver ? [] : end(.malformed(reason)) }
    package mutating func closed() -> [LayersAction] { isOver ? [] : end(.vanished) }

    /// - Parameter patience: while rows are awaited.
    package mutating func elapsed(now: Instant, patience: Span) -> [LayersAction] {
        let limit: Span
        switch state {
        case .over: return []
        case .opening: limit = max(patience, Self.openPatience)
        case .open:
            guard isComputing else { return [] }
            limit = patience
        }
        let silence = now.since(heard)
        return silence > limit ? end(.silent(seconds: silence.milliseconds / 1000)) : []
    }

    private mutating func end(_ fault: LayersFault) -> [LayersAction] {
        state = .over
        unsent = []
        expected = []
        rows = []
        return [.over(fault)]
    }
}

// MARK: The stage's half

package enum StageAction: Hashable, Sendable {
    case send(LayersMessage)
    case open(LayersRequest)
    case compute(LayerWork)
    /// What was granted is free.
    case over
}

/// What the kernels say to a stage's session.
package enum StageNews: Hashable, Sendable {
    case opened(pages: Int, hidden: Int)
    case computed(rows: [UInt8])
    case failed(code: String, message: String)
}

package struct StageExchange: Sendable {
    private enum State: Sendable {
        case waiting
        case opening
        case open
        case over
    }

    /// Messages that may be computing or wait for it.
    package static let waitingMax = 4
    package static let idlePatience = Span.minutes(10)

    private var state = State.waiting
    private var step: UInt64 = 0
    private var answered: UInt64 = 0
    private var heard: Instant

    package init(now: Instant) { heard = now }

    package var isOver: Bool { if case .over = state { true } else { false } }

    /// - Parameter refusal: why what is asked for is not given; nil where it is.
    package mutating func received(
        _ message: LayersMessage, now: Instant, refusal: (LayersRequest) -> (code: String, message: String)?
    ) -> [StageAction] {
        heard = now
        switch (state, message) {
        case (.over, _): return []
        case (.waiting, .open(let request)):
            if let (code, message) = refusal(request) { return refuse(code, message) }
            state = .opening
            return [.open(request)]
        case (.open, .compute(let step, let work)):
            guard step == self.step + 1 else { return refuse("malformed", "step \(step) follows \(self.step)") }
            guard step - answered <= UInt64(Self.waitingMax) else {
                return refuse("too_much", "more than \(Self.waitingMax) messages wait")
            }
            self.step = step
            return [.compute(work)]
        default: return refuse("malformed", "a message out of turn")
        }
    }

    package mutating func malformed(_ reason: String) -> [StageAction] { refuse("malformed", reason) }

    package mutating func heard(_ news: StageNews, now: Instant) -> [StageAction] {
        heard = now
        switch (state, news) {
        case (.over, _), (.waiting, _): return []
        case (_, .failed(let code, let message)): return refuse(code, message)
        case (.opening, .opened(let pages, let hidden)):
            state = .open
            return [.send(.opened(pages: pages, hidden: hidden))]
        case (.open, .computed(let rows)):
            guard answered < step else { return [] }
            answered += 1
            return [.send(.computed(step: answered, rows: rows))]
        default: return []
        }
    }

    package mutating func closed() -> [StageAction] {
        if case .over = state { return [] }
        state = .over
        return [.over]
    }

    package mutating func elapsed(now: Instant) -> [StageAction] {
        guard !isOver, now.since(heard) > Self.idlePatience else { return [] }
        return refuse("idle", "nothing was asked for \(Self.idlePatience.milliseconds / 60_000) minutes")
    }

    private mutating func refuse(_ code: String, _ message: String) -> [StageAction] {
        if case .over = state { return [] }
        state = .over
        return [.send(.refused(code: code, message: message)), .over]
    }
}
