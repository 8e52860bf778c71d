// A weight matrix in the kernels' tiles: f32, or int8 in blocks of 32 columns with a half-precision scale.

import ModelFiles
package import Arithmetic
import Kernels

/// @unchecked Sendable: written only in the initialiser, read-only from then on.
package final class PackedMatrix: @unchecked Sendable {
    package let rows: Int
    package let columns: Int
    package let precision: Precision
    let bias: UnsafeMutablePointer<Float>?
    private let storage: UnsafeMutableRawBufferPointer
    private let scales: UnsafeMutablePointer<UInt16>?

    var tiles: Int { (rows + 15) / 16 }
    var blocks: Int { (columns + 31) / 32 }
    package var byteCount: Int { storage.count + (scales == nil ? 0 : tiles * blocks * 32) }

    init(
        _ view: TensorView, rows: Int, columns: Int, precision: Precision, bias: [Float]? = nil, file: String
    ) throws(ModelFault) {
        let reader = try RowReader(view, rows: rows, columns: columns, file: file)
        self.rows = rows
        self.columns = columns
        self.precision = precision
        let tiles = (rows + 15) / 16, blocks = (columns + 31) / 32
        switch precision {
        case .f32:
            storage = .allocate(byteCount: tiles * 16 * columns * 4, alignment: 64)
            storage.initializeMemory(as: UInt8.self, repeating: 0)
            scales = nil
        case .int8:
            storage = .allocate(byteCount: tiles * blocks * 512, alignment: 64)
            storage.initializeMemory(as: UInt8.self, repeating: 128)
            let count = tiles * blocks * 16
            scales = .allocate(capacity: count)
            scales?.initialize(repeating: 0, count: count)
        }
        if let bias {
            let padded = UnsafeMutablePointer<Float>.allocate(capacity: tiles * 16)
            padded.initialize(repeating: 0, count: tiles * 16)
            for (index, value) in bias.enumerated() { padded[index] = value }
            self.bias = padded
        } else {
            self.bias = nil
        }
        let row = UnsafeMutablePointer<Float>.allocate(capacity: columns)
        defer { row.deallocate() }
        for index in 0..<rows {
            reader.read(row: index, into: row)
            guard kernel_all_finite(row, columns) == 1 else { throw .notFinite(tensor: view.name) }
            switch precision {
            case .f32: kernel_pack_f32(row, index, columns, floats)
            case .int8:
                guard kernel_pack_i8(row, index, columns, bytes, scales) == 1 else {
                    throw .unsupported(file: file, feature: "int8 of tensor \(view.name): row \(index) is too large")
                }
            }
        }
    }

    deinit {
        storage.deallocate()
        scales?.deallocate()
        bias?.deallocate()
    }

    private var bytes: UnsafeMutablePointer<UInt8>? { storage.baseAddress?.assumingMemoryBound(to: UInt8.self) }
    private var floats: UnsafeMutablePointer<Float>? { storage.baseAddress?.assumingMemoryBound(to: Float.self) }

    /// Tiles [from, to) of the product with every row of `input`.
    func multiply(
        isa: Int32, from: Int, to: Int, input: Activations, output: UnsafeMutablePointer<Float>, stride: Int,
        tokens: Int
    ) {
        switch precision {
        case .f32:
            kernel_matmul_f32(
                isa, floats, from, to, columns, input.values, input.stride, tokens, output, stride)
        case .int8:
            kernel_matmul_i8(
                isa, bytes, scales, from, to, blocks, input.quants, input.scales, input.sums, tokens, output, stride)
        }
        if let bias {
            for token in 0..<tokens {
                kernel_add(isa, output + token * stride + from * 16, bias + from * 16, (to - from) * 16)
            }
        }
    }

    /// output += scale * (matrix times input): the second half of a LoRA update. f32 only.
    func multiplyAdd(
        isa: Int32, from: Int, to: Int, input: UnsafePointer<Float>, inputStride: Int, scale: Float,
        output: UnsafeMutablePointer<Float>, stride: Int, tokens: Int
    ) {
        kernel_matmul_add_f32(
            isa, floats, from, to, columns, input, inputStride, tokens, scale, output, stride)
    }
}

/// One input of a product: its rows as floats, and as int8 blocks where the weights are int8.
struct Activations {
    let values: UnsafeMutablePointer<Float>
    let stride: Int
    let quants: UnsafeMutablePointer<Int8>
    let scales: UnsafeMutablePointer<Float>
    let sums: UnsafeMutablePointer<Int32>
}
