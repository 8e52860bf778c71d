// Datanets: the book says which blocks it wants and what to store, remember and announce; this performs it. Its blocks
// come through one Bitswap session of their own, from this disk first.

import BlockExchange
package import Datanets
import Ledger
package import Primitives
import Records

struct HoldingDesk: Sendable {
    static let session = SessionID(.max)
    /// Rows of a contribution whose hashes are kept for the next start; those of a larger one are read again.
    static let checkedRowsMax = 1 << 16

    var book: DatanetBook
    /// Blocks looked for on this disk for the book.
    var reads: [Ticket: CID] = [:]
    /// Somebody waits for a datanet to be complete here.
    struct Waiter: Sendable {
        let command: CommandID
        let snapshot: CID
        var deadline: Instant
        /// Were there while it waited.
        var seen: Set<PeerID>
    }

    var waiters: [DatanetID: [Waiter]] = [:]
    /// Wanted blocks that no connected peer has.
    var missing: Set<CID> = []
    var progress: (blocks: Int, bytes: UInt64) = (0, 0)
    var servers: Set<PeerID> = []

    /// Peers that were not there before give those who wait more time.
    mutating func offer(_ peers: [PeerID], until least: Instant) {
        change { waiter in
            for peer in peers where waiter.seen.insert(peer).inserted { waiter.deadline = max(waiter.deadline, least) }
        }
    }

    mutating func change(_ body: (inout Waiter) -> Void) {
        for id in waiters.keys.sorted() {
            waiters[id] = waiters[id]?.map { waiter in
                var waiter = waiter
                body(&waiter)
                return waiter
            }
        }
    }

    mutating func cancel(_ command: CommandID) {
        for id in waiters.keys.sorted() {
            waiters[id]?.removeAll { $0.command == command }
            if waiters[id]?.isEmpty == true { waiters[id] = nil }
        }
    }
}

extension Node {
    package var datanets: DatanetBook { holding.book }

    /// Takes up what an earlier run held.
    mutating func resumeDatanets() {
        for entry in catalog.all(.datanet) where holds(entry) {
            run(holding.book.handle(.held(entry), now: moment.instant))
        }
        for entry in catalog.all(.contribution) where isForMe(entry) {
            run(holding.book.handle(.held(entry), now: moment.instant))
        }
    }

    /// Our own, and those that were complete here once.
    private func holds(_ entry: CatalogEntry) -> Bool {
        entry.owner == account || (entry.subject.map { heldDatanets.contains($0) } ?? false)
    }

    private func isForMe(_ entry: CatalogEntry) -> Bool {
        entry.subject.flatMap { holding.book.manifest(DatanetID($0)) }?.owner == account && entry.owner != account
    }

    /// What gossip says of datanets: a new revision of one that is held, or rows for one of ours.
    mutating func datanetNews(_ entry: CatalogEntry) {
        switch entry.kind {
        case .datanet:
            guard let subject = entry.subject, entry.owner != account,
                holding.book.manifest(DatanetID(subject)) != nil
            else { return }
            run(holding.book.handle(.announced(entry), now: moment.instant))
        case .contribution:
            guard isForMe(entry) else { return }
            run(holding.book.handle(.announced(entry), now: moment.instant))
        case .model, .adapter: break
        }
    }

    /// Fetches the newest revision that the network has told us of.
    mutating func pullDatanet(_ id: DatanetID, _ command: CommandID) {
        guard let entry = catalog.all(.datanet).first(where: { $0.subject == id.digest }) else {
            return effects.append(.answer(command, .failed(.content("nobody has announced the datanet \(id)"))))
        }
        if holding.book.snapshot(id) == entry.root { return pulled(command, entry.root) }
        holding.waiters[id, default: []].append(
            HoldingDesk.Waiter(
                command: command, snapshot: entry.root, deadline: moment.instant + PullDesk.patience,
                seen: Set(links.connected)))
        run(holding.book.handle(.announced(entry), now: moment.instant))
    }

    /// Ends the wait for datanets that nobody serves. One that was never complete here is let go of: the next pull takes
    /// it up from what is on disk. New revisions of those that are held, and rows for ours, stay wanted.
    mutating func giveUpDatanets() {
        let wanted = Set(holding.book.wanted())
        holding.missing.formIntersection(wanted)
        for id in holding.waiters.keys.sorted() {
            let late = (holding.waiters[id] ?? []).filter { $0.deadline <= moment.instant }
            guard let root = late.first?.snapshot else { continue }
            // A block that this datanet alone waits for: letting go of it harms nothing else.
            var book = holding.book
            let lacking = holding.missing.sorted().first { cid in
                var trial = holding.book
                let steps = trial.handle(.unavailable(cid), now: moment.instant)
                guard steps == [.refused(root, .unavailable(cid))] else { return false }
                book = trial
                return true
            }
            let reason = Self.unserved(lacking ?? root, of: "datanet \(id)", isNowhere: lacking != nil)
            for waiter in late { effects.append(.answer(waiter.command, .failed(.timedOut(reason)))) }
            holding.waiters[id]?.removeAll { $0.deadline <= moment.instant }
            guard holding.waiters[id]?.isEmpty == true else { continue }
            holding.waiters[id] = nil
            guard lacking != nil, book.manifest(id) == nil, !heldDatanets.contains(id.digest) else { continue }
            holding.book = book
            let gone = wanted.subtracting(holding.book.wanted())
            exchange(bitswap.handle(.forget(HoldingDesk.session, gone.sorted()), now: moment.instant))
            holding.missing.subtract(gone)
        }
    }

    private mutating func pulled(_ command: CommandID, _ snapshot: CID) {
        effects.append(
            .answer(
                command,
                .pulled(
                    snapshot, bytes: holding.progress.bytes, blocks: holding.progress.blocks,
                    from: holding.servers.sorted())))
    }

    mutating func perform(_ command: DatanetCommand, _ id: CommandID) {
        do {
            switch command {
            case .create(let name, let summary, let tags, let licence, let policy, let nonce):
                let (datanet, steps) = try holding.book.create(
                    name: name, summary: summary, tags: tags, licence: licence, policy: policy, nonce: nonce)
                run(steps)
                answerDurably(id, .datanet(datanet))
            case .contribute(let rows, let datanet, let licence):
                let (contribution, steps) = try holding.book.contribute(rows, to: datanet, licence: licence)
                run(steps)
                answerDurably(id, .contribution(contribution))
            case .approve(let contribution):
                run(try holding.book.approve(contribution))
                answerDurably(id, .done)
            case .refuse(let contribution, let reason):
                run(try holding.book.refuse(contribution, reason: reason))
                answerDurably(id, .done)
            case .pull(let datanet): pullDatanet(datanet, id)
            }
        } catch {
            effects.append(.answer(id, .failed(.datanet(error))))
        }
    }

    /// Behind the writes that were just asked for, so that it is said only when they are on disk.
    private mutating func answerDurably(_ id: CommandID, _ answer: NodeAnswer) {
        persist(
            [.put(.meta, key: MetaKey.lastAnswer, value: id.number.bigEndianBytes)],
            then: [.effect(.answer(id, answer))])
    }

    mutating func run(_ steps: [DatanetEffect]) {
        for step in steps {
            switch step {
            case .store(let blocks):
                persist(blocks.map { .block($0.cid, $0.bytes) }, then: [.stored(blocks.map(\.cid))])
            case .want(let cids):
                for cid in cids {
                    let ticket = ticket()
                    holding.reads[ticket] = cid
                    effects.append(.load(cid, ticket))
                }
            case .remember, .forget: break
            case .checked(let contribution, let hashes):
                guard hashes.count <= HoldingDesk.checkedRowsMax else { break }
                persist([.put(.meta, key: MetaKey.checked(contribution), value: hashes.flatMap(\.bytes))])
            case .announce(let entry): announce(entry)
            case .changed(let id, let snapshot):
                heldDatanets.insert(id.digest)
                persist(
                    [.put(.meta, key: MetaKey.held(id), value: snapshot.bytes)],
                    then: [.effect(.notify(.datanet(id, snapshot: snapshot)))])
                let waiting = holding.waiters.removeValue(forKey: id) ?? []
                for waiter in waiting { pulled(waiter.command, snapshot) }
            case .waiting(let id, let contribution, let report):
                effects.append(.notify(.contributionWaits(id, contribution, report)))
            case .refused(let cid, let fault):
                effects.append(.notify(.log("\(cid) is not taken: \(fault)")))
                for id in holding.waiters.keys.sorted() {
                    for waiter in holding.waiters[id] ?? [] where waiter.snapshot == cid {
                        effects.append(.answer(waiter.command, .failed(.datanet(fault))))
                    }
                    holding.waiters[id]?.removeAll { $0.snapshot == cid }
                }
            }
        }
    }

    /// The disk's answer to a block that the book wants.
    mutating func datanetLoaded(_ cid: CID, _ bytes: [UInt8]?) {
        if let bytes {
            run(holding.book.handle(.block(cid, bytes), now: moment.instant))
        } else {
            exchange(bitswap.handle(.providers(HoldingDesk.session, links.connected), now: moment.instant))
            exchange(bitswap.handle(.want(HoldingDesk.session, [cid]), now: moment.instant))
        }
    }

    mutating func datanetBlock(_ block: Block, from peer: PeerID) {
        holding.progress.blocks += 1
        holding.progress.bytes += UInt64(block.bytes.count)
        holding.servers.insert(peer)
        holding.missing.remove(block.cid)
        holding.change { $0.deadline = moment.instant + PullDesk.patience }
        // Every block is kept as it comes: a pull that is cut short goes on where it stopped.
        persist([.block(block.cid, block.bytes)])
        for id in holding.waiters.keys.sorted() {
            for waiter in holding.waiters[id] ?? [] {
                effects.append(
                    .answer(
                        waiter.command,
                        .progress(
                            blocks: holding.progress.blocks, bytes: holding.progress.bytes,
                            bytesKnown: holding.book.manifest(id)?.byteCount ?? 0)))
            }
        }
        run(holding.book.handle(.block(block.cid, block.bytes), now: moment.instant))
    }
}

package enum DatanetCommand: Sendable {
    case create(name: String, summary: String, tags: [String], licence: String, policy: DatanetPolicy, nonce: [UInt8])
    case contribute([Row], to: DatanetID, licence: String)
    case approve(CID)
    case refuse(CID, reason: String)
    case pull(DatanetID)
}
