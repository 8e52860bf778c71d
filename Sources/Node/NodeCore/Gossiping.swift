// Gossip: what comes is checked before it is passed on, and what a neighbour did wrong is named.

import Gossip
import Ledger
import Primitives
import Records
import Sequencing

extension Node {
    mutating func publish(_ topic: GossipTopic, _ bytes: [UInt8]) {
        route(gossip.handle(.publish(topic, bytes), now: moment.instant))
    }

    mutating func route(_ gossipEffects: [GossipEffect]) {
        for effect in gossipEffects {
            switch effect {
            case .send(let peer, let bytes): send(bytes, to: peer, .gossip)
            case .verify(let ticket, let message):
                route(gossip.handle(.verified(ticket, message.signatureHolds()), now: moment.instant))
            case .deliver(let ticket, let message, let neighbour):
                let verdict = judge(message, from: neighbour)
                route(gossip.handle(.validated(ticket, verdict), now: moment.instant))
            case .fault(let peer, let fault): blame(peer, "gossip: \(fault)")
            case .giveUp(let peer): effects.append(.disconnect(peer, reason: "does not read what it is sent"))
            case .published, .refused, .shed: break
            }
        }
    }

    private mutating func judge(_ message: GossipMessage, from neighbour: PeerID) -> GossipVerdict {
        switch message.topic {
        case Topics.receipts(network): return judgeReceipt(message.data)
        case Topics.transactions(network): return judgeTransaction(message.data)
        case Topics.batches(network): return judgeBatch(message.data, from: neighbour)
        case Topics.catalog(network): return judgeCatalog(message.data)
        default: return .ignore
        }
    }

    private mutating func judgeReceipt(_ bytes: [UInt8]) -> GossipVerdict {
        do {
            let receipt = try SignedReceipt.read(bytes)
            guard !chain.receipts.contains(receipt.id),
                chain.allowance(receipt.receipt.allowance).map({ $0.sequence < receipt.receipt.sequence }) ?? true
            else { return .ignore }
            try receipt.check(network: network)
            return take(receipt) ? .accept : .ignore
        } catch {
            return .reject
        }
    }

    private mutating func judgeTransaction(_ bytes: [UInt8]) -> GossipVerdict {
        guard let transaction = try? SignedTransaction(decoding: bytes), transaction.isValid(network: network) else {
            return .reject
        }
        guard transaction.transaction.nonce >= chain.account(transaction.transaction.sender).nonce else {
            return .ignore
        }
        return take(transaction) ? .accept : .ignore
    }

    private mutating func judgeBatch(_ bytes: [UInt8], from neighbour: PeerID) -> GossipVerdict {
        guard let message = try? ConsensusMessageForm.final(bytes) else { return .reject }
        guard ConsensusMessageForm.height(message) > chain.height else { return .ignore }
        drive(.received(message, from: neighbour))
        return .accept
    }

    private mutating func judgeCatalog(_ bytes: [UInt8]) -> GossipVerdict {
        switch catalog.offer(bytes, now: moment.wall) {
        case .taken(let news, let write):
            persist([write])
            noticed(news)
            return .accept
        case .known: return .ignore
        case .refused: return offerEvidence(bytes, from: nil) ?? .reject
        }
    }

    mutating func noticed(_ news: CatalogNews) {
        switch news {
        case .entry(let entry):
            effects.append(.notify(.catalog(entry)))
            datanetNews(entry)
        case .advert(let advert): effects.append(.notify(.advert(advert)))
        }
    }
}
