// `datanet report`: what stands out in rows before they are in a datanet, of a file or of a contribution that waits.

import ArgumentParser
import Primitives

extension DatanetCommand {
    struct Report: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show what stands out in rows before they are in a datanet.",
            discussion: """
                EXAMPLE
                  openledger datanet report recipes --file soups.csv
                  openledger datanet report recipes bafy…

                Repeated rows, near duplicates, answers that contradict known ones, planted triggers, another language, odd
                lengths and characters. Each finding has a reason code, the row, and what it is compared with. Nothing is
                refused by it: the owner decides. Contributor and owner see the same report.
                """)
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String
        @Argument(help: "One that waits, or was accepted.") var contribution: String?
        @Option(help: "A file that is not contributed.") var file: String?

        func validate() throws {
            guard (contribution == nil) != (file == nil) else {
                throw ValidationError("name a contribution, or a file with --file")
            }
        }

        func perform(_ node: APIClient, _ output: Output) async throws {
            if let file {
                let value = try await DatanetCommand.send(
                    file, to: APIClient.path("datanets", name) + "/validate", node)
                let faults = value.list("faults").compactMap { $0["message"]?.text }
                output.result(value) { (faults + DatanetCommand.findings(value["report"])).joined(separator: "\n") }
                if value["valid"]?.flag != true { throw Ending(status: .refused) }
            } else {
                let path = APIClient.path("datanets", name, "contributions", contribution ?? "") + "/report"
                let value = try await node.get(path)
                output.result(value) { DatanetCommand.findings(value["report"]).joined(separator: "\n") }
            }
        }
    }

    /// A line a finding, then their number.
    static func findings(_ report: JSONValue?) -> [String] {
        guard let report, !report.isNull else { return ["nothing to compare with: the datanet is not held here"] }
        let lines = report.list("findings").map { finding in
            let place = finding["line"]?.integer.map { "line \($0)" } ?? "row \(finding.shown("row"))"
            return "\(place)  \(finding.shown("code"))  \(finding.shown("message"))"
        }
        return lines + [summary(report)]
    }

    static func summary(_ report: JSONValue) -> String {
        let counts = (report["counts"]?.memberList ?? []).map { "\($0.key) \($0.value.integer ?? 0)" }
        let what = counts.isEmpty ? "nothing stands out" : counts.joined(separator: ", ")
        return "\(report.shown("rows")) rows beside \(report.shown("known_rows")) of the datanet: \(what)"
            + (report["near_duplicates"]?.flag == false ? " (near duplicates were not looked for: too many rows)" : "")
    }
}
