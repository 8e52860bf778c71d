// Genesis: the money, the first committee and the rules of a network. The network's id is the hash of this object, so two
// peers of one network agree on all of it, and a signature made for one network is void on every other.

public import Primitives

public struct Genesis: ChainObject {
    public static let bytesMax = LedgerLimits.genesisBytesMax
    public static let version: UInt64 = 1

    public struct Balance: Hashable, Sendable {
        public let account: AccountID
        public let amount: Amount

        public init(account: AccountID, amount: Amount) {
            self.account = account
            self.amount = amount
        }
    }

    /// A candidate from the start; one with seats is a member of the committee of epoch 0.
    public struct Candidate: Hashable, Sendable {
        public let account: AccountID
        public let key: PublicKey
        public let stake: Amount
        public let seats: UInt64

        public init(account: AccountID, key: PublicKey, stake: Amount, seats: UInt64) {
            self.account = account
            self.key = key
            self.stake = stake
            self.seats = seats
        }
    }

    public struct Asset: Hashable, Sendable {
        public let cid: CID
        public let kind: AssetKind
        public let owner: AccountID

        public init(cid: CID, kind: AssetKind, owner: AccountID) {
            self.cid = cid
            self.kind = kind
            self.owner = owner
        }
    }

    public struct Faucet: Hashable, Sendable {
        public let account: AccountID
        /// What each account may take, once.
        public let amount: Amount

        public init(account: AccountID, amount: Amount) {
            self.account = account
            self.amount = amount
        }
    }

    public let name: String
    public let time: WallTime
    /// Ascending by account, each once.
    public let balances: [Balance]
    /// Ascending by account, each once.
    public let candidates: [Candidate]
    /// Ascending by CID, each once.
    public let assets: [Asset]
    public let faucet: Faucet?
    public let parameters: Parameters
    /// The committee of epoch 0.
    public let committee: Committee
    /// All money there is and will be.
    public let total: Amount

    /// Lists in any order.
    public init(
        name: String, time: WallTime, balances: [Balance], candidates: [Candidate], assets: [Asset] = [],
        faucet: Faucet? = nil, parameters: Parameters = .standard
    ) throws(CBORFault) {
        try self.init(
            name, time, balances.sorted { $0.account < $1.account }, candidates.sorted { $0.account < $1.account },
            assets.sorted { $0.cid < $1.cid }, faucet, parameters)
    }

    private init(
        _ name: String, _ time: WallTime, _ balances: [Balance], _ candidates: [Candidate], _ assets: [Asset],
        _ faucet: Faucet?, _ parameters: Parameters
    ) throws(CBORFault) {
        func fault(_ key: String, _ reason: String) -> CBORFault { .field(key, in: "Genesis", reason) }
        func ascending<Key: Comparable>(_ keys: [Key], _ field: String) throws(CBORFault) {
            guard zip(keys, keys.dropFirst()).allSatisfy({ $0 < $1 }) else {
                throw fault(field, "is not in ascending order, each once")
            }
        }
        guard name.utf8.count <= LedgerLimits.nameBytesMax else { throw fault("name", "is too long") }
        try ascending(balances.map(\.account), "balances")
        try ascending(candidates.map(\.account), "candidates")
        try ascending(assets.map(\.cid), "assets")
        guard balances.count <= LedgerLimits.genesisAccountsMax, candidates.count <= LedgerLimits.candidatesMax,
            assets.count <= LedgerLimits.genesisAssetsMax
        else { throw fault("balances", "or candidates or assets are too many") }
        let members = candidates.filter { $0.seats > 0 }
        do {
            committee = try Committee(
                epoch: 0, members: members.map { Member(account: $0.account, key: $0.key, seats: $0.seats) })
        } catch {
            throw fault("candidates", "make no committee: \(error)")
        }
        var total = Amount.zero
        do {
            for balance in balances { total = try total.adding(balance.amount) }
            for candidate in candidates { total = try total.adding(candidate.stake) }
        } catch {
            throw fault("balances", "are more money than can be counted")
        }
        self.total = total
        self.name = name
        self.time = time
        self.balances = balances
        self.candidates = candidates
        self.assets = assets
        self.faucet = faucet
        self.parameters = parameters
    }

    public var network: NetworkID { NetworkID(digest) }

    public var cbor: CBOR {
        var pairs: [(String, CBOR)] = [
            ("v", .unsigned(Self.version)), ("name", .text(name)), ("time", .wallTime(time)),
            ("balances", .array(balances.map { .array([.account($0.account), .amount($0.amount)]) })),
            ("candidates", .array(candidates.map(Self.encode))),
            ("assets", .array(assets.map { .array([.link($0.cid), .text($0.kind.rawValue), .account($0.owner)]) })),
            ("parameters", parameters.cbor),
        ]
        pairs.add(
            "faucet", ifPresent: faucet.map { .map(["account": .account($0.account), "amount": .amount($0.amount)]) })
        return .map(pairs)
    }

    private static func encode(_ candidate: Candidate) -> CBOR {
        .map([
            "account": .account(candidate.account), "key": .publicKey(candidate.key),
            "stake": .amount(candidate.stake), "seats": .unsigned(candidate.seats),
        ])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Genesis")
        try fields.version(Self.version)
        let name = try fields.text("name", max: LedgerLimits.nameBytesMax)
        let time = try fields.wallTime("time")
        let badBalance = fields.fault("balances", "holds something that is not [account, amount]")
        let balances = try fields.items("balances", max: LedgerLimits.genesisAccountsMax) { item throws(CBORFault) in
            guard case .array(let parts) = item, parts.count == 2, case .bytes(let id) = parts[0],
                case .bytes(let units) = parts[1], let account = try? AccountID(id),
                let amount = Amount(bigEndian: units)
            else { throw badBalance }
            return Balance(account: account, amount: amount)
        }
        let candidates = try fields.items("candidates", max: LedgerLimits.candidatesMax) { item throws(CBORFault) in
            var fields = try CBORFields(item, "Genesis.Candidate")
            let candidate = Candidate(
                account: try fields.account("account"), key: try fields.publicKey("key"),
                stake: try fields.amount("stake"),
                seats: try fields.unsigned("seats", max: UInt64(LedgerLimits.committeeSeatsMax)))
            try fields.finish()
            return candidate
        }
        let badAsset = fields.fault("assets", "holds something that is not [cid, kind, owner]")
        let assets = try fields.items("assets", max: LedgerLimits.genesisAssetsMax) { item throws(CBORFault) in
            guard case .array(let parts) = item, parts.count == 3, case .link(let cid) = parts[0],
                case .text(let text) = parts[1], case .bytes(let id) = parts[2],
                let kind = AssetKind(rawValue: text), let owner = try? AccountID(id)
            else { throw badAsset }
            return Asset(cid: cid, kind: kind, owner: owner)
        }
        let faucet: Faucet? = try fields.optional("faucet") { fields throws(CBORFault) in
            var inner = try fields.fields("faucet")
            let faucet = Faucet(account: try inner.account("account"), amount: try inner.amount("amount"))
            try inner.finish()
            return faucet
        }
        let parameters = try Parameters(cbor: try fields.value("parameters"))
        try fields.finish()
        try self.init(name, time, balances, candidates, assets, faucet, parameters)
    }
}
