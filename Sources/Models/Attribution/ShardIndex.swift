// The words of one shard's rows: what each row contains, by field. It depends on the shard alone, so it is made once,
// kept, and put together with others to an index of a snapshot.

package import Datanets
package import Primitives

/// The two places of a row where a word can stand. They are weighed apart: that a question has the words of a prompt
/// says more than that they occur in an answer.
enum RowField: Int, CaseIterable, Sendable {
    case prompt, completion
}

package struct ShardIndex: Sendable {
    struct Posting: Sendable {
        let row: UInt32
        let count: UInt32
    }

    package let shard: CID
    package let contributor: AccountID
    package let rowCount: Int
    /// Words of each row, by field.
    let lengths: [[UInt32]]
    /// Rows that have a word, ascending, by field.
    let postings: [[String: [Posting]]]
    let completionHashes: [Digest]

    package init(_ shard: Shard, cid: CID) {
        self.shard = cid
        contributor = shard.contributor
        rowCount = shard.rows.count
        var lengths: [[UInt32]] = []
        var postings: [[String: [Posting]]] = []
        for field in RowField.allCases {
            var fieldLengths: [UInt32] = []
            var fieldPostings: [String: [Posting]] = [:]
            for (index, row) in shard.rows.enumerated() {
                let words = Words.split(field == .prompt ? row.prompt : row.completion)
                fieldLengths.append(UInt32(words.count))
                var counts: [String: UInt32] = [:]
                for word in words { counts[word, default: 0] += 1 }
                for (word, count) in counts {
                    fieldPostings[word, default: []].append(Posting(row: UInt32(index), count: count))
                }
            }
            lengths.append(fieldLengths)
            postings.append(fieldPostings)
        }
        self.lengths = lengths
        self.postings = postings
        completionHashes = shard.rows.map(\.completionHash)
    }
}
