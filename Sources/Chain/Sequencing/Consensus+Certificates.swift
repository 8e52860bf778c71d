// Counting votes, taking certificates, changing views, making batches final.

import Ledger
import Primitives

extension Consensus {
    // MARK: Messages

    mutating func receive(_ message: ConsensusMessage, from peer: PeerID) {
        switch message {
        case .proposal(let proposal): take(proposal, from: peer)
        case .votes(let votes): for vote in votes { take(vote, from: peer) }
        case .certificate(let certificate): take(certificate, from: peer)
        case .standing(let standing): answer(standing, from: peer)
        case .final(let final): learn(final, from: peer)
        case .want(let want): answer(want, from: peer)
        }
    }

    private mutating func take(_ proposal: Proposal, from peer: PeerID) {
        let vote = proposal.vote.vote
        let header = proposal.batch.header
        guard concerns(vote.view, height: header.height, from: peer) else { return }
        guard isWithinReach(header.height) else { return }
        guard vote.kind == .notarize, vote.height == header.height, header.view <= vote.view,
            header.network == network, header.epoch == committee.epoch,
            header.view == vote.view || header.next != nil
        else { return effects.append(.fault(.malformedProposal(view: vote.view), from: peer)) }
        let batch = PendingBatch(proposal)
        guard vote.digestVoted == batch.digest else {
            return effects.append(.fault(.malformedProposal(view: vote.view), from: peer))
        }
        guard proposal.vote.key == schedule.leader(of: vote.view).key else {
            return effects.append(.fault(.notTheLeader(view: vote.view), from: peer))
        }
        guard take(proposal.vote, from: peer) else { return }
        var record = views[vote.view] ?? ViewRecord()
        let isFirst = record.proposal == nil && record.nullification == nil
        // The leader may have sent us another one than the one that a quorum took.
        guard isFirst || record.notarization?.vote.digestVoted == batch.digest else { return }
        if batches[batch.digest] == nil {
            // The leader signed the header; that these are the lists in it, he did not.
            guard proposal.batch.isConsistent else {
                return effects.append(.fault(.inconsistentBatch(height: header.height), from: peer))
            }
            batches[batch.digest] = batch
        }
        record.proposal = batch.digest
        views[vote.view] = record
    }

    /// Above the final height, and not so far that we must fetch before we can judge.
    private mutating func isWithinReach(_ height: UInt64) -> Bool {
        guard height > tip.header.height else { return false }
        guard height - tip.header.height <= ConsensusLimits.heightsAheadMax else {
            heightHeard(height - 1)
            return false
        }
        return true
    }

    /// - Returns: whether the vote is genuine and of a view that is open.
    @discardableResult
    mutating func take(_ signed: SignedVote, from peer: PeerID) -> Bool {
        let vote = signed.vote
        let height = vote.kind == .nullify ? nil : vote.height
        guard concerns(vote.view, height: height, from: peer),
            vote.view <= view + ConsensusLimits.viewsAheadMax
        else { return false }
        guard let index = committee.index(of: signed.key) else {
            effects.append(.fault(.notAMember(signed.key), from: peer))
            return false
        }
        if views[vote.view]?.holds(signed, of: index) == true { return true }
        // A vote about what is final already is late, not wrong.
        guard vote.kind == .nullify || isWithinReach(vote.height) else { return false }
        guard vote.kind != .nullify || vote.height == 0, signed.isValid(network: network) else {
            effects.append(.fault(.badVote(view: vote.view), from: peer))
            return false
        }
        count(signed, of: index)
        return true
    }

    /// Whether a message about `view` is of this epoch and open; otherwise someone is behind.
    private mutating func concerns(_ view: UInt64, height: UInt64?, from peer: PeerID) -> Bool {
        let epoch = Views.epoch(of: view)
        if epoch > committee.epoch {
            if let height, height > tip.header.height { heightHeard(height - 1) }
            return false
        }
        return epoch == committee.epoch && view > floor
    }

    /// Adds a genuine vote, and whatever certificate it completes.
    mutating func count(_ signed: SignedVote, of index: Int) {
        let vote = signed.vote
        switch views[vote.view, default: ViewRecord()].count(signed, of: index) {
        case .known: return
        case .equivocation(let earlier):
            let (first, second) = vote.kind == .finalize ? (signed, earlier) : (earlier, signed)
            effects.append(.evidence(accused: committee.members[index].account, first: first, second: second))
            if committee.members[index].key == schedule.leader(of: vote.view).key, vote.kind == .notarize,
                vote.view == view
            {
                views[vote.view]?.refused = true
            }
            return
        case .counted: break
        }
        guard !isCertified(vote), let certificate = views[vote.view]?.certificate(of: vote, committee: committee) else {
            return
        }
        keep(certificate)
        // All must follow into the next view; finality is made of votes that all get anyway.
        if vote.kind != .finalize { effects.append(.broadcast(.certificate(certificate))) }
    }

    private func isCertified(_ vote: Vote) -> Bool {
        switch vote.kind {
        case .notarize: views[vote.view]?.notarization != nil
        case .nullify: views[vote.view]?.nullification != nil
        case .finalize: finalizations[vote.digestVoted] != nil
        }
    }

    mutating func take(_ certificate: Certificate, from peer: PeerID) {
        let vote = certificate.vote
        guard concerns(vote.view, height: vote.kind == .nullify ? nil : vote.height, from: peer), !isCertified(vote)
        else { return }
        guard vote.kind != .finalize || vote.height > tip.header.height else { return }
        guard vote.kind != .nullify || vote.height == 0 else {
            return effects.append(.fault(.badVote(view: vote.view), from: peer))
        }
        do {
            try certificate.verify(network: network, committee: committee)
        } catch {
            return effects.append(.fault(.badCertificate(error), from: peer))
        }
        keep(certificate)
    }

    /// Stores a verified certificate.
    private mutating func keep(_ certificate: Certificate) {
        let vote = certificate.vote
        switch vote.kind {
        case .notarize:
            views[vote.view, default: ViewRecord()].notarization = certificate
        case .nullify:
            views[vote.view, default: ViewRecord()].nullification = certificate
        case .finalize:
            finalizations[vote.digestVoted] = certificate
            heightHeard(vote.height)
        }
    }

    /// Someone has a final batch of this height.
    mutating func heightHeard(_ height: UInt64) {
        heightKnown = max(heightKnown, min(height, tip.header.height + ConsensusLimits.heightsAheadMax))
    }

    // MARK: Views

    /// Leaves the present view once it is notarized or nullified; a certificate of a later view carries there at once.
    /// - Returns: whether the view changed.
    mutating func enterNextView(now: Instant) -> Bool {
        let certified = views.filter { $0.key >= view && ($0.value.notarization ?? $0.value.nullification) != nil }
        guard let latest = certified.keys.max() else { return false }
        enter(latest + 1, now: now)
        return true
    }

    private mutating func enter(_ next: UInt64, now: Instant) {
        view = next
        building = .idle
        buildAt = now
        enteredAt = now
        armedAt = nil
        repeatAt = now + limits.repeatInterval
    }

    // MARK: Finality

    /// Makes the next batch final, if it is certified.
    /// - Returns: whether it did.
    mutating func makeFinal(now: Instant) -> Bool {
        for (digest, certificate) in finalizations.sorted(by: { $0.key < $1.key }) {
            guard let batch = batches[digest], batch.header.parent == tipDigest else { continue }
            advance(to: CertifiedBatch(batch: batch.proposal.batch, certificate: certificate), now: now)
            return true
        }
        return false
    }

    private mutating func advance(to certified: CertifiedBatch, now: Instant) {
        let header = certified.header
        tip = FinalHeader(header: header, certificate: certified.certificate)
        tipDigest = header.digest
        heightKnown = max(heightKnown, header.height)
        lastFinalAt = now
        activeSince = nil
        effects.append(.final(certified))
        if let next = certified.batch.contents.next {
            schedule = LeaderSchedule(committee: next, seed: header.beacon)
            views = [:]
            batches = [:]
            finalizations = [:]
            pending = [:]
            enter(floor + 1, now: now)
        } else {
            let floor = floor
            views = views.filter { $0.key > floor }
            batches = batches.filter { $0.value.header.height > header.height }
            finalizations = finalizations.filter { $0.value.vote.height > header.height }
            if view <= floor { enter(floor + 1, now: now) }
        }
        effects.append(.discard(throughView: floor))
        if stalled {
            stalled = false
            effects.append(.status(.live))
        }
    }

    /// Takes final batches that a peer delivered. Each is judged by its certificate alone.
    mutating func adopt(_ batches: [CertifiedBatch], from peer: PeerID, now: Instant) {
        for certified in batches {
            let header = certified.header
            if header.height <= tip.header.height { continue }
            do throws(ConsensusFault) {
                guard header.height == tip.header.height + 1 else {
                    throw .notInOrder(expected: tip.header.height + 1, got: header.height)
                }
                try check(certified)
            } catch {
                return effects.append(.fault(error, from: peer))
            }
            advance(to: certified, now: now)
            fetchAt = now
        }
    }

    private func check(_ certified: CertifiedBatch) throws(ConsensusFault) {
        let header = certified.header
        do {
            try header.check(follows: tip.header)
        } catch {
            throw .badHeader(error)
        }
        guard certified.batch.isConsistent else { throw .inconsistentBatch(height: header.height) }
        let vote = certified.certificate.vote
        guard vote.kind == .finalize, vote.digestVoted == header.digest, vote.height == header.height,
            vote.view >= header.view
        else { throw .badCertificate(.otherHeader) }
        do {
            try certified.certificate.verify(network: network, committee: committee)
        } catch {
            throw .badCertificate(error)
        }
    }
}
