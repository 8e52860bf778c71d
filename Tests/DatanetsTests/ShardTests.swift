import Primitives
import Testing

@testable import Datanets

func signingKey(_ number: UInt8) -> SigningKey {
    do {
        return try SigningKey(seed: [UInt8](repeating: number, count: 32))
    } catch {
        preconditionFailure("a seed of 32 bytes is a key")
    }
}

let testNetwork = NetworkID(Digest(sha256: [1, 2, 3]))

func makeRows(_ count: Int, seed: UInt64) -> [Row] {
    var random = SeededRandom(seed: seed)
    return (0..<count).map { index in
        let words = (0..<3 + random.below(40)).map { _ in "w\(random.below(500))" }.joined(separator: " ")
        return Row(.pair(prompt: "Define \(seed)-\(index).", completion: words), id: "\(index)")
    }
}

@Suite struct ShardTests {
    let author = signingKey(1)

    @Test(arguments: [1, 2, 3] as [UInt64]) func rowsSurviveTheCut(seed: UInt64) throws {
        let rows = makeRows(1500, seed: seed)
        let shards = Shard.cut(rows, contributor: author.publicKey.account, licence: "CC0")
        #expect(shards.count > 2)
        #expect(shards.flatMap(\.rows) == rows)
        for shard in shards {
            let block = shard.encoded()
            #expect(block.count < DatanetLimits.shardBytesMax)
            #expect(try Shard(decoding: block) == shard)
        }
        // All but the last are as full as they can be.
        for shard in shards.dropLast() { #expect(shard.encoded().count > 40_000) }
        #expect(Shard.cut([], contributor: author.publicKey.account, licence: "CC0").isEmpty)
    }

    @Test func everyFlippedByteIsNoticed() throws {
        let rows = makeRows(20, seed: 4)
        let shards = Shard.cut(rows, contributor: author.publicKey.account, licence: "CC0")
        let datanet = DatanetID(Digest(sha256: [9]))
        let contribution = Contribution(
            shards, to: datanet, contributor: author.publicKey.account, licence: "CC0", sequence: 0)
        let block = shards[0].encoded()
        #expect(try contribution.verify([block]) == shards)
        for index in stride(from: 0, to: block.count, by: 37) {
            var bad = block
            bad[index] ^= 4
            #expect(throws: DatanetFault.wrongBlock(contribution.shards[0])) { try contribution.verify([bad]) }
        }
        let envelope = contribution.signed(by: author, network: testNetwork)
        #expect(try Contribution.open(envelope, network: testNetwork) == contribution)
        for index in envelope.indices {
            var bad = envelope
            bad[index] ^= 1
            #expect(throws: DatanetFault.self) { try Contribution.open(bad, network: testNetwork) }
        }
        #expect(throws: DatanetFault.badSignature) {
            try Contribution.open(envelope, network: NetworkID(Digest(sha256: [4])))
        }
        let forged = contribution.signed(by: signingKey(2), network: testNetwork)
        #expect(throws: DatanetFault.self) { try Contribution.open(forged, network: testNetwork) }
    }

    /// The planted canary: a contributor who claims one row more than there are must be found out.
    @Test func falseClaimsAreFoundOut() throws {
        let account = author.publicKey.account
        let shards = Shard.cut(makeRows(10, seed: 5), contributor: account, licence: "CC0")
        let more = Shard.cut(makeRows(11, seed: 5), contributor: account, licence: "CC0")
        let datanet = DatanetID(Digest(sha256: [9]))
        let honest = Contribution(shards, to: datanet, contributor: account, licence: "CC0", sequence: 0)
        var fields = try CBORFields(decoding: honest.encoded(), "Contribution")
        var pairs: [(String, CBOR)] = []
        for key in ["v", "datanet", "contributor", "shards", "rows", "bytes", "rowRoot", "license", "sequence"] {
            pairs.append((key, try fields.value(key)))
        }
        func altered(_ key: String, _ value: CBOR) throws -> Contribution {
            try Contribution(decoding: CBOR.map(pairs.map { $0.0 == key ? (key, value) : $0 }).encoded())
        }
        let block = shards[0].encoded()
        #expect(throws: DatanetFault.rowCount(claimed: 11, found: 10)) {
            try altered("rows", .unsigned(11)).verify([block])
        }
        #expect(throws: DatanetFault.byteCount(claimed: 7, found: UInt64(block.count))) {
            try altered("bytes", .unsigned(7)).verify([block])
        }
        #expect(throws: DatanetFault.rowRoot) { try altered("rowRoot", .digest(.zero)).verify([block]) }
        #expect(throws: DatanetFault.foreignShard(index: 0)) {
            try altered("license", .text("MIT")).verify([block])
        }
        #expect(throws: DatanetFault.wrongBlock(honest.shards[0])) { try honest.verify([more[0].encoded()]) }
        #expect(throws: DatanetFault.shardCount(expected: 1, found: 0)) { try honest.verify([]) }
    }

    @Test func rowsAndShardsThatBreakTheRulesAreRefused() throws {
        let row = CBOR.map(["prompt": .text("x")])
        #expect(throws: CBORFault.self) { try Row(cbor: row) }
        #expect(throws: CBORFault.self) { try Row(cbor: .map(["text": .text("")])) }
        #expect(throws: CBORFault.self) { try Row(cbor: .map(["text": .text("x"), "colour": .text("red")])) }
        let empty = CBOR.map([
            "v": .unsigned(1), "contributor": .account(author.publicKey.account), "license": .text("CC0"),
            "rows": .array([]),
        ])
        #expect(throws: CBORFault.self) { try Shard(decoding: empty.encoded()) }
        let large = [UInt8](repeating: 0, count: DatanetLimits.shardBytesMax + 1)
        #expect(throws: CBORFault.tooLarge(large.count)) { try Shard(decoding: large) }
    }
}

@Suite struct NormalisationTests {
    /// The way for ASCII answers what the general one does.
    @Test func bothWaysAgree() {
        var random = SeededRandom(seed: 5)
        let letters = Array("aZz0 \t\n\u{0b}\u{0c}\r\u{1c}\u{1f}\u{7f}.,İſKÅ\u{85}\u{a0}é😀\u{2003}".unicodeScalars)
        for _ in 0..<4000 {
            var text = String.UnicodeScalarView()
            let range = random.next() % 2 == 0 ? 15 : letters.count
            for _ in 0..<random.next() % 24 { text.append(letters[Int(random.next() % UInt64(range))]) }
            #expect(Row.normalise(String(text)) == Row.normaliseScalars(String(text)))
        }
        #expect(Row.normalise("  Beef\t RIBS ") == Array("beef ribs".utf8))
    }
}
