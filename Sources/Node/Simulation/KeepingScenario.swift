// One story about keeping: an owner's datanet spreads over peers that lend disk, two of them leave for good and come back, the owner
// is lost, and somebody pulls the datanet from those that keep it. Disks are looked at, not words.

import Datanets
import NodeCore
package import Primitives
import Records

package struct KeepingReport: Sendable {
    package var shards = 0
    /// Copies besides the owner's, of the shard that has fewest and of that which has most: spread, repaired, settled.
    package var copies: [(least: Int, most: Int)] = []
    /// Seconds of virtual time from the loss of two keepers until every shard was on three again.
    package var repairSeconds: UInt64?
    package var isPulled = false
    package var events = 0
    package var digest = Digest.zero
    package var violations: [String] = []

    package init() {}
}

/// - Parameter peers: 6 to 16; the last one lends nothing.
package func runKeeping(
    seed: UInt64, peers: Int, planted: PlantedBug? = nil
) throws(SimulationFault) -> KeepingReport {
    let options = try SimulationOptions(seed: seed, peers: peers, steps: 1, faults: [])
    return try SimulatedWorld(options, planted: planted, keepLent: 64 << 20).keepingStory()
}

extension SimulatedWorld {
    private static let advertInterval = Span.seconds(120)
    private static let owner = 0
    private static let forgetful = 1

    fileprivate func keepingStory() -> KeepingReport {
        var report = KeepingReport()
        let reader = homes.count - 1
        if planted == .forgetfulKeeper { homes[Self.forgetful].disk.forgetsBlocks = true }
        for index in homes.indices { start(index) }
        meet()
        let create = DatanetCommand.create(
            name: "kept", summary: "of a simulation", tags: [], licence: "CC0-1.0", policy: .open,
            nonce: random.bytes(16))
        command(Self.owner, .datanet(create), "create")
        pass(.seconds(5))
        guard let id = workload.datanets.first else {
            report.violations.append("no datanet was founded")
            return report
        }
        for _ in 0..<2 {
            let rows = (0..<150).map { _ in
                Row(.pair(prompt: "q\(random.next())", completion: random.bytes(500).map { "\($0)" }.joined()))
            }
            command(Self.owner, .datanet(.contribute(rows, to: id, licence: "CC0-1.0")), "contribute")
            pass(.seconds(5))
        }
        pass(.seconds(300))
        look(id, &report, "spread")

        // Those that have most leave.
        let shards = homes[Self.owner].node?.datanets.shards(id) ?? []
        let gone = (1..<reader).sorted {
            let left = count(shards, $0), right = count(shards, $1)
            return left == right ? $0 < $1 : left > right
        }.prefix(2)
        let leftAt = now
        for index in gone { leave(index) }
        while now.since(leftAt) < .seconds(1200) {
            pass(.seconds(30))
            if shards.allSatisfy({ holders($0).count >= Placement.replicas }) {
                report.repairSeconds = now.since(leftAt).milliseconds / 1000
                break
            }
        }
        // The proofs come after the blocks.
        pass(KeepingReport.proofs)
        look(id, &report, "repaired")

        for index in gone { start(index) }
        meet()
        pass(.seconds(1500))
        look(id, &report, "settled")

        leave(Self.owner)
        command(reader, .datanet(.pull(id)), "pull")
        pass(.seconds(60))
        report.isPulled = homes[reader].node?.datanets.snapshot(id) != nil
        if !report.isPulled { report.violations.append("without its owner the datanet cannot be pulled") }
        report.events = events
        report.digest = digest
        report.violations += checker.violations
        return report
    }

    private func meet() {
        for index in homes.indices {
            for other in 0..<index { connect(index, other) }
        }
    }

    private func leave(_ index: Int) {
        crash(index, restarts: false)
    }

    /// Lets virtual time pass; whoever runs says again what it offers.
    private func pass(_ span: Span) {
        let end = now + span
        while now < end {
            for index in homes.indices where homes[index].node != nil { advertise(index) }
            run(until: min(end, now + Self.advertInterval))
        }
    }

    /// Running peers, but the owner, on whose disks the shard is.
    private func holders(_ shard: CID) -> [Int] {
        homes.indices.filter { $0 != Self.owner && homes[$0].node != nil && homes[$0].disk.block(shard) != nil }
    }

    private func count(_ shards: [CID], _ index: Int) -> Int {
        shards.count { homes[index].disk.block($0) != nil }
    }

    private func look(_ id: DatanetID, _ report: inout KeepingReport, _ phase: String) {
        guard let node = homes[Self.owner].node, let health = node.health(of: id) else {
            return report.violations.append("\(phase): the owner does not have his datanet")
        }
        let shards = node.datanets.shards(id)
        report.shards = shards.count
        let copies = shards.map { holders($0).count }
        report.copies.append((copies.min() ?? 0, copies.max() ?? 0))
        if shards.count < 6 { report.violations.append("\(phase): \(shards.count) shards say little") }
        for (shard, count) in zip(shards, copies) where count < Placement.replicas {
            report.violations.append("\(phase): \(shard) is on \(count) disks")
        }
        if phase == "settled", copies.contains(where: { $0 > Placement.replicas }) {
            report.violations.append("\(phase): more copies than are to be kept: \(copies)")
        }
        if health.copies[Placement.replicas] != shards.count {
            report.violations.append("\(phase): the owner sees \(health.copies) of \(shards.count)")
        }
        for keeper in health.keepers {
            guard let index = indexes[keeper.peer], homes[index].node != nil else { continue }
            let found = count(shards, index)
            // What a peer let go of since it proved it was to spare.
            if keeper.shards > found, phase != "settled" {
                report.violations.append("\(phase): peer \(index) proved \(keeper.shards) shards and has \(found)")
            }
        }
    }
}

extension KeepingReport {
    fileprivate static let proofs = Span.seconds(240)
}
