// Follows a network without its state: committees by hand-overs from a checkpoint, headers by certificates. A
// hand-over is a few kilobytes an epoch; headers within an epoch may be skipped.
//
//   checkpoint committee ──hand-over──▶ committee ──hand-over──▶ committee ──certificate──▶ header ──proof──▶ receipt, state

public import Ledger
public import Primitives

public struct HeaderChain: Sendable {
    public let network: NetworkID
    /// In office after everything taken so far.
    public private(set) var committee: Committee
    /// The newest header taken.
    public private(set) var newest: Header?

    /// - Parameter committee: the checkpoint's, in full.
    /// - Returns: nil unless it is the one that the checkpoint names.
    public init?(checkpoint: Checkpoint, committee: Committee) {
        guard committee.digest == checkpoint.committee else { return nil }
        network = checkpoint.network
        self.committee = committee
    }

    /// Takes the next hand-over.
    public mutating func advance(_ handover: Handover) throws(CertificateFault) {
        committee = try Self.verify(handover, network: network, from: committee)
        newest = handover.header
    }

    /// Takes a header of the present epoch; older ones than the newest are verified and change nothing.
    public mutating func accept(_ header: Header, _ certificate: Certificate) throws(CertificateFault) {
        guard header.network == network else { throw .wrongNetwork }
        try Self.verify(header, certificate, by: committee)
        if header.height > newest?.height ?? 0 { newest = header }
    }

    /// Whether the state after the newest header holds `value` (its encoding) under `key`.
    public func proves(_ key: StateKey, holds value: [UInt8], by proof: SparseMerkleProof) -> Bool {
        newest.map { proof.proves(key, holds: value, root: $0.stateRoot) } ?? false
    }

    /// Whether `certificate` makes `header` final. Its view may be above the header's: a batch that a later view
    /// finalizes is certified there (Protocol/sequencing.md).
    public static func verify(
        _ header: Header, _ certificate: Certificate, by committee: Committee
    ) throws(CertificateFault) {
        guard header.committee == committee.digest, header.epoch == committee.epoch else { throw .wrongCommittee }
        guard certificate.vote.kind == .finalize else { throw .notFinal(certificate.vote.kind) }
        guard certificate.vote.digestVoted == header.digest, certificate.vote.height == header.height,
            certificate.vote.view >= header.view
        else { throw .otherHeader }
        try certificate.verify(network: header.network, committee: committee)
    }

    /// - Returns: the committee of the epoch that begins.
    public static func verify(
        _ handover: Handover, network: NetworkID, from committee: Committee
    ) throws(CertificateFault) -> Committee {
        guard handover.header.network == network else { throw .wrongNetwork }
        try verify(handover.header, handover.certificate, by: committee)
        guard handover.header.next == handover.next.digest, committee.epoch < .max,
            handover.next.epoch == committee.epoch + 1
        else { throw .noHandover }
        return handover.next
    }
}
