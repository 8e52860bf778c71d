// The server's half of one paid answer. Tokens are delivered on credit up to the exposure cap; beyond it delivery pauses
// until the payer has signed for what he has. What the payer signed last can be settled without him.
//
//   checked ──started──▶ delivering ⇄ paused ──finished──▶ weighing ──weighed──▶ billed ──countersign──▶ settled
//                            │                                 │                   │
//                            └──── payer gone ──▶ ended: settle the last voucher, if there is one
//
// Weighing is what comes between the last token and the bill where rows were drawn on: whose they were is known by the answer.

package import Ledger
package import Primitives

package enum ServerAction: Hashable, Sendable {
    case send(InferMessage)
    /// Must be on disk: it is money.
    case recordVoucher(SignedVoucher)
    case settled(SignedReceipt)
    /// All is delivered: what was it made of? `weighed` is the answer.
    case weigh(AnswerStart, answerTokens: [UInt32])
    /// The payer is gone or misbehaved: stop generating, settle this alone.
    case abandoned(ExchangeFault, last: SignedVoucher?)
    case stopGenerating
}

/// What generation says before the first token: the whole prompt and what it drew on.
package struct AnswerStart: Hashable, Sendable {
    package var promptTokens: [UInt32]
    package var sources: [SourceNote]
    package var model: ModelUse
    package var data: DataUse

    package init(promptTokens: [UInt32], sources: [SourceNote], model: ModelUse, data: DataUse) {
        self.promptTokens = promptTokens
        self.sources = sources
        self.model = model
        self.data = data
    }
}

/// What the evidence of an answer came to.
package struct WeighedAnswer: Hashable, Sendable {
    /// As `SourceLedger.holds` wants them.
    package var sources: [SourceNote]
    /// Without rows and contributors.
    package var data: DataUse

    package init(sources: [SourceNote], data: DataUse) {
        self.sources = sources
        self.data = data
    }
}

package struct ServerExchange: Sendable {
    private enum State: Sendable {
        case checked
        case delivering(AnswerStart)
        case weighing(AnswerStart, AnswerEnd)
        case billed(Receipt, Signature)
        case ended
    }

    /// Tokens generated and not delivered, while the payer's signature is awaited.
    package static let heldTokensMax = 8192

    package let order: AskOrder
    package let payerKey: PublicKey
    private let key: SigningKey
    private let server: AccountID
    private let network: NetworkID
    private let exposureMax: Amount
    private let allowanceLimit: Amount
    private let expiry: UInt64
    private var state = State.checked
    private var delivered: [UInt32] = []
    private var held: [(id: UInt32, text: String, scores: [TokenScore])] = []
    private var end: AnswerEnd?
    /// With their shares, once it is billed.
    package private(set) var sources: [SourceNote] = []
    private var dueSent = false
    package private(set) var lastVoucher: SignedVoucher?

    /// - Parameters:
    ///   - exposureMax: the most that may be delivered and not yet signed for.
    ///   - allowanceLimit: what the allowance holds in all.
    ///   - expiry: the height until which the receipt may be settled.
    package init(
        order: AskOrder, payerKey: PublicKey, server: AccountID, key: SigningKey, network: NetworkID,
        exposureMax: Amount, allowanceLimit: Amount, expiry: UInt64
    ) {
        self.order = order
        self.payerKey = payerKey
        self.server = server
        self.key = key
        self.network = network
        self.exposureMax = exposureMax
        self.allowanceLimit = allowanceLimit
        self.expiry = expiry
    }

    package var isEnded: Bool { if case .ended = state { true } else { false } }

    package mutating func started(_ start: AnswerStart) -> [ServerAction] {
        guard case .checked = state else { return [] }
        state = .delivering(start)
        guard let owed = total(answerTokens: 0), owed <= allowanceLimit else {
            state = .ended
            return [
                .send(.refused(code: "allowance", message: "the prompt alone costs more than the allowance holds")),
                .stopGenerating,
            ]
        }
        return [.send(.accepted(promptTokens: start.promptTokens, sources: start.sources))]
    }

    package mutating func generated(id: UInt32, text: String, scores: [TokenScore] = []) -> [ServerAction] {
        guard case .delivering = state, end == nil else { return [] }
        guard held.count < Self.heldTokensMax else { return abandon(.voucher("no voucher in time")) }
        held.append((id, text, scores))
        return deliver()
    }

    package mutating func finished(_ end: AnswerEnd) -> [ServerAction] {
        guard case .delivering = state, self.end == nil else { return [] }
        self.end = end
        return deliver()
    }

    package mutating func failed(code: String, message: String) -> [ServerAction] {
        switch state {
        case .ended, .billed, .weighing: return []
        case .checked:
            state = .ended
            return [.send(.refused(code: code, message: message))]
        case .delivering:
            state = .ended
            return [
                .send(.refused(code: code, message: message)),
                .abandoned(.refused(code: code, message: message), last: lastVoucher),
            ]
        }
    }

    package mutating func received(_ message: InferMessage) -> [ServerAction] {
        switch (state, message) {
        case (.ended, _): return []
        case (.delivering, .voucher(let voucher)): return accept(voucher)
        case (.billed, .voucher(let voucher)), (.weighing, .voucher(let voucher)): return accept(voucher)
        case (.delivering, .cancel):
            end = .cancelled
            held = []
            return [.stopGenerating] + deliver()
        case (.checked, .cancel):
            state = .ended
            return [.stopGenerating]
        case (.billed, .cancel), (.weighing, .cancel): return []
        case (.billed(let receipt, let mine), .countersign(let signature)):
            guard payerKey.verify(signature, over: receipt.signingBytes()) else { return abandon(.badSignature) }
            state = .ended
            return [.settled(SignedReceipt(receipt: receipt, serverSignature: mine, payerSignature: signature))]
        default: return abandon(.unexpected("a message out of turn"))
        }
    }

    package mutating func closed() -> [ServerAction] { isEnded ? [] : abandon(.vanished) }

    private mutating func abandon(_ fault: ExchangeFault) -> [ServerAction] {
        state = .ended
        return [.stopGenerating, .abandoned(fault, last: lastVoucher)]
    }

    private mutating func accept(_ signed: SignedVoucher) -> [ServerAction] {
        let voucher = signed.voucher
        guard voucher.allowance == order.allowance, voucher.sequence == order.sequence, voucher.request == order.request
        else { return abandon(.voucher("it is for another request")) }
        guard signed.key == payerKey, signed.isValid(network: network) else { return abandon(.badSignature) }
        let floor = lastVoucher?.voucher.total ?? order.priorTotal
        guard voucher.total > floor else { return abandon(.voucher("its total does not grow")) }
        guard voucher.total <= allowanceLimit else { return abandon(.voucher("it is beyond the allowance")) }
        lastVoucher = signed
        dueSent = false
        return [.recordVoucher(signed)] + deliver()
    }

    /// What the payer owes in all, this request with so many answer tokens included; nil where it overflows.
    private func total(answerTokens: Int) -> Amount? {
        guard case .delivering(let start) = state else { return nil }
        guard
            let cost = try? order.price.cost(
                promptTokens: UInt64(start.promptTokens.count), answerTokens: UInt64(answerTokens))
        else { return nil }
        return try? order.priorTotal.adding(cost)
    }

    /// Sends what the exposure cap lets through; then, when all is out, the bill.
    private mutating func deliver() -> [ServerAction] {
        guard case .delivering(let start) = state else { return [] }
        var actions: [ServerAction] = []
        let secured = lastVoucher?.voucher.total ?? order.priorTotal
        while let next = held.first {
            guard let owed = total(answerTokens: delivered.count + 1), owed <= allowanceLimit else {
                end = .length
                held = []
                actions.append(.stopGenerating)
                break
            }
            guard let exposure = try? owed.subtracting(secured), exposure <= exposureMax else {
                // A single token dearer than the cap could never be delivered; the first one of an interval always may.
                if !dueSent, let sofar = total(answerTokens: delivered.count), sofar > secured {
                    dueSent = true
                    actions.append(.send(.due(sofar)))
                } else if !dueSent {
                    return actions + abandon(.voucher("one token costs more than the exposure cap"))
                }
                return actions
            }
            held.removeFirst()
            delivered.append(next.id)
            actions.append(.send(.token(id: next.id, text: next.text, scores: next.scores)))
        }
        if let end { actions += close(start, end) }
        return actions
    }

    /// What drew on nobody's rows, or says nothing, needs no weighing.
    private mutating func close(_ start: AnswerStart, _ end: AnswerEnd) -> [ServerAction] {
        guard !start.data.snapshots.isEmpty, !delivered.isEmpty else {
            let none = start.sources.map { note in
                var note = note
                note.share = .none
                note.reason = .unweighed
                return note
            }
            return bill(start, end, WeighedAnswer(sources: none, data: start.data))
        }
        state = .weighing(start, end)
        return [.weigh(start, answerTokens: delivered)]
    }

    package mutating func weighed(_ weighed: WeighedAnswer) -> [ServerAction] {
        guard case .weighing(let start, let end) = state else { return [] }
        return bill(start, end, weighed)
    }

    private mutating func bill(
        _ start: AnswerStart, _ end: AnswerEnd, _ weighed: WeighedAnswer
    ) -> [ServerAction] {
        guard
            let amount = try? order.price.cost(
                promptTokens: UInt64(start.promptTokens.count), answerTokens: UInt64(delivered.count)),
            let total = try? order.priorTotal.adding(amount),
            let prompt = Commitment(
                salt: order.promptSalt, content: Commitment.content(tokens: start.promptTokens)),
            let answer = Commitment(salt: order.answerSalt, content: Commitment.content(tokens: delivered))
        else { return abandon(.overflow) }
        var data = weighed.data
        data.rows = SourceLedger.root(of: weighed.sources)
        data.contributors = SourceLedger.contributors(of: weighed.sources)
        let receipt = Receipt(
            network: network, allowance: order.allowance, sequence: order.sequence, request: order.request,
            expiry: expiry, model: start.model, decoding: order.decoding, prompt: prompt, answer: answer,
            promptTokens: UInt64(start.promptTokens.count), answerTokens: UInt64(delivered.count), data: data,
            price: order.price, amount: amount, total: total, payer: order.payer, payerKey: payerKey, server: server,
            serverKey: key.publicKey)
        let signature = key.sign(receipt.signingBytes())
        sources = weighed.sources
        state = .billed(receipt, signature)
        return [.send(.receipt(receipt, server: signature, end: end, sources: sources))]
    }
}
