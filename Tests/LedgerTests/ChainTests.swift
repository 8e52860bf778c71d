import Ledger
import Primitives
import Testing

@Suite struct ChainTests {
    /// Hundreds of seeded items over thirty batches a seed, good and bad: the money stays, and balances are what histories say.
    @Test(arguments: [1, 2] as [UInt64]) func moneyIsConserved(seed: UInt64) throws {
        var world = try World()
        var random = SeededRandom(seed: seed)
        let names = ["payer", "other", "server", "b", "c", "ann", "new"]
        var allowances: [(id: AllowanceID, payer: String)] = []
        var refused = 0
        for _ in 0..<30 {
            var offered = BatchContents(next: world.next)
            var nonces: [String: UInt64] = [:]
            for _ in 0..<10 {
                let name = names[Int(random.below(UInt64(names.count)))]
                let other = names[Int(random.below(UInt64(names.count)))]
                let amount = Amount(baseUnits: UInt128(random.next()) * UInt128(random.below(8)))
                let action: Action
                switch random.below(9) {
                case 0: action = .transfer(to: World.account(other), amount: amount)
                case 1: action = .stake(amount)
                case 2: action = .unstake(amount)
                case 3: action = .claim
                case 4: action = .faucet
                case 5 where !allowances.isEmpty:
                    action = .closeAllowance(allowances[Int(random.below(UInt64(allowances.count)))].id)
                case 6 where !allowances.isEmpty:
                    let picked = allowances[Int(random.below(UInt64(allowances.count)))]
                    let now = world.allowance(picked.id)
                    let total = Amount(
                        baseUnits: (now?.settled.baseUnits ?? 0) + UInt128(random.below(1_000_000_000_000_000)))
                    action = .settleVoucher(
                        SignedVoucher(
                            Voucher(
                                allowance: picked.id, sequence: (now?.sequence ?? 0) + random.below(2), total: total,
                                tokens: 64, request: .zero), payer: World.key(picked.payer), network: world.network))
                default:
                    action = .openAllowance(
                        server: World.account("server"), limit: amount,
                        expiry: world.header.height + 1 + random.below(20))
                }
                let nonce = nonces[name] ?? world.account(name).nonce
                let signed = world.transaction(name, action, nonce: nonce)
                nonces[name] = nonce + 1
                offered.transactions.append(signed)
                if case .openAllowance = action { allowances.append((AllowanceID(signed.id), name)) }
            }
            for (id, payer) in allowances.suffix(12) {
                guard let now = world.allowance(id) else { continue }
                let first = world.receipt(id, sequence: now.sequence + 1, settled: now.settled, payer: payer)
                let second = world.receipt(id, sequence: now.sequence + 2, settled: first.total, payer: payer)
                offered.receipts += [world.sign(second, payer: payer), world.sign(first, payer: payer)]
            }
            let screened = try StateTransition.screen(offered, on: world.state, context: world.context)
            refused += screened.transactions.count + screened.receipts.count
            let transition = try world.commit(screened.contents.transactions, screened.contents.receipts)
            #expect(transition.supply == world.header.supply)
            #expect(try conservation(of: world.state) == transition.supply)
        }
        #expect(refused > 20, "some of what was offered was bad")
        #expect(world.header.supply.burned > .zero)
        #expect(world.history.contains { $0.kind == .contributor } && world.history.contains { $0.kind == .committee })
        try Self.historiesAgree(world)
    }

    /// Free balances are the sum of what histories gained and spent.
    static func historiesAgree(_ world: World) throws {
        var sums: [AccountID: UInt128] = [:]
        for entry in world.history where ![.unstaked, .slashed].contains(entry.kind) {
            if entry.gained {
                sums[entry.account, default: 0] += entry.amount.baseUnits
            } else {
                sums[entry.account, default: 0] -= entry.amount.baseUnits
            }
            #expect(try HistoryEntry(cbor: entry.cbor) == entry)
        }
        var overlay = Overlay(world.state)
        for (account, sum) in sums.sorted(by: { $0.key < $1.key }) {
            #expect(try overlay.account(account).free.baseUnits == sum)
        }
    }

    @Test func theSameBatchesGiveTheSameBytes() throws {
        func run() throws -> Header {
            var world = try World()
            let id = try world.openAllowance()
            try world.commit([world.transaction("other", .stake(.one))], [world.sign(world.receipt(id))])
            return world.header
        }
        let first = try run()
        #expect(try run().encoded() == first.encoded())
        #expect(first.digest != (try World()).header.digest)
    }

    @Test func whatWasVerifiedBeforeIsNotVerifiedAgain() throws {
        let world = try World()
        var pay = world.transaction("payer", .transfer(to: World.account("ann"), amount: .one))
        pay.signature = world.transaction("payer", .claim).signature
        var context = world.context
        #expect(throws: BatchFault.transaction(0, .badSignature)) {
            try StateTransition.apply(BatchContents(transactions: [pay]), to: world.state, context: context)
        }
        context.verified = [pay.id]
        _ = try StateTransition.apply(BatchContents(transactions: [pay]), to: world.state, context: context)
    }

    @Test func epochsEndOnTimeAndPayTheCommittee() throws {
        var world = try World()
        func fault(_ contents: BatchContents, _ change: (inout BatchContext) -> Void = { _ in }) -> BatchFault? {
            var context = world.context
            change(&context)
            do throws(BatchFault) {
                _ = try StateTransition.apply(contents, to: world.state, context: context)
                return nil
            } catch {
                return error
            }
        }
        let members = world.genesis.committee.members
        let next = try Committee(epoch: 1, members: members)
        #expect(fault(BatchContents()) == nil)
        #expect(fault(BatchContents(next: next)) == .nextCommitteeUnexpected)
        #expect(fault(BatchContents()) { $0.height = 3 } == .wrongHeight(expected: 1, got: 3))
        #expect(fault(BatchContents()) { $0.time = .init(milliseconds: 5) } == .timeBeforeParent)
        try world.commit([world.transaction("payer", .stake(.one))])
        for _ in 0..<3 { try world.commit() }
        #expect(fault(BatchContents()) == .nextCommitteeMissing)
        let skipping = try Committee(epoch: 2, members: members)
        #expect(fault(BatchContents(next: skipping)) == .wrongNextEpoch(expected: 1, got: 2))
        try world.commit()
        #expect(world.header.next == next.digest && world.header.epoch == 0)
        #expect(world.history.filter { $0.kind == .committee }.count == 4)
        try world.commit()
        #expect(world.header.epoch == 1 && world.header.committee == next.digest && world.header.next == nil)
        _ = try conservation(of: world.state)
    }

    @Test func limitsOfABatchHold() throws {
        let world = try World { parameters in
            parameters.transactionsPerBatchMax = 1
            parameters.receiptsPerBatchMax = 0
            parameters.batchBytesMax = 500
        }
        let pays = (0..<2).map {
            world.transaction("payer", .transfer(to: World.account("ann"), amount: .one), nonce: $0)
        }
        let receipt = world.sign(world.receipt(AllowanceID(.zero)))
        #expect(throws: BatchFault.tooManyTransactions(2)) { try world.try_(BatchContents(transactions: pays)) }
        #expect(throws: BatchFault.tooManyReceipts(1)) { try world.try_(BatchContents(receipts: [receipt])) }
        let offered = BatchContents(transactions: pays, receipts: [receipt])
        let screened = try StateTransition.screen(offered, on: world.state, context: world.context)
        #expect(screened.contents.transactions == [pays[0]] && screened.left.transactions == [pays[1]])
        #expect(screened.left.receipts == [receipt])
        let tight = try World { $0.batchBytesMax = 100 }
        let pay = tight.transaction("payer", .claim)
        #expect(throws: BatchFault.tooLarge(bytes: pay.encoded().count, max: 100)) {
            try tight.try_(BatchContents(transactions: [pay]))
        }
    }

    /// The canary: a unit that appears from nowhere is found.
    @Test func aPlantedUnitIsFound() throws {
        let world = try World()
        var account = world.account("payer")
        account.free = Amount(baseUnits: account.free.baseUnits + 1)
        let planted = PlantedState(base: world.state, key: .account(World.account("payer")), value: .account(account))
        #expect(throws: ConservationFault.self) { try conservation(of: planted) }
        _ = try conservation(of: world.state)
    }

    @Test func genesisSaysWhatTheNetworkIs() throws {
        let world = try World()
        #expect(try Genesis(decoding: world.genesis.encoded()) == world.genesis)
        #expect(world.header.height == 0 && world.header.network == world.network)
        #expect(try world.header.supply.total() == world.genesis.total)
        let other = try World { $0.gasBase = .zero }
        #expect(other.network != world.network)
        #expect(throws: CBORFault.self) {
            try Genesis(name: "none", time: world.genesis.time, balances: [], candidates: [])
        }
        let twice = [
            Genesis.Balance(account: World.account("b"), amount: .one),
            .init(account: World.account("b"), amount: .one),
        ]
        #expect(throws: CBORFault.self) {
            try Genesis(name: "twice", time: world.genesis.time, balances: twice, candidates: world.genesis.candidates)
        }
        let proof = try SparseMerkleTree.proof(of: .parameters, root: world.header.stateRoot, reader: world.state)
        let value = StateValue.parameters(world.genesis.parameters).encoded()
        #expect(proof.proves(.parameters, holds: value, root: world.header.stateRoot))
    }
}

/// A state with one value replaced, tree and all.
struct PlantedState: StateReader {
    var stateRoot: Digest
    private var base: MemoryState
    private var nodes: [Digest: [UInt8]]
    private let key: StateKey
    private let value: [UInt8]

    init(base: MemoryState, key: StateKey, value: StateValue) {
        self.base = base
        self.key = key
        self.value = value.encoded()
        nodes = base.nodes
        stateRoot = base.stateRoot
        let writes: [StateKey: Digest?] = [key: Digest(sha256: self.value)]
        if let update = try? SparseMerkleTree.update(root: base.stateRoot, writes: writes, reader: base) {
            for (digest, bytes) in update.nodes { nodes[digest] = bytes }
            stateRoot = update.root
        }
    }

    func node(_ digest: Digest) -> [UInt8]? { nodes[digest] }
    func value(_ key: StateKey) -> [UInt8]? { key == self.key ? value : base.value(key) }
}
