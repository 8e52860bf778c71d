// Audits of a receipt's shares as people see them: whom to ask, what each check says.

import Attribution
import Gateway
import Ledger
import NodeCore
import Primitives

extension PeerService {
    // MARK: POST receipts/{id}/audit {"attribution": true}

    func auditShares(_ text: String, peer wanted: String?, here: Bool) async throws(NodeFault) -> JSONValue {
        let own = try auditable(text, peer: wanted, here: here)
        let checks = try opened(own)
        let datanet = (try? AskOrder(decoding: own.order))?.datanet ?? own.sources.first?.datanet
        guard let datanet else {
            throw NodeFault(
                .conflict, "the answer drew on no datanet: there are no shares to weigh", code: "no_datanet")
        }
        return try await verdict(
            try await auditors(own, wanted: wanted, here: here, datanet: datanet), tries: wanted == nil && !here,
            none: "no connected peer but the server has this model and its datanet, and this peer lacks one of them; "
                + "pull it, then: openledger receipt audit \(own.signed.id.hex) --attribution --here",
            { AuditRequest(record: own, auditor: $0, shares: true) }
        ) { answer in
            if case .reweighed(let signed) = answer { json(own, signed, checks) } else { nil }
        }
    }

    private func json(_ own: OwnReceipt, _ signed: SignedShareVerdict, _ opened: [AuditCheck]) -> JSONValue {
        let receipt = own.signed.receipt
        let isOwn = signed.key.account == handle.account
        var outcome = "unable"
        var part = JSONValue.null, rows = JSONValue.null, reason = JSONValue.null
        var found: [Contributor] = []
        switch signed.verdict.outcome {
        case .same: outcome = "same"
        case .differs(let fault, let root, let contributors):
            outcome = "differs"
            part = .string(fault.rawValue)
            rows = root.map { .string($0.hex) } ?? .null
            found = contributors
        case .unable(let why): reason = .string(why)
        }
        let all = opened + checks(own, signed.verdict.outcome)
        return .object([
            "receipt": .string(receipt.id.hex), "server": .string(receipt.server.text),
            "audit": .object([
                "outcome": .string(outcome), "auditor": .string(signed.key.account.text), "own": .bool(isOwn),
                "part": part, "rows": rows, "reason": reason,
                "contributors": .array(
                    found.map {
                        .object(["account": .string($0.account.text), "ppm": .integer($0.share.value)])
                    }), "numerics": .integer(signed.verdict.numerics), "height": .integer(signed.verdict.height),
                "time_ms": .time(signed.verdict.time),
            ]),
            "holds": .bool(all.allSatisfy(\.holds)),
            "signed_rows": .text(receipt.data.rows?.hex), "checks": .array(all.map(\.json)), "evidence": .bool(false),
            "published": .bool(false),
        ])
    }

    /// In the order in which an auditor looks; what comes after a difference was not looked at.
    private func checks(_ own: OwnReceipt, _ outcome: ShareOutcome) -> [AuditCheck] {
        let data = own.signed.receipt.data
        let kinds = data.retrieval?.method.split(separator: "+").joined(separator: " and ") ?? "nothing"
        let passed: [(ShareFault, String)] = [
            (.snapshot, "it names a snapshot of the datanet that was asked for"),
            (.method, "the shares are weighed by \(kinds)"), (.settings, "its settings are those of the method"),
            (.index, "its index is the snapshot's"), (.query, "it commits to the question that was asked"),
            (.prompt, "the prompt is the question with the rows that the snapshot has for it"),
            (
                .rows,
                "\(data.contributors.count) contributor(s) have the shares that the evidence gives, row by row"
            ),
        ]
        var checks: [AuditCheck] = []
        switch outcome {
        case .unable(let reason):
            return [
                AuditCheck(
                    name: "shares", holds: false,
                    message: reason == "unweighed"
                        ? "the server says that it did not come to weigh the evidence; nobody was paid"
                        : "could not be weighed: \(reason)")
            ]
        case .same: return passed.map { AuditCheck(name: $0.0.rawValue, holds: true, message: $0.1) }
        case .differs(let fault, _, let contributors):
            for (part, message) in passed {
                guard part == fault else {
                    checks.append(AuditCheck(name: part.rawValue, holds: true, message: message))
                    continue
                }
                let own = differences(data.contributors, contributors)
                checks.append(
                    AuditCheck(
                        name: part.rawValue, holds: false,
                        message: "\(fault)" + (part == .rows && !own.isEmpty ? ": \(own)" : "")))
                break
            }
            return checks
        }
    }

    /// Who has another share, and which; empty where only rows differ.
    private func differences(_ signed: [Contributor], _ found: [Contributor]) -> String {
        var shares: [AccountID: (signed: UInt32, found: UInt32)] = [:]
        for part in signed { shares[part.account, default: (0, 0)].signed = part.share.value }
        for part in found { shares[part.account, default: (0, 0)].found = part.share.value }
        return shares.sorted { $0.key < $1.key }.filter { $0.value.signed != $0.value.found }.map {
            "\($0.key.text) has \($0.value.signed) ppm, the evidence gives \($0.value.found)"
        }.joined(separator: "; ")
    }
}
