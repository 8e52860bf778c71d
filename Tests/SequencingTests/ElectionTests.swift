import Ledger
import Primitives
import Testing

@testable import Sequencing

@Suite struct ElectionTests {
    private func candidate(
        _ name: Int, stake: UInt64, contribution: UInt64 = 0, from: UInt64 = 0, through: UInt64 = 100
    ) throws -> Candidacy {
        let key = try SigningKey(seed: Digest(sha256: Array("candidate \(name)".utf8)).bytes).publicKey
        return Candidacy(
            account: key.account, key: key, stake: try Amount.one.multiplied(by: stake),
            contribution: try Amount.one.multiplied(by: contribution), eligibleFrom: from, liveThrough: through)
    }

    private func incumbent(_ candidate: Candidacy) throws -> Committee {
        try Committee(epoch: 4, members: [Member(account: candidate.account, key: candidate.key, seats: 64)])
    }

    private func seats(_ committee: Committee, _ candidate: Candidacy) -> UInt64 {
        committee.members.first { $0.account == candidate.account }?.seats ?? 0
    }

    @Test func belowFourTheIncumbentContinues() throws {
        let three = try (0..<3).map { try candidate($0, stake: 5) }
        let incumbent = try incumbent(three[0])
        let next = Election.committee(after: incumbent, beacon: .zero, candidates: three)
        #expect(next.epoch == 5)
        #expect(next.members == incumbent.members)
    }

    @Test func fourEqualsShareTheSeats() throws {
        let four = try (0..<4).map { try candidate($0, stake: 5) }
        let next = Election.committee(after: try incumbent(four[0]), beacon: .zero, candidates: four)
        #expect(next.members.map(\.seats) == [16, 16, 16, 16])
        #expect(next.quorum == 43)
    }

    @Test func nobodyCanBlockAlone() throws {
        for whale in [UInt64(1), 10, 1000, 1_000_000] {
            var candidates = try (0..<6).map { try candidate($0, stake: 1) }
            candidates.append(try candidate(6, stake: whale))
            candidates.append(try candidate(7, stake: whale * whale))
            for byte in UInt8(0)..<20 {
                let next = Election.committee(
                    after: try incumbent(candidates[0]), beacon: Digest(sha256: [byte]), candidates: candidates)
                #expect(next.seats == 64)
                #expect(next.members.allSatisfy { $0.seats <= 21 })
            }
        }
    }

    @Test func seatsFollowWeight() throws {
        let candidates = try (1...10).map { try candidate($0, stake: UInt64($0)) }
        for byte in UInt8(0)..<20 {
            let next = Election.committee(
                after: try incumbent(candidates[0]), beacon: Digest(sha256: [byte]), candidates: candidates)
            for (index, candidate) in candidates.enumerated() {
                let exact = Double(64 * (index + 1)) / 55
                let won = Double(seats(next, candidate))
                #expect(won >= exact.rounded(.down) && won <= exact.rounded(.up))
            }
        }
    }

    @Test func contributionCountsUpToTheStake() throws {
        let candidates = [
            try candidate(0, stake: 10, contribution: 1_000_000), try candidate(1, stake: 10, contribution: 10),
            try candidate(2, stake: 20), try candidate(3, stake: 20),
        ]
        let next = Election.committee(after: try incumbent(candidates[0]), beacon: .zero, candidates: candidates)
        #expect(candidates.map { seats(next, $0) } == [16, 16, 16, 16])
    }

    @Test func absenteesLatecomersAndTheStakelessAreNotDrawn() throws {
        var candidates = try (0..<5).map { try candidate($0, stake: 5) }
        candidates.append(try candidate(5, stake: 5, from: 6))
        candidates.append(try candidate(6, stake: 5, through: 4))
        candidates.append(try candidate(7, stake: 0, contribution: 50))
        let next = Election.committee(after: try incumbent(candidates[0]), beacon: .zero, candidates: candidates)
        #expect(next.members.count == 5)
        for index in 5...7 { #expect(seats(next, candidates[index]) == 0) }
    }

    @Test func theOutcomeDependsOnTheBeaconAndNotOnTheOrder() throws {
        let candidates = try (0..<100).map { try candidate($0, stake: 5) }
        let incumbent = try incumbent(candidates[0])
        let first = Election.committee(after: incumbent, beacon: .zero, candidates: candidates)
        let again = Election.committee(after: incumbent, beacon: .zero, candidates: candidates.reversed())
        let other = Election.committee(after: incumbent, beacon: Digest(sha256: [1]), candidates: candidates)
        #expect(first == again)
        #expect(first != other)
        #expect(first.members.count == 64)
    }

    @Test func leadersAreDrawnBySeats() throws {
        let four = try (0..<4).map { try candidate($0, stake: 5) }
        let committee = try Committee(
            epoch: 5,
            members: zip(four, [1, 2, 3, 58] as [UInt64]).map { Member(account: $0.account, key: $0.key, seats: $1) })
        let schedule = LeaderSchedule(committee: committee, seed: .zero)
        var led: [AccountID: Int] = [:]
        for view in UInt64(0)..<6400 { led[schedule.leader(of: view).account, default: 0] += 1 }
        for member in committee.members {
            let expected = Double(member.seats) * 100
            #expect(abs(Double(led[member.account] ?? 0) - expected) < 5 * expected.squareRoot())
        }
    }

    @Test func onlyTheProposersOwnStepOfTheBeaconCounts() throws {
        let network = try ConsensusNetwork(members: 4, seed: 1, faults: Faults())
        let key = network.keys[0]
        let step = Beacon.step(after: network.genesis, key: key)
        var header = network.genesis
        header.height = 1
        header.beacon = step.beacon
        header.beaconProof = step.proof
        #expect(Beacon.isStep(header, after: network.genesis, key: key.publicKey))
        #expect(!Beacon.isStep(header, after: network.genesis, key: network.keys[1].publicKey))
        var other = header
        other.beacon = .zero
        #expect(!Beacon.isStep(other, after: network.genesis, key: key.publicKey))
        var later = network.genesis
        later.height = 7
        #expect(!Beacon.isStep(header, after: later, key: key.publicKey))
        other = header
        other.beaconProof = nil
        #expect(!Beacon.isStep(other, after: network.genesis, key: key.publicKey))
    }
}
