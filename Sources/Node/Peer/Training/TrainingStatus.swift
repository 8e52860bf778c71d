// Where a run stands, and what people wish of one that computes. A value with one method an input: TrainingRun holds it under
// its lock, and keeps on the disk what it answers before anybody sees it.
//
//     waiting ──begin──▶ running ──▶ done | failed | cancelled
//        ▲  └─────────┐     │
//      resume         ▼     ▼ pause, or a fault that can be put right
//        └────────── paused ─▶ cancelled
//
// A peer that stops leaves `waiting` behind, as does one that is killed: the next one goes on.

struct TrainingStatus: Hashable, Sendable {
    /// What people, or the end of the peer, want of a run; the later outweighs the earlier.
    enum Wish: Int, Hashable, Sendable {
        case stop, pause, cancel
    }

    /// What becomes of an input.
    enum Answer: Hashable, Sendable {
        /// At once: kept on the disk, then entered.
        case enter(TrainingState)
        /// Nothing, or the run heeds it after its step.
        case noted
        case over(TrainingState)
    }

    private(set) var state: TrainingState
    private(set) var reason: String?
    private(set) var wish: Wish?
    /// Steps that are done, and the loss of the last.
    var step = 0
    var loss: Double?
    var summary = TrainingSummary()

    init(state: TrainingState, reason: String? = nil) {
        self.state = state
        self.reason = reason
    }

    /// Whether the run is the caller's to compute: never one that somebody has paused or stopped meanwhile.
    mutating func begin() -> Bool {
        guard state == .waiting, wish == nil else { return false }
        state = .running
        reason = nil
        return true
    }

    mutating func hear(_ wanted: Wish) -> Answer {
        switch state {
        case .done, .failed, .cancelled: return .over(state)
        case .running:
            if wanted.rawValue > wish?.rawValue ?? -1 { wish = wanted }
            return .noted
        case .waiting, .paused:
            switch wanted {
            case .stop:
                if state == .waiting { wish = .stop }
                return .noted
            case .pause: return state == .paused ? .noted : .enter(.paused)
            case .cancel: return .enter(.cancelled)
            }
        }
    }

    /// A pause that the run has not heeded yet is taken back.
    mutating func resume() -> Answer {
        switch state {
        case .done, .failed, .cancelled: return .over(state)
        case .paused: return .enter(.waiting)
        case .waiting: return .noted
        case .running:
            if wish == .pause { wish = nil }
            return .noted
        }
    }

    mutating func enter(_ state: TrainingState, reason: String? = nil) {
        self.state = state
        self.reason = reason
        wish = nil
    }
}
