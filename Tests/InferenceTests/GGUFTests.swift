// GGUF files against llama.cpp and against the Hugging Face folders that they were made of.

import Foundation
import ModelFixtures
import Testing

@testable import Arithmetic
@testable import Inference
@testable import ModelFiles

private let ggufFixtures = repository.appending(path: "Tests/Fixtures/gguf")

private func ggufModel(_ url: URL, precision: Precision = .f32) throws -> LoadedModel {
    let bytes = [UInt8](try Data(contentsOf: url))
    return try LoadedModel(folder: MemoryFolder([GGUFFile.name: bytes]), precision: precision)
}

/// Rows of a float32 .npy file.
private func npy(_ url: URL, columns: Int) throws -> [[Float]] {
    let bytes = [UInt8](try Data(contentsOf: url))
    let header = 10 + Int(bytes[8]) + Int(bytes[9]) << 8
    let values = bytes[header...].withUnsafeBytes { raw in
        (0..<raw.count / 4).map { raw.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self) }
    }
    return stride(from: 0, to: values.count, by: columns).map { Array(values[$0..<$0 + columns]) }
}

@Suite struct GGUFTests {
    /// Rows and prompts are those of the folder: a file's model computes what the folder's does.
    @Test func floatsEqualTheFolders() throws {
        guard let shared = ProcessInfo.processInfo.environment["OPENLEDGER_SHARED"] else {
            return print("GGUFTests: OPENLEDGER_SHARED is not set; float files are not tested")
        }
        for name in ["llama2", "llama3", "qwen2", "qwen3", "gemma", "glm4", "r1_distill_qwen2"] {
            let model = try ggufModel(URL(filePath: "\(shared)/fixtures/gguf/\(name)-f32.gguf"))
            let family = try Family(at: URL(filePath: "\(shared)/fixtures/models/\(name)"))
            for (tag, adapter) in [("base", nil), ("a", family.adapters["a"])] as [(String, LoadedAdapter?)] {
                for (index, prompt) in family.prompts.enumerated() {
                    let expected = try family.expected(tag, index)
                    let computed = logits(of: prompt, model: model, adapter: adapter).suffix(expected.count)
                    let worst = distance(Array(computed), expected)
                    #expect(worst < 1e-4, "\(name) \(tag), prompt \(index) differs by \(worst)")
                }
            }
        }
    }

    /// llama.cpp quantises activations too, and rounds their scales to halves: its logits are near, not equal.
    @Test(arguments: ["q8_0", "q4_0"]) func quantsAreNearLlamaCpp(kind: String) throws {
        let family = try Family("llama3")
        let expected = try npy(ggufFixtures.appending(path: "llama3-\(kind).logits.npy"), columns: 512)
        let url = ggufFixtures.appending(path: "llama3-\(kind).gguf")
        let exact = logits(of: family.prompts[1], model: try ggufModel(url))
        #expect(exact.count == expected.count)
        #expect(distance(exact, expected) < 0.15)
        // Without the file's own rounding of weights the distance is far greater where there are 4 bits.
        let plain = logits(of: family.prompts[1], model: family.model)
        if kind == "q4_0" { #expect(distance(plain, expected) > 0.5) }
        let int8 = logits(of: family.prompts[1], model: try ggufModel(url, precision: .int8))
        #expect(distance(int8, expected) < 0.15)
    }

    @Test func whatIsNotOursIsRefused() throws {
        let url = ggufFixtures.appending(path: "llama3-q8_0.gguf")
        let good = [UInt8](try Data(contentsOf: url))
        func fault(_ change: (inout [UInt8]) -> Void) -> ModelFault? {
            var bytes = good
            change(&bytes)
            do {
                _ = try LoadedModel(folder: MemoryFolder([GGUFFile.name: bytes]), precision: .f32)
                return nil
            } catch {
                return error
            }
        }
        #expect(fault { _ in } == nil)
        #expect(fault { $0[0] = 0x48 } != nil)
        #expect(fault { $0[4] = 9 } == .unsupported(file: GGUFFile.name, feature: "GGUF version 9"))
        for length in [0, 4, 23, 100, 1000, good.count / 2, good.count - 1] {
            #expect(fault { $0 = Array($0.prefix(length)) } != nil, "cut to \(length)")
        }
        // "llama" as the architecture, twice as a prefix of keys.
        let renamed = fault { bytes in
            for at in 0..<bytes.count - 5 where Array(bytes[at..<at + 5]) == Array("llama".utf8) {
                bytes[at] = 0x78
            }
        }
        #expect(renamed == .unsupported(file: GGUFFile.name, feature: "architecture \"xlama\""))
    }
}
