// What an answer drew on, in the three forms that it is told in: the rows for the payer, the data for the receipt, the
// sources for the page. The shares are the same in all of them and sum to one million.

import Attribution
import Datanets
import Ledger
import NodeCore
import Primitives

enum AnswerData {
    private static let textBytesMax = 16_384

    /// The passages of a prompt with their shares, heaviest first.
    static func shares(_ passages: [FoundPassage]) -> [(found: FoundPassage, share: PartsPerMillion)] {
        let attributed = Attributed(passages.map(\.passage))
        var found: [RowAddress: FoundPassage] = [:]
        for passage in passages { found[passage.passage.row] = passage }
        let rows = attributed.rows.sorted { $0.share == $1.share ? $0.row < $1.row : $0.share > $1.share }
        return rows.compactMap { weight in found[weight.row].map { ($0, weight.share) } }
    }

    /// - Parameter salt: the requester's, of the answer; each row's salt is made from it.
    static func notes(_ passages: [FoundPassage], of found: Found, salt: [UInt8]) -> [SourceNote] {
        shares(passages).map { passage, share in
            let message = Array("row".utf8) + passage.ordinal.bigEndianBytes
            return SourceNote(
                row: passage.ordinal, rowName: passage.name, snapshot: found.datanet.snapshot,
                datanet: found.datanet.id.digest, datanetName: found.datanet.name,
                contributor: passage.passage.contributor, share: share, text: shortened(passage.text),
                license: passage.licence,
                salt: Array(hmacSHA256(key: salt, message).prefix(Ledger.RowWeight.saltBytes)))
        }
    }

    static func use(_ found: Found, salt: [UInt8]) -> DataUse {
        DataUse(
            snapshots: [found.datanet.snapshot],
            retrieval: Retrieval(
                method: "bm25", revision: RetrievalIndex.version, passages: UInt64(RetrievalLimits.passagesMax),
                settings: ["k1": 1_200_000, "b": 750_000]),
            indexes: [found.index],
            query: Commitment(Attributed.queryCommitment(salt: salt, question: found.question)))
    }

    /// At most so much of a row's text, at the end of a character.
    private static func shortened(_ text: String) -> String {
        guard text.utf8.count > textBytesMax else { return text }
        var bytes = Array(text.utf8.prefix(textBytesMax))
        while let last = bytes.last, last & 0xc0 == 0x80 { bytes.removeLast() }
        // What is last now leads a character that was cut, or is one byte long; either may go.
        bytes.removeLast(min(1, bytes.count))
        return String(decoding: bytes, as: UTF8.self)
    }
}
