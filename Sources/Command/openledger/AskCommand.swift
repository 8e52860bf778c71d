import ArgumentParser
import Primitives

struct AskCommand: NodeCommand {
    static let configuration = CommandConfiguration(
        commandName: "ask", abstract: "Ask a model; the answer streams, then its sources and the receipt's id.",
        discussion: """
            EXAMPLE
              openledger ask "Define brisket." --datanet food
              openledger ask "Define femur." --model starter:anatomy --max-tokens 48
            """)

    @OptionGroup var global: GlobalOptions
    @Argument(help: "What to ask.") var text: String
    @Option(help: ArgumentHelp("The model (default: the peer's first).", valueName: "name[:adapter[@rev]]"))
    var model: String?
    @Option(help: "Only this neighbour may answer.") var peer: String?
    @Option(help: "Retrieve rows from this datanet, and pay for them.") var datanet: String?
    @Option(help: "At most this many tokens.") var maxTokens: Int?
    @Option(help: "0 always takes the likeliest token.") var temperature: Double?
    @Option(help: "The same seed gives the same answer.") var seed: UInt64?
    @Option(help: ArgumentHelp("The most that the answer may cost, in OPEN.", valueName: "amount")) var maxPrice:
        String?

    func validate() throws {
        if text.isEmpty { throw ValidationError("there is nothing to ask: the text is empty") }
        if let maxTokens, maxTokens < 1 { throw ValidationError("--max-tokens is at least 1; it is \(maxTokens)") }
        if let temperature, !(0...2).contains(temperature) {
            throw ValidationError("--temperature is between 0 and 2; it is \(temperature)")
        }
        if let maxPrice, Amount(text: maxPrice) == nil {
            throw ValidationError("--max-price is an amount in OPEN, as in 0.01; it is \(maxPrice)")
        }
        if let peer, PeerID(text: peer) == nil {
            throw ValidationError("--peer is a peer ID, as in 12D3Koo…; it is \(peer)")
        }
    }

    func perform(_ node: APIClient, _ output: Output) async throws {
        let body = JSONValue.present([
            "prompt": .string(text), "model": model.map(JSONValue.string), "datanet": datanet.map(JSONValue.string),
            "peer": peer.map(JSONValue.string), "max_tokens": maxTokens.map { .integer($0) },
            "temperature": temperature.map(JSONValue.double), "seed": seed.map { .integer($0) },
            "max_price": maxPrice.map(JSONValue.string),
        ])
        try await node.stream("ask", body) { event in
            output.json ? output.event(event) { nil } : Self.show(event, output)
        }
    }

    private static func show(_ event: JSONValue, _ output: Output) {
        switch event["event"]?.text {
        case "token": output.piece(event["text"]?.text ?? "")
        case "served_by" where event["local"]?.flag == false:
            Output.complain("answered by \(event.shown("peer"))")
        case "sources":
            let sources = event.list("sources")
            output.line(sources.isEmpty ? "\n" : "\n\nSources")
            for source in sources {
                let share = (source["ppm"]?.double ?? 0) / 10_000
                output.line(
                    "  \(oneDecimal(share))%  \(source.shown("text"))\n         \(source.shown("datanet_name")) \(source.shown("row_id")), by \(short(source.shown("contributor"))), \(source.shown("license"))\(SourceReasons.shown(source))"
                )
            }
        case "receipt":
            if let receipt = event["receipt"], !receipt.isNull {
                output.line(
                    "\nReceipt \(receipt.shown("id"))  \(receipt.shown("cost")) OPEN, \(receipt.shown("state"))")
            }
        default: break
        }
    }
}
