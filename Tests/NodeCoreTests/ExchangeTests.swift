// The two halves of a paid answer against each other: what an honest pair settles, and what each can lose to a partner
// that vanishes or cheats.

import Ledger
import NodeCore
import Primitives
import Testing

struct ExchangeTests {
    static let network = NetworkID(Digest(sha256: Array("exchange".utf8)))
    static let price = PriceSchedule(
        request: Amount(baseUnits: 10), promptToken: Amount(baseUnits: 1), answerToken: Amount(baseUnits: 5))

    struct Pair {
        var payer: PayerExchange
        var server: ServerExchange
        let payerKey: SigningKey
        let serverKey: SigningKey
        let start: AnswerStart

        init(exposure: UInt64 = 1_000, limit: UInt64 = 100_000, maxTokens: UInt64 = 400, priceMax: UInt64 = 50_000)
            throws
        {
            payerKey = try SigningKey(seed: [UInt8](repeating: 1, count: 32))
            serverKey = try SigningKey(seed: [UInt8](repeating: 2, count: 32))
            let order = AskOrder(
                request: Digest(sha256: [7]), allowance: AllowanceID(Digest(sha256: [8])), sequence: 3,
                priorTotal: Amount(baseUnits: 100), price: ExchangeTests.price,
                priceMax: Amount(baseUnits: UInt128(priceMax)),
                payer: payerKey.publicKey.account, model: CID(.dagCBOR, hashing: [1]), precision: "f32", adapters: [],
                datanet: nil, prompt: .text("hello"), decoding: Decoding(maxTokens: maxTokens),
                promptSalt: [UInt8](repeating: 3, count: 32), answerSalt: [UInt8](repeating: 4, count: 32))
            payer = PayerExchange(
                order: order, server: serverKey.publicKey.account, key: payerKey, network: ExchangeTests.network)
            server = ServerExchange(
                order: order, payerKey: payerKey.publicKey, server: serverKey.publicKey.account, key: serverKey,
                network: ExchangeTests.network, exposureMax: Amount(baseUnits: UInt128(exposure)),
                allowanceLimit: Amount(baseUnits: UInt128(limit)), expiry: 1_000)
            let note = SourceNote(
                row: 5, rowName: "row#5", snapshot: CID(.dagCBOR, hashing: [9]), datanet: Digest(sha256: [10]),
                datanetName: "food", contributor: serverKey.publicKey.account, share: .whole, text: "a row",
                license: "CC0", salt: [UInt8](repeating: 5, count: 16))
            weighed = [note]
            var told = note
            told.share = .none
            start = AnswerStart(
                promptTokens: [1, 2, 3], sources: [told],
                model: ModelUse(
                    weights: order.model, owner: nil, tokenizer: nil, template: nil, precision: "f32", numerics: 1),
                data: DataUse(snapshots: [note.snapshot]))
        }

        /// What the evidence comes to, and of how many tokens it was asked for.
        var weighed: [SourceNote]
        var weighedTokens: Int?
        var settledByPayer: SignedReceipt?
        var settledByServer: SignedReceipt?
        var abandoned: (fault: ExchangeFault, last: SignedVoucher?)?
        var payerFault: ExchangeFault?
        var delivered = 0

        /// Carries messages to and fro until there are none.
        mutating func run(_ first: [ServerAction], tamper: (InferMessage) -> InferMessage = { $0 }) {
            var toPayer: [InferMessage] = []
            var toServer: [InferMessage] = []
            func sort(_ actions: [ServerAction], _ pair: inout Pair) {
                for action in actions {
                    switch action {
                    case .send(let message): toPayer.append(tamper(message))
                    case .settled(let receipt): pair.settledByServer = receipt
                    case .abandoned(let fault, let last): pair.abandoned = (fault, last)
                    case .weigh(let start, let tokens):
                        pair.weighedTokens = tokens.count
                        sort(
                            pair.server.weighed(WeighedAnswer(sources: pair.weighed, data: start.data)), &pair)
                    case .recordVoucher, .stopGenerating: break
                    }
                }
            }
            sort(first, &self)
            while !toPayer.isEmpty || !toServer.isEmpty {
                if !toPayer.isEmpty {
                    for action in payer.received(toPayer.removeFirst()) {
                        switch action {
                        case .send(let message): toServer.append(message)
                        case .deliver: delivered += 1
                        case .settled(let receipt, _): settledByPayer = receipt
                        case .failed(let fault): payerFault = fault
                        case .recordVoucher, .accepted: break
                        }
                    }
                }
                if !toServer.isEmpty {
                    let actions = server.received(toServer.removeFirst())
                    sort(actions, &self)
                }
            }
        }

        mutating func answer(tokens: Int, tamper: (InferMessage) -> InferMessage = { $0 }) {
            _ = payer.begin()
            run(server.started(start), tamper: tamper)
            for token in 0..<tokens { run(server.generated(id: UInt32(token), text: "t"), tamper: tamper) }
            run(server.finished(.stop), tamper: tamper)
        }
    }

    @Test func anHonestPairSettlesOneReceipt() throws {
        var pair = try Pair()
        pair.answer(tokens: 150)
        let receipt = try #require(pair.settledByPayer)
        #expect(pair.settledByServer == receipt)
        #expect(pair.delivered == 150)
        try receipt.check(network: Self.network)
        #expect(receipt.receipt.amount == Amount(baseUnits: 10 + 3 + 150 * 5))
        #expect(receipt.receipt.total == Amount(baseUnits: 100 + 10 + 3 + 150 * 5))
        #expect(receipt.receipt.data.contributors.map(\.share) == [.whole])
    }

    @Test func messagesSurviveTheWire() throws {
        var pair = try Pair()
        pair.answer(tokens: 70) { message in
            guard let decoded = try? InferMessage(decoding: message.encoded()), decoded == message else {
                Issue.record("\(message) does not survive its encoding")
                return message
            }
            return decoded
        }
        #expect(pair.settledByServer != nil)
    }

    /// A payer that says nothing more gets no more than the cap beyond what it signed.
    @Test func aSilentPayerCostsTheServerAtMostTheCap() throws {
        var pair = try Pair(exposure: 200)
        var sent = 0
        for action in pair.server.started(pair.start) {
            if case .send(.accepted) = action { sent += 0 }
        }
        for token in 0..<300 {
            for action in pair.server.generated(id: UInt32(token), text: "t") {
                if case .send(.token) = action { sent += 1 }
            }
        }
        let owed = 10 + 3 + sent * 5
        #expect(sent > 0)
        #expect(owed <= 200, "delivered on credit: \(owed)")
        let actions = pair.server.closed()
        #expect(actions.contains(.abandoned(.vanished, last: nil)))
    }

    /// What a payer signed last is what a server can settle alone, and no more than what was delivered.
    @Test func aVanishedPayersLastVoucherIsSettledAlone() throws {
        var pair = try Pair(exposure: 400)
        _ = pair.payer.begin()
        pair.run(pair.server.started(pair.start))
        for token in 0..<200 { pair.run(pair.server.generated(id: UInt32(token), text: "t")) }
        let actions = pair.server.closed()
        guard case .abandoned(_, let last)? = actions.last, let voucher = last else {
            Issue.record("no voucher to settle")
            return
        }
        #expect(voucher.isValid(network: Self.network))
        #expect(voucher.voucher.total <= Amount(baseUnits: 100 + 10 + 3 + UInt128(pair.delivered) * 5))
        #expect(pair.payer.signedTotal == voucher.voucher.total)
    }

    @Test(arguments: [
        "amount", "total", "answerTokens", "price", "contributors", "sequence", "server", "prompt", "rows", "fusion",
        "extra",
    ])
    func aReceiptThatIsNotWhatWasAgreedIsNotSigned(field: String) throws {
        var pair = try Pair()
        let key = pair.serverKey
        pair.answer(tokens: 20) { message in
            guard case .receipt(var receipt, _, let end, let sources) = message else { return message }
            switch field {
            case "amount": receipt.amount = Amount(baseUnits: 1_000)
            case "total": receipt.total = Amount(baseUnits: 9_999)
            case "answerTokens": receipt.answerTokens = 21
            case "price":
                receipt.price = PriceSchedule(
                    request: Amount(baseUnits: 11), promptToken: Amount(baseUnits: 1), answerToken: Amount(baseUnits: 5)
                )
            case "contributors": receipt.data.contributors = []
            case "sequence": receipt.sequence = 4
            case "server": receipt.server = receipt.payer
            case "prompt": receipt.prompt = receipt.answer
            case "fusion": receipt.model.fusion = "linear"
            case "extra": receipt.decoding.extra = receipt.prompt
            default: receipt.data.rows = Digest(sha256: [1])
            }
            return .receipt(receipt, server: key.sign(receipt.signingBytes()), end: end, sources: sources)
        }
        #expect(pair.payerFault == .receipt(field))
        #expect(pair.settledByPayer == nil)
    }

    /// Shares are one million together or none, each row once, in order, and leave out no row of the prompt.
    @Test func sharesThatAreNotInFormAreNotSigned() throws {
        func fault(_ change: (inout [SourceNote]) -> Void) throws -> ExchangeFault? {
            var pair = try Pair()
            change(&pair.weighed)
            pair.answer(tokens: 20)
            #expect(pair.weighedTokens == 20)
            return pair.payerFault
        }
        func other(_ note: SourceNote, _ row: UInt64, _ share: UInt32, _ reason: ZeroReason? = nil) -> SourceNote {
            var other = note
            other.row = row
            other.share = PartsPerMillion(share)
            other.reason = reason
            return other
        }
        #expect(try fault { _ in } == nil)
        #expect(try fault { $0 = [other($0[0], 5, 0, .threshold)] } == nil, "nobody has a share, and why is said")
        #expect(try fault { $0 = [other($0[0], 9, 600_000), other($0[0], 5, 400_000)] } == nil)
        #expect(try fault { $0 = [other($0[0], 5, 500_000), other($0[0], 9, 500_000)] } == nil)
        #expect(try fault { $0 = [other($0[0], 9, 1_000_000), other($0[0], 5, 0, .duplicate)] } == nil)
        let wrong: [(inout [SourceNote]) -> Void] = [
            { $0 = [] }, { $0 = [other($0[0], 9, 1_000_000)] }, { $0[0].share = PartsPerMillion(999_999) },
            { $0 = [other($0[0], 5, 0)] }, { $0[0].reason = .threshold },
            { $0 = [other($0[0], 5, 400_000), other($0[0], 9, 600_000)] },
            { $0 = [other($0[0], 9, 500_000), other($0[0], 5, 500_000)] },
            { $0 = [other($0[0], 5, 0, .echo), other($0[0], 9, 1_000_000)] },
            { $0 = [other($0[0], 5, 500_000), other($0[0], 5, 500_000)] },
            { $0[0].snapshot = CID(.dagCBOR, hashing: [10]) },
        ]
        for (index, change) in wrong.enumerated() {
            #expect(try fault(change) == .receipt("sources"), "case \(index)")
        }
        // The row of the prompt is somebody else's now.
        let stranger = try SigningKey(seed: [UInt8](repeating: 9, count: 32)).publicKey.account
        #expect(
            try fault { notes in
                notes[0].contributor = stranger
            } == .receipt("sources"))
    }

    @Test func whatIsWeighedComesOnceAndLate() throws {
        var pair = try Pair()
        let early = pair.server.weighed(WeighedAnswer(sources: pair.weighed, data: pair.start.data))
        #expect(early.isEmpty)
        _ = pair.payer.begin()
        pair.run(pair.server.started(pair.start))
        for token in 0..<5 { pair.run(pair.server.generated(id: UInt32(token), text: "t")) }
        let actions = pair.server.finished(.stop)
        #expect(actions.contains { if case .weigh = $0 { true } else { false } })
        // Nothing that comes meanwhile brings another bill.
        #expect(pair.server.finished(.stop).isEmpty && pair.server.received(.cancel).isEmpty)
        #expect(pair.server.generated(id: 9, text: "t").isEmpty && pair.server.failed(code: "x", message: "").isEmpty)
        let bill = pair.server.weighed(WeighedAnswer(sources: pair.weighed, data: pair.start.data))
        #expect(bill.count == 1)
        #expect(pair.server.weighed(WeighedAnswer(sources: [], data: .none)).isEmpty)
        // A payer that leaves while it is weighed owes what it signed.
        var gone = try Pair()
        gone.run(gone.server.started(gone.start))
        _ = gone.server.generated(id: 1, text: "t")
        _ = gone.server.finished(.stop)
        #expect(gone.server.closed().contains(.abandoned(.vanished, last: nil)))
        // What says nothing owes nobody.
        var silent = try Pair()
        silent.answer(tokens: 0)
        #expect(silent.settledByPayer?.receipt.data.contributors.isEmpty == true && silent.weighedTokens == nil)
    }

    @Test func moreThanTheAgreedMaximumIsRefused() throws {
        var pair = try Pair(priceMax: 100)
        pair.answer(tokens: 50)
        guard case .tooExpensive? = pair.payerFault else {
            Issue.record("expected a refusal, got \(String(describing: pair.payerFault))")
            return
        }
    }

    @Test func aVoucherOfAnotherKeyOrAShrinkingOneEndsTheAnswer() throws {
        for (index, total) in [(0, UInt128(500)), (1, UInt128(100))] {
            var pair = try Pair()
            pair.run(pair.server.started(pair.start))
            let order = pair.server.order
            let signer = index == 0 ? pair.serverKey : pair.payerKey
            let voucher = SignedVoucher(
                Voucher(
                    allowance: order.allowance, sequence: order.sequence, total: Amount(baseUnits: total), tokens: 1,
                    request: order.request), payer: signer, network: Self.network)
            let actions = pair.server.received(.voucher(voucher))
            #expect(actions.contains { if case .abandoned = $0 { true } else { false } })
        }
    }

    @Test func cancellingBillsWhatWasDelivered() throws {
        var pair = try Pair()
        _ = pair.payer.begin()
        pair.run(pair.server.started(pair.start))
        for token in 0..<10 { pair.run(pair.server.generated(id: UInt32(token), text: "t")) }
        pair.run(pair.server.received(.cancel))
        #expect(pair.settledByServer?.receipt.answerTokens == 10)
    }
}
