// A tensor's rows as floats, whatever type the file stores.

import Kernels

/// A tensor's rows as floats, whatever 16- or 32-bit type the file has.
package struct RowReader {
    package let view: TensorView
    package let columns: Int
    private let elementBytes: Int

    package init(_ view: TensorView, rows: Int, columns: Int, file: String) throws(ModelFault) {
        let expected = columns == 1 && view.shape.count == 1 ? [rows] : [rows, columns]
        guard view.shape == expected else {
            throw .malformed(file: file, reason: "tensor \(view.name) has shape \(view.shape), expected \(expected)")
        }
        guard ["F32", "F16", "BF16"].contains(view.dtype), let size = TensorView.elementBytes[view.dtype] else {
            throw .unsupported(file: file, feature: "tensor \(view.name) of type \(view.dtype)")
        }
        self.view = view
        self.columns = columns
        elementBytes = size
    }

    package func read(row: Int, into out: UnsafeMutablePointer<Float>) {
        Self.decode(view.bytes, dtype: view.dtype, offset: row * columns * elementBytes, count: columns, into: out)
    }

    /// Reads `count` elements that start `offset` bytes in; the caller has checked both against the buffer.
    package static func decode(
        _ bytes: UnsafeRawBufferPointer, dtype: String, offset: Int, count: Int, into out: UnsafeMutablePointer<Float>
    ) {
        guard let base = bytes.baseAddress else { return }
        switch dtype {
        case "BF16": kernel_from_bf16(base + offset, count, out)
        case "F16": kernel_from_f16(base + offset, count, out)
        default: kernel_from_f32(base + offset, count, out)
        }
    }
}
