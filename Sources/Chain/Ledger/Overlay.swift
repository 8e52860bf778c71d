// The state as it is being changed: what was read and written, over a reader that stays as it is. An item of a batch
// begins, and is kept or rolled back as a whole.

package import Primitives

package struct Overlay {
    private let base: any StateReader
    private var known: [StateKey: StateValue?] = [:]
    private var written: Set<StateKey> = []
    private var undo: [(key: StateKey, value: StateValue??, written: Bool)] = []

    package init(_ base: any StateReader) { self.base = base }

    package mutating func value(_ key: StateKey) throws(StateFault) -> StateValue? {
        if let value = known[key] { return value }
        var value: StateValue?
        if let bytes = try base.value(key) {
            do {
                value = try StateValue(decoding: bytes)
            } catch {
                throw .damagedValue(key)
            }
        }
        known[key] = .some(value)
        return value
    }

    /// - Parameter value: nil removes the entry.
    mutating func set(_ key: StateKey, _ value: StateValue?) {
        undo.append((key, known[key], written.contains(key)))
        known[key] = .some(value)
        written.insert(key)
    }

    /// From here on, until `keep`, changes can be undone.
    mutating func begin() { undo.removeAll(keepingCapacity: true) }

    mutating func rollBack() {
        while let (key, value, wasWritten) = undo.popLast() {
            known[key] = value
            if !wasWritten { written.remove(key) }
        }
    }

    /// What to write, ascending by key; nil removes.
    var writes: [(StateKey, [UInt8]?)] {
        written.sorted().map { key in (key, (known[key] ?? nil)?.encoded()) }
    }

    // MARK: Typed

    package mutating func account(_ id: AccountID) throws(StateFault) -> Account {
        switch try value(.account(id)) {
        case .account(let account): return account
        case nil: return Account()
        default: throw .damagedValue(.account(id))
        }
    }

    package mutating func allowance(_ id: AllowanceID) throws(StateFault) -> Allowance? {
        switch try value(.allowance(id)) {
        case .allowance(let allowance): return allowance
        case nil: return nil
        default: throw .damagedValue(.allowance(id))
        }
    }

    package mutating func candidate(_ account: AccountID) throws(StateFault) -> CandidateRecord? {
        switch try value(.candidate(account)) {
        case .candidate(let candidate): return candidate
        case nil: return nil
        default: throw .damagedValue(.candidate(account))
        }
    }

    /// Accounts that stand for election, ascending.
    package mutating func candidates() throws(StateFault) -> [AccountID] {
        switch try value(.candidates) {
        case .candidates(let accounts): return accounts
        case nil: return []
        default: throw .damagedValue(.candidates)
        }
    }

    package mutating func owner(of cid: CID, kind: AssetKind) throws(StateFault) -> AccountID? {
        switch try value(.asset(cid)) {
        case .asset(let registered, let owner): return registered == kind ? owner : nil
        case nil: return nil
        default: throw .damagedValue(.asset(cid))
        }
    }

    package mutating func chain() throws(StateFault) -> ChainRecord {
        guard case .chain(let chain) = try value(.chain) else { throw .missingValue(.chain) }
        return chain
    }

    package mutating func parameters() throws(StateFault) -> Parameters {
        guard case .parameters(let parameters) = try value(.parameters) else { throw .missingValue(.parameters) }
        return parameters
    }

    /// The committee of the current epoch.
    package mutating func committee() throws(StateFault) -> Committee {
        guard case .committee(let committee) = try value(.committee) else { throw .missingValue(.committee) }
        return committee
    }

    /// Who stands for election, with what weighs: what the election of the next committee needs.
    package mutating func standings() throws(StateFault) -> [CandidateStanding] {
        var standings: [CandidateStanding] = []
        for id in try candidates() {
            guard let candidate = try candidate(id) else { throw .missingValue(.candidate(id)) }
            let account = try account(id)
            standings.append(
                CandidateStanding(
                    account: id, key: candidate.key, stake: account.staked, contribution: account.contribution,
                    eligibleFrom: candidate.eligibleFrom, liveThrough: candidate.liveThrough))
        }
        return standings
    }
}

/// A candidate as the election sees him.
package struct CandidateStanding: Hashable, Sendable {
    package let account: AccountID
    package let key: PublicKey
    package let stake: Amount
    package let contribution: Amount
    /// The first and the last epoch for which he may be drawn.
    package let eligibleFrom: UInt64
    package let liveThrough: UInt64

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
}
