// What members of a committee say to each other, one dag-cbor map a message, named by "type". A message is decoded
// strictly and within bounds before anything in it is believed; signatures are the core's business.

package import Ledger
package import Primitives

/// A batch offered for a view, with the leader's own notarize vote as his signature on it. The vote's view is above the
/// header's where the last batch of an epoch is offered again.
package struct Proposal: Hashable, Sendable {
    package let batch: Batch
    package let vote: SignedVote

    package init(batch: Batch, vote: SignedVote) {
        self.batch = batch
        self.vote = vote
    }
}

/// A header with the certificate that makes it final; genesis has none.
package struct FinalHeader: Hashable, Sendable {
    package let header: Header
    package let certificate: Certificate?

    package init(header: Header, certificate: Certificate?) {
        self.header = header
        self.certificate = certificate
    }
}

/// Where a member stands: repeated while something is undecided, so that lost messages heal.
package struct Standing: Hashable, Sendable {
    /// Height of the last final header.
    package var height: UInt64
    package var view: UInt64
    package var votes: [SignedVote]
    package var certificates: [Certificate]
}

/// What a member lacks: certificates of views, batches by header digest.
package struct Want: Hashable, Sendable {
    package var views: [UInt64]
    package var batches: [Digest]
}

package enum ConsensusMessage: Hashable, Sendable {
    case proposal(Proposal)
    case votes([SignedVote])
    case certificate(Certificate)
    case standing(Standing)
    case final(FinalHeader)
    case want(Want)
}

extension ConsensusMessage {
    package func encoded() -> [UInt8] {
        switch self {
        case .proposal(let proposal):
            CBOR.map(["type": .text("proposal"), "proposal": proposal.cbor]).encoded()
        case .votes(let votes):
            CBOR.map(["type": .text("votes"), "votes": .array(votes.map(\.cbor))]).encoded()
        case .certificate(let certificate):
            CBOR.map(["type": .text("certificate"), "certificate": certificate.cbor]).encoded()
        case .standing(let standing):
            CBOR.map([
                "type": .text("standing"), "height": .unsigned(standing.height), "view": .unsigned(standing.view),
                "votes": .array(standing.votes.map(\.cbor)),
                "certificates": .array(standing.certificates.map(\.cbor)),
            ]).encoded()
        case .final(let final):
            CBOR.map([
                "type": .text("final"), "header": final.header.cbor,
                "certificate": final.certificate?.cbor ?? .null,
            ]).encoded()
        case .want(let want):
            CBOR.map([
                "type": .text("want"), "views": .array(want.views.map(CBOR.unsigned)),
                "batches": .array(want.batches.map { .bytes($0.bytes) }),
            ]).encoded()
        }
    }

    /// - Throws: `CBORFault`, naming the field.
    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        let limits = CBORLimits(bytesMax: ConsensusLimits.messageBytesMax, valuesMax: 2_000_000)
        var fields = try CBORFields(decoding: bytes, "ConsensusMessage", limits: limits)
        switch try fields.text("type", max: 16) {
        case "proposal": self = .proposal(try Proposal(cbor: fields.value("proposal")))
        case "votes":
            let votes = try fields.votes("votes")
            guard !votes.isEmpty else { throw fields.fault("votes", "is empty") }
            self = .votes(votes)
        case "certificate": self = .certificate(try Certificate(cbor: fields.value("certificate")))
        case "standing":
            var certificates: [Certificate] = []
            for item in try fields.array("certificates", max: ConsensusLimits.certificatesPerMessageMax) {
                certificates.append(try Certificate(cbor: item))
            }
            self = .standing(
                Standing(
                    height: try fields.unsigned("height"), view: try fields.unsigned("view"),
                    votes: try fields.votes("votes"), certificates: certificates))
        case "final":
            let header = try Header(cbor: fields.value("header"))
            let value = try fields.value("certificate")
            self = .final(
                FinalHeader(header: header, certificate: value == .null ? nil : try Certificate(cbor: value)))
        case "want":
            var want = Want(views: [], batches: [])
            for item in try fields.array("views", max: ConsensusLimits.wantedMax) {
                guard case .unsigned(let view) = item else { throw fields.fault("views", "holds no view") }
                want.views.append(view)
            }
            for item in try fields.array("batches", max: ConsensusLimits.wantedMax) {
                guard case .bytes(let raw) = item, let digest = Digest(raw) else {
                    throw fields.fault("batches", "holds something that is not a digest")
                }
                want.batches.append(digest)
            }
            self = .want(want)
        default: throw fields.fault("type", "is not a known message")
        }
        try fields.finish()
    }
}

extension Proposal {
    var cbor: CBOR { .map(["batch": batch.cbor, "vote": vote.cbor]) }

    init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Proposal")
        batch = try Batch(cbor: fields.value("batch"))
        vote = try SignedVote(cbor: fields.value("vote"))
        try fields.finish()
    }
}

/// What must be on disk before a vote is on the wire: the votes, and the batch that a notarize vote is for, so that no
/// crash of all members can lose a batch that a quorum voted for.
package struct VoteRecord: Hashable, Sendable {
    package let votes: [SignedVote]
    package let proposal: Proposal?

    /// The view the record belongs to; the owner keeps records until `.discard` names their view.
    package var view: UInt64 { votes.first?.vote.view ?? 0 }

    /// A key that sorts by view, for the owner's table: a member makes at most one record of a kind in a view.
    package var key: [UInt8] {
        let kind: UInt8 =
            switch votes.first?.vote.kind {
            case .notarize: 0
            case .nullify: 1
            case .finalize, nil: 2
            }
        return view.bigEndianBytes + [kind]
    }

    package func encoded() -> [UInt8] {
        CBOR.map(["votes": .array(votes.map(\.cbor)), "proposal": proposal?.cbor ?? .null]).encoded()
    }

    package init(votes: [SignedVote], proposal: Proposal?) {
        precondition(!votes.isEmpty, "a record of nothing")
        self.votes = votes
        self.proposal = proposal
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        let limits = CBORLimits(bytesMax: ConsensusLimits.messageBytesMax, valuesMax: 2_000_000)
        var fields = try CBORFields(decoding: bytes, "VoteRecord", limits: limits)
        votes = try fields.votes("votes")
        guard !votes.isEmpty else { throw fields.fault("votes", "is empty") }
        let value = try fields.value("proposal")
        proposal = value == .null ? nil : try Proposal(cbor: value)
        try fields.finish()
    }
}

extension CBORFields {
    mutating func votes(_ key: String) throws(CBORFault) -> [SignedVote] {
        var votes: [SignedVote] = []
        for item in try array(key, max: ConsensusLimits.votesPerMessageMax) { votes.append(try SignedVote(cbor: item)) }
        return votes
    }
}
