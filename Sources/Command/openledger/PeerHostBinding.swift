// The one place that binds the command to a peer.

import Foundation
import Logging
import Peer
import Primitives
import Simulation

let peerHost: any PeerHost = EmbeddedPeer()

struct EmbeddedPeer: PeerHost {
    func run(_ launch: PeerLaunch, ready: @escaping @Sendable (PeerReady) -> Void) async throws {
        var options = PeerOptions(home: launch.home)
        options.starter = launch.starter
        options.flags["network"] = launch.network
        options.flags["http"] = launch.http
        options.flags["role"] = launch.role
        if !launch.listen.isEmpty { options.flags["listen"] = launch.listen.joined(separator: ",") }
        if !launch.bootstrap.isEmpty { options.flags["bootstrap"] = launch.bootstrap.joined(separator: ",") }
        try await named {
            try await PeerProcess.run(options, logger: Self.logger(home: launch.home, options)) { note in
                ready(
                    PeerReady(
                        peer: note.peer, account: note.account, listen: note.listen, http: note.http, page: note.page,
                        network: note.network))
            }
        }
    }

    func offline(home: String, body: @escaping @Sendable (_ socketPath: String) async throws -> Void) async throws {
        let options = PeerOptions(home: home)
        try await named {
            try await PeerProcess.offline(options, logger: Self.logger(home: home, options, least: .error), body: body)
        }
    }

    func prepareDevnet(root: String, peers: Int, basePort: Int) async throws -> DevnetPlan {
        try await named {
            let made = try PeerProcess.prepareDevnet(root: root, peers: peers, basePort: basePort)
            return DevnetPlan(
                genesis: made.genesis, genesisFile: made.genesisFile, faucet: made.faucet,
                members: made.members.map {
                    DevnetPlan.Member(
                        home: $0.home, peer: $0.peer, listen: $0.listen, http: $0.http, address: $0.address)
                })
        }
    }

    func explainConfiguration(home: String) async throws -> JSONValue {
        try await named {
            let home = try Home(path: home)
            return try Settings(home: home, flags: [:], environment: ProcessInfo.processInfo.environment).explained
        }
    }

    func backUpKey(home: String, to file: String, passphrase: [UInt8]) async throws -> JSONValue {
        try await named {
            let key = try KeyBackup.write(try Home(path: home), to: file, passphrase: passphrase)
            return .object(["peer": .string(key.peerID.text), "file": .string(file)])
        }
    }

    func restoreKey(home: String, from file: String, passphrase: [UInt8]) async throws -> JSONValue {
        try await named {
            let key = try KeyBackup.restore(file, into: try Home(path: home), passphrase: passphrase)
            return .object(["peer": .string(key.peerID.text)])
        }
    }

    func simulate(_ plan: SimulationPlan) async throws -> JSONValue {
        do {
            let options = try SimulationOptions(
                seed: plan.seed, peers: plan.peers, steps: plan.steps, faults: plan.faults)
            return try runSimulation(options).json
        } catch {
            throw CommandFault(.usage, "\(error)")
        }
    }

    var benchmarks: [String] { PeerBenchmarks.names }

    func bench(_ name: String, _ plan: BenchPlan) async throws -> JSONValue {
        var asked = BenchmarkPlan(seconds: plan.seconds)
        asked.model = plan.model
        asked.adapters = plan.adapters
        asked.rows = plan.rows
        asked.threads = plan.threads
        asked.precision = plan.precision
        asked.seed = plan.seed
        return try await named { [asked] in try await PeerBenchmarks.run(name, asked) }
    }

    /// Faults of the peer in the command's terms: what was wrong and an exit code.
    private func named<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let fault as PeerFault {
            switch fault {
            case .settings: throw CommandFault(.usage, fault.description)
            case .waiting: throw CommandFault(.unreachable, fault.description)
            default: throw CommandFault(.failed, fault.description)
            }
        } catch let fault as BenchmarkFault {
            throw CommandFault(.failed, fault.description)
        } catch let fault as HomeFault {
            throw CommandFault(.failed, fault.description)
        } catch let fault as SettingsFault {
            throw CommandFault(.usage, fault.description)
        }
    }

    private static func logger(home: String, _ options: PeerOptions, least: Logger.Level? = nil) -> Logger {
        var logger = Logger(label: "openledger") { StreamLogHandler.standardError(label: $0) }
        let text = options.environment["OPENLEDGER_LOG"] ?? ""
        logger.logLevel = least ?? Logger.Level(rawValue: text) ?? .info
        return logger
    }
}
