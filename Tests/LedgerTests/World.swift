// A small network for tests: named keys, a genesis, a state in memory, and builders of receipts and transactions that are
// good until a test spoils them.

import Ledger
import Primitives

struct World {
    let genesis: Genesis
    let network: NetworkID
    var state: MemoryState
    var header: Header
    /// Every transition so far, genesis first.
    var history: [HistoryEntry] = []
    private(set) var committees: [Committee]

    private static let known = Dictionary(
        uniqueKeysWithValues: [
            "payer", "other", "server", "faucet", "a", "b", "c", "d", "ann", "bob", "modeller", "tuner", "new",
        ].map { ($0, derive($0)) })

    static func key(_ name: String) -> SigningKey { known[name] ?? derive(name) }

    private static func derive(_ name: String) -> SigningKey {
        guard let key = try? SigningKey(seed: Digest(sha256: Array("test key \(name)".utf8)).bytes) else {
            preconditionFailure("32 bytes are a seed")
        }
        return key
    }

    static func account(_ name: String) -> AccountID { key(name).publicKey.account }

    static let price = PriceSchedule(
        request: Amount(baseUnits: 1_000_000_000_000), promptToken: Amount(baseUnits: 7_000_000_001),
        answerToken: Amount(baseUnits: 11_000_000_003))
    static let model = CID(.dagCBOR, hashing: Array("model".utf8))
    static let adapter = CID(.dagCBOR, hashing: Array("adapter".utf8))
    static let shadow = CID(.dagCBOR, hashing: Array("an adapter that nobody registered".utf8))
    static let rich = ["payer", "other", "server", "faucet"]

    init(
        candidates: [String] = ["server", "b", "c", "d"], faucet: Bool = true,
        tune: (inout Parameters) -> Void = { _ in }
    ) throws {
        var parameters = Parameters.standard
        parameters.epochLength = 5
        parameters.unbondingHeights = 6
        parameters.allowanceHeightsMax = 1_000
        tune(&parameters)
        genesis = try Genesis(
            name: "test", time: WallTime(milliseconds: 1_700_000_000_000),
            balances: Self.rich.map {
                Genesis.Balance(account: Self.account($0), amount: Amount(baseUnits: 1000 * Amount.one.baseUnits))
            },
            candidates: candidates.map {
                Genesis.Candidate(
                    account: Self.account($0), key: Self.key($0).publicKey,
                    stake: Amount(baseUnits: 100 * Amount.one.baseUnits), seats: 2)
            },
            assets: [
                Genesis.Asset(cid: Self.model, kind: .model, owner: Self.account("modeller")),
                Genesis.Asset(cid: Self.adapter, kind: .adapter, owner: Self.account("tuner")),
            ],
            faucet: faucet ? Genesis.Faucet(account: Self.account("faucet"), amount: .one) : nil,
            parameters: parameters)
        network = genesis.network
        state = MemoryState()
        let transition = try genesis.transition()
        header = genesis.header(transition)
        committees = [genesis.committee]
        state.apply(transition)
        history = transition.history
    }

    // MARK: Batches

    var context: BatchContext {
        BatchContext(
            network: network, height: header.height + 1, time: header.time.adding(milliseconds: 1000),
            beacon: Digest(sha256: header.beacon.bytes))
    }

    /// The committee that would follow at an epoch's end: the same members.
    var next: Committee? {
        guard let now = committees.last, (header.height + 1) % genesis.parameters.epochLength == 0 else { return nil }
        return try? Committee(epoch: now.epoch + 1, members: now.members)
    }

    func try_(_ contents: BatchContents) throws(BatchFault) -> Transition {
        var contents = contents
        contents.next = contents.next ?? next
        return try StateTransition.apply(contents, to: state, context: context)
    }

    @discardableResult
    mutating func commit(
        _ transactions: [SignedTransaction] = [], _ receipts: [SignedReceipt] = []
    ) throws -> Transition {
        let transition = try try_(BatchContents(transactions: transactions, receipts: receipts))
        let header = transition.header(
            network: network, view: 1, parent: self.header.digest, proposer: Self.account("server"), beaconProof: nil)
        try header.check(follows: self.header)
        state.apply(transition)
        history += transition.history
        self.header = header
        if let next = transition.next { committees.append(next) }
        return transition
    }

    // MARK: Reading

    func account(_ name: String) -> Account {
        var overlay = Overlay(state)
        return (try? overlay.account(Self.account(name))) ?? Account()
    }

    func allowance(_ id: AllowanceID) -> Allowance? {
        var overlay = Overlay(state)
        return (try? overlay.allowance(id)) ?? nil
    }

    // MARK: Building

    func transaction(
        _ name: String, _ action: Action, nonce: UInt64? = nil, fee: Amount? = nil, key: SigningKey? = nil
    ) -> SignedTransaction {
        let key = key ?? Self.key(name)
        let free = action == .faucet
        return SignedTransaction(
            Transaction(
                sender: Self.account(name), key: key.publicKey, nonce: nonce ?? account(name).nonce,
                fee: fee ?? (free ? .zero : Amount(baseUnits: 10_000_000_000_000_000)), action: action),
            by: key, network: network)
    }

    /// Opens an allowance from "payer" to "server" and commits it.
    mutating func openAllowance(
        payer: String = "payer", limit: Amount = .one, expiry: UInt64 = 100
    ) throws -> AllowanceID {
        let open = transaction(payer, .openAllowance(server: Self.account("server"), limit: limit, expiry: expiry))
        try commit([open])
        return AllowanceID(open.id)
    }

    func receipt(_ allowance: AllowanceID, sequence: UInt64 = 1, settled: Amount = .zero, payer: String = "payer")
        -> Receipt
    {
        let tokens: (UInt64, UInt64) = (20, 64)
        let amount = (try? Self.price.cost(promptTokens: tokens.0, answerTokens: tokens.1)) ?? .zero
        let digest = Digest(sha256: Array("\(allowance) \(sequence)".utf8))
        return Receipt(
            network: network, allowance: allowance, sequence: sequence, request: digest, expiry: 1_000,
            model: ModelUse(
                weights: Self.model, owner: Self.account("modeller"), tokenizer: Self.model, template: nil,
                adapters: [
                    AdapterUse(adapter: Self.adapter, weight: 700_000, owner: Self.account("tuner")),
                    AdapterUse(adapter: Self.shadow, weight: -300_000, owner: nil),
                ], fusion: "linear", precision: "int8", numerics: 1),
            decoding: Decoding(seed: 7, maxTokens: 64), prompt: Commitment(digest), answer: Commitment(digest),
            promptTokens: tokens.0, answerTokens: tokens.1,
            data: DataUse(
                snapshots: [Self.model],
                retrieval: Retrieval(method: "bm25", revision: 1, passages: 4, settings: ["k1": 1_200_000]),
                indexes: [Self.adapter], query: Commitment(digest), rows: digest,
                contributors: [
                    Contributor(account: Self.account("ann"), share: PartsPerMillion(600_001)),
                    Contributor(account: Self.account("bob"), share: PartsPerMillion(399_999)),
                ]),
            price: Self.price, amount: amount,
            total: Amount(baseUnits: settled.baseUnits + amount.baseUnits), payer: Self.account(payer),
            payerKey: Self.key(payer).publicKey, server: Self.account("server"),
            serverKey: Self.key("server").publicKey)
    }

    func sign(_ receipt: Receipt, payer: String = "payer") -> SignedReceipt {
        SignedReceipt(receipt, server: Self.key("server"), payer: Self.key(payer))
    }
}
