// CSV as RFC 4180 has it: records end at line breaks, fields at commas; a field in quotes may hold both, and a quote in it
// is written twice. A fault names line and column, and reading goes on with the line behind it.
//
//     field ──quote──▶ quoted ──quote──▶ closed ──comma, break──▶ next
//       └──else──▶ bare ──comma, break──▶ next

import Primitives

struct CSVRecord {
    /// Where it begins.
    let line: Int
    let fields: [ArraySlice<UInt8>]
}

struct CSVFault: Error, Hashable {
    let line: Int
    /// In bytes; 1 is the first.
    let column: Int
    let reason: String
}

struct CSVReader {
    private static let quote = UInt8(ascii: "\"")
    private static let comma = UInt8(ascii: ",")

    private let bytes: [UInt8]
    private var place: Int
    private var line = 1
    private var lineStart: Int

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        place = TextLines.start(of: bytes)
        lineStart = place
    }

    /// The next record that is not an empty line; nil at the end.
    mutating func next() throws(CSVFault) -> CSVRecord? {
        skipEmptyLines()
        guard place < bytes.count else { return nil }
        let (start, first, firstStart) = (place, line, lineStart)
        do {
            return try record(start, first)
        } catch {
            // A quote that never closes would swallow the file: what is behind the first line is read for itself.
            (place, line, lineStart) = (start, first, firstStart)
            skipLine()
            throw error
        }
    }

    private mutating func record(_ start: Int, _ first: Int) throws(CSVFault) -> CSVRecord {
        var fields: [ArraySlice<UInt8>] = []
        while true {
            fields.append(try field(start))
            guard fields.count <= DatanetLimits.fieldsMax else {
                throw fault("a record has at most \(DatanetLimits.fieldsMax) fields")
            }
            guard place < bytes.count else { break }
            if bytes[place] == Self.comma {
                place += 1
            } else {
                breakLine()
                break
            }
        }
        return CSVRecord(line: first, fields: fields)
    }

    private mutating func field(_ start: Int) throws(CSVFault) -> ArraySlice<UInt8> {
        guard place < bytes.count else { return [] }
        if bytes[place] == Self.quote { return try quoted(start) }
        let begin = place
        while place < bytes.count, bytes[place] != Self.comma, TextLines.breakLength(bytes, place) == 0 {
            guard bytes[place] != Self.quote else {
                throw fault("a quote stands inside a field; put the whole field into quotes and write its own twice")
            }
            try checkLength(start)
            place += 1
        }
        return bytes[begin..<place]
    }

    private mutating func quoted(_ start: Int) throws(CSVFault) -> ArraySlice<UInt8> {
        let open = fault("the quote that opens here is never closed")
        place += 1
        var begin = place
        // Most fields are a piece of the file; only one with quotes in it is written anew.
        var content: [UInt8] = []
        while place < bytes.count {
            guard place - start < DatanetLimits.lineBytesMax else {
                throw CSVFault(
                    line: open.line, column: open.column,
                    reason: "the quote that opens here is not closed within \(DatanetLimits.lineBytesMax) bytes")
            }
            if bytes[place] == Self.quote {
                let end = place
                place += 1
                if place < bytes.count, bytes[place] == Self.quote {
                    content += bytes[begin...end]
                    place += 1
                    begin = place
                    continue
                }
                guard place == bytes.count || bytes[place] == Self.comma || TextLines.breakLength(bytes, place) > 0
                else { throw fault("behind a closing quote a comma or the end of the line belongs") }
                return content.isEmpty ? bytes[begin..<end] : (content + bytes[begin..<end])[...]
            }
            if TextLines.breakLength(bytes, place) > 0 { breakLine() } else { place += 1 }
        }
        throw open
    }

    private func checkLength(_ start: Int) throws(CSVFault) {
        guard place - start < DatanetLimits.lineBytesMax else {
            throw fault("the record has more than \(DatanetLimits.lineBytesMax) bytes")
        }
    }

    private func fault(_ reason: String) -> CSVFault {
        CSVFault(line: line, column: place - lineStart + 1, reason: reason)
    }

    private mutating func breakLine() {
        place += TextLines.breakLength(bytes, place)
        line += 1
        lineStart = place
    }

    private mutating func skipLine() {
        while place < bytes.count, TextLines.breakLength(bytes, place) == 0 { place += 1 }
        if place < bytes.count { breakLine() }
    }

    private mutating func skipEmptyLines() {
        while place < bytes.count {
            var end = place
            while end < bytes.count, bytes[end] == 0x20 || bytes[end] == 0x09 { end += 1 }
            guard end < bytes.count, TextLines.breakLength(bytes, end) > 0 else {
                if end == bytes.count { place = end }
                return
            }
            place = end
            breakLine()
        }
    }
}

extension RowFile {
    /// Reads CSV whose first line names the columns: `prompt` and `completion`, or `text`; others as in JSONL.
    package init(csv bytes: [UInt8], name: String) {
        var intake = RowIntake(name: name)
        if intake.accepts(bytes, .csv), TextLines.check(bytes, &intake) { Self.readCSV(bytes, name, &intake) }
        self = intake.finish(needs: "the first line names the columns, \(RowFields.need)")
    }

    private static func readCSV(_ bytes: [UInt8], _ name: String, _ intake: inout RowIntake) {
        var reader = CSVReader(bytes)
        var columns: [String: Int]?
        var width = 0
        while true {
            do {
                guard let record = try reader.next() else { break }
                if let columns {
                    guard intake.hasRoom(record.line) else { break }
                    let fields = RowFields(file: name, line: record.line, absent: "empty")
                    intake.take(try row(record, columns, width, fields), line: record.line)
                } else {
                    width = record.fields.count
                    guard let found = header(record, &intake) else { break }
                    columns = found
                }
            } catch let fault as RowFault {
                intake.add(fault)
            } catch let fault as CSVFault {
                intake.add(line: fault.line, field: nil, "column \(fault.column): \(fault.reason)")
                // Without its header a file says nothing.
                if columns == nil { break }
            } catch {
                break
            }
        }
    }

    /// Columns by name; nil, with a fault, where rows cannot be made of them.
    private static func header(_ record: CSVRecord, _ intake: inout RowIntake) -> [String: Int]? {
        var columns: [String: Int] = [:]
        for (place, field) in record.fields.enumerated() {
            let name = String(decoding: TextLines.trimmed(field), as: UTF8.self).lowercased()
            guard RowFields.known.contains(name) else {
                intake.ignore(name)
                continue
            }
            guard columns.updateValue(place, forKey: name) == nil else {
                intake.add(line: record.line, field: name, "column \(place + 1): \"\(name)\" names two columns")
                return nil
            }
        }
        if columns["text"] != nil || columns["prompt"] != nil && columns["completion"] != nil { return columns }
        let other = record.fields.count == 1 ? record.fields[0].first { $0 == 0x3b || $0 == 0x09 } : nil
        let hint =
            other.map {
                "the columns are separated by \($0 == 0x09 ? "tabs" : "semicolons"); save the file with commas"
            }
            ?? "the first line names the columns, and has \(shown(record.fields)); \(RowFields.need)"
        intake.add(line: record.line, field: columns["prompt"] == nil ? "prompt" : "completion", hint)
        return nil
    }

    private static func shown(_ fields: [ArraySlice<UInt8>]) -> String {
        let names = fields.prefix(8).map { "\"\(String(decoding: TextLines.prefix($0, 32), as: UTF8.self))\"" }
        return names.joined(separator: ", ") + (fields.count > 8 ? " and others" : "")
    }

    private static func row(
        _ record: CSVRecord, _ columns: [String: Int], _ width: Int, _ fields: RowFields
    ) throws(RowFault) -> Row {
        guard record.fields.count == width else {
            throw fields.fault(
                nil,
                "\(record.fields.count) fields, the first line has \(width); a text with a comma or a line break belongs"
                    + " in quotes")
        }
        return try fields.row { key in
            guard let place = columns[key], !record.fields[place].isEmpty else { return nil }
            return String(decoding: record.fields[place], as: UTF8.self)
        }
    }
}
