// Time, and what it heals: view time-outs, repeating where one stands, asking for what is missing, saying that the
// chain stalls.

import Ledger
import Primitives

extension Consensus {
    // MARK: Time

    /// Whether anything waits for a decision.
    private var isActive: Bool {
        let floor = floor
        return workAvailable || heightKnown > tip.header.height || !finalizations.isEmpty
            || views.contains { $0.key > floor && $0.value.isTouched(committee) }
    }

    /// Doubles with every view lost since the last final batch.
    private var timeout: Span {
        let lost = view - floor - 1
        return lost >= 5 ? limits.leaderTimeoutMax : min(limits.leaderTimeout * (1 << lost), limits.leaderTimeoutMax)
    }

    /// When this member gives up on the present view.
    var viewDeadline: Instant {
        armedAt.map { $0 + timeout } ?? enteredAt + limits.heartbeat + timeout
    }

    /// A leader makes a batch without work at a heartbeat, or to get the one before finalized.
    func isDueEvenIfEmpty(_ now: Instant) -> Bool { now >= emptyDueAt }

    private var emptyDueAt: Instant {
        let floor = floor
        let undecided = views.contains { $0.key > floor && $0.value.isTouched(committee) && $0.key < view }
        return enteredAt + (undecided ? limits.finalizeGrace : limits.heartbeat)
    }

    /// Sets the clocks that follow from the state, and asks to be woken at the first of them.
    mutating func schedule(now: Instant) {
        if isActive {
            if armedAt == nil { armedAt = now }
            if activeSince == nil { activeSince = now }
        } else {
            armedAt = nil
            activeSince = nil
        }
        var next: [Instant] = []
        if member != nil {
            let record = views[view] ?? ViewRecord()
            if !record.own.nullified { next.append(viewDeadline) }
            if isActive { next.append(repeatAt) }
            if schedule.leader(of: view).key == key?.publicKey, record.own.notarized == nil, !record.own.nullified,
                building != .asked
            {
                let due = workAvailable && building == .idle ? enteredAt + limits.batchIntervalMin : emptyDueAt
                next.append(max(due, buildAt))
            }
            if let activeSince, !stalled { next.append(max(activeSince, lastFinalAt) + limits.stalledAfter) }
        }
        if heightKnown > tip.header.height { next.append(fetchAt) }
        if !wantedViews.isEmpty || !wantedBatches.isEmpty { next.append(retryAt) }
        // What is due already waits for something else than time: an answer, a message, a write.
        guard let soonest = next.filter({ $0 > now }).min() else { return }
        if soonest != wakeAt {
            wakeAt = soonest
            effects.append(.wake(soonest))
        }
    }

    mutating func reportStall(now: Instant) {
        guard !stalled, member != nil, let activeSince else { return }
        let since = max(activeSince, lastFinalAt)
        guard now >= since + limits.stalledAfter else { return }
        stalled = true
        effects.append(.status(.stalled(since: since)))
    }

    // MARK: Repeating

    mutating func repeatStanding(now: Instant) {
        guard member != nil, isActive, now >= repeatAt else { return }
        repeatAt = now + limits.repeatInterval
        if schedule.leader(of: view).key == key?.publicKey, let record = views[view],
            let vote = record.own.durable.first(where: { $0.vote.kind == .notarize }),
            let batch = batches[vote.vote.digestVoted]
        {
            effects.append(.broadcast(.proposal(Proposal(batch: batch.proposal.batch, vote: vote))))
        }
        effects.append(.broadcast(.standing(standing())))
    }

    private mutating func standing() -> Standing {
        var votes: [SignedVote] = []
        var certificates: [Certificate] = []
        for (_, record) in views.sorted(by: { $0.key < $1.key }) {
            // A certificate says more than our vote in it.
            for vote in record.own.durable {
                switch vote.vote.kind {
                case .notarize: if record.notarization == nil { votes.append(vote) }
                case .nullify: if record.nullification == nil { votes.append(vote) }
                case .finalize: votes.append(vote)
                }
            }
        }
        if votes.count > ConsensusLimits.votesPerMessageMax {
            // The start rotates, so that each is repeated sooner or later.
            repeatCursor %= votes.count
            votes = Array(votes[repeatCursor...] + votes[..<repeatCursor])
            votes = Array(votes.prefix(ConsensusLimits.votesPerMessageMax))
            repeatCursor += ConsensusLimits.votesPerMessageMax
        }
        if let last = lastCertificate { certificates.append(last) }
        if let notarized = views.filter({ $0.value.notarization != nil }).keys.max(),
            let certificate = views[notarized]?.notarization, certificate != certificates.first
        {
            certificates.append(certificate)
        }
        return Standing(height: tip.header.height, view: view, votes: votes, certificates: certificates)
    }

    /// The certificate that led into the present view.
    private var lastCertificate: Certificate? {
        guard let record = views[view - 1] else { return nil }
        return record.notarization ?? record.nullification
    }

    mutating func answer(_ standing: Standing, from peer: PeerID) {
        for certificate in standing.certificates { take(certificate, from: peer) }
        for vote in standing.votes { take(vote, from: peer) }
        if standing.height > tip.header.height {
            heightHeard(standing.height)
        } else if standing.height < tip.header.height {
            effects.append(.send(.final(tip), to: peer))
        } else if standing.view < view, let lastCertificate {
            effects.append(.send(.certificate(lastCertificate), to: peer))
        }
    }

    // MARK: Asking

    /// Asks the others for what `progress` found missing.
    mutating func ask(now: Instant) {
        if heightKnown > tip.header.height {
            // Often the rest is under way already.
            if !isBehind { fetchAt = max(fetchAt, now + limits.fetchGrace) }
            isBehind = true
            if now >= fetchAt {
                fetchAt = now + limits.retryInterval
                let last = min(heightKnown, tip.header.height + ConsensusLimits.batchesPerFetchMax)
                effects.append(.needBatches(from: tip.header.height + 1, through: last))
            }
        } else {
            isBehind = false
        }
        guard member != nil, !wantedViews.isEmpty || !wantedBatches.isEmpty, now >= retryAt else { return }
        retryAt = now + limits.retryInterval
        let want = Want(
            views: Array(wantedViews.sorted().prefix(ConsensusLimits.wantedMax)),
            batches: Array(wantedBatches.sorted().prefix(ConsensusLimits.wantedMax)))
        effects.append(.broadcast(.want(want)))
    }

    mutating func answer(_ want: Want, from peer: PeerID) {
        for view in want.views {
            guard let record = views[view] else { continue }
            for certificate in [record.notarization, record.nullification] {
                if let certificate { effects.append(.send(.certificate(certificate), to: peer)) }
            }
        }
        for digest in want.batches {
            if digest == tipDigest { effects.append(.send(.final(tip), to: peer)) }
            guard let batch = batches[digest] else { continue }
            effects.append(.send(.proposal(batch.proposal), to: peer))
        }
    }

    /// A peer says that this header is final. If a committee that we do not know yet signed it, the batches up to it
    /// will tell; until they come it is only a reason to ask.
    mutating func learn(_ final: FinalHeader, from peer: PeerID) {
        let header = final.header
        guard header.network == network, header.height > tip.header.height else {
            if header.height < tip.header.height { effects.append(.send(.final(tip), to: peer)) }
            return
        }
        if let certificate = final.certificate, header.epoch == committee.epoch {
            guard certificate.vote.digestVoted == header.digest, certificate.vote.kind == .finalize else {
                return effects.append(.fault(.badCertificate(.otherHeader), from: peer))
            }
            take(certificate, from: peer)
            guard finalizations[header.digest] != nil else { return }
        }
        heightHeard(header.height)
    }
}
