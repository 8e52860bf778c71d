import ArgumentParser
import Primitives

extension ReceiptCommand {
    struct Audit: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Have an answer re-executed and compared, token for token.",
            discussion: """
                EXAMPLE
                  openledger receipt audit 9c0f…
                  openledger receipt audit 9c0f… --here
                  openledger receipt audit 9c0f… --attribution

                Another peer than the server that offers the model repeats the answer; it is shown the prompt for that. Without \
                one, or with --here, this peer's own kernels do, and nobody is shown anything. A verdict for each check; exit code \
                0 when the answer is the one that the model gives, 4 when it is not, 3 when nobody could say.

                With --attribution it is the shares that are computed again: the rows of the snapshot are searched, the \
                evidence that the receipt names is weighed, and the rows that come of it are compared with those that it pays.
                """)
        @OptionGroup var global: GlobalOptions
        @Argument(help: "A receipt that this peer is payer or server of.") var id: String
        @Option(help: ArgumentHelp("Ask this peer, and no other.", valueName: "peer")) var peer: String?
        @Flag(help: "Use this peer's own kernels: the prompt stays here.") var here = false
        @Flag(help: "Publish evidence, prompt included, if two find the same difference.") var publish = false
        @Flag(help: "Whether the receipt pays the rows that its evidence names, instead of the answer itself.")
        var attribution = false

        func validate() throws {
            if attribution, publish {
                throw ValidationError("a finding about shares is no evidence: leave --publish out")
            }
            if here, peer != nil { throw ValidationError("--here and --peer exclude each other") }
        }

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.post(
                APIClient.path("receipts", id) + "/audit",
                .present([
                    "peer": peer.map(JSONValue.string), "here": .bool(here), "publish": .bool(publish),
                    "attribution": .bool(attribution),
                ]))
            let audit = value["audit"] ?? .null
            let outcome = audit.shown("outcome")
            output.result(value) {
                let checks = value.list("checks").map { check in
                    "\(check["verdict"]?.text == "pass" ? "pass" : "FAIL")  \(check.shown("name")): \(check.shown("message"))"
                }
                let auditor = audit["own"]?.flag == true ? "this peer" : audit.shown("auditor")
                let words = attribution ? Self.shareWords : Self.words
                var end = ["", "\(words[outcome] ?? outcome), says \(auditor)."]
                if outcome == "differs", !attribution { end.append(evidence(value)) }
                return (checks + end).joined(separator: "\n")
            }
            if outcome == "unable" { throw Ending(status: .unreachable) }
            if value["holds"]?.flag != true { throw Ending(status: .refused) }
        }

        private static let words = [
            "same": "The model gives this answer", "differs": "The model gives another answer",
            "unable": "Nothing can be said",
        ]

        private static let shareWords = [
            "same": "The evidence gives these shares", "differs": "The evidence gives other shares",
            "unable": "Nothing can be said",
        ]

        private func evidence(_ value: JSONValue) -> String {
            guard value["evidence"]?.flag == true else {
                return "One verdict is a claim, two that agree are evidence: ask another with --peer, or --here."
            }
            let place = value["published"]?.flag == true ? "published" : "kept here; --publish shows it to all"
            return "Two found the same difference: evidence, \(place)."
        }
    }
}
