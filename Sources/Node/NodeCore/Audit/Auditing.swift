// Audits that this peer wants: of a receipt of its own, by its own kernels or by another peer's, at will or drawn from its
// own traffic. What is found is on disk before anybody is told.

import Ledger
import Primitives
import Records

extension Node {
    // MARK: At will

    mutating func audit(_ request: AuditRequest, _ id: CommandID) {
        guard audits.asking.count < AuditDesk.asksMax else {
            return effects.append(.answer(id, .failed(.tooMany("audits", max: AuditDesk.asksMax))))
        }
        if let auditor = request.auditor {
            guard auditor != peer, auditor.publicKey?.account != request.record.signed.receipt.server else {
                return effects.append(.answer(id, .failed(.notReady("a server does not audit itself"))))
            }
            guard links.isConnected(auditor) else {
                return effects.append(.answer(id, .failed(.notConnected(auditor))))
            }
        }
        do throws(AuditFault) {
            try begin(
                request.record, by: request.auditor, command: id,
                publishes: request.publishes && request.record.role != .server, shares: request.shares)
        } catch {
            effects.append(.answer(id, .failed(.audit(error))))
        }
    }

    private mutating func begin(
        _ record: OwnReceipt, by auditor: PeerID?, command: CommandID?, publishes: Bool, shares: Bool = false
    ) throws(AuditFault) {
        let receipt = record.signed
        do { try receipt.check(network: network) } catch { throw .receipt }
        guard let opening = record.opening else { throw .settings }
        try opening.check(receipt.receipt)
        guard shares else {
            return begin(receipt, opening, by: auditor, command: command, publishes: publishes)
        }
        guard let order = try? AskOrder(decoding: record.order) else { throw .settings }
        try order.check(receipt.receipt, answerTokens: record.answerTokens)
        begin(receipt, opening, by: auditor, command: command, publishes: false, order: order)
    }

    private mutating func begin(
        _ receipt: SignedReceipt, _ opening: AuditOpening, by auditor: PeerID?, command: CommandID?, publishes: Bool,
        order: AskOrder? = nil
    ) {
        let asking = AuditDesk.Asking(
            receipt: receipt, opening: opening, auditor: auditor, command: command, publishes: publishes,
            order: order, since: moment.instant)
        let number = audits.add(asking)
        guard let auditor else {
            guard let order else { return reexecute(receipt, opening, .own(number)) }
            return reweigh(receipt, order, opening.answerTokens, .own(number))
        }
        let stream = links.open(auditor, .auditAsked(number))
        audits.asking[number]?.stream = stream
        effects.append(.open(stream, auditor, protocols: [NodeProtocol.audit]))
        let message =
            order.map { AuditMessage.weigh(receipt, order: $0.encoded(), answer: opening.answerTokens) }
            ?? .audit(receipt, opening)
        send(message.encoded(), on: stream)
    }

    mutating func reexecute(_ receipt: SignedReceipt, _ opening: AuditOpening, _ job: AuditDesk.Job) {
        let ticket = ticket()
        audits.jobs[ticket] = job
        effects.append(.reexecute(ReexecutionOrder(receipt: receipt.receipt, opening: opening), ticket))
    }

    mutating func reexecuted(_ ticket: Ticket, _ result: Reexecution) {
        guard let job = audits.jobs.removeValue(forKey: ticket) else { return }
        switch job {
        case .own(let number): ownReexecuted(number, result)
        case .stranger(let stranger): strangerReexecuted(stranger, result)
        case .evidence(let receipt): evidenceReexecuted(receipt, result)
        }
        beginDue()
    }

    /// This peer's word on what its kernels did.
    func verdict(_ receipt: SignedReceipt, _ opening: AuditOpening, _ outcome: AuditOutcome) -> SignedVerdict? {
        let verdict = AuditVerdict(
            receipt.id, outcome, of: opening, numerics: receipt.receipt.model.numerics, height: chain.height,
            time: moment.wall)
        return verdict.map { SignedVerdict($0, by: configuration.key, network: network) }
    }

    private mutating func ownReexecuted(_ number: UInt64, _ result: Reexecution) {
        guard let asking = audits.asking[number] else { return }
        switch result {
        case .refused(let code, let message): refused(number, code, message)
        case .done(let outcome):
            guard let signed = verdict(asking.receipt, asking.opening, outcome) else {
                return refused(number, "engine", "the engine told of a position that is not in the answer")
            }
            found(number, signed)
        }
    }

    mutating func refused(_ number: UInt64, _ code: String, _ message: String) {
        guard let asking = audits.asking.removeValue(forKey: number) else { return }
        if let command = asking.command {
            effects.append(.answer(command, .failed(.auditRefused(code: code, message: message))))
        } else if asking.auditor == nil, asking.order == nil, configuration.audits.opens,
            let other = auditor(for: asking.receipt.receipt)
        {
            begin(asking.receipt, asking.opening, by: other, command: nil, publishes: false)
        }
    }

    /// A connected peer, neither server nor payer, that offers the model as the receipt names it.
    private mutating func auditor(for receipt: Receipt) -> PeerID? {
        let candidates = links.connected.filter { peer in
            guard let account = peer.publicKey?.account, account != receipt.server, account != receipt.payer,
                distrust(of: account) == nil, let advert = catalog.adverts[peer], advert.expires > moment.wall,
                let served = advert.models.first(where: { $0.model == receipt.model.weights })
            else { return false }
            return served.precision == receipt.model.precision
                && receipt.model.adapters.allSatisfy { served.adapters.contains($0.adapter) }
        }
        return candidates.isEmpty ? nil : candidates[Int(audits.random.below(UInt64(candidates.count)))]
    }

    /// Nobody waits for it: what another peer was asked is let go, what runs here is still written down.
    mutating func cancelAudit(_ id: CommandID) {
        for number in audits.asking.keys.sorted() where audits.asking[number]?.command == id {
            guard let stream = audits.asking[number]?.stream else { continue }
            audits.asking[number] = nil
            if links.end(stream) != nil { effects.append(.reset(stream)) }
        }
    }

    // MARK: The other peer's word

    mutating func auditReceived(_ bytes: [UInt8], _ number: UInt64, on stream: StreamID) {
        guard let asking = audits.asking[number], let auditor = asking.auditor else { return }
        do {
            switch try AuditMessage(decoding: bytes) {
            case .refused(let code, let message): refused(number, code, message)
            case .weighed(let signed) where asking.order != nil:
                try signed.verdict.check(asking.receipt.receipt)
                guard signed.key.peerID == auditor, signed.isValid(network: network) else {
                    throw AuditFault.verdictSignature
                }
                found(number, signed)
            case .verdict(let signed) where asking.order == nil:
                try signed.verdict.check(asking.receipt.receipt, asking.opening)
                guard signed.key.peerID == auditor, signed.isValid(network: network) else {
                    throw AuditFault.verdictSignature
                }
                found(number, signed)
            case .audit, .verdict, .weigh, .weighed: throw AuditFault.verdictReceipt
            }
        } catch {
            blame(auditor, "audit: \(error)")
            refused(number, "malformed", "the auditor's answer does not hold: \(error)")
            effects.append(.reset(stream))
            _ = links.end(stream)
        }
        beginDue()
    }

    mutating func auditClosed(_ number: UInt64) {
        refused(number, "closed", "the auditor ended without a verdict")
        beginDue()
    }

    // MARK: What follows

    private mutating func found(_ number: UInt64, _ signed: SignedVerdict) {
        guard let asking = audits.asking.removeValue(forKey: number) else { return }
        var writes = audits.keep(signed)
        let isOwn = signed.key == configuration.key.publicKey
        if case .differs = signed.verdict.outcome {
            let server = asking.receipt.receipt.server
            if isOwn, server != account {
                writes += distrust(server, asking.receipt.id)
            }
            writes += makeEvidence(asking.receipt, asking.opening)
        }
        var publishing: [UInt8]?
        if asking.publishes, let published = audits.book.publish(asking.receipt.id) {
            writes += published.writes
            publishing = published.bytes
        }
        let entry = audits.book.entries[asking.receipt.id]
        let report = AuditReport(
            verdict: signed, isEvidence: entry != nil, isPublished: entry?.isPublished ?? false)
        var then: [NodeContinuation] = [.effect(.notify(.audited(signed, server: asking.receipt.receipt.server)))]
        if let command = asking.command { then.append(.effect(.answer(command, .audited(report)))) }
        if let publishing { then.append(.publish(Topics.catalog(network), publishing)) }
        persist(writes, then: then)
        // Nobody's word is taken where one's own kernels can tell; a second opinion by another needs the payer's wish.
        if case .differs = signed.verdict.outcome, entry == nil, !isOwn,
            !verdicts(on: asking.receipt.id).contains(where: { $0.key == configuration.key.publicKey })
        {
            begin(asking.receipt, asking.opening, by: nil, command: nil, publishes: asking.publishes)
        }
    }

    mutating func distrust(_ server: AccountID, _ receipt: Digest) -> [NodeWrite] {
        let writes = audits.book.distrust(server, receipt, moment.wall)
        if !writes.isEmpty { effects.append(.notify(.distrusted(server, receipt: receipt))) }
        return writes
    }

    /// Two verdicts that say the same make evidence, which is kept at home.
    private mutating func makeEvidence(_ receipt: SignedReceipt, _ opening: AuditOpening) -> [NodeWrite] {
        let differing = verdicts(on: receipt.id).filter { signed in
            if case .differs = signed.verdict.outcome { signed.key != receipt.receipt.serverKey } else { false }
        }
        for (index, first) in differing.enumerated() {
            for second in differing[(index + 1)...] where second.verdict.outcome == first.verdict.outcome {
                let evidence = AuditEvidence(receipt: receipt, opening: opening, verdicts: [first, second])
                let bytes = evidence.encoded()
                guard bytes.count <= AuditEvidence.bytesMax, (try? evidence.check(network: network)) != nil else {
                    continue
                }
                let isOwn = [first, second].contains { $0.key == configuration.key.publicKey }
                return audits.book.add(
                    evidence,
                    SignedEnvelope(bytes, by: configuration.key, domain: .evidence, network: network),
                    standing: isOwn ? .confirmed : .unverified)
            }
        }
        return []
    }

    // MARK: By itself

    /// Draws whether an answer that was just paid for is audited. Nothing that the server sees depends on it.
    mutating func considerAudit(_ record: OwnReceipt) {
        guard record.role == .payer, configuration.audits.share > 0 else { return }
        let isDrawn = audits.random.below(1_000_000) < configuration.audits.share
        guard isDrawn, !record.answerTokens.isEmpty, audits.due.count < AuditDesk.dueMax else { return }
        audits.due.append(record)
    }

    private var isIdle: Bool {
        trade.giving.isEmpty && trade.asks.isEmpty && trade.orders.isEmpty && audits.jobs.isEmpty
            && audits.asking.isEmpty
    }

    mutating func tendAudits() {
        for number in audits.asking.keys.sorted() {
            guard let asking = audits.asking[number], let stream = asking.stream,
                moment.instant.since(asking.since) > AuditDesk.patience
            else { continue }
            if links.end(stream) != nil { effects.append(.reset(stream)) }
            refused(number, "timed_out", "the auditor gave no verdict in time")
        }
        persist(audits.book.expire(moment.wall))
        beginDue()
    }

    /// The next that nobody asked for, where nothing else is to be done.
    mutating func beginDue() {
        guard isIdle, !audits.due.isEmpty || audits.book.hasUntried,
            audits.admitsOwn(max: configuration.audits.ownPerHourMax, now: moment.instant)
        else { return }
        if !audits.due.isEmpty {
            let record = audits.due.removeFirst()
            // What this peer wrote down itself and does not hold is a fault of its disk or of ours, not the server's.
            do throws(AuditFault) {
                try begin(record, by: nil, command: nil, publishes: false)
                if !record.signed.receipt.data.snapshots.isEmpty {
                    try begin(record, by: nil, command: nil, publishes: false, shares: true)
                }
            } catch {
                effects.append(.notify(.log("an own receipt cannot be audited: \(error)")))
            }
        } else if let entry = audits.book.nextUntried() {
            let evidence = entry.evidence
            reexecute(evidence.receipt, evidence.opening, .evidence(evidence.receipt.id))
        }
    }
}
