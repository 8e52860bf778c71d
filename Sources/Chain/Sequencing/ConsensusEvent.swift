// The door of consensus: what its owner tells it, and what it asks its owner to do.

package import Ledger
package import Primitives

/// Names a write that the owner was asked for.
package struct PersistTicket: Hashable, Comparable, Sendable {
    package let number: UInt64

    package static func < (left: Self, right: Self) -> Bool { left.number < right.number }
}

package enum ConsensusEvent: Sendable {
    /// A decoded message of a peer. Whoever sent it, votes and certificates in it speak for themselves.
    case received(ConsensusMessage, from: PeerID)
    /// A peer that may be behind, or ahead: it is told the last final header.
    case connected(PeerID)
    /// The record of `.persist` is on disk.
    case synced(PersistTicket)
    /// The owner executed the batch of `.verify`: is it right in every respect?
    case verified(Digest, Bool)
    /// The answer to `.build`; nil where there is nothing to put into a batch, or nothing to execute it on.
    case built(view: UInt64, Batch?)
    /// Whether the pools hold anything that belongs into a batch. Told whenever it changes, and after every `.final`.
    case workAvailable(Bool)
    /// Final batches fetched from a peer, in ascending order, in answer to `.needBatches`.
    case fetched([CertifiedBatch], from: PeerID)
    /// The time of `.wake` has come. Harmless at any other time.
    case elapsed
}

/// What a leader's owner is asked to make.
package struct BuildRequest: Hashable, Sendable {
    package let view: UInt64
    package let height: UInt64
    package let epoch: UInt64
    /// The header to build on. It is final, or was verified and reported by `.verified`, or built by the owner itself.
    package let parent: Header
    package let committee: Committee
    package let proposer: AccountID
    package let step: BeaconStep
    /// A batch is due whether or not there is anything to put in it.
    package let evenIfEmpty: Bool
}

package enum ConsensusStatus: Hashable, Sendable {
    case live
    /// There is work and nothing became final since then: a third or more of the seats are not reachable. Nothing is
    /// lost and nothing contradictory can be certified; the chain goes on when they are back.
    case stalled(since: Instant)
}

package enum ConsensusEffect: Sendable {
    /// To every other member of the committee.
    case broadcast(ConsensusMessage)
    case send(ConsensusMessage, to: PeerID)
    /// Write durably, then tell `.synced`. Records come back at the next start.
    case persist(VoteRecord, PersistTicket)
    /// Records of this view and all before it are not needed any more.
    case discard(throughView: UInt64)
    /// Execute the batch on the state after `parent` (verified or final) and tell `.verified`.
    case verify(Batch, parent: Header)
    case build(BuildRequest)
    /// The next final batch, in order of height. Make it the chain's state.
    case final(CertifiedBatch)
    /// Fetch these final batches from any peer and hand them in as `.fetched`. Repeated while they are missing.
    case needBatches(from: UInt64, through: UInt64)
    /// Two votes of one member that no honest member gives.
    case evidence(accused: AccountID, first: SignedVote, second: SignedVote)
    case status(ConsensusStatus)
    /// A peer said something that no honest peer says.
    case fault(ConsensusFault, from: PeerID)
    /// Tell `.elapsed` then. The newest replaces those before it.
    case wake(Instant)
}

package enum ConsensusFault: Error, Hashable, Sendable {
    case notAMember(PublicKey)
    case badVote(view: UInt64)
    case badCertificate(CertificateFault)
    case notTheLeader(view: UInt64)
    case malformedProposal(view: UInt64)
    case badHeader(HeaderFault)
    case badBeacon(view: UInt64)
    case inconsistentBatch(height: UInt64)
    case notInOrder(expected: UInt64, got: UInt64)
}
