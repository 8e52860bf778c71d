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

/// Owns what it makes, or only counts it: what is laid out with one that measures is never read or written.
final class FloatMemory {
    private var blocks: [UnsafeMutableRawPointer] = []
    private(set) var byteCount = 0
    let measures: Bool

    init(measures: Bool = false) { self.measures = measures }

    func make<T: ExpressibleByIntegerLiteral & BitwiseCopyable>(_ type: T.Type, _ count: Int) -> UnsafeMutablePointer<T>
    {
        let bytes = max(count, 1) * MemoryLayout<T>.stride
        byteCount += bytes
        if measures { return UnsafeMutablePointer(bitPattern: 64).unsafelyUnwrapped }
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
        blocks.append(memory)
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
