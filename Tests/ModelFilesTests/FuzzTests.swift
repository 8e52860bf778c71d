// Mutated headers: whatever is read out of a broken file lies within its bytes, and what cannot be read is refused. The
// canary is a reader that believes offsets: the same check must catch it.

import Foundation
import Primitives
import Testing

@testable import ModelFiles

/// Reads a file's tensors.
private typealias Reader = (_ bytes: UnsafeRawBufferPointer) throws -> [TensorView]

@Suite struct FuzzTests {
    private static let rounds = 4000

    /// Mutations after which a reader let something through that it must not have; nil views are refusals.
    private func breaches(_ good: [UInt8], headerBytes: Int, seed: UInt64, rounds: Int, read: Reader) -> (Int, Int) {
        var random = SeededRandom(seed: seed)
        func next(_ bound: Int) -> Int { Int(random.next() % UInt64(max(1, bound))) }
        var breaches = 0, refusals = 0
        for round in 0..<rounds {
            var bytes = good
            for _ in 0...next(4) {
                let at = next(min(headerBytes, bytes.count))
                switch next(6) {
                case 0: bytes[at] ^= UInt8(1 << next(8))
                case 1: bytes[at] = [0, 1, 0x7f, 0x80, 0xff, UInt8(ascii: "9"), UInt8(ascii: "-")][next(7)]
                case 2: bytes.removeSubrange(at..<min(bytes.count, at + 1 + next(9)))
                case 3: bytes.insert(contentsOf: [UInt8](repeating: UInt8(next(256)), count: 1 + next(9)), at: at)
                case 4: bytes.removeLast(min(bytes.count - 1, 1 + next(bytes.count)))
                default:
                    for offset in 0..<min(8, bytes.count - at) { bytes[at + offset] = round % 2 == 0 ? 0xff : 0x7f }
                }
                guard bytes.count > 8 else { break }
            }
            bytes.withUnsafeBytes { raw in
                guard let views = try? read(raw) else {
                    refusals += 1
                    return
                }
                if !views.allSatisfy({ isWithin($0, raw) }) { breaches += 1 }
            }
        }
        return (breaches, refusals)
    }

    private func isWithin(_ view: TensorView, _ file: UnsafeRawBufferPointer) -> Bool {
        guard let start = view.bytes.baseAddress, let base = file.baseAddress, !view.bytes.isEmpty else {
            return view.bytes.isEmpty
        }
        guard start >= base, start + view.bytes.count <= base + file.count else { return false }
        // A type that is computed with has exactly the bytes of its shape.
        guard let type = BlockType.named[view.dtype] else { return true }
        let elements = view.shape.reduce(1, &*)
        return elements.isMultiple(of: type.elements) && view.bytes.count == elements / type.elements * type.bytes
    }

    private let safetensors: [UInt8] = {
        let header = Array(
            #"{"a":{"dtype":"F32","shape":[4,2],"data_offsets":[0,32]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[32,38]}}"#
                .utf8)
        return withUnsafeBytes(of: UInt64(header.count).littleEndian, Array.init) + header
            + [UInt8](repeating: 1, count: 38)
    }()

    private func gguf() throws -> [UInt8] {
        [UInt8](try Data(contentsOf: repository.appending(path: "Tests/Fixtures/gguf/llama3-q4_0.gguf")))
    }

    private func readSafetensors(_ raw: UnsafeRawBufferPointer) throws -> [TensorView] {
        Array(try Safetensors(folder: BorrowedFolder(raw), stem: "model").tensors.values)
    }

    @Test func safetensorsStayWithinTheirBytes() {
        let (breaches, refusals) = breaches(
            safetensors, headerBytes: safetensors.count, seed: 1, rounds: Self.rounds, read: readSafetensors)
        #expect(breaches == 0 && refusals > Self.rounds / 2 && refusals < Self.rounds)
    }

    @Test func ggufsStayWithinTheirBytes() throws {
        let good = try gguf()
        #expect(try good.withUnsafeBytes { try GGUFFile($0, file: "f").tensors.count } > 10)
        let (breaches, refusals) = breaches(good, headerBytes: 3000, seed: 2, rounds: Self.rounds) { raw in
            Array(try GGUFFile(raw, file: "f").tensors.values)
        }
        #expect(breaches == 0 && refusals > Self.rounds / 2 && refusals < Self.rounds)
    }

    /// The same mutations, and a reader that takes the offsets at their word.
    @Test func aCredulousReaderIsCaught() {
        let (breaches, _) = breaches(safetensors, headerBytes: safetensors.count, seed: 1, rounds: Self.rounds) { raw in
            guard raw.count >= 8, let base = raw.baseAddress else { return [] }
            let length = Int(truncatingIfNeeded: UInt64(littleEndian: raw.loadUnaligned(as: UInt64.self)))
            guard length > 0, length <= raw.count - 8 else { return [] }
            let json = try JSONValue.parse(Array(raw[8..<8 + length]))
            return (json.memberList ?? []).compactMap { member in
                guard let offsets = member.value["data_offsets"]?.items, offsets.count == 2,
                    let begin = offsets[0].count, let end = offsets[1].count, begin <= end, end < 1 << 40
                else { return nil }
                return TensorView(
                    name: member.key, dtype: member.value["dtype"]?.text ?? "",
                    shape: (member.value["shape"]?.items ?? []).compactMap { $0.count },
                    bytes: UnsafeRawBufferPointer(start: base + 8 + length + begin, count: end - begin))
            }
        }
        #expect(breaches > 0)
    }
}

/// One file's bytes as a folder, for as long as a closure runs.
private final class BorrowedFolder: ModelFolder {
    private let raw: UnsafeRawBufferPointer

    init(_ raw: UnsafeRawBufferPointer) { self.raw = raw }

    func bytes(of file: String) -> UnsafeRawBufferPointer? { file == "model.safetensors" ? raw : nil }
}
