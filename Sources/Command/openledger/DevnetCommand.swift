import ArgumentParser
import Dispatch
import Foundation
import Primitives

struct DevnetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "devnet", abstract: "Run N peers of one genesis on loopback, each its own process and home.",
        discussion: """
            EXAMPLE
              openledger devnet --peers 4 --home /tmp/devnet
              openledger ask "Define brisket." --home /tmp/devnet/peer1

            Ctrl-C drains all of them. The homes stay; the same command goes on where it ended.
            """)

    @OptionGroup var global: GlobalOptions
    @Option(help: "1 to 64.") var peers = 4
    @Option(help: "Peer k listens on this port + 2k and serves HTTP on the next one.") var basePort = 4101

    func validate() throws {
        guard (1...Devnet.peersMax).contains(peers) else {
            throw ValidationError("--peers is 1 to \(Devnet.peersMax); it is \(peers)")
        }
        guard basePort >= 1024, basePort + 2 * peers <= 65_536 else {
            throw ValidationError(
                "--base-port leaves no room for \(peers) peers between 1024 and 65535; it is \(basePort)")
        }
    }

    func run() async throws {
        let output = global.output
        let root = global.home.map(absolutePath) ?? "\(global.homePath)-devnet"
        _ = try Connection.socketPath(home: "\(root)/peer-\(peers)")
        let plan = try await peerHost.prepareDevnet(root: root, peers: peers, basePort: basePort)
        let devnet = Devnet(plan: plan, starterCount: peers)
        let stopping = stopSignals()
        do {
            try await devnet.start()
            _ = try await devnet.waitUntilReady(connections: min(1, peers - 1))
        } catch {
            _ = await devnet.stop()
            throw error is Devnet.Failure ? CommandFault(.failed, (error as? Devnet.Failure)?.message ?? "") : error
        }
        let event = JSONValue.object([
            "event": .string("ready"), "genesis": .string(plan.genesis), "genesis_file": .string(plan.genesisFile),
            "bootstrap": .string(plan.members[0].address), "faucet": .string(plan.faucet),
            "peers": .array(
                plan.members.map {
                    .object([
                        "home": .string($0.home), "peer": .string($0.peer), "address": .string($0.address),
                        "http": .string("http://\($0.http)"),
                    ])
                }),
        ])
        output.result(event) {
            """
            Genesis    \(plan.genesis)
            Bootstrap  \(plan.members[0].address)
            Faucet     \(plan.faucet)
            Homes      \(plan.members.map { "\($0.home)  http://\($0.http)" }.joined(separator: "\n           "))

            Join from another home:
              openledger up --home DIR --network \(plan.genesis) --bootstrap \(plan.members[0].address) --listen /ip4/127.0.0.1/tcp/0 --http 127.0.0.1:0
            The genesis is in \(plan.genesisFile) too: --network takes the hash or the file.
            """
        }
        for await _ in stopping { break }
        let codes = await devnet.stop()
        if codes.values.contains(where: { $0 != 0 }) { throw CommandFault(.failed, "a peer did not drain in time") }
    }
}

/// SIGTERM and SIGINT as values.
func stopSignals() -> AsyncStream<Int32> {
    AsyncStream { continuation in
        // Touched once more, to be cancelled: a source may be cancelled from any thread.
        nonisolated(unsafe) let sources = [SIGTERM, SIGINT].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { continuation.yield(number) }
            source.resume()
            return source
        }
        continuation.onTermination = { _ in for source in sources { source.cancel() } }
    }
}
