// DAG-CBOR (IPLD): the one binary form of every object of ours that is signed or content-addressed. Strict: definite
// lengths, shortest integers, map keys text, sorted (length first, then bytes) and unique, links as tag 42, no floats.
// A byte string that decodes is the only encoding of its value, so a hash of the bytes is a hash of the value.

public struct CBORLimits: Sendable {
    public var bytesMax: Int
    public var depthMax: Int
    /// Values in all, containers included.
    public var valuesMax: Int

    public init(bytesMax: Int, depthMax: Int = 16, valuesMax: Int = 200_000) {
        self.bytesMax = bytesMax
        self.depthMax = depthMax
        self.valuesMax = valuesMax
    }

    public static let `default` = CBORLimits(bytesMax: 4 << 20)
}

public enum CBORFault: Error, Hashable, Sendable {
    case truncated(offset: Int)
    case trailingBytes(Int)
    case tooLarge(Int)
    case tooDeep(offset: Int)
    case tooManyValues(offset: Int)
    case notCanonical(String, offset: Int)
    case unsupported(String, offset: Int)
    /// A field of a typed object is missing, of the wrong kind or out of its bounds.
    case field(String, in: String, String)
}

public struct CBOREntry: Hashable, Sendable {
    public let key: String
    public let value: CBOR

    public init(_ key: String, _ value: CBOR) {
        self.key = key
        self.value = value
    }
}

public indirect enum CBOR: Hashable, Sendable {
    case unsigned(UInt64)
    /// The integer -1 - n.
    case negative(UInt64)
    case bytes([UInt8])
    case text(String)
    case array([CBOR])
    /// Entries in canonical order; build with `CBOR.map(_:)` from pairs, which sorts.
    case entries([CBOREntry])
    case link(CID)
    case bool(Bool)
    case null

    /// A map from pairs in any order.
    /// - Precondition: no key twice; our own encoders only.
    public static func map(_ pairs: KeyValuePairs<String, CBOR>) -> CBOR { map(pairs.map { ($0.key, $0.value) }) }

    public static func map(_ pairs: [(String, CBOR)]) -> CBOR {
        let sorted = pairs.map { CBOREntry($0.0, $0.1) }.sorted { keyPrecedes($0.key, $1.key) }
        for (left, right) in zip(sorted, sorted.dropFirst()) { precondition(left.key != right.key, "a map key twice") }
        return .entries(sorted)
    }

    public static func integer(_ value: Int64) -> CBOR {
        value >= 0 ? .unsigned(UInt64(value)) : .negative(UInt64(-1 - value))
    }

    static func keyPrecedes(_ left: String, _ right: String) -> Bool {
        let (left, right) = (left.utf8, right.utf8)
        return left.count == right.count ? left.lexicographicallyPrecedes(right) : left.count < right.count
    }

    // MARK: Encoding

    public func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }

    private func append(to bytes: inout [UInt8]) {
        switch self {
        case .unsigned(let value): Self.appendHead(0, value, to: &bytes)
        case .negative(let value): Self.appendHead(1, value, to: &bytes)
        case .bytes(let content):
            Self.appendHead(2, UInt64(content.count), to: &bytes)
            bytes += content
        case .text(let text):
            Self.appendHead(3, UInt64(text.utf8.count), to: &bytes)
            bytes += text.utf8
        case .array(let items):
            Self.appendHead(4, UInt64(items.count), to: &bytes)
            for item in items { item.append(to: &bytes) }
        case .entries(let entries):
            Self.appendHead(5, UInt64(entries.count), to: &bytes)
            for entry in entries {
                CBOR.text(entry.key).append(to: &bytes)
                entry.value.append(to: &bytes)
            }
        case .link(let cid):
            Self.appendHead(6, 42, to: &bytes)
            CBOR.bytes([0] + cid.bytes).append(to: &bytes)
        case .bool(let flag): bytes.append(flag ? 0xf5 : 0xf4)
        case .null: bytes.append(0xf6)
        }
    }

    private static func appendHead(_ major: UInt8, _ value: UInt64, to bytes: inout [UInt8]) {
        let top = major << 5
        switch value {
        case 0..<24: bytes.append(top | UInt8(value))
        case 24..<0x100:
            bytes.append(top | 24)
            bytes.append(UInt8(value))
        case 0x100..<0x1_0000:
            bytes.append(top | 25)
            appendBigEndian(value, 2, to: &bytes)
        case 0x1_0000..<0x1_0000_0000:
            bytes.append(top | 26)
            appendBigEndian(value, 4, to: &bytes)
        default:
            bytes.append(top | 27)
            appendBigEndian(value, 8, to: &bytes)
        }
    }

    private static func appendBigEndian(_ value: UInt64, _ count: Int, to bytes: inout [UInt8]) {
        for shift in stride(from: (count - 1) * 8, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(shift)))
        }
    }

    // MARK: Decoding

    public static func decode(_ bytes: [UInt8], limits: CBORLimits = .default) throws(CBORFault) -> CBOR {
        guard bytes.count <= limits.bytesMax else { throw .tooLarge(bytes.count) }
        var decoder = CBORDecoder(bytes: bytes, limits: limits)
        let value = try decoder.value(depth: 0)
        guard decoder.offset == bytes.count else { throw .trailingBytes(bytes.count - decoder.offset) }
        return value
    }
}

private struct CBORDecoder {
    let bytes: [UInt8]
    let limits: CBORLimits
    var offset = 0
    var values = 0

    mutating func value(depth: Int) throws(CBORFault) -> CBOR {
        guard depth <= limits.depthMax else { throw .tooDeep(offset: offset) }
        values += 1
        guard values <= limits.valuesMax else { throw .tooManyValues(offset: offset) }
        let start = offset
        guard offset < bytes.count else { throw .truncated(offset: offset) }
        let first = bytes[offset]
        if first >> 5 == 7 {
            offset += 1
            switch first {
            case 0xf4: return .bool(false)
            case 0xf5: return .bool(true)
            case 0xf6: return .null
            default: throw .unsupported("floats and simple values other than true, false, null", offset: start)
            }
        }
        let argument = try head()
        switch first >> 5 {
        case 0: return .unsigned(argument)
        case 1: return .negative(argument)
        case 2: return .bytes(Array(try take(argument)))
        case 3: return .text(try text(argument, at: start))
        case 4:
            guard argument <= UInt64(bytes.count - offset) else { throw .truncated(offset: start) }
            var items: [CBOR] = []
            for _ in 0..<argument { items.append(try value(depth: depth + 1)) }
            return .array(items)
        case 5:
            guard argument <= UInt64(bytes.count - offset) / 2 else { throw .truncated(offset: start) }
            var entries: [CBOREntry] = []
            for _ in 0..<argument {
                let keyStart = offset
                guard case .text(let key) = try value(depth: depth + 1) else {
                    throw .unsupported("a map key that is not text", offset: keyStart)
                }
                if let last = entries.last, !CBOR.keyPrecedes(last.key, key) {
                    throw .notCanonical("map keys out of order or twice", offset: keyStart)
                }
                entries.append(CBOREntry(key, try value(depth: depth + 1)))
            }
            return .entries(entries)
        default:
            guard argument == 42 else { throw .unsupported("tag \(argument)", offset: start) }
            guard case .bytes(let content) = try value(depth: depth + 1), content.first == 0,
                let cid = try? CID(bytes: content.dropFirst())
            else { throw .unsupported("a link that is not a CIDv1 with sha2-256", offset: start) }
            return .link(cid)
        }
    }

    private mutating func head() throws(CBORFault) -> UInt64 {
        let start = offset
        let low = bytes[offset] & 31
        offset += 1
        let count: Int
        switch low {
        case 0..<24: return UInt64(low)
        case 24: count = 1
        case 25: count = 2
        case 26: count = 4
        case 27: count = 8
        default: throw .unsupported("indefinite lengths", offset: start)
        }
        let value = try take(UInt64(count)).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let smallest: UInt64 = count == 1 ? 24 : 1 << UInt64(count * 4)
        guard value >= smallest else { throw .notCanonical("an integer longer than it needs to be", offset: start) }
        return value
    }

    private mutating func take(_ count: UInt64) throws(CBORFault) -> ArraySlice<UInt8> {
        guard count <= UInt64(bytes.count - offset) else { throw .truncated(offset: offset) }
        defer { offset += Int(count) }
        return bytes[offset..<offset + Int(count)]
    }

    private mutating func text(_ count: UInt64, at start: Int) throws(CBORFault) -> String {
        guard let text = String(validating: try take(count), as: UTF8.self) else {
            throw .unsupported("text that is not UTF-8", offset: start)
        }
        return text
    }
}
