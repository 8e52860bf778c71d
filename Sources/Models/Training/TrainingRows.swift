// Rows for a run, with what each commits to.

import Datanets
package import Inference
package import Primitives

package struct TrainingRows: Sendable {
    package private(set) var rows: [TrainingRow] = []
    /// Merkle leaves: a text row's canonical form, or a map of token ids and labels.
    private var leaves: [Digest] = []
    /// Rows that were cut to what the model takes.
    package private(set) var cutCount = 0

    package var root: Digest { MerkleTree.root(ofDigests: leaves) }
    package var tokenCount: Int { rows.reduce(0) { $0 + $1.tokens.count } }

    /// JSON lines of texts or of token ids, by the first one.
    package init(jsonl bytes: [UInt8], file: String, model: LoadedModel) throws(TrainingFault) {
        try self.init(jsonl: bytes, file: file, base: TrainingBase(model))
    }

    package init(jsonl bytes: [UInt8], file: String, base: TrainingBase) throws(TrainingFault) {
        var writer = RowWriter(base: base)
        if RowWriter.holdsTokens(bytes) {
            rows = try writer.tokenRows(bytes, file: file)
            leaves = rows.map { MerkleTree.leafDigest($0.leaf) }
        } else {
            let read = RowFile(jsonl: bytes, name: file)
            if let fault = read.faults.first {
                let more = read.faultCount > 1 ? "; and \(read.faultCount - 1) more" : ""
                throw .rows("\(fault)\(more)")
            }
            for line in read.rows {
                rows.append(try writer.row(line.row.content))
                leaves.append(MerkleTree.leafDigest(line.row.cbor.encoded()))
            }
        }
        guard !rows.isEmpty else { throw .rows("\(file) has no rows") }
        cutCount = writer.cutCount
    }

    /// Whether each row owns its cluster of near duplicates; rows of token ids are told apart by their ids.
    /// - Parameters:
    ///   - bytes: what the rows were read from.
    ///   - snapshot: of the datanet that they are; of others the root of the rows keys the hash functions.
    package func owners(jsonl bytes: [UInt8], snapshot: CID?) -> [Bool] {
        if RowWriter.holdsTokens(bytes) {
            var seen: Set<Digest> = []
            return leaves.map { seen.insert($0).inserted }
        }
        var near = NearDuplicates(snapshot: snapshot ?? CID(.raw, digest: root))
        return RowFile(jsonl: bytes, name: "").rows.enumerated().map { near.add($1.row) == UInt32($0) }
    }
}

extension TrainingRow {
    fileprivate var leaf: [UInt8] {
        CBOR.map([
            "tokens": .array(tokens.map { .unsigned(UInt64($0)) }),
            "labels": .array(labels.map { $0.map { .unsigned(UInt64($0)) } ?? .negative(0) }),
        ]).encoded()
    }
}
