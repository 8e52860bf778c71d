// What each transaction does. The order of checks is fixed (Protocol/batches.md): signature, key, nonce, fee, action.

import Primitives

extension Execution {
    mutating func execute(_ signed: SignedTransaction, verified: Bool) throws(TransactionFault) {
        do {
            try atomically { execution in try execution.run(signed, verified: verified) }
        } catch let fault as TransactionFault {
            throw fault
        } catch is AmountFault {
            throw .overflow
        } catch {
            throw .state("\(error)")
        }
    }

    private mutating func run(_ signed: SignedTransaction, verified: Bool) throws {
        let transaction = signed.transaction
        let id = signed.id
        let sender = transaction.sender
        guard verified || signed.isValid(network: network) else { throw TransactionFault.badSignature }
        let account = try state.account(sender)
        let role = transaction.action.role
        guard account.authorises(transaction.key, as: role, of: sender) else {
            throw TransactionFault.keyNotDelegated(role)
        }
        guard transaction.nonce == account.nonce, account.nonce < .max else {
            throw TransactionFault.wrongNonce(expected: account.nonce, got: transaction.nonce)
        }
        try update(sender) { $0.nonce += 1 }
        if case .faucet = transaction.action {
            guard transaction.fee == .zero else { throw TransactionFault.faucetFee }
        } else {
            let minimum = try parameters.minimumFee(bytes: UInt64(signed.encoded().count))
            guard transaction.fee >= minimum else { throw TransactionFault.feeTooLow(minimum: minimum) }
            try spend(sender, transaction.fee, .fee, id)
            try payFee(transaction.fee)
        }
        switch transaction.action {
        case .transfer(let to, let amount):
            guard amount > .zero else { throw TransactionFault.zeroAmount }
            try spend(sender, amount, .sent, id)
            try give(to, amount, .received, id)
        case .openAllowance(let server, let limit, let expiry):
            try openAllowance(AllowanceID(id), payer: sender, server: server, limit: limit, expiry: expiry)
        case .closeAllowance(let allowance): try closeAllowance(allowance, by: sender, id)
        case .settleVoucher(let voucher): try settle(voucher, by: sender, id)
        case .stake(let amount): try stake(amount, of: sender, id)
        case .unstake(let amount): try unstake(amount, of: sender, id)
        case .claim: try claim(sender, id)
        case .registerCandidate(let grant): try registerCandidate(sender, grant)
        case .liveness(let epoch): try proveLiveness(sender, epoch)
        case .delegate(let owner, let signer, let payer, let payout):
            try delegate(sender, owner: owner, signer: signer, payer: payer, payout: payout)
        case .registerAsset(let cid, let kind):
            if case .asset(_, let owner) = try state.value(.asset(cid)) { throw TransactionFault.assetTaken(by: owner) }
            state.set(.asset(cid), .asset(kind, owner: sender))
        case .evidence(let accused, let first, let second): try punish(accused, first, second, reporter: sender, id)
        case .faucet: try takeFaucet(sender, id)
        }
    }

    // MARK: Allowances

    private mutating func openAllowance(
        _ id: AllowanceID, payer: AccountID, server: AccountID, limit: Amount, expiry: UInt64
    ) throws {
        guard limit > .zero else { throw TransactionFault.zeroAmount }
        // With oneself it is allowed: whoever pays himself pays contributors, committee and treasury all the same.
        guard expiry > height, expiry - height <= parameters.allowanceHeightsMax else {
            throw TransactionFault.badExpiry
        }
        try spend(payer, limit, .allowanceOpened, id.digest)
        try lock(limit)
        state.set(
            .allowance(id), .allowance(Allowance(payer: payer, server: server, limit: limit, expiry: expiry)))
    }

    private mutating func closeAllowance(_ id: AllowanceID, by sender: AccountID, _ reference: Digest) throws {
        guard let allowance = try state.allowance(id) else { throw TransactionFault.unknownAllowance }
        guard sender == allowance.server || sender == allowance.payer else { throw TransactionFault.wrongParty }
        guard sender == allowance.server || height > allowance.expiry else {
            throw TransactionFault.notExpired(until: allowance.expiry)
        }
        let rest = try allowance.limit.subtracting(allowance.settled)
        try unlock(rest)
        try give(allowance.payer, rest, .allowanceClosed, reference)
        state.set(.allowance(id), nil)
    }

    private mutating func settle(_ signed: SignedVoucher, by sender: AccountID, _ reference: Digest) throws {
        let voucher = signed.voucher
        guard var allowance = try state.allowance(voucher.allowance) else { throw TransactionFault.unknownAllowance }
        guard sender == allowance.server else { throw TransactionFault.wrongParty }
        guard signed.isValid(network: network) else { throw TransactionFault.badVoucherSignature }
        guard try state.account(allowance.payer).authorises(signed.key, as: .payer, of: allowance.payer) else {
            throw TransactionFault.voucherKeyNotDelegated
        }
        guard height <= allowance.expiry else { throw TransactionFault.expired(at: allowance.expiry) }
        guard voucher.sequence > allowance.sequence else {
            throw TransactionFault.sequenceReplayed(last: allowance.sequence)
        }
        guard voucher.total > allowance.settled else {
            throw TransactionFault.totalNotMonotone(settled: allowance.settled)
        }
        guard voucher.total <= allowance.limit else { throw TransactionFault.overAllowance(limit: allowance.limit) }
        let owed = try voucher.total.subtracting(allowance.settled)
        allowance.settled = voucher.total
        allowance.sequence = voucher.sequence
        state.set(.allowance(voucher.allowance), .allowance(allowance))
        try unlock(owed)
        try pay(FeeSplit(of: owed, shares: parameters.fees, server: sender), server: sender, reference)
    }

    // MARK: Keys and faucet

    private mutating func delegate(
        _ id: AccountID, owner: KeyGrant?, signer: KeyGrant?, payer: KeyGrant?, payout: AccountID?
    ) throws {
        guard owner != nil || signer != nil || payer != nil || payout != nil else {
            throw TransactionFault.nothingToDelegate
        }
        for (grant, role) in [(owner, KeyRole.owner), (signer, .signer), (payer, .payer)] {
            guard grant?.isValid(for: id, as: role, network: network) ?? true else {
                throw TransactionFault.badGrant(role)
            }
        }
        try update(id) { account in
            account.owner = owner?.key ?? account.owner
            account.signer = signer?.key ?? account.signer
            account.payer = payer?.key ?? account.payer
            account.payout = payout ?? account.payout
        }
    }

    private mutating func takeFaucet(_ id: AccountID, _ reference: Digest) throws {
        guard let faucet = chain.faucet else { throw TransactionFault.noFaucet }
        guard faucetClaims < LedgerLimits.faucetClaimsPerBatchMax else { throw TransactionFault.faucetBusy }
        guard try !state.account(id).tookFaucet, id != faucet.account else { throw TransactionFault.faucetTaken }
        faucetClaims += 1
        try update(id) { $0.tookFaucet = true }
        try spend(faucet.account, faucet.amount, .sent, reference)
        try give(id, faucet.amount, .faucet, reference)
    }
}
