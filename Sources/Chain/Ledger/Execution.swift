// One batch in the making: the overlay, the chain's own record, and the few moves that money can make. Every move names
// where it comes from and where it goes, so that the supply in the header is right by construction and the walk over the
// whole state (Conservation.swift) only confirms it.

package import Primitives

struct Execution {
    var state: Overlay
    var chain: ChainRecord
    let parameters: Parameters
    let network: NetworkID
    var history: [HistoryEntry] = []
    var outcomes: [ReceiptOutcome] = []
    var seen: Set<Digest> = []
    var faucetClaims = 0

    /// - Parameter chain: already at the height and time of the batch.
    init(state: Overlay, chain: ChainRecord, parameters: Parameters, network: NetworkID) {
        self.state = state
        self.chain = chain
        self.parameters = parameters
        self.network = network
    }

    var height: UInt64 { chain.height }

    /// Runs one item as a whole: a fault leaves everything as it was.
    mutating func atomically(_ body: (inout Execution) throws -> Void) throws {
        let (chain, history, outcomes, claims) = (chain, history.count, outcomes.count, faucetClaims)
        state.begin()
        do {
            try body(&self)
        } catch {
            state.rollBack()
            self.chain = chain
            self.history.removeSubrange(history...)
            self.outcomes.removeSubrange(outcomes...)
            faucetClaims = claims
            throw error
        }
    }

    mutating func update(_ id: AccountID, _ change: (inout Account) throws -> Void) throws {
        var account = try state.account(id)
        try change(&account)
        state.set(.account(id), .account(account))
    }

    mutating func note(_ id: AccountID, _ kind: HistoryKind, gained: Bool, _ amount: Amount, _ reference: Digest) {
        history.append(
            HistoryEntry(
                account: id, height: height, index: UInt64(history.count), kind: kind, gained: gained, amount: amount,
                reference: reference))
    }

    // MARK: Money

    /// Takes from a free balance; the caller says where it goes.
    mutating func spend(_ id: AccountID, _ amount: Amount, _ kind: HistoryKind, _ reference: Digest) throws {
        try update(id) { account in
            guard let rest = try? account.free.subtracting(amount) else { throw TransactionFault.insufficientBalance }
            account.free = rest
        }
        chain.supply.free = try chain.supply.free.subtracting(amount)
        if amount > .zero { note(id, kind, gained: false, amount, reference) }
    }

    /// Gives to a free balance; the caller says where it came from.
    mutating func give(_ id: AccountID, _ amount: Amount, _ kind: HistoryKind, _ reference: Digest) throws {
        guard amount > .zero else { return }
        try update(id) { $0.free = try $0.free.adding(amount) }
        chain.supply.free = try chain.supply.free.adding(amount)
        note(id, kind, gained: true, amount, reference)
    }

    /// Gives earnings, which go to the payout account where there is one.
    mutating func earn(_ id: AccountID, _ amount: Amount, _ kind: HistoryKind, _ reference: Digest) throws {
        try give(try state.account(id).payout ?? id, amount, kind, reference)
    }

    mutating func lock(_ amount: Amount) throws { chain.supply.locked = try chain.supply.locked.adding(amount) }
    mutating func unlock(_ amount: Amount) throws { chain.supply.locked = try chain.supply.locked.subtracting(amount) }

    mutating func giveCommittee(_ amount: Amount) throws {
        chain.pot = try chain.pot.adding(amount)
        try lock(amount)
    }

    mutating func giveTreasury(_ amount: Amount) throws {
        chain.supply.treasury = try chain.supply.treasury.adding(amount)
    }

    mutating func burn(_ amount: Amount) throws { chain.supply.burned = try chain.supply.burned.adding(amount) }

    /// Pays out what left an allowance.
    mutating func pay(_ split: FeeSplit, server: AccountID, _ reference: Digest) throws {
        for payment in split.payments {
            let kind: HistoryKind =
                switch payment.role {
                case .server: .served
                case .model: .model
                case .adapter: .adapter
                case .contributor: .contributor
                }
            try earn(payment.account, payment.amount, kind, reference)
        }
        try giveCommittee(split.committee)
        try giveTreasury(split.treasury)
        try burn(split.burn)
        if split.burn > .zero { try update(server) { $0.contribution = try $0.contribution.adding(split.burn) } }
    }

    /// Divides a transaction's fee among committee, treasury and burn, in their proportions; all to the burn where those
    /// are zero.
    mutating func payFee(_ fee: Amount) throws {
        let shares = [parameters.fees.committee, parameters.fees.treasury, parameters.fees.burn]
        var weights = shares.map { UInt64($0.value) }
        if weights.allSatisfy({ $0 == 0 }) { weights = [0, 0, 1] }
        let parts = fee.split(by: weights)
        try giveCommittee(parts[0])
        try giveTreasury(parts[1])
        try burn(parts[2])
    }

    // MARK: Receipts

    mutating func execute(_ signed: SignedReceipt, verified: Bool) throws(ReceiptFault) {
        do {
            try atomically { execution in try execution.settle(signed, verified: verified) }
            seen.insert(signed.id)
        } catch let fault as ReceiptFault {
            throw fault
        } catch {
            throw .state("\(error)")
        }
    }

    private mutating func settle(_ signed: SignedReceipt, verified: Bool) throws {
        let receipt = signed.receipt
        var owners: [CID: AccountID] = [:]
        owners[receipt.model.weights] = try state.owner(of: receipt.model.weights, kind: .model)
        for use in receipt.model.adapters {
            owners[use.adapter] = try state.owner(of: use.adapter, kind: .adapter)
        }
        let context = ReceiptContext(
            network: network, height: height, minimum: parameters.receiptMinimum,
            allowance: try state.allowance(receipt.allowance), payer: try state.account(receipt.payer),
            server: try state.account(receipt.server), owners: owners, seen: seen, signaturesVerified: verified)
        try validate(signed, in: context)
        guard var allowance = context.allowance else { throw ReceiptFault.unknownAllowance }

        let owed = try receipt.total.subtracting(allowance.settled)
        let gap = try owed.subtracting(receipt.amount)
        allowance.settled = receipt.total
        allowance.sequence = receipt.sequence
        state.set(.allowance(receipt.allowance), .allowance(allowance))
        try unlock(owed)
        let split = FeeSplit(of: receipt.amount, shares: parameters.fees, receipt: receipt)
        try pay(split, server: receipt.server, signed.id)
        if gap > .zero {
            let rest = FeeSplit(of: gap, shares: parameters.fees, server: receipt.server)
            try pay(rest, server: receipt.server, signed.id)
        }
        outcomes.append(ReceiptOutcome(id: signed.id, allowance: receipt.allowance, gap: gap, split: split))
    }
}

/// How a receipt was settled.
package struct ReceiptOutcome: Hashable, Sendable {
    package let id: Digest
    package let allowance: AllowanceID
    /// What it paid beyond its own amount: totals that the payer had signed before and nobody had settled.
    package let gap: Amount
    package let split: FeeSplit
}
