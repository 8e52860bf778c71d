// Seeds of the simulator. A run of several hundred short ones, those that once failed, the same seed twice, and a planted
// bug that must be found. OPENLEDGER_SEEDS=N runs N seeds, OPENLEDGER_FIRST_SEED=M begins with M.

import Foundation
import Primitives
import Simulation
import Testing

private let all = SimulatedFault.allCases.map(\.rawValue)

/// Mostly small networks, now and then the largest, and every few seeds one kind of fault alone.
private func options(seed: UInt64) throws -> SimulationOptions {
    let peers = seed % 100 == 50 ? 16 : [4, 4, 5, 4, 1, 4, 7, 4, 3, 4][Int(seed % 10)]
    // A network's first words to each other grow with its square.
    let steps = peers < 6 ? 300 : peers == 16 ? 4000 : 1000
    let one = [all[Int(seed / 3 % UInt64(all.count))]]
    return try SimulationOptions(
        seed: seed, peers: peers, steps: steps, faults: seed % 3 == 0 ? one : all)
}

private func number(_ name: String, or standard: UInt64) -> UInt64 {
    ProcessInfo.processInfo.environment[name].flatMap(UInt64.init) ?? standard
}

@Suite struct SimulationTests {
    @Test func seedsHold() throws {
        let first = number("OPENLEDGER_FIRST_SEED", or: 1)
        var answers = 0
        var batches: UInt64 = 0
        var audits = 0
        var shareAudits = 0
        var accused = 0
        for seed in first..<(first + number("OPENLEDGER_SEEDS", or: 500)) {
            let report = try runSimulation(options(seed: seed))
            answers += report.answers
            batches += report.batches
            audits += report.audits
            shareAudits += report.shareAudits
            accused += report.accused
            #expect(report.holds, "\(String(decoding: report.json.serialized(), as: UTF8.self))")
        }
        // What never happens proves nothing.
        #expect(answers > 0 && batches > 0 && audits > 0 && shareAudits > 0 && accused > 0)
    }

    /// A seed that failed once is a file "seed peers steps faults" and is replayed for ever.
    @Test func seedsThatFailedOnceHold() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Seeds")
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        for file in files.sorted(by: { $0.path < $1.path }) where file.pathExtension == "seed" {
            let words = try String(contentsOf: file, encoding: .utf8).split(whereSeparator: \.isWhitespace)
            let seed = try #require(words.first.flatMap { UInt64($0) })
            let peers = try #require(words.dropFirst().first.flatMap { Int($0) })
            let steps = try #require(words.dropFirst(2).first.flatMap { Int($0) })
            let faults = try #require(words.dropFirst(3).first).split(separator: ",").map(String.init)
            let report = try runSimulation(
                SimulationOptions(seed: seed, peers: peers, steps: steps, faults: faults == ["none"] ? [] : faults))
            #expect(report.holds, "\(file.lastPathComponent): \(report.violations)")
        }
    }

    @Test func aSeedReplays() throws {
        for peers in [1, 4, 7] {
            let options = try SimulationOptions(seed: 42, peers: peers, steps: 400, faults: all)
            let first = try runSimulation(options)
            let second = try runSimulation(options)
            #expect(first.digest == second.digest)
            #expect(first.events == second.events)
        }
        let other = try runSimulation(SimulationOptions(seed: 43, peers: 4, steps: 400, faults: all))
        #expect(
            try runSimulation(SimulationOptions(seed: 42, peers: 4, steps: 400, faults: all)).digest != other.digest)
    }

    /// Disks that say "durable" of what is not: some seed must show what that costs.
    @Test func thePlantedBugIsFound() throws {
        var found = 0
        for seed in UInt64(300)..<312 {
            let options = try SimulationOptions(seed: seed, peers: 4, steps: 1500, faults: ["crash"])
            if try !runSimulation(options, planted: .lyingDisk).holds { found += 1 }
        }
        #expect(found > 0)
    }

    /// A server that answers with other tokens than its model's is found, and nobody else is accused.
    @Test func aLyingServerIsFound() throws {
        var found = 0
        for seed in UInt64(900)..<912 {
            let report = try runSimulation(
                SimulationOptions(seed: seed, peers: 4, steps: 16_000, faults: ["byzantine"]))
            #expect(report.holds, "\(report.violations)")
            #expect(report.audits + report.shareAudits > 0 && report.accused <= 1)
            found += report.accused
        }
        #expect(found >= 10)
        for seed in UInt64(900)..<906 {
            let report = try runSimulation(SimulationOptions(seed: seed, peers: 4, steps: 3000, faults: []))
            #expect(
                report.holds && report.audits + report.shareAudits > 0 && report.accused == 0, "\(report.violations)")
        }
    }

    /// Kernels that do not give the same bits twice: an honest server is accused, and the checker must see it.
    @Test func wobblyKernelsAreFound() throws {
        var found = 0
        for seed in UInt64(400)..<406 {
            let options = try SimulationOptions(seed: seed, peers: 4, steps: 3000, faults: [])
            let report = try runSimulation(options, planted: .wobblyKernels)
            if report.violations.contains(where: { $0.contains("honest server") }) { found += 1 }
        }
        #expect(found > 0)
    }

    /// Scales that do not weigh the same twice: an honest server is accused of its shares, and the checker must see it.
    @Test func wobblyScalesAreFound() throws {
        var found = 0
        for seed in UInt64(400)..<406 {
            let options = try SimulationOptions(seed: seed, peers: 4, steps: 3000, faults: [])
            let report = try runSimulation(options, planted: .wobblyScales)
            if report.violations.contains(where: { $0.contains("honest server") }) { found += 1 }
        }
        #expect(found > 0)
    }

    @Test func whatCannotBeSimulatedIsRefused() {
        #expect(throws: SimulationFault.self) { try SimulationOptions(seed: 1, peers: 0, steps: 1, faults: []) }
        #expect(throws: SimulationFault.self) { try SimulationOptions(seed: 1, peers: 17, steps: 1, faults: []) }
        #expect(throws: SimulationFault.self) { try SimulationOptions(seed: 1, peers: 4, steps: 1, faults: ["rain"]) }
    }
}
