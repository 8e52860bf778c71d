import Ledger
import Primitives
import Testing

@Suite struct ReceiptTests {
    /// A world with an open allowance, and the fault of one receipt in the next batch.
    struct Case {
        var world: World
        let allowance: AllowanceID

        init() throws {
            world = try World()
            allowance = try world.openAllowance()
        }

        func fault(_ receipts: [SignedReceipt]) -> BatchFault? {
            do throws(BatchFault) {
                _ = try world.try_(BatchContents(receipts: receipts))
                return nil
            } catch {
                return error
            }
        }

        func fault(_ spoil: (inout Receipt) -> Void) -> BatchFault? {
            var receipt = world.receipt(allowance)
            spoil(&receipt)
            return fault([world.sign(receipt)])
        }
    }

    @Test func aGoodReceiptIsSettledAndPaysEveryone() throws {
        var test = try Case()
        let before = test.world.account("server").free
        let receipt = test.world.receipt(test.allowance)
        let transition = try test.world.commit([], [test.world.sign(receipt)])
        let outcome = try #require(transition.receiptOutcomes.first)
        let paid =
            outcome.split.payments.reduce(UInt128(0)) { $0 + $1.amount.baseUnits }
            + outcome.split.committee.baseUnits + outcome.split.treasury.baseUnits + outcome.split.burn.baseUnits
        #expect(paid == receipt.amount.baseUnits)
        for name in ["modeller", "tuner", "ann", "bob"] { #expect(test.world.account(name).free > .zero, "\(name)") }
        #expect(test.world.account("server").free > before)
        #expect(test.world.account("server").contribution == outcome.split.burn)
        #expect(test.world.allowance(test.allowance)?.settled == receipt.total)
        _ = try conservation(of: test.world.state)
        let proof = BatchContents(receipts: [test.world.sign(receipt)]).proof(ofReceipt: 0)
        #expect(proof.verifies(leaf: test.world.sign(receipt).encoded(), root: test.world.header.receiptsRoot))
    }

    @Test func everyFaultOnce() throws {
        let test = try Case()
        func expect(_ fault: ReceiptFault, _ spoil: (inout Receipt) -> Void) {
            #expect(test.fault(spoil) == .receipt(0, fault))
        }
        let other = NetworkID(Digest(sha256: [1]))
        let amount = test.world.receipt(test.allowance).amount
        expect(.wrongNetwork) { $0.network = other }
        expect(.wrongPrice) { $0.amount = .one }
        expect(.wrongPrice) { $0.answerTokens += 1 }
        expect(.belowMinimum(test.world.genesis.parameters.receiptMinimum)) {
            $0.price = PriceSchedule(request: Amount(baseUnits: 1), promptToken: .zero, answerToken: .zero)
            $0.amount = Amount(baseUnits: 1)
        }
        expect(.tooManyContributors(65)) {
            $0.data.contributors = (0..<65).map {
                Contributor(account: World.account("c\($0)"), share: PartsPerMillion(1))
            }
        }
        expect(.weightsDoNotSum(999_999)) {
            $0.data.contributors = [Contributor(account: World.account("ann"), share: PartsPerMillion(999_999))]
        }
        expect(.weightsDoNotSum(1_000_000)) { $0.data.rows = nil }
        expect(.weightsDoNotSum(1_000_000)) { $0.data.contributors.reverse() }
        expect(.weightsDoNotSum(0)) { $0.data.contributors = [] }
        expect(.unknownAllowance) { $0.allowance = AllowanceID(.zero) }
        expect(.wrongParties) { $0.payer = World.account("other") }
        expect(.wrongParties) { $0.server = World.account("b") }
        expect(.expired(at: 1)) { $0.expiry = 1 }
        expect(.sequenceReplayed(last: 0)) { $0.sequence = 0 }
        expect(.totalNotMonotone(settled: .zero)) { $0.total = Amount(baseUnits: amount.baseUnits - 1) }
        expect(.overAllowance(limit: .one)) { $0.total = Amount(baseUnits: Amount.one.baseUnits + 1) }
        expect(.unknownModel(World.shadow)) { $0.model.weights = World.shadow }
        expect(.ownerMismatch(World.model)) { $0.model.owner = World.account("server") }
        expect(.ownerMismatch(World.model)) { $0.model.owner = nil }
        expect(.unknownAdapter(World.shadow)) {
            $0.model.adapters = [AdapterUse(adapter: World.shadow, owner: World.account("server"))]
        }
        expect(.ownerMismatch(World.adapter)) {
            $0.model.adapters = [AdapterUse(adapter: World.adapter, owner: World.account("server"))]
        }

        let receipt = test.world.receipt(test.allowance)
        let good = test.world.sign(receipt)
        #expect(test.fault([good]) == nil, "the canary: what is not spoiled passes")
        #expect(test.fault([good, good]) == .receipt(1, .duplicateInBatch))
        var badServer = good
        badServer.serverSignature = good.payerSignature
        #expect(test.fault([badServer]) == .receipt(0, .badServerSignature))
        var badPayer = good
        badPayer.payerSignature = good.serverSignature
        #expect(test.fault([badPayer]) == .receipt(0, .badPayerSignature))
        var strangersKey = receipt
        strangersKey.payerKey = World.key("other").publicKey
        #expect(test.fault([test.world.sign(strangersKey, payer: "other")]) == .receipt(0, .keyNotDelegated(.payer)))
        var strangerServes = receipt
        strangerServes.serverKey = World.key("b").publicKey
        let signed = SignedReceipt(strangerServes, server: World.key("b"), payer: World.key("payer"))
        #expect(test.fault([signed]) == .receipt(0, .keyNotDelegated(.signer)))
    }

    @Test func aReceiptIsSettledOnceOnly() throws {
        var test = try Case()
        let first = test.world.receipt(test.allowance)
        let signed = test.world.sign(first)
        try test.world.commit([], [signed])
        #expect(test.fault([signed]) == .receipt(0, .sequenceReplayed(last: 1)))
        // The same answer under a new sequence, without a higher total.
        var again = first
        again.sequence = 2
        #expect(test.fault([test.world.sign(again)]) == .receipt(0, .totalNotMonotone(settled: first.total)))
        // One whose total grew by less than its amount.
        again.total = Amount(baseUnits: first.total.baseUnits + 1)
        #expect(test.fault([test.world.sign(again)]) == .receipt(0, .totalNotMonotone(settled: first.total)))
        let second = test.world.receipt(test.allowance, sequence: 2, settled: first.total)
        #expect(test.fault([test.world.sign(second)]) == nil)
    }

    @Test func aSkippedReceiptPaysTheServerOnlyItsShare() throws {
        var test = try Case()
        let first = test.world.receipt(test.allowance)
        let second = test.world.receipt(test.allowance, sequence: 2, settled: first.total)
        let transition = try test.world.commit([], [test.world.sign(second)])
        #expect(transition.receiptOutcomes.first?.gap == first.amount)
        #expect(test.fault([test.world.sign(first)]) == .receipt(0, .sequenceReplayed(last: 2)))
        _ = try conservation(of: test.world.state)
        let share = UInt128(FeeShares.standard.server.value)
        let served = test.world.history.filter { $0.kind == .served }.reduce(UInt128(0)) { $0 + $1.amount.baseUnits }
        #expect(served / 2 <= first.amount.baseUnits * share / 1_000_000 + 1)
    }

    @Test func theOfflineCheckNeedsNoChain() throws {
        let world = try World()
        let signed = world.sign(world.receipt(AllowanceID(.zero)))
        try signed.check(network: world.network)
        var spoiled = signed
        spoiled.receipt.seedChanged()
        #expect(throws: ReceiptFault.badServerSignature) { try spoiled.check(network: world.network) }
    }

    @Test func theScreenPutsReceiptsInOrderAndNamesWhatIsWrong() throws {
        var test = try Case()
        let world = test.world
        let first = world.receipt(test.allowance)
        let second = world.sign(world.receipt(test.allowance, sequence: 2, settled: first.total))
        var spoiled = world.sign(first)
        spoiled.receipt.request = .zero
        let late = world.transaction("other", .claim, nonce: 9)
        let good = world.transaction("other", .transfer(to: World.account("ann"), amount: .one))
        let offered = BatchContents(transactions: [late, good], receipts: [second, spoiled, world.sign(first)])
        let screened = try StateTransition.screen(offered, on: world.state, context: world.context)
        #expect(screened.contents.receipts == [world.sign(first), second])
        #expect(screened.receipts.map(\.1) == [.badServerSignature])
        #expect(screened.contents.transactions == [good])
        #expect(screened.transactions.map(\.1) == [.wrongNonce(expected: 0, got: 9)])
        try test.world.commit(screened.contents.transactions, screened.contents.receipts)
    }
}

extension Receipt {
    fileprivate mutating func seedChanged() { decoding.seed += 1 }
}
