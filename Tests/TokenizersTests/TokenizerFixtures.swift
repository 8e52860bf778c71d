// Tokenizers with what the `tokenizers` and `transformers` libraries make of many strings: a small set in
// Tests/Fixtures/tokenizers, and whatever lies under $OPENLEDGER_SHARED/fixtures/tokenizers in the same form.

import Foundation
import ModelFiles
import Primitives
import Testing

@testable import Tokenizers

let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

struct TokenizerFixture: CustomTestStringConvertible, Sendable {
    let url: URL

    var testDescription: String { url.pathComponents.suffix(2).joined(separator: "/") }

    static let all: [TokenizerFixture] = {
        var roots = [repository.appending(path: "Tests/Fixtures/tokenizers")]
        if let shared = ProcessInfo.processInfo.environment["OPENLEDGER_SHARED"] {
            roots.append(URL(filePath: shared).appending(path: "fixtures/tokenizers"))
        }
        return roots.flatMap { root in
            let names = (try? FileManager.default.contentsOfDirectory(atPath: root.path)) ?? []
            return names.sorted().map { TokenizerFixture(url: root.appending(path: $0)) }
        }.filter { FileManager.default.fileExists(atPath: $0.url.appending(path: "expected.json").path) }
    }()

    static func named(_ name: String) -> TokenizerFixture {
        TokenizerFixture(url: repository.appending(path: "Tests/Fixtures/tokenizers/\(name)"))
    }

    func bytes(_ file: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: url.appending(path: file))) }

    func json(_ file: String) throws -> JSONValue { try JSONValue.parse(try bytes(file), limits: .tokenizer) }

    func folder() throws -> MemoryFolder {
        var files: [String: [UInt8]] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: url.path) { files[name] = try bytes(name) }
        return MemoryFolder(files)
    }

    func tokenizer() throws -> Tokenizer { try Tokenizer(folder: try folder()) }

    func expected() throws -> JSONValue { try json("expected.json") }
}

func int32s(_ value: JSONValue?) -> [Int32] { (value?.items ?? []).compactMap { $0.integer.map(Int32.init) } }

func same(_ left: String?, _ right: String?) -> Bool {
    guard let left, let right else { return left == nil && right == nil }
    return left.utf8.elementsEqual(right.utf8)
}
