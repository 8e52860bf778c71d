import Foundation
import Primitives
import Testing

@testable import Datanets

private func read(_ text: String, name: String = "datanet.jsonl") -> RowFile {
    RowFile(jsonl: Array(text.utf8), name: name)
}

@Suite struct RowFileTests {
    @Test func goodRowsAreReadWithTheirLines() {
        let file = read(
            """
            {"prompt": "Define tea.", "completion": "a drink", "id": "1", "source": "me", "license": "CC0"}

            {"text": "Tea is a drink.", "score": 3}\r
            """)
        #expect(file.faults.isEmpty)
        #expect(file.rows.map(\.line) == [1, 3])
        #expect(
            file.rows[0].row
                == Row(.pair(prompt: "Define tea.", completion: "a drink"), id: "1", source: "me", licence: "CC0"))
        #expect(file.rows[1].row == Row(.text("Tea is a drink.")))
        #expect(file.ignoredFields == ["score"])
    }

    @Test func faultsNameFileLineAndField() {
        let lines = [
            #"{"prompt": "x", "completion": "y"}"#, #"{"prompt": "x"}"#, #"{"completion": "y"}"#, #"{"id": "y"}"#,
            #"{"prompt": 3, "completion": "y"}"#, #"{"prompt": " ", "completion": "y"}"#,
            #"{"prompt": "x", "completion": "y", "text": "z"}"#, "[1]", #"{"prompt": "x""#,
        ]
        let file = read(lines.joined(separator: "\n"))
        #expect(file.rows.count == 1)
        #expect(
            file.faults.map(\.description) == [
                #"datanet.jsonl:2: "completion" is missing; each row needs "prompt" and "completion", or "text""#,
                #"datanet.jsonl:3: "prompt" is missing; each row needs "prompt" and "completion", or "text""#,
                #"datanet.jsonl:4: "prompt" is missing; each row needs "prompt" and "completion", or "text""#,
                #"datanet.jsonl:5: "prompt" is not a text"#,
                #"datanet.jsonl:6: "prompt" is empty; each row needs "prompt" and "completion", or "text""#,
                "datanet.jsonl:7: \"text\" stands beside \"prompt\" or \"completion\"; each row needs \"prompt\" and "
                    + "\"completion\", or \"text\"",
                #"datanet.jsonl:8: a row is a JSON object; each row needs "prompt" and "completion", or "text""#,
                #"datanet.jsonl:9: column 15: "," or "}" belongs here"#,
            ])
        #expect(file.faults.map(\.field) == ["completion", "prompt", "prompt", "prompt", "prompt", "text", nil, nil])
    }

    @Test func limitsAreFaultsWithALine() {
        let long = String(repeating: "x", count: DatanetLimits.rowBytesMax + 1)
        #expect(read(#"{"text": ""# + long + #""}"#).faults.first?.field == "text")
        let longer = String(repeating: "x", count: DatanetLimits.lineBytesMax)
        #expect(read(#"{"text": ""# + longer + #""}"#).faults.first?.line == 1)
        let half = String(repeating: "x", count: DatanetLimits.rowBytesMax / 2 + 1)
        #expect(read(#"{"prompt": ""# + half + #"", "completion": ""# + half + #""}"#).faults.count == 1)
        let many = read(Array(repeating: "{}", count: 300).joined(separator: "\n"))
        #expect(many.faults.count == DatanetLimits.faultsMax)
        #expect(many.faultCount == 300)
        #expect(read("\n \n").faults.first?.description.contains("has no rows") == true)
    }

    @Test func duplicatesAreFoundWhateverTheirCaseAndSpace() {
        let file = read(
            """
            {"prompt": "Define Tea.", "completion": "A drink"}
            {"prompt": "define  tea.", "completion": " a drink\\n"}
            {"prompt": "define tea", "completion": "a drink"}
            """)
        #expect(file.duplicates.map(\.line) == [2])
        #expect(file.duplicates.map(\.of) == [1])
    }

    @Test(arguments: ["food", "anatomy"]) func theStarterDatanetsAreClean(name: String) throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let url = root.appendingPathComponent("Bootstrap/starter/datanets/\(name).jsonl")
        let file = RowFile(jsonl: Array(try Data(contentsOf: url)), name: "\(name).jsonl")
        #expect(file.faults.isEmpty)
        #expect(file.ignoredFields.isEmpty)
        #expect(file.rows.count == (name == "food" ? 7_013 : 5_554))
    }

    /// Random bytes and random damage to good lines: faults, never a trap.
    @Test(arguments: [1, 2, 3, 4] as [UInt64]) func nothingThatComesInTraps(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let good = Array(#"{"prompt": "x\u00e4", "completion": "y", "id": "7"}"#.utf8)
        for _ in 0..<500 {
            var bytes = good
            for _ in 0..<random.below(4) {
                bytes[Int(random.below(UInt64(bytes.count)))] = UInt8(truncatingIfNeeded: random.next())
            }
            let file = RowFile(jsonl: bytes + random.bytes(Int(random.below(20))), name: "f")
            #expect(!file.rows.isEmpty || !file.faults.isEmpty)
        }
    }
}
