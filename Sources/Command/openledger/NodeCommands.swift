import ArgumentParser
import Primitives

struct IdCommand: NodeCommand {
    static let configuration = CommandConfiguration(
        commandName: "id", abstract: "Show the peer's identity, addresses and network.",
        discussion: "EXAMPLE\n  openledger id --json")
    @OptionGroup var global: GlobalOptions

    func perform(_ node: APIClient, _ output: Output) async throws {
        let value = try await node.get("id")
        output.result(value) {
            """
            Peer      \(value.shown("peer"))
            Account   \(value.shown("account"))
            Role      \(value.shown("role"))
            Network   \(value["network"]?.shown("genesis") ?? "-") (\(value["network"]?.shown("name") ?? "-"))
            Addresses \(value.list("addresses").compactMap(\.text).joined(separator: "\n          "))
            """
        }
    }
}

struct StatusCommand: NodeCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Say in one sentence what the peer is doing, and what to do next.",
        discussion: "EXAMPLE\n  openledger status")
    @OptionGroup var global: GlobalOptions

    func perform(_ node: APIClient, _ output: Output) async throws {
        let value = try await node.get("status")
        output.result(value) {
            let network = value["network"] ?? .null
            let balance = value["balance"] ?? .null
            var text = """
                \(value.shown("sentence"))
                Next      \(value["next"]?.shown("sentence") ?? "-")
                Peer      \(value.shown("peer"))
                Network   \(network.shown("genesis")) (\(network.shown("name"))), height \(network.shown("height"))
                Balance   \(balance.shown("free")) OPEN free, \(balance.shown("locked")) locked, \(balance.shown("staked")) staked, \(balance.shown("pending")) pending
                Peers     \(value["peers"]?.shown("connected") ?? "-") connected, \(value["peers"]?.shown("known") ?? "-") known
                Reachable \(value["reachability"]?.shown("state") ?? "-")
                Serves    \(value["serving"]?.shown("models") ?? "-")
                Disk      \(byteCount(value["storage"]?["used_bytes"])) used, \(byteCount(value["storage"]?["free_bytes"])) free
                """
            if let remedy = value["reachability"]?["remedy"]?.text { text += "\nRemedy    \(remedy)" }
            let keeping = value["keeping"] ?? .null
            if keeping["lent_bytes"]?.integer != 0 {
                text +=
                    "\nKeeps     \(byteCount(keeping["used_bytes"])) of \(byteCount(keeping["lent_bytes"])) lent: \(keeping.shown("blocks")) blocks of \(keeping.shown("datanets")) datanets"
            }
            let audits = value["audits"] ?? .null
            text +=
                "\nAudits    \(audits.shown("same")) the same, \(audits.shown("differs")) not, \(audits.shown("waiting")) waiting"
            for server in audits.list("distrusted") {
                text += "\nAvoids    \(server.shown("server")): \(server.shown("reason"))"
            }
            return text
        }
    }
}

struct PeersCommand: NodeCommand {
    static let configuration = CommandConfiguration(
        commandName: "peers", abstract: "List connections with latency, direct or relayed.",
        discussion: "EXAMPLE\n  openledger peers\n  openledger peers --connect /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo…")
    static let mayOpenHome = false
    @OptionGroup var global: GlobalOptions
    @Option(help: ArgumentHelp("Connect to this peer first.", valueName: "multiaddr"))
    var connect: String?
    @Option(help: ArgumentHelp("Disconnect from this peer first.", valueName: "peer"))
    var disconnect: String?

    func validate() throws {
        if let connect, (try? Multiaddr(text: connect)) == nil {
            throw ValidationError("\(connect) is no multiaddr; one looks like /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo…")
        }
    }

    func perform(_ node: APIClient, _ output: Output) async throws {
        if let connect { _ = try await node.post("peers", .object(["address": .string(connect)])) }
        if let disconnect { _ = try await node.delete(APIClient.path("peers", disconnect)) }
        let value = try await node.get("peers")
        output.result(value) {
            var table = Table("PEER", "PATH", "DIRECTION", "LATENCY", "IN", "OUT", "SERVES", "ADDRESS")
            for peer in value.list("peers") {
                table.add(
                    short(peer.shown("peer")), peer.shown("path"), peer.shown("direction"),
                    peer["latency_ms"]?.double.map { "\(oneDecimal($0)) ms" } ?? "-", byteCount(peer["bytes_in"]),
                    byteCount(peer["bytes_out"]), peer.shown("serves"), peer.shown("address"))
            }
            let avoided = value.list("peers").compactMap { peer in
                peer["distrusted"]?["reason"]?.text.map { "\n\(peer.shown("peer")) is not chosen: \($0)" }
            }
            return table.text + "\n\(value.shown("known")) known" + avoided.joined()
        }
    }
}

struct DoctorCommand: NodeCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check disk, clock, ports, keys and reachability, with the remedy for each fault.",
        discussion: "EXAMPLE\n  openledger doctor\n\nExit code 1 when something is at fault.")
    @OptionGroup var global: GlobalOptions

    func perform(_ node: APIClient, _ output: Output) async throws {
        let value = try await node.get("doctor")
        output.result(value) {
            value.list("checks").map { check in
                let line = "\(mark(check.shown("verdict"))) \(check.shown("name")): \(check.shown("message"))"
                return check["remedy"]?.text.map { "\(line)\n     remedy: \($0)" } ?? line
            }.joined(separator: "\n")
        }
        if value["ok"]?.flag != true { throw Ending(status: .failed) }
    }

    private func mark(_ verdict: String) -> String {
        switch verdict {
        case "ok": "ok  "
        case "warning": "warn"
        default: "FAIL"
        }
    }
}

struct ConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Explain the configuration.", subcommands: [Explain.self])

    struct Explain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show each setting and where it comes from: flag, environment, file or default.",
            discussion: "EXAMPLE\n  OPENLEDGER_HTTP=127.0.0.1:9000 openledger config explain")
        @OptionGroup var global: GlobalOptions

        /// A running peer knows its flags; without one, this process reads what the next one would.
        func run() async throws {
            let socket = try Connection.socketPath(home: global.homePath)
            let value =
                await Connection.isUp(socket)
                ? try await Connection.withClient(socket) { try await $0.get("config") }
                : try await peerHost.explainConfiguration(home: global.homePath)
            global.output.result(value) {
                var table = Table("SETTING", "SOURCE", "VALUE")
                for setting in value.list("settings") {
                    table.add(setting.shown("key"), setting.shown("source"), setting.shown("value"))
                }
                return table.text
            }
        }
    }
}
