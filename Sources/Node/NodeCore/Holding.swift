// Datanets: the book says which blocks it wants and what to store, remember and announce; this performs it. Its blocks
// come through one Bitswap session of their own, from this disk first.

import BlockExchange
package import Datanets
import Ledger
package import Primitives
import Records

struct HoldingDesk: Sendable {
    static let session = SessionID(.max)

    var book: DatanetBook
    /// Blocks looked for on this disk for the book.
    var reads: [Ticket: CID] = [:]
    /// Who waits for a datanet to be complete here, and for which snapshot.
    var waiters: [DatanetID: [(command: CommandID, snapshot: CID)]] = [:]
    var progress: (blocks: Int, bytes: UInt64) = (0, 0)
    var servers: Set<PeerID> = []
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
        holding.waiters[id, default: []].append((command, entry.root))
        run(holding.book.handle(.announced(entry), now: moment.instant))
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
            case .announce(let entry): announce(entry)
            case .changed(let id, let snapshot):
                heldDatanets.insert(id.digest)
                persist(
                    [.put(.meta, key: MetaKey.held(id), value: snapshot.bytes)],
                    then: [.effect(.notify(.datanet(id, snapshot: snapshot)))])
                let waiting = holding.waiters.removeValue(forKey: id) ?? []
                for (command, _) in waiting { pulled(command, snapshot) }
            case .waiting(let id, let contribution, let report):
                effects.append(.notify(.contributionWaits(id, contribution, report)))
            case .refused(let cid, let fault):
                effects.append(.notify(.log("\(cid) is not taken: \(fault)")))
                for id in holding.waiters.keys.sorted() {
                    for (command, snapshot) in holding.waiters[id] ?? [] where snapshot == cid {
                        effects.append(.answer(command, .failed(.datanet(fault))))
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
        // Every block is kept as it comes: a pull that is cut short goes on where it stopped.
        persist([.block(block.cid, block.bytes)])
        for id in holding.waiters.keys.sorted() {
            for (command, _) in holding.waiters[id] ?? [] {
                effects.append(
                    .answer(
                        command,
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
