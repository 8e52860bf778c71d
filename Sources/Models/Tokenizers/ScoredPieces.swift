// SentencePiece's byte pairs as GGUF files carry them: no list of merges, but a score for each token. Of all
// neighbouring stretches that together are a token, the one of the highest score merges first, the leftmost on a tie;
// what stays outside the vocabulary becomes byte tokens.
//
// Source: github.com/google/sentencepiece bpe_model.cc; llama.cpp does the same for tokenizer.ggml.model "llama".

struct ScoredPieces: Sendable {
    let vocabulary: TokenTable
    /// Of each token, its place in the order of merging: 0 merges first.
    let ranks: [UInt32]
    /// Token of each byte; -1 where there is none. Empty without byte tokens.
    let byteTokens: [Int32]
    let unknown: Int32
    /// See `BytePairs`: no token holds ▁ behind another character.
    let splitsAtMarks: Bool

    struct Scratch {
        fileprivate var starts: [Int] = []
        fileprivate var ends: [Int] = []
        fileprivate var queue = MergeQueue()
    }

    private struct Stretches: MergeRule {
        let pieces: ScoredPieces
        let text: UnsafeBufferPointer<UInt8>
        let starts: UnsafeMutablePointer<Int>
        let ends: UnsafeMutablePointer<Int>

        @inline(__always)
        func merge(_ left: Int, _ right: Int) -> UInt64 {
            let token = pieces.vocabulary.id(UnsafeBufferPointer(rebasing: text[starts[left]..<ends[right]]))
            guard token >= 0 else { return PairTable.none }
            return UInt64(pieces.ranks[Int(token)]) << 32 | UInt64(UInt32(bitPattern: token))
        }
        @inline(__always)
        mutating func join(_ left: Int, _ right: Int, _ token: Int32) { ends[left] = ends[right] }
        @inline(__always)
        mutating func move(from: Int, to: Int) {
            starts[to] = starts[from]
            ends[to] = ends[from]
        }
    }

    /// Appends the tokens of one stretch of text.
    func encode(_ text: UnsafeBufferPointer<UInt8>, _ scratch: inout Scratch, into out: inout [Int32]) {
        let mark = Metaspace.mark
        var at = 0
        while at < text.count {
            scratch.starts.removeAll(keepingCapacity: true)
            scratch.ends.removeAll(keepingCapacity: true)
            var previousIsMark = true
            while at < text.count {
                let end = min(at + UTF8Reading.width(text[at]), text.count)
                let isMark = end - at == 3 && text[at] == mark[0] && text[at + 1] == mark[1] && text[at + 2] == mark[2]
                if splitsAtMarks, isMark, !previousIsMark { break }
                previousIsMark = isMark
                scratch.starts.append(at)
                scratch.ends.append(end)
                at = end
            }
            let count = scratch.starts.count
            scratch.starts.withUnsafeMutableBufferPointer { starts in
                scratch.ends.withUnsafeMutableBufferPointer { ends in
                    guard let first = starts.baseAddress, let last = ends.baseAddress else { return }
                    var rule = Stretches(pieces: self, text: text, starts: first, ends: last)
                    scratch.queue.run(&rule, count: count) { place in
                        emit(UnsafeBufferPointer(rebasing: text[first[place]..<last[place]]), &out)
                    }
                }
            }
        }
    }

    private func emit(_ piece: UnsafeBufferPointer<UInt8>, _ out: inout [Int32]) {
        let token = vocabulary.id(piece)
        if token >= 0 { return out.append(token) }
        for byte in piece {
            let token = byteTokens.isEmpty ? unknown : byteTokens[Int(byte)]
            if token >= 0 { out.append(token) }
        }
    }
}
