import Primitives
import Testing

@testable import Datanets

private func texts(_ file: RowFile) -> [String] { file.rows.map(\.row.completion) }

@Suite struct DocumentTests {
    @Test func markdownIsCutAtItsHeadings() {
        let file = RowFile(
            markdown: Array(
                """
                ---
                title: Soups
                ---
                Before any heading.

                # Soups #

                Setext *heading*
                ---
                Gumbo is a stew.
                It has okra.

                ## Pho

                ```sh
                # no heading

                boil
                ```
                Served hot.

                - a list
                ---
                ### Deep ###x
                ***
                End.
                # C#
                Sharp.
                """.utf8), name: "soups.md")
        #expect(file.faults.isEmpty)
        #expect(
            texts(file) == [
                "Before any heading.",
                "Soups > Setext *heading*\n\nGumbo is a stew.\nIt has okra.",
                "Soups > Pho\n\n```sh\n# no heading\n\nboil\n```\n\nServed hot.\n\n- a list",
                "Soups > Pho > Deep ###x\n\nEnd.",
                "C#\n\nSharp.",
            ])
        #expect(file.rows.map(\.line) == [4, 10, 15, 26, 28])
        #expect(file.rows[1].row.source == "soups.md line 10")
    }

    @Test func frontMatterThatDoesNotEndIsText() {
        let file = RowFile(markdown: Array("---\ntitle: x\n\ntext".utf8), name: "a.md")
        #expect(texts(file) == ["title: x\n\ntext"])
    }

    @Test func paragraphsAreGroupedAndLongOnesCutAtSentences() {
        let limit = DatanetLimits.passageBytesMax
        let short = "One line.\ntwo lines\n\n\n  indented\n\n* * *"
        #expect(texts(RowFile(text: Array(short.utf8), name: "a.txt")) == ["One line.\ntwo lines\n\nindented\n\n* * *"])
        let sentence = "This sentence has forty bytes in all, yes. "
        let long = String(repeating: sentence, count: 60)
        let file = RowFile(text: Array("Before.\n\n\(long)\n\nBehind.".utf8), name: "a.txt")
        #expect(texts(file).first == "Before.")
        #expect(texts(file).dropFirst().dropLast().allSatisfy { $0.hasSuffix("yes.") && $0.hasPrefix("This") })
        #expect(texts(file).last?.hasSuffix("yes.\n\nBehind.") == true)
        #expect(texts(file).allSatisfy { $0.utf8.count <= limit })
        let words = String(repeating: "word \u{e9} ", count: 1000)
        #expect(texts(RowFile(text: Array(words.utf8), name: "a")).joined(separator: " ") + " " == words)
        let runs = String(repeating: "\u{1f35c}", count: 1000)
        #expect(texts(RowFile(text: Array(runs.utf8), name: "a")).joined() == runs)
        let wide = String(repeating: "\u{6c49}\u{5b57}\u{3002}", count: 500)
        let cut = texts(RowFile(text: Array(wide.utf8), name: "a"))
        #expect(cut.joined() == wide && cut.allSatisfy { $0.hasSuffix("\u{3002}") })
    }

    @Test func tablesAndListsAreCutAtTheirLines() {
        let table = (0..<60).map { "| row \($0) | it has a sentence. And one more |" }.joined(separator: "\n")
        let list = (0..<60).map { "- item \($0) with a sentence. And one more" }.joined(separator: "\n")
        let file = RowFile(markdown: Array("\(table)\n\n\(list)".utf8), name: "a.md")
        #expect(file.faults.isEmpty && file.rows.count >= 4)
        #expect(texts(file).joined(separator: "\n").replacing("\n\n", with: "\n") == "\(table)\n\(list)")
        #expect(texts(file).allSatisfy { $0.hasPrefix("| row") || $0.hasPrefix("- item") })
    }

    @Test func codeStaysWholeUpToItsLimit() {
        let lines = String(repeating: "let x = 1. \n\n", count: 300)
        let whole = texts(RowFile(markdown: Array("a\n\n```\n\(lines)```\n\nb".utf8), name: "a.md"))
        #expect(whole.count == 3 && whole[1].hasPrefix("```\n") && whole[1].hasSuffix("\n```"))
        let more = String(repeating: "let x = 1\n", count: 2000)
        let pieces = texts(RowFile(markdown: Array("```\n\(more)".utf8), name: "a.md"))
        #expect(pieces.count == 3 && pieces.allSatisfy { $0.utf8.count <= DatanetLimits.codeBytesMax })
        #expect(pieces.joined(separator: "\n") + "\n" == "```\n" + more)
    }

    @Test func pagesAreTheirRowsSource() {
        let file = RowFile(
            pages: Array("A line\nof layout.\n\n12\u{0c}\u{0c}Third page\u{1}.\n\u{0c}".utf8), name: "book.pdf")
        #expect(texts(file) == ["A line of layout.\n\n12", "Third page."])
        #expect(file.rows.map(\.row.source) == ["book.pdf p. 1", "book.pdf p. 3"])
        #expect(file.rows.map(\.line) == [1, 3])
        let scanned = RowFile(pages: [0x0c, 0x0c], name: "book.pdf")
        #expect(scanned.faults.first?.description.contains("2 pages without text are probably scanned") == true)
    }

    @Test func limitsAreFaults() {
        let large = [UInt8](repeating: 0x61, count: DatanetLimits.documentBytesMax + 1)
        #expect(RowFile(text: large, name: "a.txt").faults.first?.reason.contains("split it") == true)
        #expect(RowFile(text: Array(" \n\n--".utf8), name: "a.txt").faults.first?.reason.contains("no rows") == true)
        #expect(RowFile(markdown: [0x61, 0xff], name: "a.md").faults.first?.reason.contains("UTF-8") == true)
        let headings = "# " + String(repeating: "\u{e9}", count: 4000) + "\ntext"
        let row = RowFile(markdown: Array(headings.utf8), name: String(repeating: "n", count: 900)).rows.first?.row
        #expect(row.map { $0.completion.utf8.count <= 256 + 2 + 4 } == true)
        #expect(row?.source.map { $0.utf8.count <= DatanetLimits.sourceBytesMax } == true)
        let many = String(repeating: "#\nx\n", count: DatanetLimits.rowsPerContributionMax + 1)
        #expect(RowFile(markdown: Array(many.utf8), name: "a.md").faults.first?.reason.contains("more than") == true)
    }

    @Test func endingsSayWhatAFileIs() {
        let names = ["a.JSONL", "b.csv", "c.md", "d.markdown", "e.txt", "f.PDF", "rows", "x.d/rows", "g.docx"]
        #expect(
            names.map { RowFormat(name: $0) } == [
                .jsonl, .csv, .markdown, .markdown, .text, .pdf, .jsonl, .jsonl, nil,
            ])
    }
}

/// Every reader of rows under random bytes and damaged files: rows that a shard takes, or faults with a line of the file.
@Suite struct RowReaderFuzzTests {
    private static let samples = [
        "prompt,completion\n\"a \"\"b\"\" c\",\"d\ne\"\nf,g\n\"h\",i\n",
        "---\nt: x\n---\n# One\ntext. More text!\n\n```\ncode\n```\nTwo\n===\n\n- list\n> quote\n\nend\n",
        "A paragraph.\nIt goes on\u{2026} \u{201c}Really?\u{201d}\n\n\n\u{6c49}\u{3002}\u{e9}\r\n\r\nEnd\u{0c}Next\n",
    ]
    private static let readers: [@Sendable ([UInt8]) -> RowFile] = [
        { RowFile(csv: $0, name: "f") }, { RowFile(markdown: $0, name: "f") }, { RowFile(text: $0, name: "f") },
        { RowFile(pages: $0, name: "f") },
    ]

    /// What a reader may not do, in words; nil where all is well.
    private static func breach(_ file: RowFile, lines: Int) -> String? {
        if file.rows.isEmpty, file.faultCount == 0 { return "neither rows nor faults" }
        for item in file.rows {
            guard (1...lines).contains(item.line) else { return "a row in line \(item.line) of \(lines)" }
            guard (try? Row(cbor: item.row.cbor)) == item.row else { return "a row that no shard takes" }
            guard item.row.cbor.encoded().count <= DatanetLimits.rowBytesMax else { return "a row that is too long" }
        }
        return file.faults.first { !(1...lines).contains($0.line) }.map { "a fault in line \($0.line) of \(lines)" }
    }

    private static func damaged(_ random: inout SeededRandom) -> [UInt8] {
        var bytes = Array(samples[Int(random.below(3))].utf8)
        for _ in 0..<random.below(5) {
            let at = Int(random.below(UInt64(bytes.count)))
            switch random.below(5) {
            case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
            case 1: bytes.insert(contentsOf: Array("\"#`-=\n\r,~>".utf8).shuffled(using: &random), at: at)
            case 2: bytes.removeSubrange(at..<min(bytes.count, at + 1 + Int(random.below(9))))
            case 3: bytes.insert(contentsOf: bytes[at..<min(bytes.count, at + 40)], at: at)
            default: bytes.insert(contentsOf: random.bytes(Int(random.below(12))), at: at)
            }
            if bytes.isEmpty { bytes = [0x22] }
        }
        if random.below(20) == 0 {
            bytes += [UInt8](repeating: bytes[bytes.count / 2], count: 3 * DatanetLimits.passageBytesMax)
        }
        return bytes
    }

    private static func breaches(_ read: ([UInt8]) -> RowFile, seed: UInt64) -> Set<String> {
        var random = SeededRandom(seed: seed)
        var found: Set<String> = []
        for _ in 0..<1500 {
            let bytes = damaged(&random)
            let lines = 1 + bytes.count { $0 == 0x0a || $0 == 0x0d || $0 == 0x0c }
            if let breach = breach(read(bytes), lines: lines) { found.insert(breach) }
        }
        return found
    }

    @Test(arguments: 0..<4) func nothingThatComesInTraps(reader: Int) {
        #expect(Self.breaches(Self.readers[reader], seed: UInt64(reader) + 1) == [])
    }

    /// The canary: a reader whose lines are not the file's.
    @Test func aReaderThatMiscountsIsCaught() {
        let found = Self.breaches(
            { bytes in
                let lines = bytes.split(separator: 0x0a).map { Array(#"{"text":""#.utf8) + $0 + Array(#""}"#.utf8) }
                return RowFile(jsonl: Array(lines.joined(separator: [0x0a, 0x0a])), name: "f")
            }, seed: 1)
        #expect(!found.isEmpty)
    }
}
