import Ledger
import Primitives
import Testing

@testable import Sequencing

@Suite struct ConsensusMessageTests {
    private func messages() throws -> [ConsensusMessage] {
        let network = try ConsensusNetwork(members: 4, seed: 1, faults: Faults())
        network.setWork(true)
        try network.run(until: .start + .seconds(5)) { network.heights.allSatisfy { $0 >= 2 } }
        let certified = try #require(network.homes[0].chain.last)
        let vote = SignedVote(
            Vote(kind: .notarize, height: 1, view: 2, digestVoted: certified.header.digest), by: network.keys[0],
            network: network.network)
        return [
            .proposal(Proposal(batch: certified.batch, vote: vote)), .votes([vote]),
            .certificate(certified.certificate),
            .standing(Standing(height: 3, view: 4, votes: [vote], certificates: [certified.certificate])),
            .final(FinalHeader(header: certified.header, certificate: certified.certificate)),
            .final(FinalHeader(header: network.genesis, certificate: nil)),
            .want(Want(views: [1, 2], batches: [.zero])),
        ]
    }

    @Test func everyMessageComesBack() throws {
        for message in try messages() {
            #expect(try ConsensusMessage(decoding: message.encoded()) == message)
        }
    }

    @Test func nothingElseDecodes() throws {
        for message in try messages() {
            let bytes = message.encoded()
            for length in stride(from: 0, to: bytes.count, by: 7) {
                #expect(throws: CBORFault.self) { try ConsensusMessage(decoding: Array(bytes[..<length])) }
            }
            #expect(throws: CBORFault.self) { try ConsensusMessage(decoding: bytes + [0]) }
        }
        let unknown = CBOR.map(["type": .text("gossip")]).encoded()
        #expect(throws: CBORFault.self) { try ConsensusMessage(decoding: unknown) }
        let extra = CBOR.map(["type": .text("want"), "views": .array([]), "batches": .array([]), "x": .null]).encoded()
        #expect(throws: CBORFault.self) { try ConsensusMessage(decoding: extra) }
        let many = CBOR.array(Array(repeating: .unsigned(1), count: ConsensusLimits.wantedMax + 1))
        let tooMany = CBOR.map(["type": .text("want"), "views": many, "batches": .array([])]).encoded()
        #expect(throws: CBORFault.self) { try ConsensusMessage(decoding: tooMany) }
    }

    /// Random damage never traps, and what decodes encodes to the same bytes.
    @Test func damageIsRefusedOrCanonical() throws {
        var random = SeededRandom(seed: 5)
        for message in try messages() {
            let bytes = message.encoded()
            for _ in 0..<200 {
                var damaged = bytes
                for _ in 0...random.below(3) {
                    damaged[Int(random.below(UInt64(bytes.count)))] = UInt8(truncatingIfNeeded: random.next())
                }
                if let decoded = try? ConsensusMessage(decoding: damaged) { #expect(decoded.encoded() == damaged) }
            }
        }
    }

    @Test func recordsComeBack() throws {
        guard case .proposal(let proposal) = try messages()[0] else { return }
        for record in [
            VoteRecord(votes: [proposal.vote], proposal: proposal), VoteRecord(votes: [proposal.vote], proposal: nil),
        ] {
            #expect(try VoteRecord(decoding: record.encoded()) == record)
        }
    }
}
