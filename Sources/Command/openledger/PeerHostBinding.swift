// The one line that binds the command to a peer.

import Primitives

let peerHost: any PeerHost = AbsentPeer()

/// Says that this build has no peer: the API commands reach one that runs elsewhere on this machine.
struct AbsentPeer: PeerHost {
    private static let fault = CommandFault(.failed, "this build cannot run a peer of its own")

    func run(_ launch: PeerLaunch, ready: @escaping @Sendable (PeerReady) -> Void) async throws { throw Self.fault }

    func offline(home: String, body: @escaping @Sendable (_ socketPath: String) async throws -> Void) async throws {
        throw CommandFault(.unreachable, "no peer is running on \(home); start it with: openledger up --home \(home)")
    }

    func prepareDevnet(root: String, peers: Int, basePort: Int) async throws -> DevnetPlan { throw Self.fault }
    func explainConfiguration(home: String) async throws -> JSONValue { throw Self.fault }
    func backUpKey(home: String, to file: String, passphrase: [UInt8]) async throws -> JSONValue { throw Self.fault }
    func restoreKey(home: String, from file: String, passphrase: [UInt8]) async throws -> JSONValue { throw Self.fault }
    func simulate(_ plan: SimulationPlan) async throws -> JSONValue { throw Self.fault }
    var benchmarks: [String] { [] }
    func bench(_ name: String, seconds: Int) async throws -> JSONValue { throw Self.fault }
}
