import Ledger
import Primitives
import Testing

@Suite struct FeeSplitTests {
    static func total(_ split: FeeSplit) -> UInt128 {
        split.payments.reduce(split.committee.baseUnits + split.treasury.baseUnits + split.burn.baseUnits) {
            $0 + $1.amount.baseUnits
        }
    }

    @Test func everySplitIsExact() throws {
        let world = try World()
        var random = SeededRandom(seed: 5)
        let owners = (0..<65).map { World.account("c\($0)") }
        let base = world.receipt(AllowanceID(.zero))
        let tuner = World.account("tuner")
        for _ in 0..<300 {
            var receipt = base
            let count = random.below(65)
            let weights = (0..<count).map { _ in random.below(1000) + 1 }
            receipt.data.contributors = zip(0..., PartsPerMillion.shares(of: weights)).map { index, share in
                Contributor(account: owners[index], share: share)
            }
            receipt.model.adapters = (0..<random.below(5)).map { index in
                AdapterUse(
                    adapter: World.adapter, weight: Int64(random.below(2001)) - 1000,
                    owner: index % 2 == 0 ? tuner : nil)
            }
            if random.below(2) == 0 { receipt.model.owner = nil }
            let cut = PartsPerMillion.shares(of: (0..<7).map { _ in random.below(100) + 1 }).map(\.value)
            let shares = FeeShares(
                server: cut[0], model: cut[1], adapters: cut[2], contributors: cut[3], committee: cut[4],
                treasury: cut[5], burn: cut[6])
            let amount = Amount(baseUnits: (UInt128(random.next()) << random.below(65)) >> random.below(65))
            #expect(Self.total(FeeSplit(of: amount, shares: shares, receipt: receipt)) == amount.baseUnits)
            let voucher = FeeSplit(of: amount, shares: shares, server: receipt.server)
            #expect(Self.total(voucher) == amount.baseUnits)
            #expect(voucher.payments.allSatisfy { $0.role == .server })
        }
        let most = Amount(baseUnits: .max)
        #expect(Self.total(FeeSplit(of: most, shares: .standard, receipt: world.receipt(AllowanceID(.zero)))) == .max)
    }

    @Test func aPartyThatIsMissingPaysNobodyWhoSigns() throws {
        let world = try World()
        let full = world.receipt(AllowanceID(.zero))
        var bare = full
        bare.model.owner = nil
        bare.model.adapters = []
        bare.data = .none
        let amount = Amount(baseUnits: 1_000_000)
        let with = FeeSplit(of: amount, shares: .standard, receipt: full)
        let without = FeeSplit(of: amount, shares: .standard, receipt: bare)
        #expect(
            without.payments.map(\.role) == [.server] && without.payments.map(\.account) == [World.account("server")])
        #expect(without.payments.map(\.amount.baseUnits) == [450_000])
        #expect(
            without.treasury.baseUnits == 480_000 && without.committee == with.committee && without.burn == with.burn)
        // 100,000 for two adapters, 7 to 3, the second without an owner.
        #expect(with.payments.contains { $0.role == .adapter && $0.amount.baseUnits == 70_000 })
        #expect(with.treasury.baseUnits == 60_000)
        #expect(
            with.payments.filter { $0.role == .contributor }.map(\.amount.baseUnits).sorted() == [100_000, 150_000])
    }
}
