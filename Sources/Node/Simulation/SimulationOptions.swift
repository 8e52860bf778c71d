// What to simulate, and what came of it. A run is named by its options alone: the same options give the same digest in
// every process on every machine, so a failing run is one command to replay.

package import Primitives

/// What may go wrong in a run.
package enum SimulatedFault: String, Hashable, Sendable, CaseIterable {
    /// Consensus messages vanish and connections break.
    case loss
    /// Consensus and gossip messages come twice.
    case duplicate
    /// Some messages take seconds.
    case delay
    /// The peers fall into two groups that do not reach each other.
    case partition
    /// A peer stops; what its disk had not synced is gone.
    case crash
    /// One peer contradicts itself, overcharges, corrupts blocks and replays.
    case byzantine
    /// A payer or a server leaves in the middle of an answer.
    case vanish
}

package enum SimulationFault: Error, Hashable, Sendable, CustomStringConvertible {
    case peers(Int, max: Int)
    case unknownFault(String)
    /// A bug of the simulator or the ledger: the network of the run cannot be founded.
    case genesis(String)

    package var description: String {
        switch self {
        case .peers(let count, let max): "a simulation has 1 to \(max) peers, not \(count)"
        case .unknownFault(let name):
            "there is no fault \(name); there are: "
                + SimulatedFault.allCases.map(\.rawValue).joined(separator: ", ")
        case .genesis(let reason): "the simulated network cannot be founded: \(reason)"
        }
    }
}

package struct SimulationOptions: Hashable, Sendable {
    package static let peersMax = 16

    package let seed: UInt64
    package let peers: Int
    /// Events before the faults end and everything must heal.
    package let steps: Int
    package let faults: Set<SimulatedFault>

    package init(seed: UInt64, peers: Int, steps: Int, faults: [String]) throws(SimulationFault) {
        guard (1...Self.peersMax).contains(peers) else { throw .peers(peers, max: Self.peersMax) }
        var chosen: Set<SimulatedFault> = []
        for name in faults {
            guard let fault = SimulatedFault(rawValue: name == "duplication" ? "duplicate" : name) else {
                throw .unknownFault(name)
            }
            chosen.insert(fault)
        }
        self.seed = seed
        self.peers = peers
        self.steps = max(1, steps)
        self.faults = chosen
    }
}

/// A bug put into the simulated world on purpose: the checkers must find it, or they check nothing.
package enum PlantedBug: Sendable {
    /// Disks say that a write is durable when it is not.
    case lyingDisk
    /// An engine now and then gives other tokens than it gave before.
    case wobblyKernels
    /// Evidence now and then weighs otherwise than it did before.
    case wobblyScales
    /// A keeper does not keep what it takes.
    case forgetfulKeeper
}

package struct SimulationReport: Sendable {
    package let options: SimulationOptions
    /// Events handled, healing included.
    package let events: Int
    /// Virtual time from start to end.
    package let virtualTime: Span
    /// SHA-256 chained over every event: time, peer, kind, bytes.
    package let digest: Digest
    package let batches: UInt64
    package let receipts: Int
    package let transactions: Int
    package let answers: Int
    /// Verdicts that honest peers reached or were given.
    package let audits: Int
    /// The same of shares.
    package let shareAudits: Int
    /// Servers that an honest peer does not choose any more.
    package let accused: Int
    /// Crashes, cuts, vanishings and the like that took place.
    package let mishaps: Int
    /// What did not hold, in the order in which it was found.
    package let violations: [String]

    package var holds: Bool { violations.isEmpty }

    package var json: JSONValue {
        func number(_ value: some BinaryInteger) -> JSONValue { .number("\(value)") }
        let members: [(String, JSONValue)] = [
            ("seed", number(options.seed)), ("peers", number(options.peers)), ("steps", number(options.steps)),
            ("faults", .array(options.faults.map(\.rawValue).sorted().map(JSONValue.string))),
            ("digest", .string(digest.hex)), ("events", number(events)),
            ("virtualSeconds", number(virtualTime.milliseconds / 1000)), ("batches", number(batches)),
            ("receipts", number(receipts)), ("transactions", number(transactions)), ("answers", number(answers)),
            ("audits", number(audits)), ("shareAudits", number(shareAudits)), ("accused", number(accused)),
            ("mishaps", number(mishaps)), ("verdict", .string(holds ? "hold" : "broken")),
            ("violations", .array(violations.map(JSONValue.string))),
        ]
        return .members(members.map { JSONMember($0.0, $0.1) })
    }
}

package func runSimulation(_ options: SimulationOptions) throws(SimulationFault) -> SimulationReport {
    try runSimulation(options, planted: nil)
}

package func runSimulation(
    _ options: SimulationOptions, planted: PlantedBug?
) throws(SimulationFault) -> SimulationReport {
    let world = try SimulatedWorld(options, planted: planted)
    return world.run()
}
