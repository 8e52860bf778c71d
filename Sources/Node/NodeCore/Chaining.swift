// Driving consensus: performing what it asks, executing what it needs, and making final batches the state.

import Datanets
import Ledger
import Primitives
import Records
import Sequencing

enum ConsensusMessageForm {
    /// A final header, as it is gossiped.
    static func final(_ bytes: [UInt8]) throws(CBORFault) -> ConsensusMessage {
        let message = try ConsensusMessage(decoding: bytes)
        guard case .final = message else { throw .field("type", in: "FinalHeader", "is not final") }
        return message
    }

    static func height(_ message: ConsensusMessage) -> UInt64 {
        if case .final(let final) = message { final.header.height } else { 0 }
    }
}

extension Node {
    static let batchesPerAnswerMax = 16

    /// What an effect leads to waits until all effects before it are performed: consensus relies on their order (the
    /// newest `.wake` counts).
    mutating func drive(_ event: ConsensusEvent) {
        chain.events.append(event)
        guard !chain.isDriving else { return }
        chain.isDriving = true
        while !chain.events.isEmpty {
            for effect in chain.consensus.handle(chain.events.removeFirst(), now: moment.instant) { perform(effect) }
        }
        chain.isDriving = false
    }

    private mutating func perform(_ effect: ConsensusEffect) {
        switch effect {
        case .broadcast(let message):
            let bytes = message.encoded()
            for peer in links.connected { send(bytes, to: peer, .consensus) }
        case .send(let message, let peer):
            send(message.encoded(), to: peer, .consensus)
        case .persist(let record, let ticket):
            chain.voteRecords[record.key] = record.view
            persist([.put(.votes, key: record.key, value: record.encoded())], then: [.vote(ticket)])
        case .discard(let view):
            let gone = chain.voteRecords.filter { $0.value <= view }.map(\.key)
                .sorted { $0.lexicographicallyPrecedes($1) }
            for key in gone { chain.voteRecords[key] = nil }
            persist(gone.map { .delete(.votes, key: $0) })
        case .verify(let batch, let parent):
            chain.waiting.append(.verify(batch, parent: parent))
            runWaiting()
        case .build(let request):
            chain.waiting.append(.build(request))
            runWaiting()
        case .final(let certified):
            chain.finals.append(certified)
            adoptNext()
        case .needBatches(let from, let through): askBatches(from, through)
        case .evidence(let accused, let first, let second):
            _ = transact(.evidence(accused: accused, first: first, second: second))
        case .status(let status):
            chain.status = status
            switch status {
            case .live: effects.append(.notify(.live))
            case .stalled(let since): effects.append(.notify(.stalled(since: since)))
            }
        case .fault(let fault, let peer): blame(peer, "consensus: \(fault)")
        case .wake(let instant): effects.append(.schedule(.consensus, at: instant))
        }
    }

    mutating func consensusReceived(_ bytes: [UInt8], from peer: PeerID) {
        do {
            drive(.received(try ConsensusMessage(decoding: bytes), from: peer))
        } catch {
            blame(peer, "consensus: \(error)")
        }
    }

    mutating func tellWork() { drive(.workAvailable(hasWork)) }

    /// Whether a batch could take something: a transaction whose turn has not come, for want of one before it, is no work.
    package var hasWork: Bool {
        guard chain.receipts.isEmpty else { return true }
        var pool = chain.transactions
        return !pool.select(countMax: 1, bytesMax: LedgerLimits.batchBytesMax) { chain.account($0).nonce }.isEmpty
    }

    // MARK: Execution

    /// Starts what waited for a state that is there now.
    private mutating func runWaiting() {
        var still: [ChainDesk.Waiting] = []
        let waiting = chain.waiting
        chain.waiting = []
        for item in waiting {
            switch item {
            case .verify(let batch, let parent):
                guard let view = chain.view(after: parent) else {
                    if parent.height >= chain.height { still.append(item) }
                    continue
                }
                execute(.verify(batch, parent: parent), on: view)
            case .build(let request):
                guard let view = chain.view(after: request.parent) else {
                    if request.parent.height >= chain.height { still.append(item) }
                    continue
                }
                execute(.build(request, select(on: view)), on: view)
            }
        }
        chain.waiting += still
    }

    private mutating func select(on view: StateView) -> BatchContents {
        let builder = BatchBuilder(batchBytesMax: Int(clamping: chain.parameters().batchBytesMax))
        var overlay = Overlay(view)
        return builder.select(
            transactions: &chain.transactions, receipts: &chain.receipts,
            nonce: { ((try? overlay.account($0)) ?? Account()).nonce }, next: nil)
    }

    private mutating func execute(_ purpose: ExecutionJob.Purpose, on view: StateView) {
        let ticket = ticket()
        chain.jobs.insert(ticket)
        let job = ExecutionJob(
            purpose: purpose, state: view, network: network, wall: moment.wall, verified: chain.verified)
        effects.append(.compute(.execute(job), ticket))
    }

    mutating func executed(_ ticket: Ticket, _ outcome: ExecutionOutcome) {
        guard chain.jobs.remove(ticket) != nil else { return }
        switch outcome.result {
        case .verified(let batch, let transition, let fault):
            if let transition { chain.remember(batch.header, transition) }
            if let fault { effects.append(.notify(.log("proposal at \(batch.header.height) refused: \(fault)"))) }
            drive(.verified(batch.header.digest, transition != nil))
        case .built(let request, let batch, let transition, let receipts, let transactions):
            for (id, fault) in receipts { quarantine(receipt: id, fault) }
            for (id, fault) in transactions { quarantine(transaction: id, fault) }
            if let batch, let transition { chain.remember(batch.header, transition) }
            drive(.built(view: request.view, batch))
            // Told at once that there is work, consensus would ask again at once, without end.
            if batch == nil, !hasWork { tellWork() }
        case .adopted(let certified, let transition, let fault):
            chain.isAdopting = false
            guard let transition else {
                // A quorum certified what this peer cannot reproduce: it must not go on as if it could.
                effects.append(
                    .notify(
                        .log(
                            "batch \(certified.header.height) does not execute here: \(fault.map { "\($0)" } ?? "another header")"
                        )))
                chain.finals = []
                return
            }
            settle(certified, transition)
            adoptNext()
        }
        runWaiting()
    }

    mutating func quarantine(receipt id: Digest, _ fault: ReceiptFault) {
        chain.receipts.refuse(id, fault)
        persist([.delete(.pool, key: id.bytes)])
        effects.append(.notify(.receipt(id, .refused("\(fault)"))))
    }

    mutating func quarantine(transaction id: Digest, _ fault: TransactionFault) {
        // A nonce that is too high waits for those before it.
        if case .wrongNonce(let expected, let got) = fault, got > expected { return }
        // Of one's own, those behind it can never follow: whoever waits for them is told.
        let own = ownTransactions()
        let position = own.firstIndex { $0.id == id }
        refuse(transaction: id, fault)
        guard let position else { return }
        let expected = own[position].transaction.nonce
        for gone in own[position...] { unclaim(gone) }
        for later in own[(position + 1)...] {
            refuse(transaction: later.id, .wrongNonce(expected: expected, got: later.transaction.nonce))
        }
    }

    /// The voucher that was to be settled is settled another time.
    private mutating func unclaim(_ gone: SignedTransaction) {
        guard gone.transaction.sender == account, case .settleVoucher(let signed) = gone.transaction.action else {
            return
        }
        trade.held[signed.voucher.allowance]?.isClaimed = false
    }

    private mutating func refuse(transaction id: Digest, _ fault: TransactionFault) {
        chain.transactions.refuse(id, fault)
        persist([.delete(.pool, key: id.bytes)])
        effects.append(.notify(.transaction(id, .refused("\(fault)"))))
        for command in chain.waiters.removeValue(forKey: id) ?? [] {
            effects.append(.answer(command, .failed(.transaction(fault))))
        }
        allowanceRefused(id, fault)
    }

    // MARK: Final batches

    private mutating func adoptNext() {
        while !chain.isAdopting, let certified = chain.finals.first {
            guard certified.header.height > chain.height else {
                chain.finals.removeFirst()
                continue
            }
            if let known = chain.executed[certified.header.digest], certified.header.parent == chain.tip.digest {
                settle(certified, known.transition)
            } else {
                chain.isAdopting = true
                execute(.adopt(certified), on: StateView(chain.state))
            }
        }
    }

    /// Makes a certified batch the state: one durable write, then everybody may know.
    private mutating func settle(_ certified: CertifiedBatch, _ transition: Transition) {
        chain.finals.removeFirst()
        let header = certified.header
        chain.state.apply(transition)
        let seed = header.next == nil ? nil : header.beacon
        chain.tip = header
        chain.executed = chain.executed.filter { $0.value.header.height > header.height }
        chain.waiting.removeAll { item in
            switch item {
            case .verify(_, let parent): parent.height < header.height
            case .build(let request): request.parent.height < header.height
            }
        }
        let contents = certified.batch.contents
        chain.receipts.settled(contents.receipts, height: header.height)
        let stale = chain.transactions.executed(contents.transactions)
        let final = ConsensusMessage.final(FinalHeader(header: header, certificate: certified.certificate)).encoded()
        var then: [NodeContinuation] = [.effect(.notify(.final(certified)))]
        if header.proposer == account { then.append(.publish(Topics.batches(network), final)) }
        for receipt in contents.receipts {
            then.append(.effect(.notify(.receipt(receipt.id, .batched(header.height)))))
        }
        for transaction in contents.transactions {
            then.append(.effect(.notify(.transaction(transaction.id, .batched(header.height)))))
            for command in chain.waiters.removeValue(forKey: transaction.id) ?? [] {
                then.append(.effect(.answer(command, .transaction(transaction.id, state: .batched(header.height)))))
            }
        }
        persist(writes(certified, transition, seed: seed), then: then)
        // What can never be executed any more, whoever waits for it is told.
        for gone in stale {
            unclaim(gone)
            let expected = chain.account(gone.transaction.sender).nonce
            refuse(transaction: gone.id, .wrongNonce(expected: expected, got: gone.transaction.nonce))
        }
        tradeSettled(certified)
        tellWork()
        runWaiting()
    }

    private func writes(_ certified: CertifiedBatch, _ transition: Transition, seed: Digest?) -> [NodeWrite] {
        var writes: [NodeWrite] = []
        for (key, value) in transition.writes {
            let bytes = key.digest.bytes
            writes.append(value.map { .put(.state, key: bytes, value: $0) } ?? .delete(.state, key: bytes))
        }
        for digest in transition.stale { writes.append(.delete(.nodes, key: digest.bytes)) }
        for (digest, bytes) in transition.nodes { writes.append(.put(.nodes, key: digest.bytes, value: bytes)) }
        let height = certified.header.height.bigEndianBytes
        writes.append(.put(.batches, key: height, value: certified.encoded()))
        for (index, receipt) in certified.batch.contents.receipts.enumerated() {
            writes.append(.put(.receipts, key: receipt.id.bytes, value: height + UInt64(index).bigEndianBytes))
            writes.append(.delete(.pool, key: receipt.id.bytes))
        }
        for transaction in certified.batch.contents.transactions {
            writes.append(.put(.transactions, key: transaction.id.bytes, value: height))
            writes.append(.delete(.pool, key: transaction.id.bytes))
        }
        for entry in transition.history {
            writes.append(.put(.history, key: entry.account.bytes + entry.storageKey, value: entry.cbor.encoded()))
        }
        writes.append(.put(.meta, key: MetaKey.tip, value: height))
        if let seed { writes.append(.put(.meta, key: MetaKey.epochSeed, value: seed.bytes)) }
        return writes
    }

    // MARK: Serving and fetching batches

    private mutating func askBatches(_ from: UInt64, _ through: UInt64) {
        let peers = links.connected
        guard !peers.isEmpty else { return }
        chain.fetchCursor += 1
        let peer = peers[chain.fetchCursor % peers.count]
        let stream = links.open(peer, .headersAsked)
        effects.append(.open(stream, peer, protocols: [NodeProtocol.headers]))
        let request = CBOR.map(["type": .text("batches"), "from": .unsigned(from), "through": .unsigned(through)])
        send(request.encoded(), on: stream)
    }

    mutating func batchesReceived(_ bytes: [UInt8], from peer: PeerID) {
        do {
            drive(.fetched([try CertifiedBatch(decoding: bytes)], from: peer))
        } catch {
            blame(peer, "batches: \(error)")
        }
    }

    /// The adapter reads the range from the store and sends each batch as one message; the core only says which.
    mutating func serveHeaders(_ bytes: [UInt8], on stream: StreamID, to peer: PeerID) {
        guard let wanted = HeadersWanted(bytes) else {
            blame(peer, "batches: a malformed request")
            effects.append(.reset(stream))
            ended(stream)
            return
        }
        switch wanted {
        case .genesis(let asked):
            // Who is not of that network says nothing.
            if asked == network { send(configuration.genesis.encoded(), on: stream) }
            finish(stream)
        case .batches(let from, let through):
            let last = min(through, chain.height, from &+ UInt64(Self.batchesPerAnswerMax - 1))
            guard from <= last else { return finish(stream) }
            effects.append(.sendBatches(stream, from: from, through: last))
        }
    }
}

/// A request on `/openledger/headers/1`.
enum HeadersWanted: Hashable, Sendable {
    static let bytesMax = 1024

    case batches(from: UInt64, through: UInt64)
    case genesis(NetworkID)

    init?(_ bytes: [UInt8]) {
        let limits = CBORLimits(bytesMax: Self.bytesMax)
        guard var fields = try? CBORFields(decoding: bytes, "HeadersWanted", limits: limits),
            let type = try? fields.text("type", max: 16)
        else { return nil }
        switch type {
        case "batches":
            guard let from = try? fields.unsigned("from"), let through = try? fields.unsigned("through"), from > 0,
                from <= through
            else { return nil }
            self = .batches(from: from, through: through)
        case GenesisRequest.type:
            guard let network = try? fields.network("network") else { return nil }
            self = .genesis(network)
        default: return nil
        }
        guard (try? fields.finish()) != nil else { return nil }
    }
}

/// Keys of the table `meta`.
package enum MetaKey {
    package static let tip = Array("tip".utf8)
    package static let epochSeed = Array("epochSeed".utf8)
    package static let genesis = Array("genesis".utf8)
    static let lastAnswer = Array("lastAnswer".utf8)
    package static let heldPrefix = Array("datanet:".utf8)
    /// Before the root of content that is complete here.
    package static let contentPrefix = Array("have:".utf8)
    /// Before a contribution: the normalised hashes of its rows.
    package static let checkedPrefix = Array("rows:".utf8)
    static func checked(_ contribution: CID) -> [UInt8] { checkedPrefix + contribution.bytes }
    /// Before a block that is kept for others.
    package static let keptPrefix = Array("keep:".utf8)
    static func kept(_ cid: CID) -> [UInt8] { keptPrefix + cid.bytes }
    static func held(_ id: DatanetID) -> [UInt8] { heldPrefix + id.digest.bytes }
}

extension UInt64 {
    /// Eight bytes, so that keys sort as numbers do.
    package var bigEndianBytes: [UInt8] {
        stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: self >> UInt64($0)) }
    }
}
