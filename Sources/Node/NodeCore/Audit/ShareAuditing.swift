// Audits of shares: for oneself and for others, by one's own rows and kernels. What is found is told and signed; it is no
// evidence of itself, and a peer acts by its own finding alone.

import Ledger
import Primitives

extension Node {
    mutating func reweigh(_ receipt: SignedReceipt, _ order: AskOrder, _ answer: [UInt32], _ job: AuditDesk.Job) {
        let ticket = ticket()
        audits.jobs[ticket] = job
        effects.append(
            .reweigh(ReweighingOrder(receipt: receipt.receipt, order: order, answerTokens: answer), ticket))
    }

    mutating func reweighed(_ ticket: Ticket, _ result: Reweighing) {
        guard let job = audits.jobs.removeValue(forKey: ticket) else { return }
        switch (job, result) {
        case (.own(let number), .refused(let code, let message)): refused(number, code, message)
        case (.own(let number), .done(let outcome)):
            guard let asking = audits.asking[number] else { break }
            found(number, shareVerdict(asking.receipt.receipt, outcome))
        case (.stranger(let stranger), .refused(let code, let message)): refuseAudit(stranger.stream, code, message)
        case (.stranger(let stranger), .done(let outcome)):
            let signed = shareVerdict(stranger.receipt.receipt, outcome)
            send(AuditMessage.weighed(signed).encoded(), on: stranger.stream)
            finish(stranger.stream)
        case (.evidence, _): break
        }
        if case .stranger = job { beginStranger() }
        beginDue()
    }

    private func shareVerdict(_ receipt: Receipt, _ outcome: ShareOutcome) -> SignedShareVerdict {
        SignedShareVerdict(
            ShareVerdict(
                receipt.id, outcome, numerics: receipt.model.numerics, height: chain.height, time: moment.wall),
            by: configuration.key, network: network)
    }

    mutating func found(_ number: UInt64, _ signed: SignedShareVerdict) {
        guard let asking = audits.asking.removeValue(forKey: number) else { return }
        let server = asking.receipt.receipt.server
        var writes: [NodeWrite] = []
        if case .differs = signed.verdict.outcome, signed.key == configuration.key.publicKey, server != account {
            writes = distrust(server, asking.receipt.id)
        }
        var then: [NodeContinuation] = [.effect(.notify(.reweighed(signed, server: server)))]
        if let command = asking.command { then.append(.effect(.answer(command, .reweighed(signed)))) }
        persist(writes, then: then)
    }

    // MARK: For others

    /// What can be checked without rows and model is.
    mutating func sharesAsked(
        _ receipt: SignedReceipt, _ bytes: [UInt8], _ answer: [UInt32], on stream: StreamID
    ) {
        do { try receipt.check(network: network) } catch { return refuseAudit(stream, "receipt", "\(error)") }
        let order: AskOrder
        do {
            order = try AskOrder(decoding: bytes)
            try order.check(receipt.receipt, answerTokens: answer)
        } catch {
            return refuseAudit(stream, "opening", "\(error)")
        }
        let opening = AuditOpening(
            promptTokens: [], answerTokens: answer, promptSalt: order.promptSalt, answerSalt: order.answerSalt,
            settings: order.settings)
        audits.waiting.append(AuditDesk.Stranger(stream: stream, receipt: receipt, opening: opening, order: order))
        beginStranger()
    }
}
