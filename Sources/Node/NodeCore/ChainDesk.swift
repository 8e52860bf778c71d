// The chain as this peer has it: the final state, consensus, the pools, and what is being executed. Batches become part
// of the state in order of height, one at a time, and only from here.
//
//   consensus ── verify · build ──▶ waits for the parent's state ──▶ job ──▶ verified · built ──▶ consensus
//             ── final ──▶ queue ──▶ known transition, or job ──▶ state, one durable write ──▶ published

package import Ledger
package import Primitives
package import Sequencing

struct ChainDesk: Sendable {
    static let executedMax = 256
    static let verifiedMax = 65_536

    enum Waiting: Sendable {
        case verify(Batch, parent: Header)
        case build(BuildRequest)
    }

    var consensus: Consensus
    /// What consensus is to be told, while its effects are being performed.
    var events: [ConsensusEvent] = []
    var isDriving = false
    /// The state after `tip`.
    var state: MemoryState
    var tip: Header
    var receipts = ReceiptPool()
    var transactions = TransactionPool()
    /// Transitions of executed batches that are not final yet, by header digest.
    var executed: [Digest: (header: Header, transition: Transition)] = [:]
    var waiting: [Waiting] = []
    var finals: [CertifiedBatch] = []
    var isAdopting = false
    /// Items whose signatures were checked on arrival.
    var verified: Set<Digest> = []
    var voteRecords: [[UInt8]: UInt64] = [:]
    var jobs: Set<Ticket> = []
    /// Who waits for a transaction, by its id.
    var waiters: [Digest: [CommandID]] = [:]
    var fetchCursor = 0
    var status = ConsensusStatus.live

    init(_ configuration: NodeConfiguration, restored: Restored, now: Instant) throws(BatchFault) {
        let genesis = configuration.genesis
        let transition = try genesis.transition()
        let genesisHeader = genesis.header(transition)
        if let state = restored.state, let certified = restored.tip {
            self.state = state
            tip = certified.header
        } else {
            var state = MemoryState()
            state.apply(transition)
            self.state = state
            tip = genesisHeader
        }
        var overlay = Overlay(state)
        let committee: Committee
        do { committee = try overlay.committee() } catch { throw .state(error) }
        // `seed` is the beacon of the epoch's predecessor: after a hand-over that is the tip's own.
        let seed = tip.next == nil ? restored.epochSeed ?? genesisHeader.beacon : tip.beacon
        consensus = Consensus(
            network: genesis.network, key: configuration.key,
            tip: FinalHeader(header: tip, certificate: restored.tip?.certificate), committee: committee, seed: seed,
            records: restored.votes, limits: configuration.consensus, now: now)
        for record in restored.votes { voteRecords[record.key] = record.view }
    }

    var height: UInt64 { tip.height }

    /// The state after `header`, if every batch up to it was executed.
    func view(after header: Header) -> StateView? {
        var path: [Transition] = []
        var digest = header.digest
        while digest != tip.digest {
            guard let (header, transition) = executed[digest], header.height > tip.height else { return nil }
            path.append(transition)
            digest = header.parent
        }
        var view = StateView(state)
        for transition in path.reversed() { view.push(transition) }
        return view
    }

    mutating func remember(_ header: Header, _ transition: Transition) {
        if executed.count >= Self.executedMax {
            let oldest = executed.min { ($0.value.header.view, $0.key) < ($1.value.header.view, $1.key) }
            if let oldest { executed[oldest.key] = nil }
        }
        executed[header.digest] = (header, transition)
    }

    mutating func markVerified(_ id: Digest) {
        if verified.count >= Self.verifiedMax { verified.removeAll() }
        verified.insert(id)
    }

    func account(_ id: AccountID) -> Account {
        var overlay = Overlay(state)
        return (try? overlay.account(id)) ?? Account()
    }

    func allowance(_ id: AllowanceID) -> Allowance? {
        var overlay = Overlay(state)
        return (try? overlay.allowance(id)) ?? nil
    }

    func parameters() -> Parameters {
        var overlay = Overlay(state)
        return (try? overlay.parameters()) ?? .standard
    }
}

extension Node {
    // What the API reads.
    package var height: UInt64 { chain.height }
    package var tip: Header { chain.tip }
    package var state: MemoryState { chain.state }
    package var committee: Committee { chain.consensus.committee }
    package var consensusStatus: ConsensusStatus { chain.status }
    package var poolCounts: (receipts: Int, transactions: Int) { (chain.receipts.count, chain.transactions.count) }
    package func accountState(_ id: AccountID) -> Account { chain.account(id) }
    package var parameters: Parameters { chain.parameters() }

    package func isPooled(receipt id: Digest) -> Bool { chain.receipts.contains(id) }
    package func isPooled(transaction id: Digest) -> Bool { chain.transactions.contains(id) }
    /// Of the first so many that wait, those that pay something to an account.
    package func pooledReceipts(paying account: AccountID, countMax: Int) -> [SignedReceipt] {
        chain.receipts.first(countMax).filter { signed in
            let receipt = signed.receipt
            return receipt.server == account || receipt.model.owner == account
                || receipt.model.adapters.contains { $0.owner == account }
                || receipt.data.contributors.contains { $0.account == account }
        }
    }
    package func refusal(ofReceipt id: Digest) -> ReceiptFault? { chain.receipts.fault(of: id) }
    package func refusal(ofTransaction id: Digest) -> TransactionFault? { chain.transactions.fault(of: id) }

    package func registeredOwner(_ cid: CID, _ kind: AssetKind) -> AccountID? {
        var overlay = Overlay(chain.state)
        return (try? overlay.owner(of: cid, kind: kind)) ?? nil
    }
}

extension Node {
    /// This account's candidacy, and the epoch of the next batch.
    package var candidacy: (record: CandidateRecord?, epoch: UInt64) {
        var overlay = Overlay(chain.state)
        let record = (try? overlay.candidate(account)) ?? nil
        return (record, chain.consensus.committee.epoch)
    }
}
