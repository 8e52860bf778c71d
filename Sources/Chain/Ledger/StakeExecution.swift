// Stake, candidacy and punishment. Stake leaves only through unbonding, which lasts as long as evidence counts, so that
// nobody can equivocate and be gone.

import Primitives

extension Execution {
    mutating func stake(_ amount: Amount, of id: AccountID, _ reference: Digest) throws {
        guard amount > .zero else { throw TransactionFault.zeroAmount }
        try spend(id, amount, .staked, reference)
        try update(id) { $0.staked = try $0.staked.adding(amount) }
        chain.supply.staked = try chain.supply.staked.adding(amount)
    }

    mutating func unstake(_ amount: Amount, of id: AccountID, _ reference: Digest) throws {
        guard amount > .zero else { throw TransactionFault.zeroAmount }
        let (free, overflow) = height.addingReportingOverflow(parameters.unbondingHeights)
        guard !overflow else { throw TransactionFault.overflow }
        try update(id) { account in
            guard let rest = try? account.staked.subtracting(amount) else {
                throw TransactionFault.insufficientStake(minimum: amount)
            }
            guard account.unbonding.count < LedgerLimits.unbondingsPerAccountMax else {
                throw TransactionFault.tooManyUnbondings
            }
            account.staked = rest
            account.unbonding.append(Unbonding(amount: amount, height: free))
        }
        note(id, .unstaked, gained: true, amount, reference)
        if try state.account(id).staked < parameters.minimumStake { try withdrawCandidate(id) }
    }

    mutating func claim(_ id: AccountID, _ reference: Digest) throws {
        var ripe = Amount.zero
        let now = height
        try update(id) { account in
            for unbonding in account.unbonding where unbonding.height <= now {
                ripe = try ripe.adding(unbonding.amount)
            }
            account.unbonding.removeAll { $0.height <= now }
        }
        guard ripe > .zero else { throw TransactionFault.nothingToClaim }
        chain.supply.staked = try chain.supply.staked.subtracting(ripe)
        try give(id, ripe, .claimed, reference)
    }

    mutating func registerCandidate(_ id: AccountID, _ grant: KeyGrant) throws {
        guard try state.account(id).staked >= parameters.minimumStake else {
            throw TransactionFault.insufficientStake(minimum: parameters.minimumStake)
        }
        guard grant.isValid(for: id, as: .signer, network: network) else { throw TransactionFault.badGrant(.signer) }
        var accounts = try state.candidates()
        for other in accounts where other != id {
            guard try state.candidate(other)?.key != grant.key else { throw TransactionFault.keyInUse }
        }
        let eligible = chain.epoch.addingReportingOverflow(2).partialValue
        if var candidate = try state.candidate(id) {
            if candidate.key != grant.key {
                guard candidate.pastKeys.count < LedgerLimits.pastKeysPerCandidateMax else {
                    throw TransactionFault.tooManyKeyChanges
                }
                candidate.pastKeys.append(candidate.key)
                candidate.key = grant.key
                candidate.eligibleFrom = eligible
            } else if !accounts.contains(id) {
                candidate.eligibleFrom = eligible
            }
            candidate.liveThrough = max(candidate.liveThrough, eligible)
            state.set(.candidate(id), .candidate(candidate))
        } else {
            state.set(
                .candidate(id),
                .candidate(CandidateRecord(key: grant.key, eligibleFrom: eligible, liveThrough: eligible)))
        }
        guard !accounts.contains(id) else { return }
        guard accounts.count < LedgerLimits.candidatesMax else { throw TransactionFault.candidatesFull }
        accounts.insert(id, at: accounts.firstIndex { $0 > id } ?? accounts.count)
        state.set(.candidates, .candidates(accounts))
    }

    mutating func proveLiveness(_ id: AccountID, _ epoch: UInt64) throws {
        guard epoch == chain.epoch else { throw TransactionFault.wrongEpoch(expected: chain.epoch) }
        guard try state.candidates().contains(id), var candidate = try state.candidate(id) else {
            throw TransactionFault.notACandidate
        }
        candidate.liveThrough = max(candidate.liveThrough, epoch.addingReportingOverflow(2).partialValue)
        state.set(.candidate(id), .candidate(candidate))
    }

    private mutating func withdrawCandidate(_ id: AccountID) throws {
        let accounts = try state.candidates()
        guard accounts.contains(id) else { return }
        state.set(.candidates, .candidates(accounts.filter { $0 != id }))
    }

    /// Slashes `accused` once for one view of one height: part of the stake, what is unbonding included, of which the
    /// reporter gets a part and the rest burns. The accused stands for election no longer.
    mutating func punish(
        _ accused: AccountID, _ first: SignedVote, _ second: SignedVote, reporter: AccountID, _ reference: Digest
    ) throws {
        guard Vote.contradict(first.vote, second.vote), first.key == second.key else {
            throw TransactionFault.noConflict
        }
        guard let candidate = try state.candidate(accused),
            candidate.key == first.key || candidate.pastKeys.contains(first.key)
        else { throw TransactionFault.notTheAccusedKey }
        let age = height.subtractingReportingOverflow(first.vote.height)
        guard age.overflow || age.partialValue <= parameters.unbondingHeights else {
            throw TransactionFault.evidenceTooOld
        }
        guard first.isValid(network: network), second.isValid(network: network) else {
            throw TransactionFault.badVoteSignature
        }
        let offence = StateKey.evidence(accused, height: first.vote.height, view: first.vote.view)
        guard try state.value(offence) == nil else { throw TransactionFault.evidenceUsed }
        state.set(offence, .evidence(height: height))

        var slashed = Amount.zero
        let ppm = [UInt64(parameters.slash.value), 1_000_000 - UInt64(parameters.slash.value)]
        try update(accused) { account in
            let cut = account.staked.split(by: ppm)
            account.staked = cut[1]
            slashed = cut[0]
            for index in account.unbonding.indices {
                let cut = account.unbonding[index].amount.split(by: ppm)
                account.unbonding[index].amount = cut[1]
                slashed = try slashed.adding(cut[0])
            }
            account.contribution = .zero
        }
        try withdrawCandidate(accused)
        chain.supply.staked = try chain.supply.staked.subtracting(slashed)
        note(accused, .slashed, gained: false, slashed, reference)
        let reward = UInt64(parameters.slashReward.value)
        let parts = slashed.split(by: [reward, 1_000_000 - reward])
        // A reporter who is the accused would buy back part of his own stake.
        if reporter == accused {
            try burn(slashed)
        } else {
            try earn(reporter, parts[0], .reward, reference)
            try burn(parts[1])
        }
    }
}

extension Vote {
    /// Whether an honest member never gives both: two headers notarized in one view, two finalized at one height, or a
    /// view finalized and nullified. Finalize votes of one view for several heights are honest: a batch is finalized
    /// together with its ancestors. A nullify vote has height 0, whatever height its member was at.
    public static func contradict(_ first: Vote, _ second: Vote) -> Bool {
        guard first.view == second.view else { return false }
        return switch (first.kind, second.kind) {
        case (.notarize, .notarize): first.digestVoted != second.digestVoted
        case (.finalize, .finalize): first.height == second.height && first.digestVoted != second.digestVoted
        case (.finalize, .nullify), (.nullify, .finalize): true
        default: false
        }
    }
}
