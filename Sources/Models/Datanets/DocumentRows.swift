// Documents as rows: each passage a `text`, with where it is from as `source`. Plain text is cut at empty lines, Markdown at
// headings besides, and a PDF at its pages. Protocol/datanets.md, Documents.

import Primitives

extension RowFile {
    private static let need = "a document needs text in it"

    package init(text bytes: [UInt8], name: String) {
        var intake = RowIntake(name: name)
        if intake.accepts(bytes, .text), TextLines.check(bytes, &intake) {
            for passage in PassageCutter.passages(Self.paragraphs(TextLines(bytes))) {
                guard Self.take(passage, "", "\(Self.shown(name)) line \(passage.line)", &intake) else { break }
            }
        }
        self = intake.finish(needs: Self.need)
    }

    package init(markdown bytes: [UInt8], name: String) {
        var intake = RowIntake(name: name)
        if intake.accepts(bytes, .markdown), TextLines.check(bytes, &intake) {
            reading: for section in MarkdownSections(bytes).sections {
                let path = Array(section.path.joined(separator: Array(" > ".utf8)))[...]
                let headings = String(
                    decoding: TextLines.trimmed(TextLines.prefix(path, DatanetLimits.headingsBytesMax)), as: UTF8.self)
                for passage in PassageCutter.passages(section.blocks) {
                    let source = "\(Self.shown(name)) line \(passage.line)"
                    guard Self.take(passage, headings, source, &intake) else { break reading }
                }
            }
        }
        self = intake.finish(needs: Self.need)
    }

    /// - Parameter bytes: what a PDF reader says is in the document, a form feed behind each page. Its line breaks are the
    ///   layout's, so those of a paragraph become spaces. It is another program's word: what is no text in it is let go.
    package init(pages bytes: [UInt8], name: String) {
        var intake = RowIntake(name: name)
        let pages = bytes.split(separator: 0x0c, omittingEmptySubsequences: false)
        reading: for (number, page) in pages.enumerated() {
            let text = Array(String(decoding: page, as: UTF8.self).utf8.filter { $0 >= 0x20 || TextLines.isSpace($0) })
            let blocks = Self.paragraphs(TextLines(text)).map { block in
                TextBlock(bytes: block.bytes.map { $0 == 0x0a ? 0x20 : $0 }[...], line: number + 1)
            }
            for passage in PassageCutter.passages(blocks) {
                let passage = TextBlock(bytes: passage.bytes, line: number + 1)
                guard Self.take(passage, "", "\(Self.shown(name)) p. \(number + 1)", &intake) else { break reading }
            }
        }
        self = intake.finish(
            needs:
                "\(pages.count - 1) pages without text are probably scanned; recognise it first, with: ocrmypdf IN OUT")
    }

    /// Runs of lines that are not empty, each line without white space behind it.
    private static func paragraphs(_ lines: TextLines) -> [TextBlock] {
        var blocks: [TextBlock] = []
        var open: TextBlock?
        for line in lines {
            // A form feed, alone or before a line, begins a page.
            if TextLines.isBlank(line.bytes) || line.bytes.first == 0x0c {
                if let open { blocks.append(open) }
                open = nil
            }
            var bytes = line.bytes
            while let last = bytes.last, TextLines.isSpace(last) { bytes.removeLast() }
            guard !bytes.isEmpty else { continue }
            if open == nil {
                open = TextBlock(bytes: bytes.drop(while: TextLines.isSpace), line: line.number)
            } else {
                open?.bytes += [0x0a] + bytes
            }
        }
        if let open { blocks.append(open) }
        return blocks
    }

    private static func shown(_ name: String) -> String {
        String(decoding: TextLines.prefix(Array(name.utf8)[...], DatanetLimits.sourceNameBytesMax), as: UTF8.self)
    }

    /// - Returns: whether there was room.
    private static func take(
        _ passage: TextBlock, _ headings: String, _ source: String, _ intake: inout RowIntake
    ) -> Bool {
        guard intake.hasRoom(passage.line) else { return false }
        let text = String(decoding: passage.bytes, as: UTF8.self)
        let row = Row(.text(headings.isEmpty ? text : "\(headings)\n\n\(text)"), source: source)
        // White space beyond ASCII may be all that is there.
        guard !Row.normalise(text).isEmpty else { return true }
        intake.take(row, line: passage.line)
        return true
    }
}
