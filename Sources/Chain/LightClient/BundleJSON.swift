// The same for people and scripts: verdicts and the gist of the receipt as JSON.

import Ledger
public import Primitives

extension Verdict {
    public var json: JSONValue {
        .object(["check": .string(check.rawValue), "pass": .bool(passed), "reason": .string(reason)])
    }
}

extension [Verdict] {
    /// Whether every check passed.
    public var allPass: Bool { !isEmpty && allSatisfy(\.passed) }

    public var json: JSONValue {
        .object(["pass": .bool(allPass), "verdicts": .array(map(\.json))])
    }
}

extension ReceiptBundle {
    /// A rendering for people; the dag-cbor file is what proves.
    public var json: JSONValue {
        let receipt = receipt.receipt
        let contributors = receipt.data.contributors.map {
            JSONValue.object(["account": .string($0.account.text), "ppm": .integer($0.share.value)])
        }
        return .object([
            "receipt": .object([
                "id": .string(receipt.id.hex), "network": .string(receipt.network.text),
                "allowance": .string(receipt.allowance.digest.hex), "sequence": .integer(receipt.sequence),
                "request": .string(receipt.request.hex), "model": .string(receipt.model.weights.text),
                "adapters": .strings(receipt.model.adapters.map(\.adapter.text)),
                "promptTokens": .integer(receipt.promptTokens), "answerTokens": .integer(receipt.answerTokens),
                "amount": .string(receipt.amount.text), "total": .string(receipt.total.text),
                "payer": .string(receipt.payer.text), "server": .string(receipt.server.text),
                "contributors": .array(contributors),
            ]),
            "batch": .object([
                "height": .integer(header.height), "view": .integer(header.view), "epoch": .integer(header.epoch),
                "header": .string(header.digest.hex), "time": .integer(header.time.milliseconds),
                "stateRoot": .string(header.stateRoot.hex), "receiptsRoot": .string(header.receiptsRoot.hex),
                "index": .integer(proof.index), "receipts": .integer(proof.count),
                "signers": .integer(certificate.signatures.count),
            ]),
            "checkpoint": .object([
                "committee": .string(committee.digest.hex), "epoch": .integer(committee.epoch),
                "handovers": .integer(handovers.count),
            ]),
        ])
    }
}
