// Reading rows from files. People write them by hand and by script, so every fault names file, line and field, and all
// of them are reported at once; nothing is taken from a file that has one. JSONL is here, the other forms beside it: CSV
// in CSVReader.swift, documents in DocumentRows.swift.

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
        /// Where the row begins; of a PDF the page.
        package let line: Int
        package let row: Row
    }

    package fileprivate(set) var rows: [NumberedRow] = []
    /// At most `DatanetLimits.faultsMax`.
    package fileprivate(set) var faults: [RowFault] = []
    package fileprivate(set) var faultCount = 0
    /// Fields that no row has, ascending: shown in the preview, then left out.
    package fileprivate(set) var ignoredFields: [String] = []
    /// Lines that repeat an earlier row of the file, with that row's line.
    package fileprivate(set) var duplicates: [(line: Int, of: Int)] = []

    fileprivate init() {}

    package static func == (one: Self, other: Self) -> Bool {
        one.rows == other.rows && one.faults == other.faults && one.ignoredFields == other.ignoredFields
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(rows)
        hasher.combine(faults)
    }

    /// A file that could not be read at all.
    package init(unreadable reason: String, name: String) {
        var intake = RowIntake(name: name)
        intake.add(line: 1, field: nil, reason)
        self = intake.finish(needs: "")
    }

    private static let lineLimits = JSONLimits(bytesMax: DatanetLimits.lineBytesMax, depthMax: 4, valuesMax: 1024)

    /// Reads JSONL. `name` is the file's name as the person knows it. Empty lines are skipped.
    package init(jsonl bytes: [UInt8], name: String) {
        var intake = RowIntake(name: name)
        guard intake.accepts(bytes, .jsonl) else {
            self = intake.finish(needs: RowFields.need)
            return
        }
        var line = 0
        for slice in bytes.split(separator: 0x0a, omittingEmptySubsequences: false) {
            line += 1
            guard slice.contains(where: { $0 != 0x20 && $0 != 0x0d && $0 != 0x09 }) else { continue }
            guard intake.hasRoom(line) else { break }
            do {
                intake.take(try Self.row(Array(slice), RowFields(file: name, line: line), &intake), line: line)
            } catch {
                intake.add(error)
            }
        }
        self = intake.finish(needs: RowFields.need)
    }

    private static func row(
        _ bytes: [UInt8], _ fields: RowFields, _ intake: inout RowIntake
    ) throws(RowFault) -> Row {
        let value: JSONValue
        do {
            value = try JSONValue.parse(bytes, limits: lineLimits)
        } catch {
            throw fields.fault(nil, "column \(error.column): \(error.reason)")
        }
        guard let members = value.memberList else {
            throw fields.fault(nil, "a row is a JSON object; \(RowFields.need)")
        }
        for member in members where !RowFields.known.contains(member.key) { intake.ignore(member.key) }
        return try fields.row { key throws(RowFault) in
            guard let member = value[key], !member.isNull else { return nil }
            guard let text = member.text else { throw fields.fault(key, "\"\(key)\" is not a text") }
            return text
        }
    }
}

/// Takes what a reader finds, in the file's order, up to the limits.
struct RowIntake {
    private let name: String
    private var file = RowFile()
    private var firstLine: [Digest: Int] = [:]
    private var ignored: Set<String> = []

    init(name: String) { self.name = name }

    var isClean: Bool { file.faultCount == 0 }

    /// Whether the file is small enough to be read at all; a fault otherwise.
    mutating func accepts(_ bytes: [UInt8], _ format: RowFormat) -> Bool {
        guard bytes.count <= format.bytesMax else {
            add(
                line: 1, field: nil,
                "the file has \(bytes.count) bytes; split it into files of \(format.bytesMax)")
            return false
        }
        return true
    }

    /// Whether another row fits; a fault at `line` otherwise.
    mutating func hasRoom(_ line: Int) -> Bool {
        guard file.rows.count < DatanetLimits.rowsPerContributionMax else {
            add(
                line: line, field: nil,
                "more than \(DatanetLimits.rowsPerContributionMax) rows; contribute the rest as another file")
            return false
        }
        return true
    }

    mutating func take(_ row: Row, line: Int) {
        let hash = row.normalisedHash
        if let earlier = firstLine[hash] { file.duplicates.append((line, earlier)) } else { firstLine[hash] = line }
        file.rows.append(RowFile.NumberedRow(line: line, row: row))
    }

    mutating func ignore(_ field: String) {
        guard ignored.count < DatanetLimits.fieldsMax else { return }
        ignored.insert(String(field.prefix(64)))
    }

    mutating func add(_ fault: RowFault) {
        file.faultCount += 1
        if file.faults.count < DatanetLimits.faultsMax { file.faults.append(fault) }
    }

    mutating func add(line: Int, field: String?, _ reason: String) {
        add(RowFault(file: name, line: line, field: field, reason: reason))
    }

    /// - Parameter needs: what a file without rows is told.
    mutating func finish(needs: String) -> RowFile {
        file.ignoredFields = ignored.sorted()
        if file.rows.isEmpty, file.faultCount == 0 { add(line: 1, field: nil, "the file has no rows; \(needs)") }
        return file
    }
}
