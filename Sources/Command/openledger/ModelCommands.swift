import ArgumentParser
import Primitives

struct ModelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "model", abstract: "Import, list, pull and remove models.",
        subcommands: [Import.self, List.self, Show.self, Pull.self, SetPrecision.self, Remove.self])

    static func describe(_ value: JSONValue) -> String {
        """
        \(value.shown("name"))  \(value.shown("family")), \(value.shown("parameters")) parameters, \(value.shown("precision"))
        Id       \(value.shown("id"))
        Owner    \(value.shown("owner"))
        Context  \(value.shown("context_length")) tokens
        Size     \(byteCount(value["bytes"])), held here: \(value.shown("held"))
        Adapters \(value.shown("adapters"))
        Price    \(value["price"]?.shown("prompt_token") ?? "-") OPEN a prompt token, \(value["price"]?.shown("completion_token") ?? "-") a completion token
        """
    }

    struct Import: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Import a Hugging Face folder or a GGUF file.",
            discussion: "EXAMPLE\n  openledger model import ./my-model --name mine --precision int8")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "A folder, or a file that ends in .gguf.") var path: String
        @Option var name: String
        @Option(
            help: "f32, bf16, int8 or int4 (default: int8 for a Q8_0 file, int4 for Q4_0, else the peer's setting).")
        var precision: String?

        func validate() throws { try ModelCommand.check(precision) }

        func perform(_ node: APIClient, _ output: Output) async throws {
            let body = JSONValue.present([
                "path": .string(absolutePath(path)), "name": .string(name),
                "precision": precision.map(JSONValue.string),
            ])
            try await node.stream("models", body) { event in
                output.event(event) {
                    event["event"]?.text == "done"
                        ? ModelCommand.describe(event["model"] ?? .null) : PullSource.progress(event, what: name)
                }
            }
        }
    }

    struct List: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the models that this peer knows.", discussion: "EXAMPLE\n  openledger model list")
        @OptionGroup var global: GlobalOptions

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get("models")
            output.result(value) {
                var table = Table("NAME", "FAMILY", "PRECISION", "SIZE", "HELD", "CONTEXT", "ADAPTERS")
                for one in value.list("models") {
                    table.add(
                        one.shown("name"), one.shown("family"), one.shown("precision"), byteCount(one["bytes"]),
                        one.shown("held"), one.shown("context_length"), one.shown("adapters"))
                }
                return table.text
            }
        }
    }

    struct Show: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one model.", discussion: "EXAMPLE\n  openledger model show starter")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get(APIClient.path("models", name))
            output.result(value) { ModelCommand.describe(value) }
        }
    }

    struct Pull: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Fetch a model from other peers, each block verified; resumes where it was cut.",
            discussion: "EXAMPLE\n  openledger model pull starter")
        static let mayOpenHome = false
        @OptionGroup var global: GlobalOptions
        @OptionGroup var source: PullSource
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            try await source.pull(node, output, APIClient.path("models", name), what: name)
        }
    }

    static func check(_ precision: String?) throws {
        if let precision, !["f32", "bf16", "int8", "int4"].contains(precision) {
            throw ValidationError("a precision is f32, bf16, int8 or int4; it is \(precision)")
        }
    }

    struct SetPrecision: NodeCommand {
        static let configuration = CommandConfiguration(
            commandName: "precision", abstract: "Say what a model is served in.",
            discussion: "EXAMPLE\n  openledger model precision starter int8")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String
        @Argument(help: "f32, bf16, int8 or int4; without it: the peer's setting.") var precision: String?

        func validate() throws { try ModelCommand.check(precision) }

        func perform(_ node: APIClient, _ output: Output) async throws {
            let body = JSONValue.object(["precision": precision.map(JSONValue.string) ?? .null])
            let value = try await node.post(APIClient.path("models", name) + "/precision", body)
            output.result(value) { ModelCommand.describe(value) }
        }
    }

    struct Remove: NodeCommand {
        static let configuration = CommandConfiguration(
            commandName: "rm", abstract: "Remove a model from this peer.",
            discussion: "EXAMPLE\n  openledger model rm mine")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.delete(APIClient.path("models", name))
            output.result(value) { "\(name) is removed from this peer" }
        }
    }
}

struct AdapterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "adapter", abstract: "Import, list and pull LoRA adapters.",
        subcommands: [List.self, Show.self, Import.self, Pull.self, Remove.self])

    static func describe(_ value: JSONValue) -> String {
        """
        \(value.shown("name"))  for \(value.shown("model")), rank \(value.shown("rank")), alpha \(value.shown("alpha"))
        Id      \(value.shown("id"))
        Owner   \(value.shown("owner"))
        Datanet \(value.shown("datanet"))
        Size    \(byteCount(value["bytes"])), held here: \(value.shown("held"))
        """
    }

    struct List: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the adapters that this peer knows.", discussion: "EXAMPLE\n  openledger adapter list")
        @OptionGroup var global: GlobalOptions

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get("adapters")
            output.result(value) {
                var table = Table("NAME", "MODEL", "RANK", "SIZE", "HELD", "OWNER")
                for one in value.list("adapters") {
                    table.add(
                        one.shown("name"), one.shown("model"), one.shown("rank"), byteCount(one["bytes"]),
                        one.shown("held"),
                        short(one.shown("owner")))
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
}
