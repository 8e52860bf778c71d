// Who keeps a shard: weighted rendezvous hashing (Thaler and Ravishankar 1998; Schindelhauer and Schomaker 2005), in
// integers, so that all peers that know the same keepers agree (Protocol/keeping.md, Who keeps what).

import Datanets
package import Primitives

package enum Placement {
    /// Peers that keep a shard, besides its owner.
    package static let replicas = 3
    package static let unitBytes: UInt64 = 16 << 20
    private static let domain = Array("openledger/1/placement\n".utf8)

    package struct Keeper: Hashable, Sendable {
        package let peer: PeerID
        /// Bytes; at least `unitBytes`.
        package let lent: UInt64

        package init(peer: PeerID, lent: UInt64) {
            self.peer = peer
            self.lent = lent
        }
    }

    /// The lower, the rather this peer keeps it.
    package static func lot(_ shard: CID, _ keeper: Keeper) -> UInt64 {
        let digest = Digest(sha256Of: [domain, shard.bytes, keeper.peer.bytes])
        let drawn = digest.bytes.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let distance = (UInt64(64) << UInt64(FixedPoint.fractionBits)) - FixedPoint.log2(max(drawn, 1))
        return (distance << 16) / max(1, keeper.lent / unitBytes)
    }

    /// The first `count` of the keepers.
    package static func first(_ count: Int, of keepers: [Keeper], for shard: CID) -> [PeerID] {
        var best: [(lot: UInt64, peer: PeerID)] = []
        for keeper in keepers {
            let drawn = (lot: lot(shard, keeper), peer: keeper.peer)
            let place = best.firstIndex { (drawn.lot, drawn.peer) < ($0.lot, $0.peer) } ?? best.count
            guard place < count else { continue }
            best.insert(drawn, at: place)
            if best.count > count { best.removeLast() }
        }
        return best.map(\.peer)
    }
}
