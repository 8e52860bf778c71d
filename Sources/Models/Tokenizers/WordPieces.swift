// BERT's tokens: the longest token that begins a word, then the longest that continues it. A word that cannot be
// covered is one unknown token.
//
// Source: github.com/huggingface/tokenizers, models/wordpiece.

struct WordPieces: Sendable {
    let vocabulary: TokenTable
    let unknown: Int32
    /// Before tokens that continue a word ("##").
    let continuation: [UInt8]
    let charactersMax: Int

    /// Appends the tokens of one word.
    func encode(_ word: UnsafeBufferPointer<UInt8>, into out: inout [Int32]) {
        var edges: [Int] = []
        var at = 0
        while at < word.count {
            guard edges.count < charactersMax else { return out.append(unknown) }
            at = min(at + UTF8Reading.width(word[at]), word.count)
            edges.append(at)
        }
        let before = out.count
        var start = 0, candidate: [UInt8] = []
        while start < word.count {
            var found: Int32 = -1, stop = start
            for edge in edges.reversed() where edge > start && edge - start <= vocabulary.longest {
                candidate.removeAll(keepingCapacity: true)
                if start > 0 { candidate += continuation }
                candidate += word[start..<edge]
                found = candidate.withUnsafeBufferPointer { vocabulary.id($0) }
                if found >= 0 {
                    stop = edge
                    break
                }
            }
            guard found >= 0 else {
                out.removeLast(out.count - before)
                return out.append(unknown)
            }
            out.append(found)
            start = stop
        }
    }
}
