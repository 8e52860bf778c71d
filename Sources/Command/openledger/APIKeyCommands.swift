import ArgumentParser
import Primitives

struct APIKeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "api-key", abstract: "Keys for others to call this peer's API, each with its own limits.",
        subcommands: [Create.self, List.self, Show.self, Revoke.self])

    static func describe(_ value: JSONValue) -> String {
        """
        \(value.shown("name"))  made \(moment(value["created_ms"]))
        Id       \(value.shown("id"))
        Rate     \(rate(value))
        Spend    \(spend(value))
        Used     \(value.shown("requests")) requests, \(value.shown("tokens")) tokens
        """
    }

    private static func rate(_ value: JSONValue) -> String {
        func limit(_ key: String) -> String { value[key]?.isNull ?? true ? "any number of" : value.shown(key) }
        return "\(limit("requests_per_minute")) requests and \(limit("tokens_per_minute")) tokens a minute"
    }

    private static func spend(_ value: JSONValue) -> String {
        guard let limit = value["spend_limit"]?.text else { return "nothing: free answers only" }
        let period = value["spend_period"]?.text ?? "total"
        return "\(value.shown("spent")) of \(limit) OPEN \(period == "total" ? "in all" : "a \(period)")"
    }

    struct Create: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a key. Its text is shown once and kept nowhere.",
            discussion: """
                EXAMPLE
                  openledger api-key create shop --requests-per-minute 60 --tokens-per-minute 100000
                  openledger api-key create shop --spend-limit 1.5 --spend-period day
                """)
        @OptionGroup var global: GlobalOptions
        @Argument(help: "What to call it.") var name: String
        @Option(help: "At most so many requests a minute (default: any number).") var requestsPerMinute: Int?
        @Option(help: "At most so many tokens a minute, of prompts and answers (default: any number).")
        var tokensPerMinute: Int?
        @Option(
            help: ArgumentHelp(
                "What it may spend of the home's OPEN (default: nothing, free answers only).", valueName: "amount"))
        var spendLimit: String?
        @Option(help: ArgumentHelp("When the limit starts anew: total, day or month.", valueName: "period"))
        var spendPeriod: String?

        func validate() throws {
            for (option, value) in [
                ("--requests-per-minute", requestsPerMinute), ("--tokens-per-minute", tokensPerMinute),
            ] {
                if let value, value < 1 { throw ValidationError("\(option) is at least 1; it is \(value)") }
            }
            if let spendLimit, Amount(text: spendLimit) == nil {
                throw ValidationError("--spend-limit is an amount in OPEN, as in 1.5; it is \(spendLimit)")
            }
            if let spendPeriod, !["total", "day", "month"].contains(spendPeriod) {
                throw ValidationError("--spend-period is total, day or month; it is \(spendPeriod)")
            }
            if spendPeriod != nil, spendLimit == nil {
                throw ValidationError("--spend-period needs --spend-limit")
            }
        }

        func perform(_ node: APIClient, _ output: Output) async throws {
            let body = JSONValue.present([
                "name": .string(name), "requests_per_minute": requestsPerMinute.map { .integer($0) },
                "tokens_per_minute": tokensPerMinute.map { .integer($0) },
                "spend_limit": spendLimit.map(JSONValue.string), "spend_period": spendPeriod.map(JSONValue.string),
            ])
            let value = try await node.post("keys", body)
            output.result(value) {
                """
                \(value.shown("key"))
                This is the only time that the key is shown. Send it as: Authorization: Bearer …
                \(APIKeyCommand.describe(value))
                """
            }
        }
    }

    struct List: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the keys with what they have used.", discussion: "EXAMPLE\n  openledger api-key list")
        @OptionGroup var global: GlobalOptions

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get("keys")
            output.result(value) {
                var table = Table("NAME", "ID", "REQUESTS", "TOKENS", "SPENT", "LIMITS")
                for one in value.list("keys") {
                    table.add(
                        one.shown("name"), one.shown("id"), one.shown("requests"), one.shown("tokens"),
                        one.shown("spent"), APIKeyCommand.rate(one) + "; " + APIKeyCommand.spend(one))
                }
                return table.text
            }
        }
    }

    struct Show: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one key's limits and use.", discussion: "EXAMPLE\n  openledger api-key show shop")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get(APIClient.path("keys", name))
            output.result(value) { APIKeyCommand.describe(value) }
        }
    }

    struct Revoke: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "End a key: its next request is refused.", discussion: "EXAMPLE\n  openledger api-key revoke shop"
        )
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.delete(APIClient.path("keys", name))
            output.result(value) { "\(value.shown("name")) is revoked" }
        }
    }
}
