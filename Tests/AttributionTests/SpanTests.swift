import Datanets
import Primitives
import Testing

@testable import Attribution

/// Every run of every row, compared with every run of the answer.
private struct BruteForce {
    let rows: [[Int32]]

    func longest(_ answer: ArraySlice<Int32>) -> Int {
        rows.reduce(0) { best, row in
            row.indices.reduce(best) { max($0, zip(row[$1...], answer).prefix { $0 == $1 }.count) }
        }
    }

    func holders(_ span: ArraySlice<Int32>) -> (occurrences: Int, rows: [UInt32]) {
        var occurrences = 0
        var holders: [UInt32] = []
        for (number, row) in rows.enumerated() where row.count >= span.count {
            let found = (0...row.count - span.count).count { row[$0..<$0 + span.count].elementsEqual(span) }
            occurrences += found
            if found > 0 { holders.append(UInt32(number)) }
        }
        return (occurrences, holders)
    }

    func spans(_ answer: [Int32], owners: [UInt32]) -> [MatchedSpan] {
        var counts: [Int32: UInt64] = [:]
        for token in rows.joined() { counts[token, default: 0] += 1 }
        let total = counts.values.reduce(0, +)
        var found: [MatchedSpan] = []
        var next = 0
        for start in answer.indices where start >= next {
            let length = longest(answer[start...].prefix(256))
            let isInside = found.contains { $0.start + $0.count >= start + length }
            guard length >= 4, !isInside else { continue }
            if length == 256 { next = start + length }
            let span = answer[start..<start + length]
            let weight = span.reduce(UInt64(0)) {
                $0 + FixedPoint.log2(total) - FixedPoint.log2(counts[$1] ?? 0)
            }
            let held = holders(span)
            let owning = held.occurrences > 1024 ? [] : Set(held.rows.map { owners[Int($0)] }).sorted()
            found.append(MatchedSpan(start: start, count: length, weight: weight >> 8, owners: owning))
        }
        return found
    }
}

private func corpus(_ rows: [[Int32]], segment: Int = SpanSegment.tokensMax, distinct: Int = 65_534) -> SpanCorpus {
    var builder = SpanCorpusBuilder(segmentTokensMax: segment, segmentDistinctMax: distinct)
    for row in rows {
        let isTaken = builder.add(row)
        #expect(isTaken)
    }
    return builder.finish()
}

private struct World {
    var rows: [[Int32]] = []
    var answer: [Int32] = []
    var owners: [UInt32] = []
    /// Where a row's run was planted in the answer, and of which row.
    var planted: [(range: Range<Int>, row: Int)] = []

    init(seed: UInt64, vocabulary: UInt64, rows count: Int = 40) {
        var random = SeededRandom(seed: seed)
        func token() -> Int32 { Int32(random.below(vocabulary) * (vocabulary > 1000 ? 2 : 1)) }
        for number in 0..<count {
            let isCopy = number > 0 && random.below(5) == 0
            let original = Int(random.below(UInt64(max(1, number))))
            rows.append(isCopy ? rows[original] : (0..<random.below(40)).map { _ in token() })
            owners.append(isCopy ? owners[original] : UInt32(number))
        }
        while answer.count < 150 {
            let row = Int(random.below(UInt64(count)))
            if rows[row].count >= 6, random.below(3) > 0 {
                let length = 4 + Int(random.below(UInt64(rows[row].count - 4)))
                let start = Int(random.below(UInt64(rows[row].count - length + 1)))
                planted.append((answer.count..<answer.count + length, row))
                answer += rows[row][start..<start + length]
            } else {
                for _ in 0..<1 + random.below(8) { answer.append(token() + (vocabulary > 1000 ? 1 : 0)) }
            }
        }
    }
}

@Suite struct SpanTests {
    @Test(arguments: 1...12 as ClosedRange<UInt64>) func spansAreThoseOfBruteForce(seed: UInt64) {
        // Few tokens make many equal runs, many tokens none but what was planted.
        for vocabulary: UInt64 in [2, 6, 50, 150_000] {
            let world = World(seed: seed, vocabulary: vocabulary)
            let expected = BruteForce(rows: world.rows).spans(world.answer, owners: world.owners)
            let whole = corpus(world.rows)
            #expect(whole.spans(in: world.answer, owners: world.owners) == expected)
            for (range, row) in world.planted {
                #expect(expected.contains { $0.start <= range.lowerBound && $0.start + $0.count >= range.upperBound })
                if let exact = expected.first(where: { $0.start == range.lowerBound && $0.count == range.count }),
                    !exact.owners.isEmpty
                {
                    #expect(exact.owners.contains(world.owners[row]))
                }
            }
            // How the rows are cut into segments changes nothing.
            for (segment, distinct) in [(30, 65_534), (200, 65_534), (10_000, 45)] {
                let cut = corpus(world.rows, segment: segment, distinct: max(distinct, 42))
                #expect(cut.spans(in: world.answer, owners: world.owners) == expected)
            }
            // The canary: a corpus that lacks one quoted row does not give the same.
            if let row = expected.compactMap(\.owners.first).first {
                var fewer = world.rows
                for number in fewer.indices where world.owners[number] == row { fewer[number] = [] }
                #expect(corpus(fewer).spans(in: world.answer, owners: world.owners) != expected)
            }
        }
    }

    @Test func everyPlantedSpanIsFound() {
        var planted = 0
        for seed: UInt64 in 100..<160 {
            let world = World(seed: seed, vocabulary: 4000, rows: 200)
            let spans = corpus(world.rows).spans(in: world.answer, owners: world.owners)
            for (range, row) in world.planted {
                planted += 1
                #expect(
                    spans.contains {
                        $0.start <= range.lowerBound && $0.start + $0.count >= range.upperBound
                            && $0.owners.contains(world.owners[row])
                    })
            }
        }
        print("planted spans found: \(planted) of \(planted)")
        #expect(planted > 500)
    }

    @Test func aClusterEarnsOnceHoweverOftenItHasTheSpan() {
        let quote: [Int32] = [10, 11, 12, 13, 14, 15]
        let rows: [[Int32]] = [quote, [1, 2, 3, 4, 5], quote + [7], quote + quote, [9] + quote]
        let answer: [Int32] = [90] + quote + [91]
        func evidence(_ owners: [UInt32]) -> [UInt32: UInt64] {
            let spans = corpus(rows).spans(in: answer, owners: owners)
            return Dictionary(uniqueKeysWithValues: SpanCorpus.evidence(spans).map { ($0.row, $0.weight) })
        }
        let apart = evidence([0, 1, 2, 3, 4])
        #expect(apart.keys.sorted() == [0, 2, 3, 4])
        #expect(Set(apart.values).count == 1)
        let one = evidence([0, 1, 0, 0, 0])
        #expect(one.keys.sorted() == [0])
        #expect((one[0] ?? 0) / 4 == apart[0])
    }

    @Test func whatEverybodySaysIsNobodys() {
        let rows = (0..<1025).map { [100, 101, 102, 103, Int32($0)] as [Int32] }
        let owners = rows.indices.map { UInt32($0) }
        let common = corpus(rows).spans(in: [100, 101, 102, 103], owners: owners)
        #expect(common.map(\.owners) == [[]])
        let fewer = corpus(Array(rows.dropLast())).spans(in: [100, 101, 102, 103], owners: owners.dropLast())
        #expect(fewer.map(\.owners.count) == [1024])
    }

    @Test func hostileRowsAndAnswers() {
        let empty = corpus([])
        #expect(empty.spans(in: [1, 2, 3, 4, 5], owners: []).isEmpty)
        #expect(empty.continuation(of: [1, 2, 3, 4, 5, 6], max: 4).isEmpty)
        let blank = corpus([[], [], []])
        #expect(blank.spans(in: [1, 2, 3, 4, 5], owners: [0, 1, 2]).isEmpty)
        #expect(blank.continuation(of: [1, 2, 3, 4, 5, 6], max: 4).isEmpty)
        // Tokens below zero in an answer, the largest token, one token many times.
        let odd = corpus([[.max, .max, .max, .max, .max], [0, 0, 0, 0]])
        #expect(odd.spans(in: [-1, -1, -1, -1, -1], owners: [0, 1]).isEmpty)
        #expect(odd.spans(in: [.max, .max, .max, .max, .max, .max], owners: [0, 1]).map(\.count) == [5, 5])
        var builder = SpanCorpusBuilder()
        let taken = [[1, -1, 2], [Int32](repeating: 1, count: SpanCorpusBuilder.rowTokensMax + 1), []].map {
            builder.add($0)
        }
        // Rows that no tokenizer gives have a number and no tokens.
        #expect(taken == [true, true, true])
        let odds = builder.finish()
        #expect(odds.rowCount == 3 && odds.tokenCount == 0)
        // More different tokens than ranks: the next row begins a segment.
        let wide = (0..<3).map { part in (0..<40_000).map { Int32($0 + part * 40_000) } }
        var large = SpanCorpusBuilder()
        for row in wide { large.add(row) }
        let found = large.finish()
        let answer = Array(wide[2][100..<200]) + Array(wide[0][39_950...])
        #expect(found.spans(in: answer, owners: [0, 1, 2]).map(\.owners) == [[2], [0]])
        // Full is an answer.
        var full = SpanCorpusBuilder(segmentTokensMax: 1)
        let room = (0..<100).map { full.add([Int32($0)]) }
        #expect(room.count { $0 } == SpanCorpus.segmentsMax)
        // What had no room is followed by nothing: a corpus is the first rows of a snapshot, and they are all there.
        let added = full.add([])
        #expect(!added)
        let first = full.finish()
        #expect(first.rowCount == SpanCorpus.segmentsMax)
        #expect(first.tokenCount == SpanCorpus.segmentsMax)
    }

    @Test func aLongRunIsSeveralSpans() {
        var random = SeededRandom(seed: 8)
        let row = (0..<700).map { _ in Int32(random.below(50_000)) }
        let rows = [row, [1, 2, 3]]
        let answer = [Int32](repeating: 60_000, count: 3) + row + [60_000]
        let spans = corpus(rows).spans(in: answer, owners: [0, 1])
        #expect(spans == BruteForce(rows: rows).spans(answer, owners: [0, 1]))
        #expect(spans.map(\.start) == [3, 259, 515] && spans.map(\.count) == [256, 256, 188])
    }

    /// One token many times, in the rows and in the answer: every place has the longest run.
    @Test func oneTokenManyTimesCostsNoMoreThanItsBound() {
        let rows = (0..<40).map { [Int32](repeating: 7, count: 1000 + $0) }
        let corpus = corpus(rows)
        let owners = rows.indices.map { UInt32($0) }
        for count in [1000, 20_000] {
            // Runs of 255 and one foreign token: no run is so long that what it has is passed over.
            let answer = (0..<count).map { Int32($0 % 256 == 255 ? 9 : 7) }
            for answer in [[Int32](repeating: 7, count: count), answer] {
                var work = 0
                let spans = corpus.spans(in: answer, owners: owners, work: &work)
                #expect(!spans.isEmpty)
                let steps = 17
                #expect(work <= answer.count * steps * (SpanCorpus.spanTokensMax + 1))
                #expect(work > answer.count / SpanCorpus.spanTokensMax, "the work is counted")
            }
        }
    }

    @Test func draftsGoOnAsARowDoes() {
        let rows: [[Int32]] = [
            [1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13], [1, 2, 3, 4, 5, 20, 21],
            [40, 1, 2, 3, 4, 5, 20, 22], [1, 2, 3, 4, 5, 20, 21],
        ]
        for segment in [8, 1000] {
            let corpus = corpus(rows, segment: segment)
            #expect(corpus.continuation(of: [9, 9, 8, 9, 10, 11, 12], max: 5) == [13])
            #expect(corpus.continuation(of: [8, 9, 10, 11], max: 5).isEmpty, "too little is equal")
            #expect(corpus.continuation(of: [10, 11, 12, 13], max: 5).isEmpty, "a row's end")
            #expect(corpus.continuation(of: [9, 10, 11, 12, 13], max: 5).isEmpty, "nothing of the next row")
            // More that is equal is a better guess than more places.
            #expect(corpus.continuation(of: [40, 1, 2, 3, 4, 5], max: 5) == [20, 22])
            #expect(corpus.continuation(of: [40, 1, 2, 3, 4, 5], max: 1) == [20])
            #expect(corpus.continuation(of: [40, 1, 2, 3, 4, 5], max: 0).isEmpty)
        }
        #expect(corpus(rows).continuation(of: [50, 1, 2, 3, 4, 5], max: 2) == [20, 21], "what most rows say")
    }

    @Test func fiveBytesATokenAndALittle() {
        var random = SeededRandom(seed: 4)
        let rows = (0..<20_000).map { _ in (0..<30).map { _ in Int32(random.below(4096)) } }
        let corpus = corpus(rows)
        #expect(corpus.tokenCount == 600_000)
        #expect(corpus.bytes <= corpus.tokenCount * 6)
    }
}
