// Executing a batch takes a state and gives a write set; it may take longer than the loop may wait, so it is a job. The
// state it reads is a value: the final state with the write sets of the batches in between laid over it.

package import Ledger
package import Primitives
package import Sequencing

/// The final state, and over it the effects of batches that are not final yet, oldest first.
package struct StateView: StateReader, Sendable {
    private let base: MemoryState
    private var layers: [Layer] = []

    private struct Layer: Sendable {
        var values: [StateKey: [UInt8]?] = [:]
        var nodes: [Digest: [UInt8]] = [:]
        var root: Digest
    }

    package init(_ base: MemoryState) { self.base = base }

    package mutating func push(_ transition: Transition) {
        var layer = Layer(root: transition.stateRoot)
        for (key, value) in transition.writes { layer.values.updateValue(value, forKey: key) }
        for (digest, bytes) in transition.nodes { layer.nodes[digest] = bytes }
        layers.append(layer)
    }

    package var stateRoot: Digest { layers.last?.root ?? base.stateRoot }

    package func value(_ key: StateKey) -> [UInt8]? {
        for layer in layers.reversed() {
            if let value = layer.values[key] { return value }
        }
        return base.value(key)
    }

    package func node(_ digest: Digest) -> [UInt8]? {
        for layer in layers.reversed() {
            if let node = layer.nodes[digest] { return node }
        }
        return base.node(digest)
    }
}

package struct ExecutionJob: Sendable {
    package enum Purpose: Sendable {
        /// Does the batch give its header?
        case verify(Batch, parent: Header)
        /// Choose what is good of the contents and make the next batch.
        case build(BuildRequest, BatchContents)
        /// A certified batch that was not executed before.
        case adopt(CertifiedBatch)
    }

    package let purpose: Purpose
    package let state: StateView
    package let network: NetworkID
    package let wall: WallTime
    /// Items whose signatures this peer verified when they came.
    package let verified: Set<Digest>

    package init(purpose: Purpose, state: StateView, network: NetworkID, wall: WallTime, verified: Set<Digest>) {
        self.purpose = purpose
        self.state = state
        self.network = network
        self.wall = wall
        self.verified = verified
    }
}

package struct ExecutionOutcome: Sendable {
    package enum Result: Sendable {
        case verified(Batch, Transition?, BatchFault?)
        case built(
            BuildRequest, Batch?, Transition?, refusedReceipts: [(Digest, ReceiptFault)],
            refusedTransactions: [(Digest, TransactionFault)])
        case adopted(CertifiedBatch, Transition?, BatchFault?)
    }

    package let result: Result
}

extension ExecutionJob {
    /// Pure, and on no particular thread.
    package func run() -> ExecutionOutcome {
        switch purpose {
        case .verify(let batch, let parent): ExecutionOutcome(result: verify(batch, parent))
        case .build(let request, let contents): ExecutionOutcome(result: build(request, contents))
        case .adopt(let certified): ExecutionOutcome(result: adopt(certified))
        }
    }

    private func context(_ header: Header) -> BatchContext {
        BatchContext(
            network: network, height: header.height, time: header.time, beacon: header.beacon, verified: verified)
    }

    private func verify(_ batch: Batch, _ parent: Header) -> ExecutionOutcome.Result {
        do {
            guard (try? batch.header.checkTime(now: wall)) != nil else { return .verified(batch, nil, nil) }
            if let next = batch.contents.next {
                var overlay = Overlay(state)
                guard let elected = try? electedCommittee(&overlay, beacon: parent.beacon), elected == next else {
                    return .verified(batch, nil, .nextCommitteeUnexpected)
                }
            }
            let transition = try StateTransition.apply(batch.contents, to: state, context: context(batch.header))
            return .verified(batch, matches(transition, batch.header) ? transition : nil, nil)
        } catch {
            return .verified(batch, nil, error)
        }
    }

    private func adopt(_ certified: CertifiedBatch) -> ExecutionOutcome.Result {
        do {
            let transition = try StateTransition.apply(
                certified.batch.contents, to: state, context: context(certified.header))
            return .adopted(certified, matches(transition, certified.header) ? transition : nil, nil)
        } catch {
            return .adopted(certified, nil, error)
        }
    }

    private func matches(_ transition: Transition, _ header: Header) -> Bool {
        transition.header(
            network: network, view: header.view, parent: header.parent, proposer: header.proposer,
            beaconProof: header.beaconProof) == header
    }

    private func build(_ request: BuildRequest, _ offered: BatchContents) -> ExecutionOutcome.Result {
        func declined() -> ExecutionOutcome.Result {
            .built(request, nil, nil, refusedReceipts: [], refusedTransactions: [])
        }
        do {
            var overlay = Overlay(state)
            let chain = try overlay.chain()
            var contents = offered
            if request.height == chain.epochEnd {
                contents.next = try electedCommittee(&overlay, beacon: request.parent.beacon)
            }
            let context = BatchContext(
                network: network, height: request.height, time: max(wall, request.parent.time),
                beacon: request.step.beacon, verified: verified)
            let screened = try StateTransition.screen(contents, on: state, context: context)
            let refusedReceipts = screened.receipts.map { ($0.0.id, $0.1) }
            let refusedTransactions = screened.transactions.map { ($0.0.id, $0.1) }
            let isEmpty = screened.contents.receipts.isEmpty && screened.contents.transactions.isEmpty
            guard request.evenIfEmpty || !isEmpty else {
                return .built(
                    request, nil, nil, refusedReceipts: refusedReceipts, refusedTransactions: refusedTransactions)
            }
            let transition = try StateTransition.apply(screened.contents, to: state, context: context)
            let header = transition.header(
                network: network, view: request.view, parent: request.parent.digest, proposer: request.proposer,
                beaconProof: request.step.proof)
            return .built(
                request, Batch(header: header, contents: screened.contents), transition,
                refusedReceipts: refusedReceipts, refusedTransactions: refusedTransactions)
        } catch {
            return declined()
        }
    }

    private func electedCommittee(_ overlay: inout Overlay, beacon: Digest) throws -> Committee {
        let incumbent = try overlay.committee()
        var candidates: [Candidacy] = []
        for id in try overlay.candidates() {
            guard let record = try overlay.candidate(id) else { continue }
            candidates.append(Candidacy(id, record: record, account: try overlay.account(id)))
        }
        return Election.committee(after: incumbent, beacon: beacon, candidates: candidates)
    }
}
