// Cutting a text into rows, the same rows everywhere: whole paragraphs where they fit, else sentences, else words, else
// characters; everything is counted in bytes, and only ASCII white space and a short list of sentence ends is looked at, so
// that no Unicode table of some version has a say. Protocol/datanets.md, Documents.

/// A part of a document that belongs together: a paragraph, or code.
struct TextBlock: Hashable {
    var bytes: ArraySlice<UInt8>
    /// Where it begins.
    var line: Int
    var isCode = false
    /// A list, quotation or table, whose lines say more together than its sentences.
    var isLines = false
}

enum PassageCutter {
    /// A cut lies behind this part of the most that a passage holds, or the rest of a sentence would be a row.
    private static let earliest = DatanetLimits.passageBytesMax / 4

    /// Passages of a section, in order. Those without a letter or digit are left out.
    static func passages(_ blocks: [TextBlock]) -> [TextBlock] {
        var passages: [TextBlock] = []
        var open: TextBlock?
        func close() {
            if let open, open.bytes.contains(where: isWord) { passages.append(open) }
            open = nil
        }
        for block in blocks {
            let isWhole = block.bytes.count <= (block.isCode ? codeMax : DatanetLimits.passageBytesMax)
            guard !isWhole else {
                if let group = open, group.bytes.count + 2 + block.bytes.count <= DatanetLimits.passageBytesMax {
                    open?.bytes += [0x0a, 0x0a] + block.bytes
                } else {
                    close()
                    open = block
                }
                continue
            }
            for piece in block.isCode ? codePieces(block) : pieces(block) {
                close()
                open = piece
            }
        }
        close()
        return passages
    }

    private static var codeMax: Int { DatanetLimits.codeBytesMax }

    private static func isWord(_ byte: UInt8) -> Bool {
        byte >= 0x80 || (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20)
    }

    /// A paragraph that is too long, cut at sentences.
    private static func pieces(_ block: TextBlock) -> [TextBlock] {
        cut(block, max: DatanetLimits.passageBytesMax) { rest, last in
            if block.isLines, let end = rest[..<last].lastIndex(of: 0x0a), end >= rest.startIndex + earliest {
                return end
            }
            var space: Int?
            var end = last
            while end >= rest.startIndex + earliest {
                if endsSentence(rest, end) { return end }
                if space == nil, TextLines.isSpace(rest[end]) { space = end }
                end -= 1
            }
            return space ?? TextLines.prefix(rest, last - rest.startIndex).endIndex
        }
    }

    /// Code that is too long, cut at line breaks.
    private static func codePieces(_ block: TextBlock) -> [TextBlock] {
        cut(block, max: codeMax) { rest, last in
            var end = last
            while end > rest.startIndex {
                if rest[end] == 0x0a { return end }
                end -= 1
            }
            return TextLines.prefix(rest, last - rest.startIndex).endIndex
        }
    }

    /// - Parameter border: where to cut a rest that is longer than `max`, the second being the latest place.
    private static func cut(
        _ block: TextBlock, max: Int, at border: (ArraySlice<UInt8>, Int) -> Int
    ) -> [TextBlock] {
        var pieces: [TextBlock] = []
        var rest = block.bytes
        var line = block.line
        while !rest.isEmpty {
            let end = rest.count > max ? border(rest, rest.startIndex + max) : rest.endIndex
            let piece = block.isCode ? rest[..<end] : TextLines.trimmed(rest[..<end])
            pieces.append(TextBlock(bytes: piece, line: line, isCode: block.isCode))
            let next = rest[end...].drop { block.isCode ? $0 == 0x0a : TextLines.isSpace($0) }
            line += rest[..<next.startIndex].count { $0 == 0x0a }
            rest = next
        }
        return pieces
    }

    /// Whether a sentence ends before `end`: with white space behind it, or with a full stop that needs none.
    private static func endsSentence(_ text: ArraySlice<UInt8>, _ end: Int) -> Bool {
        let before = text[..<end]
        if wideStops.contains(where: before.endsWith) { return true }
        guard TextLines.isSpace(text[end]) else { return false }
        var sentence = before
        for _ in 0..<4 {
            guard let closer = closers.first(where: sentence.endsWith) else { break }
            sentence.removeLast(closer.count)
        }
        return (stops + wideStops).contains(where: sentence.endsWith)
    }

    private static let stops = [".", "!", "?", "\u{2026}"].map { Array($0.utf8) }
    private static let wideStops = ["\u{3002}", "\u{ff01}", "\u{ff1f}"].map { Array($0.utf8) }
    private static let closers = [")", "]", "\"", "'", "\u{201d}", "\u{2019}", "\u{bb}"].map { Array($0.utf8) }
}

extension ArraySlice<UInt8> {
    fileprivate func endsWith(_ end: [UInt8]) -> Bool { suffix(end.count).elementsEqual(end) }
}
