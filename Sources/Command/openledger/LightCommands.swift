import ArgumentParser
import Primitives

struct LightCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "light", abstract: "Follow the chain by its certificates alone.",
        subcommands: [Sync.self, Verify.self])

    struct Sync: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Follow epoch hand-overs from a checkpoint to the newest batch.",
            discussion: "EXAMPLE\n  openledger light sync --checkpoint 77ab…")
        @OptionGroup var global: GlobalOptions
        @Option(help: "The header hash that you trust (default: the last one kept).") var checkpoint: String?

        func validate() throws {
            if let checkpoint, NetworkID(text: checkpoint) == nil {
                throw ValidationError("--checkpoint is a header hash of 64 hexadecimal digits; it is \(checkpoint)")
            }
        }

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.post("light/sync", .present(["checkpoint": checkpoint.map(JSONValue.string)]))
            output.result(value) {
                let checkpoint = value["checkpoint"] ?? .null
                return """
                    \(value["synced"]?.flag == true ? "Synced" : "Not synced") at height \(value.shown("height")), epoch \(value.shown("epoch"))
                    Checkpoint \(checkpoint.shown("header")) at height \(checkpoint.shown("height")), \(checkpoint.shown("age_s")) s old, expires in \(checkpoint.shown("expires_s")) s
                    """
            }
            if value["synced"]?.flag != true { throw Ending(status: .unreachable) }
        }
    }

    struct Verify: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Verify a receipt of the network against the light client's headers.",
            discussion: "EXAMPLE\n  openledger light verify 9c0f…")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "A receipt's id.") var id: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.post("light/verify", .object(["receipt": .string(id)]))
            try Verification.show(value, output)
        }
    }
}

/// A verdict and its checks, as `receipts/verify` gives them.
enum Verification {
    static func show(_ value: JSONValue, _ output: Output) throws {
        output.result(value) {
            let checks = value.list("checks").map { check in
                "\(check.shown("verdict").padding(toLength: 8))\(check.shown("name")): \(check.shown("message"))"
            }
            return (checks + ["", "The receipt is \(value.shown("verdict"))."]).joined(separator: "\n")
        }
        if value["verdict"]?.text != "valid" { throw Ending(status: .refused) }
    }
}

extension String {
    fileprivate func padding(toLength length: Int) -> String {
        self + String(repeating: " ", count: max(0, length - count))
    }
}
