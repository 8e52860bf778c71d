// Who may certify during an epoch. Weight is seats: a quorum is more than two thirds of them, so that two quorums share an
// honest member as long as less than a third of the seats is not.

public import Primitives

/// One member of a committee.
public struct Member: Hashable, Sendable {
    public let account: AccountID
    /// The key that votes (and draws, for the beacon) for this account in this epoch.
    public let key: PublicKey
    /// At least 1.
    public let seats: UInt64

    public init(account: AccountID, key: PublicKey, seats: UInt64) {
        self.account = account
        self.key = key
        self.seats = seats
    }
}

public enum CommitteeFault: Error, Hashable, Sendable {
    case empty
    case tooManySeats(UInt64)
    case memberWithoutSeat(AccountID)
    /// Members are in ascending order of account, each once.
    case outOfOrder(AccountID)
    case keyTwice(PublicKey)
}

/// The members of one epoch, in ascending order of account. Its digest is in every header of the epoch.
public struct Committee: ChainObject {
    public static let bytesMax = LedgerLimits.committeeBytesMax
    public static let version: UInt64 = 1

    public let epoch: UInt64
    public let members: [Member]
    /// All seats together.
    public let seats: UInt64

    /// - Parameter members: in any order.
    public init(epoch: UInt64, members: [Member]) throws(CommitteeFault) {
        try self.init(epoch: epoch, ordered: members.sorted { $0.account < $1.account })
    }

    private init(epoch: UInt64, ordered members: [Member]) throws(CommitteeFault) {
        guard !members.isEmpty else { throw .empty }
        guard members.count <= LedgerLimits.committeeSeatsMax else { throw .tooManySeats(UInt64(members.count)) }
        var seats: UInt64 = 0
        var keys: Set<PublicKey> = []
        for (index, member) in members.enumerated() {
            guard index == 0 || members[index - 1].account < member.account else { throw .outOfOrder(member.account) }
            guard member.seats > 0 else { throw .memberWithoutSeat(member.account) }
            guard member.seats <= UInt64(LedgerLimits.committeeSeatsMax) else { throw .tooManySeats(member.seats) }
            guard keys.insert(member.key).inserted else { throw .keyTwice(member.key) }
            seats += member.seats
        }
        guard seats <= UInt64(LedgerLimits.committeeSeatsMax) else { throw .tooManySeats(seats) }
        self.epoch = epoch
        self.members = members
        self.seats = seats
    }

    /// The fewest seats that are more than two thirds of all.
    public var quorum: UInt64 { seats * 2 / 3 + 1 }

    public func index(of key: PublicKey) -> Int? { members.firstIndex { $0.key == key } }
    public func index(of account: AccountID) -> Int? { members.firstIndex { $0.account == account } }

    public var cbor: CBOR {
        .map([
            "v": .unsigned(Self.version),
            "epoch": .unsigned(epoch),
            "members": .array(
                members.map { .array([.account($0.account), .publicKey($0.key), .unsigned($0.seats)]) }),
        ])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Committee")
        try fields.version(Self.version)
        let epoch = try fields.unsigned("epoch")
        let malformed = fields.fault("members", "holds something that is not [account, key, seats]")
        let members = try fields.items("members", max: LedgerLimits.committeeSeatsMax) { item throws(CBORFault) in
            guard case .array(let parts) = item, parts.count == 3, case .bytes(let accountBytes) = parts[0],
                case .bytes(let keyBytes) = parts[1], case .unsigned(let seats) = parts[2],
                let account = try? AccountID(accountBytes), let key = try? PublicKey(keyBytes)
            else { throw malformed }
            return Member(account: account, key: key, seats: seats)
        }
        try fields.finish()
        do {
            try self.init(epoch: epoch, ordered: members)
        } catch {
            throw fields.fault("members", "\(error)")
        }
    }
}
