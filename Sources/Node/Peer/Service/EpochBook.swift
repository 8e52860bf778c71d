// Committees of past epochs, by the hand-overs in the last batch of each: what a certificate is read with, and what a
// bundle carries from the genesis to its batch.

import Gateway
import Ledger
import NodeCore
import Primitives
import Storage
import Synchronization

final class EpochBook: Sendable {
    private let store: NodeStore
    private let genesis: Genesis
    /// Of epochs 0, 1, … in order.
    private let known = Mutex([Handover]())

    init(store: NodeStore, genesis: Genesis) {
        self.store = store
        self.genesis = genesis
    }

    /// Hand-overs from the genesis committee to the one of `epoch`; fewer where this store does not have them.
    func handovers(to epoch: UInt64) throws(StorageFault) -> [Handover] {
        var handovers = known.withLock { $0 }
        let length = genesis.parameters.epochLength
        while UInt64(handovers.count) < epoch {
            // An epoch ends when its length is reached: looked for from there on.
            let (next, overflow) = (handovers.last?.header.height ?? 0).addingReportingOverflow(length)
            guard !overflow, let batch = try store.batch(next), let committee = batch.batch.contents.next else { break }
            handovers.append(Handover(header: batch.header, certificate: batch.certificate, next: committee))
        }
        let found = handovers
        known.withLock { if found.count > $0.count { $0 = found } }
        return Array(handovers.prefix(Int(clamping: epoch)))
    }

    /// In office when `header` was certified.
    func committee(of header: Header) throws(StorageFault) -> Committee? {
        let handovers = try handovers(to: header.epoch)
        let committee = handovers.last?.next ?? genesis.committee
        return committee.digest == header.committee ? committee : nil
    }
}
