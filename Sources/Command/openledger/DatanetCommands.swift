import ArgumentParser
import Foundation
import Primitives

struct DatanetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "datanet", abstract: "Create, fill, read and pull datanets.",
        subcommands: [
            Create.self, Add.self, List.self, Show.self, Preview.self, Validate.self, Report.self, Contributions.self,
            Approve.self, Reject.self, Health.self, Export.self, Pull.self,
        ])

    static let rowsBytesMax = 16 << 20

    /// The peer reads the file; its name's ending says what it is.
    static func send(
        _ file: String, to path: String, license: String? = nil, _ node: APIClient
    ) async throws -> JSONValue {
        let bytes = try readFile(absolutePath(file), bytesMax: rowsBytesMax)
        let name = URL(fileURLWithPath: file).lastPathComponent
        let isLines = name.hasSuffix(".jsonl") || name.hasSuffix(".ndjson")
        return try await node.upload(
            path, ["file": name, "license": license],
            type: isLines ? "application/x-ndjson" : "application/octet-stream", bytes)
    }

    /// A row of a file that is not contributed yet.
    static func preview(_ row: JSONValue) -> String {
        let text = row["text"]?.text ?? "\(row.shown("prompt")) → \(row.shown("completion"))"
        let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
        return
            "\(row["source"]?.text ?? "line \(row.shown("line"))"): \(line.count <= 100 ? line : line.prefix(99) + "…")"
    }

    static func describe(_ value: JSONValue) -> String {
        let contributors = value.list("contributors").map { one in
            "  \(one.shown("account"))  \(one.shown("rows")) rows, \(one.shown("ppm")) ppm"
        }
        return """
            \(value.shown("name"))  \(value.shown("summary"))
            Id           \(value.shown("id"))
            Snapshot     \(value.shown("snapshot"))
            Owner        \(value.shown("owner"))
            Licence      \(value.shown("license")), access \(value.shown("access")), tags \(value.shown("tags"))
            Rows         \(value.shown("rows")), \(byteCount(value["bytes"])), held here: \(value.shown("held"))
            Pending      \(value.shown("pending")) contributions
            Contributors
            \(contributors.joined(separator: "\n"))
            """
    }

    struct Create: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Create an empty datanet that this peer owns.",
            discussion: "EXAMPLE\n  openledger datanet create recipes --summary 'What we cook' --license CC-BY-4.0")
        @OptionGroup var global: GlobalOptions
        @Argument var name: String
        @Option(help: "One sentence about it.") var summary = ""
        @Option(help: "Repeatable.") var tag: [String] = []
        @Option(help: "The licence of its rows.") var license = "CC0-1.0"
        @Option(help: "open, approval or private.") var access = "open"

        func validate() throws {
            guard ["open", "approval", "private"].contains(access) else {
                throw ValidationError("--access is open, approval or private; it is \(access)")
            }
        }

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.post(
                "datanets",
                .object([
                    "name": .string(name), "summary": .string(summary), "tags": .strings(tag),
                    "license": .string(license), "access": .string(access),
                ]))
            output.result(value) { DatanetCommand.describe(value) }
        }
    }

    struct Add: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Contribute the rows of a file; with a faulty row nothing is written.",
            discussion: """
                EXAMPLE
                  openledger datanet add recipes soups.jsonl
                  openledger datanet add recipes cookbook.pdf

                The name's ending says what a file is:
                  .jsonl  each line is {"prompt":…,"completion":…} or {"text":…}, optionally with "id", "source", "license"
                  .csv    the first line names these as columns
                  .md     cut into rows at headings and paragraphs
                  .txt    cut into rows at paragraphs
                  .pdf    cut into rows at pages and paragraphs
                Documents have at most 5 MB. `datanet validate` shows how one is cut and what is wrong, and writes nothing.
                """)
        @OptionGroup var global: GlobalOptions
        @Argument var name: String
        @Argument(help: "A file of rows, or a document.") var file: String
        @Option(help: "The licence of rows that name none.") var license: String?

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await DatanetCommand.send(
                file, to: APIClient.path("datanets", name) + "/rows", license: license, node)
            output.result(value) {
                "\(value.shown("rows")) rows added, \(value.shown("duplicates")) duplicates left out; \(value.shown("state"))"
                    + " as contribution \(value.shown("contribution"))"
            }
        }
    }

    struct List: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the datanets that this peer knows.", discussion: "EXAMPLE\n  openledger datanet list")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var page: Page

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get("datanets", page.query)
            output.result(value) {
                var table = Table("NAME", "ROWS", "SIZE", "HELD", "ACCESS", "LICENCE", "SUMMARY")
                for one in value.list("datanets") {
                    table.add(
                        one.shown("name"), one.shown("rows"), byteCount(one["bytes"]), one.shown("held"),
                        one.shown("access"),
                        one.shown("license"), one.shown("summary"))
                }
                return table.text + page.more(value)
            }
        }
    }

    struct Show: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one datanet and who contributed to it.",
            discussion: "EXAMPLE\n  openledger datanet show food")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get(APIClient.path("datanets", name))
            output.result(value) { DatanetCommand.describe(value) }
        }
    }

    struct Preview: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Read rows before using them.", discussion: "EXAMPLE\n  openledger datanet preview food --limit 5"
        )
        @OptionGroup var global: GlobalOptions
        @OptionGroup var page: Page
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get(APIClient.path("datanets", name) + "/rows", page.query)
            output.result(value) {
                let rows = value.list("rows").map { row in
                    let content = row["text"]?.text ?? "\(row.shown("prompt")) → \(row.shown("completion"))"
                    return
                        "\(row.shown("index"))  \(content)\n   \(short(row.shown("contributor"))), \(row.shown("license"))"
                }
                return rows.joined(separator: "\n") + "\n\(value.shown("total")) rows in all" + page.more(value)
            }
        }
    }

    struct Validate: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check a file of rows or a document against a datanet without writing anything.",
            discussion:
                "EXAMPLE\n  openledger datanet validate recipes soups.jsonl\n\nExit code 4 when a row is at fault.")
        @OptionGroup var global: GlobalOptions
        @Argument var name: String
        @Argument(help: "A file of rows, or a document.") var file: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await DatanetCommand.send(file, to: APIClient.path("datanets", name) + "/validate", node)
            output.result(value) {
                let faults = value.list("faults").compactMap { $0["message"]?.text }
                let verdict = value["valid"]?.flag == true ? "valid" : "not valid"
                let rows = value.list("preview").map(DatanetCommand.preview)
                let report = value["report"].flatMap { $0.isNull ? nil : DatanetCommand.summary($0) }
                let count = "\(verdict): \(value.shown("rows")) rows, \(value.shown("duplicates")) duplicates"
                return (rows + faults + [report, count].compactMap { $0 }).joined(separator: "\n")
            }
            if value["valid"]?.flag != true { throw Ending(status: .refused) }
        }
    }

    struct Contributions: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "List contributions and their state.",
            discussion: "EXAMPLE\n  openledger datanet contributions recipes")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get(APIClient.path("datanets", name) + "/contributions")
            output.result(value) {
                var table = Table("CONTRIBUTION", "STATE", "ROWS", "MADE", "CONTRIBUTOR", "REASON")
                for one in value.list("contributions") {
                    table.add(
                        one.shown("contribution"), one.shown("state"), one.shown("rows"), moment(one["created_ms"]),
                        short(one.shown("contributor")), one.shown("reason"))
                }
                return table.text
            }
        }
    }

    struct Approve: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Accept a pending contribution.",
            discussion: "EXAMPLE\n  openledger datanet approve recipes bafy…")
        @OptionGroup var global: GlobalOptions
        @Argument var name: String
        @Argument var contribution: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.post(APIClient.path("datanets", name, "contributions", contribution, "approve"))
            output.result(value) { "\(contribution) is \(value.shown("state"))" }
        }
    }

    struct Reject: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Refuse a pending contribution, with a reason that its contributor sees.",
            discussion: "EXAMPLE\n  openledger datanet reject recipes bafy… --reason 'not about food'")
        @OptionGroup var global: GlobalOptions
        @Argument var name: String
        @Argument var contribution: String
        @Option var reason: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.post(
                APIClient.path("datanets", name, "contributions", contribution, "reject"),
                .object(["reason": .string(reason)]))
            output.result(value) { "\(contribution) is \(value.shown("state"))" }
        }
    }

    struct Export: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write the rows as JSONL, to stdout or a file.",
            discussion: "EXAMPLE\n  openledger datanet export food --out food.jsonl")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String
        @Option(help: "A file that does not exist yet.") var out: String?

        func perform(_ node: APIClient, _ output: Output) async throws {
            let path = APIClient.path("datanets", name) + "/export"
            guard let out else {
                return try await node.rows(path) { Output(json: false).line(String(decoding: $0, as: UTF8.self)) }
            }
            let target = absolutePath(out)
            let rows = Lines()
            try await node.rows(path) { rows.add($0) }
            try writeFile(target, rows.bytes, overwrite: false)
            output.result(.object(["file": .string(target), "rows": .integer(rows.count)])) {
                "\(rows.count) rows in \(target)"
            }
        }

        private final class Lines {
            private(set) var bytes: [UInt8] = []
            private(set) var count = 0

            func add(_ line: [UInt8]) {
                bytes += line
                bytes.append(0x0a)
                count += 1
            }
        }
    }

    struct Pull: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Fetch a datanet from other peers, each block verified; resumes where it was cut.",
            discussion: "EXAMPLE\n  openledger datanet pull food")
        static let mayOpenHome = false
        @OptionGroup var global: GlobalOptions
        @OptionGroup var source: PullSource
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            try await source.pull(node, output, APIClient.path("datanets", name), what: name)
        }
    }
}

/// A window on a long list.
struct Page: ParsableArguments {
    @Option(help: "At most this many, 1 to 200.") var limit = 50
    @Option(help: "Where the last page ended.") var cursor: String?

    func validate() throws {
        guard (1...200).contains(limit) else { throw ValidationError("--limit is 1 to 200; it is \(limit)") }
    }

    var query: KeyValuePairs<String, String?> { ["limit": String(limit), "cursor": cursor] }

    func more(_ value: JSONValue) -> String {
        value["next"]?.text.map { "\nMore: --cursor \($0)" } ?? ""
    }
}

struct PullSource: ParsableArguments {
    @Option(help: "Only from this peer.") var peer: String?

    func pull(_ node: APIClient, _ output: Output, _ path: String, what: String) async throws {
        try await node.stream(path + "/pull", .present(["peer": peer.map(JSONValue.string)])) { event in
            output.event(event) { Self.progress(event, what: what) }
        }
    }

    static func progress(_ event: JSONValue, what: String) -> String? {
        switch event["event"]?.text {
        case "progress": "\(what): \(byteCount(event["done_bytes"])) of \(byteCount(event["total_bytes"]))"
        case "done": "\(what): complete and verified"
        default: nil
        }
    }
}
