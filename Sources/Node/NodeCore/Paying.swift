// The payer: an allowance is opened with a server the first time, then each answer is asked for under it.

import Ledger
import Primitives

extension Node {
    mutating func ask(_ request: AskRequest, _ id: CommandID) {
        guard let server = request.server.publicKey?.account else {
            return effects.append(.answer(id, .failed(.notReady("the server's key is not Ed25519"))))
        }
        guard request.server == peer || links.isConnected(request.server) else {
            return effects.append(.answer(id, .failed(.notConnected(request.server))))
        }
        guard trade.asks.count < TradeDesk.queuedAsksMax else {
            return effects.append(.answer(id, .failed(.tooMany("questions", max: TradeDesk.queuedAsksMax))))
        }
        trade.asks[id] = TradeDesk.Asking(request: request, server: server, since: moment.instant)
        trade.queued.append(id)
        beginAsks()
    }

    /// Begins what waited for its purse and can go now.
    private mutating func beginAsks() {
        for id in trade.queued {
            guard let asking = trade.asks[id], !trade.isBusy(asking.server) else { continue }
            let margin: UInt64 = 32
            if let purse = trade.purses[asking.server], purse.left >= asking.request.priceMax,
                purse.expiry > chain.height + margin
            {
                if purse.state == .open {
                    trade.queued.removeAll { $0 == id }
                    begin(id, asking, purse)
                }
            } else if trade.purses[asking.server]?.state != .opening {
                openPurse(asking.server, atLeast: asking.request.priceMax, for: id)
            }
        }
    }

    private mutating func openPurse(_ server: AccountID, atLeast: Amount, for id: CommandID) {
        let limit = max(configuration.allowanceLimit, atLeast)
        let heights = min(configuration.allowanceHeights, chain.parameters().allowanceHeightsMax)
        let expiry = chain.height &+ heights
        switch transact(.openAllowance(server: server, limit: limit, expiry: expiry)) {
        case .success(let transaction):
            let purse = Purse(
                allowance: AllowanceID(transaction), server: server, limit: limit, expiry: expiry, state: .opening)
            trade.purses[server] = purse
            persist([purse.write])
        case .failure(let failure):
            trade.asks[id] = nil
            trade.queued.removeAll { $0 == id }
            effects.append(.answer(id, .failed(failure)))
        }
    }

    private mutating func begin(_ id: CommandID, _ asking: TradeDesk.Asking, _ purse: Purse) {
        let request = asking.request
        guard request.randomness.count >= 96, let name = Digest(request.randomness.prefix(32)) else {
            trade.asks[id] = nil
            return effects.append(.answer(id, .failed(.notReady("no randomness"))))
        }
        var purse = purse
        purse.sequence += 1
        trade.purses[asking.server] = purse
        let order = AskOrder(
            request: name, allowance: purse.allowance, sequence: purse.sequence, priorTotal: purse.total,
            price: request.price, priceMax: request.priceMax, payer: account, model: request.model,
            precision: request.precision, adapters: request.adapters, fusion: request.fusion, datanet: request.datanet,
            prompt: request.prompt, decoding: request.decoding, settings: request.settings,
            logProbabilities: request.logProbabilities,
            promptSalt: Array(request.randomness[32..<64]), answerSalt: Array(request.randomness[64..<96]))
        var exchange = PayerExchange(order: order, server: asking.server, key: configuration.key, network: network)
        let actions = exchange.begin()
        var asking = asking
        asking.exchange = exchange
        let stream = links.open(request.server, .payer(id))
        asking.stream = stream
        if request.server == peer {
            trade.localCommands[stream] = id
        } else {
            effects.append(.open(stream, request.server, protocols: [NodeProtocol.infer]))
        }
        trade.asks[id] = asking
        // The sequence is spent once it may have been seen: on disk first.
        performPayer(actions, id, after: [purse.write])
    }

    mutating func payerReceived(_ bytes: [UInt8], _ id: CommandID, on stream: StreamID) {
        do {
            payerReceived(try InferMessage(decoding: bytes), id)
        } catch {
            payerFailed(id, .malformed(error))
            effects.append(.reset(stream))
            _ = links.end(stream)
        }
    }

    mutating func payerReceived(_ message: InferMessage, _ id: CommandID) {
        guard var asking = trade.asks[id], var exchange = asking.exchange else { return }
        let actions = exchange.received(message)
        asking.exchange = exchange
        trade.asks[id] = asking
        performPayer(actions, id)
    }

    mutating func payerClosed(_ id: CommandID) {
        guard var asking = trade.asks[id], var exchange = asking.exchange else { return }
        let actions = exchange.closed()
        asking.exchange = exchange
        trade.asks[id] = asking
        performPayer(actions, id)
        if trade.asks[id] != nil { endAsk(id) }
    }

    private mutating func payerFailed(_ id: CommandID, _ fault: ExchangeFault) {
        performPayer([.failed(fault)], id)
    }

    mutating func performPayer(_ actions: [PayerAction], _ id: CommandID, after writes: [NodeWrite] = []) {
        guard let stream = trade.asks[id]?.stream else { return }
        var durable = writes
        var answers: [NodeContinuation] = []
        var messages: [InferMessage] = []
        for action in actions {
            switch action {
            case .send(let message): messages.append(message)
            case .recordVoucher(let signed):
                guard let server = trade.asks[id]?.server, var purse = trade.purses[server] else { continue }
                purse.total = max(purse.total, signed.voucher.total)
                trade.purses[server] = purse
                durable.append(purse.write)
            case .accepted(let tokens, let sources):
                trade.asks[id]?.promptTokens = tokens
                effects.append(.answer(id, .accepted(promptTokens: tokens.count, sources: sources)))
            case .deliver(let token, let text, let scores):
                trade.asks[id]?.answerTokens.append(token)
                effects.append(.answer(id, .token(id: token, text: text, scores: scores)))
            case .settled(let signed, let end): payerSettled(signed, end, id, &durable, &answers)
            case .failed(let fault):
                effects.append(.answer(id, .failed(.exchange(fault))))
                // The server must not wait for what will not come.
                if trade.localCommands[stream] != nil {
                    serverClosed(stream)
                } else if links.end(stream) != nil {
                    effects.append(.reset(stream))
                }
                endAsk(id)
            }
        }
        persist(durable, then: messages.map { .payerMessage($0, id, stream) } + answers)
    }

    private mutating func payerSettled(
        _ signed: SignedReceipt, _ end: AnswerEnd, _ id: CommandID, _ durable: inout [NodeWrite],
        _ answers: inout [NodeContinuation]
    ) {
        guard let asking = trade.asks[id], let exchange = asking.exchange else { return }
        if var purse = trade.purses[asking.server] {
            purse.total = max(purse.total, signed.receipt.total)
            trade.purses[asking.server] = purse
            durable.append(purse.write)
        }
        let record = OwnReceipt(
            signed: signed, role: asking.server == account ? .both : .payer, order: exchange.order.encoded(),
            promptTokens: asking.promptTokens, answerTokens: asking.answerTokens, sources: exchange.sources,
            time: moment.wall, end: end)
        pool(signed, record: record)
        considerAudit(record)
        if !exchange.sources.isEmpty { answers.append(.effect(.answer(id, .sources(exchange.sources)))) }
        answers.append(.effect(.answer(id, .answered(signed, end: end))))
        // The server is busy under this allowance until it has the countersignature: it says so by ending the stream.
        if asking.stream.map({ trade.localCommands[$0] != nil }) ?? true { endAsk(id) }
    }

    /// The next answer under this allowance may begin.
    private mutating func endAsk(_ id: CommandID) {
        trade.asks[id] = nil
        beginAsks()
    }

    mutating func sendPayer(_ message: InferMessage, _ id: CommandID, on stream: StreamID) {
        if trade.localCommands[stream] != nil {
            trade.local.append((stream, id, true, message))
        } else {
            send(message.encoded(), on: stream)
        }
    }

    /// A batch may have opened a purse.
    mutating func purseSettled(_ certified: CertifiedBatch) {
        for transaction in certified.batch.contents.transactions where transaction.transaction.sender == account {
            guard case .openAllowance(let server, _, _) = transaction.transaction.action,
                var purse = trade.purses[server], purse.allowance.digest == transaction.id
            else { continue }
            purse.state = .open
            trade.purses[server] = purse
            persist([purse.write])
        }
        beginAsks()
    }

    mutating func allowanceRefused(_ transaction: Digest, _ fault: TransactionFault) {
        guard let server = trade.purses.first(where: { $0.value.allowance.digest == transaction })?.key,
            let purse = trade.purses[server], purse.state == .opening
        else { return }
        trade.purses[server] = nil
        persist([.delete(.allowances, key: Purse.storageKey(purse.allowance))])
        for id in trade.queued where trade.asks[id]?.server == server {
            trade.asks[id] = nil
            effects.append(.answer(id, .failed(.transaction(fault))))
        }
        trade.queued.removeAll { trade.asks[$0] == nil }
    }
}
