// Audits as people see them: whom to ask, what each check says, what is known of a receipt and of a server.

import Gateway
import Ledger
import NodeCore
import Primitives
import Records
import Storage

extension PeerService {
    /// Other peers that are asked in turn where one refuses.
    private static let auditorTries = 3

    // MARK: POST receipts/{id}/audit

    func audit(
        _ text: String, peer wanted: String?, here: Bool, publish: Bool
    ) async throws(NodeFault) -> JSONValue {
        let own = try auditable(text, peer: wanted, here: here)
        let checks = try opened(own)
        return try await verdict(
            try await auditors(own, wanted: wanted, here: here), tries: wanted == nil && !here,
            none: "no connected peer but the server offers this model, and this peer does not hold it; pull it, then: "
                + "openledger receipt audit \(own.signed.id.hex) --here",
            { AuditRequest(record: own, auditor: $0, publishes: publish) }
        ) { answer in
            if case .audited(let report) = answer { json(own, report, checks) } else { nil }
        }
    }

    /// A receipt that this peer can open.
    func auditable(_ text: String, peer wanted: String?, here: Bool) throws(NodeFault) -> OwnReceipt {
        guard let own = try find(text).own else {
            throw NodeFault(
                .conflict, "this peer is not party to the receipt: only payer and server can open it",
                code: "not_a_party")
        }
        guard !(here && wanted != nil) else {
            throw NodeFault(.invalid, "here and peer exclude each other", param: "peer", code: "invalid_value")
        }
        return own
    }

    /// Asks one auditor after the other until one does not refuse.
    /// - Parameters:
    ///   - tries: whether a refusal leads to the next; of an auditor that was named it is the answer.
    ///   - none: what to say where there is nobody to ask.
    ///   - read: nil for what is no verdict.
    func verdict(
        _ auditors: [PeerID?], tries: Bool, none: String, _ request: (PeerID?) -> AuditRequest,
        _ read: (NodeAnswer) -> JSONValue?
    ) async throws(NodeFault) -> JSONValue {
        var last: NodeFault?
        for auditor in auditors {
            let answer = await handle.perform(.audit(request(auditor)))
            if let verdict = read(answer) { return verdict }
            guard case .failed(let failure) = answer else {
                throw NodeFault(.broken, "the node gave no verdict", code: "audit")
            }
            let fault = NodeFault(failure)
            guard tries, case .auditRefused = failure else { throw fault }
            last = fault
        }
        throw last ?? NodeFault(.unavailable, none, code: "no_auditor", retryAfterSeconds: 60)
    }

    /// Whom to ask, in order; nil is this peer. Another peer first: that is an audit; one's own kernels where there is none.
    func auditors(
        _ own: OwnReceipt, wanted: String?, here: Bool, datanet: Digest? = nil
    ) async throws(NodeFault) -> [PeerID?] {
        if let wanted {
            let id = try peerID(wanted)
            return [id == handle.peer ? nil : id]
        }
        if here { return [nil] }
        let receipt = own.signed.receipt
        let (adverts, connected) = try await read { ($0.catalog.adverts, $0.connectedPeers) }
        let now = NodeDriver.wallTime()
        var others: [(queued: UInt64, peer: PeerID)] = []
        for id in connected {
            guard let advert = adverts[id], advert.expires > now, id.publicKey?.account != receipt.server,
                let served = advert.models.first(where: { $0.model == receipt.model.weights }),
                served.precision == receipt.model.precision,
                receipt.model.adapters.allSatisfy({ served.adapters.contains($0.adapter) }),
                datanet.map({ advert.datanets.contains($0) }) ?? true
            else { continue }
            others.append((advert.queued, id))
        }
        let asked = others.sorted { ($0.queued, $0.peer) < ($1.queued, $1.peer) }.prefix(Self.auditorTries)
        let isHeld =
            peer.shelf.entry(receipt.model.weights) != nil
            && (datanet.map { peer.directory.held($0) != nil } ?? true)
        return asked.map { Optional($0.peer) } + (isHeld ? [nil] : [])
    }

    // MARK: Checks

    struct AuditCheck {
        var name: String
        var holds: Bool
        var message: String

        var json: JSONValue {
            .object([
                "name": .string(name), "verdict": .string(holds ? "pass" : "fail"), "message": .string(message),
            ])
        }
    }

    /// What this peer can say by itself. What does not open the receipt goes to nobody.
    func opened(_ own: OwnReceipt) throws(NodeFault) -> [AuditCheck] {
        let receipt = own.signed.receipt
        func refuse(_ what: String, _ code: String) -> NodeFault {
            NodeFault(.unverified, "the receipt \(receipt.id.hex) cannot be audited: \(what)", code: code)
        }
        do { try own.signed.check(network: handle.network) } catch {
            throw refuse("\(AuditFault.receipt) (\(error))", AuditFault.receipt.rawValue)
        }
        guard let opening = own.opening else { throw refuse("its order is not kept here any more", "not_kept") }
        do { try opening.check(receipt) } catch { throw refuse("\(error)", error.rawValue) }
        return [
            AuditCheck(name: "signatures", holds: true, message: "server and payer signed this receipt"),
            AuditCheck(
                name: "prompt", holds: true,
                message: "the receipt commits to the \(receipt.promptTokens) tokens of the prompt"),
            AuditCheck(
                name: "answer", holds: true,
                message: "the receipt commits to the \(receipt.answerTokens) tokens of the answer"),
            AuditCheck(
                name: "settings", holds: true, message: "stop strings and end of sequence are those it commits to"),
        ]
    }

    private func found(_ own: OwnReceipt, _ verdict: AuditVerdict, by auditor: String) -> [AuditCheck] {
        let receipt = own.signed.receipt
        let model = receipt.model
        let weights = AuditCheck(
            name: "weights", holds: true,
            message: "\(model.weights.text) in \(model.precision)"
                + (model.adapters.isEmpty ? "" : " with \(model.adapters.count) adapter(s)")
                + ", numerics \(model.numerics), are those of \(auditor)")
        switch verdict.outcome {
        case .unable(let reason):
            return [weights, AuditCheck(name: "tokens", holds: false, message: "could not be re-executed: \(reason)")]
        case .differs(let position, let found):
            let signed = own.answerTokens[Int(clamping: position)]
            return [
                weights,
                AuditCheck(
                    name: "tokens", holds: false,
                    message: "token \(position + 1) of \(receipt.answerTokens) is \(signed); "
                        + (found.map { "the model gives \($0)" } ?? "the model had ended before it")),
            ]
        case .same(let ended):
            let tokens = AuditCheck(
                name: "tokens", holds: true,
                message: "\(receipt.answerTokens) of \(receipt.answerTokens) are those that the model gives")
            return [weights, tokens, end(own, ended)]
        }
    }

    /// The receipt does not say who ended an answer; the payer was told.
    private func end(_ own: OwnReceipt, _ ended: Bool) -> AuditCheck {
        if ended { return AuditCheck(name: "end", holds: true, message: "the model ends there") }
        switch (own.role, own.end) {
        case (.server, _), (_, .cancelled):
            return AuditCheck(name: "end", holds: true, message: "the answer was broken off; the model goes on")
        case (_, .length):
            return AuditCheck(name: "end", holds: true, message: "what was allowed was used up; the model goes on")
        case (_, .stop):
            return AuditCheck(
                name: "end", holds: false,
                message: "the server said that the model ends there, and it goes on: no evidence, for nobody signed it")
        }
    }

    private func json(_ own: OwnReceipt, _ report: AuditReport, _ checks: [AuditCheck]) -> JSONValue {
        let receipt = own.signed.receipt
        let isOwn = report.verdict.key.account == handle.account
        let auditor = report.verdict.key.account.text
        let all = checks + found(own, report.verdict.verdict, by: isOwn ? "this peer" : auditor)
        return .object([
            "receipt": .string(receipt.id.hex), "server": .string(receipt.server.text),
            "audit": Self.json(report.verdict, own: isOwn), "holds": .bool(all.allSatisfy(\.holds)),
            "signed_answer": .string(receipt.answer.digest.hex), "checks": .array(all.map(\.json)),
            "evidence": .bool(report.isEvidence), "published": .bool(report.isPublished),
        ])
    }

    // MARK: What is known

    static func json(_ signed: SignedVerdict, own: Bool) -> JSONValue {
        let verdict = signed.verdict
        var outcome = "unable"
        var position = JSONValue.null, found = JSONValue.null, ended = JSONValue.null, reason = JSONValue.null
        switch verdict.outcome {
        case .same(let isEnd):
            outcome = "same"
            ended = .bool(isEnd)
        case .differs(let place, let token):
            outcome = "differs"
            position = .integer(place)
            found = token.map { .integer($0) } ?? .null
        case .unable(let why): reason = .string(why)
        }
        return .object([
            "outcome": .string(outcome), "auditor": .string(signed.key.account.text), "own": .bool(own),
            "position": position, "found": found, "ended": ended, "reason": reason,
            "answer": .text(verdict.answer?.digest.hex), "numerics": .integer(verdict.numerics),
            "height": .integer(verdict.height), "time_ms": .time(verdict.time),
        ])
    }

    /// Of one receipt, oldest first, and the evidence that came of them.
    func audits(of receipt: Digest) async throws(NodeFault) -> [JSONMember] {
        let (verdicts, entry) = try await read { ($0.verdicts(on: receipt), $0.auditBook.entries[receipt]) }
        let evidence = entry.map { entry in
            JSONValue.object([
                "standing": .string(entry.standing.rawValue), "published": .bool(entry.isPublished),
            ])
        }
        return [
            JSONMember(
                "audits", .array(verdicts.map { Self.json($0, own: $0.key.account == handle.account) })),
            JSONMember("evidence", evidence ?? .null),
        ]
    }

    /// For the status: what was found, and whom this peer does not choose for it.
    func auditStanding() async throws(NodeFault) -> JSONValue {
        let (counts, book) = try await read { ($0.auditCounts, $0.auditBook) }
        let standings = EvidenceBook.Standing.allCases.map { standing in
            JSONMember(standing.rawValue, .integer(book.entries.values.count { $0.standing == standing }))
        }
        let distrusted = book.distrusted.sorted { $0.key < $1.key }.map { Self.json($0.key, $0.value) }
        return .object([
            "same": .integer(counts.same), "differs": .integer(counts.differs), "unable": .integer(counts.unable),
            "waiting": .integer(counts.waiting), "evidence": .members(standings), "distrusted": .array(distrusted),
        ])
    }

    static func json(_ server: AccountID, _ distrust: Distrust) -> JSONValue {
        .object([
            "server": .string(server.text), "receipt": .string(distrust.receipt.hex),
            "since_ms": .time(distrust.since),
            "reason": .string(
                "it signed an answer that its model does not give, or shares that its evidence does not, receipt \(distrust.receipt.hex)"
            ),
        ])
    }
}
