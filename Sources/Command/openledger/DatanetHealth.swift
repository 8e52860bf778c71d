// `datanet health`: how well other peers keep a datanet that is whole here.

import ArgumentParser
import Primitives

extension DatanetCommand {
    struct Health: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show how many other peers have proved that they keep each shard of a datanet.",
            discussion: """
                EXAMPLE
                  openledger datanet health recipes

                Every shard is to be on three peers besides its owner. Peers lend disk by the setting keep.disk; where one leaves,
                the next takes its place within ten minutes. Of a datanet that this peer has whole.
                """)
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get(APIClient.path("datanets", name) + "/health")
            output.result(value) {
                var lines = [value.shown("sentence")]
                for (count, shards) in value.list("copies").enumerated() where shards.integer != 0 {
                    let more = count == value.list("copies").count - 1 ? " or more" : ""
                    lines.append("\(shards.integer ?? 0) shards on \(count)\(more) other peers")
                }
                for keeper in value.list("keepers") {
                    let state = keeper["connected"]?.flag == true ? "" : ", not connected"
                    lines.append("\(keeper.shown("peer"))  \(keeper.shown("shards")) shards\(state)")
                }
                return lines.joined(separator: "\n")
            }
        }
    }
}
