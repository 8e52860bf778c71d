import Datanets
import Primitives
import Testing

@testable import Attribution

private struct Evidence {
    var owners: [UInt32] = []
    var influence: [Int64] = []
    var spans: SparseEvidence = []
    var retrieval: SparseEvidence = []

    init(seed: UInt64, rows: Int) {
        var random = SeededRandom(seed: seed)
        for row in 0..<rows {
            let isCopy = row > 0 && random.below(6) == 0
            owners.append(isCopy ? owners[Int(random.below(UInt64(row)))] : UInt32(row))
            influence.append(Int64(random.below(1 << 30)) - 1 << 29)
            if random.below(10) == 0 { spans.append((UInt32(row), Int64(random.below(1 << 22)))) }
            if random.below(50) == 0 { retrieval.append((UInt32(row), Int64(random.below(1 << 30)) - 1 << 28)) }
        }
    }

    func weights(_ weights: FusionWeights = FusionWeights()) -> [FusedWeight] {
        Fusion.weights(owners: owners, influence: influence, spans: spans, retrieval: retrieval, by: weights)
    }

    /// In doubles, by the formula.
    func reference() -> [Double] {
        let clusters = Set(owners).map(Int.init)
        func z(_ values: [Int: Double]) -> [Int: Double] {
            let all = clusters.map { values[$0] ?? 0 }
            let mean = all.reduce(0, +) / Double(all.count)
            let variance = all.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(all.count)
            return Dictionary(uniqueKeysWithValues: zip(clusters, all.map { ($0 - mean) / variance.squareRoot() }))
        }
        var best: [Int: Double] = [:], quoted: [Int: Double] = [:], read: [Int: Double] = [:]
        for (row, value) in influence.enumerated() where Int(owners[row]) == row { best[row] = Double(value) }
        for (row, value) in spans { quoted[Int(owners[Int(row)]), default: 0] += Double(value) }
        for (row, value) in retrieval { read[Int(owners[Int(row)]), default: 0] += Double(value) }
        let (one, two, three) = (z(best), z(quoted), z(read))
        return owners.indices.map { row in
            guard Int(owners[row]) == row else { return -.infinity }
            return max(-8, min(8, one[row] ?? 0)) + (two[row] ?? 0) + (three[row] ?? 0)
        }
    }
}

@Suite struct FusionTests {
    @Test(arguments: 1...10 as ClosedRange<UInt64>) func weightsAreThoseOfTheFormula(seed: UInt64) {
        let evidence = Evidence(seed: seed, rows: 700)
        let fused = Fusion.fused(
            owners: evidence.owners, influence: evidence.influence, spans: evidence.spans,
            retrieval: evidence.retrieval)
        let reference = evidence.reference()
        for (one, other) in zip(fused, reference) where other > -.infinity {
            #expect(abs(Double(one) / 65_536 - other) < 1e-3)
        }
        let paid = evidence.weights()
        let expected = reference.indices.filter { reference[$0] > 2.001 }.sorted { reference[$0] > reference[$1] }
        #expect(Set(expected).isSubset(of: paid.map { Int($0.row) }))
        #expect(paid.map(\.weight) == paid.map(\.weight).sorted(by: >))
        // The canary: a row's evidence in another row's place is seen.
        var wrong = evidence
        wrong.spans = evidence.spans.map { (($0.row + 1) % 700, $0.weight) }
        #expect(wrong.weights() != paid)
    }

    @Test func equalsGoToTheLowerRow() {
        let rows = 10_000
        let spans = (0..<500).map { (row: UInt32($0 * 20 + 3), weight: Int64(1000)) }
        let owners = (0..<rows).map { UInt32($0) }
        let paid = Fusion.weights(owners: owners, influence: nil, spans: spans, retrieval: nil)
        let expected = spans.prefix(256).map(\.row)
        #expect(paid.map(\.row) == expected)
        #expect(Set(paid.map(\.weight)).count == 1)
    }

    @Test func whatHindersTakesNothingFromOthers() {
        let owners = (0..<1000).map { UInt32($0) }
        let helpful: SparseEvidence = [(5, 900_000), (80, 300_000)]
        let before = Fusion.weights(owners: owners, influence: nil, spans: nil, retrieval: helpful)
        // The same with a row that hinders as much: who holds it loses nothing, and its holder's others lose nothing either.
        let after = Fusion.weights(
            owners: owners, influence: nil, spans: nil, retrieval: helpful + [(row: 500, weight: -900_000)])
        #expect(before.map(\.row) == [5, 80])
        #expect(after.map(\.row) == [5, 80])
        #expect(after.allSatisfy { $0.weight > 0 })
    }

    @Test func nothingIsPaidWithoutEvidence() {
        let owners = (0..<50).map { UInt32($0) }
        #expect(Fusion.weights(owners: owners, influence: nil, spans: nil, retrieval: nil).isEmpty)
        #expect(Fusion.weights(owners: owners, influence: [], spans: [], retrieval: []).isEmpty)
        #expect(
            Fusion.weights(
                owners: owners, influence: [Int64](repeating: 7, count: 50), spans: [], retrieval: []
            ).isEmpty)
        #expect(Fusion.weights(owners: [], influence: [], spans: [], retrieval: []).isEmpty)
        var zero = FusionWeights()
        zero.spans = 0
        #expect(
            Fusion.weights(owners: owners, influence: nil, spans: [(3, 1 << 20)], retrieval: nil, by: zero).isEmpty)
    }

    @Test func hostileNumbers() {
        let rows = 3000
        let owners = (0..<rows).map { UInt32($0) }
        let extremes = (0..<rows).map { $0 % 3 == 0 ? Int64.max : $0 % 3 == 1 ? Int64.min : 0 }
        let sparse = owners.map { (row: $0, weight: extremes[Int($0)]) }
        var most = FusionWeights()
        most.influence = .max
        most.spans = .max
        most.retrieval = .min
        for weights in [FusionWeights(), most] {
            let fused = Fusion.fused(
                owners: owners, influence: extremes, spans: sparse, retrieval: sparse, by: weights)
            #expect(fused.count == rows)
        }
        // One row among as many as there may be.
        let lone = Fusion.weights(
            owners: (0..<100_000).map { UInt32($0) }, influence: nil, spans: nil, retrieval: [(99_999, .max)])
        #expect(lone.map(\.row) == [99_999])
        #expect(abs(Double(lone[0].weight) / 65_536 - (99_999.0).squareRoot() + 2) < 0.01)
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>) func rootsAreExact(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var values: [UInt128] = [0, 1, 2, 3, 4, .max, .max - 1, 1 << 64, (1 << 64) - 1]
        for _ in 0..<200 {
            let root = UInt128(random.next() >> random.below(64))
            let (square, overflow) = root.multipliedReportingOverflow(by: root)
            if !overflow { values += [square, square &+ 1, square == 0 ? 0 : square - 1] }
        }
        for value in values {
            let root = UInt128(IntegerRoot.floor(value))
            #expect(root * root <= value)
            let (next, overflow) = (root + 1).multipliedReportingOverflow(by: root + 1)
            #expect(overflow || next > value)
        }
    }
}

@Suite struct EchoTests {
    private let rows = [
        "brisket (noun): a cut of meat from the breast or lower chest especially of beef.",
        "a dainty is a kind of nutriment.",
        "brisket (noun): meat cut from the lower chest or breast, mostly of beef.",
        "a course is a kind of nutriment.",
        "gumbo (noun): a soup or stew thickened with okra pods.",
    ]

    private func settled(_ weights: [(UInt32, UInt64)]) -> [FusedWeight] {
        var counts: [String: UInt64] = [:]
        // Words of a form are in most rows of a datanet.
        for word in ["noun", "kind", "is"] { counts[word] = 400 }
        return Echoes.settled(weights.map { FusedWeight(row: $0.0, weight: $0.1) }) {
            Words.split(rows[Int($0)])
        } rarity: {
            FixedPoint.inverseDocumentFrequency(counts[$0] ?? 2, among: 1000)
        }
    }

    @Test func aParaphrasePaysWhatItRepeats() {
        #expect(
            settled([(2, 70), (0, 50), (4, 10)]) == [FusedWeight(row: 0, weight: 120), FusedWeight(row: 4, weight: 10)])
        // Alone it is paid: nobody is here whom it repeats.
        #expect(settled([(2, 70)]) == [FusedWeight(row: 2, weight: 70)])
    }

    @Test func rowsOfOneFormAreNoEchoes() {
        #expect(settled([(3, 40), (1, 30)]).map(\.row) == [3, 1])
    }

    @Test func hostileWords() {
        #expect(Echoes.settled([], words: { _ in [] }, rarity: { _ in 0 }).isEmpty)
        let all = (0..<256).map { FusedWeight(row: UInt32(255 - $0), weight: UInt64.max) }
        // No words at all, words that count nothing, one word for all.
        #expect(Echoes.settled(all, words: { _ in [] }, rarity: { _ in 1 }).count == Fusion.rowsMax)
        #expect(Echoes.settled(all, words: { ["a\($0)"] }, rarity: { _ in 0 }).count == Fusion.rowsMax)
        #expect(
            Echoes.settled(all, words: { _ in ["a"] }, rarity: { _ in 1 << 30 }) == [FusedWeight(row: 0, weight: .max)])
    }
}
