// A model's matrices as the kernels read them, in one file: what was packed once is mapped from then on. A peer that starts
// computes at once, pages of weights come and go as the system needs memory, and two programs share them.
//
//     "OLW1"  layout  precision  count     4 × u32
//     key                                  32 bytes: which model
//     length of the file                   u64
//     count × { layer, slot, precision, 0 (4 × u32)  rows, columns, quants offset, scales offset (4 × u64) }
//     parts, each at a multiple of 64; unused bytes are zero
//
// Little-endian. A cache of this machine, no format of the network: whoever finds another layout, key, length or shape packs
// anew. What is in it was checked when it was packed.

package import Arithmetic

/// Where a matrix stands in a model.
struct MatrixPlace: Hashable, Comparable, Sendable {
    let layer: Int
    let slot: Int

    /// The output head.
    static let head = Self(layer: Int(UInt32.max), slot: 0)

    static func < (a: Self, b: Self) -> Bool { (a.layer, a.slot) < (b.layer, b.slot) }
}

/// @unchecked Sendable: bytes that nobody writes.
package final class PreparedWeights: @unchecked Sendable {
    /// Of the file and of the tiles in it; another one for whatever changes either.
    package static let layout: UInt32 = 1
    static let magic: UInt32 = 0x3157_4c4f
    static let headBytes = 56, entryBytes = 48, alignment = 64, keyBytes = 32
    private static let countMax: UInt32 = 1 << 20

    struct Part {
        let precision: Precision
        let rows: Int
        let columns: Int
        let quants: UnsafeRawPointer
        let scales: UnsafeRawPointer?
    }

    private let parts: [MatrixPlace: Part]
    private let owner: AnyObject

    /// - Parameters:
    ///   - bytes: valid while `owner` lives.
    ///   - key: 32 bytes that name the model.
    /// - Returns: nil where the bytes are anything else than what is wanted.
    package init?(_ bytes: UnsafeRawBufferPointer, owner: AnyObject, key: [UInt8], precision: Precision) {
        guard let base = bytes.baseAddress, bytes.count >= Self.headBytes, key.count == Self.keyBytes,
            Int(bitPattern: base).isMultiple(of: Self.alignment)
        else { return nil }
        func word(_ at: Int) -> UInt32 {
            UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))
        }
        func long(_ at: Int) -> UInt64 {
            UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
        }
        let count = word(12)
        guard word(0) == Self.magic, word(4) == Self.layout, word(8) == precision.code, count <= Self.countMax,
            bytes[16..<48].elementsEqual(key), long(48) == UInt64(bytes.count),
            Self.headBytes + Int(count) * Self.entryBytes <= bytes.count
        else { return nil }
        var parts: [MatrixPlace: Part] = [:]
        parts.reserveCapacity(Int(count))
        for index in 0..<Int(count) {
            let at = Self.headBytes + index * Self.entryBytes
            guard let precision = Precision.allCases.first(where: { $0.code == word(at + 8) }),
                let rows = Int(exactly: long(at + 16)), let columns = Int(exactly: long(at + 24)),
                let quants = Int(exactly: long(at + 32)), let scales = Int(exactly: long(at + 40)),
                rows > 0, columns > 0, rows <= 1 << 26, columns <= 1 << 26
            else { return nil }
            let size = PackedSize(rows: rows, columns: columns, precision: precision)
            guard Self.fits(quants, size.quants, bytes.count), Self.fits(scales, size.scales, bytes.count) else {
                return nil
            }
            let place = MatrixPlace(layer: Int(word(at)), slot: Int(word(at + 4)))
            let part = Part(
                precision: precision, rows: rows, columns: columns, quants: base + quants,
                scales: size.scales > 0 ? base + scales : nil)
            guard parts.updateValue(part, forKey: place) == nil else { return nil }
        }
        self.parts = parts
        self.owner = owner
    }

    private static func fits(_ offset: Int, _ count: Int, _ total: Int) -> Bool {
        offset >= 0 && offset.isMultiple(of: alignment) && offset <= total && count <= total - offset
    }

    /// The matrix of a place; nil where it is not there in this shape.
    func matrix(
        _ place: MatrixPlace, rows: Int, columns: Int, precision: Precision, bias: [Float]?
    ) -> PackedMatrix? {
        guard let part = parts[place], part.rows == rows, part.columns == columns, part.precision == precision else {
            return nil
        }
        return PackedMatrix(part, owner: self, bias: bias)
    }
}

extension Precision {
    fileprivate var code: UInt32 {
        switch self {
        case .f32: 0
        case .bf16: 1
        case .int8: 2
        case .int4: 3
        }
    }
}

/// Bytes of a matrix in tiles.
struct PackedSize {
    let quants: Int
    let scales: Int

    init(rows: Int, columns: Int, precision: Precision) {
        let tiles = (rows + 15) / 16, blocks = (columns + 31) / 32
        switch precision {
        case .f32: quants = tiles * 16 * columns * 4
        case .bf16: quants = tiles * 16 * columns * 2
        case .int8: quants = tiles * blocks * 512
        case .int4: quants = tiles * blocks * 256
        }
        scales = precision.isQuantized ? tiles * blocks * 32 : 0
    }
}

extension LoadedModel {
    /// The file of this model's matrices, piece by piece in order: whoever writes keeps it only if every piece was written.
    package func writePrepared<Fault: Error>(
        key: [UInt8], _ write: (UnsafeRawBufferPointer) throws(Fault) -> Void
    ) throws(Fault) {
        precondition(key.count == PreparedWeights.keyBytes)
        let matrices = placedMatrices
        var offset = PreparedWeights.headBytes + matrices.count * PreparedWeights.entryBytes
        func place(_ count: Int) -> Int {
            let start = (offset + PreparedWeights.alignment - 1) / PreparedWeights.alignment * PreparedWeights.alignment
            offset = start + count
            return start
        }
        var entries: [UInt8] = [], pieces: [(offset: Int, bytes: UnsafeRawBufferPointer)] = []
        for (at, matrix) in matrices {
            let quants = place(matrix.quantBytes.count), scales = place(matrix.scaleBytes.count)
            pieces += [(quants, matrix.quantBytes), (scales, matrix.scaleBytes)]
            for word in [UInt32(at.layer), UInt32(at.slot), matrix.precision.code, 0] { entries.append(word) }
            for long in [matrix.rows, matrix.columns, quants, scales] { entries.append(UInt64(long)) }
        }
        var head: [UInt8] = []
        for word in [PreparedWeights.magic, PreparedWeights.layout, precision.code, UInt32(matrices.count)] {
            head.append(word)
        }
        head += key
        head.append(UInt64(offset))
        head += entries
        var written = head.count
        try Self.write(head, write)
        for piece in pieces where piece.bytes.count > 0 {
            try Self.write([UInt8](repeating: 0, count: piece.offset - written), write)
            try write(piece.bytes)
            written = piece.offset + piece.bytes.count
        }
        withExtendedLifetime(self) {}
    }

    private static func write<Fault: Error>(
        _ bytes: [UInt8], _ write: (UnsafeRawBufferPointer) throws(Fault) -> Void
    ) throws(Fault) {
        let outcome = bytes.withUnsafeBytes { buffer -> Result<Void, Fault> in
            do throws(Fault) {
                return .success(try write(buffer))
            } catch {
                return .failure(error)
            }
        }
        try outcome.get()
    }
}

extension [UInt8] {
    fileprivate mutating func append(_ word: UInt32) { Swift.withUnsafeBytes(of: word.littleEndian) { self += $0 } }
    fileprivate mutating func append(_ long: UInt64) { Swift.withUnsafeBytes(of: long.littleEndian) { self += $0 } }
}
