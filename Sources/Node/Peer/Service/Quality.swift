// What stands out in rows before they are in a datanet: the same report for whoever is about to contribute a file, for an
// owner who decides, and for the contributor who wonders what the owner sees. Made on the desk, since it reads the whole datanet.

import Datanets
import Gateway
import NodeCore
import Primitives
import Storage

extension PeerService {
    /// Rows to judge, and what they are judged beside.
    struct JudgedRows: Sendable {
        var rows: [Row]
        /// Of each row, where it is in its file; nil of rows that are in shards.
        var lines: [Int]?
        var beside: HeldContent
    }

    /// Of a file that is not contributed.
    func quality(_ file: RowFile, beside held: HeldContent) async throws(NodeFault) -> JSONValue {
        try await quality(JudgedRows(rows: file.rows.map(\.row), lines: file.rows.map(\.line), beside: held))
    }

    /// Of a contribution that waits, or was accepted: then beside what was there before it.
    func contributionReport(_ name: String, _ text: String) async throws(NodeFault) -> JSONValue {
        let found = try await judged(name, text)
        let report = try await desk.perform { [self] () throws(NodeFault) in
            var rows: [Row] = []
            for cid in found.contribution.shards { rows += try shard(cid).rows }
            return try self.report(JudgedRows(rows: rows, lines: nil, beside: found.before))
        }
        return .object([
            "contribution": .string(text), "contributor": .string(found.contribution.contributor.text),
            "state": .string(found.isAccepted ? "approved" : "pending"), "report": report,
        ])
    }

    private func quality(_ judged: JudgedRows) async throws(NodeFault) -> JSONValue {
        try await desk.perform { [self] () throws(NodeFault) in try report(judged) }
    }

    /// Reads every row of the datanet. Blocks.
    private func report(_ judged: JudgedRows) throws(NodeFault) -> JSONValue {
        var inspector = QualityInspector(judged.rows, snapshot: judged.beside.snapshot)
        var known = KnownRows(judged.beside)
        for (cid, _) in judged.beside.shards {
            let shard = try shard(cid)
            known.starts.append(known.count)
            known.count += shard.rows.count
            for row in shard.rows { inspector.know(row) }
        }
        let report = inspector.report()
        var findings: [JSONValue] = []
        for finding in report.findings { findings.append(try json(finding, judged, &known)) }
        return .object([
            "rows": .integer(report.rowCount), "snapshot": .string(judged.beside.snapshot.text),
            "known_rows": .integer(report.knownCount), "near_duplicates": .bool(report.hasNearDuplicates),
            "counts": .members(report.counts.map { JSONMember($0.code.rawValue, .integer($0.count)) }),
            "findings": .array(findings), "findings_total": .integer(report.counts.reduce(0) { $0 + $1.count }),
        ])
    }

    /// The datanet's rows by number; a shard that findings name is read once more.
    private struct KnownRows {
        let held: HeldContent
        /// The first row's number of each shard.
        var starts: [Int] = []
        var count = 0
        private var shards: [CID: Shard] = [:]

        init(_ held: HeldContent) { self.held = held }

        mutating func row(
            _ number: Int, _ read: (CID) throws(NodeFault) -> Shard
        ) throws(NodeFault) -> (row: Row, contributor: AccountID)? {
            guard let place = starts.lastIndex(where: { $0 <= number }) else { return nil }
            let cid = held.shards[place].cid
            let shard: Shard
            if let known = shards[cid] { shard = known } else { shard = try read(cid) }
            shards[cid] = shard
            guard shard.rows.indices.contains(number - starts[place]) else { return nil }
            return (shard.rows[number - starts[place]], shard.contributor)
        }
    }

    private func json(
        _ finding: QualityFinding, _ judged: JudgedRows, _ known: inout KnownRows
    ) throws(NodeFault) -> JSONValue {
        let with: JSONValue
        switch finding.other {
        case nil: with = .null
        case .judged(let row):
            with = .object([
                "row": .null, "index": .integer(row), "line": judged.line(row), "contributor": .null,
                "text": .string(Self.excerpt(judged.rows[row])),
            ])
        case .known(let number):
            let found = try known.row(number) { cid throws(NodeFault) in try shard(cid) }
            with = .object([
                "row": .string("\(judged.beside.snapshot.text)#\(number)"), "index": .integer(number), "line": .null,
                "contributor": .text(found?.contributor.text), "text": .text(found.map { Self.excerpt($0.row) }),
            ])
        }
        return .object([
            "code": .string(finding.code.rawValue), "row": .integer(finding.row), "line": judged.line(finding.row),
            "message": .string(finding.message), "text": .string(Self.excerpt(judged.rows[finding.row])), "with": with,
        ])
    }

    /// The beginning of what a row says.
    private static func excerpt(_ row: Row) -> String {
        let text = row.prompt.isEmpty ? row.completion : "\(row.prompt) \u{2192} \(row.completion)"
        return text.count <= 200 ? text : "\(text.prefix(199))\u{2026}"
    }
}

extension PeerService.JudgedRows {
    fileprivate func line(_ row: Int) -> JSONValue { lines.map { .integer($0[row]) } ?? .null }
}
