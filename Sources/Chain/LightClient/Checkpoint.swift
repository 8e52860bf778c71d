// What a light client starts from: a committee that it has reason to trust. Everything else is proved from there.

public import Ledger
public import Primitives

public struct Checkpoint: Hashable, Sendable {
    /// How old a checkpoint may be, in milliseconds, unless its maker says otherwise: fourteen days. Stake that vouched
    /// for an older committee may be gone, and its keys for sale.
    public static let ageMillisecondsMax: Int64 = 14 * 24 * 3_600_000

    public let network: NetworkID
    /// Digest of the committee.
    public let committee: Digest
    /// When the committee was known to be in office; nil for the one in genesis, which is trusted as the network is.
    public let time: WallTime?
    public let ageMillisecondsMax: Int64

    public init(
        network: NetworkID, committee: Digest, time: WallTime?,
        ageMillisecondsMax: Int64 = Checkpoint.ageMillisecondsMax
    ) {
        self.network = network
        self.committee = committee
        self.time = time
        self.ageMillisecondsMax = ageMillisecondsMax
    }

    /// The default: the committee that the network's genesis names.
    public init(_ genesis: Genesis) {
        self.init(network: genesis.network, committee: genesis.committee.digest, time: nil)
    }
}
