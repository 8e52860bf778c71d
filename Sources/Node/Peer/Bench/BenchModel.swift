// What the benchmarks of a model's answers share: which model, and which rows as its tokens.

import Arithmetic
import Datanets
import Foundation
import Inference
import Records
import Tokenizers

enum BenchModel {
    static func starter() throws -> Starter {
        guard let starter = Starter.find(nil) else {
            throw BenchmarkFault.setUp(
                "the starter model was not found: run a program that was built in the source tree, "
                    + "or set OPENLEDGER_STARTER to its folder Bootstrap/starter")
        }
        return starter
    }

    static func path(_ plan: BenchmarkPlan) throws -> String { try plan.model ?? starter().model }

    /// The one that was asked for, or all.
    static func precisions(_ plan: BenchmarkPlan) -> [Precision] {
        plan.precision.flatMap(Precision.init(rawValue:)).map { [$0] } ?? Precision.allCases
    }

    static func load(_ path: String, _ precision: Precision) throws -> LoadedModel {
        try LoadedModel(folder: try MappedFolder(try FolderFiles.list(path, kind: .model)), precision: precision)
    }

    static func rows(_ path: String) throws -> [Row] {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw BenchmarkFault.setUp("\(path) cannot be read")
        }
        let file = RowFile(jsonl: Array(data), name: path)
        if let fault = file.faults.first { throw BenchmarkFault.setUp("\(fault)") }
        return file.rows.map(\.row)
    }

    /// Rows of the starter datanets that their training left out.
    static func heldOut() throws -> [Row] {
        var found: [Row] = []
        for datanet in try starter().datanets {
            let path = String(datanet.path.dropLast(6)) + ".eval.jsonl"
            if FileManager.default.fileExists(atPath: path) { found += try rows(path) }
        }
        guard !found.isEmpty else { throw BenchmarkFault.setUp("Bootstrap/starter/datanets has no *.eval.jsonl") }
        return found
    }

    /// A row as the model was taught to write it: through its chat template, ended.
    static func tokens(_ row: Row, _ model: LoadedModel) throws -> [Int32] {
        guard let tokenizer = model.tokenizer else { throw BenchmarkFault.setUp("the model has no tokenizer") }
        guard case .pair(let prompt, let completion) = row.content else {
            return tokenizer.encode(row.completion, addSpecial: true)
        }
        guard let template = model.template else {
            return tokenizer.encode(prompt + "\n" + completion, addSpecial: true)
        }
        let asked = try template.render([ChatMessage(role: "user", content: prompt)])
        let end = model.tokenizer?.endToken.map { [$0] } ?? []
        return tokenizer.encode(asked, addSpecial: false) + tokenizer.encode(completion, addSpecial: false) + end
    }
}
