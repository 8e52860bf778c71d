// How close an answer is to what was wanted: equal after white space is made one blank, and ROUGE-L (Lin, 2004): the F-measure
// of the longest common subsequence of lower-cased words.

package enum TextOverlap {
    static let wordsMax = 4096

    package static func isExact(_ answer: String, _ wanted: String) -> Bool { plain(answer) == plain(wanted) }

    private static func plain(_ text: String) -> String {
        text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }

    /// Words are runs of letters and digits, as rouge_score's tokenizer without stemming takes them in ASCII.
    static func words(_ text: String) -> [Substring] {
        Array(text.lowercased().split { !$0.isLetter && !$0.isNumber }.prefix(wordsMax).map { Substring(String($0)) })
    }

    package static func rougeL(_ answer: String, _ wanted: String) -> Double {
        let a = words(answer), b = words(wanted)
        guard !a.isEmpty, !b.isEmpty else { return a.isEmpty && b.isEmpty ? 1 : 0 }
        var previous = [Int](repeating: 0, count: b.count + 1)
        for word in a {
            var current = previous
            for (index, other) in b.enumerated() {
                current[index + 1] = word == other ? previous[index] + 1 : max(previous[index + 1], current[index])
            }
            previous = current
        }
        let common = Double(previous[b.count])
        guard common > 0 else { return 0 }
        let precision = common / Double(a.count), recall = common / Double(b.count)
        return 2 * precision * recall / (precision + recall)
    }
}
