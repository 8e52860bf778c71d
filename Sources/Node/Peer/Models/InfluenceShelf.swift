// What an adapter brings along that says which rows it learnt what from: the manifest of its training, and the index that this
// names (Protocol/attribution.md, Influence). An index counts only where the manifest's root is that of the snapshot's own first
// rows: whoever trained cannot have had them in another order. Who signed the manifest decides nothing here: the receipt names
// the adapter by its CID, and so these bytes.

import Attribution
import Datanets
import ModelFiles
import Primitives
import Records
import Synchronization
import Training

final class InfluenceShelf: Sendable {
    /// Manifests, and pairs of adapter and snapshot, that are remembered.
    private static let manifestsMax = 1_024
    private static let indexesMax = 8
    /// Of all indexes in memory; one that is larger is not used.
    private static let bytesMax = 256 << 20

    private struct Key: Hashable {
        let adapter: CID
        let snapshot: CID
    }

    private struct State {
        var manifests: [CID: TrainingManifest?] = [:]
        /// Least recently used first; nil: it does not count.
        var indexes: [(key: Key, index: SnapshotInfluence?)] = []

        mutating func find(_ key: Key) -> SnapshotInfluence?? {
            guard let place = indexes.firstIndex(where: { $0.key == key }) else { return nil }
            let entry = indexes.remove(at: place)
            indexes.append(entry)
            return .some(entry.index)
        }

        mutating func keep(_ index: SnapshotInfluence?, _ key: Key) {
            indexes.removeAll { $0.key == key }
            indexes.append((key, index))
            while indexes.count > indexesMax
                || indexes.count > 1 && indexes.reduce(0, { $0 + ($1.index?.index.bytes.count ?? 0) }) > bytesMax
            {
                indexes.removeFirst()
            }
        }
    }

    private let state = Mutex(State())

    /// What the adapter was made of; nil where it came without saying so. Reads a small file the first time.
    func manifest(of adapter: CID, on shelf: ModelShelf) -> TrainingManifest? {
        if let known = state.withLock({ $0.manifests[adapter] }) { return known }
        // One that is not here may be pulled later.
        guard shelf.entry(adapter) != nil else { return nil }
        let made = try? shelf.trainingManifest(of: adapter).manifest
        state.withLock { state in
            if state.manifests.count >= Self.manifestsMax { state.manifests.removeAll() }
            state.manifests[adapter] = .some(made)
        }
        return made
    }

    /// The adapter's index of a snapshot's rows. Nil where there is none that counts.
    /// - Throws: where the snapshot cannot be read.
    func index(
        of adapter: CID, rowsOf held: HeldDatanet, on shelf: ModelShelf, from library: Library
    ) throws(LibraryFault) -> SnapshotInfluence? {
        let key = Key(adapter: adapter, snapshot: held.snapshot)
        if let known = state.withLock({ $0.find(key) }) { return known }
        guard let manifest = manifest(of: adapter, on: shelf), let cid = manifest.influence,
            let folder = try? shelf.folder(adapter)
        else { return nil }
        var made: SnapshotInfluence?
        if let places = TrainedPlaces(manifest), try Self.isOf(manifest, places, held, library) {
            made = withExtendedLifetime(folder) {
                guard let bytes = folder.bytes(of: InfluenceIndex.fileName), bytes.count <= Self.bytesMax,
                    let index = try? InfluenceIndex(decoding: [UInt8](bytes)), index.cid == cid,
                    UInt64(index.rowCount) == manifest.rowCount
                else { return nil }
                return SnapshotInfluence(index: index, places: places)
            }
        }
        state.withLock { $0.keep(made, key) }
        return made
    }

    /// Whether the snapshot's rows at these places are those that the adapter was trained on, in their order.
    private static func isOf(
        _ manifest: TrainingManifest, _ places: TrainedPlaces, _ held: HeldDatanet, _ library: Library
    ) throws(LibraryFault) -> Bool {
        guard manifest.datanet != nil, manifest.rowCount > 0, manifest.rowCount <= UInt64(EvidenceShelf.rowsMax) else {
            return false
        }
        var leaves: [Digest] = [], number = 0
        for cid in held.shards where UInt64(leaves.count) < manifest.rowCount {
            let shard = try library.shard(cid, of: held)
            for (place, row) in shard.rows.enumerated() where UInt64(leaves.count) < manifest.rowCount {
                defer { number += 1 }
                guard places.hasRow(number) else { continue }
                // As an export writes it, and training reads it: each row with its licence.
                let row = Row(row.content, id: row.id, source: row.source, licence: shard.licence(of: place))
                leaves.append(MerkleTree.leafDigest(row.cbor.encoded()))
            }
        }
        return UInt64(leaves.count) == manifest.rowCount && MerkleTree.root(ofDigests: leaves) == manifest.rows
    }
}

/// An index with the numbers that its rows have in a snapshot.
struct SnapshotInfluence: Sendable {
    let index: InfluenceIndex
    let places: TrainedPlaces

    /// Of the snapshot's rows, those behind the last one that was trained on left out; 0 of those that were not.
    func scores(_ query: [Int8]) -> [Int64] {
        let scores = index.scores(query)
        guard places.heldOutEvery > 0, let last = scores.indices.last else { return scores }
        var all = [Int64](repeating: 0, count: places.number(of: last) + 1)
        for (place, score) in scores.enumerated() { all[places.number(of: place)] = score }
        return all
    }
}
