// Two audiences: with --json stdout carries nothing but JSON, an object a line, and people read stderr; without it
// people read stdout.

import Foundation
import Primitives

struct Output: Sendable {
    let json: Bool

    /// The command's result: JSON for programs, or what `human` makes of it for people.
    func result(_ value: JSONValue, human: () -> String) {
        if json { Self.write(value.serializedText + "\n", to: .standardOutput) } else { line(human()) }
    }

    /// One event of a stream.
    func event(_ value: JSONValue, human: () -> String?) {
        if json {
            Self.write(value.serializedText + "\n", to: .standardOutput)
        } else if let text = human() {
            line(text)
        }
    }

    /// Text for people, in its place.
    func line(_ text: String) {
        text.isEmpty ? () : Self.write(text + "\n", to: json ? .standardError : .standardOutput)
    }

    /// Text for people without a line end, as it arrives.
    func piece(_ text: String) { Self.write(text, to: json ? .standardError : .standardOutput) }

    static func complain(_ text: String) { write(text + "\n", to: .standardError) }

    /// Unbuffered. A reader that went away is no failure of ours.
    private static func write(_ text: String, to handle: FileHandle) { try? handle.write(contentsOf: Data(text.utf8)) }
}

/// Columns as wide as their widest cell; the last one runs free.
struct Table {
    let header: [String]
    var rows: [[String]] = []

    init(_ header: String...) { self.header = header }

    mutating func add(_ cells: String...) { rows.append(cells) }

    var text: String {
        guard !rows.isEmpty else { return "none" }
        let all = [header] + rows
        let widths = header.indices.map { column in all.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
        return all.map { row in
            row.enumerated().map { column, cell in
                column == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[column] - cell.count)
            }.joined(separator: "  ")
        }.joined(separator: "\n")
    }
}

extension JSONValue {
    /// A member as people read it: text bare, numbers as written, "-" for nothing.
    func shown(_ key: String) -> String {
        switch self[key] {
        case .string(let text): text
        case .number(let text): text
        case .bool(let flag): flag ? "yes" : "no"
        case .array(let items): items.compactMap(\.text).joined(separator: ", ")
        case nil, .null, .members: "-"
        }
    }

    func list(_ key: String) -> [JSONValue] { self[key]?.items ?? [] }

    func amount(_ key: String) -> Amount? { self[key]?.text.flatMap { Amount(text: $0) } }

    /// The members that are there; absent options leave no null behind.
    static func present(_ pairs: KeyValuePairs<String, JSONValue?>) -> JSONValue {
        .members(pairs.compactMap { pair in pair.value.map { JSONMember(pair.key, $0) } })
    }
}

/// Names are long; people compare their two ends.
func short(_ name: String) -> String { name.count <= 20 ? name : "\(name.prefix(10))…\(name.suffix(6))" }

func byteCount(_ value: JSONValue?) -> String {
    guard let bytes = value?.double else { return "-" }
    let units = ["B", "kB", "MB", "GB", "TB"]
    var amount = bytes
    var unit = 0
    while amount >= 1000, unit < units.count - 1 {
        amount /= 1000
        unit += 1
    }
    return unit == 0 ? "\(Int(amount)) B" : "\(oneDecimal(amount)) \(units[unit])"
}

func oneDecimal(_ value: Double) -> String { String(format: "%.1f", value) }

func moment(_ milliseconds: JSONValue?) -> String {
    guard let value = milliseconds?.double else { return "-" }
    return Date(timeIntervalSince1970: value / 1000).formatted(.iso8601)
}
