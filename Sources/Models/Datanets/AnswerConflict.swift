// Whether two answers to one question contradict each other, as far as words can say. Protocol/datanets.md, Quality.

struct AnswerConflict {
    let code: QualityCode
    let sentence: String

    /// Words that turn a sentence round. English; in other languages only numbers and short answers are compared.
    private static let denials = Set(
        ["no", "not", "never", "none", "cannot", "without", "nor", "neither"].map { Array($0.utf8) })

    /// Nil where they may both be true.
    init?(_ one: [UInt8], _ other: [UInt8]) {
        guard one != other else { return nil }
        if one.count < Shingles.lonelyBytesMin, other.count < Shingles.lonelyBytesMin {
            self.init(.labelFlip, "the short answer is another")
            return
        }
        let (first, second) = (Self.words(one), Self.words(other))
        let both = first.intersection(second).count
        let either = first.union(second).count
        if both * 2 >= either {
            let numbers = { (words: Set<[UInt8]>) in words.filter { $0.allSatisfy { (0x30...0x39).contains($0) } } }
            if numbers(first) != numbers(second) {
                self.init(.changedFact, "the answer is the same but for its numbers")
            } else if first.intersection(Self.denials).isEmpty != second.intersection(Self.denials).isEmpty {
                self.init(.changedFact, "one of the answers denies what the other says")
            } else {
                return nil
            }
        } else if both * 8 < either {
            self.init(.otherAnswer, "the answers have almost no word in common")
        } else {
            return nil
        }
    }

    private init(_ code: QualityCode, _ sentence: String) {
        self.code = code
        self.sentence = sentence
    }

    private static func words(_ text: [UInt8]) -> Set<[UInt8]> { Set(ByteWords.ranges(text).map { Array(text[$0]) }) }
}

/// Words of a normalised text as bytes: runs of ASCII letters and digits and of bytes beyond ASCII.
enum ByteWords {
    /// FNV-1a.
    static func hash(_ word: ArraySlice<UInt8>) -> UInt64 {
        word.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }

    static func ranges(_ text: [UInt8], max: Int = .max) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        var start: Int?
        for (place, byte) in text.enumerated() {
            if byte >= 0x80 || (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte) {
                if start == nil { start = place }
            } else if let begin = start {
                ranges.append(begin..<place)
                start = nil
                if ranges.count == max { return ranges }
            }
        }
        if let begin = start { ranges.append(begin..<text.count) }
        return ranges
    }
}
