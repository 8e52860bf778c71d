// The int8 kernel on a matrix and inputs that stay in the cache: what a processor can multiply at most.

import Kernels

/// @unchecked Sendable: one thread multiplies at a time.
package final class Int8Probe: @unchecked Sendable {
    private static let rows = 256, columns = 1024, tokens = 64
    /// Multiplications and additions of one `multiply`.
    package static let operations = 2 * rows * columns * tokens

    private let weights: UnsafeMutablePointer<UInt8>
    private let scales: UnsafeMutablePointer<UInt16>
    private let input: UnsafeMutablePointer<Float>
    private let activations: UnsafeMutableRawPointer
    private let output: UnsafeMutablePointer<Float>
    private let isa: Int32

    package init(instructionSet: InstructionSet = .best) {
        let blocks = Self.columns / 32
        isa = instructionSet.code
        weights = .allocate(capacity: Self.rows * Self.columns)
        weights.initialize(repeating: 129, count: Self.rows * Self.columns)
        scales = .allocate(capacity: Self.rows * blocks)
        scales.initialize(repeating: 0x3c00, count: Self.rows * blocks)
        input = .allocate(capacity: Self.tokens * Self.columns)
        input.initialize(repeating: 0.5, count: Self.tokens * Self.columns)
        output = .allocate(capacity: Self.tokens * Self.rows)
        output.initialize(repeating: 0, count: Self.tokens * Self.rows)
        activations = .allocate(
            byteCount: Self.tokens / 16 * blocks * Int(KERNEL_ACTIVATION_BLOCK_BYTES), alignment: 64)
        kernel_quantize(isa, input, Self.columns, 0, Self.tokens, blocks, activations)
    }

    deinit {
        weights.deallocate()
        scales.deallocate()
        input.deallocate()
        output.deallocate()
        activations.deallocate()
    }

    package func multiply() {
        kernel_matmul_i8(
            isa, weights, scales, 0, Self.rows / 16, Self.columns / 32, activations, Self.tokens, output, Self.rows)
    }
}
