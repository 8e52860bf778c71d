// What of Markdown decides where rows begin: headings (CommonMark, ATX and setext) and fenced code. Everything else stays
// as it was written. Front matter is left out.
//
//     text ──fence──▶ code ──closing fence, end──▶ text
//       ├──blank line, thematic break──▶ a paragraph ends
//       └──heading──▶ a section ends

/// The text below one heading.
struct MarkdownSection: Hashable {
    /// The headings that it stands below, outermost first.
    var path: [[UInt8]] = []
    var blocks: [TextBlock] = []
}

struct MarkdownSections {
    private struct Fence {
        let mark: UInt8
        let length: Int
    }

    private(set) var sections: [MarkdownSection] = []
    private var section = MarkdownSection()
    private var headings: [(level: Int, title: [UInt8])] = []
    /// The paragraph or code that is open.
    private var block: TextBlock?
    private var fence: Fence?

    init(_ bytes: [UInt8]) {
        let lines = Array(TextLines(bytes))
        for line in lines.dropFirst(Self.frontMatter(lines)) { take(line) }
        closeSection()
    }

    /// Lines of front matter: from `---` in the first line to the next `---` or `...`.
    private static func frontMatter(_ lines: [TextLines.Line]) -> Int {
        func isMark(_ line: TextLines.Line, _ marks: [String]) -> Bool {
            var bytes = line.bytes
            while let last = bytes.last, TextLines.isSpace(last) { bytes.removeLast() }
            return marks.contains { bytes.elementsEqual($0.utf8) }
        }
        guard let first = lines.first, isMark(first, ["---"]) else { return 0 }
        return lines.dropFirst().firstIndex { isMark($0, ["---", "..."]) }.map { $0 + 1 } ?? 0
    }

    private mutating func take(_ line: TextLines.Line) {
        let text = TextLines.trimmed(line.bytes)
        if let open = fence {
            append(line)
            if Self.closes(text, open) { closeBlock() }
        } else if text.isEmpty {
            closeBlock()
        } else if let opened = Self.opening(text) {
            closeBlock()
            block = TextBlock(bytes: [], line: line.number, isCode: true)
            append(line)
            fence = opened
        } else if let (level, title) = Self.heading(line.bytes) {
            open(level, title)
        } else if let level = Self.underline(line.bytes), let block, Self.isPlain(block.bytes) {
            let title = Array(block.bytes).map { $0 == 0x0a ? 0x20 : $0 }
            self.block = nil
            open(level, title)
        } else if Self.isThematicBreak(text) {
            closeBlock()
        } else {
            if block == nil { block = TextBlock(bytes: [], line: line.number) }
            append(line)
        }
    }

    private mutating func append(_ line: TextLines.Line) {
        var bytes = line.bytes
        while let last = bytes.last, TextLines.isSpace(last) { bytes.removeLast() }
        if block?.bytes.isEmpty == false { block?.bytes.append(0x0a) }
        block?.bytes += bytes
    }

    private mutating func closeBlock() {
        if var block, !block.bytes.isEmpty {
            block.isLines = !block.isCode && !Self.isPlain(block.bytes)
            section.blocks.append(block)
        }
        block = nil
        fence = nil
    }

    private mutating func closeSection() {
        closeBlock()
        if !section.blocks.isEmpty { sections.append(section) }
        section = MarkdownSection()
    }

    private mutating func open(_ level: Int, _ title: [UInt8]) {
        closeSection()
        headings.removeAll { $0.level >= level }
        headings.append((level, title))
        section.path = headings.map(\.title).filter { !$0.isEmpty }
    }

    // MARK: lines

    /// Of `text`, which is trimmed: code stands in lists, too, and is indented there.
    private static func opening(_ text: ArraySlice<UInt8>) -> Fence? {
        guard let mark = text.first, mark == UInt8(ascii: "`") || mark == UInt8(ascii: "~") else { return nil }
        let length = text.prefix { $0 == mark }.count
        guard length >= 3, mark == UInt8(ascii: "~") || !text.dropFirst(length).contains(mark) else { return nil }
        return Fence(mark: mark, length: length)
    }

    private static func closes(_ text: ArraySlice<UInt8>, _ fence: Fence) -> Bool {
        text.count >= fence.length && text.allSatisfy { $0 == fence.mark }
    }

    /// The line without an indentation of at most three spaces; nil where it has more.
    private static func outdented(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        let spaces = line.prefix { $0 == 0x20 }.count
        return spaces <= 3 ? line.dropFirst(spaces) : nil
    }

    private static func heading(_ line: ArraySlice<UInt8>) -> (Int, [UInt8])? {
        let mark = UInt8(ascii: "#")
        guard let text = outdented(line) else { return nil }
        let level = text.prefix { $0 == mark }.count
        let rest = text.dropFirst(level)
        guard (1...6).contains(level), rest.first.map({ $0 == 0x20 || $0 == 0x09 }) ?? true else { return nil }
        var title = TextLines.trimmed(rest)
        let closing = title.reversed().prefix { $0 == mark }.count
        if closing == title.count || title.dropLast(closing).last.map(TextLines.isSpace) == true {
            title = TextLines.trimmed(title.dropLast(closing))
        }
        return (level, Array(title))
    }

    private static func underline(_ line: ArraySlice<UInt8>) -> Int? {
        guard let text = outdented(line).map(TextLines.trimmed), let mark = text.first,
            mark == UInt8(ascii: "=") || mark == UInt8(ascii: "-"), text.allSatisfy({ $0 == mark })
        else { return nil }
        return mark == UInt8(ascii: "=") ? 1 : 2
    }

    /// Whether a line below may make this paragraph a heading: it does not where it is a list, a quotation or a table.
    private static func isPlain(_ paragraph: ArraySlice<UInt8>) -> Bool {
        let text = paragraph.drop(while: TextLines.isSpace)
        guard let first = text.first else { return false }
        if [UInt8(ascii: ">"), UInt8(ascii: "|")].contains(first) { return false }
        let isBullet = [UInt8(ascii: "-"), UInt8(ascii: "*"), UInt8(ascii: "+")].contains(first)
        if isBullet { return text.dropFirst().first.map(TextLines.isSpace) != true }
        let digits = text.prefix { (0x30...0x39).contains($0) }.count
        let behind = text.dropFirst(digits)
        return digits == 0 || behind.first != UInt8(ascii: ".") && behind.first != UInt8(ascii: ")")
    }

    private static func isThematicBreak(_ text: ArraySlice<UInt8>) -> Bool {
        guard let mark = text.first, [UInt8(ascii: "-"), UInt8(ascii: "*"), UInt8(ascii: "_")].contains(mark) else {
            return false
        }
        return text.allSatisfy { $0 == mark || TextLines.isSpace($0) } && text.count { $0 == mark } >= 3
    }
}
