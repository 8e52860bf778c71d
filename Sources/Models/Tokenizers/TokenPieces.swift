// What each token of a vocabulary adds to a text, in one array.

struct TokenPieces: Sendable {
    private var arena: [UInt8] = []
    private var starts: [Int] = [0]
    /// 0...255: a byte that may be part of a character; -1: text; -2: no such token.
    private var kinds: [Int16] = []
    /// Of ids that are shown as another text than their own.
    private let texts: [Int32: [UInt8]]

    enum Piece {
        case text(ArraySlice<UInt8>)
        case byte(UInt8)
    }

    /// - Parameters:
    ///   - plain: ids whose text is shown as it stands.
    ///   - texts: ids that are shown as another text.
    ///   - byteTokens: ids that stand for a byte though their text does not say so (GGUF).
    init(
        _ vocabulary: TokenTable, _ decoder: TokenDecoder, plain: Set<Int32> = [], texts: [Int32: [UInt8]] = [:],
        byteTokens: [Int32: UInt8] = [:]
    ) {
        self.texts = texts
        kinds.reserveCapacity(vocabulary.idCount)
        starts.reserveCapacity(vocabulary.idCount + 1)
        for id in 0..<Int32(vocabulary.idCount) {
            if let text = texts[id].map({ $0[...] }) ?? vocabulary.text(id) {
                let piece = plain.contains(id) ? Array(text) : decoder.piece(text, isFirst: false)
                if decoder.readsByteTokens, let byte = byteTokens[id] ?? TokenDecoder.byte(piece[...]) {
                    kinds.append(Int16(byte))
                } else {
                    kinds.append(-1)
                }
                arena += piece
            } else {
                kinds.append(-2)
            }
            starts.append(arena.count)
        }
    }

    subscript(token: Int32) -> Piece? {
        guard token >= 0, Int(token) < kinds.count else { return nil }
        let kind = kinds[Int(token)]
        if kind >= 0 { return .byte(UInt8(truncatingIfNeeded: kind)) }
        return kind == -1 ? .text(arena[starts[Int(token)]..<starts[Int(token) + 1]]) : nil
    }

    /// What a token becomes at the beginning of a text.
    func first(_ token: Int32, _ vocabulary: TokenTable, _ decoder: TokenDecoder) -> [UInt8] {
        guard let text = texts[token].map({ $0[...] }) ?? vocabulary.text(token) else { return [] }
        return decoder.piece(text, isFirst: true)
    }

    /// One more than the highest id.
    var count: Int { kinds.count }
}
