// Adapters: what is here and elsewhere, what is in memory, several as one.

import ArgumentParser
import Foundation
import Primitives

struct AdapterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "adapter", abstract: "Train, import, list, pull, load, pin and fuse LoRA adapters.",
        subcommands: [
            List.self, Show.self, Train.self, Runs.self, Evaluate.self, Verify.self, Import.self, Pull.self, Load.self,
            Unload.self,
            Pin.self, Unpin.self, Publish.self, Fuse.self,
            Fusions.self, Unfuse.self, Remove.self,
        ])

    static func describe(_ value: JSONValue) -> String {
        """
        \(value.shown("name"))  for \(value.shown("model")), rank \(value.shown("rank")), alpha \(value.shown("alpha"))
        Id      \(value.shown("id"))
        Owner   \(value.shown("owner"))
        Datanet \(value.shown("datanet"))
        Size    \(byteCount(value["bytes"])), held here: \(value.shown("held")), published: \(value.shown("published"))
        Memory  \(memory(value))
        Used    \(value.shown("requests")) requests, \(value.shown("cache_hits")) found it in memory, \(value.shown("loads")) loads
        Price   \(value["price"]?.shown("prompt_token") ?? "-") OPEN a prompt token, \(value["price"]?.shown("completion_token") ?? "-") a completion token
        """
    }

    static func memory(_ value: JSONValue) -> String {
        let pinned = value["pinned"]?.flag == true ? ", pinned" : ""
        let bytes = value["state"]?.text == "resident" ? " (\(byteCount(value["memory_bytes"])))" : ""
        return "\(value.shown("state"))\(bytes)\(pinned)"
    }

    struct List: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the adapters that this peer knows.", discussion: "EXAMPLE\n  openledger adapter list")
        @OptionGroup var global: GlobalOptions

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get("adapters")
            output.result(value) {
                var table = Table(
                    "NAME", "MODEL", "RANK", "SIZE", "HELD", "MEMORY", "REQUESTS", "HITS", "LOADS", "OWNER")
                for one in value.list("adapters") {
                    table.add(
                        one.shown("name"), one.shown("model"), one.shown("rank"), byteCount(one["bytes"]),
                        one.shown("held"), AdapterCommand.memory(one), one.shown("requests"), one.shown("cache_hits"),
                        one.shown("loads"), short(one.shown("owner")))
                }
                return table.text
            }
        }
    }

    struct Show: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one adapter.", discussion: "EXAMPLE\n  openledger adapter show food")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get(APIClient.path("adapters", name))
            output.result(value) { AdapterCommand.describe(value) }
        }
    }

    struct Import: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Import a PEFT folder.",
            discussion: "EXAMPLE\n  openledger adapter import ./food-lora --name food --model starter")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "A PEFT folder.") var path: String
        @Option var name: String
        @Option(help: "The model that it adapts.") var model: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let body = JSONValue.object([
                "path": .string(absolutePath(path)), "name": .string(name), "model": .string(model),
            ])
            try await node.stream("adapters", body) { event in
                output.event(event) {
                    event["event"]?.text == "done"
                        ? AdapterCommand.describe(event["adapter"] ?? .null) : PullSource.progress(event, what: name)
                }
            }
        }
    }

    struct Pull: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Fetch an adapter from other peers, each block verified.",
            discussion: "EXAMPLE\n  openledger adapter pull food")
        static let mayOpenHome = false
        @OptionGroup var global: GlobalOptions
        @OptionGroup var source: PullSource
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            try await source.pull(node, output, APIClient.path("adapters", name), what: name)
        }
    }

    struct Remove: NodeCommand {
        static let configuration = CommandConfiguration(
            commandName: "rm", abstract: "Remove an adapter from this peer.",
            discussion: "EXAMPLE\n  openledger adapter rm food")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.delete(APIClient.path("adapters", name))
            output.result(value) { "\(name) is removed from this peer" }
        }
    }

    // MARK: In memory

    private static func change(_ action: String, _ name: String, _ node: APIClient, _ output: Output) async throws {
        let value = try await node.post(APIClient.path("adapters", name, action))
        output.result(value) { AdapterCommand.describe(value) }
    }

    struct Load: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Read an adapter into memory now; it leaves when others need the room.",
            discussion: "EXAMPLE\n  openledger adapter load food")
        static let mayOpenHome = false
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            try await AdapterCommand.change("load", name, node, output)
        }
    }

    struct Unload: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take an adapter out of memory as soon as nothing runs with it; ends a pin.",
            discussion: "EXAMPLE\n  openledger adapter unload food")
        static let mayOpenHome = false
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            try await AdapterCommand.change("unload", name, node, output)
        }
    }

    struct Pin: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Read an adapter and keep it in memory, after a restart too.",
            discussion: "EXAMPLE\n  openledger adapter pin food")
        static let mayOpenHome = false
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            try await AdapterCommand.change("pin", name, node, output)
        }
    }

    struct Unpin: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Let an adapter leave memory when others need the room.",
            discussion: "EXAMPLE\n  openledger adapter unpin food")
        static let mayOpenHome = false
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            try await AdapterCommand.change("unpin", name, node, output)
        }
    }

    struct Publish: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Tell the network of an adapter that was trained with --no-publish.",
            discussion: "EXAMPLE\n  openledger adapter publish food")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            try await AdapterCommand.change("publish", name, node, output)
        }
    }

    // MARK: As one

    static func describe(fusion value: JSONValue) -> String {
        let parts = value.list("adapters").map { "\($0.shown("name")) \($0.shown("weight"))" }
        let strategy = value.shown("merge_strategy")
        let density = strategy == "linear" ? "" : ", density \(value.shown("density"))"
        return
            "\(value.shown("model")):\(value.shown("name"))  \(parts.joined(separator: ", ")) (\(strategy)\(density))"
    }

    struct Fuse: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Give several adapters, each with a weight, one name: ask for it as MODEL:NAME.",
            discussion: """
                EXAMPLE
                  openledger adapter fuse food anatomy --model starter --name kitchen --weights 0.7,0.3
                  openledger adapter fuse food anatomy --model starter --name lean --strategy ties --density 0.5
                  openledger ask "Define brisket." --model starter:kitchen
                """)
        @OptionGroup var global: GlobalOptions
        @OptionGroup var parts: FusedParts
        @Option(help: "The model that they adapt.") var model: String
        @Option(help: "What to call them together.") var name: String
        @Option(help: "linear, ties, dare_linear or dare_ties.") var strategy = "linear"
        @Option(help: "The share of each factor that is kept, above 0 to 1; for all but linear.") var density: Double?
        @Option(help: "total or frequency: what counts as the sign of many values.") var sign: String?

        func validate() throws {
            guard ["linear", "ties", "dare_linear", "dare_ties"].contains(strategy) else {
                throw ValidationError("--strategy is linear, ties, dare_linear or dare_ties; it is \(strategy)")
            }
            if strategy != "linear", density == nil { throw ValidationError("--strategy \(strategy) needs --density") }
            if let density, !(density > 0 && density <= 1) {
                throw ValidationError("--density is above 0, up to 1; it is \(density)")
            }
        }

        func perform(_ node: APIClient, _ output: Output) async throws {
            var merge = try parts.members()
            merge.append(JSONMember("merge_strategy", .string(strategy)))
            if let density { merge.append(JSONMember("density", .double(density))) }
            if let sign { merge.append(JSONMember("majority_sign_method", .string(sign))) }
            let body = JSONValue.object([
                "name": .string(name), "model": .string(model), "merged_adapters": .members(merge),
            ])
            let value = try await node.post("fusions", body)
            output.result(value) { AdapterCommand.describe(fusion: value) }
        }
    }

    struct Fusions: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the fusions that have a name.", discussion: "EXAMPLE\n  openledger adapter fusions")
        @OptionGroup var global: GlobalOptions

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get("fusions")
            output.result(value) {
                let lines = value.list("fusions").map { AdapterCommand.describe(fusion: $0) }
                return lines.isEmpty ? "none" : lines.joined(separator: "\n")
            }
        }
    }

    struct Unfuse: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove a fusion's name; its adapters stay.",
            discussion: "EXAMPLE\n  openledger adapter unfuse kitchen")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "The fusion's name.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.delete(APIClient.path("fusions", name))
            output.result(value) { "\(name) is removed; its adapters stay" }
        }
    }
}

/// Adapters and what each counts.
struct FusedParts: ParsableArguments {
    @Argument(help: ArgumentHelp("Names or ids.", valueName: "adapter")) var adapters: [String]
    @Option(help: ArgumentHelp("A number for each, of either sign (default: 1 each).", valueName: "w1,w2,…"))
    var weights: String?

    func members() throws -> [JSONMember] {
        var members = [JSONMember("ids", .strings(adapters))]
        if let weights {
            let numbers = weights.split(separator: ",", omittingEmptySubsequences: false).map {
                Double($0.trimmingCharacters(in: .whitespaces))
            }
            guard numbers.count == adapters.count, numbers.allSatisfy({ $0?.isFinite == true }) else {
                throw CommandFault(
                    .usage, "--weights has \(adapters.count) numbers, one for each adapter, as in 0.7,0.3")
            }
            members.append(JSONMember("weights", .array(numbers.compactMap { $0 }.map(JSONValue.double))))
        }
        return members
    }
}
