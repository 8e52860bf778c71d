// Shards on several peers, in virtual time: spread, repaired, settled, pulled without their owner.

import Primitives
import Simulation
import Testing

@Suite struct KeepingTests {
    @Test(arguments: [UInt64(1), 2])
    func aDatanetOutlivesTwoKeepersAndItsOwner(_ seed: UInt64) throws {
        let report = try runKeeping(seed: seed, peers: 7)
        #expect(report.violations == [])
        #expect(report.isPulled && report.shards >= 6)
        // An advert lives ten minutes; then the next in line takes over.
        #expect((report.repairSeconds ?? .max) <= 720)
        #expect(report.copies.map(\.least) == [3, 3, 3] && report.copies.last?.most == 3)
    }

    /// Seen on the disks and by the proofs, or the story checks nothing.
    @Test func theForgetfulKeeperIsFound() throws {
        let found = try runKeeping(seed: 1, peers: 6, planted: .forgetfulKeeper).violations
        #expect(found.contains { $0.contains("is on 2 disks") })
        #expect(found.contains { $0.contains("the owner sees") })
    }
}
