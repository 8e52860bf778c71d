import ArgumentParser
import Primitives

/// A link to the page that logs in once: for a browser that has no session yet.
struct OpenCommand: NodeCommand {
    static let configuration = CommandConfiguration(
        commandName: "open", abstract: "Print a link to the web page that works once, for an hour.",
        discussion: "EXAMPLE\n  openledger open")
    static let mayOpenHome = false
    @OptionGroup var global: GlobalOptions

    func perform(_ node: APIClient, _ output: Output) async throws {
        let value = try await node.post("session/code", .members([]))
        output.result(value) { value.shown("url") }
    }
}
