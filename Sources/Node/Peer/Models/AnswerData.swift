// What an answer drew on, in the three forms that it is told in: the rows for the payer, the data for the receipt, the
// sources for the page. The shares are the same in all of them and sum to one million.

import Attribution
import Datanets
import Gateway
import Ledger
import NodeCore
import Primitives

enum AnswerData {
    /// Shares by BM25's scores of the passages, heaviest first: where there is no other evidence.
    static func ranked(_ passages: [FoundPassage]) -> [WeighedRow] {
        var shares: [RowAddress: PartsPerMillion] = [:]
        for weight in Attributed(passages.map(\.passage)).rows { shares[weight.row] = weight.share }
        let rows = passages.map { passage in
            let share = shares[passage.passage.row] ?? .none
            return WeighedRow(found: passage, share: share, reason: share == .none ? .rounding : nil)
        }
        return rows.filter { $0.share > .none }.sorted {
            $0.share == $1.share ? $0.found.ordinal < $1.found.ordinal : $0.share > $1.share
        } + rows.filter { $0.share == .none }
    }

    /// Passages as they stand in the prompt: nobody's share is known yet.
    static func told(_ passages: [FoundPassage], of datanet: HeldDatanet, salt: [UInt8]) -> [SourceNote] {
        passages.map {
            note(WeighedRow(found: $0, share: .none), of: datanet, salt: salt, textBytesMax: SourceNote.textBytesMax)
        }
    }

    /// - Parameter salt: the requester's, of the answer; each row's salt is made from it.
    static func notes(_ rows: [WeighedRow], of datanet: HeldDatanet, salt: [UInt8]) -> [SourceNote] {
        rows.map { note($0, of: datanet, salt: salt, textBytesMax: SourceNote.sharedTextBytesMax) }
    }

    private static func note(
        _ row: WeighedRow, of datanet: HeldDatanet, salt: [UInt8], textBytesMax: Int
    ) -> SourceNote {
        let message = Array("row".utf8) + row.found.ordinal.bigEndianBytes
        return SourceNote(
            row: row.found.ordinal, rowName: row.found.name, snapshot: datanet.snapshot, datanet: datanet.id.digest,
            datanetName: datanet.name, contributor: row.found.passage.contributor, share: row.share,
            text: shortened(row.found.text, textBytesMax), license: row.found.licence,
            salt: Array(hmacSHA256(key: salt, message).prefix(Ledger.RowWeight.saltBytes)), reason: row.reason,
            instead: row.instead)
    }

    /// - Parameters:
    ///   - kinds: of evidence; none where shares are BM25's.
    ///   - index: the adapter's, of influence.
    ///   - salt: the requester's, of the prompt.
    static func use(_ found: Found, kinds: Set<EvidenceKind>, index: CID? = nil, salt: [UInt8]) -> DataUse {
        var settings: [String: UInt64] = found.isSearched ? ["k1": 1_200_000, "b": 750_000] : [:]
        for (name, value) in EvidenceMethod.settings(kinds, FusionWeights()) { settings[name] = value }
        return DataUse(
            snapshots: [found.datanet.snapshot],
            retrieval: Retrieval(
                method: kinds.isEmpty ? "bm25" : EvidenceMethod.name(of: kinds),
                revision: kinds.isEmpty ? RetrievalIndex.version : EvidenceMethod.revision,
                passages: UInt64(found.isSearched ? RetrievalLimits.passagesMax : 0), settings: settings),
            indexes: [found.index] + (index.map { [$0] } ?? []), query: Commitment(query(found, salt: salt)))
    }

    static func query(_ found: Found, salt: [UInt8]) -> Digest {
        Attributed.queryCommitment(salt: salt, question: found.question)
    }

    static func source(_ row: WeighedRow, of datanet: HeldDatanet) -> AnswerSource {
        AnswerSource(
            row: row.found.name, rowID: row.found.row.id, datanet: datanet.id.text, datanetName: datanet.name,
            contributor: row.found.passage.contributor.text, share: row.share, text: row.found.text,
            license: row.found.licence, reason: row.reason?.rawValue)
    }

    /// At most so much of a row's text, at the end of a character.
    private static func shortened(_ text: String, _ bytesMax: Int) -> String {
        guard text.utf8.count > bytesMax else { return text }
        var bytes = Array(text.utf8.prefix(bytesMax))
        while let last = bytes.last, last & 0xc0 == 0x80 { bytes.removeLast() }
        // What is last now leads a character that was cut, or is one byte long; either may go.
        bytes.removeLast(min(1, bytes.count))
        return String(decoding: bytes, as: UTF8.self)
    }
}
