// All tokens of a vocabulary as one tree of bytes, laid out in preorder: a walk is a scan from left to right, and a
// branch that is not allowed is skipped in one step. Made once a model and shared by all its sequences.

package final class VocabularyTrie: Sendable {
    /// Tokens longer than this are never offered under a grammar.
    package static let tokenBytesMax = 255

    /// One more than the highest token id of the model.
    package let vocabulary: Int
    /// The first blank of an answer is not shown (SentencePiece's dummy prefix).
    let dropsFirstBlank: Bool
    let bytes: [UInt8]
    /// One for the first byte of a token.
    let depths: [UInt8]
    /// Where the branch of a node ends.
    let skips: [Int32]
    /// Tokens that end at node i: `order[tokenStart[i]..<tokenStart[i + 1]]`.
    let tokenStart: [Int32]
    let order: [Int32]
    let depthMax: Int
    private let texts: [UInt8]
    private let textStart: [Int32]

    /// `text`: the bytes that a token adds to an answer; nil or empty for control tokens, which no grammar can ask for.
    package init(vocabulary: Int, dropsFirstBlank: Bool = false, text: (Int32) -> [UInt8]?) {
        self.vocabulary = max(0, vocabulary)
        self.dropsFirstBlank = dropsFirstBlank
        var texts: [UInt8] = [], textStart: [Int32] = [0]
        textStart.reserveCapacity(self.vocabulary + 1)
        for id in 0..<self.vocabulary {
            if let text = text(Int32(truncatingIfNeeded: id)), text.count <= Self.tokenBytesMax { texts += text }
            textStart.append(Int32(truncatingIfNeeded: texts.count))
        }
        var order = (0..<Int32(truncatingIfNeeded: self.vocabulary)).filter {
            textStart[Int($0)] < textStart[Int($0) + 1]
        }
        func slice(_ id: Int32) -> ArraySlice<UInt8> { texts[Int(textStart[Int(id)])..<Int(textStart[Int(id) + 1])] }
        texts.withUnsafeBufferPointer { texts in
            order.sort { a, b in
                var i = Int(textStart[Int(a)]), j = Int(textStart[Int(b)])
                let iEnd = Int(textStart[Int(a) + 1]), jEnd = Int(textStart[Int(b) + 1])
                while i < iEnd, j < jEnd {
                    if texts[i] != texts[j] { return texts[i] < texts[j] }
                    i += 1
                    j += 1
                }
                return iEnd - i != jEnd - j ? iEnd - i < jEnd - j : a < b
            }
        }
        var bytes: [UInt8] = [], depths: [UInt8] = [], skips: [Int32] = [], tokenStart: [Int32] = []
        var open: [Int] = []
        var depthMax = 1
        for (place, id) in order.enumerated() {
            let text = Array(slice(id))
            var shared = 0
            while shared < open.count, shared < text.count, bytes[open[shared]] == text[shared] { shared += 1 }
            if shared == text.count, shared == open.count { continue }
            for node in open[shared...] { skips[node] = Int32(truncatingIfNeeded: bytes.count) }
            open.removeLast(open.count - shared)
            for byte in text[shared...] {
                open.append(bytes.count)
                bytes.append(byte)
                depths.append(UInt8(truncatingIfNeeded: open.count))
                skips.append(0)
                // Only the last node of the path has tokens so far.
                tokenStart.append(Int32(truncatingIfNeeded: place))
            }
            depthMax = max(depthMax, text.count)
        }
        for node in open { skips[node] = Int32(truncatingIfNeeded: bytes.count) }
        tokenStart.append(Int32(truncatingIfNeeded: order.count))
        self.bytes = bytes
        self.depths = depths
        self.skips = skips
        self.tokenStart = tokenStart
        self.order = order
        self.depthMax = depthMax
        self.texts = texts
        self.textStart = textStart
    }

    var count: Int { bytes.count }

    /// What a token adds to an answer; empty for control tokens and ids outside the vocabulary.
    package func text(of token: Int32) -> ArraySlice<UInt8> {
        guard token >= 0, Int(token) < vocabulary else { return [] }
        return texts[Int(textStart[Int(token)])..<Int(textStart[Int(token) + 1])]
    }
}
