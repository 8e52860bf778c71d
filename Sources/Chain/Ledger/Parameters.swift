// The rules of a network that are numbers. They are part of the state, so that a change of them is a change of the state
// like any other, under a certificate.

public import Primitives

/// How a fee is divided, in millionths that add up to one million.
public struct FeeShares: Hashable, Sendable {
    public var server: PartsPerMillion
    public var model: PartsPerMillion
    public var adapters: PartsPerMillion
    public var contributors: PartsPerMillion
    /// The committee and, once availability is used, the custodians of chunks.
    public var committee: PartsPerMillion
    public var treasury: PartsPerMillion
    public var burn: PartsPerMillion

    public init(
        server: UInt32, model: UInt32, adapters: UInt32, contributors: UInt32, committee: UInt32, treasury: UInt32,
        burn: UInt32
    ) {
        self.server = PartsPerMillion(server)
        self.model = PartsPerMillion(model)
        self.adapters = PartsPerMillion(adapters)
        self.contributors = PartsPerMillion(contributors)
        self.committee = PartsPerMillion(committee)
        self.treasury = PartsPerMillion(treasury)
        self.burn = PartsPerMillion(burn)
    }

    public static let standard = FeeShares(
        server: 450_000, model: 100_000, adapters: 100_000, contributors: 250_000, committee: 50_000,
        treasury: 30_000, burn: 20_000)

    /// In the order of the declaration, which is also the order of rounding.
    var weights: [UInt64] {
        [server, model, adapters, contributors, committee, treasury, burn].map { UInt64($0.value) }
    }

    var cbor: CBOR {
        .map([
            "server": .partsPerMillion(server), "model": .partsPerMillion(model),
            "adapters": .partsPerMillion(adapters), "contributors": .partsPerMillion(contributors),
            "committee": .partsPerMillion(committee), "treasury": .partsPerMillion(treasury),
            "burn": .partsPerMillion(burn),
        ])
    }

    init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "FeeShares")
        server = try fields.partsPerMillion("server")
        model = try fields.partsPerMillion("model")
        adapters = try fields.partsPerMillion("adapters")
        contributors = try fields.partsPerMillion("contributors")
        committee = try fields.partsPerMillion("committee")
        treasury = try fields.partsPerMillion("treasury")
        burn = try fields.partsPerMillion("burn")
        guard weights.reduce(0, +) == 1_000_000 else {
            throw fields.fault("server", "and the other shares are not 1,000,000")
        }
        try fields.finish()
    }
}

public struct Parameters: Hashable, Sendable {
    public var fees: FeeShares
    /// The least fee of a transaction: `gasBase` and `gasPerByte` for each byte of the signed transaction.
    public var gasBase: Amount
    public var gasPerByte: Amount
    /// The least amount of a receipt: its inclusion comes out of its fee.
    public var receiptMinimum: Amount
    /// Batches in an epoch, at least 1.
    public var epochLength: UInt64
    /// What a server lets a payer owe without a voucher.
    public var exposureCap: Amount
    /// Heights between `unstake` and `claim`; evidence counts as long.
    public var unbondingHeights: UInt64
    /// Heights that an allowance may last at most.
    public var allowanceHeightsMax: UInt64
    public var minimumStake: Amount
    /// The part of a stake that an equivocation costs, and the part of that which its reporter gets; the rest burns.
    public var slash: PartsPerMillion
    public var slashReward: PartsPerMillion
    public var receiptsPerBatchMax: UInt64
    public var transactionsPerBatchMax: UInt64
    public var batchBytesMax: UInt64

    public static let standard = Parameters(
        fees: .standard, gasBase: Amount(baseUnits: 1_000_000_000_000_000),
        gasPerByte: Amount(baseUnits: 1_000_000_000_000), receiptMinimum: Amount(baseUnits: 1_000_000_000_000),
        epochLength: 64, exposureCap: Amount(baseUnits: 100_000_000_000_000_000), unbondingHeights: 10_000,
        allowanceHeightsMax: 1_000_000, minimumStake: .one, slash: PartsPerMillion(500_000),
        slashReward: PartsPerMillion(50_000), receiptsPerBatchMax: 1024, transactionsPerBatchMax: 1024,
        batchBytesMax: 4 << 20)

    var cbor: CBOR {
        .map([
            ("fees", fees.cbor), ("gasBase", .amount(gasBase)), ("gasPerByte", .amount(gasPerByte)),
            ("receiptMinimum", .amount(receiptMinimum)), ("epochLength", .unsigned(epochLength)),
            ("exposureCap", .amount(exposureCap)), ("unbondingHeights", .unsigned(unbondingHeights)),
            ("allowanceHeightsMax", .unsigned(allowanceHeightsMax)), ("minimumStake", .amount(minimumStake)),
            ("slash", .partsPerMillion(slash)), ("slashReward", .partsPerMillion(slashReward)),
            ("receiptsPerBatchMax", .unsigned(receiptsPerBatchMax)),
            ("transactionsPerBatchMax", .unsigned(transactionsPerBatchMax)),
            ("batchBytesMax", .unsigned(batchBytesMax)),
        ])
    }
}

extension Parameters {
    /// The least fee of a transaction of so many bytes, signature included.
    public func minimumFee(bytes: UInt64) throws(AmountFault) -> Amount {
        try gasBase.adding(gasPerByte.multiplied(by: bytes))
    }

    init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Parameters")
        fees = try FeeShares(cbor: try fields.value("fees"))
        gasBase = try fields.amount("gasBase")
        gasPerByte = try fields.amount("gasPerByte")
        receiptMinimum = try fields.amount("receiptMinimum")
        epochLength = try fields.unsigned("epochLength")
        guard epochLength > 0 else { throw fields.fault("epochLength", "is zero") }
        exposureCap = try fields.amount("exposureCap")
        unbondingHeights = try fields.unsigned("unbondingHeights")
        allowanceHeightsMax = try fields.unsigned("allowanceHeightsMax")
        minimumStake = try fields.amount("minimumStake")
        slash = try fields.partsPerMillion("slash")
        slashReward = try fields.partsPerMillion("slashReward")
        receiptsPerBatchMax = try fields.unsigned("receiptsPerBatchMax", max: UInt64(LedgerLimits.receiptsPerBatchMax))
        transactionsPerBatchMax = try fields.unsigned(
            "transactionsPerBatchMax", max: UInt64(LedgerLimits.transactionsPerBatchMax))
        batchBytesMax = try fields.unsigned("batchBytesMax", max: UInt64(LedgerLimits.batchBytesMax))
        try fields.finish()
    }
}
