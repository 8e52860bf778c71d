// GGUF files, versions 2 and 3, read strictly: every count is checked against what is left of the file before anything is
// reserved, each tensor's length is its shape times its block size, and no tensor lies outside the data section or over
// another.
//
//     magic | version | tensor count | metadata count | metadata... | tensor infos... | padding | tensor data
//
// Source: github.com/ggml-org/ggml, docs/gguf.md. All numbers are little-endian.

import Primitives

package enum GGUFLimit {
    package static let metadataMax = 1 << 16
    package static let arrayElementsMax = 1 << 22
    package static let dimensionsMax = 4
    package static let alignmentMax = 1 << 16
    /// Of a string or array element; a chat template is the longest thing known.
    package static let stringBytesMax = 4 << 20
}

/// A metadata value. Integer types of every width are `integer`; strings are bytes, since a vocabulary need not be UTF-8.
package enum GGUFValue: Hashable, Sendable {
    case integer(Int64)
    case float(Double)
    case flag(Bool)
    case string([UInt8])
    case integers([Int64])
    case floats([Double])
    case flags([Bool])
    case strings([[UInt8]])

    /// The string, where it is valid UTF-8.
    package var text: String? {
        guard case .string(let bytes) = self else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }

    /// An integer that is not negative.
    package var count: Int? {
        guard case .integer(let value) = self, value >= 0 else { return nil }
        return Int(exactly: value)
    }

    package var number: Double? {
        switch self {
        case .float(let value): value
        case .integer(let value): Double(value)
        default: nil
        }
    }

    package var flag: Bool? {
        guard case .flag(let value) = self else { return nil }
        return value
    }

    package var strings: [[UInt8]]? {
        guard case .strings(let values) = self else { return nil }
        return values
    }

    package var integers: [Int64]? {
        guard case .integers(let values) = self else { return nil }
        return values
    }

    package var floats: [Double]? {
        guard case .floats(let values) = self else { return nil }
        return values
    }
}

/// The header of one file and views of its tensors, whose shapes are outermost dimension first (GGUF writes them the
/// other way round). The bytes must outlive it.
package struct GGUFFile {
    /// The name under which a model folder holds its GGUF.
    package static let name = "model.gguf"

    package let metadata: [String: GGUFValue]
    package let tensors: [String: TensorView]

    /// A header alone.
    init(metadata: [String: GGUFValue]) {
        self.metadata = metadata
        tensors = [:]
    }

    package init(_ bytes: UnsafeRawBufferPointer, file: String) throws(ModelFault) {
        var reader = GGUFReader(bytes: bytes, file: file)
        guard try reader.integer(UInt32.self) == 0x4655_4747 else { throw reader.fault("does not begin with \"GGUF\"") }
        let version = try reader.integer(UInt32.self)
        guard version == 2 || version == 3 else {
            throw .unsupported(file: file, feature: "GGUF version \(version)")
        }
        // A tensor's info takes at least 24 bytes, a metadata entry at least 13.
        let tensorCount = try reader.count(max: TensorLimit.tensorsMax, elementBytes: 24, of: "tensors")
        let metadataCount = try reader.count(max: GGUFLimit.metadataMax, elementBytes: 13, of: "metadata entries")
        var metadata: [String: GGUFValue] = [:]
        for _ in 0..<metadataCount {
            let key = try reader.name("a metadata key")
            let type = try reader.integer(UInt32.self)
            guard metadata.updateValue(try reader.value(type, key: key), forKey: key) == nil else {
                throw reader.fault("metadata \"\(key)\" appears twice")
            }
        }
        let infos = try Self.infos(&reader, count: tensorCount)
        var alignment = 32
        if let value = metadata["general.alignment"] {
            guard let wanted = value.count, (8...GGUFLimit.alignmentMax).contains(wanted), wanted & (wanted - 1) == 0
            else { throw reader.fault("general.alignment is not a power of two up to \(GGUFLimit.alignmentMax)") }
            alignment = wanted
        }
        self.metadata = metadata
        tensors = try Self.views(infos, in: reader.rest(alignedTo: alignment), alignment: alignment, reader)
    }

    private struct Info {
        let name: String
        let type: BlockType
        let shape: [Int]
        let byteCount: Int
        let offset: Int
    }

    private static func infos(_ reader: inout GGUFReader, count: Int) throws(ModelFault) -> [Info] {
        var infos: [Info] = []
        infos.reserveCapacity(count)
        for _ in 0..<count {
            let name = try reader.name("a tensor's name")
            let dimensions = try reader.integer(UInt32.self)
            guard (1...UInt32(GGUFLimit.dimensionsMax)).contains(dimensions) else {
                throw reader.fault("tensor \(name) has \(dimensions) dimensions")
            }
            var shape: [Int] = [], elements = 1
            for _ in 0..<dimensions {
                let wide = try reader.integer(UInt64.self)
                guard let extent = Int(exactly: wide), extent > 0 else {
                    throw reader.fault("tensor \(name) has a dimension of \(wide)")
                }
                let (product, overflow) = elements.multipliedReportingOverflow(by: extent)
                guard !overflow, product < 1 << 48 else { throw reader.fault("tensor \(name) has an absurd shape") }
                elements = product
                shape.insert(extent, at: 0)
            }
            let code = try reader.integer(UInt32.self)
            guard let type = BlockType.gguf[code] else {
                throw .unsupported(file: reader.file, feature: "tensor \(name) of GGML type \(code)")
            }
            guard let row = shape.last, row.isMultiple(of: type.elements) else {
                throw reader.fault("tensor \(name) has rows that are no multiple of \(type.elements)")
            }
            let wide = try reader.integer(UInt64.self)
            guard let offset = Int(exactly: wide) else { throw reader.fault("tensor \(name) lies outside the file") }
            infos.append(
                Info(
                    name: name, type: type, shape: shape, byteCount: elements / type.elements * type.bytes,
                    offset: offset))
        }
        return infos
    }

    private static func views(
        _ infos: [Info], in data: UnsafeRawBufferPointer, alignment: Int, _ reader: GGUFReader
    ) throws(ModelFault) -> [String: TensorView] {
        var tensors: [String: TensorView] = [:]
        tensors.reserveCapacity(infos.count)
        var reached = 0
        for info in infos.sorted(by: { ($0.offset, $0.name) < ($1.offset, $1.name) }) {
            guard info.offset.isMultiple(of: alignment), info.offset >= reached, info.offset <= data.count,
                info.byteCount <= data.count - info.offset
            else {
                throw reader.fault(
                    "tensor \(info.name) of \(info.byteCount) bytes at \(info.offset) is not within the "
                        + "\(data.count) bytes of data, or overlaps another")
            }
            reached = info.offset + info.byteCount
            let view = TensorView(
                name: info.name, dtype: info.type.name, shape: info.shape,
                bytes: UnsafeRawBufferPointer(rebasing: data[info.offset..<reached]))
            guard tensors.updateValue(view, forKey: info.name) == nil else {
                throw reader.fault("tensor \(info.name) appears twice")
            }
        }
        return tensors
    }
}

/// A position in the file's bytes that never passes their end.
private struct GGUFReader {
    let bytes: UnsafeRawBufferPointer
    let file: String
    private var at = 0

    init(bytes: UnsafeRawBufferPointer, file: String) {
        self.bytes = bytes
        self.file = file
    }

    func fault(_ reason: String) -> ModelFault { .malformed(file: file, reason: reason) }

    private mutating func take(_ count: Int) throws(ModelFault) -> UnsafeRawBufferPointer {
        guard count >= 0, count <= bytes.count - at else { throw fault("ends within its header, at byte \(at)") }
        defer { at += count }
        return UnsafeRawBufferPointer(rebasing: bytes[at..<at + count])
    }

    mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) throws(ModelFault) -> T {
        T(littleEndian: try take(MemoryLayout<T>.size).loadUnaligned(as: T.self))
    }

    /// A count whose elements fit what is left of the file.
    mutating func count(max: Int, elementBytes: Int, of what: String) throws(ModelFault) -> Int {
        let wide = try integer(UInt64.self)
        guard let count = Int(exactly: wide), count <= max, count <= (bytes.count - at) / elementBytes else {
            throw fault("claims \(wide) \(what)")
        }
        return count
    }

    mutating func string() throws(ModelFault) -> [UInt8] {
        let count = try count(max: GGUFLimit.stringBytesMax, elementBytes: 1, of: "bytes of a string")
        return [UInt8](try take(count))
    }

    mutating func name(_ what: String) throws(ModelFault) -> String {
        guard let name = String(validating: try string(), as: UTF8.self) else { throw fault("\(what) is not UTF-8") }
        return name
    }

    /// What follows the next multiple of `alignment`.
    func rest(alignedTo alignment: Int) -> UnsafeRawBufferPointer {
        let start = (at + alignment - 1) / alignment * alignment
        return UnsafeRawBufferPointer(rebasing: bytes[min(start, bytes.count)...])
    }

    mutating func value(_ type: UInt32, key: String) throws(ModelFault) -> GGUFValue {
        switch type {
        case 6: return .float(Double(Float(bitPattern: try integer(UInt32.self))))
        case 7: return .flag(try integer(UInt8.self) != 0)
        case 8: return .string(try string())
        case 9: return try array(key: key)
        case 12: return .float(Double(bitPattern: try integer(UInt64.self)))
        default: return .integer(try number(type, key: key))
        }
    }

    private mutating func number(_ type: UInt32, key: String) throws(ModelFault) -> Int64 {
        switch type {
        case 0: return Int64(try integer(UInt8.self))
        case 1: return Int64(try integer(Int8.self))
        case 2: return Int64(try integer(UInt16.self))
        case 3: return Int64(try integer(Int16.self))
        case 4: return Int64(try integer(UInt32.self))
        case 5: return Int64(try integer(Int32.self))
        case 10:
            guard let value = Int64(exactly: try integer(UInt64.self)) else {
                throw fault("metadata \"\(key)\" is beyond 2^63")
            }
            return value
        case 11: return try integer(Int64.self)
        default: throw fault("metadata \"\(key)\" has unknown type \(type)")
        }
    }

    private mutating func array(key: String) throws(ModelFault) -> GGUFValue {
        let type = try integer(UInt32.self)
        guard type != 9 else { throw .unsupported(file: file, feature: "metadata \"\(key)\": an array of arrays") }
        let sizes: [UInt32: Int] = [
            0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 8: 8, 10: 8, 11: 8, 12: 8,
        ]
        guard let size = sizes[type] else { throw fault("metadata \"\(key)\" is an array of unknown type \(type)") }
        let count = try count(max: GGUFLimit.arrayElementsMax, elementBytes: size, of: "elements of \"\(key)\"")
        switch type {
        case 6, 12:
            var values: [Double] = []
            values.reserveCapacity(count)
            for _ in 0..<count { values.append(try value(type, key: key).number ?? 0) }
            return .floats(values)
        case 7:
            return .flags(try take(count).map { $0 != 0 })
        case 8:
            var values: [[UInt8]] = []
            values.reserveCapacity(count)
            for _ in 0..<count { values.append(try string()) }
            return .strings(values)
        default:
            var values: [Int64] = []
            values.reserveCapacity(count)
            for _ in 0..<count { values.append(try number(type, key: key)) }
            return .integers(values)
        }
    }
}
