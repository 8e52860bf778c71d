// Keeping datanets for others: follows what is announced, takes what placement gives this peer, lets go of what others
// have proved to keep.
//
//   catalog ──▶ followed: manifest ──▶ contributions ──▶ shards, each placed in turn
//                                                          │ ours: on this disk? else fetched ──▶ kept
//                                                          └ not ours: an hour, and three proofs ──▶ let go

import BlockExchange
package import Datanets
import Primitives
package import Records

extension Node {
    package var keepingState: KeepingState {
        KeepingState(
            lent: keeping.lent, used: keeping.keptBytes, blocks: keeping.kept.count,
            datanets: Set(keeping.kept.values.map(\.datanet)).count, fetching: keeping.wanted.count)
    }

    /// What an advert says of this peer; nil where it lends nothing.
    package var lentDisk: LentDisk? {
        keeping.lent == 0 ? nil : LentDisk(lent: keeping.lent, used: min(keeping.keptBytes, keeping.lent))
    }

    /// nil where this peer does not have the datanet whole.
    package func health(of id: DatanetID) -> DatanetHealth? {
        guard let owner = holding.book.manifest(id)?.owner else { return nil }
        var health = DatanetHealth()
        var keepers: [PeerID: Int] = [:]
        for shard in holding.book.shards(id) {
            let proved = keeping.proved(shard, now: moment.instant)
            for peer in proved { keepers[peer, default: 0] += 1 }
            health.copies[min(proved.count, Placement.replicas)] += 1
            health.shardCount += 1
        }
        health.keepers = keepers.keys.sorted().map { DatanetHealth.Keeper(peer: $0, shards: keepers[$0] ?? 0) }
        health.keepersKnown = lenders(besides: owner).count { $0.peer != peer }
        return health
    }

    /// Peers that lend disk, but those of one account; ascending.
    private func lenders(besides owner: AccountID) -> [Placement.Keeper] {
        catalog.adverts.values.compactMap { advert in
            guard let disk = advert.keeps, advert.server != owner,
                advert.issued.adding(milliseconds: KeepDesk.keeperLifeMilliseconds) > moment.wall
            else { return nil }
            return Placement.Keeper(peer: advert.peer, lent: disk.lent)
        }.sorted { $0.peer < $1.peer }
    }

    mutating func tendKeeping() {
        if keeping.lent > 0, moment.instant >= keeping.followAt {
            keeping.followAt = moment.instant + KeepDesk.followInterval
            follow()
        }
        keeping.absent = keeping.absent.filter { $0.value > moment.instant }
        fetchIndexes()
        placeShards()
        tendChecks()
    }

    // MARK: What is announced

    private mutating func follow() {
        var trackedShards = keeping.followed.values.reduce(0) { $0 + $1.shardCount }
        for entry in catalog.all(.datanet) where entry.owner != account && !keeping.refused.contains(entry.root) {
            guard let subject = entry.subject else { continue }
            let id = DatanetID(subject)
            // A pull of the datanet, or the whole of it, has its own reasons to have its blocks.
            guard !holding.book.isKnown(id) else {
                keeping.followed[id] = nil
                continue
            }
            let known = keeping.followed[id]
            if let known, known.root == entry.root || (known.contributions != nil && known.owner != entry.owner) {
                continue
            }
            guard known != nil || keeping.followed.count < KeepDesk.datanetsMax, trackedShards < KeepDesk.shardsMax
            else { continue }
            var next = KeepDesk.Followed(owner: entry.owner, root: entry.root)
            if let known, known.owner == entry.owner {
                next.shards = known.shards
                next.replaced = known.contributions == nil ? known.replaced : known.root
            }
            keeping.followed[id] = next
            trackedShards += 1
        }
    }

    private mutating func fetchIndexes() {
        for id in keeping.followed.keys.sorted() {
            guard keeping.wanted.count < KeepDesk.indexFetchesMax else { return }
            for cid in keeping.followed[id]?.lacking ?? [] {
                guard keeping.wanted.count < KeepDesk.indexFetchesMax, keeping.hasRoom else { return }
                want(cid, id, isShard: false)
            }
        }
    }

    private mutating func want(_ cid: CID, _ id: DatanetID, isShard: Bool) {
        guard keeping.wanted[cid] == nil, keeping.absent[cid] == nil, !keeping.refused.contains(cid) else { return }
        keeping.wanted[cid] = KeepDesk.Want(datanet: id, isShard: isShard)
        let ticket = ticket()
        keeping.reads[ticket] = .want(cid)
        effects.append(.load(cid, ticket))
    }

    // MARK: Blocks

    /// The disk's answer to something that keeping reads. False: it was not for keeping.
    mutating func keepingLoaded(_ ticket: Ticket, _ bytes: [UInt8]?) -> Bool {
        guard let read = keeping.reads.removeValue(forKey: ticket) else { return false }
        switch read {
        case .want(let cid):
            guard keeping.wanted[cid] != nil else { break }
            if let bytes {
                taken(cid, bytes)
            } else {
                exchange(bitswap.handle(.providers(KeepDesk.session, links.connected), now: moment.instant))
                exchange(bitswap.handle(.want(KeepDesk.session, [cid]), now: moment.instant))
            }
        case .check(let number, let cid): checkLoaded(number, cid, bytes)
        case .proof(let stream, let cid): proofLoaded(stream, cid, bytes)
        }
        return true
    }

    mutating func keepingBlock(_ block: Block) { taken(block.cid, block.bytes) }

    mutating func keepingUnavailable(_ cid: CID) {
        guard keeping.wanted.removeValue(forKey: cid) != nil else { return }
        keeping.absent[cid] = moment.instant + KeepDesk.retry
        exchange(bitswap.handle(.forget(KeepDesk.session, [cid]), now: moment.instant))
    }

    private mutating func taken(_ cid: CID, _ bytes: [UInt8]) {
        guard let want = keeping.wanted.removeValue(forKey: cid) else { return }
        if want.isShard {
            guard bytes.count <= DatanetLimits.shardBytesMax else { return keeping.refuse(cid) }
            keep(cid, bytes, want.datanet)
        } else if takeIndex(cid, bytes, want.datanet) {
            keep(cid, bytes, want.datanet)
        }
    }

    /// A manifest or a contribution. False: it is not what was announced, or not wanted any more.
    private mutating func takeIndex(_ cid: CID, _ bytes: [UInt8], _ id: DatanetID) -> Bool {
        guard var followed = keeping.followed[id] else { return false }
        do {
            if cid == followed.root {
                let manifest = try DatanetManifest.open(bytes, network: network)
                guard manifest.id == id else { throw DatanetFault.wrongDatanet(expected: id, found: manifest.id) }
                guard manifest.owner == followed.owner else {
                    throw DatanetFault.wrongSigner(expected: manifest.owner, found: followed.owner)
                }
                followed.contributions = manifest.contributions
                let named = Set(manifest.contributions)
                followed.shards = followed.shards.filter { named.contains($0.key) }
            } else {
                guard followed.contributions?.contains(cid) == true else { return false }
                let contribution = try Contribution.open(bytes, network: network)
                guard contribution.datanet == id else {
                    throw DatanetFault.wrongDatanet(expected: id, found: contribution.datanet)
                }
                followed.shards[cid] = contribution.shards
            }
        } catch {
            keeping.refuse(cid)
            if cid == followed.root { keeping.followed[id] = nil }
            effects.append(.notify(.log("\(cid) of the datanet \(id) is not kept: \(error)")))
            return false
        }
        if followed.isWhole, let replaced = followed.replaced {
            followed.replaced = nil
            letGo(replaced)
        }
        keeping.followed[id] = followed
        return true
    }

    private mutating func keep(_ cid: CID, _ bytes: [UInt8], _ id: DatanetID) {
        guard keeping.kept[cid] == nil else { return }
        keeping.kept[cid] = KeepDesk.Kept(datanet: id, byteCount: bytes.count, placed: moment.instant)
        keeping.keptBytes += UInt64(bytes.count)
        let mark = KeptBlock(datanet: id, byteCount: bytes.count)
        persist(
            [.block(cid, bytes), .put(.meta, key: MetaKey.kept(cid), value: mark.encoded)], then: [.stored([cid])])
    }

    private mutating func letGo(_ cid: CID) {
        guard let kept = keeping.kept.removeValue(forKey: cid) else { return }
        keeping.keptBytes -= min(keeping.keptBytes, UInt64(kept.byteCount))
        keeping.seen[cid] = nil
        persist([.delete(.meta, key: MetaKey.kept(cid)), .dropBlock(cid)])
    }

    // MARK: Whose is a shard

    private mutating func placeShards() {
        let all = Set(keeping.followed.filter(\.value.isWhole).keys).union(holding.book.ids).sorted()
        guard !all.isEmpty, catalog.adverts.values.contains(where: { $0.keeps != nil }) else { return }
        var drops = KeepDesk.dropsPerTurnMax
        let first = keeping.cursor.map { cursor in all.firstIndex { $0 >= cursor.datanet } ?? 0 } ?? 0
        var index = keeping.cursor.map { all[first] == $0.datanet ? $0.shard : 0 } ?? 0
        var left = KeepDesk.shardsPerTurnMax
        for step in 0..<all.count {
            let id = all[(first + step) % all.count]
            let manifest = holding.book.manifest(id)
            let shards = manifest == nil ? keeping.followed[id]?.shardList ?? [] : holding.book.shards(id)
            guard let owner = manifest?.owner ?? keeping.followed[id]?.owner else { continue }
            let keepers = lenders(besides: owner)
            guard !keepers.isEmpty else { continue }
            let perShard = max(1, keepers.count * KeepDesk.shardsPerTurnMax / KeepDesk.lotsPerTurnMax)
            while index < shards.count, left > 0 {
                place(shards[index], id, keepers, isHere: manifest != nil, &drops)
                index += 1
                left -= perShard
            }
            guard left > 0 else {
                keeping.cursor = (id, index)
                return
            }
            index = 0
        }
        keeping.cursor = nil
    }

    private mutating func place(
        _ shard: CID, _ id: DatanetID, _ keepers: [Placement.Keeper], isHere: Bool, _ drops: inout Int
    ) {
        let chosen = Placement.first(Placement.replicas, of: keepers, for: shard)
        if isHere { return askProofs(shard, chosen) }
        if chosen.contains(peer) {
            if keeping.kept[shard] != nil {
                keeping.kept[shard]?.placed = moment.instant
            } else if keeping.fetchedShards < KeepDesk.shardFetchesMax, keeping.hasRoom {
                want(shard, id, isShard: true)
            }
        } else if let kept = keeping.kept[shard], moment.instant.since(kept.placed) >= configuration.keepLetGo,
            drops > 0
        {
            let proved = keeping.proved(shard, now: moment.instant)
            guard chosen.count == Placement.replicas, chosen.allSatisfy(proved.contains) else {
                return askProofs(shard, chosen)
            }
            guard !isNeeded(shard, by: kept.datanet) else { return }
            drops -= 1
            letGo(shard)
        }
    }

    private func isNeeded(_ shard: CID, by id: DatanetID) -> Bool {
        holding.book.isKnown(id) || holding.book.ids.contains { holding.book.shards($0).contains(shard) }
    }

    private mutating func askProofs(_ shard: CID, _ keepers: [PeerID]) {
        for keeper in keepers where keeper != peer && links.isConnected(keeper) {
            guard keeping.isDue(shard, keeper, now: moment.instant) else { continue }
            let waiting = keeping.due[keeper] ?? []
            guard waiting.count < KeepMessage.shardsMax, !waiting.contains(shard) else { continue }
            keeping.due[keeper] = waiting + [shard]
        }
    }
}
