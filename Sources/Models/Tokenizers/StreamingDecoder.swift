// Tokens to text as they come. A token may end in the middle of a character: its bytes wait here until the character is
// whole, so a reader never sees half of one.

package struct StreamingDecoder: Sendable {
    private let tokenizer: Tokenizer
    private let skipSpecial: Bool
    /// Whole-text decoding: a run of byte tokens is judged as a whole, as the reference does.
    private let holdsRuns: Bool
    private var pending: [UInt8] = []
    /// `pending` comes from byte-fallback tokens, each of which becomes U+FFFD if the run is no UTF-8.
    private var isByteRun = false
    private var atStart = true

    package init(_ tokenizer: Tokenizer, skipSpecial: Bool = true) {
        self.init(tokenizer, skipSpecial: skipSpecial, holdsRuns: false)
    }

    init(_ tokenizer: Tokenizer, skipSpecial: Bool, holdsRuns: Bool) {
        self.tokenizer = tokenizer
        self.skipSpecial = skipSpecial
        self.holdsRuns = holdsRuns
    }

    /// The text that this token completes.
    package mutating func add(_ token: Int32) -> String {
        if skipSpecial, tokenizer.special.contains(token) { return "" }
        guard token >= 0, Int(token) < tokenizer.pieces.count, let piece = tokenizer.pieces[Int(token)] else {
            return ""
        }
        var text = ""
        switch piece {
        case .byte(let byte):
            pending.append(byte)
            isByteRun = true
            if !holdsRuns, Self.incompleteTail(pending) == 0, String(validating: pending, as: UTF8.self) != nil {
                text = flush()
            }
        case .text(let bytes):
            if isByteRun { text = flush() }
            pending += bytes
            if holdsRuns {
                if case .blankMarks = tokenizer.scheme { text += flush() }
            } else {
                let tail = Self.incompleteTail(pending)
                text += String(decoding: pending.dropLast(tail), as: UTF8.self)
                pending.removeFirst(pending.count - tail)
            }
        }
        return stripped(text)
    }

    /// What is left when no token follows.
    package mutating func finish() -> String { stripped(flush()) }

    private mutating func flush() -> String {
        defer {
            pending.removeAll(keepingCapacity: true)
            isByteRun = false
        }
        guard isByteRun else { return String(decoding: pending, as: UTF8.self) }
        return String(validating: pending, as: UTF8.self) ?? String(repeating: "\u{fffd}", count: pending.count)
    }

    private mutating func stripped(_ text: String) -> String {
        guard atStart, !text.isEmpty else { return text }
        atStart = false
        guard tokenizer.stripsFirstBlank, text.utf8.first == 0x20 else { return text }
        return String(decoding: text.utf8.dropFirst(), as: UTF8.self)
    }

    /// How many bytes at the end begin a character that more bytes could complete.
    static func incompleteTail(_ bytes: [UInt8]) -> Int {
        for back in 1...3 {
            guard bytes.count >= back else { return 0 }
            let byte = bytes[bytes.count - back]
            if byte & 0xc0 == 0x80 { continue }
            let needed = byte >= 0xf0 && byte <= 0xf4 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 1
            guard byte <= 0xf4, needed > back else { return 0 }
            if back >= 2 {
                // The second byte of these leads has a narrower range; outside it nothing can complete them.
                let second = bytes[bytes.count - back + 1]
                switch byte {
                case 0xe0 where second < 0xa0, 0xed where second > 0x9f, 0xf0 where second < 0x90,
                    0xf4 where second > 0x8f:
                    return 0
                default: break
                }
            }
            return back
        }
        return 0
    }
}
