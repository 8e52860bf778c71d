// The payer's half of one paid answer. It signs only for what it received at the price it agreed to, and a receipt only
// if every field is what it asked for and saw; so a dishonest server cannot be paid for more than one voucher interval
// of tokens that were never delivered, and cannot have anything signed that was not ordered.
//
//   asked ──accepted──▶ receiving ──receipt──▶ settled
//     │                    │
//     └──refused──▶ failed ◀── fault, closed, cancelled without receipt

package import Ledger
package import Primitives
import Records

package enum ExchangeFault: Error, Hashable, Sendable {
    case refused(code: String, message: String)
    case unexpected(String)
    case malformed(CBORFault)
    /// The named field of the receipt is not what was agreed or seen.
    case receipt(String)
    case tooExpensive(Amount, max: Amount)
    case badSignature
    case vanished
    /// A total that does not grow, of another request, or beyond the allowance.
    case voucher(String)
    case overflow
}

package enum PayerAction: Hashable, Sendable {
    case send(InferMessage)
    /// Must be on disk before the messages that follow it are sent.
    case recordVoucher(SignedVoucher)
    case accepted(promptTokens: [UInt32], sources: [SourceNote])
    case deliver(id: UInt32, text: String, scores: [TokenScore])
    case settled(SignedReceipt, end: AnswerEnd)
    case failed(ExchangeFault)
}

package struct PayerExchange: Sendable {
    private enum State: Sendable {
        case asked
        case receiving
        case ended
    }

    package let order: AskOrder
    private let key: SigningKey
    private let network: NetworkID
    private let server: AccountID
    private var state = State.asked
    private var promptTokens: [UInt32] = []
    private var answerTokens: [UInt32] = []
    /// Of the prompt; once it is settled, with their shares.
    package private(set) var sources: [SourceNote] = []
    private var signedTokens = 0
    /// The last total that was signed; what a server can claim if it vanishes now.
    package private(set) var signedTotal: Amount

    package init(order: AskOrder, server: AccountID, key: SigningKey, network: NetworkID) {
        self.order = order
        self.server = server
        self.key = key
        self.network = network
        signedTotal = order.priorTotal
    }

    package var isEnded: Bool { if case .ended = state { true } else { false } }

    package mutating func begin() -> [PayerAction] {
        [.send(.ask(.init(order.encoded(), by: key, domain: .request, network: network)))]
    }

    package mutating func received(_ message: InferMessage) -> [PayerAction] {
        do {
            return try handle(message)
        } catch {
            state = .ended
            return [.failed(error)]
        }
    }

    package mutating func cancel() -> [PayerAction] { isEnded ? [] : [.send(.cancel)] }

    package mutating func closed() -> [PayerAction] {
        guard !isEnded else { return [] }
        state = .ended
        return [.failed(.vanished)]
    }

    private mutating func handle(_ message: InferMessage) throws(ExchangeFault) -> [PayerAction] {
        switch (state, message) {
        case (.ended, _):
            return []
        case (_, .refused(let code, let text)):
            throw .refused(code: code, message: text)
        case (.asked, .accepted(let tokens, let sources)):
            promptTokens = tokens
            self.sources = sources
            try checkPrice(try cost())
            state = .receiving
            return [.accepted(promptTokens: tokens, sources: sources)]
        case (.receiving, .token(let id, let text, let scores)):
            guard UInt64(answerTokens.count) < order.decoding.maxTokens else {
                throw .unexpected("more tokens than were asked for")
            }
            try checkScores(scores, of: id)
            answerTokens.append(id)
            try checkPrice(try cost())
            var actions: [PayerAction] = [.deliver(id: id, text: text, scores: scores)]
            if answerTokens.count - signedTokens >= Int(LedgerLimits.voucherIntervalTokens) { actions += try voucher() }
            return actions
        case (.receiving, .due(let total)):
            guard total <= (try owed()) else { throw .voucher("the server asks for more than was delivered") }
            return try voucher()
        case (.receiving, .receipt(let receipt, let signature, let end, let shares)):
            return try settle(receipt, signature, end, shares)
        default:
            throw .unexpected("a message out of turn")
        }
    }

    private func checkScores(_ scores: [TokenScore], of id: UInt32) throws(ExchangeFault) {
        guard let others = order.logProbabilities else {
            guard scores.isEmpty else { throw .unexpected("log-probabilities that nobody asked for") }
            return
        }
        guard let own = scores.first, own.id == id, scores.count <= others + 1 else {
            throw .unexpected("a token without the log-probabilities that were asked for")
        }
    }

    private func cost() throws(ExchangeFault) -> Amount {
        do {
            return try order.price.cost(
                promptTokens: UInt64(promptTokens.count), answerTokens: UInt64(answerTokens.count))
        } catch {
            throw .overflow
        }
    }

    private func owed() throws(ExchangeFault) -> Amount {
        let cost = try cost()
        do { return try order.priorTotal.adding(cost) } catch { throw .overflow }
    }

    private func checkPrice(_ cost: Amount) throws(ExchangeFault) {
        guard cost <= order.priceMax else { throw .tooExpensive(cost, max: order.priceMax) }
    }

    private mutating func voucher() throws(ExchangeFault) -> [PayerAction] {
        let total = try owed()
        guard total > signedTotal else { return [] }
        signedTotal = total
        signedTokens = answerTokens.count
        let voucher = Voucher(
            allowance: order.allowance, sequence: order.sequence, total: total, tokens: UInt64(answerTokens.count),
            request: order.request)
        let signed = SignedVoucher(voucher, payer: key, network: network)
        return [.recordVoucher(signed), .send(.voucher(signed))]
    }

    private mutating func settle(
        _ receipt: Receipt, _ signature: Signature, _ end: AnswerEnd, _ shares: [SourceNote]
    ) throws(ExchangeFault) -> [PayerAction] {
        try check(receipt, shares)
        let message = receipt.signingBytes()
        guard receipt.serverKey.verify(signature, over: message) else { throw .badSignature }
        let mine = key.sign(message)
        let signed = SignedReceipt(receipt: receipt, serverSignature: signature, payerSignature: mine)
        signedTotal = max(signedTotal, receipt.total)
        sources = shares
        state = .ended
        return [.settled(signed, end: end), .send(.countersign(mine))]
    }

    /// Every field of the receipt against what was ordered and seen.
    private func check(_ receipt: Receipt, _ shares: [SourceNote]) throws(ExchangeFault) {
        func require(_ condition: Bool, _ field: String) throws(ExchangeFault) {
            guard condition else { throw .receipt(field) }
        }
        try require(receipt.network == network, "network")
        try require(receipt.allowance == order.allowance, "allowance")
        try require(receipt.sequence == order.sequence, "sequence")
        try require(receipt.request == order.request, "request")
        try require(receipt.payer == order.payer && receipt.payerKey == key.publicKey, "payer")
        try require(receipt.server == server, "server")
        try require(receipt.model.weights == order.model, "weights")
        try require(receipt.model.precision == order.precision, "precision")
        try require(
            receipt.model.adapters.map(\.adapter) == order.adapters.map(\.adapter)
                && receipt.model.adapters.map(\.weight) == order.adapters.map(\.weight), "adapters")
        try require(receipt.model.fusion == order.fusion, "fusion")
        try require(receipt.decoding.extra == order.decoding.extra, "extra")
        try require(receipt.decoding == order.decoding, "decoding")
        try require(receipt.promptTokens == UInt64(promptTokens.count), "promptTokens")
        try require(receipt.answerTokens == UInt64(answerTokens.count), "answerTokens")
        try require(
            receipt.prompt == Commitment(salt: order.promptSalt, content: Commitment.content(tokens: promptTokens)),
            "prompt")
        try require(
            receipt.answer == Commitment(salt: order.answerSalt, content: Commitment.content(tokens: answerTokens)),
            "answer")
        try require(receipt.price == order.price, "price")
        try require(receipt.amount == (try cost()), "amount")
        try require(receipt.total == (try owed()), "total")
        try require(SourceLedger.holds(shares, told: sources, snapshots: receipt.data.snapshots), "sources")
        try require(receipt.data.rows == SourceLedger.root(of: shares), "rows")
        try require(receipt.data.contributors == SourceLedger.contributors(of: shares), "contributors")
    }
}

/// What the sources of an answer come to in its receipt.
package enum SourceLedger {
    /// nil where nobody has a share: there is nothing to commit to.
    package static func root(of sources: [SourceNote]) -> Digest? {
        let leaves = sources.filter { $0.share > .none }.map(\.leaf)
        return leaves.isEmpty ? nil : MerkleTree.root(of: leaves)
    }

    /// Whether shares are in one form and leave nobody out: those that have one by its size, ties to the lower row, one
    /// million together; then those that have none, each with its reason; each row once; every row of the prompt.
    package static func holds(_ shares: [SourceNote], told: [SourceNote], snapshots: [CID]) -> Bool {
        struct Row: Hashable {
            let snapshot: CID
            let row: UInt64
        }
        var contributors: [Row: AccountID] = [:]
        var sum: UInt64 = 0
        for (index, note) in shares.enumerated() {
            let row = Row(snapshot: note.snapshot, row: note.row)
            guard snapshots.contains(note.snapshot), (note.share > .none) == (note.reason == nil),
                contributors.updateValue(note.contributor, forKey: row) == nil
            else { return false }
            sum += UInt64(note.share.value)
            guard index > 0, note.share > .none else { continue }
            let before = shares[index - 1]
            guard before.share > note.share || (before.share == note.share && before.row < note.row) else {
                return false
            }
        }
        guard sum == 0 || sum == 1_000_000 else { return false }
        return told.allSatisfy { contributors[Row(snapshot: $0.snapshot, row: $0.row)] == $0.contributor }
    }

    package static func contributors(of sources: [SourceNote]) -> [Contributor] {
        var shares: [AccountID: UInt32] = [:]
        for source in sources { shares[source.contributor, default: 0] += min(source.share.value, 1_000_000) }
        return shares.sorted { $0.key < $1.key }.filter { $0.value > 0 }
            .map { Contributor(account: $0.key, share: PartsPerMillion($0.value)) }
    }
}
