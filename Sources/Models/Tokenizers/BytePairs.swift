// Byte-pair merging as the `tokenizers` library does it: a word's characters become symbols, and the pair of lowest
// rank merges first. Characters that the vocabulary lacks become byte tokens, or unknown tokens, or nothing.
//
// Source: github.com/huggingface/tokenizers, models/bpe.

struct BytePairs: Sendable {
    let vocabulary: TokenTable
    /// (left << 32 | right) to (rank << 32 | merged).
    let merges: PairTable
    /// A word that is a token needs no merging.
    let takesWholeWords: Bool
    /// Token of each byte; -1 where there is none. Empty without byte fallback.
    let byteTokens: [Int32]
    /// -1: characters outside the vocabulary leave no trace.
    let unknown: Int32
    let fusesUnknown: Bool
    /// The words are bytes, to be looked up as their stand-ins.
    let isByteLevel: Bool
    /// The token of each byte's stand-in, -1 where there is none.
    private let standIns: [Int32]
    /// No token holds this symbol behind another: words end before it, and merging falls into small pieces. -1: none.
    private let opensWords: Int32

    init(
        vocabulary: TokenTable, merges: PairTable, takesWholeWords: Bool, byteTokens: [Int32], unknown: Int32,
        fusesUnknown: Bool, isByteLevel: Bool, opensWords: Int32
    ) {
        self.vocabulary = vocabulary
        self.merges = merges
        self.takesWholeWords = takesWholeWords
        self.byteTokens = byteTokens
        self.unknown = unknown
        self.fusesUnknown = fusesUnknown
        self.isByteLevel = isByteLevel
        self.opensWords = opensWords
        standIns = ByteAlphabet.texts.map { vocabulary.id($0) ?? -1 }
    }

    /// Memory that encoding a text uses again for every word.
    struct Scratch {
        fileprivate var symbols: [Int32] = []
        fileprivate var mapped: [UInt8] = []
        fileprivate var queue = MergeQueue()
    }

    private struct Pairs: MergeRule {
        let merges: PairTable
        let symbols: UnsafeMutablePointer<Int32>

        @inline(__always)
        func merge(_ left: Int, _ right: Int) -> UInt64 { merges[BytePairs.pair(symbols[left], symbols[right])] }
        @inline(__always)
        mutating func join(_ left: Int, _ right: Int, _ token: Int32) { symbols[left] = token }
        @inline(__always)
        mutating func move(from: Int, to: Int) { symbols[to] = symbols[from] }
    }

    @inline(__always)
    static func pair(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    /// Appends the tokens of one word.
    func encode(_ word: UnsafeBufferPointer<UInt8>, _ scratch: inout Scratch, into out: inout [Int32]) {
        scratch.symbols.removeAll(keepingCapacity: true)
        if isByteLevel {
            if takesWholeWords, word.count <= vocabulary.longest {
                scratch.mapped.removeAll(keepingCapacity: true)
                for byte in word { scratch.mapped += ByteAlphabet.texts[Int(byte)] }
                let whole = scratch.mapped.withUnsafeBufferPointer { vocabulary.id($0) }
                if whole >= 0 { return out.append(whole) }
            }
            var symbols = Symbols(fuses: fusesUnknown, unknown: unknown)
            for byte in word { symbols.add(standIns[Int(byte)], &scratch.symbols) }
            symbols.finish(&scratch.symbols)
        } else {
            if takesWholeWords {
                let whole = vocabulary.id(word)
                if whole >= 0 { return out.append(whole) }
            }
            characters(word, &scratch.symbols)
        }
        var start = 0
        let count = scratch.symbols.count
        while start < count {
            var end = count
            if opensWords >= 0 {
                end = start + 1
                while end < count, scratch.symbols[end] != opensWords || scratch.symbols[end - 1] == opensWords {
                    end += 1
                }
            }
            scratch.symbols.withUnsafeMutableBufferPointer { symbols in
                guard let base = symbols.baseAddress else { return }
                var rule = Pairs(merges: merges, symbols: base + start)
                scratch.queue.run(&rule, count: end - start) { out.append(base[start + $0]) }
            }
            start = end
        }
    }

    /// Unknown characters wait: a run of them may become one token, and byte tokens do not end a run.
    private struct Symbols {
        let fuses: Bool
        let unknown: Int32
        var waits = false

        @inline(__always)
        mutating func add(_ token: Int32, _ out: inout [Int32]) {
            if token >= 0 {
                finish(&out)
                out.append(token)
            } else if unknown >= 0 {
                if waits, !fuses { out.append(unknown) }
                waits = true
            }
        }

        @inline(__always)
        mutating func finish(_ out: inout [Int32]) {
            if waits { out.append(unknown) }
            waits = false
        }
    }

    private func characters(_ word: UnsafeBufferPointer<UInt8>, _ out: inout [Int32]) {
        var symbols = Symbols(fuses: fusesUnknown, unknown: unknown)
        var at = 0
        while at < word.count {
            let end = min(at + UTF8Reading.width(word[at]), word.count)
            let character = UnsafeBufferPointer(rebasing: word[at..<end])
            at = end
            let token = vocabulary.id(character)
            if token < 0, !byteTokens.isEmpty, character.allSatisfy({ byteTokens[Int($0)] >= 0 }) {
                for byte in character { out.append(byteTokens[Int(byte)]) }
            } else {
                symbols.add(token, &out)
            }
        }
        symbols.finish(&out)
    }
}
