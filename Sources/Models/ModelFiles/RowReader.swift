// A matrix within a tensor, read row by row as floats, whatever type the file stores it in.

package struct RowReader {
    package let name: String
    package let rows: Int
    package let columns: Int
    package let type: BlockType
    private let base: UnsafeRawPointer
    private let rowBytes: Int
    /// Rows of one head where the file pairs rotated channels side by side (llama.cpp) and they are wanted apart.
    private let pairedRows: Int?

    /// All of a tensor: `[rows, columns]`, or `[rows]` where there is one column.
    package init(_ view: TensorView, rows: Int, columns: Int, file: String) throws(ModelFault) {
        try self.init(view, firstRow: 0, rows: rows, of: rows, columns: columns, file: file)
    }

    /// All of a matrix that was gathered; it must outlive the reader.
    package init(_ matrix: GatheredMatrix, file: String) throws(ModelFault) {
        try self.init(matrix.view, rows: matrix.rows, columns: matrix.columns, file: file)
    }

    /// Rows [firstRow, firstRow + rows) of a tensor that must have `total` of them; dimensions before the last count
    /// together as rows.
    package init(
        _ view: TensorView, firstRow: Int, rows: Int, of total: Int, columns: Int, pairedRows: Int? = nil, file: String
    ) throws(ModelFault) {
        let isVector = view.shape.count == 1
        let (lead, last) =
            isVector ? (view.shape[0], 1) : (view.shape.dropLast().reduce(1, *), view.shape.last ?? 0)
        guard lead == total, last == columns, !view.shape.isEmpty else {
            throw .malformed(
                file: file, reason: "tensor \(view.name) has shape \(view.shape), expected \([total, columns])")
        }
        guard let type = BlockType.named[view.dtype], let base = view.bytes.baseAddress,
            columns.isMultiple(of: type.elements)
        else { throw .unsupported(file: file, feature: "tensor \(view.name) of type \(view.dtype)") }
        rowBytes = type.byteCount(columns)
        guard firstRow >= 0, rows >= 0, firstRow <= total - rows, total * rowBytes <= view.bytes.count else {
            throw .malformed(file: file, reason: "tensor \(view.name) is shorter than its shape \(view.shape)")
        }
        name = view.name
        self.rows = rows
        self.columns = columns
        self.type = type
        self.base = base + firstRow * rowBytes
        self.pairedRows = pairedRows
    }

    /// The stored bytes of a row: blocks of `type`.
    package func stored(row: Int) -> UnsafeRawPointer {
        precondition(row >= 0 && row < rows)
        guard let pairedRows else { return base + row * rowBytes }
        let (head, channel) = row.quotientAndRemainder(dividingBy: pairedRows), half = pairedRows / 2
        return base + (head * pairedRows + channel % half * 2 + channel / half) * rowBytes
    }

    package func read(row: Int, into out: UnsafeMutablePointer<Float>) {
        type.decode(stored(row: row), count: columns, into: out)
    }

    package func row(_ row: Int) -> [Float] {
        [Float](unsafeUninitializedCapacity: columns) { buffer, count in
            if let base = buffer.baseAddress { read(row: row, into: base) }
            count = columns
        }
    }
}

/// A matrix picked element by element out of a tensor and kept in its own memory, in the tensor's type where that is a
/// plain one and as F32 where it comes in blocks. `view` is valid while this lives.
package final class GatheredMatrix {
    package let view: TensorView
    package let rows: Int
    package let columns: Int
    private let memory: UnsafeMutableRawBufferPointer

    /// Element (row, column) comes from the reader's (source row, source column) that `from` names, which must exist.
    package init(
        _ source: RowReader, rows: Int, columns: Int, from: (_ row: Int, _ column: Int) -> (row: Int, column: Int)
    ) {
        self.rows = rows
        self.columns = columns
        let isPlain = source.type.elements == 1, size = isPlain ? source.type.bytes : 4
        memory = .allocate(byteCount: max(1, rows * columns * size), alignment: 64)
        let floats: [[Float]] = isPlain ? [] : (0..<source.rows).map { source.row($0) }
        for row in 0..<rows {
            for column in 0..<columns {
                let (sourceRow, sourceColumn) = from(row, column)
                precondition(sourceColumn >= 0 && sourceColumn < source.columns)
                let offset = (row * columns + column) * size
                if isPlain {
                    let element = source.stored(row: sourceRow) + sourceColumn * size
                    memory[offset..<offset + size].copyBytes(from: UnsafeRawBufferPointer(start: element, count: size))
                } else {
                    memory.storeBytes(of: floats[sourceRow][sourceColumn], toByteOffset: offset, as: Float.self)
                }
            }
        }
        view = TensorView(
            name: source.name, dtype: isPlain ? source.type.name : BlockType.f32.name, shape: [rows, columns],
            bytes: UnsafeRawBufferPointer(memory))
    }

    deinit { memory.deallocate() }
}
