// The buffers of a backward pass, made once: nothing is allocated while gradients are computed. Rows lie at multiples of 32
// floats; what lies between a row's length and its stride is zero, and products keep it so.

/// Rows of floats.
struct FloatRows {
    let values: UnsafeMutablePointer<Float>
    let stride: Int

    subscript(row: Int) -> UnsafeMutablePointer<Float> { values + row * stride }

    /// The same from a column on.
    func column(_ column: Int) -> FloatRows { FloatRows(values: values + column, stride: stride) }
}

/// Owns what it makes.
final class FloatMemory {
    private var blocks: [UnsafeMutableRawPointer] = []
    private(set) var byteCount = 0

    func make<T: ExpressibleByIntegerLiteral & BitwiseCopyable>(_ type: T.Type, _ count: Int) -> UnsafeMutablePointer<T>
    {
        let bytes = max(count, 1) * MemoryLayout<T>.stride
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
        blocks.append(memory)
        byteCount += bytes
        return memory.initializeMemory(as: type, repeating: 0, count: max(count, 1))
    }

    func floats(_ count: Int) -> UnsafeMutablePointer<Float> { make(Float.self, count) }

    func rows(_ count: Int, columns: Int) -> FloatRows {
        let stride = columns.rounded(to: 32)
        return FloatRows(values: floats(count * stride), stride: stride)
    }

    deinit {
        for block in blocks { block.deallocate() }
    }
}

extension Int {
    /// The next multiple of `unit`.
    func rounded(to unit: Int) -> Int { (self + unit - 1) / unit * unit }
}
