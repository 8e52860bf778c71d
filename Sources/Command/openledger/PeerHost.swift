// What the command needs of a peer that it runs itself, in one place: everything else goes through the API.

import Primitives

/// A peer to be run in the foreground.
struct PeerLaunch: Sendable {
    var home: String
    /// A genesis hash, or the path of a genesis file.
    var network: String?
    var listen: [String] = []
    var http: String?
    var bootstrap: [String] = []
    var role: String?
    /// Whether a fresh home is given the starter model, adapters and datanets.
    var starter = true
}

/// What a peer says when it is ready.
struct PeerReady: Sendable {
    let peer: String
    let account: String
    let listen: [String]
    /// `http://127.0.0.1:8547`
    let http: String
    /// The page with a code that works once.
    let page: String
    let network: String
}

/// What to measure, and on what; each benchmark reads what it knows.
struct BenchPlan: Sendable {
    let seconds: Int
    /// A model folder or a GGUF file instead of the starter model.
    var model: String?
    /// PEFT folders.
    var adapters: [String] = []
    var rows: String?
    var threads = 1
    var precision: String?
    var seed = 1
}

/// Homes with keys and one genesis that names them; nothing runs yet.
struct DevnetPlan: Sendable {
    struct Member: Sendable {
        let home: String
        let peer: String
        let listen: String
        let http: String
        /// `listen` with `/p2p/…`: what another peer passes to --bootstrap.
        let address: String
    }

    let genesis: String
    let genesisFile: String
    let faucet: String
    let members: [Member]
}

struct SimulationPlan: Sendable {
    let seed: UInt64
    let peers: Int
    let steps: Int
    let faults: [String]
}

protocol PeerHost: Sendable {
    /// Runs until SIGTERM or SIGINT, drains, returns.
    func run(_ launch: PeerLaunch, ready: @escaping @Sendable (PeerReady) -> Void) async throws
    /// Opens the home under its lock without listening, serves its API at `HOME/api.sock` while `body` runs.
    func offline(home: String, body: @escaping @Sendable (_ socketPath: String) async throws -> Void) async throws
    func prepareDevnet(root: String, peers: Int, basePort: Int) async throws -> DevnetPlan
    func explainConfiguration(home: String) async throws -> JSONValue
    func backUpKey(home: String, to file: String, passphrase: [UInt8]) async throws -> JSONValue
    func restoreKey(home: String, from file: String, passphrase: [UInt8]) async throws -> JSONValue
    /// `{"seed":…,"peers":…,"steps":…,"digest":"…","batches":…,"verdict":"hold"|"broken","faults":[…]}`
    func simulate(_ plan: SimulationPlan) async throws -> JSONValue
    var benchmarks: [String] { get }
    func bench(_ name: String, _ plan: BenchPlan) async throws -> JSONValue
}
