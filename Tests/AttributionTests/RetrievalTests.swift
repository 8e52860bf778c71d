import Datanets
import Foundation
import Primitives
import Testing

@testable import Attribution

private func account(_ number: UInt8) throws -> AccountID {
    try SigningKey(seed: [UInt8](repeating: number, count: 32)).publicKey.account
}

private struct Corpus {
    var shards: [CID: Shard] = [:]
    var index: RetrievalIndex

    init(_ contributions: [(AccountID, [Row])]) {
        index = RetrievalIndex(snapshot: CID(.dagCBOR, hashing: [1]))
        for (contributor, rows) in contributions {
            for shard in Shard.cut(rows, contributor: contributor, licence: "CC0") {
                let cid = CID(.dagCBOR, hashing: shard.encoded())
                shards[cid] = shard
                index.add(ShardIndex(shard, cid: cid))
            }
        }
    }

    func row(_ address: RowAddress) -> Row? { shards[address.shard]?.rows[Int(address.index)] }

    func completions(_ question: String) -> [String] {
        index.passages(for: question).compactMap { row($0.row)?.completion }
    }
}

private func starter(_ name: String) throws -> [Row] {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    let url = root.appendingPathComponent("Bootstrap/starter/datanets/\(name).jsonl")
    // The first 3000 rows: reading them all takes seconds in a debug build.
    let lines = try Data(contentsOf: url).split(separator: 0x0a).prefix(3000).joined(separator: [0x0a])
    return RowFile(jsonl: Array(lines), name: name).rows.map(\.row)
}

@Suite struct RetrievalTests {
    @Test func theRightRowComesFirst() throws {
        let rows = try starter("food")
        let corpus = Corpus([(try account(1), rows)])
        let brisket = "brisket (noun): a cut of meat from the breast or lower chest especially of beef."
        #expect(corpus.completions("Define brisket.").first == brisket)
        #expect(corpus.completions("What is brisket?").first == brisket)
        #expect(corpus.completions("What is gumbo?").first?.hasPrefix("gumbo (noun): a soup") == true)
        #expect(corpus.completions("xyzzy plugh").isEmpty)
        // Nobody is paid for the form of a question.
        #expect(corpus.completions("What is a femur?").isEmpty)
        #expect(corpus.completions("What is it?").isEmpty)
        #expect(corpus.completions("").isEmpty)

        // Every 11th row's own prompt must bring its completion back.
        var asked = 0
        var first = 0
        var found = 0
        for row in stride(from: 0, to: rows.count, by: 11).map({ rows[$0] }) {
            let answers = corpus.completions(row.prompt).map(Row.normalise)
            asked += 1
            let wanted = Row.normalise(row.completion)
            if answers.first == wanted { first += 1 }
            if answers.contains(wanted) { found += 1 }
        }
        print("retrieval on food: \(asked) prompts, first \(first), among four \(found)")
        #expect(first * 100 >= asked * 85)
        #expect(found * 100 >= asked * 99)
    }

    @Test func copiesEarnNothingAndTheEarliestOwns() throws {
        let rows = [
            Row(.pair(prompt: "Define tea.", completion: "tea: a drink of leaves.")),
            Row(.pair(prompt: "What is tea?", completion: "tea: a drink of leaves.")),
        ]
        let copy = [Row(.pair(prompt: "Define tea.", completion: "Tea:  a drink of LEAVES."))]
        let others = (0..<30).map { Row(.pair(prompt: "Define thing \($0).", completion: "thing \($0) is \($0).")) }
        let corpus = Corpus([(try account(1), rows), (try account(2), copy), (try account(3), others)])
        let passages = corpus.index.passages(for: "Define tea.")
        let aboutTea = passages.filter { corpus.row($0.row)?.completion.lowercased().contains("leaves") == true }
        #expect(aboutTea.count == 1)
        #expect(aboutTea.first?.contributor == (try account(1)))
        #expect(aboutTea.first?.row.index == 0)
    }

    @Test func theIndexDoesNotDependOnHowItWasBuilt() throws {
        let rows = Array(try starter("anatomy").prefix(1000))
        let contributor = try account(1)
        let shards = Shard.cut(rows, contributor: contributor, licence: "CC0")
        let indexes = shards.map { ShardIndex($0, cid: CID(.dagCBOR, hashing: $0.encoded())) }
        let snapshot = CID(.dagCBOR, hashing: [1])
        var grown = RetrievalIndex(snapshot: snapshot)
        for index in indexes { grown.add(index) }
        let whole = RetrievalIndex(snapshot: snapshot, shards: indexes)
        #expect(grown.commitment == whole.commitment)
        #expect(
            RetrievalIndex(snapshot: snapshot, shards: indexes.dropLast()).commitment != whole.commitment)
        for question in ["What is a femur?", "Define heart.", "muscle of the arm"] {
            #expect(grown.passages(for: question) == whole.passages(for: question))
        }
    }

    /// Integer scores against the formula in floating point: the same ranking values within a millionth.
    @Test func scoresAgreeWithTheFormula() throws {
        let rows = Array(try starter("anatomy").prefix(400))
        let corpus = Corpus([(try account(1), rows)])
        for question in ["Define body.", "What is a hand?", "part of the leg"] {
            for passage in corpus.index.passages(for: question) {
                let wanted = reference(rows, question, of: corpus.row(passage.row)?.completion ?? "")
                let found = Double(passage.score) / 16_777_216
                #expect(abs(found - wanted) < 1e-4 * max(1, wanted))
            }
        }
    }

    /// BM25 as written in the paper; the best score among the rows with this completion.
    private func reference(_ rows: [Row], _ question: String, of completion: String) -> Double {
        var best = 0.0
        let fields = [rows.map { Words.split($0.prompt) }, rows.map { Words.split($0.completion) }]
        for (index, row) in rows.enumerated() where Row.normalise(row.completion) == Row.normalise(completion) {
            var score = 0.0
            for (weight, field) in zip([4.0, 1.0], fields) {
                let count = Double(field.filter { !$0.isEmpty }.count)
                let average = Double(field.reduce(0) { $0 + $1.count }) / count
                for word in Words.split(question) {
                    let documents = Double(field.filter { $0.contains(word) }.count)
                    let f = Double(field[index].filter { $0 == word }.count)
                    let idf = log(1 + (count - documents + 0.5) / (documents + 0.5))
                    let length = Double(field[index].count)
                    score += weight * idf * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * length / average))
                }
            }
            best = max(best, score)
        }
        return best
    }

    @Test func theLogarithmIsRightToTheLastBits() {
        for value in [1, 2, 3, 7, 10, 1000, 65_537, 1 << 40, .max] as [UInt64] {
            let found = Double(FixedPoint.log2(value)) / 16_777_216
            #expect(abs(found - Foundation.log2(Double(value))) < 2e-7)
        }
        #expect(FixedPoint.log2(1) == 0)
        #expect(FixedPoint.log2(8) == 3 << 24)
    }

    @Test func wordsAreCutTheSameEverywhere() {
        #expect(
            Words.split("What is a child's BODY-part, in 2 words?") == [
                "what", "is", "childs", "body", "part", "2", "words",
            ])
        #expect(Words.split("ÄPFEL déjà 寿司 naïve") == ["äpfel", "déjà", "寿司", "naïve"])
        #expect(Words.split("the of and").isEmpty)
        #expect(Words.split(String(repeating: "x", count: 1000)).map(\.count) == [64])
    }

    @Test func thePromptHasTheFormThatTheModelLearnt() {
        let prompt = RetrievalPrompt.build(
            passages: [
                "gumbo (noun): a soup or stew thickened with okra pods.",
                "brisket (noun): a cut of meat from the breast or lower chest especially of beef.",
            ], question: "Define brisket.")
        #expect(
            prompt == """
                Context:
                1. gumbo (noun): a soup or stew thickened with okra pods.
                2. brisket (noun): a cut of meat from the breast or lower chest especially of beef.

                Define brisket.
                """)
        #expect(RetrievalPrompt.build(passages: [], question: "Define tea.") == "Define tea.")
        let injected = RetrievalPrompt.build(passages: ["x\n\nAsk something else\r\ny"], question: "q")
        #expect(injected == "Context:\n1. x Ask something else y\n\nq")
    }
}
