// Tokens to text as they come. A token may end in the middle of a character: its bytes wait here until the character is
// whole, so a reader never sees half of one.
//
//     [beginning] --blanks that the decoder strips go--> [text] <--whole characters-- pending bytes <-- tokens
//
// All that `add` and `finish` return, joined, is what `Tokenizer.decode` gives, with one exception: the reference makes
// a U+FFFD of every byte of a run of byte tokens that is no UTF-8 as a whole; a stream cannot take back the characters
// that it has shown, and marks only the bytes that are left.

package struct StreamingDecoder: Sendable {
    private let tokenizer: Tokenizer
    private let skipSpecial: Bool
    /// Whole-text decoding: a run of byte tokens is judged as a whole, as the reference does.
    private let holdsRuns: Bool
    private var pending: [UInt8] = []
    /// `pending` comes from byte tokens, each of which becomes U+FFFD if the run is no UTF-8.
    private var isByteRun = false
    private var isFirstToken = true
    /// How many characters may still be stripped from the beginning.
    private var strips: Int

    package init(_ tokenizer: Tokenizer, skipSpecial: Bool = true) {
        self.init(tokenizer, skipSpecial: skipSpecial, holdsRuns: false)
    }

    init(_ tokenizer: Tokenizer, skipSpecial: Bool, holdsRuns: Bool) {
        self.tokenizer = tokenizer
        self.skipSpecial = skipSpecial
        self.holdsRuns = holdsRuns
        strips = tokenizer.decoder.stripsStart?.count ?? 0
    }

    /// The text that this token completes.
    package mutating func add(_ token: Int32) -> String {
        String(decoding: addBytes(token), as: UTF8.self)
    }

    /// What is left when no token follows.
    package mutating func finish() -> String { String(decoding: finishBytes(), as: UTF8.self) }

    mutating func addBytes(_ token: Int32) -> [UInt8] {
        if skipSpecial, tokenizer.isSpecial(token) { return [] }
        guard let piece = tokenizer.pieces[token] else { return [] }
        let isFirst = isFirstToken
        isFirstToken = false
        var text: [UInt8] = []
        switch piece {
        case .byte(let byte):
            if !isByteRun { text = flush() }
            pending.append(byte)
            isByteRun = true
            if !holdsRuns { text += takeWhole() }
        case .text(let bytes):
            if isByteRun { text = flush() }
            if isFirst, tokenizer.decoder.treatsFirstApart {
                pending += tokenizer.pieces.first(token, tokenizer.vocabulary, tokenizer.decoder)
            } else {
                pending += bytes
            }
            if !tokenizer.decoder.isByteLevel {
                text += flush()
            } else if !holdsRuns {
                text += takeWhole()
            }
        }
        return stripped(text)
    }

    mutating func finishBytes() -> [UInt8] { stripped(flush()) }

    /// The pending bytes up to a character that more bytes could complete. Of a run of byte tokens only what is UTF-8.
    private mutating func takeWhole() -> [UInt8] {
        let whole = pending.count - Self.incompleteTail(pending)
        guard whole > 0 else { return [] }
        if isByteRun {
            guard String(validating: pending[..<whole], as: UTF8.self) != nil else { return [] }
        }
        defer { pending.removeFirst(whole) }
        return Array(String(decoding: pending[..<whole], as: UTF8.self).utf8)
    }

    private mutating func flush() -> [UInt8] {
        defer {
            pending.removeAll(keepingCapacity: true)
            isByteRun = false
        }
        guard isByteRun, String(validating: pending, as: UTF8.self) == nil else {
            return Array(String(decoding: pending, as: UTF8.self).utf8)
        }
        return Array(String(repeating: "\u{fffd}", count: pending.count).utf8)
    }

    private mutating func stripped(_ text: [UInt8]) -> [UInt8] {
        guard strips > 0, !text.isEmpty, let (character, _) = tokenizer.decoder.stripsStart else { return text }
        var rest = text[...]
        while strips > 0, rest.starts(with: character) {
            rest = rest.dropFirst(character.count)
            strips -= 1
        }
        if !rest.isEmpty { strips = 0 }
        return Array(rest)
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
