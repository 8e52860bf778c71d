// Unicode's normal forms. The standard library has the canonical ones, for comparing strings, under the name that it
// keeps for Foundation.

@_spi(_Unicode) import Swift

enum NormalForm {
    /// Below U+0300 every character is composed already.
    static func composed(_ bytes: [UInt8]) -> [UInt8] {
        if bytes.allSatisfy({ $0 < 0xcc }) { return bytes }
        var out: [UInt8] = []
        out.reserveCapacity(bytes.count)
        for scalar in String(decoding: bytes, as: UTF8.self)._nfc { out += UTF8.encode(scalar) ?? .init() }
        return out
    }

    static func decomposed(_ bytes: [UInt8]) -> [UInt8] {
        if bytes.allSatisfy({ $0 < 0x80 }) { return bytes }
        var out: [UInt8] = []
        out.reserveCapacity(bytes.count)
        for scalar in String(decoding: bytes, as: UTF8.self)._nfd { out += UTF8.encode(scalar) ?? .init() }
        return out
    }
}
