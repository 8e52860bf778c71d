// What this peer keeps for others, what it fetches for that, and what others have proved that they keep
// (Protocol/keeping.md). Values only; `Keeping` and `KeepChecks` drive them.

import BlockExchange
package import Datanets
package import Primitives
import Records

struct KeepDesk: Sendable {
    static let session = SessionID(.max - 1)
    static let datanetsMax = DatanetLimits.datanetsMax
    static let shardsMax = 262_144
    static let indexFetchesMax = 64
    static let shardFetchesMax = 32
    static let shardsPerTurnMax = 1024
    static let lotsPerTurnMax = 8192
    static let dropsPerTurnMax = 16
    static let refusedMax = 4096
    static let seenMax = 65_536
    static let seenPeersMax = 8
    /// A block that nobody has is asked for again after this.
    static let retry = Span.seconds(60)
    static let followInterval = Span.seconds(30)
    /// A proof counts so long.
    static let fresh = Span.seconds(1800)
    static let recheck = Span.seconds(600)
    /// Who could not prove it may be fetching it.
    static let recheckFailed = Span.seconds(120)
    static let provedBytesMax = DatanetLimits.shardBytesMax
    /// However long an advert claims to live, a keeper is one no longer after it was issued.
    static let keeperLifeMilliseconds: Int64 = 600_000

    /// A datanet of somebody else's: its newest revision that was announced.
    struct Followed: Sendable {
        let owner: AccountID
        let root: CID
        /// nil until the manifest is here.
        var contributions: [CID]?
        var shards: [CID: [CID]] = [:]
        /// Of an earlier revision, whose manifest goes when this one is whole.
        var replaced: CID?

        var isWhole: Bool { contributions?.allSatisfy { shards[$0] != nil } ?? false }
        var shardList: [CID] { (contributions ?? []).flatMap { shards[$0] ?? [] } }
        var shardCount: Int { shards.values.reduce(0) { $0 + $1.count } }
        var lacking: [CID] { contributions.map { $0.filter { shards[$0] == nil } } ?? [root] }
    }

    struct Kept: Sendable {
        let datanet: DatanetID
        let byteCount: Int
        /// When it was last ours to keep.
        var placed: Instant
    }

    struct Want: Sendable {
        let datanet: DatanetID
        let isShard: Bool
    }

    enum Read: Sendable {
        /// Is it on this disk already?
        case want(CID)
        case check(UInt64, CID)
        case proof(StreamID, CID)
    }

    struct Seen: Sendable {
        var asked: Instant
        var proved: Instant?
    }

    /// Bytes lent; 0: no keeper.
    let lent: UInt64
    var followed: [DatanetID: Followed] = [:]
    var kept: [CID: Kept] = [:]
    var keptBytes: UInt64 = 0
    var wanted: [CID: Want] = [:]
    /// Not asked for before then.
    var absent: [CID: Instant] = [:]
    /// Roots and shards that do not hold what was announced.
    var refused: Set<CID> = []
    var reads: [Ticket: Read] = [:]
    var followAt = Instant.start
    /// Where placing goes on.
    var cursor: (datanet: DatanetID, shard: Int)?
    /// By shard and keeper.
    var seen: [CID: [PeerID: Seen]] = [:]
    /// Shards that a keeper is to prove next.
    var due: [PeerID: [CID]] = [:]
    var checks = KeepChecks()
    var random: SeededRandom

    init(lent: UInt64, kept: [CID: KeptBlock], random: SeededRandom, now: Instant) {
        self.lent = lent >= Placement.unitBytes ? lent : 0
        self.random = random
        for (cid, block) in kept {
            self.kept[cid] = Kept(datanet: block.datanet, byteCount: block.byteCount, placed: now)
            keptBytes += UInt64(block.byteCount)
        }
    }

    var fetchedShards: Int { wanted.values.count { $0.isShard } }
    /// Room that is neither used nor spoken for.
    var hasRoom: Bool {
        keptBytes + UInt64((wanted.count + 1) * DatanetLimits.shardBytesMax) <= lent
    }

    mutating func refuse(_ cid: CID) {
        if refused.count < Self.refusedMax { refused.insert(cid) }
    }

    /// Peers that proved within `fresh` that they have the shard.
    func proved(_ shard: CID, now: Instant) -> [PeerID] {
        (seen[shard] ?? [:]).filter { entry in entry.value.proved.map { now.since($0) < Self.fresh } ?? false }
            .map(\.key).sorted()
    }

    func isDue(_ shard: CID, _ peer: PeerID, now: Instant) -> Bool {
        seen[shard]?[peer].map { now.since($0.asked) >= ($0.proved == nil ? Self.recheckFailed : Self.recheck) } ?? true
    }

    mutating func note(_ shard: CID, _ peer: PeerID, proved: Bool, now: Instant) {
        if seen[shard] == nil, seen.count >= Self.seenMax { return }
        var peers = seen[shard] ?? [:]
        if peers[peer] == nil, peers.count >= Self.seenPeersMax {
            let oldest = peers.min { ($0.value.asked, $0.key) < ($1.value.asked, $1.key) }
            if let oldest { peers[oldest.key] = nil }
        }
        peers[peer] = Seen(asked: now, proved: proved ? now : nil)
        seen[shard] = peers
    }
}

/// A block that is kept for others, as it is remembered on the disk.
package struct KeptBlock: Hashable, Sendable {
    package let datanet: DatanetID
    package let byteCount: Int

    package init(datanet: DatanetID, byteCount: Int) {
        self.datanet = datanet
        self.byteCount = byteCount
    }

    var encoded: [UInt8] { datanet.digest.bytes + UInt64(byteCount).bigEndianBytes }

    init?(_ bytes: [UInt8]) {
        guard bytes.count == Digest.byteCount + 8, let digest = Digest(bytes.prefix(Digest.byteCount)) else {
            return nil
        }
        let count = bytes.suffix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard count <= UInt64(DatanetLimits.shardBytesMax + 4096) else { return nil }
        self.init(datanet: DatanetID(digest), byteCount: Int(count))
    }
}

/// How well others keep a datanet, by what they proved to this peer.
package struct DatanetHealth: Hashable, Sendable {
    package var shardCount = 0
    /// How many shards 0, 1, 2, 3 or more others have.
    package var copies = [0, 0, 0, 0]
    /// Shards that each keeper has proved, ascending by peer.
    package var keepers: [Keeper] = []
    /// Keepers that are known, whether they keep this or not, besides this peer and its owner's.
    package var keepersKnown = 0

    package struct Keeper: Hashable, Sendable {
        package let peer: PeerID
        package let shards: Int
    }
}

package struct KeepingState: Hashable, Sendable {
    package let lent: UInt64
    package let used: UInt64
    package let blocks: Int
    package let datanets: Int
    package let fetching: Int
}
