// Where shards go: rendezvous hashing's promises, and the messages of proofs.

import Primitives
import Testing

@testable import NodeCore

private func peer(_ seed: Int) throws -> PeerID {
    try SigningKey(seed: Digest(sha256: Array("keeper \(seed)".utf8)).bytes).publicKey.peerID
}

private func shard(_ number: Int) -> CID { CID(.dagCBOR, hashing: Array("shard \(number)".utf8)) }

@Suite struct PlacementTests {
    /// Computed with Python's hashlib and exact integers from Protocol/keeping.md.
    @Test func lotsAreThoseOfThePage() throws {
        let keeper = Placement.Keeper(peer: try peer(1), lent: 64 << 20)
        #expect(Placement.lot(shard(1), keeper) == 57977946112)
    }

    @Test func whoLeavesMovesOnlyWhatIsHis() throws {
        let keepers = try (0..<12).map { Placement.Keeper(peer: try peer($0), lent: 512 << 20) }
        var moved = 0
        for number in 0..<500 {
            let before = Placement.first(3, of: keepers, for: shard(number))
            #expect(Set(before).count == 3)
            #expect(Placement.first(3, of: keepers.reversed(), for: shard(number)) == before)
            let after = Placement.first(3, of: Array(keepers.dropFirst()), for: shard(number))
            if before.contains(keepers[0].peer) {
                moved += 1
                #expect(Set(before).subtracting([keepers[0].peer]).isSubset(of: after))
            } else {
                #expect(after == before)
            }
        }
        // 3 of 12, give or take five deviations.
        #expect((77...173).contains(moved))
        #expect(Placement.first(3, of: Array(keepers.prefix(2)), for: shard(1)).count == 2)
    }

    @Test func whoLendsTwiceAsMuchKeepsTwiceAsMuch() throws {
        let keepers = try (0..<8).map { Placement.Keeper(peer: try peer($0), lent: ($0 < 4 ? 1 : 2) << 30) }
        var counts = [0, 0]
        for number in 0..<4000 {
            let first = try #require(Placement.first(1, of: keepers, for: shard(number)).first)
            let index = try #require(keepers.firstIndex { $0.peer == first })
            counts[index / 4] += 1
        }
        // A third and two thirds: 1333 of 4000, five deviations of 30.
        #expect((1184...1482).contains(counts[0]))
    }

    @Test func wireForms() throws {
        let nonce = [UInt8](repeating: 7, count: 16)
        let messages: [KeepMessage] = [
            .prove(nonce: nonce, shards: (0..<16).map(shard)), .proofs([Digest.zero, nil]),
            .refused(code: "busy", message: "no"),
        ]
        for message in messages {
            let bytes = message.encoded()
            #expect(bytes.count <= KeepMessage.bytesMax)
            #expect(try KeepMessage(decoding: bytes) == message)
            for length in bytes.indices {
                #expect(throws: CBORFault.self) { try KeepMessage(decoding: Array(bytes.prefix(length))) }
            }
            for index in bytes.indices {
                for bit in 0..<8 {
                    var damaged = bytes
                    damaged[index] ^= 1 << UInt8(bit)
                    if let other = try? KeepMessage(decoding: damaged) { #expect(other != message) }
                }
            }
        }
        for bad in [
            KeepMessage.prove(nonce: nonce, shards: []), .prove(nonce: [1], shards: [shard(1)]),
            .prove(nonce: nonce, shards: (0..<17).map(shard)),
            .prove(nonce: nonce, shards: [CID(.raw, hashing: [1])]),
        ] {
            #expect(throws: CBORFault.self) { try KeepMessage(decoding: bad.encoded()) }
        }
        let block: [UInt8] = [1, 2, 3]
        let mine = KeepMessage.proof(nonce, of: block, by: try peer(1))
        #expect(mine != KeepMessage.proof(nonce, of: block, by: try peer(2)))
    }
}
