// A weight matrix in the kernels' tiles: f32, bf16, or int8 or int4 in blocks of 32 columns with a half-precision
// scale.
// GGUF's Q8_0 and Q4_0 are those very blocks: they are moved, not computed anew.

package import Arithmetic
import Kernels
import ModelFiles

/// @unchecked Sendable: written only in the initialiser, read-only from then on.
package final class PackedMatrix: @unchecked Sendable {
    /// Who holds the memory, where it is mapped.
    private let owner: AnyObject?
    package let rows: Int
    package let columns: Int
    package let precision: Precision
    let bias: UnsafeMutablePointer<Float>?
    private let storage: UnsafeMutableRawPointer
    private let scales: UnsafeMutablePointer<UInt16>?

    var tiles: Int { (rows + 15) / 16 }
    var blocks: Int { (columns + 31) / 32 }
    package var byteCount: Int { size.quants + size.scales }

    private var size: PackedSize { PackedSize(rows: rows, columns: columns, precision: precision) }
    var quantBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: storage, count: size.quants) }
    var scaleBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: scales, count: size.scales) }

    /// One that was packed before; `owner` holds its bytes, which are only read.
    init(_ part: PreparedWeights.Part, owner: PreparedWeights, bias: [Float]?) {
        rows = part.rows
        columns = part.columns
        precision = part.precision
        storage = UnsafeMutableRawPointer(mutating: part.quants)
        scales = part.scales.map { UnsafeMutablePointer(mutating: $0.assumingMemoryBound(to: UInt16.self)) }
        self.bias = Self.padded(bias, tiles: (part.rows + 15) / 16)
        self.owner = owner
    }

    private static func padded(_ bias: [Float]?, tiles: Int) -> UnsafeMutablePointer<Float>? {
        guard let bias else { return nil }
        let padded = UnsafeMutablePointer<Float>.allocate(capacity: tiles * 16)
        padded.initialize(repeating: 0, count: tiles * 16)
        for (index, value) in bias.enumerated() { padded[index] = value }
        return padded
    }

    init(
        _ reader: RowReader, precision: Precision, bias: [Float]?, file: String
    ) throws(ModelFault) {
        rows = reader.rows
        columns = reader.columns
        self.precision = precision
        let tiles = (reader.rows + 15) / 16
        let count = PackedSize(rows: reader.rows, columns: reader.columns, precision: precision).quants
        storage = .allocate(byteCount: max(1, count), alignment: 64)
        // What stands for zero: rows behind the last answer nothing.
        let zero: UInt8 =
            switch precision {
            case .f32, .bf16: 0
            case .int8: 0x80
            case .int4: 0x88
            }
        storage.initializeMemory(as: UInt8.self, repeating: zero, count: count)
        if precision.isQuantized {
            let scaleCount = tiles * ((reader.columns + 31) / 32) * 16
            let memory = UnsafeMutableRawPointer.allocate(byteCount: max(1, scaleCount * 2), alignment: 64)
            scales = memory.initializeMemory(as: UInt16.self, repeating: 0, count: scaleCount)
        } else {
            scales = nil
        }
        self.bias = Self.padded(bias, tiles: tiles)
        owner = nil
        let row = UnsafeMutablePointer<Float>.allocate(capacity: columns)
        defer { row.deallocate() }
        for index in 0..<rows {
            if try packStored(reader, row: index) { continue }
            reader.read(row: index, into: row)
            guard kernel_all_finite(row, columns) == 1 else { throw .notFinite(tensor: reader.name) }
            guard pack(row, at: index) else {
                throw .unsupported(
                    file: file, feature: "\(precision.rawValue) of tensor \(reader.name): row \(index) is too large")
            }
        }
    }

    deinit {
        bias?.deallocate()
        guard owner == nil else { return }
        storage.deallocate()
        scales?.deallocate()
    }

    private var bytes: UnsafeMutablePointer<UInt8> { storage.assumingMemoryBound(to: UInt8.self) }

    private func pack(_ row: UnsafePointer<Float>, at index: Int) -> Bool {
        switch precision {
        case .f32: kernel_pack_f32(row, index, columns, storage.assumingMemoryBound(to: Float.self))
        case .bf16: kernel_pack_bf16(row, index, columns, storage.assumingMemoryBound(to: UInt16.self))
        case .int8: return kernel_pack_i8(row, index, columns, bytes, scales) == 1
        case .int4: return kernel_pack_i4(row, index, columns, bytes, scales) == 1
        }
        return true
    }

    /// Moves a row of blocks that are already what is wanted; answers false where they are not.
    private func packStored(_ reader: RowReader, row index: Int) throws(ModelFault) -> Bool {
        let isFinite: Int32
        switch (precision, reader.type) {
        case (.int8, .q8_0): isFinite = kernel_pack_q8_0(reader.stored(row: index), index, blocks, bytes, scales)
        case (.int4, .q4_0): isFinite = kernel_pack_q4_0(reader.stored(row: index), index, blocks, bytes, scales)
        default: return false
        }
        guard isFinite == 1 else { throw .notFinite(tensor: reader.name) }
        return true
    }

    /// Tiles [from, to) of the product with every row of `input`.
    func multiply(
        isa: Int32, from: Int, to: Int, input: Activations, output: UnsafeMutablePointer<Float>, stride: Int,
        tokens: Int
    ) {
        switch precision {
        case .f32, .bf16:
            var product = kernel_product(
                tiles: storage, tile_begin: from, tile_end: to, columns: columns, x: input.values,
                x_stride: input.stride, tokens: tokens, scales: nil, y: output, y_stride: stride,
                kind: Int32(precision == .f32 ? KERNEL_F32 : KERNEL_BF16), add: 0)
            kernel_products(isa, &product, 1)
        case .int8:
            kernel_matmul_i8(isa, bytes, scales, from, to, blocks, input.quants, tokens, output, stride)
        case .int4:
            kernel_matmul_i4(isa, bytes, scales, from, to, blocks, input.quants, tokens, output, stride)
        }
        if let bias {
            for token in 0..<tokens {
                kernel_add(isa, output + token * stride + from * 16, bias + from * 16, (to - from) * 16)
            }
        }
    }
}

/// One input of a product: its rows as floats, and as int8 blocks where the weights are int8 or int4.
struct Activations {
    let values: UnsafeMutablePointer<Float>
    let stride: Int
    /// In groups of 16 rows: kernels.h.
    let quants: UnsafeMutableRawPointer

    static let groupRows = 16

    /// Bytes of the int8 blocks of `rows` rows.
    static func quantBytes(rows: Int, columns: Int) -> Int {
        (rows + groupRows - 1) / groupRows * ((columns + 31) / 32) * Int(KERNEL_ACTIVATION_BLOCK_BYTES)
    }

    /// The same from a row on. Its int8 blocks follow only where that is a multiple of `groupRows`.
    func from(_ row: Int) -> Self {
        Self(
            values: values + row * stride, stride: stride,
            quants: quants + Self.quantBytes(rows: row / Self.groupRows * Self.groupRows, columns: stride))
    }
}
