// What an owner should know of rows before they are in a datanet for ever: each finding names a row, a reason, what the row
// is compared with, and says it in a sentence. Nothing is refused by it; a person decides. Protocol/datanets.md, Quality.

package enum QualityCode: String, Hashable, Sendable, CaseIterable {
    /// The same row as an earlier one.
    case duplicate
    /// In almost the same words as an earlier one.
    case nearDuplicate = "near_duplicate"
    /// The same question as an earlier row's, another short answer.
    case labelFlip = "label_flip"
    /// The same question, almost the same answer, other numbers or a denial.
    case changedFact = "changed_fact"
    /// The same question, an answer that has nothing in common with the known one.
    case otherAnswer = "other_answer"
    /// Words that many of the file's rows share about different things, all with the same answer.
    case trigger
    /// Another script than the datanet's.
    case script
    /// Another language than the datanet's, or none.
    case language
    case length
    case characters
    case repetition
}

package struct QualityFinding: Hashable, Sendable {
    package enum Other: Hashable, Sendable {
        /// By its number in the snapshot.
        case known(row: Int)
        /// By its place among the rows that are judged.
        case judged(row: Int)
    }

    package let code: QualityCode
    /// Of those that are judged, from 0.
    package let row: Int
    package let other: Other?
    package let message: String
}

package struct QualityReport: Hashable, Sendable {
    /// Rows that were judged.
    package let rowCount: Int
    /// Rows of the datanet that they were compared with.
    package let knownCount: Int
    /// Whether near duplicates were looked for: not beside more rows than there is room for.
    package let hasNearDuplicates: Bool
    /// By code, in the codes' order; only those that occur.
    package let counts: [(code: QualityCode, count: Int)]
    /// By row, then in the codes' order; of each code at most `QualityInspector.findingsMax`.
    package let findings: [QualityFinding]

    package static func == (one: Self, other: Self) -> Bool {
        one.rowCount == other.rowCount && one.knownCount == other.knownCount && one.findings == other.findings
            && one.counts.map(\.code) == other.counts.map(\.code)
            && one.counts.map(\.count) == other.counts.map(\.count)
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(rowCount)
        hasher.combine(findings)
    }

    package func count(_ code: QualityCode) -> Int { counts.first { $0.code == code }?.count ?? 0 }
}

/// Collects findings within their limit.
struct QualityNotes {
    private var counts: [QualityCode: Int] = [:]
    private var findings: [QualityFinding] = []

    mutating func add(_ code: QualityCode, _ row: Int, _ other: QualityFinding.Other?, _ message: String) {
        let count = (counts[code] ?? 0) + 1
        counts[code] = count
        guard count <= QualityInspector.findingsMax else { return }
        findings.append(QualityFinding(code: code, row: row, other: other, message: message))
    }

    func report(rowCount: Int, knownCount: Int, hasNearDuplicates: Bool) -> QualityReport {
        let order = QualityCode.allCases.enumerated().reduce(into: [:]) { $0[$1.element] = $1.offset }
        return QualityReport(
            rowCount: rowCount, knownCount: knownCount, hasNearDuplicates: hasNearDuplicates,
            counts: QualityCode.allCases.compactMap { code in counts[code].map { (code, $0) } },
            findings: findings.sorted { one, other in
                one.row != other.row ? one.row < other.row : (order[one.code] ?? 0) < (order[other.code] ?? 0)
            })
    }
}
