// Reading rows from JSONL. People write these files by hand and by script, so every fault names file, line and field,
// and all of them are reported at once; nothing is taken from a file that has one.

import Primitives

/// What is wrong in a line, for the person who wrote it: `datanet.jsonl:17: "completion" is missing; …`.
package struct RowFault: Error, Hashable, Sendable, CustomStringConvertible {
    package let file: String
    /// 1 is the first line.
    package let line: Int
    /// The field that is wrong; nil when the line as a whole is.
    package let field: String?
    package let reason: String

    package var description: String { "\(file):\(line): \(reason)" }
}

/// What a file holds, good and bad.
package struct RowFile: Hashable, Sendable {
    package struct NumberedRow: Hashable, Sendable {
        package let line: Int
        package let row: Row
    }

    package private(set) var rows: [NumberedRow] = []
    /// At most `DatanetLimits.faultsMax`.
    package private(set) var faults: [RowFault] = []
    package private(set) var faultCount = 0
    /// Fields that no row has, ascending: shown in the preview, then left out.
    package private(set) var ignoredFields: [String] = []
    /// Lines that repeat an earlier row of the file, with that row's line.
    package private(set) var duplicates: [(line: Int, of: Int)] = []

    package static func == (one: Self, other: Self) -> Bool {
        one.rows == other.rows && one.faults == other.faults && one.ignoredFields == other.ignoredFields
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(rows)
        hasher.combine(faults)
    }

    private static let need = "each row needs \"prompt\" and \"completion\", or \"text\""
    private static let known: Set<String> = ["prompt", "completion", "text", "id", "source", "license", "licence"]
    private static let lineLimits = JSONLimits(bytesMax: DatanetLimits.lineBytesMax, depthMax: 4, valuesMax: 1024)

    /// Reads JSONL. `name` is the file's name as the person knows it. Empty lines are skipped.
    package init(jsonl bytes: [UInt8], name: String) {
        guard bytes.count <= DatanetLimits.fileBytesMax else {
            add(
                RowFault(
                    file: name, line: 1, field: nil,
                    reason: "the file has \(bytes.count) bytes; split it into files of \(DatanetLimits.fileBytesMax)"))
            return
        }
        var ignored: Set<String> = []
        var firstLine: [Digest: Int] = [:]
        var line = 0
        for slice in bytes.split(separator: 0x0a, omittingEmptySubsequences: false) {
            line += 1
            guard slice.contains(where: { $0 != 0x20 && $0 != 0x0d && $0 != 0x09 }) else { continue }
            guard rows.count < DatanetLimits.rowsPerContributionMax else {
                add(
                    RowFault(
                        file: name, line: line, field: nil,
                        reason: "more than \(DatanetLimits.rowsPerContributionMax) rows; contribute the rest as another"
                            + " file"))
                break
            }
            do {
                let row = try Self.row(Array(slice), file: name, line: line, &ignored)
                let hash = row.normalisedHash
                if let earlier = firstLine[hash] { duplicates.append((line, earlier)) } else { firstLine[hash] = line }
                rows.append(NumberedRow(line: line, row: row))
            } catch {
                add(error)
            }
        }
        ignoredFields = ignored.sorted()
        if rows.isEmpty, faults.isEmpty {
            add(RowFault(file: name, line: 1, field: nil, reason: "the file has no rows; \(Self.need)"))
        }
    }

    private mutating func add(_ fault: RowFault) {
        faultCount += 1
        if faults.count < DatanetLimits.faultsMax { faults.append(fault) }
    }

    private static func row(
        _ bytes: [UInt8], file: String, line: Int, _ ignored: inout Set<String>
    ) throws(RowFault) -> Row {
        func fault(_ field: String?, _ reason: String) -> RowFault {
            RowFault(file: file, line: line, field: field, reason: reason)
        }
        let value: JSONValue
        do {
            value = try JSONValue.parse(bytes, limits: lineLimits)
        } catch {
            throw fault(nil, "column \(error.column): \(error.reason)")
        }
        guard let members = value.memberList else { throw fault(nil, "a row is a JSON object; \(need)") }
        for member in members where !known.contains(member.key) { ignored.insert(String(member.key.prefix(64))) }

        func text(_ key: String, max: Int) throws(RowFault) -> String? {
            guard let member = value[key], !member.isNull else { return nil }
            guard let text = member.text else { throw fault(key, "\"\(key)\" is not a text") }
            guard text.utf8.count <= max else {
                throw fault(key, "\"\(key)\" has \(text.utf8.count) bytes; the limit is \(max)")
            }
            return text
        }
        func content(_ key: String) throws(RowFault) -> String? {
            guard let text = try text(key, max: DatanetLimits.rowBytesMax) else { return nil }
            guard !Row.normalise(text).isEmpty else { throw fault(key, "\"\(key)\" is empty; \(need)") }
            return text
        }
        func optional(_ key: String, _ limit: Int) throws(RowFault) -> String? {
            let found = try text(key, max: limit)
            return found?.isEmpty == true ? nil : found
        }
        let prompt = try content("prompt")
        let completion = try content("completion")
        let whole = try content("text")
        let kind: RowContent
        switch (prompt, completion, whole) {
        case (let prompt?, let completion?, nil): kind = .pair(prompt: prompt, completion: completion)
        case (nil, nil, let whole?): kind = .text(whole)
        case (nil, nil, nil): throw fault("prompt", "\"prompt\" is missing; \(need)")
        case (_, _, _?): throw fault("text", "\"text\" stands beside \"prompt\" or \"completion\"; \(need)")
        case (nil, _?, nil): throw fault("prompt", "\"prompt\" is missing; \(need)")
        case (_?, nil, nil): throw fault("completion", "\"completion\" is missing; \(need)")
        }
        var licence = try optional("license", DatanetLimits.licenceBytesMax)
        if licence == nil { licence = try optional("licence", DatanetLimits.licenceBytesMax) }
        let row = Row(
            kind, id: try optional("id", DatanetLimits.idBytesMax),
            source: try optional("source", DatanetLimits.sourceBytesMax), licence: licence)
        let size = row.cbor.encoded().count
        guard size <= DatanetLimits.rowBytesMax else {
            throw fault(nil, "the row has \(size) bytes; the limit is \(DatanetLimits.rowBytesMax)")
        }
        return row
    }
}
