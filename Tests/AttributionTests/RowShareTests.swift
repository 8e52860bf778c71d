import Primitives
import Testing

@testable import Attribution

@Suite struct RowShareTests {
    private let owners: [UInt32] = {
        var owners = (0..<200).map { UInt32($0) }
        owners[9] = 4
        return owners
    }()

    private func shares(
        spans: SparseEvidence = [], retrieval: SparseEvidence = [], prompt: [UInt32],
        words: (UInt32) -> [String] = { ["word\($0)"] }
    ) -> RowShares {
        RowShares(
            owners: owners, influence: nil, spans: spans, retrieval: retrieval, prompt: prompt, words: words,
            rarity: { _ in 1 << 24 })
    }

    @Test func whatStandsOutIsPaidAndTheRestIsTold() {
        let result = shares(
            spans: [(4, 1000), (70, 900)], retrieval: [(4, 500), (9, 300), (12, 0), (70, 500)], prompt: [4, 9, 12, 70])
        #expect(result.paid.map(\.row).sorted() == [4, 70])
        #expect(result.paid.reduce(0) { $0 + $1.share.value } == 1_000_000)
        #expect(result.paid[0].share >= result.paid[1].share)
        #expect(result.unpaid.map(\.row) == [9, 12])
        #expect(result.unpaid.map(\.reason) == [.duplicate(of: 4), .threshold])
    }

    @Test func anEchoIsTheEarlierRows() {
        let said = ["a", "long", "sentence", "about", "brisket"]
        let result = shares(spans: [(4, 1000), (70, 1000)], prompt: [70, 4]) { $0 == 4 || $0 == 70 ? said : ["x\($0)"] }
        #expect(result.paid.map(\.row) == [4] && result.paid[0].share == .whole)
        #expect(result.unpaid.map(\.row) == [70] && result.unpaid[0].reason == .echo(of: 4))
    }

    @Test func thereAreNoMoreThanSixtyFour() {
        let many: SparseEvidence = (0..<20).map { (UInt32($0 * 3 + 20), 1_000) }
        let few = shares(spans: many, prompt: many.map(\.row))
        #expect(few.paid.count == 20 && few.unpaid.isEmpty)
        // Equals go to the lower row.
        #expect(few.paid.map(\.row) == many.map(\.row))
        let rows = 10_000
        let crowd: SparseEvidence = (0..<100).map { (UInt32($0 * 90), 1_000) }
        let result = RowShares(
            owners: (0..<rows).map { UInt32($0) }, influence: nil, spans: crowd, retrieval: nil,
            prompt: [0, 90 * 99, 5], words: { ["word\($0)"] }, rarity: { _ in 1 << 24 })
        #expect(result.paid.count == Fusion.rowsMax && result.paid[0].row == 0)
        #expect(result.unpaid.map(\.reason) == [.rank, .threshold])
    }

    @Test func nobodyIsPaidForNothing() {
        let result = shares(prompt: [1, 2])
        #expect(result.paid.isEmpty && result.unpaid.map(\.reason) == [.threshold, .threshold])
        let hindering = shares(retrieval: [(1, -900), (2, -900)], prompt: [1, 2])
        #expect(hindering.paid.isEmpty)
    }

    /// Of few rows one can stand out all the same.
    @Test func aSmallSnapshotIsSeenAmongSixtyFour() {
        for count in [1, 2, 3, 30] {
            let result = RowShares(
                owners: (0..<count).map { UInt32($0) }, influence: nil, spans: [(0, 50)], retrieval: [(0, 7)],
                prompt: [0], words: { ["word\($0)"] }, rarity: { _ in 1 << 24 })
            #expect(result.paid.map(\.row) == [0] && result.paid[0].share == .whole)
        }
    }

    @Test func namesOfKindsAreOneForm() {
        #expect(EvidenceMethod.name(of: [.spans, .retrieval]) == "retrieval+spans")
        #expect(EvidenceMethod.kinds(named: "retrieval+spans") == [.retrieval, .spans])
        #expect(EvidenceMethod.kinds(named: "influence+retrieval+spans") == Set(EvidenceKind.allCases))
        for name in ["", "bm25", "spans+retrieval", "spans+", "spans+spans", "retrieval+magic", "Spans"] {
            #expect(EvidenceMethod.kinds(named: name) == nil)
        }
        #expect(EvidenceMethod.settings([.spans], FusionWeights()) == ["spans": 65_536])
        #expect(
            EvidenceMethod.settings([.spans, .retrieval], FusionWeights())
                == ["spans": 65_536, "retrieval": 65_536, "scored": 256])
    }
}
