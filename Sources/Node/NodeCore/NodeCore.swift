// The node as one value: gossip, block exchange, consensus, ledger and trade composed into a state machine that is told
// what happened and says what to do. It owns no socket, file, task or clock; what runs at home is what was simulated.
//
//   event ──▶ links ──▶ gossip · bitswap · consensus · exchanges ──▶ chain state ──▶ effects, in order
//
// Invariants:
//  - durable, then visible: a vote, a voucher, a final batch is persisted before what follows from it is sent;
//  - everything a peer can make grow has a limit here or in the core that holds it;
//  - hash order never reaches an effect.

package import BlockExchange
import Datanets
package import Gossip
package import Ledger
package import Primitives
package import Records
package import Sequencing

package struct NodeConfiguration: Sendable {
    package var key: SigningKey
    package var genesis: Genesis
    /// What this peer asks for its answers.
    package var price: PriceSchedule
    /// How much this peer locks when it first pays a server, and for how many heights.
    package var allowanceLimit: Amount
    package var allowanceHeights: UInt64
    package var boot: [Multiaddr]
    package var consensus = ConsensusLimits()
    package var gossip = GossipParameters()
    package var bitswap = BitswapParameters()
    /// Serve strangers' requests at all.
    package var serves: Bool
    /// How long a peer that computes layers for this one may be silent.
    package var layersPatience = LayersExchange.patience
    package var audits = AuditLimits()
    /// Bytes of disk for other people's datanets; less than `Placement.unitBytes`: none.
    package var keepLent: UInt64 = 0
    /// What is not this peer's to keep any more stays so long.
    package var keepLetGo = Span.seconds(3600)
    package var seed: UInt64
    /// Where own gossip sequence numbers begin: above all that were used before.
    package var firstSequence: UInt64

    package init(
        key: SigningKey, genesis: Genesis, price: PriceSchedule, allowanceLimit: Amount, allowanceHeights: UInt64,
        boot: [Multiaddr] = [], serves: Bool = true, seed: UInt64, firstSequence: UInt64
    ) {
        self.key = key
        self.genesis = genesis
        self.price = price
        self.allowanceLimit = allowanceLimit
        self.allowanceHeights = allowanceHeights
        self.boot = boot
        self.serves = serves
        self.seed = seed
        self.firstSequence = firstSequence
    }
}

/// What an earlier run left on disk.
package struct Restored: Sendable {
    package var state: MemoryState?
    package var tip: CertifiedBatch?
    /// Of the last header of the epoch before the tip's; nil in the first epoch.
    package var epochSeed: Digest?
    package var votes: [VoteRecord] = []
    package var purses: [Purse] = []
    package var receipts: [SignedReceipt] = []
    package var transactions: [SignedTransaction] = []
    package var catalog: [SignedEnvelope] = []
    package var datanets: [Digest] = []
    /// By contribution: normalised hashes of its rows, which were checked when they came.
    package var checkedRows: [CID: [Digest]] = [:]
    package var kept: [CID: KeptBlock] = [:]
    /// The last vouchers of others under their allowances.
    package var vouchers: [SignedVoucher] = []
    package var verdicts: [SignedVerdict] = []
    package var evidence = EvidenceBook()
    /// The state of the genesis is in the tables.
    package var hasGenesis = false

    package init() {}
}

package struct Node: Sendable {
    package static let uploadsMax = 64
    package static let answersMax = 64
    package static let pullsMax = 32
    package static let commandsMax = 1024

    package let configuration: NodeConfiguration
    package let network: NetworkID
    package let account: AccountID
    package let peer: PeerID

    var links: Links
    var gossip: GossipRouter
    var bitswap: Bitswap
    var chain: ChainDesk
    var pulls: PullDesk
    var trade: TradeDesk
    var holding: HoldingDesk
    var keeping: KeepDesk
    var staging = StageDesk()
    var audits: AuditDesk
    /// Datanets that were complete here once: their new revisions are followed.
    var heldDatanets: Set<Digest>
    package internal(set) var catalog: Catalog

    private let hasGenesis: Bool
    private var lastTicket: UInt64 = 0
    /// What to do when a write is durable.
    var afterSync: [Ticket: [NodeContinuation]] = [:]
    var effects: [NodeEffect] = []
    var acquaintanceCursor = 0
    let startedAt: Instant
    var repeatedAt: Instant
    var moment: Moment

    /// - Throws: the ledger's fault if the genesis cannot be executed.
    package init(_ configuration: NodeConfiguration, restored: Restored = Restored(), moment: Moment) throws(BatchFault)
    {
        self.configuration = configuration
        self.moment = moment
        startedAt = moment.instant
        repeatedAt = moment.instant
        network = configuration.genesis.network
        account = configuration.key.publicKey.account
        peer = configuration.key.publicKey.peerID
        var random = SeededRandom(seed: configuration.seed)
        links = Links()
        gossip = GossipRouter(
            key: configuration.key, parameters: configuration.gossip, random: random.fork(),
            firstSequence: configuration.firstSequence)
        bitswap = Bitswap(parameters: configuration.bitswap)
        chain = try ChainDesk(configuration, restored: restored, now: moment.instant)
        pulls = PullDesk()
        let server = configuration.key.publicKey.account
        trade = TradeDesk(
            purses: restored.purses, vouchers: restored.vouchers,
            receipts: restored.receipts.filter { $0.receipt.server == server })
        holding = HoldingDesk(
            book: DatanetBook(key: configuration.key, network: network, checked: restored.checkedRows))
        heldDatanets = Set(restored.datanets)
        audits = AuditDesk(verdicts: restored.verdicts, book: restored.evidence, random: random.fork())
        keeping = KeepDesk(
            lent: configuration.keepLent, kept: restored.kept, random: random.fork(), now: moment.instant)
        hasGenesis = restored.hasGenesis
        catalog = Catalog(network: network, entries: restored.catalog)
        for transaction in restored.transactions { _ = chain.transactions.offer(transaction) }
        for receipt in restored.receipts { _ = chain.receipts.offer(receipt) }
    }

    package mutating func handle(_ event: NodeEvent, at moment: Moment) -> [NodeEffect] {
        self.moment = moment
        switch event {
        case .start: start()
        case .connected(let peer, let outbound): connected(peer, outbound: outbound)
        case .disconnected(let peer): disconnected(peer)
        case .identified(let peer, let addresses): identified(peer, addresses)
        case .opened(let stream, let name): opened(stream, name)
        case .openFailed(let stream): ended(stream)
        case .accepted(let stream, let peer, let name): accepted(stream, peer, name)
        case .received(let stream, let bytes): received(stream, bytes)
        case .congested(let stream, let isFull): congested(stream, isFull)
        case .ended(let stream): ended(stream)
        case .synced(let ticket): synced(ticket)
        case .loaded(let ticket, let bytes): loaded(ticket, bytes)
        case .computed(let ticket, .executed(let outcome)): executed(ticket, outcome)
        case .generated(let ticket, let news): generated(ticket, news)
        case .staged(let ticket, let news): staged(ticket, news)
        case .reexecuted(let ticket, let result): reexecuted(ticket, result)
        case .weighed(let ticket, let weighed): self.weighed(ticket, weighed)
        case .reweighed(let ticket, let result): reweighed(ticket, result)
        case .elapsed(let timer): elapsed(timer)
        case .command(let id, let command): perform(command, id)
        case .cancelled(let id): cancelled(id)
        }
        deliverLocal()
        defer { effects = [] }
        return effects
    }

    private mutating func start() {
        if !hasGenesis { persistGenesis() }
        for topic in Topics.all(network) { route(gossip.handle(.subscribe(topic), now: moment.instant)) }
        effects.append(.schedule(.gossip, at: moment.instant + configuration.gossip.heartbeat))
        effects.append(.schedule(.bitswap, at: moment.instant + .seconds(1)))
        effects.append(.schedule(.upkeep, at: moment.instant + .seconds(2)))
        resumeDatanets()
        for address in configuration.boot { effects.append(.dial(address)) }
        tellWork()
        drive(.elapsed)
    }

    private mutating func elapsed(_ timer: NodeTimer) {
        switch timer {
        case .consensus: drive(.elapsed)
        case .gossip:
            route(gossip.handle(.heartbeat, now: moment.instant))
            effects.append(.schedule(.gossip, at: moment.instant + configuration.gossip.heartbeat))
        case .bitswap:
            exchange(bitswap.handle(.tick, now: moment.instant))
            effects.append(.schedule(.bitswap, at: moment.instant + .seconds(1)))
        case .upkeep:
            upkeep()
            effects.append(.schedule(.upkeep, at: moment.instant + .seconds(5)))
        }
    }

    // MARK: Durability

    mutating func ticket() -> Ticket {
        lastTicket += 1
        return Ticket(lastTicket)
    }

    /// Writes, and does `then` when that is durable.
    mutating func persist(_ writes: [NodeWrite], then: [NodeContinuation] = []) {
        guard !writes.isEmpty else {
            for continuation in then { resume(continuation) }
            return
        }
        let ticket = ticket()
        if !then.isEmpty { afterSync[ticket] = then }
        effects.append(.persist(writes, ticket))
    }

    private mutating func synced(_ ticket: Ticket) {
        for continuation in afterSync.removeValue(forKey: ticket) ?? [] { resume(continuation) }
    }

    private mutating func resume(_ continuation: NodeContinuation) {
        switch continuation {
        case .vote(let ticket): drive(.synced(ticket))
        case .send(let stream, let bytes): effects.append(.send(stream, bytes))
        case .effect(let effect): effects.append(effect)
        case .publish(let topic, let bytes): publish(topic, bytes)
        case .stored(let cids): exchange(bitswap.handle(.stored(cids), now: moment.instant))
        case .voucherStored(let stream): voucherStored(stream)
        case .payerMessage(let message, let id, let stream): sendPayer(message, id, on: stream)
        }
    }

    mutating func blame(_ peer: PeerID, _ reason: String) { effects.append(.notify(.blamed(peer, reason))) }
}

/// What waits for the disk.
enum NodeContinuation: Sendable {
    case vote(PersistTicket)
    case send(StreamID, [UInt8])
    case effect(NodeEffect)
    case publish(GossipTopic, [UInt8])
    case stored([CID])
    case voucherStored(StreamID)
    case payerMessage(InferMessage, CommandID, StreamID)
}

/// The topics of a network.
package enum Topics {
    package static func receipts(_ network: NetworkID) -> GossipTopic { topic(network, "receipts") }
    package static func transactions(_ network: NetworkID) -> GossipTopic { topic(network, "transactions") }
    package static func batches(_ network: NetworkID) -> GossipTopic { topic(network, "batches") }
    package static func catalog(_ network: NetworkID) -> GossipTopic { topic(network, "catalog") }

    private static func topic(_ network: NetworkID, _ name: String) -> GossipTopic {
        GossipTopic("/openledger/\(network.text)/\(name)")
    }

    static func all(_ network: NetworkID) -> [GossipTopic] {
        [receipts(network), transactions(network), batches(network), catalog(network)]
    }
}
