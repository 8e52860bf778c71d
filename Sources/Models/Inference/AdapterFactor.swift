// LoRA's two matrices in the kernels' tiles. They stay in the type that their file stores, 16 bits for most: a kernel
// widens them exactly, so that type changes no bit of what is computed.

import Kernels
import ModelFiles

/// How a factor's elements are stored; the numbers are the kernels'.
enum FactorKind: Int32, Sendable {
    case f32 = 0
    case bf16 = 1
    case f16 = 2

    /// What keeps a file's elements exactly.
    init(_ type: BlockType) {
        switch type {
        case .bf16: self = .bf16
        case .f16: self = .f16
        default: self = .f32
        }
    }

    var bytes: Int { self == .f32 ? 4 : 2 }
    /// The exponent's bits of a 16-bit element.
    var exponent: UInt16 { self == .bf16 ? 0x7f80 : 0x7c00 }
}

/// @unchecked Sendable: written by its initialisers and, before anybody else has it, by the stacking below; read-only from
/// then on.
final class AdapterFactor: @unchecked Sendable {
    let kind: FactorKind
    let rows: Int
    let columns: Int
    private let storage: FactorStorage

    var tileCount: Int { (rows + 15) / 16 }
    var byteCount: Int { storage.bytes.count }
    /// [row / 16][column][row % 16] elements of `kind`; rows behind the last are zero.
    var tiles: UnsafeMutableRawPointer {
        guard let base = storage.bytes.baseAddress else { preconditionFailure("a factor has memory") }
        return base
    }
    var floats: UnsafeMutablePointer<Float> {
        precondition(kind == .f32)
        return tiles.assumingMemoryBound(to: Float.self)
    }

    /// The memory is not yet written.
    private init(blank kind: FactorKind, rows: Int, columns: Int, from memory: inout FactorCutter) {
        self.kind = kind
        self.rows = rows
        self.columns = columns
        storage = memory.cut(Self.bytes(kind, rows: rows, columns: columns))
    }

    static func bytes(_ kind: FactorKind, rows: Int, columns: Int) -> Int {
        max(1, (rows + 15) / 16 * 16 * columns * kind.bytes)
    }

    /// - Parameter widens: to f32, where the base is f32 too.
    convenience init(
        _ reader: RowReader, widens: Bool, file: String, from memory: inout FactorCutter
    ) throws(ModelFault) {
        let kind = FactorKind(reader.type)
        let stored = reader.stored(row: 0), isFinite: Bool
        if reader.type == .f32 || (kind != .f32 && !widens), Self.isOnePiece(reader) {
            self.init(blank: kind, rows: reader.rows, columns: reader.columns, from: &memory)
            isFinite =
                kind == .f32
                ? kernel_tile_32(stored, rows, columns, tiles) == 1
                : kernel_tile_16(stored, rows, columns, kind.exponent, tiles) == 1
        } else {
            var values: [Float] = []
            values.reserveCapacity(reader.rows * reader.columns)
            for row in 0..<reader.rows { values += reader.row(row) }
            self.init(widens ? .f32 : kind, values, rows: reader.rows, columns: reader.columns, from: &memory)
            isFinite = kernel_all_finite(values, values.count) == 1
        }
        guard isFinite else { throw .notFinite(tensor: reader.name) }
    }

    private static func isOnePiece(_ reader: RowReader) -> Bool {
        let bytes = reader.type.byteCount(reader.columns)
        for row in [1, reader.rows - 1] where row > 0 && row < reader.rows {
            let expected: UnsafeRawPointer = reader.stored(row: 0) + row * bytes
            if reader.stored(row: row) != expected { return false }
        }
        return true
    }

    /// Row-major values, rounded to the nearest of `kind`, half to even.
    convenience init(_ kind: FactorKind, _ values: [Float], rows: Int, columns: Int) {
        var heap = FactorCutter(nil)
        self.init(kind, values, rows: rows, columns: columns, from: &heap)
    }

    private convenience init(
        _ kind: FactorKind, _ values: [Float], rows: Int, columns: Int, from memory: inout FactorCutter
    ) {
        precondition(values.count == rows * columns)
        self.init(blank: kind, rows: rows, columns: columns, from: &memory)
        if kind == .f32 {
            _ = kernel_tile_32(values, rows, columns, tiles)
        } else {
            var rounded = [UInt16](repeating: 0, count: values.count)
            kernel_to_16(values, values.count, kind.exponent, &rounded)
            _ = kernel_tile_16(rounded, rows, columns, kind.exponent, tiles)
        }
    }

    /// Row-major.
    func values() -> [Float] {
        var values = [Float](repeating: 0, count: rows * columns)
        var lanes = [Float](repeating: 0, count: 16 * columns)
        for tile in 0..<tileCount {
            let source = tiles + tile * 16 * columns * kind.bytes
            switch kind {
            case .f32: kernel_from_f32(source, lanes.count, &lanes)
            case .bf16: kernel_from_bf16(source, lanes.count, &lanes)
            case .f16: kernel_from_f16(source, lanes.count, &lanes)
            }
            for row in tile * 16..<min(rows, tile * 16 + 16) {
                for column in 0..<columns { values[row * columns + column] = lanes[column * 16 + row % 16] }
            }
        }
        return values
    }

    // MARK: Side by side

    /// The rows of all, one after the other.
    static func stackedRows(_ parts: [AdapterFactor]) -> AdapterFactor {
        let kind = commonKind(parts), columns = parts.first?.columns ?? 0
        let whole = AdapterFactor(
            kind, zeroRows: parts.reduce(0) { $0 + $1.rows }, columns: columns)
        var first = 0
        for part in parts.map({ $0.converted(to: kind) }) {
            precondition(part.columns == columns)
            for row in 0..<part.rows {
                let to = first + row, size = kind.bytes
                let source = part.tiles + (row / 16 * columns * 16 + row % 16) * size
                let target = whole.tiles + (to / 16 * columns * 16 + to % 16) * size
                for column in 0..<columns {
                    (target + column * 16 * size).copyMemory(from: source + column * 16 * size, byteCount: size)
                }
            }
            first += part.rows
        }
        return whole
    }

    /// The columns of all, one after the other.
    static func stackedColumns(_ parts: [AdapterFactor]) -> AdapterFactor {
        let kind = commonKind(parts), rows = parts.first?.rows ?? 0
        let whole = AdapterFactor(kind, zeroRows: rows, columns: parts.reduce(0) { $0 + $1.columns })
        var first = 0
        for part in parts.map({ $0.converted(to: kind) }) {
            precondition(part.rows == rows)
            let bytes = part.columns * 16 * kind.bytes
            for tile in 0..<whole.tileCount {
                (whole.tiles + (tile * whole.columns + first) * 16 * kind.bytes)
                    .copyMemory(from: part.tiles + tile * bytes, byteCount: bytes)
            }
            first += part.columns
        }
        return whole
    }

    private convenience init(_ kind: FactorKind, zeroRows rows: Int, columns: Int) {
        var heap = FactorCutter(nil)
        self.init(blank: kind, rows: rows, columns: columns, from: &heap)
        storage.bytes.initializeMemory(as: UInt8.self, repeating: 0)
    }

    private static func commonKind(_ parts: [AdapterFactor]) -> FactorKind {
        guard let kind = parts.first?.kind, parts.allSatisfy({ $0.kind == kind }) else { return .f32 }
        return kind
    }

    private func converted(to other: FactorKind) -> AdapterFactor {
        kind == other ? self : AdapterFactor(other, values(), rows: rows, columns: columns)
    }
}

/// What one adapter adds to one matrix: y += B h, h_r = scales_r (A x)_r.
/// @unchecked Sendable: written only in the initialiser, read-only from then on.
final class LowRank: @unchecked Sendable {
    /// A: rank x in.
    let down: AdapterFactor
    /// B: out x rank.
    let up: AdapterFactor
    /// One a rank, zeros up to a whole tile.
    let scales: UnsafeMutablePointer<Float>
    /// What all are, of an adapter that is no fusion.
    let scale: Double

    var rank: Int { down.rows }
    var byteCount: Int { down.byteCount + up.byteCount + down.tileCount * 64 }

    convenience init(down: AdapterFactor, up: AdapterFactor, scale: Double) {
        self.init(down: down, up: up, scales: Array(repeating: Float(scale), count: down.rows), scale: scale)
    }

    init(down: AdapterFactor, up: AdapterFactor, scales values: [Float], scale: Double = 1) {
        precondition(down.rows == up.columns && values.count == down.rows)
        self.down = down
        self.up = up
        self.scale = scale
        scales = .allocate(capacity: down.tileCount * 16)
        scales.initialize(repeating: 0, count: down.tileCount * 16)
        for (rank, value) in values.enumerated() { scales[rank] = value }
    }

    deinit { scales.deallocate() }
}
