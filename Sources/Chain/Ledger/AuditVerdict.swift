// What an auditor found, under its signature; and two who found the same, with all that is needed to find it again.
//
//   receipt + opening ──re-executed──▶ verdict ── two of them say "differs", and the same ──▶ evidence
//
// A verdict is a claim. Evidence is none: its receipt and opening let anybody who has the model see for himself.

package import Primitives

package enum AuditOutcome: Hashable, Sendable {
    /// Every token of the answer is the one that is drawn. `ended`: generation ends there, too.
    case same(ended: Bool)
    /// The first token that is not drawn, counted from 0, and the one that is; none where generation had ended.
    case differs(position: UInt64, found: UInt32?)
    /// Re-execution could not come to an end, for this reason.
    case unable(String)
}

package struct AuditVerdict: ChainObject {
    package static let bytesMax = 512
    package static let version: UInt64 = 1

    package var receipt: Digest
    package var outcome: AuditOutcome
    /// To what was re-executed, under the receipt's own salt; nil exactly where that is `unable`.
    package var answer: Commitment?
    /// The auditor's revision of the arithmetic.
    package var numerics: UInt64
    /// Of the auditor's chain.
    package var height: UInt64
    package var time: WallTime

    /// - Returns: nil where the outcome is not about this opening's answer.
    package init?(
        _ receipt: Digest, _ outcome: AuditOutcome, of opening: AuditOpening, numerics: UInt64, height: UInt64,
        time: WallTime
    ) {
        self.receipt = receipt
        self.outcome = outcome
        self.numerics = numerics
        self.height = height
        self.time = time
        guard case .unable = outcome else {
            guard let answer = Self.reexecuted(outcome, of: opening) else { return nil }
            self.answer = answer
            return
        }
    }

    /// The commitment to the tokens that an outcome says were drawn.
    static func reexecuted(_ outcome: AuditOutcome, of opening: AuditOpening) -> Commitment? {
        switch outcome {
        case .unable: return nil
        case .same: return opening.answerCommitment(opening.answerTokens[...])
        case .differs(let position, let found):
            guard position < UInt64(opening.answerTokens.count) else { return nil }
            let sure = opening.answerTokens.prefix(Int(position))
            return opening.answerCommitment((sure + (found.map { [$0] } ?? []))[...])
        }
    }

    /// Whether what it says fits the receipt and its opening; whether it is true, only the model tells.
    package func check(_ receipt: Receipt, _ opening: AuditOpening) throws(AuditFault) {
        guard self.receipt == receipt.id else { throw .verdictReceipt }
        guard numerics == receipt.model.numerics else { throw .verdictNumerics }
        if case .differs(let position, let found) = outcome {
            guard position < UInt64(opening.answerTokens.count) else { throw .verdictPosition }
            guard opening.answerTokens[Int(position)] != found else { throw .verdictFound }
        }
        guard answer == Self.reexecuted(outcome, of: opening) else { throw .verdictAnswer }
    }

    package func signingBytes(network: NetworkID) -> [UInt8] {
        signedBytes(.audit, network: network, payload: encoded())
    }

    package var cbor: CBOR {
        var pairs: [(String, CBOR)] = [
            ("v", .unsigned(Self.version)), ("receipt", .digest(receipt)), ("numerics", .unsigned(numerics)),
            ("height", .unsigned(height)), ("time", .wallTime(time)),
        ]
        pairs.add("answer", ifPresent: answer.map { .digest($0.digest) })
        switch outcome {
        case .same(let ended): pairs += [("outcome", .text("same")), ("ended", .bool(ended))]
        case .differs(let position, let found):
            pairs += [("outcome", .text("differs")), ("position", .unsigned(position))]
            pairs.add("found", ifPresent: found.map { .unsigned(UInt64($0)) })
        case .unable(let reason): pairs += [("outcome", .text("unable")), ("reason", .text(reason))]
        }
        return .map(pairs)
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "AuditVerdict")
        try fields.version(Self.version)
        receipt = try fields.digest("receipt")
        numerics = try fields.unsigned("numerics")
        height = try fields.unsigned("height")
        time = try fields.wallTime("time")
        switch try fields.text("outcome", max: 8) {
        case "same": outcome = .same(ended: try fields.bool("ended"))
        case "differs":
            let found = try fields.optional("found") { fields throws(CBORFault) in
                UInt32(truncatingIfNeeded: try fields.unsigned("found", max: UInt64(UInt32.max)))
            }
            outcome = .differs(position: try fields.unsigned("position", max: LedgerLimits.tokensMax), found: found)
        case "unable": outcome = .unable(try fields.text("reason", max: LedgerLimits.nameBytesMax))
        default: throw fields.fault("outcome", "is not same, differs or unable")
        }
        if case .unable = outcome { answer = nil } else { answer = Commitment(try fields.digest("answer")) }
        try fields.finish()
    }
}

/// A verdict with the auditor's signature.
package struct SignedVerdict: ChainObject {
    package static let bytesMax = 768

    package var verdict: AuditVerdict
    package var key: PublicKey
    package var signature: Signature

    package init(verdict: AuditVerdict, key: PublicKey, signature: Signature) {
        self.verdict = verdict
        self.key = key
        self.signature = signature
    }

    package init(_ verdict: AuditVerdict, by key: SigningKey, network: NetworkID) {
        self.init(verdict: verdict, key: key.publicKey, signature: key.sign(verdict.signingBytes(network: network)))
    }

    package func isValid(network: NetworkID) -> Bool {
        key.verify(signature, over: verdict.signingBytes(network: network))
    }

    package var cbor: CBOR {
        .map(["verdict": verdict.cbor, "key": .publicKey(key), "signature": .signature(signature)])
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "SignedVerdict")
        verdict = try fields.object("verdict")
        key = try fields.publicKey("key")
        signature = try fields.signature("signature")
        try fields.finish()
    }
}

/// A receipt whose server signed an answer that its model does not give.
package struct AuditEvidence: ChainObject {
    package static let bytesMax = 48 << 10
    package static let version: UInt64 = 1
    package static let verdictCount = 2

    package var receipt: SignedReceipt
    package var opening: AuditOpening
    package var verdicts: [SignedVerdict]

    package init(receipt: SignedReceipt, opening: AuditOpening, verdicts: [SignedVerdict]) {
        self.receipt = receipt
        self.opening = opening
        self.verdicts = verdicts.sorted { $0.key < $1.key }
    }

    /// Everything but whether the model gives another answer.
    package func check(network: NetworkID) throws(AuditFault) {
        do { try receipt.check(network: network) } catch { throw .receipt }
        try opening.check(receipt.receipt)
        for signed in verdicts {
            guard signed.isValid(network: network) else { throw .verdictSignature }
            guard signed.verdict.receipt == receipt.id else { throw .verdictReceipt }
        }
        guard verdicts.count == Self.verdictCount, verdicts[0].key < verdicts[1].key else { throw .verdictOrder }
        guard !verdicts.contains(where: { $0.key == receipt.receipt.serverKey }) else { throw .verdictServer }
        for signed in verdicts {
            guard case .differs = signed.verdict.outcome else { throw .verdictOutcome }
            try signed.verdict.check(receipt.receipt, opening)
        }
        guard verdicts[0].verdict.outcome == verdicts[1].verdict.outcome else { throw .verdictsDisagree }
    }

    /// What both verdicts say; nil of evidence that was not checked.
    package var outcome: AuditOutcome? { verdicts.first?.verdict.outcome }

    package var cbor: CBOR {
        .map([
            "v": .unsigned(Self.version), "receipt": receipt.cbor, "opening": opening.cbor,
            "verdicts": .array(verdicts.map(\.cbor)),
        ])
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "AuditEvidence")
        try fields.version(Self.version)
        receipt = try fields.object("receipt")
        opening = try fields.object("opening")
        verdicts = try fields.items("verdicts", max: Self.verdictCount) { item throws(CBORFault) in
            try SignedVerdict(cbor: item)
        }
        guard verdicts.count == Self.verdictCount else { throw fields.fault("verdicts", "are not two") }
        try fields.finish()
    }
}
