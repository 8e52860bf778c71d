// One contribution on its way in: the signed block first, then its shards in any order, each checked as it comes; when
// the last is here, the claims about the whole are checked.
//
//     wanting envelope ──block──▶ wanting shards ──last shard──▶ complete
//            │              └── checked in an earlier run ────────────▶
//            └── wrong signature, datanet, shard, count, root ──▶ fault: nothing of it is used

import Primitives

struct ContributionIntake {
    /// What is kept of a shard: enough to check the contribution and to find duplicates, not the rows.
    private struct ShardDigest {
        let byteCount: Int
        let leaves: [Digest]
        let hashes: [Digest]
    }

    let cid: CID
    let datanet: DatanetID
    private(set) var contribution: Contribution?
    private var shards: [CID: ShardDigest] = [:]
    /// Of all rows, where an earlier run has checked them: its word is on this disk, as the rows are.
    private let checked: [Digest]?

    init(_ cid: CID, datanet: DatanetID, checked: [Digest]? = nil) {
        self.cid = cid
        self.datanet = datanet
        self.checked = checked
    }

    /// What is still to be fetched, in order.
    var missing: [CID] {
        guard let contribution else { return [cid] }
        if isChecked(contribution) { return [] }
        return contribution.shards.filter { shards[$0] == nil }
    }

    var isComplete: Bool { missing.isEmpty }

    var wasChecked: Bool { contribution.map(isChecked) ?? false }

    private func isChecked(_ contribution: Contribution) -> Bool {
        checked.map { UInt64($0.count) == contribution.rowCount } ?? false
    }

    /// Takes a block that has been checked against its CID.
    mutating func take(_ block: CID, _ bytes: [UInt8], network: NetworkID) throws(DatanetFault) {
        guard let contribution else {
            let opened = try Contribution.open(bytes, network: network)
            guard opened.datanet == datanet else { throw .wrongDatanet(expected: datanet, found: opened.datanet) }
            self.contribution = opened
            return
        }
        guard let index = contribution.shards.firstIndex(of: block), shards[block] == nil else { return }
        let shard: Shard
        do { shard = try Shard(decoding: bytes) } catch { throw .malformed(error) }
        guard shard.contributor == contribution.contributor, shard.licence == contribution.licence else {
            throw .foreignShard(index: index)
        }
        shards[block] = ShardDigest(
            byteCount: bytes.count, leaves: shard.rowLeaves.map(MerkleTree.leafDigest),
            hashes: shard.rows.map(\.normalisedHash))
        if isComplete { try check(contribution) }
    }

    private func check(_ contribution: Contribution) throws(DatanetFault) {
        let found = contribution.shards.compactMap { shards[$0] }
        let bytes = UInt64(found.reduce(0) { $0 + $1.byteCount })
        let leaves = found.flatMap(\.leaves)
        guard bytes == contribution.byteCount else { throw .byteCount(claimed: contribution.byteCount, found: bytes) }
        guard UInt64(leaves.count) == contribution.rowCount else {
            throw .rowCount(claimed: contribution.rowCount, found: UInt64(leaves.count))
        }
        guard MerkleTree.root(ofDigests: leaves) == contribution.rowRoot else { throw .rowRoot }
    }

    /// Normalised hashes of the rows, in order.
    var rowHashes: [Digest] {
        if wasChecked, let checked { return checked }
        return (contribution?.shards ?? []).flatMap { shards[$0]?.hashes ?? [] }
    }
}
