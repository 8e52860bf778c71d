// The Byzantine peer: a real node between whose mouth and the wire somebody sits who has its key. It proposes two batches
// in a view, votes both ways, bills too much, leaves without paying, damages blocks, says old things again, answers with
// other tokens than its model's, and bears false witness against others' answers.

import Gossip
import Ledger
import NodeCore
import Primitives
import Records
import Sequencing

struct Liar {
    let home: Int
    private let network: NetworkID
    private let key: SigningKey
    private var random: SeededRandom
    /// Another batch for a view that it leads, as good as the one its node made.
    private var twins: [UInt64: Batch] = [:]
    private var replayable: [(topic: GossipTopic, data: [UInt8])] = []
    /// What it was shown to audit.
    private var shown: [Digest: (receipt: SignedReceipt, opening: AuditOpening)] = [:]
    private var lastSequence: UInt64 = 1 << 62
    private static let kept = 64

    init(home: Int, network: NetworkID, key: SigningKey, random: SeededRandom) {
        self.home = home
        self.network = network
        self.key = key
        self.random = random
    }

    mutating func run(_ job: ExecutionJob) -> ExecutionOutcome {
        let outcome = job.run()
        guard case .built(let request, .some, _, _, _) = outcome.result else { return outcome }
        let later = ExecutionJob(
            purpose: job.purpose, state: job.state, network: job.network, wall: job.wall.adding(milliseconds: 7),
            verified: job.verified)
        if case .built(_, let twin?, _, _, _) = later.run().result {
            if twins.count >= Self.kept { twins = [:] }
            twins[request.view] = twin
        }
        return outcome
    }

    mutating func overheard(_ bytes: [UInt8], _ pipe: Pipe) {
        if pipe.protocolName == NodeProtocol.audit,
            case .audit(let receipt, let opening)? = try? AuditMessage(decoding: bytes)
        {
            if shown.count >= Self.kept { shown = [:] }
            shown[receipt.id] = (receipt, opening)
            slander(receipt, opening)
        }
        guard pipe.protocolName == NodeProtocol.headers, let certified = try? CertifiedBatch(decoding: bytes) else {
            return
        }
        remember(certified)
    }

    mutating func remember(_ certified: CertifiedBatch) {
        let contents = certified.batch.contents
        replayable += contents.receipts.map { (Topics.receipts(network), $0.encoded()) }
        replayable += contents.transactions.map { (Topics.transactions(network), $0.encoded()) }
        replayable = Array(replayable.suffix(Self.kept))
    }

    /// What goes to `peer` instead of `bytes`.
    mutating func twist(_ bytes: [UInt8], _ pipe: Pipe, to peer: Int) -> [[UInt8]] {
        switch pipe.protocolName {
        case NodeProtocol.consensus: twistConsensus(bytes, to: peer)
        case NodeProtocol.infer: pipe.acceptor == home ? overcharge(bytes) : cheat(bytes)
        case NodeProtocol.bitswap: damage(bytes)
        case NodeProtocol.audit: contradict(bytes)
        case let name where NodeProtocol.gossip.contains(name): [bytes] + replay()
        default: [bytes]
        }
    }

    private mutating func twistConsensus(_ bytes: [UInt8], to peer: Int) -> [[UInt8]] {
        guard let message = try? ConsensusMessage(decoding: bytes) else { return [bytes] }
        switch message {
        case .proposal(let proposal):
            guard let twin = twins[proposal.vote.vote.view], proposal.vote.key == key.publicKey else { return [bytes] }
            let vote = Vote(
                kind: .notarize, height: twin.header.height, view: twin.header.view, digestVoted: twin.header.digest)
            let other = ConsensusMessage.proposal(
                Proposal(batch: twin, vote: SignedVote(vote, by: key, network: network)))
            switch peer % 3 {
            case 0: return [bytes]
            case 1: return [other.encoded()]
            default: return [other.encoded(), bytes]
            }
        case .votes(let votes):
            guard random.below(2) == 0 else { return [bytes] }
            return [bytes, ConsensusMessage.votes(votes.map(contrary)).encoded()]
        default: return [bytes]
        }
    }

    /// A vote in the same view that no honest member gives besides this one.
    private func contrary(_ signed: SignedVote) -> SignedVote {
        let vote = signed.vote
        let other: Vote
        switch vote.kind {
        case .notarize:
            let digest = twins[vote.view]?.header.digest ?? Digest(sha256: vote.digestVoted.bytes)
            other = Vote(kind: .notarize, height: vote.height, view: vote.view, digestVoted: digest)
        case .nullify:
            other = Vote(
                kind: .finalize, height: vote.height + 1, view: vote.view,
                digestVoted: twins[vote.view]?.header.digest ?? Digest(sha256: [4]))
        case .finalize: other = Vote(kind: .nullify, height: 0, view: vote.view, digestVoted: .zero)
        }
        return SignedVote(other, by: key, network: network)
    }

    private mutating func overcharge(_ bytes: [UInt8]) -> [[UInt8]] {
        guard random.below(2) == 0, let message = try? InferMessage(decoding: bytes) else { return [bytes] }
        switch message {
        case .receipt(var receipt, _, let end, let sources):
            receipt.amount = (try? receipt.amount.adding(.one)) ?? receipt.amount
            receipt.total = (try? receipt.total.adding(.one)) ?? receipt.total
            let signature = key.sign(receipt.signingBytes())
            return [InferMessage.receipt(receipt, server: signature, end: end, sources: sources).encoded()]
        case .due(let total): return [InferMessage.due((try? total.adding(.one)) ?? total).encoded()]
        default: return [bytes]
        }
    }

    /// A payer that takes what it gets and signs for less of it.
    private mutating func cheat(_ bytes: [UInt8]) -> [[UInt8]] {
        guard let message = try? InferMessage(decoding: bytes) else { return [bytes] }
        switch message {
        case .voucher, .countersign: return random.below(3) == 0 ? [] : [bytes]
        default: return [bytes]
        }
    }

    /// Whether the shares are not the evidence's any more: half of what the first row has goes to this peer's own.
    mutating func corrupt(_ sources: inout [SourceNote]) -> Bool {
        guard let first = sources.first, first.share.value >= 2, random.below(4) != 0 else { return false }
        let rest = first.share.value / 2
        var own = first
        own.row = 999
        own.contributor = key.publicKey.account
        own.share = PartsPerMillion(rest)
        own.reason = nil
        sources[0].share = PartsPerMillion(first.share.value - rest)
        sources.append(own)
        let paid = sources.filter { $0.share > .none }.sorted { ($1.share, $0.row) < ($0.share, $1.row) }
        sources = paid + sources.filter { $0.share == .none }
        return true
    }

    /// Whether the answer is not the model's any more.
    mutating func corrupt(_ tokens: inout [UInt32]) -> Bool {
        guard !tokens.isEmpty, random.below(4) != 0 else { return false }
        tokens[Int(random.below(UInt64(tokens.count)))] += 1000
        return true
    }

    private func falsehood(_ receipt: SignedReceipt, _ opening: AuditOpening, by key: SigningKey) -> SignedVerdict? {
        guard let first = opening.answerTokens.first else { return nil }
        return AuditVerdict(
            receipt.id, .differs(position: 0, found: first &+ 7), of: opening,
            numerics: receipt.receipt.model.numerics, height: 1,
            time: WallTime(milliseconds: SimulatedWorld.wallStart)
        ).map { SignedVerdict($0, by: key, network: network) }
    }

    private mutating func contradict(_ bytes: [UInt8]) -> [[UInt8]] {
        guard case .verdict(let signed)? = try? AuditMessage(decoding: bytes), random.below(2) == 0,
            let entry = shown[signed.verdict.receipt],
            let other = falsehood(entry.receipt, entry.opening, by: key)
        else { return [bytes] }
        return [AuditMessage.verdict(other).encoded()]
    }

    /// Evidence that is perfect but for its truth: with a second key of its own, everything in it holds.
    private mutating func slander(_ receipt: SignedReceipt, _ opening: AuditOpening) {
        guard receipt.receipt.serverKey != key.publicKey,
            let puppet = try? SigningKey(seed: Digest(sha256: key.publicKey.bytes).bytes),
            let one = falsehood(receipt, opening, by: key), let two = falsehood(receipt, opening, by: puppet)
        else { return }
        let evidence = AuditEvidence(receipt: receipt, opening: opening, verdicts: [one, two])
        let envelope = SignedEnvelope(evidence.encoded(), by: key, domain: .evidence, network: network)
        replayable = Array((replayable + [(Topics.catalog(network), envelope.encoded())]).suffix(Self.kept))
    }

    private mutating func damage(_ bytes: [UInt8]) -> [[UInt8]] {
        guard bytes.count > 64, random.below(3) == 0 else { return [bytes] }
        var damaged = bytes
        damaged[Int(random.below(UInt64(bytes.count)))] ^= 1 << UInt8(random.below(8))
        return [damaged]
    }

    private mutating func replay() -> [[UInt8]] {
        guard !replayable.isEmpty, random.below(8) == 0 else { return [] }
        let old = replayable[Int(random.below(UInt64(replayable.count)))]
        lastSequence += 1
        let message = GossipMessage(signedBy: key, topic: old.topic, data: old.data, sequence: lastSequence)
        // RPC { publish (2): Message { from 1, data 2, seqno 3, topic 4, signature 5 } }
        let body =
            field(1, message.author.bytes) + field(2, message.data) + field(3, message.sequence)
            + field(4, Array(message.topic.utf8)) + field(5, message.signature.bytes)
        return [field(2, body)]
    }

    private func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
        [number << 3 | 2] + Varint.encode(UInt64(bytes.count)) + bytes
    }
}
