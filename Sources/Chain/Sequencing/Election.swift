// Who sequences an epoch. Weight is stake plus contribution (OPEN burned by use), contribution counting no more than
// the stake, so that burning to oneself buys no more than staking does. Candidates are fixed two epochs ahead, before
// the beacon that draws them exists.
//
//   candidates ─ registered and live two epochs ahead ─ weights, capped below a third ─ 64 seats drawn ─▶ committee
//        fewer than four ─────────────────────────────────────────────────────────────▶ the incumbents, next epoch
//
// Seats are drawn by systematic sampling: one random offset and 64 equal steps along the weights laid end to end in an
// order that the beacon shuffles. Each candidate gets its exact share of the seats rounded down or up, so that chance
// cannot hand a small holder a blocking third.

package import Ledger
package import Primitives

/// What the chain's state says of one candidate.
package struct Candidacy: Hashable, Sendable {
    package var account: AccountID
    /// The key that will vote and draw.
    package var key: PublicKey
    package var stake: Amount
    /// OPEN burned by use of this account's services.
    package var contribution: Amount
    /// The first epoch that it may be drawn for, two after it registered.
    package var eligibleFrom: UInt64
    /// The last one, two after it showed that it runs.
    package var liveThrough: UInt64

    package init(
        account: AccountID, key: PublicKey, stake: Amount, contribution: Amount, eligibleFrom: UInt64,
        liveThrough: UInt64
    ) {
        self.account = account
        self.key = key
        self.stake = stake
        self.contribution = contribution
        self.eligibleFrom = eligibleFrom
        self.liveThrough = liveThrough
    }

    package init(_ id: AccountID, record: CandidateRecord, account: Account) {
        self.init(
            account: id, key: record.key, stake: account.staked, contribution: account.contribution,
            eligibleFrom: record.eligibleFrom, liveThrough: record.liveThrough)
    }
}

package enum Election {
    package static let seats: UInt64 = 64
    /// The fewest candidates that make a committee: three could not lose one.
    package static let candidatesMin = 4
    /// The most seats of one member: one below a third, so that no single member can halt the chain.
    static let memberSeatsMax: UInt64 = (seats - 1) / 3

    /// The committee of the epoch after `incumbent`'s.
    /// - Parameters:
    ///   - beacon: of the header before the last one of the incumbent's epoch.
    ///   - candidates: in any order; the outcome does not depend on it.
    package static func committee(
        after incumbent: Committee, beacon: Digest, candidates: [Candidacy]
    ) -> Committee {
        let (epoch, overflow) = incumbent.epoch.addingReportingOverflow(1)
        precondition(!overflow, "epochs advance one by one")
        let drawn = draw(eligible(candidates, epoch: epoch), beacon: beacon, epoch: epoch)
        if let drawn, let committee = try? Committee(epoch: epoch, members: drawn) { return committee }
        guard let same = try? Committee(epoch: epoch, members: incumbent.members) else {
            preconditionFailure("the members of a valid committee are valid")
        }
        return same
    }

    /// Registered in time, live, and with something at stake.
    package static func eligible(_ candidates: [Candidacy], epoch: UInt64) -> [Candidacy] {
        var seen: Set<PublicKey> = []
        return candidates.sorted { $0.account < $1.account }.filter { candidate in
            candidate.eligibleFrom <= epoch && candidate.liveThrough >= epoch && candidate.stake > .zero
                && seen.insert(candidate.key).inserted
        }
    }

    /// - Returns: nil with fewer than four candidates.
    private static func draw(_ candidates: [Candidacy], beacon: Digest, epoch: UInt64) -> [Member]? {
        guard candidates.count >= candidatesMin else { return nil }
        let tag = Array("openledger/1/election\n".utf8) + beacon.bytes + epoch.bigEndianBytes
        let order = candidates.map { (place: Digest(sha256Of: [tag, $0.account.bytes]), candidate: $0) }
            .sorted { $0.place < $1.place }.map(\.candidate)
        let weights = capped(order.map(weight))
        let total = weights.reduce(0, +)

        // A point every `total` on a line on which a weight w is 64 * w long.
        let offset = UInt128(Digest(sha256Of: [tag, Array("offset".utf8)]).bytes.prefix(16)) % total
        var members: [Member] = []
        var reached: UInt128 = 0
        var point = offset
        for (candidate, weight) in zip(order, weights) {
            reached += weight * UInt128(seats)
            var won: UInt64 = 0
            while point < reached {
                won += 1
                point += total
            }
            if won > 0 { members.append(Member(account: candidate.account, key: candidate.key, seats: won)) }
        }
        return members
    }

    /// Stake plus contribution, contribution capped by stake; scaled down so that 64 sums of a thousand cannot
    /// overflow.
    private static func weight(_ candidate: Candidacy) -> UInt128 {
        let stake = candidate.stake.baseUnits >> 18
        return max(1, stake + min(stake, candidate.contribution.baseUnits >> 18))
    }

    /// Cuts the largest weights so that none is more than 21 of 64 parts of the sum.
    static func capped(_ weights: [UInt128]) -> [UInt128] {
        let descending = weights.sorted(by: >)
        var rest = weights.reduce(0, +)
        for cut in 0..<UInt128(3) {
            let cap = UInt128(memberSeatsMax) * rest / (UInt128(seats) - UInt128(memberSeatsMax) * cut)
            // With `cut` weights brought down to `cap`, does the next one fit?
            guard Int(cut) < descending.count, descending[Int(cut)] > cap else {
                return weights.map { cut == 0 ? $0 : min($0, cap) }
            }
            rest -= descending[Int(cut)]
        }
        let cap = UInt128(memberSeatsMax) * rest
        return weights.map { min($0, cap) }
    }
}

extension UInt128 {
    /// Big-endian bytes, at most 16.
    fileprivate init(_ bytes: some Sequence<UInt8>) {
        self = bytes.reduce(0) { $0 << 8 | UInt128($1) }
    }
}
