import ArgumentParser
import Foundation
import Primitives

struct UpCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up",
        abstract: "Run a peer in the foreground until SIGTERM or Ctrl-C; it drains and exits 0.",
        discussion: """
            EXAMPLE
              openledger up
              openledger up --network 5e1f… --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo…
            """)

    @OptionGroup var global: GlobalOptions
    @Option(help: "The genesis hash, or a genesis file, of the network to join (default: a local network of one).")
    var network: String?
    @Option(help: ArgumentHelp("Listen here; repeatable.", valueName: "multiaddr"))
    var listen: [String] = []
    @Option(help: ArgumentHelp("Serve HTTP here (default 127.0.0.1:8547).", valueName: "host:port"))
    var http: String?
    @Option(help: ArgumentHelp("A peer to begin with; repeatable.", valueName: "multiaddr"))
    var bootstrap: [String] = []
    @Option(help: "full, edge or light.")
    var role: String?
    @Flag(help: "Leave the starter model, adapters and datanets out of a fresh home.")
    var noStarter = false
    @Flag(
        help: ArgumentHelp("End when stdin ends: for peers that are children of another process.", visibility: .hidden))
    var stopWithInput = false

    func validate() throws {
        for address in listen + bootstrap where (try? Multiaddr(text: address)) == nil {
            throw ValidationError("\(address) is no multiaddr; one looks like /ip4/127.0.0.1/tcp/4001")
        }
        for address in bootstrap where !address.contains("/p2p/") {
            throw ValidationError("\(address) names no peer; a bootstrap address ends in /p2p/12D3Koo…")
        }
        if let role, !["full", "edge", "light"].contains(role) {
            throw ValidationError("--role is full, edge or light; it is \(role)")
        }
        if let http, !Self.isHostAndPort(http) {
            throw ValidationError("--http takes HOST:PORT, as in 127.0.0.1:8547; it is \(http)")
        }
        if let network, NetworkID(text: network) == nil, !FileManager.default.fileExists(atPath: network) {
            throw ValidationError(
                "--network takes a genesis hash of 64 hexadecimal digits or a genesis file; \(network) is neither")
        }
    }

    static func isHostAndPort(_ text: String) -> Bool {
        guard let colon = text.lastIndex(of: ":"), colon != text.startIndex else { return false }
        return UInt16(text[text.index(after: colon)...]) != nil
    }

    func run() async throws {
        var launch = PeerLaunch(home: global.homePath)
        launch.network = network
        launch.listen = listen
        launch.http = http
        launch.bootstrap = bootstrap
        launch.role = role
        launch.starter = !noStarter
        if stopWithInput { Self.endWithInput() }
        let output = global.output
        let home = global.homePath
        try await peerHost.run(launch) { ready in
            let event = JSONValue.object([
                "event": .string("ready"), "peer": .string(ready.peer), "account": .string(ready.account),
                "listen": .strings(ready.listen), "http": .string(ready.http), "network": .string(ready.network),
            ])
            output.result(event) { Self.welcome(ready, home: home) }
        }
    }

    /// What a newcomer pastes next.
    static func welcome(_ ready: PeerReady, home: String) -> String {
        let binary = Bundle.main.executablePath ?? "openledger"
        return """
            Peer     \(ready.peer)
            Listens  \(ready.listen.joined(separator: "\n         "))
            Network  \(ready.network)
            Page     \(ready.page)

            Try, in another terminal:
              curl -s \(ready.http)/v1/chat/completions -H 'Content-Type: application/json' \\
                -d '{"model":"starter","datanet":"food","messages":[{"role":"user","content":"Define brisket."}],"temperature":0}'
              \(binary) ask 'Define brisket.' --datanet food --home \(home)

            Ctrl-C drains and ends the peer.
            """
    }

    /// A parent that dies closes our stdin; then this peer drains as if it had been told to.
    private static func endWithInput() {
        Thread.detachNewThread {
            while let data = try? FileHandle.standardInput.read(upToCount: 4096), !data.isEmpty {}
            kill(getpid(), SIGTERM)
        }
    }
}
