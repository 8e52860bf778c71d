// A file of text before anything reads it as more: valid UTF-8 without zero bytes, its lines counted as editors count them
// (LF, CR LF or CR ends one).

struct TextLines: Sequence, IteratorProtocol {
    struct Line {
        /// 1 is the first.
        let number: Int
        let bytes: ArraySlice<UInt8>
    }

    private let bytes: [UInt8]
    private var place: Int
    private var number = 0

    /// Behind a byte order mark, where there is one.
    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        place = Self.start(of: bytes)
    }

    mutating func next() -> Line? {
        guard place < bytes.count else { return nil }
        number += 1
        let start = place
        while place < bytes.count, bytes[place] != 0x0a, bytes[place] != 0x0d { place += 1 }
        let line = Line(number: number, bytes: bytes[start..<place])
        if place < bytes.count { place += Self.breakLength(bytes, place) }
        return line
    }

    static func start(of bytes: [UInt8]) -> Int { bytes.starts(with: [0xef, 0xbb, 0xbf]) ? 3 : 0 }

    /// Of the line break at `place`; 0 where there is none.
    static func breakLength(_ bytes: [UInt8], _ place: Int) -> Int {
        switch bytes[place] {
        case 0x0a: 1
        case 0x0d: place + 1 < bytes.count && bytes[place + 1] == 0x0a ? 2 : 1
        default: 0
        }
    }

    /// Adds a fault for each line that is no text.
    /// - Returns: whether there was none.
    static func check(_ bytes: [UInt8], _ intake: inout RowIntake) -> Bool {
        if bytes.starts(with: [0xff, 0xfe]) || bytes.starts(with: [0xfe, 0xff]) {
            intake.add(line: 1, field: nil, "the file is UTF-16; save it as UTF-8")
            return false
        }
        for line in TextLines(bytes) {
            guard let bad = firstBad(line.bytes) else { continue }
            let what =
                line.bytes[bad] == 0
                ? "is a zero byte, which no text has; save the file as UTF-8 text"
                : "is not UTF-8 (byte 0x\(String(line.bytes[bad], radix: 16))); save the file as UTF-8"
            intake.add(line: line.number, field: nil, "column \(bad - line.bytes.startIndex + 1) \(what)")
        }
        return intake.isClean
    }

    private static func firstBad(_ bytes: ArraySlice<UInt8>) -> Int? {
        var place = bytes.startIndex
        while place < bytes.endIndex {
            if bytes[place] &- 1 < 0x7f {
                place += 1
                continue
            }
            let length = sequenceLength(bytes[place...])
            if length == 0 { return place }
            place += length
        }
        return nil
    }

    /// Of the well-formed UTF-8 sequence at the start (Unicode 16, table 3-7); 0 where there is none, or a zero byte.
    static func sequenceLength(_ bytes: ArraySlice<UInt8>) -> Int {
        guard let first = bytes.first else { return 0 }
        let second: ClosedRange<UInt8>
        let length: Int
        switch first {
        case 0x01...0x7f: return 1
        case 0xc2...0xdf: (length, second) = (2, 0x80...0xbf)
        case 0xe0: (length, second) = (3, 0xa0...0xbf)
        case 0xed: (length, second) = (3, 0x80...0x9f)
        case 0xe1...0xef: (length, second) = (3, 0x80...0xbf)
        case 0xf0: (length, second) = (4, 0x90...0xbf)
        case 0xf1...0xf3: (length, second) = (4, 0x80...0xbf)
        case 0xf4: (length, second) = (4, 0x80...0x8f)
        default: return 0
        }
        let rest = bytes.dropFirst().prefix(length - 1)
        guard rest.count == length - 1, let next = rest.first, second.contains(next),
            rest.dropFirst().allSatisfy({ $0 & 0xc0 == 0x80 })
        else { return 0 }
        return length
    }

    // MARK: borders, for those who cut

    static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }

    static func isBlank(_ bytes: ArraySlice<UInt8>) -> Bool { bytes.allSatisfy(isSpace) }

    static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var bytes = bytes.drop(while: isSpace)
        while let last = bytes.last, isSpace(last) { bytes.removeLast() }
        return bytes
    }

    /// The longest beginning of at most `max` bytes that cuts no character.
    static func prefix(_ bytes: ArraySlice<UInt8>, _ max: Int) -> ArraySlice<UInt8> {
        guard bytes.count > max else { return bytes }
        var end = bytes.startIndex + max
        while end > bytes.startIndex, bytes[end] & 0xc0 == 0x80 { end -= 1 }
        return bytes[..<end]
    }
}
