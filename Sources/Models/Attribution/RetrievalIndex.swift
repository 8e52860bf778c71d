// BM25 over the rows of one snapshot of a datanet (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009),
// k1 = 1.2, b = 0.75, in integers from end to end: two peers with one snapshot give the same passages and the same
// weights, so that a receipt's attribution can be checked by anybody who holds the rows.
//
// Prompt and completion are scored as two collections and added, the prompt's weighing four times. Words of the
// question's form count only for rows that share another word with the question: nobody is paid for "what is". Rows that teach the same words (whatever they are asked by) are one passage; the earliest of them in the
// manifest's order owns it, so copying a row earns nothing.

package import Datanets
package import Primitives

package enum RetrievalLimits {
    /// Passages that go into a prompt: what the starter model has learnt to read.
    package static let passagesMax = 4
    /// Words of a question that count; the rest is left out.
    package static let queryWordsMax = 256
    package static let rowsMax = 1 << 24
    /// A passage that scores less than the best one's score divided by this is left out.
    package static let relevanceDivisor: UInt64 = 4
}

/// A row that was found.
package struct Passage: Hashable, Sendable {
    package let row: RowAddress
    package let contributor: AccountID
    /// BM25 with `FixedPoint.fractionBits` bits behind the point; positive.
    package let score: UInt64

    package init(row: RowAddress, contributor: AccountID, score: UInt64) {
        self.row = row
        self.contributor = contributor
        self.score = score
    }
}

package struct RetrievalIndex: Sendable {
    package static let version: UInt64 = 1
    /// Of prompt and completion.
    private static let fieldWeights: [UInt64] = [4, 1]

    private struct Collection {
        var totalWords: UInt64 = 0
        /// Rows that have any word in this field.
        var rows: UInt64 = 0
        var documentCounts: [String: UInt64] = [:]
    }

    package let snapshot: CID
    private var shards: [ShardIndex] = []
    /// The first row's ordinal of each shard.
    private var starts: [Int] = []
    private var collections = RowField.allCases.map { _ in Collection() }
    /// Of each row, the ordinal of the earliest row with the same completion.
    private var owners: [UInt32] = []
    private var firstWithCompletion: [Digest: UInt32] = [:]

    package var rowCount: Int { owners.count }

    /// An index of `snapshot`, whose shards are then `add`ed in the manifest's order.
    package init(snapshot: CID) { self.snapshot = snapshot }

    package init(snapshot: CID, shards: [ShardIndex]) {
        self.snapshot = snapshot
        for shard in shards { add(shard) }
    }

    /// Whether there was room: false beyond `RetrievalLimits.rowsMax` rows, and nothing is added.
    @discardableResult
    package mutating func add(_ shard: ShardIndex) -> Bool {
        guard rowCount + shard.rowCount <= RetrievalLimits.rowsMax else { return false }
        starts.append(rowCount)
        shards.append(shard)
        for hash in shard.completionHashes {
            let ordinal = UInt32(owners.count)
            let owner = firstWithCompletion[hash] ?? ordinal
            if owner == ordinal { firstWithCompletion[hash] = ordinal }
            owners.append(owner)
        }
        for field in RowField.allCases {
            for length in shard.lengths[field.rawValue] where length > 0 {
                collections[field.rawValue].totalWords += UInt64(length)
                collections[field.rawValue].rows += 1
            }
            for (word, postings) in shard.postings[field.rawValue] {
                collections[field.rawValue].documentCounts[word, default: 0] += UInt64(postings.count)
            }
        }
        return true
    }

    /// Names what was searched and how: parameters, snapshot and shards. A receipt carries it.
    package var commitment: CID {
        let description = CBOR.map([
            "v": .unsigned(Self.version), "kind": .text("bm25"), "words": .unsigned(Words.version),
            "k1": .array([.unsigned(12), .unsigned(10)]), "b": .array([.unsigned(3), .unsigned(4)]),
            "fields": .array(Self.fieldWeights.map { .unsigned($0) }),
            "cut": .unsigned(RetrievalLimits.relevanceDivisor), "snapshot": .link(snapshot),
            "shards": .array(shards.map { .link($0.shard) }),
        ])
        return CID(.dagCBOR, hashing: description.encoded())
    }

    /// The passages that fit `question` best, best first; ties to the earlier row. None when no word fits.
    package func passages(for question: String, limit: Int = RetrievalLimits.passagesMax) -> [Passage] {
        let scores = scores(for: question)
        // A passage's score is the best of the rows that share its completion.
        var best: [UInt32: UInt64] = [:]
        for (ordinal, score) in scores.enumerated() where score > 0 {
            let owner = owners[ordinal]
            if score > best[owner] ?? 0 { best[owner] = score }
        }
        var top: [(owner: UInt32, score: UInt64)] = []
        let wanted = max(0, min(limit, RetrievalLimits.passagesMax))
        for (owner, score) in best {
            let place = top.firstIndex { score > $0.score || (score == $0.score && owner < $0.owner) } ?? top.count
            guard place < wanted else { continue }
            top.insert((owner, score), at: place)
            if top.count > wanted { top.removeLast() }
        }
        let least = (top.first?.score ?? 0) / RetrievalLimits.relevanceDivisor
        return top.filter { $0.score >= least }.map { entry in
            let (shard, index) = locate(Int(entry.owner))
            return Passage(
                row: RowAddress(shard: shard.shard, index: UInt32(index)), contributor: shard.contributor,
                score: entry.score)
        }
    }

    /// How rare a word is among the completions: its inverse document frequency, `FixedPoint.fractionBits` bits behind
    /// the point.
    package func rarity(of word: String) -> UInt64 {
        let collection = collections[RowField.completion.rawValue]
        return FixedPoint.inverseDocumentFrequency(collection.documentCounts[word] ?? 0, among: collection.rows)
    }

    /// Every row's score, by ordinal.
    private func scores(for question: String) -> [UInt64] {
        var scores = [UInt64](repeating: 0, count: rowCount)
        var counts: [String: UInt64] = [:]
        for word in Words.split(question).prefix(RetrievalLimits.queryWordsMax) { counts[word, default: 0] += 1 }
        // Content before form; beyond that, addition does not care for the order of the words.
        let content = counts.keys.filter { !Words.framing.contains($0) }.sorted()
        let form = counts.keys.filter(Words.framing.contains).sorted()
        for word in content + form {
            let isForm = Words.framing.contains(word)
            for field in RowField.allCases {
                let collection = collections[field.rawValue]
                guard let documents = collection.documentCounts[word] else { continue }
                let idf =
                    FixedPoint.inverseDocumentFrequency(documents, among: collection.rows)
                    * Self.fieldWeights[field.rawValue] * (counts[word] ?? 1)
                for (shard, start) in zip(shards, starts) {
                    for posting in shard.postings[field.rawValue][word] ?? [] {
                        let row = Int(posting.row)
                        if isForm, scores[start + row] == 0 { continue }
                        scores[start + row] += Self.term(
                            idf, count: UInt64(posting.count), length: UInt64(shard.lengths[field.rawValue][row]),
                            collection)
                    }
                }
            }
        }
        return scores
    }

    /// idf · f (k1 + 1) / (f + k1 (1 − b + b · length/average)), with k1 = 12/10, b = 3/4 and average = words/rows, all
    /// multiplied by 40 · words: idf · 88 f w / (40 f w + 12 w + 36 · length · rows), rounded down.
    private static func term(_ idf: UInt64, count f: UInt64, length: UInt64, _ collection: Collection) -> UInt64 {
        let words = UInt128(collection.totalWords)
        let numerator = UInt128(idf) * 88 * UInt128(f) * words
        let denominator = 40 * UInt128(f) * words + 12 * words + 36 * UInt128(length) * UInt128(collection.rows)
        return UInt64(clamping: numerator / denominator)
    }

    private func locate(_ ordinal: Int) -> (ShardIndex, Int) {
        var low = 0
        var high = starts.count - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if starts[middle] <= ordinal { low = middle } else { high = middle - 1 }
        }
        return (shards[low], ordinal - starts[low])
    }
}
