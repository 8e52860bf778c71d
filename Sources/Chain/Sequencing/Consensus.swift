// Simplex consensus (Chan and Pass, eprint 2023/463): which batch comes next, agreed by more than two thirds of the
// seats. Safe whatever the network does and however long; live while more than two thirds are reachable. A committee
// of one is the same code.
//
//                 ┌──────────────────────────── view v ────────────────────────────┐
//   enter v ──▶ leader proposes ──▶ verify, persist, notarize ──quorum──▶ notarization ──▶ persist, finalize; enter v+1
//                 └─ time-out, refused or contradictory proposal ──▶ persist, nullify ──quorum──▶ nullification; enter v+1
//   finalize votes ──quorum──▶ the batch, and all before it, is final
//
// Invariants:
//  - a member never both finalizes and nullifies a view, and notarizes one batch a view at most;
//  - a vote is counted, by its own member too, only when it is on disk;
//  - a proposal is voted for only on a notarized or final parent with every view between nullified, and only after the
//    owner executed it;
//  - a finalize vote in view v is cast for the batch notarized there and for each of its ancestors not yet final, so
//    that every height gets its own certificate, if need be with a view above its header's. Likewise the last batch of
//    an epoch is offered again in later views until it is final, for nothing may be built on it;
//  - views are numbered across epochs (`Views`), so that votes of two epochs cannot meet; a nullify vote has height 0,
//    because members in one view may disagree about the height.
//
// Idle chains rest: a leader proposes when its owner has work or a heartbeat is due, and the others time a view only
// from when they know of work. Loss heals because a member with anything undecided repeats where it stands.

package import Ledger
package import Primitives

package struct Consensus: Sendable {
    package let network: NetworkID
    package let limits: ConsensusLimits
    let key: SigningKey?

    /// The last final header.
    package internal(set) var tip: FinalHeader
    var tipDigest: Digest
    package internal(set) var schedule: LeaderSchedule
    /// The view this member is in.
    package internal(set) var view: UInt64
    var views: [UInt64: ViewRecord] = [:]
    var batches: [Digest: PendingBatch] = [:]
    /// Finalizations of batches that cannot be made final yet, because one before them is missing.
    var finalizations: [Digest: Certificate] = [:]

    var workAvailable = false
    enum Building { case idle, asked, declined }
    var building = Building.idle
    /// Not before this is the owner asked again, after it declined.
    var buildAt: Instant
    var enteredAt: Instant
    /// Since when this view is timed: since there is something to decide.
    var armedAt: Instant?
    var activeSince: Instant?
    var lastFinalAt: Instant
    var repeatAt: Instant
    var repeatCursor = 0
    var retryAt: Instant
    /// A height that others have made final, as far as we know.
    var heightKnown: UInt64
    var fetchAt: Instant
    var isBehind = false
    var stalled = false
    var wakeAt: Instant?
    var pending: [PersistTicket: VoteRecord] = [:]
    var lastTicket: UInt64 = 0
    var wantedViews: Set<UInt64> = []
    var wantedBatches: Set<Digest> = []
    var effects: [ConsensusEffect] = []

    /// - Parameters:
    ///   - key: votes, if the committee knows it; nil for a peer that only follows.
    ///   - tip: the last final header that the owner has made its state.
    ///   - committee: of the epoch after or around `tip`: the one whose digest is `tip.header.next`, or else
    ///     `tip.header.committee`.
    ///   - seed: the beacon of the last header of the epoch before; of genesis in the first epoch.
    ///   - records: what `.persist` wrote and `.discard` did not release, in any order.
    package init(
        network: NetworkID, key: SigningKey?, tip: FinalHeader, committee: Committee, seed: Digest,
        records: [VoteRecord] = [], limits: ConsensusLimits = ConsensusLimits(), now: Instant
    ) {
        precondition(committee.digest == tip.header.next ?? tip.header.committee, "not the committee after this header")
        self.network = network
        self.key = key
        self.limits = limits
        self.tip = tip
        tipDigest = tip.header.digest
        schedule = LeaderSchedule(committee: committee, seed: seed)
        view = 0
        enteredAt = now
        lastFinalAt = now
        repeatAt = now
        buildAt = now
        retryAt = now
        fetchAt = now
        heightKnown = tip.header.height
        view = floor + 1
        for record in records.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) { restore(record) }
    }

    package var committee: Committee { schedule.committee }
    /// This member's place in the committee.
    var member: Int? { key.flatMap { committee.index(of: $0.publicKey) } }

    /// Views up to here are decided: the view of the last final header, or the base of an epoch that began after it.
    var floor: UInt64 {
        tip.header.next == nil
            ? max(tip.header.view, Views.base(ofEpoch: tip.header.epoch))
            : Views.base(ofEpoch: committee.epoch)
    }

    package mutating func handle(_ event: ConsensusEvent, now: Instant) -> [ConsensusEffect] {
        switch event {
        case .received(let message, let peer): receive(message, from: peer)
        case .connected(let peer): effects.append(.send(.final(tip), to: peer))
        case .synced(let ticket): synced(ticket)
        case .verified(let digest, let isValid):
            if batches[digest]?.execution == .asked { batches[digest]?.execution = isValid ? .valid : .invalid }
        case .built(let view, let batch): built(batch, in: view, now: now)
        case .workAvailable(let available):
            if available, building == .declined {
                building = .idle
                buildAt = now
            }
            workAvailable = available
        case .fetched(let batches, let peer): adopt(batches, from: peer, now: now)
        case .elapsed: break
        }
        progress(now: now)
        defer { effects = [] }
        return effects
    }

    /// Does all that the present state allows, to a fixed point: every step is idempotent, so the order in which
    /// messages came does not matter.
    private mutating func progress(now: Instant) {
        wantedViews = []
        wantedBatches = []
        var again = true
        while again {
            again = makeFinal(now: now)
            again = enterNextView(now: now) || again
            finalizeNotarized()
            voteInView()
            again = nullifyIfDue(now: now) || again
            propose(now: now)
        }
        ask(now: now)
        repeatStanding(now: now)
        reportStall(now: now)
        schedule(now: now)
    }

    // MARK: Votes of our own

    /// Signs `votes` and asks for them to be made durable; they count and go out when they are.
    mutating func cast(_ votes: [Vote], proposal: Proposal? = nil) {
        guard let key else { preconditionFailure("only a member votes") }
        let signed = votes.map { SignedVote($0, by: key, network: network) }
        persist(VoteRecord(votes: signed, proposal: proposal))
    }

    mutating func persist(_ record: VoteRecord) {
        mark(record)
        lastTicket += 1
        let ticket = PersistTicket(number: lastTicket)
        pending[ticket] = record
        effects.append(.persist(record, ticket))
    }

    private mutating func synced(_ ticket: PersistTicket) {
        guard let record = pending.removeValue(forKey: ticket), record.view > floor, let member else { return }
        for vote in record.votes { count(vote, of: member) }
        views[record.view]?.own.durable += record.votes
        if let proposal = record.proposal, proposal.vote.key == key?.publicKey {
            effects.append(.broadcast(.proposal(proposal)))
        } else {
            effects.append(.broadcast(.votes(record.votes)))
        }
    }

    /// Notes what a record says we voted. From here on nothing that contradicts it can be cast.
    private mutating func mark(_ record: VoteRecord) {
        for signed in record.votes {
            switch signed.vote.kind {
            case .notarize: views[record.view, default: ViewRecord()].own.notarized = signed.vote.digestVoted
            case .nullify: views[record.view, default: ViewRecord()].own.nullified = true
            case .finalize: views[record.view, default: ViewRecord()].own.finalized = true
            }
        }
    }

    private mutating func restore(_ record: VoteRecord) {
        guard record.view > floor, Views.epoch(of: record.view) == committee.epoch, let member,
            record.votes.allSatisfy({ $0.key == key?.publicKey && $0.vote.view == record.view })
        else { return }
        mark(record)
        if let proposal = record.proposal {
            let batch = PendingBatch(proposal)
            if batches[batch.digest] == nil { batches[batch.digest] = batch }
            views[record.view]?.proposal = batch.digest
        }
        for vote in record.votes { count(vote, of: member) }
        views[record.view]?.own.durable += record.votes
        let finalized = record.votes.contains { $0.vote.kind == .finalize }
        view = max(view, finalized ? record.view + 1 : record.view)
        effects = []
    }
}
