// The rows of a snapshot by their number, and their words, while one answer is weighed: each shard is read once.

import Attribution
import Datanets
import Primitives

struct RowReader {
    private let held: HeldDatanet
    private let library: Library
    private let index: RetrievalIndex
    /// The first row's number of each shard, in the manifest's order.
    private let starts: [UInt64]
    private var shards: [CID: Shard] = [:]

    init(_ held: HeldDatanet, _ library: Library, index: RetrievalIndex, starts: [UInt64]) {
        self.held = held
        self.library = library
        self.index = index
        self.starts = starts
    }

    mutating func row(_ number: UInt64) throws(LibraryFault) -> FoundPassage {
        var low = 0
        var high = starts.count - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if starts[middle] <= number { low = middle } else { high = middle - 1 }
        }
        guard starts.indices.contains(low) else { throw .tooLarge(datanet: held.name) }
        let cid = held.shards[low]
        let shard: Shard
        if let known = shards[cid] {
            shard = known
        } else {
            shard = try library.shard(cid, of: held)
            shards[cid] = shard
        }
        let place = Int(clamping: number - starts[low])
        guard shard.rows.indices.contains(place) else { throw .shard(cid, reason: "it has no row \(place)") }
        let licence = shard.licence(of: place)
        return FoundPassage(
            passage: Passage(
                row: RowAddress(shard: cid, index: UInt32(place)), contributor: shard.contributor, score: 0),
            row: shard.rows[place], ordinal: number, licence: licence.isEmpty ? held.licence : licence)
    }

    mutating func words(_ number: UInt32) throws(LibraryFault) -> [String] {
        Words.split(try row(UInt64(number)).row.completion)
    }

    func rarity(of word: String) -> UInt64 { index.rarity(of: word) }
}
