// Audits under way: those that this peer wants of its own receipts, those that others want of it, and evidence that is to
// be seen for oneself. One at a time is re-executed for strangers and one for oneself; the rest waits, up to a limit.
//
//   own receipt ──drawn──▶ due ──idle──▶ here ──▶ verdict ── differs ──▶ server not chosen any more
//                                          └─ not held ──▶ another peer, if openings may leave
//   somebody's receipt ──checked──▶ waiting ──▶ here ──▶ verdict to the asker
//   evidence ──checked──▶ held, unverified ──idle──▶ here ──▶ confirmed · refuted

package import Ledger
package import Primitives

struct AuditDesk: Sendable {
    static let asksMax = 16
    static let dueMax = 16
    static let waitingMax = 8
    static let patience = Span.seconds(120)
    static let hour = Span.seconds(3600)
    /// Peers whose audits of the last hour are counted.
    static let countedMax = 1024
    /// Receipts whose verdicts are kept.
    static let verdictsMax = 4096
    /// Verdicts on one receipt.
    static let verdictsPerReceiptMax = 8

    /// One that this peer wants.
    struct Asking: Sendable {
        let receipt: SignedReceipt
        let opening: AuditOpening
        /// nil: this peer.
        let auditor: PeerID?
        /// nil: nobody asked, the peer does it by itself.
        let command: CommandID?
        let publishes: Bool
        /// Where the shares are audited.
        let order: AskOrder?
        let since: Instant
        var stream: StreamID?
    }

    struct Stranger: Sendable {
        let stream: StreamID
        let receipt: SignedReceipt
        let opening: AuditOpening
        /// Where the shares are audited; the opening then lacks the prompt's tokens.
        let order: AskOrder?
    }

    enum Job: Sendable {
        case own(UInt64)
        case stranger(Stranger)
        case evidence(Digest)
    }

    var asking: [UInt64: Asking] = [:]
    private var lastAsking: UInt64 = 0
    var jobs: [Ticket: Job] = [:]
    var waiting: [Stranger] = []
    var served: [PeerID: [Instant]] = [:]
    var due: [OwnReceipt] = []
    /// When audits that nobody asked for began, within the last hour.
    var begun: [Instant] = []
    var random: SeededRandom
    var verdicts: [Digest: [SignedVerdict]] = [:]
    var book: EvidenceBook

    init(verdicts: [SignedVerdict], book: EvidenceBook, random: SeededRandom) {
        self.book = book
        self.random = random
        for signed in verdicts { self.verdicts[signed.verdict.receipt, default: []].append(signed) }
    }

    mutating func add(_ asking: Asking) -> UInt64 {
        lastAsking += 1
        self.asking[lastAsking] = asking
        return lastAsking
    }

    /// Keeps a verdict, one a receipt and auditor, the newest.
    mutating func keep(_ signed: SignedVerdict) -> [NodeWrite] {
        let receipt = signed.verdict.receipt
        var writes: [NodeWrite] = []
        if verdicts[receipt] == nil, verdicts.count >= Self.verdictsMax {
            func age(_ list: [SignedVerdict]) -> WallTime { list.map(\.verdict.time).max() ?? signed.verdict.time }
            let oldest = verdicts.min { (age($0.value), $0.key) < (age($1.value), $1.key) }
            for old in oldest?.value ?? [] { writes.append(.delete(.audits, key: Self.key(old))) }
            if let oldest { verdicts[oldest.key] = nil }
        }
        var list = (verdicts[receipt] ?? []).filter { $0.key != signed.key }
        while list.count >= Self.verdictsPerReceiptMax {
            writes.append(.delete(.audits, key: Self.key(list.removeFirst())))
        }
        list.append(signed)
        verdicts[receipt] = list
        writes.append(.put(.audits, key: Self.key(signed), value: signed.encoded()))
        return writes
    }

    static let verdictPrefix: [UInt8] = [1]

    static func key(_ signed: SignedVerdict) -> [UInt8] {
        verdictPrefix + signed.verdict.receipt.bytes + signed.key.bytes
    }

    // MARK: Rates

    /// Whether the peer may have another audit in this hour; counts it.
    mutating func admits(_ peer: PeerID, max: Int, now: Instant) -> Bool {
        let recent = (served[peer] ?? []).filter { now.since($0) < Self.hour }
        guard recent.count < max else { return false }
        if served[peer] == nil, served.count >= Self.countedMax {
            // Whoever has been quiet longest is forgotten.
            let quiet = served.min { ($0.value.last ?? .start, $0.key) < ($1.value.last ?? .start, $1.key) }
            if let quiet { served[quiet.key] = nil }
        }
        served[peer] = recent + [now]
        return true
    }

    /// The same for audits that nobody asked for.
    mutating func admitsOwn(max: Int, now: Instant) -> Bool {
        begun.removeAll { now.since($0) >= Self.hour }
        guard begun.count < max else { return false }
        begun.append(now)
        return true
    }
}

extension Node {
    package var auditBook: EvidenceBook { audits.book }

    package func verdicts(on receipt: Digest) -> [SignedVerdict] { audits.verdicts[receipt] ?? [] }

    /// Why this peer does not choose a server any more; nil where it does.
    package func distrust(of server: AccountID) -> Distrust? { audits.book.distrusted[server] }

    /// What the metrics show: verdicts kept, by outcome, and audits that wait.
    package var auditCounts: (same: Int, differs: Int, unable: Int, waiting: Int) {
        var counts = (same: 0, differs: 0, unable: 0, waiting: audits.due.count + audits.waiting.count)
        for signed in audits.verdicts.values.joined() {
            switch signed.verdict.outcome {
            case .same: counts.same += 1
            case .differs: counts.differs += 1
            case .unable: counts.unable += 1
            }
        }
        return counts
    }
}
