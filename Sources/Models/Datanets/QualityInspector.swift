// Judges rows beside a datanet's: `know` takes the datanet's rows in the manifest's order, `report` says what stands out.
// Memory is that of the judged rows, the near duplicates' index and a sample; the datanet's rows pass by.

package import Primitives

package struct QualityInspector: Sendable {
    /// Findings of one code that are told; the rest is counted.
    package static let findingsMax = 40
    /// Of a datanet beside which near duplicates are looked for: the index takes about 1 KiB a row, and the text.
    package static let knownRowsMax = 1 << 17
    package static let knownTextBytesMax = 64 << 20
    /// Answers of the datanet that are kept for one question.
    private static let answersMax = 4

    /// An answer that is known for a question.
    private struct Answer: Sendable {
        let other: QualityFinding.Other
        let completion: String
        let normalised: [UInt8]
    }

    private let rows: [Row]
    private let hashes: [Digest]
    private let wanted: Set<Digest>
    /// Of rows that are judged and in the datanet: the number there.
    private var known: [Digest: Int] = [:]
    /// By question, of those that are judged.
    private var answers: [Digest: [Answer]]
    private var near: NearDuplicates?
    private var nearBytes = 0
    private var knownCount = 0
    private var profile = LanguageProfile()
    private var lengths = Deviation.Sample()
    private var triggers: TriggerSearch

    /// - Parameters:
    ///   - rows: those to judge, in order.
    ///   - snapshot: what near duplicates are keyed by.
    package init(_ rows: [Row], snapshot: CID) {
        self.rows = rows
        hashes = rows.map(\.normalisedHash)
        wanted = Set(hashes)
        answers = Dictionary(rows.compactMap(\.questionHash).map { ($0, []) }) { first, _ in first }
        near = NearDuplicates(snapshot: snapshot)
        triggers = TriggerSearch(rows)
    }

    /// The datanet's next row.
    package mutating func know(_ row: Row) {
        let number = knownCount
        knownCount += 1
        let hash = row.normalisedHash
        if wanted.contains(hash), known[hash] == nil { known[hash] = number }
        if let question = row.questionHash { Self.note(row, .known(row: number), &answers, question) }
        nearBytes += row.prompt.utf8.count + row.completion.utf8.count
        if knownCount > Self.knownRowsMax || nearBytes > Self.knownTextBytesMax || near?.add(row) == nil { near = nil }
        profile.add(row)
        lengths.add(row.completion.utf8.count)
        triggers.know(row)
    }

    private static func note(
        _ row: Row, _ other: QualityFinding.Other, _ answers: inout [Digest: [Answer]], _ question: Digest
    ) {
        guard let known = answers[question], known.count < answersMax else { return }
        let normalised = Row.normalise(row.completion)
        guard !known.contains(where: { $0.normalised == normalised }) else { return }
        answers[question]?.append(Answer(other: other, completion: row.completion, normalised: normalised))
    }

    /// Judges the rows, beside what is known and beside each other.
    package mutating func report() -> QualityReport {
        var notes = QualityNotes()
        let isRepeated = noteDuplicates(&notes)
        noteNearDuplicates(except: isRepeated, &notes)
        noteAnswers(except: isRepeated, &notes)
        triggers.note(&notes)
        noteLanguage(&notes)
        noteLengths(&notes)
        for (place, row) in rows.enumerated() { TextOutliers.note(row, place, &notes) }
        return notes.report(rowCount: rows.count, knownCount: knownCount, hasNearDuplicates: near != nil)
    }

    /// - Returns: of each row, whether an earlier one is the same.
    private func noteDuplicates(_ notes: inout QualityNotes) -> [Bool] {
        var first: [Digest: Int] = [:]
        return hashes.enumerated().map { place, hash in
            if let number = known[hash] {
                notes.add(
                    .duplicate, place, .known(row: number),
                    "the datanet has this row already, as row \(number); it earns nothing again")
                return true
            }
            if let earlier = first[hash] {
                notes.add(
                    .duplicate, place, .judged(row: earlier), "an earlier row says the same; it earns nothing again")
                return true
            }
            first[hash] = place
            return false
        }
    }

    private mutating func noteNearDuplicates(except isRepeated: [Bool], _ notes: inout QualityNotes) {
        for (place, row) in rows.enumerated() {
            // Every row is added: numbers are the order of commitment.
            guard let owner = near?.add(row) else {
                near = nil
                return
            }
            let number = Int(owner)
            guard number != knownCount + place, !isRepeated[place] else { continue }
            if number < knownCount {
                notes.add(
                    .nearDuplicate, place, .known(row: number),
                    "says in almost the same words what row \(number) of the datanet says; that row earns for both")
            } else {
                notes.add(
                    .nearDuplicate, place, .judged(row: number - knownCount),
                    "says in almost the same words what an earlier row says; that row earns for both")
            }
        }
    }

    /// The same question, answered otherwise. Where two answers are known already it has no one answer, and nothing is said.
    private mutating func noteAnswers(except isRepeated: [Bool], _ notes: inout QualityNotes) {
        for (place, row) in rows.enumerated() {
            guard !isRepeated[place], let question = row.questionHash, let known = answers[question] else { continue }
            if known.count == 1, let answer = known.first,
                let conflict = AnswerConflict(Row.normalise(row.completion), answer.normalised)
            {
                let where_ =
                    switch answer.other {
                    case .known(let number): "row \(number) of the datanet"
                    case .judged: "an earlier row"
                    }
                notes.add(
                    conflict.code, place, answer.other,
                    "asks what \(where_) asks; \(conflict.sentence): \"\(Self.excerpt(row.completion))\" here, "
                        + "\"\(Self.excerpt(answer.completion))\" there")
            }
            Self.note(row, .judged(row: place), &answers, question)
        }
    }

    private func noteLanguage(_ notes: inout QualityNotes) {
        var profile = profile
        // A datanet that is too small to have a language is judged by the rows themselves.
        let isAlone = profile.rowCount < LanguageProfile.rowsMin
        if isAlone { for row in rows { profile.add(row) } }
        let judge = LanguageJudge(profile)
        for (place, row) in rows.enumerated() {
            guard let (code, message) = judge.finding(row, isCounted: isAlone) else { continue }
            notes.add(code, place, nil, message)
        }
    }

    private func noteLengths(_ notes: inout QualityNotes) {
        var lengths = lengths
        if lengths.count < LanguageProfile.rowsMin { for row in rows { lengths.add(row.completion.utf8.count) } }
        guard let usual = Deviation(lengths, spreadMin: 0)?.median,
            let deviation = Deviation(lengths.mapped(Self.logarithm), spreadMin: 96)
        else { return }
        for (place, row) in rows.enumerated() {
            let bytes = row.completion.utf8.count
            guard deviation.isFar(Self.logarithm(bytes), deviations: 6) else { continue }
            notes.add(.length, place, nil, "has \(bytes) bytes where \(usual) are usual")
        }
    }

    /// log2 with 8 bits behind the point.
    private static func logarithm(_ bytes: Int) -> Int {
        Int(FixedPoint.log2(UInt64(max(1, bytes))) >> UInt64(FixedPoint.fractionBits - 8))
    }

    static func excerpt(_ text: String) -> String {
        let line = String(decoding: TextLines.prefix(Array(text.utf8)[...], 120), as: UTF8.self)
        return line.utf8.count < text.utf8.count ? line + "\u{2026}" : line
    }
}

extension Row {
    /// Equal for rows that ask the same; nil of a text, which asks nothing.
    var questionHash: Digest? {
        guard case .pair(let prompt, _) = content else { return nil }
        return Digest(sha256: Self.normalise(prompt))
    }
}
