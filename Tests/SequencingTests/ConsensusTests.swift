import Foundation
import Ledger
import Primitives
import Testing

@testable import Sequencing

@Suite struct ConsensusTests {
    private func seconds(_ count: UInt64) -> Instant { Instant.start + .seconds(count) }

    @Test(arguments: [1, 4, 7, 16])
    func makesBatchesFinalWhileThereIsWork(members: Int) throws {
        let network = try ConsensusNetwork(members: members, seed: 1, faults: Faults())
        network.setWork(true)
        try network.run(until: seconds(20), stepsMax: members == 16 ? 30_000 : 60_000) {
            network.heights.allSatisfy { $0 >= (members == 16 ? 5 : 30) }
        }
        #expect(
            network.heights.allSatisfy { $0 >= (members == 16 ? 5 : 30) },
            "\(network.heights) at \(network.now), \(network.steps) steps")
    }

    /// Three epochs of twelve batches: hand-overs happen, and views of the epochs do not meet.
    @Test func epochsHandOver() throws {
        let network = try ConsensusNetwork(members: 4, seed: 2, faults: Faults(lossPercent: 20))
        network.setWork(true)
        try network.run(until: seconds(200)) { network.heights.allSatisfy { $0 >= 30 } }
        let chain = network.homes[0].chain
        #expect(chain.count >= 30, "\(network.heights)")
        #expect(chain.filter { $0.header.next != nil }.map(\.header.height) == [12, 24])
        #expect(chain.allSatisfy { Views.epoch(of: $0.header.view) == $0.header.epoch })
    }

    @Test func anIdleNetworkRests() throws {
        let network = try ConsensusNetwork(members: 4, seed: 3, faults: Faults())
        try network.run(until: seconds(300))
        // A heartbeat every half minute, and little besides.
        #expect(network.heights.allSatisfy { (8...10).contains($0) }, "\(network.heights)")
        #expect(network.steps < 3000)
    }

    @Test func aDeadLeaderIsReplaced() throws {
        let network = try ConsensusNetwork(members: 4, seed: 4, faults: Faults())
        network.homes[2].core = nil
        network.setWork(true)
        try network.run(until: seconds(120)) { network.homes[0].chain.count >= 20 }
        #expect(network.homes[0].chain.count >= 20)
        #expect(
            !network.homes[0].chain.contains {
                $0.header.proposer
                    == network.committee.members.first {
                        $0.key == network.keys[2].publicKey
                    }?.account
            })
    }

    @Test func withoutAQuorumItStopsSafelyAndSaysSo() throws {
        let network = try ConsensusNetwork(members: 4, seed: 5, faults: Faults())
        network.homes[2].core = nil
        network.homes[3].core = nil
        network.setWork(true)
        try network.run(until: seconds(300))
        #expect(network.heights == [0, 0, 0, 0])
        guard case .stalled = network.homes[0].statuses.last else {
            Issue.record("not reported as stalled: \(network.homes[0].statuses)")
            return
        }
        network.start(2)
        network.start(3)
        network.setWork(true)
        try network.run(until: seconds(600)) { network.heights.allSatisfy { $0 >= 3 } }
        #expect(network.heights.allSatisfy { $0 >= 3 }, "\(network.heights)")
        #expect(network.homes[0].statuses.last == .live)
    }

    /// OPENLEDGER_SEEDS_MORE=50 runs that many further seeds of each storm.
    private static let seedsMore =
        ProcessInfo.processInfo.environment["OPENLEDGER_SEEDS_MORE"].flatMap { UInt64($0) } ?? 0

    private static let storms: [(members: Int, seeds: ClosedRange<UInt64>, faults: Faults)] = [
        (1, 1...2, Faults(crashEverySteps: 40)),
        (4, 1...3, Faults(lossPercent: 20, duplicatePercent: 10, crashEverySteps: 150, partitionEverySteps: 900)),
        (4, 100...101, Faults(lossPercent: 10, delayMillisecondsMax: 400, crashEverySteps: 300, byzantine: 1)),
        (7, 1...2, Faults(lossPercent: 15, duplicatePercent: 5, crashEverySteps: 300, byzantine: 3)),
        (16, 1...1, Faults(lossPercent: 10, crashEverySteps: 2000, partitionEverySteps: 5000, byzantine: 5)),
    ]

    /// Whatever is lost, late, cut off, killed or lied about: one certified header a height, no member contradicts
    /// itself, and when the storm is over the chain goes on.
    @Test(arguments: storms.indices)
    func storm(_ index: Int) throws {
        let (members, seeds, faults) = Self.storms[index]
        for seed in seeds.lowerBound...(seeds.upperBound + Self.seedsMore) {
            let network = try ConsensusNetwork(members: members, seed: seed, faults: faults)
            network.setWork(true)
            let stepsMax = members == 16 ? 4_000 : 2_000
            try network.run(until: seconds(240), stepsMax: stepsMax)
            let before = network.heights.max() ?? 0
            network.heal()
            let end = network.now + .seconds(400)
            try network.run(until: end, stepsMax: network.steps + 40_000) {
                network.homes.allSatisfy { $0.core != nil } && network.heights.allSatisfy { $0 >= before + 3 }
            }
            #expect(
                network.heights.allSatisfy { $0 >= before + 3 },
                "seed \(seed): \(before) before, \(network.heights) after, steps \(network.steps)")
        }
    }

    @Test func aLeaderWhoProposesTwiceIsEvidence() throws {
        let network = try ConsensusNetwork(members: 4, seed: 9, faults: Faults(byzantine: 1))
        network.setWork(true)
        try network.run(until: seconds(60), stepsMax: 20_000) { network.heights.allSatisfy { $0 >= 10 } }
        let accused = Set(network.homes.flatMap(\.evidence))
        #expect(accused == [network.keys[1].publicKey.account])
    }

    @Test func aSeedReplays() throws {
        func run() throws -> Digest {
            let faults = Faults(lossPercent: 20, duplicatePercent: 10, crashEverySteps: 200, byzantine: 2)
            let network = try ConsensusNetwork(members: 7, seed: 77, faults: faults)
            network.setWork(true)
            try network.run(until: seconds(60), stepsMax: 4_000)
            return network.traceDigest
        }
        #expect(try run() == run())
    }

    /// The canary: a disk that says "synced" and forgets must be found by the checks, or they check nothing.
    @Test func votesThatAreNotDurableAreFound() throws {
        var found = 0
        for seed in UInt64(1)...12 where found == 0 {
            let faults = Faults(lossPercent: 20, crashEverySteps: 60, syncIsALie: true)
            let network = try ConsensusNetwork(members: 4, seed: seed, faults: faults)
            network.setWork(true)
            do {
                try network.run(until: seconds(240), stepsMax: 6_000)
            } catch is Violation {
                found += 1
            }
        }
        #expect(found > 0)
    }
}
