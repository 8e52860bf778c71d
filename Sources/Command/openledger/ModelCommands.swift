import ArgumentParser
import Primitives

struct ModelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "model", abstract: "Import, list, pull and remove models.",
        subcommands: [Import.self, List.self, Show.self, Pull.self, SetPrecision.self, Merge.self, Remove.self])

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

    struct Merge: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Merge adapters into a model: the result is a model of its own, with its own id.",
            discussion: "EXAMPLE\n  openledger model merge starter food anatomy --weights 0.7,0.3 --name kitchen")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "The model that they adapt.") var model: String
        @OptionGroup var parts: FusedParts
        @Option(help: "What to call the new model.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let body = JSONValue.object(["name": .string(name), "merged_adapters": .members(try parts.members())])
            try await node.stream(APIClient.path("models", model, "merge"), body) { event in
                output.event(event) {
                    event["event"]?.text == "done"
                        ? ModelCommand.describe(event["model"] ?? .null) : PullSource.progress(event, what: name)
                }
            }
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
