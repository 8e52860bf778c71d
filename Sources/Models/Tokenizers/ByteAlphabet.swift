// GPT-2's printable stand-ins for the 256 bytes, and reading UTF-8 without leaving the buffer.

enum ByteAlphabet {
    /// Byte to scalar.
    static let scalars: [Unicode.Scalar] = {
        var next: UInt32 = 256
        return (0..<256).map { (byte: UInt32) in
            let printable = (0x21...0x7e).contains(byte) || (0xa1...0xac).contains(byte) || (0xae...0xff).contains(byte)
            defer { if !printable { next += 1 } }
            return Unicode.Scalar(printable ? byte : next) ?? " "
        }
    }()

    /// Byte to the scalar's UTF-8.
    static let texts: [[UInt8]] = scalars.map { Array(String($0).utf8) }

    private static let bytes: [UInt32: UInt8] = Dictionary(
        uniqueKeysWithValues: scalars.enumerated().map { ($1.value, UInt8($0)) })

    /// The bytes that a token stands for; nil where it has a character that is no stand-in.
    static func decode(_ token: ArraySlice<UInt8>) -> [UInt8]? {
        token.withUnsafeBufferPointer { token in
            var result: [UInt8] = []
            var at = 0
            while at < token.count {
                guard let byte = bytes[UTF8Reading.scalar(token, &at, end: token.count)] else { return nil }
                result.append(byte)
            }
            return result
        }
    }
}

enum UTF8Reading {
    /// Bytes of the character that begins with this byte.
    @inline(__always)
    static func width(_ lead: UInt8) -> Int { lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4 }

    /// The scalar at `at`, which moves behind it. Text is known to be UTF-8; a broken character would read as some
    /// number, but nothing beyond `end` is touched.
    @inline(__always)
    static func scalar(_ text: UnsafeBufferPointer<UInt8>, _ at: inout Int, end: Int) -> UInt32 {
        let lead = text[at]
        if lead < 0x80 {
            at += 1
            return UInt32(lead)
        }
        let width = width(lead)
        var value = UInt32(lead) & (width == 2 ? 0x1f : width == 3 ? 0x0f : 0x07)
        let stop = min(at + width, end)
        at += 1
        while at < stop {
            value = value << 6 | UInt32(text[at] & 0x3f)
            at += 1
        }
        return value
    }

    /// Where the character before `at` begins.
    @inline(__always)
    static func before(_ text: UnsafeBufferPointer<UInt8>, _ at: Int, start: Int) -> Int {
        var place = at - 1
        while place > start, text[place] & 0xc0 == 0x80 { place -= 1 }
        return place
    }
}
