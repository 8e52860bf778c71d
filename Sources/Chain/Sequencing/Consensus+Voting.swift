// The rules of a view: when to vote for a proposal, when to give it up, when to finalize, what a leader offers.

import Ledger
import Primitives

extension Consensus {
    // MARK: Parents

    private enum Parent {
        case header(Header)
        /// The last batch of the epoch, notarized and not final: it is offered again.
        case closing(PendingBatch)
        /// Something must arrive first; it has been added to what is wanted.
        case missing
        case none
    }

    /// What a leader builds on: the batch notarized last before `view`, every view since then nullified.
    private mutating func parentForLeader() -> Parent {
        var earlier = view
        while earlier > floor + 1 {
            earlier -= 1
            if let notarization = views[earlier]?.notarization {
                let digest = notarization.vote.digestVoted
                guard let batch = batches[digest] else {
                    wantedBatches.insert(digest)
                    return .missing
                }
                guard isVerified(digest) else { return .missing }
                return batch.endsEpoch ? .closing(batch) : .header(batch.header)
            }
            guard views[earlier]?.nullification != nil else {
                wantedViews.insert(earlier)
                return .missing
            }
        }
        return .header(tip.header)
    }

    /// The parent of `batch`, proposed in `view`, if the rules allow it there.
    private mutating func parent(of batch: PendingBatch, in view: UInt64) -> Parent {
        let isOfferedAgain = batch.header.view != view
        let parentDigest = isOfferedAgain ? batch.digest : batch.header.parent
        var from = floor
        let header: Header
        if parentDigest == tipDigest {
            header = tip.header
        } else {
            guard let parent = batches[parentDigest] else {
                // Either a batch that we missed or one that can never be notarized; asking tells.
                wantedBatches.insert(parentDigest)
                wantNotarizations(before: view)
                return .missing
            }
            guard let notarized = notarizedView(of: parent.digest, before: view) else {
                wantNotarizations(before: view)
                return .missing
            }
            from = notarized
            header = parent.header
        }
        var complete = true
        var between = from + 1
        while between < view {
            if views[between]?.nullification == nil {
                wantedViews.insert(between)
                complete = false
            }
            between += 1
        }
        guard complete else { return .missing }
        if isOfferedAgain { return batch.endsEpoch ? .closing(batch) : .none }
        // Nothing may follow the last batch of an epoch before it is final.
        return parentDigest != tipDigest && header.next != nil ? .none : .header(header)
    }

    /// Somewhere between lies a notarization that we have not seen, perhaps of a view that we saw nullified.
    private mutating func wantNotarizations(before view: UInt64) {
        var earlier = view
        while earlier > floor + 1, wantedViews.count < ConsensusLimits.wantedMax {
            earlier -= 1
            if views[earlier]?.notarization == nil { wantedViews.insert(earlier) }
        }
    }

    private func notarizedView(of digest: Digest, before view: UInt64) -> UInt64? {
        var earlier = view
        while earlier > floor + 1 {
            earlier -= 1
            if views[earlier]?.notarization?.vote.digestVoted == digest { return earlier }
        }
        return nil
    }

    /// Whether the owner has executed the batch and all undecided ones before it; asks for the first that it has not.
    private mutating func isVerified(_ digest: Digest) -> Bool {
        var chain: [PendingBatch] = []
        var cursor = digest
        while cursor != tipDigest {
            guard let batch = batches[cursor], chain.count < Int(ConsensusLimits.heightsAheadMax) else {
                wantedBatches.insert(cursor)
                return false
            }
            chain.append(batch)
            cursor = batch.header.parent
        }
        var parent = tip.header
        for batch in chain.reversed() {
            switch batch.execution {
            case .valid: parent = batch.header
            case .unknown:
                batches[batch.digest]?.execution = .asked
                effects.append(.verify(batch.proposal.batch, parent: parent))
                return false
            case .asked, .invalid: return false
            }
        }
        return true
    }

    // MARK: Voting

    /// Notarizes the proposal of the present view, if it is one to vote for.
    mutating func voteInView() {
        guard member != nil, let record = views[view], let digest = record.proposal, let batch = batches[digest],
            record.own.notarized == nil, !record.own.nullified, !record.refused
        else { return }
        switch parent(of: batch, in: view) {
        case .missing: return
        case .none: views[view]?.refused = true
        case .closing:
            guard isVerified(digest) else { break }
            notarize(batch)
        case .header(let parent):
            if !batch.isChecked {
                let leader = schedule.leader(of: view)
                guard (try? batch.header.check(follows: parent)) != nil, batch.header.proposer == leader.account,
                    Beacon.isStep(batch.header, after: parent, key: leader.key)
                else {
                    views[view]?.refused = true
                    return
                }
                batches[digest]?.isChecked = true
            }
            guard isVerified(digest) else { break }
            notarize(batch)
        }
        if batches[digest]?.execution == .invalid { views[view]?.refused = true }
    }

    private mutating func notarize(_ batch: PendingBatch) {
        let vote = Vote(kind: .notarize, height: batch.header.height, view: view, digestVoted: batch.digest)
        cast([vote], proposal: batch.proposal)
    }

    /// Gives up on the present view when its time is over or its proposal cannot be voted for.
    /// - Returns: whether it did.
    mutating func nullifyIfDue(now: Instant) -> Bool {
        guard member != nil, view - floor <= ConsensusLimits.viewsMax else { return false }
        let record = views[view] ?? ViewRecord()
        guard !record.own.nullified, !record.own.finalized, record.notarization == nil,
            record.refused || now >= viewDeadline
        else { return false }
        cast([Vote(kind: .nullify, height: 0, view: view, digestVoted: .zero)])
        return true
    }

    /// Votes to finalize what is notarized, in every undecided view that we have not nullified.
    mutating func finalizeNotarized() {
        guard member != nil else { return }
        for view in views.keys.sorted() {
            guard let record = views[view], let notarization = record.notarization, !record.own.nullified,
                !record.own.finalized
            else { continue }
            var votes: [Vote] = []
            var height = notarization.vote.height
            var digest = notarization.vote.digestVoted
            while digest != tipDigest, votes.count < ConsensusLimits.votesPerMessageMax {
                votes.append(Vote(kind: .finalize, height: height, view: view, digestVoted: digest))
                // An ancestor that we lack gets its certificate from those who have it.
                guard height > 0, let batch = batches[digest] else { break }
                digest = batch.header.parent
                height -= 1
            }
            if !votes.isEmpty { cast(votes) }
        }
    }

    // MARK: Leading

    mutating func propose(now: Instant) {
        guard let member, let key, now >= buildAt,
            building == .idle || (building == .declined && isDueEvenIfEmpty(now))
        else { return }
        let record = views[view] ?? ViewRecord()
        guard schedule.leader(of: view).key == key.publicKey, record.own.notarized == nil, !record.own.nullified,
            workAvailable || isDueEvenIfEmpty(now), now >= enteredAt + limits.batchIntervalMin
        else { return }
        switch parentForLeader() {
        case .missing, .none: return
        case .closing(let batch):
            let vote = Vote(kind: .notarize, height: batch.header.height, view: view, digestVoted: batch.digest)
            offer(batch.proposal.batch, SignedVote(vote, by: key, network: network))
        case .header(let parent):
            building = .asked
            effects.append(
                .build(
                    BuildRequest(
                        view: view, height: parent.height + 1, epoch: committee.epoch, parent: parent,
                        committee: committee, proposer: committee.members[member].account,
                        step: Beacon.step(after: parent, key: key), evenIfEmpty: isDueEvenIfEmpty(now))))
        }
    }

    mutating func built(_ batch: Batch?, in view: UInt64, now: Instant) {
        guard building == .asked, view == self.view else { return }
        building = .declined
        buildAt = now + limits.retryInterval
        guard let batch, let key, batch.header.view == view else { return }
        let record = views[view] ?? ViewRecord()
        guard record.own.notarized == nil, !record.own.nullified else { return }
        let vote = Vote(
            kind: .notarize, height: batch.header.height, view: view, digestVoted: batch.header.digest)
        offer(batch, SignedVote(vote, by: key, network: network))
    }

    /// Makes the proposal durable; it goes out when it is.
    private mutating func offer(_ batch: Batch, _ vote: SignedVote) {
        var pending = PendingBatch(Proposal(batch: batch, vote: vote))
        pending.execution = .valid
        let known = batches[pending.digest]
        batches[pending.digest] = known ?? pending
        views[view, default: ViewRecord()].proposal = pending.digest
        persist(VoteRecord(votes: [vote], proposal: Proposal(batch: batch, vote: vote)))
    }
}
