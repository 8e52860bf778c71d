// Consensus cores of up to sixteen members in one process, under one seed: a virtual clock, a network that loses,
// duplicates, delays and partitions, disks that lose what was not synced, one member that may lie, and the checks that
// must hold whatever happens.

import Ledger
import Primitives

@testable import Sequencing

struct Faults: Sendable {
    var lossPercent: UInt64 = 0
    var duplicatePercent: UInt64 = 0
    var delayMillisecondsMax: UInt64 = 20
    var crashEverySteps: Int?
    var partitionEverySteps: Int?
    /// The member that proposes two batches a view and votes for everything.
    var byzantine: Int?
    /// A planted bug: writes are reported as synced at once and lost in a crash.
    var syncIsALie = false
    var epochLength: UInt64 = 12
}

struct Violation: Error, CustomStringConvertible {
    let description: String
}

/// What a member has on disk, synced or not, and its application state: the final chain.
struct MemberHome {
    var records: [[UInt8]: VoteRecord] = [:]
    var unsynced: [(ticket: PersistTicket, record: VoteRecord, at: Instant)] = []
    var chain: [CertifiedBatch] = []
    var core: Consensus?
    var incarnation = 0
    var wakeAt: Instant?
    var work = false
    var evidence: [AccountID] = []
    var statuses: [ConsensusStatus] = []
}

final class ConsensusNetwork {
    private enum Happening {
        case message(ConsensusMessage, from: Int, to: Int)
        case synced(Int, PersistTicket, incarnation: Int)
        case wake(Int, incarnation: Int)
        case verified(Int, Digest, Bool, incarnation: Int)
        case built(Int, BuildRequest, incarnation: Int)
        case fetch(Int, from: UInt64, through: UInt64, incarnation: Int)
        case restart(Int)
        case heal
    }

    let keys: [SigningKey]
    let network = NetworkID(Digest(sha256: Array("a test network".utf8)))
    let genesis: Header
    let committee: Committee
    let faults: Faults
    var homes: [MemberHome]
    var now = Instant.start
    var random: SeededRandom
    var healed = false
    var groups: [Int]
    /// The certified header digests by height: the property that all this is for.
    var certified: [UInt64: Digest] = [:]
    var votesSeen: [PublicKey: [UInt64: Set<Vote>]] = [:]
    var steps = 0
    private var violation: Violation?
    private var queue: [(at: Instant, order: UInt64, happening: Happening)] = []
    private var order: UInt64 = 0
    private var trace: [UInt8] = []

    init(members: Int, seed: UInt64, faults: Faults) throws {
        self.faults = faults
        random = SeededRandom(seed: seed)
        keys = try (0..<members).map { try SigningKey(seed: Digest(sha256: Array("member \($0)".utf8)).bytes) }
        var real = keys.map { Member(account: $0.publicKey.account, key: $0.publicKey, seats: 1) }
        if members == 1 { real = [Member(account: real[0].account, key: real[0].key, seats: 64)] }
        committee = try Committee(epoch: 0, members: real)
        genesis = Header(
            network: network, height: 0, view: 0, epoch: 0, parent: .zero, time: WallTime(milliseconds: 0),
            stateRoot: .zero, receiptsRoot: MerkleTree.root(of: []), transactionsRoot: MerkleTree.root(of: []),
            receiptCount: 0, transactionCount: 0, proposer: real[0].account, committee: committee.digest, next: nil,
            beacon: Digest(sha256: [UInt8](repeating: UInt8(truncatingIfNeeded: seed), count: 8)), beaconProof: nil,
            supply: Supply(free: .one))
        homes = Array(repeating: MemberHome(), count: members)
        groups = Array(repeating: 0, count: members)
        for index in 0..<members { start(index) }
    }

    // MARK: Members

    private func committee(ofEpoch epoch: UInt64) -> Committee {
        guard let committee = try? Committee(epoch: epoch, members: committee.members) else {
            preconditionFailure("the same members in another epoch")
        }
        return committee
    }

    func start(_ index: Int) {
        let chain = homes[index].chain
        let tip =
            chain.last.map { FinalHeader(header: $0.header, certificate: $0.certificate) }
            ?? FinalHeader(header: genesis, certificate: nil)
        let epoch = tip.header.epoch + (tip.header.next == nil ? 0 : 1)
        let seed = ([genesis] + chain.map(\.header)).last { $0.next != nil && $0.epoch + 1 == epoch } ?? genesis
        var limits = ConsensusLimits()
        limits.batchIntervalMin = .milliseconds(50)
        homes[index].incarnation += 1
        homes[index].wakeAt = nil
        homes[index].core = Consensus(
            network: network, key: keys[index], tip: tip, committee: committee(ofEpoch: epoch), seed: seed.beacon,
            records: homes[index].records.values.sorted { $0.key.lexicographicallyPrecedes($1.key) }, limits: limits,
            now: now)
        for peer in homes.indices where peer != index { schedule(.message(.final(tip), from: index, to: peer), 1) }
        tell(index, .workAvailable(homes[index].work))
    }

    /// Kills a member: what was not synced is gone, except for what happened to reach the disk.
    func crash(_ index: Int) {
        homes[index].core = nil
        for write in homes[index].unsynced where !faults.syncIsALie && random.below(2) == 0 {
            homes[index].records[write.record.key] = write.record
        }
        homes[index].unsynced = []
        schedule(.restart(index), 200 + random.below(4000))
    }

    func setWork(_ available: Bool) {
        for index in homes.indices {
            homes[index].work = available
            tell(index, .workAvailable(available))
        }
    }

    private func schedule(_ happening: Happening, _ milliseconds: UInt64) {
        order += 1
        push((now + .milliseconds(milliseconds), order, happening))
    }

    // MARK: A binary heap by time, then by order

    private func precedes(_ left: Int, _ right: Int) -> Bool {
        (queue[left].at, queue[left].order) < (queue[right].at, queue[right].order)
    }

    private func push(_ entry: (at: Instant, order: UInt64, happening: Happening)) {
        queue.append(entry)
        var child = queue.count - 1
        while child > 0, precedes(child, (child - 1) / 2) {
            queue.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private func pop() -> (at: Instant, order: UInt64, happening: Happening)? {
        guard !queue.isEmpty else { return nil }
        queue.swapAt(0, queue.count - 1)
        let first = queue.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < queue.count && precedes(child, least) {
                least = child
            }
            guard least != parent else { return first }
            queue.swapAt(parent, least)
            parent = least
        }
    }

    // MARK: Running

    /// Runs until `isDone` or until the virtual time or the steps are over.
    func run(until end: Instant, stepsMax: Int = 200_000, while isDone: () -> Bool = { false }) throws {
        while steps < stepsMax, !isDone(), let entry = pop() {
            guard entry.at <= end else {
                push(entry)
                now = end
                return
            }
            now = entry.at
            steps += 1
            try perform(entry.happening)
            if let violation { throw violation }
            if !healed { misbehave() }
        }
    }

    func heal() {
        healed = true
        groups = groups.map { _ in 0 }
    }

    private func misbehave() {
        if let every = faults.crashEverySteps, steps % every == 0 {
            let index = Int(random.below(UInt64(homes.count)))
            if homes[index].core != nil { crash(index) }
        }
        if let every = faults.partitionEverySteps, steps % every == 0 {
            groups = groups.map { _ in Int(random.below(2)) }
            schedule(.heal, 2000 + random.below(5000))
        }
    }

    private func perform(_ happening: Happening) throws {
        switch happening {
        case .message(let message, let from, let to):
            guard homes[to].core != nil, groups[from] == groups[to] else { return }
            try handle(to, .received(message, from: keys[from].publicKey.peerID))
        case .synced(let index, let ticket, let incarnation):
            guard incarnation == homes[index].incarnation, homes[index].core != nil else { return }
            if let place = homes[index].unsynced.firstIndex(where: { $0.ticket == ticket }) {
                let record = homes[index].unsynced.remove(at: place).record
                homes[index].records[record.key] = record
            }
            try handle(index, .synced(ticket))
        case .wake(let index, let incarnation):
            guard incarnation == homes[index].incarnation, homes[index].core != nil else { return }
            try handle(index, .elapsed)
        case .verified(let index, let digest, let isValid, let incarnation):
            guard incarnation == homes[index].incarnation, homes[index].core != nil else { return }
            try handle(index, .verified(digest, isValid))
        case .built(let index, let request, let incarnation):
            guard incarnation == homes[index].incarnation, homes[index].core != nil else { return }
            guard homes[index].work || request.evenIfEmpty else {
                return try handle(index, .built(view: request.view, nil))
            }
            try handle(index, .built(view: request.view, batch(for: request, variant: 0)))
        case .fetch(let index, let from, let through, let incarnation):
            guard incarnation == homes[index].incarnation, homes[index].core != nil else { return }
            let peer = Int(random.below(UInt64(homes.count)))
            guard groups[peer] == groups[index] else { return }
            let batches = homes[peer].chain.filter { $0.header.height >= from && $0.header.height <= through }
            try handle(index, .fetched(batches, from: keys[peer].publicKey.peerID))
        case .restart(let index):
            if homes[index].core == nil { start(index) }
        case .heal: groups = groups.map { _ in 0 }
        }
    }

    private func tell(_ index: Int, _ event: ConsensusEvent) {
        guard homes[index].core != nil else { return }
        do {
            try handle(index, event)
        } catch {
            violation = error as? Violation
        }
    }

    private func handle(_ index: Int, _ event: ConsensusEvent) throws {
        guard let effects = homes[index].core?.handle(event, now: now) else { return }
        for effect in effects { try perform(effect, of: index) }
    }

    private func perform(_ effect: ConsensusEffect, of index: Int) throws {
        let incarnation = homes[index].incarnation
        switch effect {
        case .broadcast(let message):
            try watch(message, of: index)
            for peer in homes.indices where peer != index {
                deliver(altered(message, of: index, to: peer), index, peer)
            }
            if index == faults.byzantine { echo(message, index) }
        case .send(let message, let to):
            guard let peer = keys.firstIndex(where: { $0.publicKey.peerID == to }) else { return }
            deliver(message, index, peer)
        case .persist(let record, let ticket):
            if faults.syncIsALie {
                schedule(.synced(index, ticket, incarnation: incarnation), 0)
            } else {
                homes[index].unsynced.append((ticket, record, now))
                schedule(.synced(index, ticket, incarnation: incarnation), 1 + random.below(8))
            }
        case .discard(let view):
            homes[index].records = homes[index].records.filter { $0.value.view > view }
        case .verify(let batch, let parent):
            let isValid = batch.header.parent == parent.digest && batch.header.supply == genesis.supply
            schedule(.verified(index, batch.header.digest, isValid, incarnation: incarnation), random.below(5))
        case .build(let request):
            schedule(.built(index, request, incarnation: incarnation), 1 + random.below(5))
        case .final(let batch): try finalized(batch, at: index)
        case .needBatches(let from, let through):
            schedule(.fetch(index, from: from, through: through, incarnation: incarnation), 5 + random.below(50))
        case .evidence(let accused, let first, let second):
            guard first.isValid(network: network), second.isValid(network: network), first.vote != second.vote else {
                throw Violation(description: "evidence that proves nothing")
            }
            homes[index].evidence.append(accused)
        case .status(let status): homes[index].statuses.append(status)
        case .fault(let fault, let from):
            guard keys.firstIndex(where: { $0.publicKey.peerID == from }) == faults.byzantine else {
                throw Violation(description: "an honest peer was accused of \(fault)")
            }
        case .wake(let at):
            homes[index].wakeAt = at
            order += 1
            push((max(at, now), order, .wake(index, incarnation: incarnation)))
        }
    }

    private func deliver(_ message: ConsensusMessage, _ from: Int, _ to: Int) {
        guard healed || random.below(100) >= faults.lossPercent else { return }
        schedule(.message(message, from: from, to: to), 1 + random.below(faults.delayMillisecondsMax))
        if !healed, random.below(100) < faults.duplicatePercent {
            schedule(.message(message, from: from, to: to), 1 + random.below(10 * faults.delayMillisecondsMax))
        }
    }

    // MARK: The owner's part

    func batch(for request: BuildRequest, variant: UInt64) -> Batch {
        let isLast = request.height % faults.epochLength == 0
        let next = isLast ? committee(ofEpoch: request.epoch + 1) : nil
        let header = Header(
            network: network, height: request.height, view: request.view, epoch: request.epoch,
            parent: request.parent.digest, time: WallTime(milliseconds: request.parent.time.milliseconds + 1),
            stateRoot: Digest(sha256: "\(request.height) \(request.view) \(variant)".utf8.map { $0 }),
            receiptsRoot: MerkleTree.root(of: []), transactionsRoot: MerkleTree.root(of: []), receiptCount: 0,
            transactionCount: 0, proposer: request.proposer, committee: request.committee.digest, next: next?.digest,
            beacon: request.step.beacon, beaconProof: request.step.proof, supply: genesis.supply)
        return Batch(header: header, contents: BatchContents(next: next))
    }

    // MARK: The liar

    /// Shows half of the network another proposal than the other half.
    private func altered(_ message: ConsensusMessage, of index: Int, to peer: Int) -> ConsensusMessage {
        guard !healed, index == faults.byzantine, case .proposal(let proposal) = message, peer % 2 == 1,
            proposal.batch.header.view == proposal.vote.vote.view
        else { return message }
        var header = proposal.batch.header
        header.stateRoot = Digest(sha256: header.stateRoot.bytes)
        let vote = Vote(
            kind: .notarize, height: header.height, view: header.view, digestVoted: header.digest)
        return .proposal(
            Proposal(
                batch: Batch(header: header, contents: proposal.batch.contents),
                vote: SignedVote(vote, by: keys[index], network: network)))
    }

    /// Votes to finalize whatever it votes to notarize, and nullifies it as well.
    private func echo(_ message: ConsensusMessage, _ index: Int) {
        guard !healed, case .votes(let votes) = message, let vote = votes.first?.vote, vote.kind == .notarize else {
            return
        }
        let lies = [
            Vote(kind: .finalize, height: vote.height, view: vote.view, digestVoted: vote.digestVoted),
            Vote(kind: .nullify, height: 0, view: vote.view, digestVoted: .zero),
        ].map { SignedVote($0, by: keys[index], network: network) }
        for peer in homes.indices where peer != index { deliver(.votes(lies), index, peer) }
    }

    // MARK: The checks

    private func watch(_ message: ConsensusMessage, of index: Int) throws {
        let votes: [SignedVote]
        switch message {
        case .proposal(let proposal): votes = [proposal.vote]
        case .votes(let some): votes = some
        case .standing(let standing): votes = standing.votes
        default: votes = []
        }
        guard index != faults.byzantine else { return }
        for signed in votes where signed.key == keys[index].publicKey {
            let vote = signed.vote
            votesSeen[signed.key, default: [:]][vote.view, default: []].insert(vote)
            for other in votesSeen[signed.key]?[vote.view] ?? [] {
                let contradicts =
                    switch (vote.kind, other.kind) {
                    case (.notarize, .notarize): vote != other
                    case (.finalize, .finalize): vote.height == other.height && vote != other
                    case (.finalize, .nullify), (.nullify, .finalize): true
                    default: false
                    }
                if contradicts { throw Violation(description: "member \(index) sent \(vote) and \(other)") }
            }
        }
    }

    private func finalized(_ batch: CertifiedBatch, at index: Int) throws {
        let header = batch.header
        let expected = homes[index].chain.last?.header ?? genesis
        guard header.parent == expected.digest, header.height == expected.height + 1 else {
            throw Violation(description: "member \(index) made height \(header.height) final out of order")
        }
        if let known = certified[header.height], known != header.digest {
            throw Violation(description: "two certified headers at height \(header.height)")
        }
        certified[header.height] = header.digest
        let committee = committee(ofEpoch: header.epoch)
        do {
            try batch.certificate.verify(network: network, committee: committee)
        } catch {
            throw Violation(description: "a certificate of height \(header.height) is bad: \(error)")
        }
        homes[index].chain.append(batch)
        trace += header.digest.bytes
    }

    /// What happened, in one number: the same seed must give the same.
    var traceDigest: Digest { Digest(sha256: trace + UInt64(steps).bigEndianBytes + now.nanoseconds.bigEndianBytes) }
    var heights: [UInt64] { homes.map { $0.chain.last?.header.height ?? 0 } }
}
