// GGML blocks against gguf-py's dequantisation of random bytes.

import Foundation
import Primitives
import Testing

@testable import ModelFiles

let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

@Suite struct DequantTests {
    @Test func blocksEqualTheReference() throws {
        let data = try Data(contentsOf: repository.appending(path: "Tests/Fixtures/gguf/dequant.json"))
        let json = try JSONValue.parse([UInt8](data), limits: .tokenizer)
        let cases = json["cases"]?.memberList ?? []
        #expect(cases.count == 8)
        for member in cases {
            let type = try #require(BlockType.gguf[UInt32(member.value["id"]?.integer ?? -1)])
            #expect(type.name == member.key)
            #expect(type.elements == member.value["block"]?.integer && type.bytes == member.value["bytes"]?.integer)
            let raw = try #require(Hex.decode(member.value["raw"]?.text ?? ""))
            let values = (member.value["values"]?.items ?? []).map { Float($0.double ?? .nan) }
            #expect(raw.count == type.byteCount(values.count) && !values.isEmpty)
            let view = raw.withUnsafeBytes { bytes in
                [Float](unsafeUninitializedCapacity: values.count) { buffer, count in
                    if let source = bytes.baseAddress, let out = buffer.baseAddress {
                        type.decode(source, count: values.count, into: out)
                    }
                    count = values.count
                }
            }
            for (mine, theirs) in zip(view, values) {
                #expect(abs(mine - theirs) <= 1e-6 * max(1, abs(theirs)), "\(member.key)")
            }
        }
    }

    @Test func rowsAndElementsArePicked() throws {
        let values = (0..<24).map { Float($0) }
        try values.withUnsafeBytes { bytes in
            let view = TensorView(name: "w", dtype: "F32", shape: [8, 3], bytes: bytes)
            let whole = try RowReader(view, rows: 8, columns: 3, file: "f")
            #expect(whole.row(7) == [21, 22, 23])
            let some = try RowReader(view, firstRow: 2, rows: 4, of: 8, columns: 3, file: "f")
            #expect(some.row(0) == [6, 7, 8] && some.row(3) == [15, 16, 17])
            // llama.cpp stores rows of a head as pairs: ours are 0 2 | 1 3 of each four.
            let paired = try RowReader(view, firstRow: 0, rows: 8, of: 8, columns: 3, pairedRows: 4, file: "f")
            #expect((0..<8).map { paired.row($0)[0] / 3 } == [0, 2, 1, 3, 4, 6, 5, 7])
            let turned = GatheredMatrix(some, rows: 3, columns: 4) { ($1, $0) }
            #expect(try RowReader(turned, file: "f").row(1) == [7, 10, 13, 16])
            for (first, rows, total) in [(5, 4, 8), (-1, 2, 8), (0, 3, 9)] {
                #expect(throws: ModelFault.self) {
                    try RowReader(view, firstRow: first, rows: rows, of: total, columns: 3, file: "f")
                }
            }
        }
    }
}
