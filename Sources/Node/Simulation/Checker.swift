// What must hold whatever happens, looked at from outside: from what nodes send, say and write, never from what they think.
//
//  - one certified batch a height, over all peers that ever were;
//  - no receipt settled twice, and the money in every header is the genesis total;
//  - a receipt that a payer was told of is in a batch in the end, or refused for a reason that has a name;
//  - an honest member never signs two votes that contradict each other;
//  - neither side of an answer loses more than the exposure cap when the other vanishes.

import Ledger
import NodeCore
import Primitives
import Records
import Sequencing

struct Checker {
    /// One answer as it went over the wire.
    private struct Exchange {
        let payer: Int
        let server: Int
        let order: AskOrder
        var promptTokens: UInt64?
        var sent: UInt64 = 0
        var promptSeen = false
        var received: UInt64 = 0
        var billed: Digest?
    }

    private struct Voted {
        var notarized: [UInt64: Digest] = [:]
        var nullified: Set<UInt64> = []
        var finalized: Set<UInt64> = []
    }

    let genesis: Genesis
    let exposureCap: Amount
    var honest: [Bool] = []
    var accounts: [AccountID] = []
    var violations: [String] = []
    private(set) var headers: [UInt64: Digest] = [:]
    /// Receipt → height.
    private(set) var settled: [Digest: UInt64] = [:]
    private(set) var transactions: [Digest: UInt64] = [:]
    private(set) var acknowledged: [Digest: (payer: Int, receipt: SignedReceipt)] = [:]
    /// Requests that were answered with other tokens than the model's.
    var lies: Set<Digest> = []
    /// Requests whose rows were paid otherwise than the evidence says.
    var shareLies: Set<Digest> = []
    private(set) var audits = 0
    private(set) var shareAudits = 0
    private(set) var accused: Set<AccountID> = []
    private var refusals: [Digest: Set<String>] = [:]
    private var exchanges: [Int: Exchange] = [:]
    private var voted: [Int: Voted] = [:]
    private var lastConsensus: [Int: [UInt8]] = [:]

    init(genesis: Genesis, exposureCap: Amount) {
        self.genesis = genesis
        self.exposureCap = exposureCap
    }

    // MARK: What nodes say

    mutating func noticed(_ index: Int, _ notice: NodeNotice) {
        guard honest[index] else { return }
        switch notice {
        case .final(let certified): final(certified, index)
        case .receipt(let id, .refused(let reason)): refusals[id, default: []].insert(reason)
        case .audited(let signed, let server): audited(signed, server, index)
        case .reweighed(let signed, let server): reweighed(signed, server, index)
        case .distrusted(let server, let receipt):
            accused.insert(server)
            if isHonest(server) {
                violations.append("peer \(index) accuses an honest server of receipt \(receipt.hex)")
            }
        case .log(let line) where line.contains("does not execute here"):
            violations.append("peer \(index): \(line)")
        default: break
        }
    }

    private func isHonest(_ account: AccountID) -> Bool {
        accounts.firstIndex(of: account).map { honest[$0] } ?? false
    }

    private mutating func audited(_ signed: SignedVerdict, _ server: AccountID, _ index: Int) {
        audits += 1
        let verdict = signed.verdict
        switch verdict.outcome {
        case .differs: hears("answer", differs: true, verdict.receipt, by: signed.key.account, server, lies, index)
        case .same: hears("answer", differs: false, verdict.receipt, by: signed.key.account, server, lies, index)
        case .unable: break
        }
    }

    private mutating func reweighed(_ signed: SignedShareVerdict, _ server: AccountID, _ index: Int) {
        shareAudits += 1
        let verdict = signed.verdict
        switch verdict.outcome {
        case .differs: hears("shares", differs: true, verdict.receipt, by: signed.key.account, server, shareLies, index)
        case .same: hears("shares", differs: false, verdict.receipt, by: signed.key.account, server, shareLies, index)
        case .unable: break
        }
    }

    private mutating func hears(
        _ what: String, differs: Bool, _ receipt: Digest, by auditor: AccountID, _ server: AccountID,
        _ lies: Set<Digest>, _ index: Int
    ) {
        // A liar may say what it likes.
        guard isHonest(auditor) else { return }
        if differs, isHonest(server) {
            violations.append(
                "peer \(index) hears from an honest auditor that an honest server's \(what) is not right, "
                    + "receipt \(receipt.hex)")
        } else if !differs, let request = acknowledged[receipt]?.receipt.receipt.request, lies.contains(request) {
            violations.append("peer \(index) hears that a wrong \(what) is right, receipt \(receipt.hex)")
        }
    }

    private mutating func final(_ certified: CertifiedBatch, _ index: Int) {
        let header = certified.header
        if let known = headers[header.height] {
            if known != header.digest {
                violations.append(
                    "height \(header.height) has two certified batches, \(known.hex) and \(header.digest.hex)")
            }
            return
        }
        headers[header.height] = header.digest
        if (try? header.supply.total()) != genesis.total {
            violations.append("the money of height \(header.height) is not the genesis total")
        }
        for receipt in certified.batch.contents.receipts {
            if let before = settled.updateValue(header.height, forKey: receipt.id) {
                violations.append("receipt \(receipt.id.hex) is settled at \(before) and at \(header.height)")
            }
        }
        for transaction in certified.batch.contents.transactions {
            if let before = transactions.updateValue(header.height, forKey: transaction.id) {
                violations.append("transaction \(transaction.id.hex) is executed at \(before) and at \(header.height)")
            }
        }
    }

    mutating func acknowledged(_ signed: SignedReceipt, by index: Int) {
        guard honest[index] else { return }
        acknowledged[signed.id] = (index, signed)
    }

    // MARK: What nodes send

    mutating func sent(_ bytes: [UInt8], from index: Int, on id: Int, _ pipe: Pipe) {
        if pipe.protocolName == NodeProtocol.infer { return answerSent(bytes, from: index, on: id, pipe) }
        guard pipe.protocolName == NodeProtocol.consensus, honest[index], lastConsensus[index] != bytes else { return }
        lastConsensus[index] = bytes
        guard let message = try? ConsensusMessage(decoding: bytes) else {
            return violations.append("peer \(index) sends a consensus message that does not decode")
        }
        switch message {
        case .votes(let votes): check(votes, of: index)
        case .standing(let standing): check(standing.votes, of: index)
        case .proposal(let proposal): check([proposal.vote], of: index)
        case .certificate, .final, .want: break
        }
    }

    private mutating func check(_ votes: [SignedVote], of index: Int) {
        var record = voted[index] ?? Voted()
        for signed in votes where signed.key.account == accounts[index] {
            let view = signed.vote.view
            switch signed.vote.kind {
            case .notarize:
                if let before = record.notarized.updateValue(signed.vote.digestVoted, forKey: view),
                    before != signed.vote.digestVoted
                {
                    violations.append("honest peer \(index) notarizes two batches in view \(view)")
                }
            case .nullify: record.nullified.insert(view)
            case .finalize: record.finalized.insert(view)
            }
            if record.nullified.contains(view), record.finalized.contains(view) {
                violations.append("honest peer \(index) nullifies and finalizes view \(view)")
            }
        }
        voted[index] = record
    }

    private mutating func answerSent(_ bytes: [UInt8], from index: Int, on id: Int, _ pipe: Pipe) {
        guard let message = try? InferMessage(decoding: bytes) else { return }
        switch message {
        case .ask(let envelope) where index == pipe.opener:
            guard exchanges[id] == nil, let order = try? AskOrder(decoding: envelope.payload) else { return }
            exchanges[id] = Exchange(payer: pipe.opener, server: pipe.acceptor, order: order)
        case .accepted(let tokens, _): exchanges[id]?.promptTokens = UInt64(tokens.count)
        case .token: exchanges[id]?.sent += 1
        case .receipt(let receipt, _, _, _): exchanges[id]?.billed = receipt.id
        default: break
        }
    }

    mutating func delivered(_ bytes: [UInt8], to index: Int, on id: Int, _ pipe: Pipe) {
        guard pipe.protocolName == NodeProtocol.infer, index == pipe.opener, exchanges[id] != nil,
            let message = try? InferMessage(decoding: bytes)
        else { return }
        switch message {
        case .accepted: exchanges[id]?.promptSeen = true
        case .token: exchanges[id]?.received += 1
        default: break
        }
    }

    // MARK: The end

    /// An acknowledged receipt that is neither in a batch nor refused by name.
    func unsettled(nodes: [Node?]) -> String? {
        for (id, entry) in acknowledged.sorted(by: { $0.key < $1.key }) where settled[id] == nil && refusals[id] == nil
        {
            let pooled = nodes.indices.filter { nodes[$0]?.isPooled(receipt: id) ?? false }
            return "receipt \(id.hex) of peer \(entry.payer) was acknowledged and is not settled; pooled at \(pooled)"
        }
        return nil
    }

    mutating func final(nodes: [Node?]) {
        for (index, node) in nodes.enumerated() where honest[index] {
            guard let node else { continue }
            do {
                let supply = try conservation(of: node.state)
                if try supply.total() != genesis.total {
                    violations.append("peer \(index): money appeared or vanished")
                }
            } catch {
                violations.append("peer \(index): money is not conserved: \(error)")
            }
        }
        guard let state = nodes.indices.first(where: { honest[$0] && nodes[$0] != nil }).flatMap({ nodes[$0]?.state })
        else { return }
        exposure(state)
    }

    private mutating func exposure(_ state: MemoryState) {
        let byAllowance = Dictionary(grouping: exchanges.values) { $0.order.allowance }
        for (allowance, exchanges) in byAllowance.sorted(by: { $0.key < $1.key }) {
            guard let bytes = state.value(.allowance(allowance)),
                case .allowance(let record)? = try? StateValue(decoding: bytes), let first = exchanges.first
            else { continue }
            var given = Amount.zero
            var got = Amount.zero
            var credit = Amount.zero
            for exchange in exchanges {
                let price = exchange.order.price
                if let prompt = exchange.promptTokens {
                    given = sum(given, try? price.cost(promptTokens: prompt, answerTokens: exchange.sent))
                    if exchange.promptSeen {
                        got = sum(got, try? price.cost(promptTokens: prompt, answerTokens: exchange.received))
                    }
                    if exchange.billed.map({ settled[$0] == nil }) ?? true { credit = sum(credit, exposureCap) }
                }
            }
            if honest[first.server], given > sum(record.settled, credit) {
                violations.append(
                    "server \(first.server) gave answers for \(given) OPEN under \(allowance) and got \(record.settled); "
                        + "it may lose \(credit)")
            }
            if honest[first.payer], record.settled > got {
                violations.append(
                    "payer \(first.payer) paid \(record.settled) OPEN under \(allowance) for what is worth \(got)")
            }
        }
    }

    private func sum(_ left: Amount, _ right: Amount?) -> Amount {
        guard let right else { return left }
        return (try? left.adding(right)) ?? left
    }
}
