// What an auditor found who weighed the evidence of an answer again: whether the receipt pays the rows that the evidence
// names, and as much as it says. Protocol/audit.md, Shares.

package import Ledger
package import Primitives

/// What of a receipt is not as the evidence has it. The names are those of Protocol/audit.md.
package enum ShareFault: String, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    case snapshot, method, settings, index, query, prompt, rows

    package var description: String {
        switch self {
        case .snapshot: "the receipt names another snapshot than one of the datanet that was asked for"
        case .method: "the receipt names a method that is none"
        case .settings: "the receipt names other settings than its method has"
        case .index: "the receipt names another index than the snapshot's"
        case .query: "the receipt commits to another question"
        case .prompt: "the prompt is not the question with the rows that the snapshot has for it"
        case .rows: "the evidence gives other rows, or other shares"
        }
    }
}

package enum ShareOutcome: Hashable, Sendable {
    /// Root and contributors are those that the evidence gives.
    case same
    /// Of `rows`: what the evidence gives.
    case differs(ShareFault, rows: Digest? = nil, contributors: [Contributor] = [])
    /// Weighing could not come to an end, for this reason.
    case unable(String)
}

package struct ShareVerdict: ChainObject {
    package static let bytesMax = 8192
    package static let version: UInt64 = 1
    private static let kind = "shares"

    package var receipt: Digest
    package var outcome: ShareOutcome
    /// The auditor's revision of the arithmetic.
    package var numerics: UInt64
    /// Of the auditor's chain.
    package var height: UInt64
    package var time: WallTime

    package init(_ receipt: Digest, _ outcome: ShareOutcome, numerics: UInt64, height: UInt64, time: WallTime) {
        self.receipt = receipt
        self.outcome = outcome
        self.numerics = numerics
        self.height = height
        self.time = time
    }

    /// Whether what it says is about this receipt and can be; whether it is true, only the rows and the model tell.
    package func check(_ receipt: Receipt) throws(AuditFault) {
        guard self.receipt == receipt.id else { throw .verdictReceipt }
        guard numerics == receipt.model.numerics else { throw .verdictNumerics }
        guard case .differs(.rows, let rows, let contributors) = outcome else { return }
        guard rows != receipt.data.rows || contributors != receipt.data.contributors else { throw .verdictFound }
    }

    package func signingBytes(network: NetworkID) -> [UInt8] {
        signedBytes(.audit, network: network, payload: encoded())
    }

    package var cbor: CBOR {
        var pairs: [(String, CBOR)] = [
            ("v", .unsigned(Self.version)), ("kind", .text(Self.kind)), ("receipt", .digest(receipt)),
            ("numerics", .unsigned(numerics)), ("height", .unsigned(height)), ("time", .wallTime(time)),
        ]
        switch outcome {
        case .same: pairs.append(("outcome", .text("same")))
        case .differs(let part, let rows, let contributors):
            pairs += [("outcome", .text("differs")), ("part", .text(part.rawValue))]
            if let rows { pairs.append(("rows", .digest(rows))) }
            if !contributors.isEmpty {
                let entries = contributors.map { CBOR.array([.account($0.account), .partsPerMillion($0.share)]) }
                pairs.append(("contributors", .array(entries)))
            }
        case .unable(let reason): pairs += [("outcome", .text("unable")), ("reason", .text(reason))]
        }
        return .map(pairs)
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "ShareVerdict")
        guard try fields.unsigned("v") == Self.version, try fields.text("kind", max: 16) == Self.kind else {
            throw fields.fault("v", "is a version that is not known, or of another kind")
        }
        receipt = try fields.digest("receipt")
        numerics = try fields.unsigned("numerics")
        height = try fields.unsigned("height")
        time = try fields.wallTime("time")
        switch try fields.text("outcome", max: 8) {
        case "same": outcome = .same
        case "differs":
            guard let part = ShareFault(rawValue: try fields.text("part", max: 16)) else {
                throw fields.fault("part", "is no part of a receipt")
            }
            var rows: Digest?
            if let value = fields.optionalValue("rows") {
                guard case .bytes(let bytes) = value, let digest = Digest(bytes) else {
                    throw fields.fault("rows", "is not a digest")
                }
                rows = digest
            }
            let contributors = try Self.contributors(&fields)
            guard (rows == nil) == contributors.isEmpty, part == .rows || rows == nil else {
                throw fields.fault("rows", "are told with contributors, and of the rows alone")
            }
            outcome = .differs(part, rows: rows, contributors: contributors)
        case "unable": outcome = .unable(try fields.text("reason", max: LedgerLimits.nameBytesMax))
        default: throw fields.fault("outcome", "is not same, differs or unable")
        }
        try fields.finish()
    }

    private static func contributors(_ fields: inout CBORFields) throws(CBORFault) -> [Contributor] {
        guard let value = fields.optionalValue("contributors") else { return [] }
        let malformed = fields.fault("contributors", "are not 1 to \(LedgerLimits.contributorsPerReceiptMax) in order")
        guard case .array(let items) = value, (1...LedgerLimits.contributorsPerReceiptMax).contains(items.count)
        else { throw malformed }
        var contributors: [Contributor] = []
        for item in items {
            guard case .array(let parts) = item, parts.count == 2, case .bytes(let bytes) = parts[0],
                case .unsigned(let share) = parts[1], (1...1_000_000).contains(share),
                let account = try? AccountID(bytes), contributors.last.map({ $0.account < account }) ?? true
            else { throw malformed }
            contributors.append(Contributor(account: account, share: PartsPerMillion(UInt32(share))))
        }
        return contributors
    }
}

/// A verdict on shares with the auditor's signature.
package struct SignedShareVerdict: ChainObject {
    package static let bytesMax = ShareVerdict.bytesMax + 256

    package var verdict: ShareVerdict
    package var key: PublicKey
    package var signature: Signature

    package init(_ verdict: ShareVerdict, by key: SigningKey, network: NetworkID) {
        self.verdict = verdict
        self.key = key.publicKey
        signature = key.sign(verdict.signingBytes(network: network))
    }

    package func isValid(network: NetworkID) -> Bool {
        key.verify(signature, over: verdict.signingBytes(network: network))
    }

    package var cbor: CBOR {
        .map(["verdict": verdict.cbor, "key": .publicKey(key), "signature": .signature(signature)])
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "SignedShareVerdict")
        verdict = try ShareVerdict(cbor: try fields.value("verdict"))
        key = try fields.publicKey("key")
        signature = try fields.signature("signature")
        try fields.finish()
    }
}

/// An answer whose evidence is to be weighed again. The order and the answer are those of the receipt.
package struct ReweighingOrder: Sendable {
    package var receipt: Receipt
    package var order: AskOrder
    package var answerTokens: [UInt32]

    package init(receipt: Receipt, order: AskOrder, answerTokens: [UInt32]) {
        self.receipt = receipt
        self.order = order
        self.answerTokens = answerTokens
    }
}

package enum Reweighing: Hashable, Sendable {
    case done(ShareOutcome)
    /// This peer cannot weigh it to the letter: it lacks the rows or the model, or computes otherwise.
    case refused(code: String, message: String)
}

extension AskOrder {
    /// Whether a receipt is of this order and this answer. The prompt is what whoever weighs finds out.
    package func check(_ receipt: Receipt, answerTokens: [UInt32]) throws(AuditFault) {
        guard receipt.request == request, receipt.allowance == allowance, receipt.sequence == sequence,
            receipt.payer == payer, receipt.model.weights == model, receipt.model.precision == precision,
            receipt.model.fusion == fusion, receipt.model.adapters.map(\.adapter) == adapters.map(\.adapter),
            receipt.model.adapters.map(\.weight) == adapters.map(\.weight), receipt.decoding == decoding,
            receipt.price == price
        else { throw .settings }
        guard receipt.answerTokens == UInt64(answerTokens.count) else { throw .answerTokens }
        guard Commitment(salt: answerSalt, content: Commitment.content(tokens: answerTokens)) == receipt.answer else {
            throw .answer
        }
    }
}
