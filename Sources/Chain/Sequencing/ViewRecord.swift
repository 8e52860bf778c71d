// What one member knows of one view: the votes counted so far, the certificates they made, and what it voted itself.

import Ledger
import Primitives

struct ViewRecord {
    /// What this member has signed. Set when the vote is cast, before it is on disk: a second, different vote is then
    /// already impossible.
    struct Own {
        var notarized: Digest?
        var nullified = false
        var finalized = false
        /// Votes that are on disk, to be repeated.
        var durable: [SignedVote] = []
    }

    /// First proposal of the leader, by header digest.
    var proposal: Digest?
    /// The proposal can never be voted for.
    var refused = false
    var own = Own()
    var notarization: Certificate?
    var nullification: Certificate?
    private var notarizes: [Int: SignedVote] = [:]
    private var nullifies: [Int: SignedVote] = [:]
    private var finalizes: [Int: [UInt64: SignedVote]] = [:]
    private var accused: Set<Int> = []

    /// Whether anything at all happened in this view.
    func isTouched(_ committee: Committee) -> Bool {
        proposal != nil || notarization != nil || nullification != nil || !notarizes.isEmpty || own.nullified
            || own.notarized != nil || !finalizes.isEmpty || seats(nullifies.keys, committee) * 3 > committee.seats
    }

    enum Counted {
        /// Seen before.
        case known
        case counted
        /// Contradicts an earlier vote of the same member; it is not counted.
        case equivocation(SignedVote)
    }

    /// Counts a verified vote of member `index`.
    mutating func count(_ signed: SignedVote, of index: Int) -> Counted {
        let vote = signed.vote
        let contrary: SignedVote?
        switch vote.kind {
        case .notarize:
            if let earlier = notarizes[index] {
                guard earlier.vote != vote else { return .known }
                contrary = earlier
            } else {
                notarizes[index] = signed
                return .counted
            }
        case .nullify:
            guard nullifies[index] == nil else { return .known }
            contrary = finalizes[index]?.min { $0.key < $1.key }?.value
            if contrary == nil { nullifies[index] = signed }
        case .finalize:
            if let earlier = finalizes[index]?[vote.height] {
                guard earlier.vote != vote else { return .known }
                contrary = earlier
            } else {
                contrary = nullifies[index]
                if contrary == nil { finalizes[index, default: [:]][vote.height] = signed }
            }
        }
        guard let contrary else { return .counted }
        return accused.insert(index).inserted ? .equivocation(contrary) : .known
    }

    func holds(_ signed: SignedVote, of index: Int) -> Bool {
        switch signed.vote.kind {
        case .notarize: notarizes[index] == signed
        case .nullify: nullifies[index] == signed
        case .finalize: finalizes[index]?[signed.vote.height] == signed
        }
    }

    /// The certificate of `vote`, where the counted votes suffice.
    func certificate(of vote: Vote, committee: Committee) -> Certificate? {
        let votes: [SignedVote]
        switch vote.kind {
        case .notarize: votes = notarizes.values.filter { $0.vote == vote }
        case .nullify: votes = Array(nullifies.values)
        case .finalize: votes = finalizes.values.compactMap { $0[vote.height] }.filter { $0.vote == vote }
        }
        return Certificate(vote: vote, signatures: votes.map { ($0.key, $0.signature) }, committee: committee)
    }

    private func seats(_ indexes: some Sequence<Int>, _ committee: Committee) -> UInt64 {
        indexes.reduce(0) { $0 + committee.members[$1].seats }
    }
}

/// A batch that is not final yet.
struct PendingBatch {
    enum Execution { case unknown, asked, valid, invalid }

    let proposal: Proposal
    let digest: Digest
    var execution = Execution.unknown
    /// Its header follows its parent's and takes the leader's step of the beacon.
    var isChecked = false
    /// The latest view in which it was notarized.
    var notarizedView: UInt64?

    var header: Header { proposal.batch.header }
    /// The last batch of its epoch: nothing is built on it before it is final.
    var endsEpoch: Bool { header.next != nil }

    init(_ proposal: Proposal) {
        self.proposal = proposal
        digest = proposal.batch.header.digest
    }
}
