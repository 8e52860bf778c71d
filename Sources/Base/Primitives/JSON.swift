// The one bounded JSON reader (RFC 8259): rows, tokenizers, model configurations and requests all come through it.
// Faults name line and column; numbers keep their text, so that no integer passes through a double; object order is
// kept; a duplicate key is refused, because two readers would disagree about it.

public struct JSONLimits: Sendable {
    public var bytesMax: Int
    public var depthMax: Int
    public var valuesMax: Int

    public init(bytesMax: Int, depthMax: Int = 64, valuesMax: Int = 1_000_000) {
        self.bytesMax = bytesMax
        self.depthMax = depthMax
        self.valuesMax = valuesMax
    }

    public static let `default` = JSONLimits(bytesMax: 8 << 20)
    /// tokenizer.json of a large vocabulary.
    public static let tokenizer = JSONLimits(bytesMax: 128 << 20, valuesMax: 8_000_000)
}

public struct JSONFault: Error, Hashable, Sendable, CustomStringConvertible {
    public let line: Int
    public let column: Int
    public let reason: String

    public var description: String { "line \(line), column \(column): \(reason)" }
}

public struct JSONMember: Hashable, Sendable {
    public let key: String
    public let value: JSONValue

    public init(_ key: String, _ value: JSONValue) {
        self.key = key
        self.value = value
    }
}

public indirect enum JSONValue: Hashable, Sendable {
    case null
    case bool(Bool)
    /// The number as written.
    case number(String)
    case string(String)
    case array([JSONValue])
    case members([JSONMember])

    public static func object(_ pairs: KeyValuePairs<String, JSONValue>) -> JSONValue {
        .members(pairs.map { JSONMember($0.key, $0.value) })
    }

    public static func integer(_ value: some BinaryInteger) -> JSONValue { .number("\(value)") }

    /// A finite number; null otherwise, since JSON has no infinity.
    public static func double(_ value: Double) -> JSONValue { value.isFinite ? .number("\(value)") : .null }

    public static func strings(_ values: [String]) -> JSONValue { .array(values.map(JSONValue.string)) }

    // MARK: Reading

    /// The member of that name, byte for byte; nil when absent or when this is no object.
    public subscript(key: String) -> JSONValue? {
        guard case .members(let members) = self else { return nil }
        return members.first { $0.key.utf8.elementsEqual(key.utf8) }?.value
    }

    public var text: String? { if case .string(let text) = self { text } else { nil } }
    public var flag: Bool? { if case .bool(let flag) = self { flag } else { nil } }
    public var items: [JSONValue]? { if case .array(let items) = self { items } else { nil } }
    public var memberList: [JSONMember]? { if case .members(let members) = self { members } else { nil } }
    public var isNull: Bool { self == .null }

    /// The number if it is an integer that fits.
    public var integer: Int? {
        guard case .number(let text) = self else { return nil }
        if let value = Int(text) { return value }
        guard let value = Double(text) else { return nil }
        return Int(exactly: value)
    }

    public var double: Double? {
        guard case .number(let text) = self, let value = Double(text), value.isFinite else { return nil }
        return value
    }

    public static func parse(_ text: String, limits: JSONLimits = .default) throws(JSONFault) -> JSONValue {
        try parse(Array(text.utf8), limits: limits)
    }

    public static func parse(_ bytes: [UInt8], limits: JSONLimits = .default) throws(JSONFault) -> JSONValue {
        var parser = JSONParser(bytes: bytes, limits: limits)
        return try parser.document()
    }

    // MARK: Writing

    public func serialized() -> [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }

    public var serializedText: String { String(decoding: serialized(), as: UTF8.self) }

    private func append(to bytes: inout [UInt8]) {
        switch self {
        case .null: bytes += "null".utf8
        case .bool(let flag): bytes += (flag ? "true" : "false").utf8
        case .number(let text): bytes += text.utf8
        case .string(let text): Self.append(text, to: &bytes)
        case .array(let items):
            bytes.append(UInt8(ascii: "["))
            for (index, item) in items.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                item.append(to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .members(let members):
            bytes.append(UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                Self.append(member.key, to: &bytes)
                bytes.append(UInt8(ascii: ":"))
                member.value.append(to: &bytes)
            }
            bytes.append(UInt8(ascii: "}"))
        }
    }

    private static func append(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): bytes += "\\\"".utf8
            case UInt8(ascii: "\\"): bytes += "\\\\".utf8
            case 0x0a: bytes += "\\n".utf8
            case 0x0d: bytes += "\\r".utf8
            case 0x09: bytes += "\\t".utf8
            case 0..<0x20: bytes += ("\\u00" + Hex.encode([byte])).utf8
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}

private struct JSONParser {
    let bytes: [UInt8]
    let limits: JSONLimits
    var offset = 0
    var values = 0

    init(bytes: [UInt8], limits: JSONLimits) {
        self.bytes = bytes
        self.limits = limits
    }

    mutating func document() throws(JSONFault) -> JSONValue {
        guard bytes.count <= limits.bytesMax else { throw fault("more than \(limits.bytesMax) bytes") }
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) {
            throw fault("begins with a byte order mark; save it as plain UTF-8")
        }
        skipSpace()
        let value = try value(depth: 0)
        skipSpace()
        guard offset == bytes.count else { throw fault("something follows the value") }
        return value
    }

    private func fault(_ reason: String) -> JSONFault {
        var line = 1
        var column = 1
        for byte in bytes.prefix(offset) {
            if byte == 0x0a {
                line += 1
                column = 1
            } else {
                column += 1
            }
        }
        return JSONFault(line: line, column: column, reason: reason)
    }

    private var current: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    private mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { offset += 1 }
    }

    private mutating func value(depth: Int) throws(JSONFault) -> JSONValue {
        guard depth <= limits.depthMax else { throw fault("nested deeper than \(limits.depthMax)") }
        values += 1
        guard values <= limits.valuesMax else { throw fault("more than \(limits.valuesMax) values") }
        switch current {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case nil: throw fault("the text ends where a value should be")
        case let byte? where byte == UInt8(ascii: "-") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte):
            return .number(try number())
        default: throw fault("a value cannot begin like this")
        }
    }

    private mutating func word(_ word: String, _ value: JSONValue) throws(JSONFault) -> JSONValue {
        guard bytes[offset...].starts(with: word.utf8) else { throw fault("a value cannot begin like this") }
        offset += word.utf8.count
        return value
    }

    private mutating func object(depth: Int) throws(JSONFault) -> JSONValue {
        offset += 1
        var members: [JSONMember] = []
        // By bytes: String calls names equal that differ only in how they compose their characters.
        var seen: Set<[UInt8]> = []
        skipSpace()
        if current == UInt8(ascii: "}") {
            offset += 1
            return .members([])
        }
        while true {
            skipSpace()
            guard current == UInt8(ascii: "\"") else { throw fault("a key in double quotes belongs here") }
            let key = try string()
            guard seen.insert(Array(key.utf8)).inserted else {
                throw fault("the key \"\(key.prefix(40))\" stands here twice")
            }
            skipSpace()
            guard current == UInt8(ascii: ":") else { throw fault("\":\" belongs after a key") }
            offset += 1
            skipSpace()
            members.append(JSONMember(key, try value(depth: depth + 1)))
            skipSpace()
            switch current {
            case UInt8(ascii: ","): offset += 1
            case UInt8(ascii: "}"):
                offset += 1
                return .members(members)
            default: throw fault("\",\" or \"}\" belongs here")
            }
        }
    }

    private mutating func array(depth: Int) throws(JSONFault) -> JSONValue {
        offset += 1
        var items: [JSONValue] = []
        skipSpace()
        if current == UInt8(ascii: "]") {
            offset += 1
            return .array([])
        }
        while true {
            skipSpace()
            items.append(try value(depth: depth + 1))
            skipSpace()
            switch current {
            case UInt8(ascii: ","): offset += 1
            case UInt8(ascii: "]"):
                offset += 1
                return .array(items)
            default: throw fault("\",\" or \"]\" belongs here")
            }
        }
    }

    private mutating func digits() -> Int {
        let start = offset
        while let byte = current, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { offset += 1 }
        return offset - start
    }

    private mutating func number() throws(JSONFault) -> String {
        let start = offset
        if current == UInt8(ascii: "-") { offset += 1 }
        let leading = current
        let whole = digits()
        guard whole > 0, whole == 1 || leading != UInt8(ascii: "0") else { throw fault("a malformed number") }
        if current == UInt8(ascii: ".") {
            offset += 1
            guard digits() > 0 else { throw fault("a malformed number") }
        }
        if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
            offset += 1
            if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { offset += 1 }
            guard digits() > 0 else { throw fault("a malformed number") }
        }
        guard offset - start <= 64 else { throw fault("a number of more than 64 characters") }
        return String(decoding: bytes[start..<offset], as: UTF8.self)
    }

    private mutating func string() throws(JSONFault) -> String {
        offset += 1
        let start = offset
        var scratch: [UInt8] = []
        var runStart = offset
        var escaped = false
        while let byte = current {
            switch byte {
            case UInt8(ascii: "\""):
                let run = bytes[runStart..<offset]
                if escaped { scratch += run }
                guard let text = String(validating: escaped ? scratch[...] : run, as: UTF8.self) else {
                    offset = start
                    throw fault("a string that is not UTF-8")
                }
                offset += 1
                return text
            case UInt8(ascii: "\\"):
                scratch += bytes[runStart..<offset]
                escaped = true
                try escape(into: &scratch)
                runStart = offset
            case 0..<0x20: throw fault("a control character inside a string; write it as \\n or \\u00XX")
            default: offset += 1
            }
        }
        throw fault("a string that does not end")
    }

    private mutating func escape(into scratch: inout [UInt8]) throws(JSONFault) {
        offset += 1
        guard let kind = current else { throw fault("a string that does not end") }
        offset += 1
        switch kind {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): scratch.append(kind)
        case UInt8(ascii: "b"): scratch.append(0x08)
        case UInt8(ascii: "f"): scratch.append(0x0c)
        case UInt8(ascii: "n"): scratch.append(0x0a)
        case UInt8(ascii: "r"): scratch.append(0x0d)
        case UInt8(ascii: "t"): scratch.append(0x09)
        case UInt8(ascii: "u"):
            var code = try unit()
            if code & 0xfc00 == 0xd800 {
                guard current == UInt8(ascii: "\\"), offset + 1 < bytes.count, bytes[offset + 1] == UInt8(ascii: "u")
                else {
                    throw fault("half of a surrogate pair")
                }
                offset += 2
                let low = try unit()
                guard low & 0xfc00 == 0xdc00 else { throw fault("half of a surrogate pair") }
                code = 0x1_0000 + ((code & 0x3ff) << 10 | low & 0x3ff)
            }
            guard let scalar = Unicode.Scalar(code) else { throw fault("half of a surrogate pair") }
            scratch += String(Character(scalar)).utf8
        default: throw fault("an unknown escape")
        }
    }

    private mutating func unit() throws(JSONFault) -> UInt32 {
        guard offset + 4 <= bytes.count,
            let pair = Hex.decode(String(decoding: bytes[offset..<offset + 4], as: UTF8.self)), pair.count == 2
        else { throw fault("\\u takes four hexadecimal digits") }
        offset += 4
        return UInt32(pair[0]) << 8 | UInt32(pair[1])
    }
}
