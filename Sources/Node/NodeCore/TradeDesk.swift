// Who owes whom: the allowances this peer pays from, the answers it is getting and giving, and what it keeps to prove
// them. One answer at a time runs under an allowance, because totals under it only grow.

import Ledger
import Primitives
import Sequencing

struct TradeDesk: Sendable {
    /// How long a server waits to see the allowance of an order on the chain.
    static let orderPatience = Span.seconds(10)
    static let askPatience = Span.seconds(60)
    /// How long an answer may stand still: a slow model's first token, or a payer's voucher.
    static let silencePatience = Span.seconds(120)
    static let queuedAsksMax = 256

    struct Asking: Sendable {
        let request: AskRequest
        let server: AccountID
        let since: Instant
        var exchange: PayerExchange?
        var stream: StreamID?
        var promptTokens: [UInt32] = []
        var answerTokens: [UInt32] = []
    }

    struct Giving: Sendable {
        var exchange: ServerExchange
        let generation: Ticket
        var start: AnswerStart?
        var answerTokens: [UInt32] = []
        /// When it last moved.
        var heard: Instant
        /// Vouchers on their way to the disk, and what is to be said when they are there.
        var vouchersUnsynced = 0
        var unsent: [InferMessage] = []
    }

    struct WaitingOrder: Sendable {
        let order: AskOrder
        let key: PublicKey
        let since: Instant
    }

    /// What a server knows of an allowance besides the chain.
    struct Held: Sendable {
        var total: Amount
        var sequence: UInt64
        /// Not covered by a receipt that this peer holds.
        var voucher: SignedVoucher?
        var isClaimed = false
    }

    /// By server. At most one that is open or opening.
    var purses: [AccountID: Purse] = [:]
    var asks: [CommandID: Asking] = [:]
    /// Asks that wait for their purse, in order.
    var queued: [CommandID] = []
    var giving: [StreamID: Giving] = [:]
    var orders: [StreamID: WaitingOrder] = [:]
    var held: [AllowanceID: Held] = [:]
    var generations: [Ticket: StreamID] = [:]
    /// Messages between the two halves when this peer pays itself.
    var local: [(stream: StreamID, command: CommandID, toServer: Bool, message: InferMessage)] = []
    var localCommands: [StreamID: CommandID] = [:]

    /// - Parameter receipts: that this peer is the server of and that wait for a batch.
    init(purses: [Purse], vouchers: [SignedVoucher], receipts: [SignedReceipt]) {
        for purse in purses.sorted(by: { $0.expiry < $1.expiry }) { self.purses[purse.server] = purse }
        for signed in vouchers {
            held[signed.voucher.allowance] = Held(
                total: signed.voucher.total, sequence: signed.voucher.sequence, voucher: signed)
        }
        for signed in receipts where held[signed.receipt.allowance]?.sequence ?? 0 <= signed.receipt.sequence {
            held[signed.receipt.allowance] = Held(total: signed.receipt.total, sequence: signed.receipt.sequence)
        }
    }

    func isBusy(_ server: AccountID) -> Bool {
        asks.contains { $0.value.server == server && $0.value.exchange != nil }
    }

    func isBusy(_ allowance: AllowanceID) -> Bool {
        giving.contains { $0.value.exchange.order.allowance == allowance }
    }
}

extension Node {
    package var purses: [Purse] { trade.purses.sorted { $0.key < $1.key }.map(\.value) }
    package var answersRunning: Int { trade.giving.count }
    package var answersWaiting: Int { trade.orders.count }

    // MARK: Pools

    /// Offers to the pool a receipt whose signatures hold.
    /// - Returns: whether others should see it.
    mutating func take(_ receipt: SignedReceipt) -> Bool {
        guard case .taken = chain.receipts.offer(receipt) else { return false }
        chain.markVerified(receipt.id)
        effects.append(.notify(.receipt(receipt.id, .pooled)))
        tellWork()
        return true
    }

    mutating func take(_ transaction: SignedTransaction) -> Bool {
        guard case .taken = chain.transactions.offer(transaction) else { return false }
        chain.markVerified(transaction.id)
        effects.append(.notify(.transaction(transaction.id, .pooled)))
        tellWork()
        return true
    }

    /// Signs and pools an order of this account's.
    mutating func transact(_ action: Action) -> Result<Digest, NodeFailure> {
        let key = configuration.key
        // Where one was refused there is a gap to be filled, or those behind it would wait for ever.
        let nonce = chain.account(account).nonce + UInt64(ownTransactions().count)
        var fee = Amount.zero
        var isFree = false
        if case .faucet = action { isFree = true }
        func signed(_ fee: Amount) -> SignedTransaction {
            SignedTransaction(
                Transaction(sender: account, key: key.publicKey, nonce: nonce, fee: fee, action: action), by: key,
                network: network)
        }
        var transaction = signed(fee)
        if !isFree {
            // The fee is part of what is measured; a little more than the minimum ends the chase.
            let bytes = UInt64(transaction.encoded().count) + 16
            guard let minimum = try? chain.parameters().minimumFee(bytes: bytes) else {
                return .failure(.transaction(.overflow))
            }
            fee = minimum
            transaction = signed(fee)
        }
        switch chain.transactions.offer(transaction) {
        case .taken, .known: break
        case .full: return .failure(.poolFull)
        case .refused(let fault): return .failure(.transaction(fault))
        }
        chain.markVerified(transaction.id)
        let bytes = transaction.encoded()
        persist(
            [.put(.pool, key: transaction.id.bytes, value: [1] + bytes)],
            then: [
                .publish(Topics.transactions(network), bytes), .effect(.notify(.transaction(transaction.id, .pooled))),
            ])
        tellWork()
        return .success(transaction.id)
    }

    mutating func pool(_ receipt: SignedReceipt, record: OwnReceipt) {
        let isNew = { if case .taken = chain.receipts.offer(receipt) { true } else { false } }()
        if isNew { chain.markVerified(receipt.id) }
        let bytes = receipt.encoded()
        persist(
            [
                .put(.pool, key: receipt.id.bytes, value: [0] + bytes),
                .put(.mine, key: record.storageKey, value: record.encoded()),
            ],
            then: isNew
                ? [.publish(Topics.receipts(network), bytes), .effect(.notify(.receipt(receipt.id, .pooled)))] : [])
        tellWork()
    }

    // MARK: Commands

    mutating func perform(_ command: NodeCommand, _ id: CommandID) {
        switch command {
        case .dial(let address):
            effects.append(.dial(address))
            effects.append(.answer(id, .done))
        case .disconnect(let peer):
            effects.append(.disconnect(peer, reason: "asked for"))
            effects.append(.answer(id, .done))
        case .announce(let entry):
            announce(entry)
            effects.append(.answer(id, .done))
        case .advertise(let advert):
            advertise(advert)
            effects.append(.answer(id, .done))
        case .pull(let root, let peer): pull(root, from: peer, id)
        case .offerLayers(let offer):
            staging.offer = offer
            effects.append(.answer(id, .done))
        case .openLayers(let peer, let request): openLayers(peer, request, id)
        case .computeLayers(let work, let session): computeLayers(work, session: session)
        case .ask(let request): ask(request, id)
        case .datanet(let command): perform(command, id)
        case .audit(let request): audit(request, id)
        case .transact(let action, let wait):
            switch transact(action) {
            case .failure(let failure): effects.append(.answer(id, .failed(failure)))
            case .success(let transaction):
                if wait, chain.waiters.values.reduce(0, { $0 + $1.count }) < Self.commandsMax {
                    chain.waiters[transaction, default: []].append(id)
                } else {
                    effects.append(.answer(id, .transaction(transaction, state: .pooled)))
                }
            }
        }
    }

    mutating func cancelled(_ id: CommandID) {
        for digest in chain.waiters.keys.sorted() { chain.waiters[digest]?.removeAll { $0 == id } }
        for root in pulls.pulls.keys.sorted() { pulls.pulls[root]?.commands.removeAll { $0 == id } }
        holding.cancel(id)
        closeLayers(id)
        cancelAudit(id)
        guard var asking = trade.asks[id] else { return }
        guard var exchange = asking.exchange else {
            trade.asks[id] = nil
            trade.queued.removeAll { $0 == id }
            return
        }
        let actions = exchange.cancel()
        asking.exchange = exchange
        trade.asks[id] = asking
        performPayer(actions, id)
    }

    mutating func upkeep() {
        catalog.expire(moment.wall)
        lookForPeers()
        giveUpSilent()
        giveUpStages()
        giveUpPulls()
        giveUpDatanets()
        tendKeeping()
        claimVouchers()
        repeatOwn()
        tendAudits()
        for stream in trade.orders.keys.sorted() {
            guard let waiting = trade.orders[stream],
                moment.instant.since(waiting.since) > TradeDesk.orderPatience
            else { continue }
            trade.orders[stream] = nil
            sendServer(.refused(code: "allowance", message: "the allowance is not on the chain"), on: stream)
        }
        for id in trade.asks.keys.sorted() {
            guard let asking = trade.asks[id], asking.exchange == nil,
                moment.instant.since(asking.since) > TradeDesk.askPatience
            else { continue }
            trade.asks[id] = nil
            trade.queued.removeAll { $0 == id }
            effects.append(.answer(id, .failed(.timedOut("no batch opened the allowance"))))
        }
        let connected = Set(links.connected)
        for address in configuration.boot where address.peer.map({ !connected.contains($0) }) ?? connected.isEmpty {
            effects.append(.dial(address))
        }
    }
}
