// Audits for others, free and few: everything that can be checked without the model is, before an engine is troubled. And
// evidence: taken in by form, judged by one's own kernels alone.

import Gossip
import Ledger
import Primitives
import Records

extension Node {
    mutating func auditAsked(_ bytes: [UInt8], on stream: StreamID, from peer: PeerID) {
        let message: AuditMessage
        do {
            message = try AuditMessage(decoding: bytes)
        } catch {
            blame(peer, "audit: \(error)")
            return refuseAudit(stream, "malformed", "\(error)")
        }
        let receipt: SignedReceipt
        let tokens: Int
        switch message {
        case .audit(let signed, let opening):
            receipt = signed
            tokens = opening.promptTokens.count + opening.answerTokens.count
        case .weigh(let signed, _, let answer):
            receipt = signed
            // Each set of passages is a prompt of its own.
            tokens = Int(clamping: signed.receipt.promptTokens) + answer.count
        case .verdict, .weighed, .refused:
            blame(peer, "audit: a message out of turn")
            return refuseAudit(stream, "malformed", "a message out of turn")
        }
        let limits = configuration.audits
        guard configuration.serves else {
            return refuseAudit(stream, "not_serving", "this peer does not serve others")
        }
        guard receipt.receipt.server != account else {
            return refuseAudit(stream, "own", "a server does not audit itself")
        }
        guard audits.waiting.count < AuditDesk.waitingMax else {
            return refuseAudit(stream, "busy", "\(AuditDesk.waitingMax) audits wait already")
        }
        guard tokens <= limits.tokensMax else {
            return refuseAudit(stream, "too_long", "at most \(limits.tokensMax) tokens are audited for another peer")
        }
        guard audits.admits(peer, max: limits.servedPerHourMax, now: moment.instant) else {
            return refuseAudit(stream, "rate", "at most \(limits.servedPerHourMax) audits an hour for one peer")
        }
        if case .weigh(_, let order, let answer) = message {
            return sharesAsked(receipt, order, answer, on: stream)
        }
        guard case .audit(_, let opening) = message else { return }
        do { try receipt.check(network: network) } catch { return refuseAudit(stream, "receipt", "\(error)") }
        do { try opening.check(receipt.receipt) } catch { return refuseAudit(stream, "opening", "\(error)") }
        audits.waiting.append(AuditDesk.Stranger(stream: stream, receipt: receipt, opening: opening, order: nil))
        beginStranger()
    }

    mutating func beginStranger() {
        let isRunning = audits.jobs.values.contains { if case .stranger = $0 { true } else { false } }
        guard !isRunning, !audits.waiting.isEmpty else { return }
        let next = audits.waiting.removeFirst()
        if let order = next.order {
            reweigh(next.receipt, order, next.opening.answerTokens, .stranger(next))
        } else {
            reexecute(next.receipt, next.opening, .stranger(next))
        }
    }

    mutating func strangerReexecuted(_ stranger: AuditDesk.Stranger, _ result: Reexecution) {
        defer { beginStranger() }
        switch result {
        case .refused(let code, let message): refuseAudit(stranger.stream, code, message)
        case .done(let outcome):
            guard let signed = verdict(stranger.receipt, stranger.opening, outcome) else {
                return refuseAudit(stranger.stream, "engine", "the engine could not say")
            }
            send(AuditMessage.verdict(signed).encoded(), on: stranger.stream)
            finish(stranger.stream)
        }
    }

    mutating func refuseAudit(_ stream: StreamID, _ code: String, _ message: String) {
        send(
            AuditMessage.refused(code: String(code.prefix(64)), message: String(message.prefix(512))).encoded(),
            on: stream)
        finish(stream)
    }

    // MARK: Evidence

    /// nil: the bytes are no evidence.
    mutating func offerEvidence(_ bytes: [UInt8], from peer: PeerID?) -> GossipVerdict? {
        switch audits.book.offer(bytes, network: network, now: moment.wall) {
        case nil: return nil
        case .taken(let receipt, let write):
            persist([write], then: [.effect(.notify(.evidence(receipt)))])
            return .accept
        case .known: return .ignore
        case .refused(let reason):
            if let peer { blame(peer, "catalog: \(reason)") }
            return .reject
        }
    }

    mutating func evidenceReexecuted(_ receipt: Digest, _ result: Reexecution) {
        // Where the model is not here, nothing is known and nobody is judged.
        guard let entry = audits.book.entries[receipt], case .done(let outcome) = result else { return }
        let server = entry.evidence.receipt.receipt.server
        var writes: [NodeWrite] = []
        switch outcome {
        case .unable: return
        case .same: writes = audits.book.settle(receipt, .refuted)
        case .differs:
            // Any difference is one: what counts is that this peer's kernels do not give the answer.
            writes = audits.book.settle(receipt, .confirmed)
            if server != account { writes += distrust(server, receipt) }
        }
        if let signed = verdict(entry.evidence.receipt, entry.evidence.opening, outcome) {
            writes += audits.keep(signed)
        }
        persist(writes, then: [.effect(.notify(.evidence(receipt)))])
    }
}
