import ArgumentParser
import Foundation
import Primitives

struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Run the whole loop on the starter data in a temporary home, and verify every step.",
        discussion: "EXAMPLE\n  openledger demo --peers 4 --json\n\nExit code 0 only if every step holds.")
    /// Four certify batches with one of them dead.
    static let peersMin = 4

    @OptionGroup var global: GlobalOptions
    @Option(help: "4 to 64.") var peers = 4
    @Option(help: "The first of the ports used (default: chosen by the process id).") var basePort: Int?
    @Flag(help: "Keep the temporary home.") var keep = false

    func validate() throws {
        guard (Self.peersMin...Devnet.peersMax).contains(peers) else {
            throw ValidationError("--peers is \(Self.peersMin) to \(Devnet.peersMax); it is \(peers)")
        }
        if let basePort, basePort < 1024 || basePort + 2 * peers > 65_536 {
            throw ValidationError("--base-port leaves no room for \(peers) peers; it is \(basePort)")
        }
    }

    func run() async throws {
        // Short: a socket's path has 107 bytes.
        let root = "/tmp/openledger-demo-\(getpid())"
        defer { if !keep { try? FileManager.default.removeItem(atPath: root) } }
        let port = basePort ?? 20_000 + Int(getpid()) % 4_000 * 10
        let plan = try await peerHost.prepareDevnet(root: root, peers: peers, basePort: port)
        let devnet = Devnet(plan: plan, starterCount: 1)
        let demo = Demo(devnet: devnet, output: global.output)
        do {
            try await demo.play()
            await demo.stop()
        } catch {
            _ = await devnet.stop()
            demo.broke(error)
            throw Ending(status: .failed)
        }
        guard demo.holds else { throw Ending(status: .failed) }
    }
}
