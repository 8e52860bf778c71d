// How what is paid for an answer is divided. Seven shares by largest remainder in a fixed order, then the adapters' share
// by fusion weight and the contributors' by attribution, each again by largest remainder: exact to the last unit.
//
// A share that nobody may claim (an unregistered model, no adapter, no contributor, a voucher, which names none of them)
// goes to the treasury. So leaving a party out never pays anyone who signs.

package import Primitives

package enum FeeRole: String, Hashable, Sendable, CaseIterable {
    case server, model, adapter, contributor
}

package struct FeePayment: Hashable, Sendable {
    package let role: FeeRole
    package let account: AccountID
    package let amount: Amount
}

package struct FeeSplit: Hashable, Sendable {
    /// In the order server, model owner, adapters, contributors; none of zero.
    package private(set) var payments: [FeePayment] = []
    package private(set) var committee: Amount
    package private(set) var treasury: Amount
    package private(set) var burn: Amount

    /// Divides what a receipt's answer costs.
    package init(of amount: Amount, shares: FeeShares, receipt: Receipt) {
        self.init(
            of: amount, shares: shares, server: receipt.server, model: receipt.model.owner,
            adapters: receipt.model.adapters, contributors: receipt.data.contributors)
    }

    /// Divides what a voucher pays, or the part of a receipt's total that it says nothing about.
    package init(of amount: Amount, shares: FeeShares, server: AccountID) {
        self.init(of: amount, shares: shares, server: server, model: nil, adapters: [], contributors: [])
    }

    private init(
        of amount: Amount, shares: FeeShares, server: AccountID, model: AccountID?, adapters: [AdapterUse],
        contributors: [Contributor]
    ) {
        let parts = amount.split(by: shares.weights)
        committee = parts[4]
        treasury = parts[5]
        burn = parts[6]
        pay(.server, server, parts[0])
        pay(.model, model, parts[1])

        var weights = adapters.map { $0.weight.magnitude }
        if weights.allSatisfy({ $0 == 0 }) { weights = weights.map { _ in 1 } }
        pay(.adapter, parts[2], to: zip(adapters.map(\.owner), weights).map { ($0, $1) })
        pay(.contributor, parts[3], to: contributors.map { ($0.account, UInt64($0.share.value)) })
    }

    private mutating func pay(_ role: FeeRole, _ amount: Amount, to parties: [(account: AccountID?, weight: UInt64)]) {
        guard !parties.isEmpty else { return pay(role, nil, amount) }
        for (party, part) in zip(parties, amount.split(by: parties.map(\.weight))) { pay(role, party.account, part) }
    }

    private mutating func pay(_ role: FeeRole, _ account: AccountID?, _ amount: Amount) {
        guard amount > .zero else { return }
        if let account {
            payments.append(FeePayment(role: role, account: account, amount: amount))
        } else {
            // Parts of one amount: their sum cannot overflow.
            treasury = Amount(baseUnits: treasury.baseUnits + amount.baseUnits)
        }
    }
}
