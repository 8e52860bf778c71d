// Every bound of the chain's formats in one place. A second implementation must use the same numbers: what one peer
// accepts and another refuses splits the chain.

public enum LedgerLimits {
    /// Seats of a committee, and so its members.
    public static let committeeSeatsMax = 64
    public static let headerBytesMax = 2048
    public static let certificateBytesMax = 8192
    public static let committeeBytesMax = 8192
    public static let receiptBytesMax = 16_384
    public static let transactionBytesMax = 4096
    public static let genesisBytesMax = 1 << 20
    public static let batchBytesMax = 8 << 20

    public static let receiptsPerBatchMax = 4096
    public static let transactionsPerBatchMax = 4096
    public static let faucetClaimsPerBatchMax = 64

    public static let adaptersPerReceiptMax = 8
    public static let snapshotsPerReceiptMax = 16
    public static let indexesPerReceiptMax = 16
    public static let contributorsPerReceiptMax = 64
    public static let retrievalSettingsMax = 16
    /// Tokens of a prompt or of an answer.
    public static let tokensMax: UInt64 = 1 << 32
    /// The largest fusion weight of an adapter, in millionths, either sign.
    public static let adapterWeightMax: Int64 = 1_000_000_000
    /// A short name in an object: a retrieval method, a fusion method, a precision.
    public static let nameBytesMax = 64

    public static let genesisAccountsMax = 4096
    public static let genesisAssetsMax = 1024
    public static let candidatesMax = 1024
    public static let unbondingsPerAccountMax = 16
    public static let pastKeysPerCandidateMax = 8

    /// How many tokens the payer lets pass between two vouchers.
    public static let voucherIntervalTokens: UInt64 = 64
    /// How far a header's time may lie ahead of the clock of a voter, in milliseconds.
    public static let headerAheadMillisecondsMax: Int64 = 10_000
}
