// The server: an order is checked against the chain before a token is made, tokens go out on credit up to the exposure
// cap, and what the payer signed is on disk before more is delivered.

import Ledger
import Primitives
import Records

extension Node {
    mutating func serverReceived(_ bytes: [UInt8], on stream: StreamID, from peer: PeerID) {
        do {
            serverReceived(try InferMessage(decoding: bytes), on: stream)
        } catch {
            blame(peer, "infer: \(error)")
            serverClosed(stream)
            effects.append(.reset(stream))
            _ = links.end(stream)
        }
    }

    mutating func serverReceived(_ message: InferMessage, on stream: StreamID) {
        if case .ask(let envelope) = message { return accept(envelope, on: stream) }
        guard var giving = trade.giving[stream] else { return }
        let actions = giving.exchange.received(message)
        trade.giving[stream] = giving
        performServer(actions, on: stream)
    }

    mutating func serverClosed(_ stream: StreamID) {
        trade.orders[stream] = nil
        guard var giving = trade.giving[stream] else { return }
        let actions = giving.exchange.closed()
        trade.giving[stream] = giving
        performServer(actions, on: stream)
    }

    private mutating func accept(_ envelope: SignedEnvelope, on stream: StreamID) {
        guard trade.giving[stream] == nil, trade.orders[stream] == nil else { return }
        guard configuration.serves || trade.localCommands[stream] != nil else {
            return refuse(stream, "not_serving", "this peer does not serve others")
        }
        guard trade.giving.count + trade.orders.count < Self.answersMax else {
            return refuse(stream, "busy", "\(Self.answersMax) answers are running; try again soon")
        }
        guard envelope.isValid(.request, network: network), let order = try? AskOrder(decoding: envelope.payload) else {
            return refuse(stream, "order", "the order is malformed or its signature does not hold on this network")
        }
        let waiting = TradeDesk.WaitingOrder(order: order, key: envelope.signer, since: moment.instant)
        if chain.allowance(order.allowance) == nil {
            // The payer may be a batch ahead of us.
            trade.orders[stream] = waiting
        } else {
            serve(waiting, on: stream)
        }
    }

    private mutating func refuse(_ stream: StreamID, _ code: String, _ message: String) {
        sendServer(.refused(code: code, message: message), on: stream)
        finish(stream)
    }

    private mutating func serve(_ waiting: TradeDesk.WaitingOrder, on stream: StreamID) {
        let order = waiting.order
        guard let allowance = chain.allowance(order.allowance), allowance.server == account,
            allowance.payer == order.payer
        else { return refuse(stream, "allowance", "the allowance is not from this payer for this server") }
        guard chain.account(order.payer).authorises(waiting.key, as: .payer, of: order.payer) else {
            return refuse(stream, "payer", "the key may not pay for this account")
        }
        guard allowance.expiry > chain.height &+ 8 else {
            return refuse(stream, "expired", "the allowance expires at height \(allowance.expiry)")
        }
        guard order.price == configuration.price else {
            return refuse(
                stream, "price",
                "the price is \(configuration.price.answerToken) OPEN an answer token, \(configuration.price.promptToken) a prompt token, \(configuration.price.request) a request"
            )
        }
        guard !trade.isBusy(order.allowance) else {
            return refuse(stream, "busy", "another answer is running under this allowance")
        }
        let held = trade.held[order.allowance]
        let lastTotal = max(held?.total ?? .zero, allowance.settled)
        let lastSequence = max(held?.sequence ?? 0, allowance.sequence)
        guard order.priorTotal >= lastTotal, order.sequence > lastSequence else {
            return refuse(stream, "replay", "the allowance stands at \(lastTotal) OPEN, sequence \(lastSequence)")
        }
        let exchange = ServerExchange(
            order: order, payerKey: waiting.key, server: account, key: configuration.key, network: network,
            exposureMax: chain.parameters().exposureCap, allowanceLimit: allowance.limit, expiry: allowance.expiry)
        let ticket = ticket()
        trade.generations[ticket] = stream
        trade.giving[stream] = TradeDesk.Giving(exchange: exchange, generation: ticket, heard: moment.instant)
        trade.held[order.allowance] = TradeDesk.Held(
            total: lastTotal, sequence: order.sequence, voucher: held?.voucher)
        effects.append(.generate(GenerationOrder(order: order), ticket))
    }

    mutating func generated(_ ticket: Ticket, _ news: GenerationNews) {
        guard let stream = trade.generations[ticket], var giving = trade.giving[stream] else { return }
        let actions: [ServerAction]
        switch news {
        case .started(var start):
            start.model.owner = registeredOwner(start.model.weights, .model)
            start.model.adapters = start.model.adapters.map {
                AdapterUse(adapter: $0.adapter, weight: $0.weight, owner: registeredOwner($0.adapter, .adapter))
            }
            giving.start = start
            actions = giving.exchange.started(start)
        case .token(let id, let text, let scores):
            actions = giving.exchange.generated(id: id, text: text, scores: scores)
        case .finished(let end): actions = giving.exchange.finished(end)
        case .failed(let code, let message): actions = giving.exchange.failed(code: code, message: message)
        }
        trade.giving[stream] = giving
        performServer(actions, on: stream)
    }

    mutating func weighed(_ ticket: Ticket, _ weighed: WeighedAnswer) {
        guard let stream = trade.generations[ticket], var giving = trade.giving[stream] else { return }
        let actions = giving.exchange.weighed(weighed)
        trade.giving[stream] = giving
        performServer(actions, on: stream)
    }

    private mutating func performServer(_ actions: [ServerAction], on stream: StreamID) {
        trade.giving[stream]?.heard = moment.instant
        for action in actions {
            switch action {
            case .send(let message):
                if case .token(let id, _, _) = message { trade.giving[stream]?.answerTokens.append(id) }
                if let unsynced = trade.giving[stream]?.vouchersUnsynced, unsynced > 0 {
                    trade.giving[stream]?.unsent.append(message)
                } else {
                    sendServer(message, on: stream)
                }
            case .recordVoucher(let signed):
                let id = signed.voucher.allowance
                trade.held[id] = TradeDesk.Held(
                    total: signed.voucher.total, sequence: signed.voucher.sequence, voucher: signed)
                // What it pays for goes out once it is on disk, and so does whatever comes after that.
                trade.giving[stream]?.vouchersUnsynced += 1
                persist(
                    [.put(.allowances, key: Purse.voucherKey(id), value: signed.encoded())],
                    then: [.voucherStored(stream)])
            case .settled(let signed): serverSettled(signed, on: stream)
            case .weigh(let start, let tokens):
                guard let giving = trade.giving[stream] else { continue }
                effects.append(
                    .weigh(
                        WeighingOrder(order: giving.exchange.order, start: start, answerTokens: tokens),
                        giving.generation))
            case .abandoned(let fault, let last):
                effects.append(.notify(.log("an answer was not paid in full: \(fault)")))
                if let last, case .success = transact(.settleVoucher(last)) {
                    trade.held[last.voucher.allowance]?.isClaimed = true
                }
            case .stopGenerating:
                if let ticket = trade.giving[stream]?.generation { effects.append(.stopGenerating(ticket)) }
            }
        }
        endIfOver(stream)
    }

    mutating func voucherStored(_ stream: StreamID) {
        guard var giving = trade.giving[stream] else { return }
        giving.vouchersUnsynced -= 1
        let messages = giving.vouchersUnsynced == 0 ? giving.unsent : []
        if giving.vouchersUnsynced == 0 { giving.unsent = [] }
        trade.giving[stream] = giving
        for message in messages { sendServer(message, on: stream) }
    }

    /// Ends answers whose payer is there and silent: it would owe for ever.
    mutating func giveUpSilent() {
        for stream in trade.giving.keys.sorted() {
            guard let giving = trade.giving[stream], giving.start != nil,
                moment.instant.since(giving.heard) > TradeDesk.silencePatience
            else { continue }
            serverClosed(stream)
        }
    }

    private mutating func endIfOver(_ stream: StreamID) {
        guard let giving = trade.giving[stream], giving.exchange.isEnded else { return }
        for message in giving.unsent { sendServer(message, on: stream) }
        trade.giving[stream] = nil
        trade.generations[giving.generation] = nil
        if trade.localCommands.removeValue(forKey: stream) == nil { finish(stream) } else { _ = links.end(stream) }
    }

    private mutating func serverSettled(_ signed: SignedReceipt, on stream: StreamID) {
        guard let giving = trade.giving[stream], let start = giving.start else { return }
        trade.held[signed.receipt.allowance] = TradeDesk.Held(
            total: signed.receipt.total, sequence: signed.receipt.sequence)
        // A peer that pays itself keeps one record, the payer's.
        if signed.receipt.payer == account { return }
        let record = OwnReceipt(
            signed: signed, role: .server, order: giving.exchange.order.encoded(), promptTokens: start.promptTokens,
            answerTokens: giving.answerTokens, sources: giving.exchange.sources, time: moment.wall,
            end: giving.answerTokens.count >= Int(clamping: giving.exchange.order.decoding.maxTokens) ? .length : .stop)
        pool(signed, record: record)
    }

    mutating func sendServer(_ message: InferMessage, on stream: StreamID) {
        if let command = trade.localCommands[stream] {
            trade.local.append((stream, command, false, message))
        } else {
            send(message.encoded(), on: stream)
        }
    }

    /// Hands over what the two halves of an answer to oneself have said to each other, in order.
    mutating func deliverLocal() {
        while !trade.local.isEmpty {
            let (stream, command, toServer, message) = trade.local.removeFirst()
            if toServer { serverReceived(message, on: stream) } else { payerReceived(message, command) }
        }
    }

    /// What a final batch means to trade.
    mutating func tradeSettled(_ certified: CertifiedBatch) {
        purseSettled(certified)
        for stream in trade.orders.keys.sorted() {
            guard let waiting = trade.orders[stream], chain.allowance(waiting.order.allowance) != nil else { continue }
            trade.orders[stream] = nil
            serve(waiting, on: stream)
        }
    }
}
