import Primitives
import Testing

@testable import Datanets

private func read(_ text: String) -> RowFile { RowFile(csv: Array(text.utf8), name: "rows.csv") }

@Suite struct CSVTests {
    @Test func recordsAreReadAsTheRFCHasThem() {
        let file = read(
            "\u{feff}Prompt, completion ,id,colour\r\n\"Define \"\"tea\"\".\",\"a drink,\nhot\",1,red\r\n\r\nplain,word,,\n  \nlast,\"\"\"\",3,x"
        )
        #expect(file.faults.isEmpty)
        #expect(file.rows.map(\.line) == [2, 5, 7])
        #expect(
            file.rows.map(\.row) == [
                Row(.pair(prompt: "Define \"tea\".", completion: "a drink,\nhot"), id: "1"),
                Row(.pair(prompt: "plain", completion: "word")),
                Row(.pair(prompt: "last", completion: "\""), id: "3"),
            ])
        #expect(file.ignoredFields == ["colour"])
        #expect(read("text\rone\rtwo").rows.map(\.row.completion) == ["one", "two"])
    }

    @Test func faultsNameLineAndColumn() {
        let file = read(
            """
            prompt,completion,text
            a,b,
            a,,
            a,b,c
            a,b
            a,x"y,
            a,"b"c,
            good,"row",
            a,"never
            closed,
            """)
        #expect(file.rows.map(\.line) == [2, 8])
        #expect(
            file.faults.map(\.description) == [
                "rows.csv:3: \"completion\" is empty; each row needs \"prompt\" and \"completion\", or \"text\"",
                "rows.csv:4: \"text\" stands beside \"prompt\" or \"completion\"; each row needs \"prompt\" and "
                    + "\"completion\", or \"text\"",
                "rows.csv:5: 2 fields, the first line has 3; a text with a comma or a line break belongs in quotes",
                "rows.csv:6: column 4: a quote stands inside a field; put the whole field into quotes and write its own "
                    + "twice",
                "rows.csv:7: column 6: behind a closing quote a comma or the end of the line belongs",
                "rows.csv:9: column 3: the quote that opens here is never closed",
                "rows.csv:10: 2 fields, the first line has 3; a text with a comma or a line break belongs in quotes",
            ])
    }

    @Test func aHeaderThatNamesNoRowsIsExplained() {
        #expect(read("a,b\n1,2").faults.first?.description.contains("has \"a\", \"b\"") == true)
        #expect(read("prompt;completion\n1;2").faults.first?.description.contains("semicolons") == true)
        #expect(read("prompt\tcompletion\n1\t2").faults.first?.description.contains("tabs") == true)
        #expect(read("text,text\na,b").faults.first?.description.contains("names two columns") == true)
        #expect(read("prompt,completion\n").faults.first?.description.contains("has no rows") == true)
        #expect(read("").faultCount == 1)
        let many = String(repeating: "x,", count: DatanetLimits.fieldsMax + 1)
        #expect(read(many).faults.first?.description.contains("at most \(DatanetLimits.fieldsMax)") == true)
    }

    @Test func whatIsNoTextIsNamed() {
        let latin = RowFile(csv: Array("text\nna".utf8) + [0xef] + Array("ve\nx\n".utf8) + [0], name: "rows.csv")
        #expect(
            latin.faults.map(\.description) == [
                "rows.csv:2: column 3 is not UTF-8 (byte 0xef); save the file as UTF-8",
                "rows.csv:4: column 1 is a zero byte, which no text has; save the file as UTF-8 text",
            ])
        #expect(
            RowFile(csv: [0xff, 0xfe, 0x61, 0], name: "f.csv").faults.map(\.reason) == [
                "the file is UTF-16; save it as UTF-8"
            ])
    }

    @Test func aQuoteThatNeverClosesSwallowsNoFile() {
        let text = "text\n\"open\n" + String(repeating: "word\n", count: DatanetLimits.lineBytesMax / 5 + 10)
        let file = read(text)
        #expect(file.faultCount == 1)
        #expect(file.faults.first?.line == 2)
        #expect(file.rows.count == DatanetLimits.lineBytesMax / 5 + 10)
    }

    /// Written as the RFC says, whatever is in the fields, a row comes back as it was.
    @Test(arguments: [1, 2, 3] as [UInt64]) func rowsComeBack(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let pieces = ["a", "\"", ",", "\n", "\r\n", " ", "\u{e9}", "\u{1f35c}", "word", "'", ";", "#"]
        for _ in 0..<200 {
            func field() -> String {
                "x" + (0..<random.below(9)).map { _ in pieces[Int(random.below(UInt64(pieces.count)))] }.joined()
            }
            let rows = (0..<1 + random.below(6)).map { _ in Row(.pair(prompt: field(), completion: field())) }
            #expect(read(Self.written(rows)).rows.map(\.row) == rows)
        }
        // The canary: a writer that forgets to double its quotes is found out.
        let row = Row(.pair(prompt: "a \"b\" c", completion: "d"))
        #expect(read(Self.written([row]).replacing("\"\"", with: "\"")).rows.map(\.row) != [row])
    }

    private static func written(_ rows: [Row]) -> String {
        func quoted(_ text: String) -> String { "\"\(text.replacing("\"", with: "\"\""))\"" }
        return "prompt,completion\r\n"
            + rows.map { "\(quoted($0.prompt)),\(quoted($0.completion))\r\n" }.joined()
    }
}
