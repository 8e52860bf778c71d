// A pattern of tokenizer.json, as its splits and replacements use it: a text or a regular expression; and what happens
// to the stretches that it finds.

import ModelFiles
import Primitives

enum SplitPattern: Sendable {
    case literal([UInt8])
    case expression(SplitExpression)

    init(_ json: JSONValue?, file: String) throws(ModelFault) {
        if let text = json?["String"]?.text {
            guard !text.isEmpty else { throw .unsupported(file: file, feature: "an empty pattern") }
            self = .literal(Array(text.utf8))
        } else if let source = json?["Regex"]?.text {
            self = .expression(try Self.expression(source, file: file))
        } else {
            throw .malformed(file: file, reason: "a pattern has neither \"String\" nor \"Regex\"")
        }
    }

    static func expression(_ source: String, file: String) throws(ModelFault) -> SplitExpression {
        do {
            return try SplitExpression(source)
        } catch {
            throw .unsupported(file: file, feature: "split expression \(source.prefix(200)) (\(error.reason))")
        }
    }

    /// Calls `visit` for every stretch of `text[range]` in order.
    func visit(
        _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ visit: (Range<Int>, _ isMatch: Bool) -> Void
    ) {
        switch self {
        case .expression(let expression):
            expression.visit(text, from: range.lowerBound, to: range.upperBound, visit)
        case .literal(let wanted):
            var behind = range.lowerBound, at = behind
            while at + wanted.count <= range.upperBound {
                var same = text[at] == wanted[0]
                if same, wanted.count > 1 { same = text[at..<at + wanted.count].elementsEqual(wanted) }
                guard same else {
                    at += 1
                    continue
                }
                if at > behind { visit(behind..<at, false) }
                visit(at..<at + wanted.count, true)
                at += wanted.count
                behind = at
            }
            if behind < range.upperBound { visit(behind..<range.upperBound, false) }
        }
    }

    /// What matches becomes `content`, as long as the whole stays below `bytesMax`.
    func replace(in text: [UInt8], with content: [UInt8], bytesMax: Int) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(text.count + text.count / 8)
        text.withUnsafeBufferPointer { text in
            visit(text, 0..<text.count) { range, isMatch in
                if isMatch, out.count + content.count <= bytesMax { out += content } else { out += text[range] }
            }
        }
        return out
    }
}

enum SplitBehavior: Sendable {
    case removed, isolated, mergedWithPrevious, mergedWithNext, contiguous

    init(_ name: String?, file: String) throws(ModelFault) {
        switch name {
        case "Removed": self = .removed
        case "Isolated", nil: self = .isolated
        case "MergedWithPrevious": self = .mergedWithPrevious
        case "MergedWithNext": self = .mergedWithNext
        case "Contiguous": self = .contiguous
        case let name?: throw .unsupported(file: file, feature: "split behavior \(name.prefix(40))")
        }
    }

    /// Adds one stretch to the pieces so far. `afterMatch`: whether the stretch before was a match; before the first
    /// one, false.
    @inline(__always)
    func add(_ range: Range<Int>, isMatch: Bool, afterMatch: Bool, isFirst: Bool, to pieces: inout [Range<Int>]) {
        let joins: Bool
        switch self {
        case .removed:
            if !isMatch { pieces.append(range) }
            return
        case .isolated: joins = false
        case .mergedWithPrevious: joins = isMatch && !afterMatch
        case .mergedWithNext: joins = afterMatch && !isMatch
        case .contiguous: joins = isMatch == afterMatch
        }
        if joins, !isFirst, let last = pieces.last {
            pieces[pieces.count - 1] = last.lowerBound..<range.upperBound
        } else {
            pieces.append(range)
        }
    }
}

/// The lists that tokenizer.json keeps its steps in.
enum StepList {
    private static let depthMax = 8
    private static let itemsMax = 64

    /// A step or a sequence of steps, flattened.
    static func flatten(_ json: JSONValue?, list: String, file: String) throws(ModelFault) -> [JSONValue] {
        var out: [JSONValue] = []
        try flatten(json, list, file, 0, &out)
        return out
    }

    private static func flatten(
        _ json: JSONValue?, _ list: String, _ file: String, _ depth: Int, _ out: inout [JSONValue]
    ) throws(ModelFault) {
        guard let json, !json.isNull else { return }
        guard json["type"]?.text == "Sequence" else { return out.append(json) }
        guard depth < depthMax, out.count < itemsMax else {
            throw .malformed(file: file, reason: "\(list) are nested too deep or too many")
        }
        for item in json[list]?.items ?? [] { try flatten(item, list, file, depth + 1, &out) }
    }
}
