// What the gateway asks of the node. The gateway parses, guards and formats; everything that happens, happens behind
// this protocol. `Peer` implements it, the tests have a small one of their own.

package import Primitives

/// A part of a list.
package struct ListPage: Sendable, Hashable {
    /// 1 to 200.
    package var limit: Int
    /// What an earlier answer gave as `next`; opaque to the gateway.
    package var cursor: String?

    package init(limit: Int = 50, cursor: String? = nil) {
        self.limit = limit
        self.cursor = cursor
    }
}

package enum DatanetAccess: String, Sendable, Hashable, CaseIterable {
    case open, approval
    case privateToGrantees = "private"
}

package struct DatanetDescription: Sendable, Hashable {
    package var name: String
    package var summary: String
    package var tags: [String]
    package var license: String
    package var access: DatanetAccess

    package init(name: String, summary: String, tags: [String], license: String, access: DatanetAccess) {
        self.name = name
        self.summary = summary
        self.tags = tags
        self.license = license
        self.access = access
    }
}

/// Rows as someone sent them: bounded by `GatewayLimits.rowsBytesMax`, not yet read.
package struct RowsUpload: Sendable, Hashable {
    /// What faults call the file; its ending says what it is.
    package var file: String
    package var bytes: [UInt8]
    /// For rows that name none.
    package var license: String?

    package init(file: String, bytes: [UInt8], license: String?) {
        self.file = file
        self.bytes = bytes
        self.license = license
    }
}

/// What is done to an adapter in memory.
package enum AdapterAction: String, Sendable, Hashable, CaseIterable {
    case load, unload, pin, unpin
}

/// Adapters as one: under a name, or merged into a model of their own.
package struct FusionDescription: Sendable, Hashable {
    package var name: String
    package var model: String
    package var merge: AdapterMerge

    package init(name: String, model: String, merge: AdapterMerge) {
        self.name = name
        self.model = model
        self.merge = merge
    }
}

/// A call of `/api/v1` that is answered with one JSON value, of the form that Protocol/api.md section 4 gives for it.
/// Names (`datanet`, `model`, …) are a name or a CID; accounts are text, or `me`.
package enum NodeCall: Sendable, Hashable {
    // Reads
    case identity
    case status
    case peers
    case doctor
    case configuration
    case lightStatus
    case datanets(ListPage)
    case datanet(String)
    case datanetRows(String, ListPage)
    case contributions(datanet: String)
    case datanetHealth(String)
    case contributionReport(datanet: String, contribution: String)
    case validateRows(datanet: String, RowsUpload)
    case models(ListPage)
    case model(String)
    case adapters(ListPage)
    case adapter(String)
    case fusions
    case fusion(String)
    case trainings
    case training(String)
    case receipts(ListPage)
    case receipt(String)
    case receiptRendering(String)
    case verifyBundle([UInt8])
    case batches(ListPage)
    case batch(height: UInt64)
    case account(String)
    case accountHistory(String, ListPage)
    /// What an account has earned and will, by source.
    case accountEarnings(String, ListPage)
    case transaction(String)
    case committee
    case supply
    case lightVerify(receipt: String)
    /// What a training would take; starts nothing.
    case estimateTraining(TrainingDescription)
    /// What an answer would cost.
    case quote(GenerationRequest)
    // Changes
    case connect(address: String)
    case disconnect(peer: String)
    case lightSync(checkpoint: String?)
    /// Re-executes a receipt's answer, or weighs the evidence of its shares again: by `peer`, here, or by whoever offers its
    /// model.
    case audit(receipt: String, peer: String?, here: Bool, publish: Bool, attribution: Bool)
    case createDatanet(DatanetDescription)
    case addRows(datanet: String, RowsUpload)
    case approveContribution(datanet: String, contribution: String)
    case rejectContribution(datanet: String, contribution: String, reason: String)
    case removeModel(String)
    /// nil: what the peer's settings say.
    case setPrecision(model: String, String?)
    case removeAdapter(String)
    case changeAdapter(String, AdapterAction)
    case publishAdapter(String)
    case createFusion(FusionDescription)
    case removeFusion(String)
    /// Answered with the run; nobody waits for its lines.
    case startTraining(TrainingDescription)
    case changeTraining(String, TrainingAction)
    case transfer(to: String, Amount, wait: Bool)
    case stake(Amount, wait: Bool)
    case unstake(Amount, wait: Bool)
    case claim(wait: Bool)
    case faucet(account: String?)
    case shutdown
}

/// A call that is answered with a stream of JSON values, one a line. The last is `{"event":"done",…}` (export: the last row).
package enum NodeStreamCall: Sendable, Hashable {
    case exportDatanet(String)
    case pullDatanet(String, peer: String?)
    case importModel(path: String, name: String, precision: String?)
    case pullModel(String, peer: String?)
    case importAdapter(path: String, name: String, model: String)
    case pullAdapter(String, peer: String?)
    case mergeModel(FusionDescription)
    case train(TrainingDescription)
    case trainingEvents(String)
    case evaluateAdapter(EvaluationDescription)
    case verifyAdapter(VerificationDescription)
}

/// Something that happened, for `/api/v1/events`.
package struct NodeEvent: Sendable, Hashable {
    package enum Kind: String, Sendable, Hashable, CaseIterable {
        case status, peer, receipt, batch, transaction, contribution
    }

    package var kind: Kind
    package var body: JSONValue

    package init(_ kind: Kind, _ body: JSONValue) {
        self.kind = kind
        self.body = body
    }
}

package struct Readiness: Sendable, Hashable {
    package var isReady: Bool
    /// As `state` of the status: `starting`, `ready`, `waiting`, `syncing`, `halted`, `draining`.
    package var state: String
    package var sentence: String

    package init(isReady: Bool, state: String, sentence: String) {
        self.isReady = isReady
        self.state = state
        self.sentence = sentence
    }
}

package struct Block: Sendable, Hashable {
    package var cid: CID
    package var bytes: [UInt8]

    package init(cid: CID, bytes: [UInt8]) {
        self.cid = cid
        self.bytes = bytes
    }
}

package struct TokenizeRequest: Sendable, Hashable {
    package enum Input: Sendable, Hashable {
        case text(String, addSpecialTokens: Bool)
        /// `extras` go to the template as they are; the template's specials are the only ones.
        case messages([ChatMessage], addGenerationPrompt: Bool, extras: [String: JSONValue])
    }

    package var model: String
    package var input: Input

    package init(model: String, input: Input) {
        self.model = model
        self.input = input
    }
}

package protocol NodeService: Sendable {
    /// Never throws and never waits: a health check calls it.
    func readiness() async -> Readiness

    // OpenAI routes
    /// Revision of the arithmetic that this peer's kernels follow: Protocol/numerics.md.
    var numericsRevision: UInt64 { get }
    func modelCards() async throws(NodeFault) -> [ModelCard]
    /// What this peer's own answers cost; what keys' spend is counted in.
    func price() async throws(NodeFault) -> AnswerPrice
    /// Returns once the request is accepted (or queued), before the first token.
    func generate(_ request: GenerationRequest) async throws(NodeFault) -> Generation
    /// Throws `.missing` where no such model is here, `.invalid` where it gives text.
    func embed(_ request: EmbeddingRequest) async throws(NodeFault) -> Embeddings
    func tokenize(_ request: TokenizeRequest) async throws(NodeFault) -> [UInt32]
    /// Special tokens are kept.
    func detokenize(_ tokens: [UInt32], model: String) async throws(NodeFault) -> String

    // Node routes
    func perform(_ call: NodeCall) async throws(NodeFault) -> JSONValue
    /// The stream throws `NodeFault`; ending the iteration cancels the work, what was fetched is kept.
    func stream(_ call: NodeStreamCall) async throws(NodeFault) -> any AsyncSequence<JSONValue, any Error> & Sendable
    /// Bounded by the node: a reader too slow for its buffer is ended, and reconnects.
    func events() async throws(NodeFault) -> any AsyncSequence<NodeEvent, any Error> & Sendable
    /// The dag-cbor bundle of a receipt.
    func receiptBundle(_ id: String) async throws(NodeFault) -> [UInt8]

    // Trustless gateway
    /// nil where this peer does not hold it: nothing is fetched for a stranger.
    func block(_ cid: CID) async throws -> [UInt8]?
    /// The DAG below and with `root`, depth first, each block once; at most `blocksMax`, or it throws `.tooLarge`.
    func blocks(
        below root: CID, blocksMax: Int
    ) async throws -> any AsyncSequence<Block, any Error> & Sendable
}
