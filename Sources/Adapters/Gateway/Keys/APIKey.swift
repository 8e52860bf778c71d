// An API key as it is kept: the digest of its text, what it may do, and what it has done. The text itself is shown once,
// when the key is made.

package import Primitives

/// How long a spend limit lasts before it starts anew, counted from when the key was made.
package enum SpendPeriod: String, Sendable, Hashable, CaseIterable {
    case total, day, month

    private static let dayMilliseconds: Int64 = 86_400_000

    /// nil: it never starts anew. A month has 30 days.
    var milliseconds: Int64? {
        switch self {
        case .total: nil
        case .day: Self.dayMilliseconds
        case .month: 30 * Self.dayMilliseconds
        }
    }
}

/// nil: no limit.
package struct APIKeyLimits: Sendable, Hashable {
    package var requestsPerMinute: Int?
    package var tokensPerMinute: Int?
    /// What its answers may be worth in a period, in OPEN. A key without one spends nothing of the home's money; with one
    /// it may.
    package var spend: Amount?
    package var period: SpendPeriod

    package init(
        requestsPerMinute: Int? = nil, tokensPerMinute: Int? = nil, spend: Amount? = nil, period: SpendPeriod = .total
    ) {
        self.requestsPerMinute = requestsPerMinute
        self.tokensPerMinute = tokensPerMinute
        self.spend = spend
        self.period = period
    }
}

package struct APIKeyRecord: Sendable, Hashable {
    package static let nameBytesMax = 64

    /// SHA-256 of its text.
    package let digest: Digest
    package var name: String
    package var limits: APIKeyLimits
    package var created: WallTime
    /// Since the start of the period, with what is reserved for answers under way.
    package var spent: Amount
    /// Which period `spent` belongs to, from 0.
    package var period: UInt64
    /// Since it was made.
    package var requests: UInt64
    package var tokens: UInt64

    package init(
        digest: Digest, name: String, limits: APIKeyLimits, created: WallTime, spent: Amount = .zero,
        period: UInt64 = 0, requests: UInt64 = 0, tokens: UInt64 = 0
    ) {
        self.digest = digest
        self.name = name
        self.limits = limits
        self.created = created
        self.spent = spent
        self.period = period
        self.requests = requests
        self.tokens = tokens
    }

    /// What the tenant is called in requests: the first 16 hexadecimal digits of the digest.
    package var id: String { Self.id(digest) }

    static func id(_ digest: Digest) -> String { String(digest.hex.prefix(16)) }

    func period(at time: WallTime) -> UInt64 {
        guard let length = limits.period.milliseconds else { return 0 }
        return UInt64(clamping: (max(created.milliseconds, time.milliseconds) - created.milliseconds) / length)
    }
}

/// Where keys are kept. Changes are durable in the order of the calls.
package protocol APIKeyStore: Sendable {
    func records() throws(NodeFault) -> [APIKeyRecord]
    /// Never blocks; `done` is called once, when the disk has it.
    func put(_ record: APIKeyRecord, done: @escaping @Sendable (NodeFault?) -> Void)
    func remove(_ digest: Digest, done: @escaping @Sendable (NodeFault?) -> Void)
}

/// Keys of a gateway that was given no store: gone with the process.
struct NoKeyStore: APIKeyStore {
    func records() throws(NodeFault) -> [APIKeyRecord] { [] }
    func put(_ record: APIKeyRecord, done: @escaping @Sendable (NodeFault?) -> Void) { done(nil) }
    func remove(_ digest: Digest, done: @escaping @Sendable (NodeFault?) -> Void) { done(nil) }
}
