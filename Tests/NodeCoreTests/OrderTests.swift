// An order's settings: one encoding, a commitment that the receipt carries, and scores that are exactly those asked for.

import Ledger
import NodeCore
import Primitives
import Testing

struct OrderTests {
    private static let payer = (try? SigningKey(seed: [UInt8](repeating: 1, count: 32)))?.publicKey.account

    private func order(
        stop: [String] = [], ignoreEndOfSequence: Bool = false, bias: [AskBias] = [], form: AskForm? = nil,
        choice: UInt32 = 0, logProbabilities: Int? = nil, fusion: String? = nil
    ) throws -> AskOrder {
        AskOrder(
            request: Digest(sha256: [7]), allowance: AllowanceID(Digest(sha256: [8])), sequence: 3, priorTotal: .zero,
            price: ExchangeTests.price, priceMax: Amount(baseUnits: 1000), payer: try #require(Self.payer),
            model: CID(.dagCBOR, hashing: [1]), precision: "f32",
            adapters: [AdapterUse(adapter: CID(.raw, hashing: [2]), weight: -300_000, owner: nil)], fusion: fusion,
            datanet: nil, prompt: .text("hello"), decoding: Decoding(maxTokens: 4),
            settings: DecodingSettings(
                stop: stop, ignoreEndOfSequence: ignoreEndOfSequence, bias: bias, form: form, choice: choice),
            logProbabilities: logProbabilities, promptSalt: [UInt8](repeating: 3, count: 32),
            answerSalt: [UInt8](repeating: 4, count: 32))
    }

    @Test func everySettingSurvivesAndIsCommittedTo() throws {
        let bias = [AskBias(token: 3, bias: -1_500_000), AskBias(token: 9, bias: 2_000_000)]
        let orders = [
            try order(), try order(stop: ["END", "\n"]), try order(ignoreEndOfSequence: true), try order(bias: bias),
            try order(form: .json), try order(form: .schema(#"{"type":"object"}"#)),
            try order(form: .grammar("root ::= \"a\"")), try order(choice: 5), try order(logProbabilities: 0),
            try order(logProbabilities: 20), try order(fusion: "ties/500000/total"),
        ]
        var commitments: Set<Digest> = []
        for (index, order) in orders.enumerated() {
            #expect(try AskOrder(decoding: order.encoded()) == order)
            #expect(order.decoding.extra == order.settings.commitment(salt: order.promptSalt))
            // Log-probabilities and the fusion decide nothing that is not in the receipt's plain fields.
            let isPlain = index == 0 || index >= 8
            #expect((order.decoding.extra == nil) == isPlain)
            if let extra = order.decoding.extra { commitments.insert(extra.digest) }
        }
        #expect(commitments.count == 7, "settings that differ are committed to alike")
    }

    @Test func anExtraThatSaysOtherwiseIsMalformed() throws {
        var order = try order(stop: ["END"])
        order.settings.stop = ["OTHER"]
        #expect(throws: CBORFault.self) { try AskOrder(decoding: order.encoded()) }
        order.settings.stop = []
        #expect(throws: CBORFault.self) { try AskOrder(decoding: order.encoded()) }
        var plain = try self.order()
        plain.decoding.extra = order.decoding.extra
        #expect(throws: CBORFault.self) { try AskOrder(decoding: plain.encoded()) }
    }

    @Test func onlyOneEncodingIsTaken() throws {
        let disordered = try order(bias: [AskBias(token: 9, bias: 1), AskBias(token: 3, bias: 1)])
        let doubled = try order(bias: [AskBias(token: 9, bias: 1), AskBias(token: 9, bias: 1)])
        let many = try order(bias: (0...UInt32(DecodingSettings.biasesMax)).map { AskBias(token: $0, bias: 1) })
        let large = try order(form: .grammar(String(repeating: "x", count: AskForm.bytesMax + 1)))
        let stops = try order(stop: (0..<17).map { "\($0)" })
        for order in [disordered, doubled, many, large, stops, try order(choice: 128), try order(logProbabilities: 21)]
        {
            #expect(throws: CBORFault.self) { try AskOrder(decoding: order.encoded()) }
        }
        let bytes = try order().encoded()
        for (key, value) in [("bias", CBOR.array([])), ("choice", .unsigned(0)), ("scores", .unsigned(21))] {
            guard case .entries(let entries) = try CBOR.decode(bytes, limits: .default) else {
                Issue.record("an order is a map")
                return
            }
            let pairs = entries.map { ($0.key, $0.value) } + [(key, value)]
            #expect(throws: CBORFault.self) { try AskOrder(decoding: CBOR.map(pairs).encoded()) }
        }
    }

    @Test func scoresAreExactlyThoseAskedFor() throws {
        let key = try SigningKey(seed: [UInt8](repeating: 1, count: 32))
        let server = try SigningKey(seed: [UInt8](repeating: 2, count: 32)).publicKey.account
        func own(_ id: UInt32) -> TokenScore { TokenScore(id: id, logProbability: -0.25, text: "a") }
        func faults(_ asked: Int?, _ scores: [TokenScore]) throws -> Bool {
            var payer = PayerExchange(
                order: try order(logProbabilities: asked), server: server, key: key, network: ExchangeTests.network)
            _ = payer.begin()
            _ = payer.received(.accepted(promptTokens: [1], sources: []))
            let message = InferMessage.token(id: 7, text: "a", scores: scores)
            #expect(try InferMessage(decoding: message.encoded()) == message)
            return payer.received(message).contains { if case .failed = $0 { true } else { false } }
        }
        #expect(try !faults(nil, []))
        #expect(try faults(nil, [own(7)]))
        #expect(try faults(0, []))
        #expect(try faults(0, [own(8)]))
        #expect(try !faults(0, [own(7)]))
        #expect(try faults(1, [own(7), own(1), own(2)]))
        #expect(try !faults(1, [own(7), own(1)]))
        let endless = InferMessage.token(
            id: 7, text: "", scores: [TokenScore(id: 7, logProbability: -.infinity, text: "")])
        #expect(throws: CBORFault.self) { try InferMessage(decoding: endless.encoded()) }
    }
}
