// What questions are answered from: a retrieval index for each datanet's snapshot, made when it is first asked, from the
// shards that are here. Shards never change, so a new snapshot reuses the words of those that it shares with an older one.

package import Attribution
package import Datanets
package import Primitives
import Records
import Synchronization

package enum LibraryLimits {
    /// Indexes in memory.
    package static let indexesMax = 8
}

/// A datanet that is complete on this peer at one snapshot.
package struct HeldDatanet: Hashable, Sendable {
    package var id: DatanetID
    package var name: String
    package var snapshot: CID
    /// In the manifest's order.
    package var shards: [CID]
    /// Of rows whose shard names none.
    package var licence: String

    package init(id: DatanetID, name: String, snapshot: CID, shards: [CID], licence: String) {
        self.id = id
        self.name = name
        self.snapshot = snapshot
        self.shards = shards
        self.licence = licence
    }
}

package enum LibraryFault: Error, Sendable, CustomStringConvertible {
    case notHere(Digest)
    case shardMissing(CID, datanet: String)
    case shard(CID, reason: String)
    case tooLarge(datanet: String)
    case snapshot(CID, reason: String)

    package var description: String {
        switch self {
        case .notHere(let id): "the datanet \(id.hex) is not here; pull it first"
        case .shardMissing(let cid, let datanet): "shard \(cid.text) of \(datanet) is not here; pull the datanet again"
        case .shard(let cid, let reason): "shard \(cid.text) cannot be read: \(reason)"
        case .snapshot(let cid, let reason): "the snapshot \(cid.text) \(reason)"
        case .tooLarge(let datanet): "\(datanet) has more than \(RetrievalLimits.rowsMax) rows"
        }
    }
}

/// A row that was found, with what a prompt and a receipt need of it.
package struct FoundPassage: Hashable, Sendable {
    package let passage: Passage
    package let row: Row
    /// The row's number in the snapshot.
    package let ordinal: UInt64
    package let licence: String

    /// What goes into the prompt.
    package var text: String { row.completion }
    /// "<shard>#<index>"
    package var name: String { "\(passage.row.shard.text)#\(passage.row.index)" }
}

package struct Found: Sendable {
    package let datanet: HeldDatanet
    /// Names what was searched, and how.
    package let index: CID
    package let question: String
    /// Best first.
    package let passages: [FoundPassage]
    /// False of rows that an adapter was trained on, for an answer that asked for none.
    var isSearched = true
    /// The datanet's rows as the asked model's tokens, where they are there already.
    var spans: SpanCorpus?
}

package final class Library: Sendable {
    private struct Entry: Sendable {
        var index: RetrievalIndex
        var shards: [CID: ShardIndex]
        /// The first row's number of each shard; where one is there twice, of the first.
        var starts: [CID: UInt64]
        /// The same, in the manifest's order.
        var places: [UInt64] = []
        var used: UInt64
    }

    private struct Cache: Sendable {
        var entries: [CID: Entry] = [:]
        var clock: UInt64 = 0
    }

    private let read: @Sendable (CID) throws -> [UInt8]?
    private let datanet: @Sendable (Digest) -> HeldDatanet?
    private let cache = Mutex(Cache())
    /// One index is made at a time.
    private let making = Mutex(())

    /// - Parameters:
    ///   - read: a block from this disk, nil where it is not here. Called on whatever thread searches.
    ///   - datanet: what is held of a datanet now; thread-safe and quick.
    package init(
        read: @escaping @Sendable (CID) throws -> [UInt8]?, datanet: @escaping @Sendable (Digest) -> HeldDatanet?
    ) {
        self.read = read
        self.datanet = datanet
    }

    /// The rows that fit `question` best. Blocking: the first question to a snapshot makes its index.
    package func find(_ question: String, in id: Digest) throws(LibraryFault) -> Found {
        guard let held = datanet(id) else { throw .notHere(id) }
        return try find(question, in: held)
    }

    func find(_ question: String, in held: HeldDatanet) throws(LibraryFault) -> Found {
        let entry = try entry(held)
        var passages: [FoundPassage] = []
        for passage in entry.index.passages(for: question) {
            let shard = try shard(passage.row.shard, of: held)
            let index = Int(passage.row.index)
            guard shard.rows.indices.contains(index), let start = entry.starts[passage.row.shard] else {
                throw .shard(passage.row.shard, reason: "it has no row \(index)")
            }
            let licence = shard.licence(of: index)
            passages.append(
                FoundPassage(
                    passage: passage, row: shard.rows[index], ordinal: start + UInt64(index),
                    licence: licence.isEmpty ? held.licence : licence))
        }
        return Found(datanet: held, index: entry.index.commitment, question: question, passages: passages)
    }

    /// A snapshot's rows, of which none stood in the prompt.
    func rows(of held: HeldDatanet, question: String) throws(LibraryFault) -> Found {
        var found = Found(
            datanet: held, index: try entry(held).index.commitment, question: question, passages: [])
        found.isSearched = false
        return found
    }

    /// A datanet as it was at a snapshot, from the blocks that are here.
    /// - Parameter id: nil for whichever it is.
    func held(_ id: Digest?, at snapshot: CID) throws(LibraryFault) -> HeldDatanet {
        if let id, let held = datanet(id), held.snapshot == snapshot { return held }
        let manifest: DatanetManifest
        do {
            manifest = try DatanetManifest(
                decoding: try payload(snapshot, of: snapshot, bytesMax: DatanetLimits.manifestBytesMax))
        } catch let fault as LibraryFault {
            throw fault
        } catch {
            throw .snapshot(snapshot, reason: "is no manifest: \(error)")
        }
        guard manifest.id.digest == id ?? manifest.id.digest else {
            throw .snapshot(snapshot, reason: "is another datanet's")
        }
        var shards: [CID] = []
        for link in manifest.contributions {
            let bytes = try payload(link, of: snapshot, bytesMax: DatanetLimits.contributionBytesMax)
            guard let contribution = try? Contribution(decoding: bytes) else {
                throw .snapshot(snapshot, reason: "names \(link.text), which is no contribution")
            }
            shards += contribution.shards
        }
        return HeldDatanet(
            id: manifest.id, name: manifest.name, snapshot: snapshot, shards: shards, licence: manifest.licence)
    }

    /// What a signed block says. Its name is that of the bytes, and who named it has checked the signature.
    private func payload(_ cid: CID, of snapshot: CID, bytesMax: Int) throws(LibraryFault) -> [UInt8] {
        let bytes: [UInt8]?
        do { bytes = try read(cid) } catch { throw .snapshot(snapshot, reason: "cannot be read: \(error)") }
        guard let bytes else { throw .snapshot(snapshot, reason: "is not here; pull the datanet") }
        guard let envelope = try? SignedEnvelope(decoding: bytes, payloadBytesMax: bytesMax) else {
            throw .snapshot(snapshot, reason: "names \(cid.text), which nobody signed")
        }
        return envelope.payload
    }

    /// The snapshot's rows by their number.
    func reader(of held: HeldDatanet) throws(LibraryFault) -> RowReader {
        let entry = try entry(held)
        return RowReader(held, self, index: entry.index, starts: entry.places)
    }

    func shard(_ cid: CID, of datanet: HeldDatanet) throws(LibraryFault) -> Shard {
        let bytes: [UInt8]?
        do {
            bytes = try read(cid)
        } catch {
            throw .shard(cid, reason: "\(error)")
        }
        guard let bytes else { throw .shardMissing(cid, datanet: datanet.name) }
        do {
            return try Shard(decoding: bytes)
        } catch {
            throw .shard(cid, reason: "\(error)")
        }
    }

    private func entry(_ held: HeldDatanet) throws(LibraryFault) -> Entry {
        if let entry = known(held.snapshot) { return entry }
        return try making.withLock { _ throws(LibraryFault) in
            if let entry = known(held.snapshot) { return entry }
            let entry = try make(held)
            cache.withLock { cache in
                cache.clock += 1
                cache.entries[held.snapshot] = entry
                cache.entries[held.snapshot]?.used = cache.clock
                while cache.entries.count > LibraryLimits.indexesMax,
                    let oldest = cache.entries.min(by: { $0.value.used < $1.value.used })?.key
                {
                    cache.entries[oldest] = nil
                }
            }
            return entry
        }
    }

    private func known(_ snapshot: CID) -> Entry? {
        cache.withLock { cache in
            cache.clock += 1
            cache.entries[snapshot]?.used = cache.clock
            return cache.entries[snapshot]
        }
    }

    private func make(_ held: HeldDatanet) throws(LibraryFault) -> Entry {
        let older = cache.withLock { $0.entries.values.map(\.shards) }
        var entry = Entry(index: RetrievalIndex(snapshot: held.snapshot), shards: [:], starts: [:], used: 0)
        for cid in held.shards {
            let words: ShardIndex
            if let made = entry.shards[cid] ?? older.lazy.compactMap({ $0[cid] }).first {
                words = made
            } else {
                words = ShardIndex(try shard(cid, of: held), cid: cid)
            }
            let start = UInt64(entry.index.rowCount)
            guard entry.index.add(words) else { throw .tooLarge(datanet: held.name) }
            entry.shards[cid] = words
            if entry.starts[cid] == nil { entry.starts[cid] = start }
            entry.places.append(start)
        }
        return entry
    }
}
