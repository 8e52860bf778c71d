// The doors of the node. What happens comes in as events; what is to be done goes out as effects, in the order in which
// they must be performed. The same values go in and come out at home and in the simulator.

package import Datanets
import Gossip
package import Ledger
package import Primitives
package import Records

/// Both clocks, read once for each event by whoever hands it in.
package struct Moment: Hashable, Sendable {
    package var instant: Instant
    package var wall: WallTime

    package init(_ instant: Instant, _ wall: WallTime) {
        self.instant = instant
        self.wall = wall
    }
}

/// A stream to a peer. Even numbers are opened by the core, odd ones were accepted by the adapter.
package struct StreamID: Hashable, Comparable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static func < (left: Self, right: Self) -> Bool { left.number < right.number }
}

/// Names a durable write, a read, a job or a generation that was asked for.
package struct Ticket: Hashable, Comparable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static func < (left: Self, right: Self) -> Bool { left.number < right.number }
}

/// Names what somebody at this peer asked for; answers carry it back.
package struct CommandID: Hashable, Comparable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static func < (left: Self, right: Self) -> Bool { left.number < right.number }
}

package enum NodeTimer: Hashable, Sendable {
    case consensus
    case gossip
    case bitswap
    /// Redial, re-announce, prune.
    case upkeep
}

/// The protocols that the node speaks above the connection.
package enum NodeProtocol {
    package static let gossip = GossipVersion.offered
    package static let bitswap = "/ipfs/bitswap/1.2.0"
    package static let consensus = "/openledger/consensus/1"
    package static let headers = "/openledger/headers/1"
    package static let catalog = "/openledger/catalog/1"
    package static let infer = "/openledger/infer/1"
    package static let layers = "/openledger/layers/1"
    package static let audit = "/openledger/audit/1"
    package static let keep = "/openledger/keep/1"

    /// Every protocol that the adapter accepts, with the longest message in bytes.
    package static let accepted: [(name: String, messageBytesMax: Int)] =
        gossip.map { ($0, 1 << 20) } + [
            (bitswap, 4 << 20), (consensus, 9 << 20), (headers, 9 << 20), (catalog, 64 << 10),
            (infer, InferMessage.bytesMax), (layers, LayersMessage.bytesMax),
            (audit, AuditMessage.bytesMax), (keep, KeepMessage.bytesMax),
        ]
}

package enum NodeEvent: Sendable {
    case start
    case connected(PeerID, outbound: Bool)
    case disconnected(PeerID)
    /// Identify told where a connected peer listens.
    case identified(PeerID, [Multiaddr])
    /// A stream of ours stands.
    case opened(StreamID, protocolName: String)
    case openFailed(StreamID)
    /// A peer opened a stream.
    case accepted(StreamID, PeerID, protocolName: String)
    /// One message, without its length prefix.
    case received(StreamID, [UInt8])
    /// The stream has more unsent bytes than it should, or takes bytes again.
    case congested(StreamID, Bool)
    /// Closed or reset by the other side, or by the connection.
    case ended(StreamID)
    case synced(Ticket)
    /// The block's bytes, or nil where it is not here.
    case loaded(Ticket, [UInt8]?)
    case computed(Ticket, ComputeResult)
    case generated(Ticket, GenerationNews)
    case staged(Ticket, StageNews)
    case reexecuted(Ticket, Reexecution)
    case weighed(Ticket, WeighedAnswer)
    case reweighed(Ticket, Reweighing)
    case elapsed(NodeTimer)
    case command(CommandID, NodeCommand)
    /// Whoever asked does not wait for it any more.
    case cancelled(CommandID)
}

/// Tables of the store that the core writes; the adapter gives them their codecs.
package enum NodeTable: String, Hashable, Sendable, CaseIterable {
    /// `StateKey` → value.
    case state
    /// Digest → node of the state tree.
    case nodes
    /// Height, big-endian → certified batch.
    case batches
    /// Receipt id → height and index, big-endian.
    case receipts
    /// Account and `HistoryEntry.storageKey` → entry.
    case history
    /// Transaction id → height.
    case transactions
    /// `VoteRecord.key` → record.
    case votes
    /// Allowance id → what this peer signed or holds under it.
    case allowances
    /// Receipts and transactions that wait for a batch, by id.
    case pool
    /// Catalog entries, by kind and subject.
    case catalog
    /// Receipts that this peer is party to, newest last: time, big-endian, then id → note.
    case mine
    /// Verdicts on answers, evidence, and servers that are not chosen any more: a byte for which, then what it is about.
    case audits
    /// Single values: tip, genesis.
    case meta = "node"
}

package enum NodeWrite: Hashable, Sendable {
    case put(NodeTable, key: [UInt8], value: [UInt8])
    case delete(NodeTable, key: [UInt8])
    /// A verified block of content.
    case block(CID, [UInt8])
    /// A block that is a value of a table, not of a file, and that nothing here needs.
    case dropBlock(CID)
}

package enum NodeEffect: Sendable {
    case open(StreamID, PeerID, protocols: [String])
    case send(StreamID, [UInt8])
    case finish(StreamID)
    case reset(StreamID)
    case disconnect(PeerID, reason: String)
    case dial(Multiaddr)
    /// All of it or nothing, durably; then `.synced`.
    case persist([NodeWrite], Ticket)
    case load(CID, Ticket)
    /// Read these final batches from the store, send each as a message, then finish the stream.
    case sendBatches(StreamID, from: UInt64, through: UInt64)
    case compute(ComputeJob, Ticket)
    case generate(GenerationOrder, Ticket)
    case stopGenerating(Ticket)
    /// Of a session of another peer's.
    case computeLayers(StageOrder, Ticket)
    /// In the engine's lowest class; then `.reexecuted`.
    case reexecute(ReexecutionOrder, Ticket)
    /// Always answered, by `.weighed`: also where there is nothing to weigh with.
    case weigh(WeighingOrder, Ticket)
    /// The same of somebody's receipt; then `.reweighed`.
    case reweigh(ReweighingOrder, Ticket)
    case schedule(NodeTimer, at: Instant)
    case answer(CommandID, NodeAnswer)
    case notify(NodeNotice)
}

/// Work too long for the loop.
package enum ComputeJob: Sendable {
    /// Execute contents on a state: a proposal's check, a build or a final batch.
    case execute(ExecutionJob)
}

package enum ComputeResult: Sendable {
    case executed(ExecutionOutcome)
}

package struct GenerationOrder: Sendable {
    package var order: AskOrder

    package init(order: AskOrder) { self.order = order }
}

/// An answer that was given, whose evidence is to be weighed.
package struct WeighingOrder: Sendable {
    package var order: AskOrder
    package var start: AnswerStart
    package var answerTokens: [UInt32]

    package init(order: AskOrder, start: AnswerStart, answerTokens: [UInt32]) {
        self.order = order
        self.start = start
        self.answerTokens = answerTokens
    }
}

package enum GenerationNews: Sendable {
    case started(AnswerStart)
    case token(id: UInt32, text: String, scores: [TokenScore] = [])
    case finished(AnswerEnd)
    case failed(code: String, message: String)
}

package enum NodeCommand: Sendable {
    case dial(Multiaddr)
    case disconnect(PeerID)
    /// Sign, pool and gossip. Answered when pooled, or, with `wait`, when final or refused.
    case transact(Action, wait: Bool)
    case ask(AskRequest)
    case announce(CatalogEntry)
    case advertise(ServingAdvert)
    /// What this peer computes for others from now on.
    case offerLayers(LayerOffer)
    /// Open a session with a peer: it hears `.layers` until it fails or is cancelled.
    case openLayers(PeerID, LayersRequest)
    /// Not answered itself: the session is.
    case computeLayers(LayerWork, session: CommandID)
    /// Fetch everything under the root from neighbours.
    case pull(CID, from: PeerID?)
    case datanet(DatanetCommand)
    case audit(AuditRequest)
}

package struct AskRequest: Hashable, Sendable {
    package var server: PeerID
    package var price: PriceSchedule
    package var priceMax: Amount
    package var model: CID
    package var precision: String
    package var adapters: [AdapterUse]
    package var fusion: String?
    package var datanet: Digest?
    package var prompt: AskPrompt
    package var decoding: Decoding
    package var settings: DecodingSettings
    package var logProbabilities: Int?
    /// Three times 32 random bytes: request id, prompt salt, answer salt.
    package var randomness: [UInt8]

    package init(
        server: PeerID, price: PriceSchedule, priceMax: Amount, model: CID, precision: String,
        adapters: [AdapterUse] = [], datanet: Digest? = nil, prompt: AskPrompt, decoding: Decoding,
        settings: DecodingSettings = DecodingSettings(), randomness: [UInt8]
    ) {
        self.server = server
        self.price = price
        self.priceMax = priceMax
        self.model = model
        self.precision = precision
        self.adapters = adapters
        self.datanet = datanet
        self.prompt = prompt
        self.decoding = decoding
        self.settings = settings
        self.randomness = randomness
    }
}

package enum NodeAnswer: Sendable {
    case transaction(Digest, state: ItemState)
    case accepted(promptTokens: Int, sources: [SourceNote])
    case token(id: UInt32, text: String, scores: [TokenScore])
    /// What the answer's rows have of it; before `answered`, where it drew on any.
    case sources([SourceNote])
    case answered(SignedReceipt, end: AnswerEnd)
    case progress(blocks: Int, bytes: UInt64, bytesKnown: UInt64)
    case pulled(CID, bytes: UInt64, blocks: Int, from: [PeerID])
    case datanet(DatanetID)
    case contribution(CID)
    case layers(LayersNews)
    case audited(AuditReport)
    case reweighed(SignedShareVerdict)
    case done
    case failed(NodeFailure)
}

package enum NodeFailure: Error, Hashable, Sendable {
    case exchange(ExchangeFault)
    case transaction(TransactionFault)
    case poolFull
    case notConnected(PeerID)
    case notReady(String)
    case content(String)
    case datanet(DatanetFault)
    case layers(LayersFault)
    case tooMany(String, max: Int)
    case timedOut(String)
    /// Own records do not open the receipt.
    case audit(AuditFault)
    case auditRefused(code: String, message: String)
}

package enum ItemState: Hashable, Sendable {
    case pooled
    case batched(UInt64)
    case refused(String)
}

/// What others at this peer want to know: the page, the metrics, the log.
package enum NodeNotice: Sendable {
    case connected(PeerID)
    case disconnected(PeerID)
    case final(CertifiedBatch)
    case receipt(Digest, ItemState)
    case transaction(Digest, ItemState)
    case catalog(CatalogEntry)
    case advert(ServingAdvert)
    case contentComplete(CID)
    /// Complete here at this snapshot.
    case datanet(DatanetID, snapshot: CID)
    case contributionWaits(DatanetID, CID, ContributionReport)
    case blamed(PeerID, String)
    /// A receipt of this peer's was audited.
    case audited(SignedVerdict, server: AccountID)
    /// The same of a receipt's shares.
    case reweighed(SignedShareVerdict, server: AccountID)
    /// Evidence came, or was looked at here: by receipt.
    case evidence(Digest)
    /// A server gave an answer that its model does not give: it is not chosen any more.
    case distrusted(AccountID, receipt: Digest)
    case stalled(since: Instant)
    case live
    case log(String)
}
