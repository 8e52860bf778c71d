import ArgumentParser
import Primitives

struct ReceiptCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "receipt", abstract: "Read receipts, take them along, verify and audit them.",
        subcommands: [List.self, Show.self, Bundle.self, Verify.self, Audit.self])

    struct List: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "List this peer's receipts, newest first.", discussion: "EXAMPLE\n  openledger receipt list")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var page: Page

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get("receipts", page.query)
            output.result(value) {
                var table = Table("RECEIPT", "TIME", "ROLE", "MODEL", "DATANET", "COST", "STATE", "BATCH")
                for one in value.list("receipts") {
                    table.add(
                        one.shown("id"), moment(one["time_ms"]), one.shown("role"), one.shown("model"),
                        one.shown("datanet"),
                        one.shown("cost"), one.shown("state"), one.shown("batch"))
                }
                return table.text + page.more(value)
            }
        }
    }

    struct Show: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one receipt: who was paid what, and for which rows.",
            discussion: "EXAMPLE\n  openledger receipt show 9c0f…")
        @OptionGroup var global: GlobalOptions
        @Argument var id: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get(APIClient.path("receipts", id))
            output.result(value) {
                let shares = (value["shares"]?.memberList ?? []).map { "  \($0.key): \($0.value.text ?? "-")" }
                let contributors = value.list("contributors").map { one in
                    "  \(one.shown("account"))  \(one.shown("ppm")) ppm, \(one.shown("amount")) OPEN"
                }
                let rows = value.list("sources").map { one in
                    "  \(one.shown("row_id"))  \(one.shown("ppm")) ppm\(SourceReasons.shown(one))"
                }
                let kinds = value.list("evidence_kinds").compactMap(\.text).joined(separator: ", ")
                let audits = value.list("audits").map { one in
                    "  \(one.shown("outcome")) at \(moment(one["time_ms"])), by "
                        + (one["own"]?.flag == true ? "this peer" : one.shown("auditor"))
                }
                return """
                    Receipt  \(value.shown("id"))
                    Made     \(moment(value["time_ms"])), state \(value.shown("state")), batch \(value.shown("batch"))
                    Payer    \(value.shown("payer"))
                    Server   \(value.shown("server"))
                    Model    \(value.shown("model")), datanet \(value.shown("datanet"))
                    Tokens   \(value.shown("prompt_tokens")) + \(value.shown("completion_tokens"))
                    Cost     \(value.shown("cost")) OPEN
                    \(shares.joined(separator: "\n"))
                    Contributors
                    \(contributors.isEmpty ? "  none" : contributors.joined(separator: "\n"))
                    Rows     \(kinds.isEmpty ? "nothing was weighed" : "by \(kinds)")
                    \(rows.isEmpty ? "  none" : rows.joined(separator: "\n"))
                    Audits
                    \(audits.isEmpty ? "  none" : audits.joined(separator: "\n"))
                    """
            }
        }
    }

    struct Bundle: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write a file with everything that a verifier needs, for someone who trusts nobody.",
            discussion:
                "EXAMPLE\n  openledger receipt bundle 9c0f… --out receipt.bundle\n  openledger receipt verify receipt.bundle"
        )
        @OptionGroup var global: GlobalOptions
        @Argument var id: String
        @Option(help: "The file to write.") var out: String
        @Option(help: "dag-cbor, or json for people.") var format = "dag-cbor"
        @Flag(help: "Overwrite the file.") var force = false

        func validate() throws {
            guard ["dag-cbor", "json"].contains(format) else {
                throw ValidationError("--format is dag-cbor or json; it is \(format)")
            }
        }

        func perform(_ node: APIClient, _ output: Output) async throws {
            let content = try await node.download(
                APIClient.path("receipts", id) + "/bundle", ["format": format == "json" ? "json" : nil])
            let path = absolutePath(out)
            try writeFile(path, content, overwrite: force)
            output.result(
                .object([
                    "receipt": .string(id), "file": .string(path), "bytes": .integer(content.count),
                    "format": .string(format),
                ])
            ) { "\(content.count) bytes in \(path)" }
        }
    }
}
