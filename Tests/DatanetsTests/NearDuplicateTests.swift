import Foundation
import Primitives
import Testing

@testable import Datanets

/// What the page says, in the plainest way: every earlier owner is compared, sets are sets of bytes.
private func bruteForce(_ texts: [[UInt8]]) -> [UInt32] {
    func shingles(_ text: [UInt8]) -> Set<[UInt8]> {
        text.count < 5 ? [text] : Set((0...text.count - 5).map { Array(text[$0..<$0 + 5]) })
    }
    var found: [(row: UInt32, set: Set<[UInt8]>)] = []
    return texts.enumerated().map { row, text in
        let set = shingles(text)
        for owner in found {
            let both = owner.set.intersection(set).count
            if both * 10 >= (owner.set.count + set.count - both) * 8 { return owner.row }
        }
        found.append((UInt32(row), set))
        return UInt32(row)
    }
}

private let snapshot = CID(.dagCBOR, hashing: [1])

private func clusters(_ texts: [[UInt8]], shape: MinHashShape = MinHashShape()) -> [UInt32] {
    var near = NearDuplicates(snapshot: snapshot, shape: shape)
    for text in texts { _ = near.add(text: text) }
    return near.owners
}

/// Texts of words, a part of them copied with a few words exchanged, one left out or two swapped.
private func texts(seed: UInt64, count: Int) -> [[UInt8]] {
    var random = SeededRandom(seed: seed)
    let words = (0..<300).map { _ in
        (0..<2 + random.below(7)).map { _ in UInt8(ascii: "a") + UInt8(random.below(26)) }
    }
    var texts: [[[UInt8]]] = []
    for _ in 0..<count {
        if let original = texts.randomElement(using: &random), random.below(3) == 0 {
            var copy = original
            for _ in 0..<random.below(4) {
                let place = Int(random.below(UInt64(copy.count)))
                switch random.below(3) {
                case 0: copy[place] = words[Int(random.below(300))]
                case 1 where copy.count > 2: copy.remove(at: place)
                default: copy.swapAt(place, Int(random.below(UInt64(copy.count))))
                }
            }
            texts.append(copy)
        } else {
            texts.append((0..<1 + random.below(20)).map { _ in words[Int(random.below(300))] })
        }
    }
    return texts.map { Array($0.joined(separator: [0x20])) }
}

@Suite struct NearDuplicateTests {
    @Test(arguments: 1...12 as ClosedRange<UInt64>) func clustersAreThoseOfBruteForce(seed: UInt64) {
        let rows = texts(seed: seed, count: 400)
        let expected = bruteForce(rows)
        #expect(clusters(rows) == expected)
        #expect(Set(expected).count < rows.count * 9 / 10, "the corpus has duplicates at all")
        // The canary: one band of everything finds equal texts only.
        #expect(clusters(rows, shape: MinHashShape(bands: 1, rowsPerBand: 128)) != expected)
    }

    @Test func aRowThatIsAddedChangesNothingBeforeIt() {
        let rows = texts(seed: 99, count: 300)
        let all = clusters(rows)
        #expect(Array(all.prefix(200)) == clusters(Array(rows.prefix(200))))
        for (row, owner) in all.enumerated() {
            #expect(owner <= row)
            #expect(all[Int(owner)] == owner, "an owner owns itself")
        }
    }

    @Test func aChainOfRowsJoinsNothing() {
        // Each text is like the next; the ends have little in common.
        let whole = Array(
            "the quick brown fox jumps over the lazy dog while seven green parrots watch from a tall tree".utf8)
        let other = Array(
            "one hundred and twelve old clocks strike midnight in the cellar of the town hall every day!".utf8)
        let chain = (0...16).map { step in
            Array(other.prefix(step * other.count / 16)) + Array(whole.dropFirst(step * whole.count / 16))
        }
        // First the two ends, by two people; then everything between, by a third.
        let owners = clusters([whole, other] + chain.dropFirst().dropLast())
        #expect(owners[0] == 0)
        #expect(owners[1] == 1)
    }

    @Test func labelsAreToldApartByTheirQuestions() {
        var near = NearDuplicates(snapshot: snapshot)
        near.add(Row(.pair(prompt: "Is the film \"Stalker\" any good?", completion: "positive")))
        near.add(Row(.pair(prompt: "I have never been so bored in my life.", completion: "positive")))
        near.add(Row(.pair(prompt: "is the film  \"stalker\" any GOOD?", completion: "Positive")))
        near.add(
            Row(.pair(prompt: "What is brisket?", completion: "brisket: a cut of meat from the breast or lower chest."))
        )
        near.add(
            Row(.pair(prompt: "Define brisket.", completion: "brisket; a cut of meat from the breast or lower chest.")))
        near.add(Row(.text("Brisket: a cut of meat from the breast or lower chest.")))
        #expect(near.owners == [0, 1, 0, 3, 3, 3])
    }

    @Test func hostileTexts() {
        var near = NearDuplicates(snapshot: snapshot)
        // Short, empty, zero bytes, one byte many times: each its own.
        for text in [
            [], [0], [0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0, 0], [UInt8](repeating: 65, count: 30_000),
        ] {
            _ = near.add(text: text)
        }
        #expect(near.owners == [0, 1, 2, 3, 4, 5, 6])
        #expect(near.add(text: [UInt8](repeating: 65, count: 29_000)) == 6)
        // One band's bucket full of different texts is looked at only so far.
        var full = NearDuplicates(snapshot: snapshot, shape: MinHashShape(bands: 2, rowsPerBand: 1, bucketMax: 2))
        for text in texts(seed: 5, count: 500) { #expect(full.add(text: text) != nil) }
        // Texts of one form, none alike with another: many candidates, few comparisons, and the twin of one is found.
        let crowd = (0..<400).map { number in
            Array(
                "the capital of the province of number \(number * 7919 % 100_003) is the town of \(number * 104_729 % 99_991)"
                    .utf8)
        }
        var crowded = NearDuplicates(
            snapshot: snapshot, shape: MinHashShape(bands: 32, rowsPerBand: 1, bucketMax: 1000, comparedMax: 8))
        let all = crowd + [crowd[333] + Array(".".utf8)]
        for text in all { #expect(crowded.add(text: text) != nil) }
        #expect(crowded.owners == bruteForce(all))
        #expect(crowded.owners.last == 333)
        #expect(crowded.compared > crowd.count * 4 && crowded.compared <= all.count * 8)
        // Nothing is taken where there is no room.
        var rest = NearDuplicates(snapshot: snapshot)
        let big = [UInt8](repeating: 7, count: NearDuplicates.textBytesMax + 1)
        #expect(rest.add(text: big) == nil)
        #expect(rest.owners.isEmpty)
    }

    @Test func theKeyIsTheSnapshots() {
        // A text whose bands differ from another's under one key has no reason to under the next.
        let rows = texts(seed: 3, count: 600)
        let weak = MinHashShape(bands: 3, rowsPerBand: 6)
        func missed(_ byte: UInt8) -> Set<Int> {
            var near = NearDuplicates(snapshot: CID(.dagCBOR, hashing: [byte]), shape: weak)
            for row in rows { _ = near.add(text: row) }
            let expected = bruteForce(rows)
            return Set(rows.indices.filter { near.owners[$0] != expected[$0] })
        }
        let (one, other) = (missed(1), missed(2))
        #expect(!one.isEmpty && one != other)
    }

    @Test func starterRowsKeepTheirOwners() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let url = root.appendingPathComponent("Bootstrap/starter/datanets/food.jsonl")
        let lines = try Data(contentsOf: url).split(separator: 0x0a).prefix(1500).joined(separator: [0x0a])
        let rows = RowFile(jsonl: Array(lines), name: "food").rows.map(\.row)
        var near = NearDuplicates(snapshot: snapshot)
        for row in rows { near.add(row) }
        #expect(near.owners == bruteForce(rows.map(Shingles.text(of:))))
        let exact = Set(rows.map(\.completionHash)).count
        let owners = Set(near.owners).count
        print("near duplicates in food: \(rows.count) rows, \(exact) texts, \(owners) clusters")
        #expect(owners <= exact && owners > exact * 8 / 10)
    }
}
