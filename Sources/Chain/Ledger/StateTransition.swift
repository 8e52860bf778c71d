// The ledger's one door for change: contents and a state in, a write set out. Deterministic: the same contents on the same
// state give the same bytes on every machine, so that a voter executes a proposal and compares headers.
//
//   pool ──screen──▶ contents ──apply──▶ Transition ──header──▶ proposal ──▶ voters apply the same and compare

package import Primitives

/// What a batch is executed under, besides the state.
package struct BatchContext: Sendable {
    package var network: NetworkID
    package var height: UInt64
    package var time: WallTime
    /// The election beacon after this batch.
    package var beacon: Digest
    /// Ids of receipts and transactions whose signatures were verified before; they are not verified again.
    package var verified: Set<Digest>

    package init(
        network: NetworkID, height: UInt64, time: WallTime, beacon: Digest, verified: Set<Digest> = []
    ) {
        self.network = network
        self.height = height
        self.time = time
        self.beacon = beacon
        self.verified = verified
    }
}

/// What a batch does to the state. Applying it is: write `writes` and `nodes`, forget `stale`, move to `stateRoot`.
package struct Transition: Sendable {
    package let height: UInt64
    /// The epoch that the batch belongs to.
    package let epoch: UInt64
    package let time: WallTime
    package let beacon: Digest
    /// Ascending by key; nil removes.
    package let writes: [(StateKey, [UInt8]?)]
    package let nodes: [(Digest, [UInt8])]
    package let stale: [Digest]
    package let stateRoot: Digest
    package let receiptsRoot: Digest
    package let transactionsRoot: Digest
    package let receiptOutcomes: [ReceiptOutcome]
    package let transactionCount: Int
    package let history: [HistoryEntry]
    package let supply: Supply
    /// The committee that certifies the batch.
    package let committee: Committee
    package let next: Committee?

    /// The header of this batch. A voter builds it from the proposal's own view, parent, proposer and proof, and compares.
    package func header(
        network: NetworkID, view: UInt64, parent: Digest, proposer: AccountID, beaconProof: VRFProof?,
        dataRoot: Digest = .zero
    ) -> Header {
        Header(
            network: network, height: height, view: view, epoch: epoch, parent: parent, time: time,
            stateRoot: stateRoot, receiptsRoot: receiptsRoot, transactionsRoot: transactionsRoot,
            receiptCount: UInt64(receiptOutcomes.count), transactionCount: UInt64(transactionCount),
            proposer: proposer, committee: committee.digest, next: next?.digest, dataRoot: dataRoot, beacon: beacon,
            beaconProof: beaconProof, supply: supply)
    }
}

package enum StateTransition {
    /// Executes a batch. Any item that is not good makes the batch bad: a builder screens first.
    package static func apply(
        _ contents: BatchContents, to reader: any StateReader, context: BatchContext
    ) throws(BatchFault) -> Transition {
        var execution = try begin(on: reader, context)
        let limits = execution.parameters
        guard UInt64(contents.receipts.count) <= limits.receiptsPerBatchMax else {
            throw .tooManyReceipts(contents.receipts.count)
        }
        guard UInt64(contents.transactions.count) <= limits.transactionsPerBatchMax else {
            throw .tooManyTransactions(contents.transactions.count)
        }
        let receipts = contents.receipts.map { $0.encoded() }
        let transactions = contents.transactions.map { $0.encoded() }
        let bytes = (receipts + transactions).reduce(0) { $0 + $1.count }
        guard UInt64(bytes) <= limits.batchBytesMax else { throw .tooLarge(bytes: bytes, max: limits.batchBytesMax) }

        for (index, transaction) in contents.transactions.enumerated() {
            do {
                try execution.execute(transaction, verified: context.verified.contains(transaction.id))
            } catch {
                throw .transaction(index, error)
            }
        }
        for (index, receipt) in contents.receipts.enumerated() {
            do {
                try execution.execute(receipt, verified: context.verified.contains(receipt.id))
            } catch {
                throw .receipt(index, error)
            }
        }
        return try finish(
            execution, on: reader, next: contents.next, receiptsRoot: MerkleTree.root(of: receipts),
            transactionsRoot: MerkleTree.root(of: transactions), transactionCount: transactions.count)
    }

    private static func begin(on reader: any StateReader, _ context: BatchContext) throws(BatchFault) -> Execution {
        var state = Overlay(reader)
        do {
            var chain = try state.chain()
            let (expected, overflow) = chain.height.addingReportingOverflow(1)
            guard !overflow, context.height == expected else {
                throw BatchFault.wrongHeight(expected: expected, got: context.height)
            }
            guard context.time >= chain.time else { throw BatchFault.timeBeforeParent }
            chain.height = context.height
            chain.time = context.time
            chain.beacon = context.beacon
            let parameters = try state.parameters()
            return Execution(state: state, chain: chain, parameters: parameters, network: context.network)
        } catch let fault as StateFault {
            throw .state(fault)
        } catch let fault as BatchFault {
            throw fault
        } catch {
            throw .overflow
        }
    }

    private static func finish(
        _ finished: Execution, on reader: any StateReader, next: Committee?, receiptsRoot: Digest,
        transactionsRoot: Digest, transactionCount: Int
    ) throws(BatchFault) -> Transition {
        var execution = finished
        do {
            let epoch = execution.chain.epoch
            let committee = try execution.state.committee()
            if execution.height == execution.chain.epochEnd {
                guard let next else { throw BatchFault.nextCommitteeMissing }
                try execution.endEpoch(committee: committee, next: next)
            } else if next != nil {
                throw BatchFault.nextCommitteeUnexpected
            }
            return try execution.seal(
                on: reader, epoch: epoch, committee: committee, next: next, receiptsRoot: receiptsRoot,
                transactionsRoot: transactionsRoot, transactionCount: transactionCount)
        } catch let fault as BatchFault {
            throw fault
        } catch let fault as StateFault {
            throw .state(fault)
        } catch {
            throw .overflow
        }
    }

    // MARK: Screening

    package struct Screened: Sendable {
        /// What can go into a batch, in the order in which it must.
        package let contents: BatchContents
        /// What cannot, and why: to be dropped, or kept for later (a nonce that is too high).
        package let receipts: [(SignedReceipt, ReceiptFault)]
        package let transactions: [(SignedTransaction, TransactionFault)]
        /// What there was no room for.
        package let left: BatchContents
    }

    /// A builder's choice: executes everything offered, in order, keeps what is good up to the limits, and says what is
    /// wrong with the rest. Receipts are put in order of allowance and sequence, so that a later one does not settle over
    /// an earlier. What is kept passes `apply` in the same context.
    package static func screen(
        _ offered: BatchContents, on reader: any StateReader, context: BatchContext
    ) throws(BatchFault) -> Screened {
        var execution = try begin(on: reader, context)
        let limits = execution.parameters
        var room = limits.batchBytesMax
        var kept = BatchContents(next: offered.next)
        var left = BatchContents()
        var badReceipts: [(SignedReceipt, ReceiptFault)] = []
        var badTransactions: [(SignedTransaction, TransactionFault)] = []
        for transaction in offered.transactions {
            let bytes = UInt64(transaction.encoded().count)
            guard bytes <= room, UInt64(kept.transactions.count) < limits.transactionsPerBatchMax else {
                left.transactions.append(transaction)
                continue
            }
            do {
                try execution.execute(transaction, verified: context.verified.contains(transaction.id))
                kept.transactions.append(transaction)
                room -= bytes
            } catch {
                badTransactions.append((transaction, error))
            }
        }
        let ordered = offered.receipts.sorted { left, right in
            let (left, right) = (left.receipt, right.receipt)
            return left.allowance == right.allowance
                ? left.sequence < right.sequence : left.allowance < right.allowance
        }
        for receipt in ordered {
            let bytes = UInt64(receipt.encoded().count)
            guard bytes <= room, UInt64(kept.receipts.count) < limits.receiptsPerBatchMax else {
                left.receipts.append(receipt)
                continue
            }
            do {
                try execution.execute(receipt, verified: context.verified.contains(receipt.id))
                kept.receipts.append(receipt)
                room -= bytes
            } catch {
                badReceipts.append((receipt, error))
            }
        }
        return Screened(contents: kept, receipts: badReceipts, transactions: badTransactions, left: left)
    }
}

extension Execution {
    /// Pays the committee that served by its seats, and lets the next one take over.
    mutating func endEpoch(committee: Committee, next: Committee) throws {
        let (epoch, overflow) = chain.epoch.addingReportingOverflow(1)
        let (end, endOverflow) = height.addingReportingOverflow(parameters.epochLength)
        guard !overflow, !endOverflow else { throw BatchFault.overflow }
        guard next.epoch == epoch else { throw BatchFault.wrongNextEpoch(expected: epoch, got: next.epoch) }
        let pot = chain.pot
        chain.pot = .zero
        try unlock(pot)
        for (member, part) in zip(committee.members, pot.split(by: committee.members.map(\.seats))) {
            try earn(member.account, part, .committee, chain.beacon)
        }
        state.set(.committee, .committee(next))
        chain.epoch = epoch
        chain.epochEnd = end
    }

    /// Writes the chain's record, checks the money, and hashes the state.
    mutating func seal(
        on reader: any StateReader, epoch: UInt64, committee: Committee, next: Committee?, receiptsRoot: Digest,
        transactionsRoot: Digest, transactionCount: Int
    ) throws -> Transition {
        guard try chain.supply.total() == chain.total else { throw BatchFault.notConserved }
        state.set(.chain, .chain(chain))
        let writes = state.writes
        var leaves: [StateKey: Digest?] = [:]
        for (key, value) in writes { leaves[key] = .some(value.map { Digest(sha256: $0) }) }
        let update = try SparseMerkleTree.update(root: reader.stateRoot, writes: leaves, reader: reader)
        return Transition(
            height: height, epoch: epoch, time: chain.time, beacon: chain.beacon, writes: writes, nodes: update.nodes,
            stale: update.stale, stateRoot: update.root, receiptsRoot: receiptsRoot,
            transactionsRoot: transactionsRoot, receiptOutcomes: outcomes, transactionCount: transactionCount,
            history: history, supply: chain.supply, committee: committee, next: next)
    }
}
