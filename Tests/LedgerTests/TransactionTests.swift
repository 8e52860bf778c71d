import Ledger
import Primitives
import Testing

@Suite struct TransactionTests {
    static func fault(_ world: World, _ transactions: SignedTransaction...) -> TransactionFault? {
        do throws(BatchFault) {
            _ = try world.try_(BatchContents(transactions: transactions))
            return nil
        } catch {
            guard case .transaction(_, let fault) = error else { return .state("\(error)") }
            return fault
        }
    }

    static func fault(_ world: World, _ name: String, _ action: Action) -> TransactionFault? {
        fault(world, world.transaction(name, action))
    }

    @Test func signatureKeyNonceAndFeeAreChecked() throws {
        let world = try World()
        let pay = Action.transfer(to: World.account("ann"), amount: .one)
        let good = world.transaction("payer", pay)
        #expect(Self.fault(world, good) == nil)
        var spoiled = good
        spoiled.transaction.fee = .one
        #expect(Self.fault(world, spoiled) == .badSignature)
        let stranger = world.transaction("payer", pay, key: World.key("other"))
        #expect(Self.fault(world, stranger) == .keyNotDelegated(.owner))
        #expect(Self.fault(world, world.transaction("payer", pay, nonce: 1)) == .wrongNonce(expected: 0, got: 1))
        #expect(Self.fault(world, good, good) == .wrongNonce(expected: 1, got: 0))
        let cheap = world.transaction("payer", pay, fee: Amount(baseUnits: 1))
        guard case .feeTooLow = Self.fault(world, cheap) else {
            Issue.record("a fee of one unit passed")
            return
        }
        let other = SignedTransaction(good.transaction, by: World.key("payer"), network: NetworkID(.zero))
        #expect(Self.fault(world, other) == .badSignature, "signed for another network")
    }

    @Test func moneyThatIsNotThereIsNotSpent() throws {
        let world = try World()
        let all = Amount(baseUnits: 1000 * Amount.one.baseUnits)
        #expect(Self.fault(world, "payer", .transfer(to: World.account("ann"), amount: all)) == .insufficientBalance)
        #expect(Self.fault(world, "payer", .transfer(to: World.account("ann"), amount: .zero)) == .zeroAmount)
        #expect(Self.fault(world, "payer", .stake(all)) == .insufficientBalance)
        #expect(Self.fault(world, "payer", .unstake(.one)) == .insufficientStake(minimum: .one))
        #expect(Self.fault(world, "payer", .claim) == .nothingToClaim)
        #expect(Self.fault(world, "pauper", .claim) == .insufficientBalance)
        let huge = Amount(baseUnits: .max)
        #expect(Self.fault(world, world.transaction("payer", .claim, fee: huge)) == .insufficientBalance)
    }

    @Test func allowancesOpenAndClose() throws {
        var world = try World()
        let server = World.account("server")
        let payer = World.account("payer")
        #expect(
            Self.fault(world, "payer", .openAllowance(server: payer, limit: .one, expiry: 9)) == nil,
            "a home may pay itself: the data's owners are paid all the same")
        #expect(Self.fault(world, "payer", .openAllowance(server: server, limit: .zero, expiry: 9)) == .zeroAmount)
        #expect(Self.fault(world, "payer", .openAllowance(server: server, limit: .one, expiry: 1)) == .badExpiry)
        #expect(Self.fault(world, "payer", .openAllowance(server: server, limit: .one, expiry: 5_000)) == .badExpiry)
        let id = try world.openAllowance(expiry: 3)
        #expect(Self.fault(world, "payer", .closeAllowance(id)) == .notExpired(until: 3))
        #expect(Self.fault(world, "other", .closeAllowance(id)) == .wrongParty)
        #expect(Self.fault(world, "payer", .closeAllowance(AllowanceID(.zero))) == .unknownAllowance)
        #expect(Self.fault(world, "server", .closeAllowance(id)) == nil, "the server may give back at any time")
        try world.commit()
        try world.commit()
        let before = world.account("payer").free
        try world.commit([
            world.transaction("payer", .closeAllowance(id), fee: Amount(baseUnits: 2_000_000_000_000_000))
        ])
        #expect(
            world.account("payer").free.baseUnits == before.baseUnits + Amount.one.baseUnits - 2_000_000_000_000_000)
        #expect(world.allowance(id) == nil)
        _ = try conservation(of: world.state)
    }

    @Test func theServerSettlesTheLastVoucherAlone() throws {
        var world = try World()
        let id = try world.openAllowance()
        func voucher(_ total: Amount, sequence: UInt64 = 1, by name: String = "payer") -> SignedVoucher {
            SignedVoucher(
                Voucher(allowance: id, sequence: sequence, total: total, tokens: 64, request: .zero),
                payer: World.key(name), network: world.network)
        }
        let half = Amount(baseUnits: Amount.one.baseUnits / 2)
        func fault(_ voucher: SignedVoucher, by name: String = "server") -> TransactionFault? {
            Self.fault(world, name, .settleVoucher(voucher))
        }
        #expect(fault(voucher(half), by: "payer") == .wrongParty)
        #expect(fault(voucher(half, by: "other")) == .voucherKeyNotDelegated)
        #expect(fault(voucher(half, sequence: 0)) == .sequenceReplayed(last: 0))
        #expect(fault(voucher(Amount(baseUnits: Amount.one.baseUnits + 1))) == .overAllowance(limit: .one))
        #expect(fault(voucher(.zero)) == .totalNotMonotone(settled: .zero))
        var forged = voucher(half)
        forged.voucher.total = .one
        #expect(fault(forged) == .badVoucherSignature)
        try world.commit([world.transaction("server", .settleVoucher(voucher(half)))])
        #expect(world.allowance(id)?.settled == half)
        #expect(fault(voucher(.one)) == .sequenceReplayed(last: 1))
        #expect(fault(voucher(half, sequence: 2)) == .totalNotMonotone(settled: half))
        let treasury = world.header.supply.treasury
        #expect(treasury.baseUnits > half.baseUnits * 450_000 / 1_000_000, "shares without an owner go to the treasury")
        _ = try conservation(of: world.state)
    }

    @Test func stakeLeavesOnlyThroughUnbonding() throws {
        var world = try World()
        try world.commit([world.transaction("server", .unstake(.one))])
        #expect(Self.fault(world, "server", .claim) == .nothingToClaim)
        for _ in 0..<6 { try world.commit() }
        let before = world.account("server")
        try world.commit([world.transaction("server", .claim)])
        #expect(world.account("server").free > before.free)
        #expect(world.account("server").unbonding.isEmpty)
        var nonce = world.account("server").nonce
        let many = (0..<17).map { _ in
            defer { nonce += 1 }
            return world.transaction("server", .unstake(Amount(baseUnits: 1)), nonce: nonce)
        }
        #expect(
            {
                do throws(BatchFault) { _ = try world.try_(BatchContents(transactions: many)) } catch { return error };
                return nil
            }()
                == .transaction(16, .tooManyUnbondings))
        _ = try conservation(of: world.state)
    }

    @Test func candidatesRegisterProveLivenessAndLeave() throws {
        var world = try World()
        func grant(_ key: String, for account: String) -> KeyGrant {
            KeyGrant(World.key(key), for: World.account(account), as: .signer, network: world.network)
        }
        #expect(
            Self.fault(world, "payer", .registerCandidate(grant("payer", for: "payer")))
                == .insufficientStake(minimum: .one))
        try world.commit([world.transaction("payer", .stake(.one))])
        #expect(Self.fault(world, "payer", .registerCandidate(grant("payer", for: "other"))) == .badGrant(.signer))
        #expect(Self.fault(world, "payer", .registerCandidate(grant("server", for: "payer"))) == .keyInUse)
        #expect(Self.fault(world, "payer", .liveness(epoch: 0)) == .notACandidate)
        try world.commit([world.transaction("payer", .registerCandidate(grant("payer", for: "payer")))])
        #expect(Self.fault(world, "payer", .liveness(epoch: 1)) == .wrongEpoch(expected: 0))
        for _ in 0..<3 { try world.commit() }
        #expect(world.header.epoch == 0 && world.header.next != nil)
        try world.commit([world.transaction("payer", .liveness(epoch: 1))])
        var overlay = Overlay(world.state)
        let standing = try #require(try overlay.standings().first { $0.account == World.account("payer") })
        #expect(standing.eligibleFrom == 2 && standing.liveThrough == 3 && standing.stake == .one)
        try world.commit([world.transaction("payer", .unstake(.one))])
        overlay = Overlay(world.state)
        #expect(try !overlay.candidates().contains(World.account("payer")))
    }

    @Test func equivocationIsSlashedOnce() throws {
        var world = try World()
        let one = Digest(sha256: [1])
        let two = Digest(sha256: [2])
        func vote(_ kind: VoteKind, _ digest: Digest, view: UInt64 = 1, by name: String = "b") -> SignedVote {
            SignedVote(
                Vote(kind: kind, height: 1, view: view, digestVoted: digest), by: World.key(name),
                network: world.network)
        }
        func evidence(_ first: SignedVote, _ second: SignedVote, against name: String = "b") -> Action {
            .evidence(accused: World.account(name), first: first, second: second)
        }
        func fault(_ action: Action) -> TransactionFault? { Self.fault(world, "payer", action) }
        #expect(fault(evidence(vote(.notarize, one), vote(.notarize, one))) == .noConflict)
        #expect(fault(evidence(vote(.notarize, one), vote(.notarize, two, view: 2))) == .noConflict)
        #expect(fault(evidence(vote(.notarize, one), vote(.nullify, .zero))) == .noConflict, "Simplex allows this")
        #expect(fault(evidence(vote(.notarize, one), vote(.notarize, two, by: "c"))) == .noConflict)
        #expect(fault(evidence(vote(.notarize, one), vote(.notarize, two), against: "c")) == .notTheAccusedKey)
        let forged = SignedVote(
            vote: vote(.notarize, two).vote, key: World.key("b").publicKey, signature: vote(.notarize, one).signature)
        #expect(fault(evidence(vote(.notarize, one), forged)) == .badVoteSignature)
        #expect(fault(evidence(vote(.finalize, one), vote(.nullify, .zero))) == nil)

        let burned = world.header.supply.burned
        try world.commit([world.transaction("payer", evidence(vote(.notarize, one), vote(.notarize, two)))])
        #expect(world.account("b").staked.baseUnits == 50 * Amount.one.baseUnits)
        #expect(world.header.supply.burned.baseUnits >= burned.baseUnits + 47 * Amount.one.baseUnits)
        var overlay = Overlay(world.state)
        #expect(try !overlay.candidates().contains(World.account("b")))
        #expect(fault(evidence(vote(.finalize, one), vote(.nullify, .zero))) == .evidenceUsed)
        _ = try conservation(of: world.state)
        for _ in 0..<6 { try world.commit() }
        #expect(
            fault(evidence(vote(.notarize, one, by: "c"), vote(.notarize, two, by: "c"), against: "c"))
                == .evidenceTooOld)
    }

    @Test func keysRotateAndEarningsGoToThePayout() throws {
        var world = try World()
        let signer = KeyGrant(World.key("new"), for: World.account("server"), as: .signer, network: world.network)
        #expect(
            Self.fault(world, "server", .delegate(owner: nil, signer: nil, payer: nil, payout: nil))
                == .nothingToDelegate)
        #expect(
            Self.fault(world, "server", .delegate(owner: signer, signer: nil, payer: nil, payout: nil))
                == .badGrant(.owner))
        try world.commit([
            world.transaction(
                "server", .delegate(owner: nil, signer: signer, payer: nil, payout: World.account("cold")))
        ])
        let claim = world.transaction("server", .liveness(epoch: 0), key: World.key("new"))
        #expect(Self.fault(world, claim) == nil)
        let theft = world.transaction(
            "server", .transfer(to: World.account("ann"), amount: .one), key: World.key("new"))
        #expect(Self.fault(world, theft) == .keyNotDelegated(.owner))
        let id = try world.openAllowance()
        var receipt = world.receipt(id)
        receipt.serverKey = World.key("new").publicKey
        try world.commit([], [SignedReceipt(receipt, server: World.key("new"), payer: World.key("payer"))])
        #expect(world.account("cold").free > .zero)
    }

    @Test func assetsHaveOneOwner() throws {
        var world = try World()
        let taken = Action.registerAsset(World.model, kind: .model)
        #expect(Self.fault(world, "payer", taken) == .assetTaken(by: World.account("modeller")))
        try world.commit([world.transaction("payer", .registerAsset(World.shadow, kind: .adapter))])
        var overlay = Overlay(world.state)
        #expect(try overlay.owner(of: World.shadow, kind: .adapter) == World.account("payer"))
        #expect(try overlay.owner(of: World.shadow, kind: .model) == nil)
    }

    @Test func theFaucetGivesOnce() throws {
        var world = try World()
        #expect(Self.fault(world, world.transaction("new", .faucet, fee: .one)) == .faucetFee)
        #expect(Self.fault(world, "faucet", .faucet) == .faucetTaken)
        try world.commit([world.transaction("new", .faucet)])
        #expect(world.account("new").free == .one)
        #expect(Self.fault(world, "new", .faucet) == .faucetTaken)
        let many = (0..<65).map { world.transaction("new\($0)", .faucet) }
        #expect(
            {
                do throws(BatchFault) { _ = try world.try_(BatchContents(transactions: many)) } catch { return error };
                return nil
            }()
                == .transaction(64, .faucetBusy))
        let dry = try World(faucet: false)
        #expect(Self.fault(dry, "new", .faucet) == .noFaucet)
    }
}
