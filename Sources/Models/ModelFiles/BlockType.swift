// How numbers are stored: plain types of one element, and GGML's blocks of 32 or 256 elements that share scales.
// Source of the layouts: github.com/ggml-org/ggml, ggml-common.h and docs/gguf.md.

import Kernels

/// A stored type that this engine computes with.
package struct BlockType: Hashable, Sendable {
    /// As safetensors and GGUF call it.
    package let name: String
    /// Elements and bytes of one block.
    package let elements: Int
    package let bytes: Int

    package static let f32 = Self(name: "F32", elements: 1, bytes: 4)
    package static let f16 = Self(name: "F16", elements: 1, bytes: 2)
    package static let bf16 = Self(name: "BF16", elements: 1, bytes: 2)
    /// Half scale, 32 signed bytes.
    package static let q8_0 = Self(name: "Q8_0", elements: 32, bytes: 34)
    /// Half scale, 16 bytes of nibbles: element i in the low half of byte i, element i + 16 in the high one; less 8.
    package static let q4_0 = Self(name: "Q4_0", elements: 32, bytes: 18)

    /// By the code that GGUF gives them.
    package static let gguf: [UInt32: Self] = [
        0: f32, 1: f16, 2: q4_0, 3: Self(name: "Q4_1", elements: 32, bytes: 20),
        6: Self(name: "Q5_0", elements: 32, bytes: 22), 7: Self(name: "Q5_1", elements: 32, bytes: 24), 8: q8_0,
        12: Self(name: "Q4_K", elements: 256, bytes: 144), 13: Self(name: "Q5_K", elements: 256, bytes: 176),
        14: Self(name: "Q6_K", elements: 256, bytes: 210), 30: bf16,
    ]

    package static let named: [String: Self] = Dictionary(
        gguf.values.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })

    /// Bytes of `count` elements that begin at a block's start.
    package func byteCount(_ count: Int) -> Int { (count + elements - 1) / elements * bytes }

    /// Decodes `count` elements, a multiple of `elements`, from `source`, which the caller has checked to be long enough.
    package func decode(_ source: UnsafeRawPointer, count: Int, into out: UnsafeMutablePointer<Float>) {
        switch name {
        case "F32": kernel_from_f32(source, count, out)
        case "F16": kernel_from_f16(source, count, out)
        case "BF16": kernel_from_bf16(source, count, out)
        default:
            let decode = Self.decoders[name] ?? { _, _ in }
            for block in 0..<count / elements { decode(Block(source + block * bytes), out + block * elements) }
        }
    }

    private static let decoders: [String: @Sendable (Block, UnsafeMutablePointer<Float>) -> Void] = [
        "Q8_0": { block, out in
            let scale = block.half(0)
            for i in 0..<32 { out[i] = Float(Int8(bitPattern: block[2 + i])) * scale }
        },
        "Q4_0": { block, out in
            let scale = block.half(0)
            for i in 0..<32 { out[i] = Float(block.nibble(2, i) - 8) * scale }
        },
        "Q4_1": { block, out in
            let scale = block.half(0), least = block.half(2)
            for i in 0..<32 { out[i] = Float(block.nibble(4, i)) * scale + least }
        },
        "Q5_0": { block, out in
            let scale = block.half(0)
            for i in 0..<32 { out[i] = Float(block.nibble(6, i) + block.bit(2, i) * 16 - 16) * scale }
        },
        "Q5_1": { block, out in
            let scale = block.half(0), least = block.half(2)
            for i in 0..<32 { out[i] = Float(block.nibble(8, i) + block.bit(4, i) * 16) * scale + least }
        },
        "Q4_K": { block, out in
            let scale = block.half(0), least = block.half(2)
            for part in 0..<8 {
                let (steps, offset) = block.scaleAndMinimum(part)
                let step = scale * Float(steps), low = least * Float(offset)
                for i in 0..<32 {
                    let byte = Int(block[16 + part / 2 * 32 + i])
                    out[part * 32 + i] = step * Float(part.isMultiple(of: 2) ? byte & 15 : byte >> 4) - low
                }
            }
        },
        "Q5_K": { block, out in
            let scale = block.half(0), least = block.half(2)
            for part in 0..<8 {
                let (steps, offset) = block.scaleAndMinimum(part)
                let step = scale * Float(steps), low = least * Float(offset)
                for i in 0..<32 {
                    let byte = Int(block[48 + part / 2 * 32 + i]), high = Int(block[16 + i]) >> part & 1
                    let quant = (part.isMultiple(of: 2) ? byte & 15 : byte >> 4) + high * 16
                    out[part * 32 + i] = step * Float(quant) - low
                }
            }
        },
        "Q6_K": { block, out in
            let scale = block.half(208)
            for i in 0..<256 {
                // Two halves of 128: 64 bytes of low nibbles, 32 bytes of high pairs each.
                let half = i / 128, quarter = i % 128 / 32, lane = i % 32
                let low = Int(block[half * 64 + quarter % 2 * 32 + lane]) >> (quarter / 2 * 4) & 15
                let high = Int(block[128 + half * 32 + lane]) >> (quarter * 2) & 3
                let step = scale * Float(Int8(bitPattern: block[192 + i / 16]))
                out[i] = step * Float((low | high << 4) - 32)
            }
        },
    ]

    /// The bytes of one block.
    private struct Block {
        private let base: UnsafeRawPointer

        init(_ base: UnsafeRawPointer) { self.base = base }

        subscript(at: Int) -> UInt8 { base.load(fromByteOffset: at, as: UInt8.self) }

        func half(_ at: Int) -> Float {
            var value: Float = 0
            kernel_from_f16(base + at, 1, &value)
            return value
        }

        /// Element i of 32 packed as two halves of 16 bytes at `at`.
        func nibble(_ at: Int, _ i: Int) -> Int { Int(self[at + i % 16]) >> (i / 16 * 4) & 15 }

        /// Bit i of the 32 at `at`.
        func bit(_ at: Int, _ i: Int) -> Int { Int(self[at + i / 8]) >> (i % 8) & 1 }

        /// The 6-bit scale and minimum of one of eight parts, from the 12 bytes at 4 (Q4_K and Q5_K).
        func scaleAndMinimum(_ part: Int) -> (Int, Int) {
            let low = Int(self[4 + part % 4]), high = Int(self[8 + part % 4])
            guard part >= 4 else { return (low & 63, high & 63) }
            let nibbles = Int(self[12 + part % 4])
            return (nibbles & 15 | (low >> 6) << 4, nibbles >> 4 | (high >> 6) << 4)
        }
    }
}
