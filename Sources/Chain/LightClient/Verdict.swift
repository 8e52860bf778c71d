// The offline verdict on a receipt bundle: one line a check, each with its reason, whatever the others say. No clock,
// no network, no state.

import Ledger
public import Primitives

/// What is checked, in the order in which people read it. The raw values are the names in every verifier's output.
public enum BundleCheck: String, Hashable, Sendable, CaseIterable {
    case format
    case network
    case serverSignature = "server-signature"
    case payerSignature = "payer-signature"
    case price
    case weights
    case inclusion
    case certificate
    case committee
    case freshness
}

public struct Verdict: Hashable, Sendable {
    public let check: BundleCheck
    public let passed: Bool
    /// For people: what holds, or what is wrong.
    public let reason: String
}

public enum BundleVerifier {
    /// How far a header's time may lie ahead of the reader's clock, in milliseconds.
    static let aheadMillisecondsMax: Int64 = 10_000

    /// Verdicts on a file as it was read; never throws, never traps.
    public static func verify(_ bytes: [UInt8], checkpoint: Checkpoint, now: WallTime) -> [Verdict] {
        do {
            return verify(try ReceiptBundle(decoding: bytes), checkpoint: checkpoint, now: now)
        } catch {
            return BundleCheck.allCases.map { check in
                check == .format
                    ? Verdict(check: .format, passed: false, reason: "not a receipt bundle: \(error)")
                    : Verdict(check: check, passed: false, reason: "not checked, the file cannot be read")
            }
        }
    }

    /// One verdict for each check, in order.
    public static func verify(_ bundle: ReceiptBundle, checkpoint: Checkpoint, now: WallTime) -> [Verdict] {
        BundleCheck.allCases.map { check in
            let (fault, good) = judge(check, bundle, checkpoint, now)
            return Verdict(check: check, passed: fault == nil, reason: fault ?? good)
        }
    }

    /// - Returns: what is wrong, if anything, and what to say if nothing is.
    private static func judge(
        _ check: BundleCheck, _ bundle: ReceiptBundle, _ checkpoint: Checkpoint, _ now: WallTime
    ) -> (fault: String?, good: String) {
        let receipt = bundle.receipt.receipt
        switch check {
        case .format:
            return (nil, "version \(ReceiptBundle.version), canonical dag-cbor")
        case .network:
            let networks = [receipt.network, bundle.header.network] + bundle.handovers.map(\.header.network)
            let foreign = networks.first { $0 != checkpoint.network }
            return (foreign.map { "is of network \($0), not \(checkpoint.network)" }, "network \(checkpoint.network)")
        case .serverSignature:
            let holds = receipt.serverKey.verify(bundle.receipt.serverSignature, over: receipt.signingBytes())
            return (holds ? nil : "the server's signature is not valid", "signed by server \(receipt.server)")
        case .payerSignature:
            let holds = receipt.payerKey.verify(bundle.receipt.payerSignature, over: receipt.signingBytes())
            return (holds ? nil : "the payer's signature is not valid", "signed by payer \(receipt.payer)")
        case .price: return price(receipt)
        case .weights: return weights(receipt.data)
        case .inclusion: return inclusion(bundle)
        case .certificate: return certificate(bundle)
        case .committee: return committee(bundle, checkpoint)
        case .freshness: return freshness(bundle, checkpoint, now)
        }
    }

    private static func price(_ receipt: Receipt) -> (String?, String) {
        let tokens = "\(receipt.promptTokens) and \(receipt.answerTokens) tokens"
        guard
            let cost = try? receipt.price.cost(
                promptTokens: receipt.promptTokens, answerTokens: receipt.answerTokens)
        else { return ("the price of \(tokens) is more money than there can be", "") }
        guard cost == receipt.amount else {
            return ("\(tokens) cost \(cost.text) OPEN by the price schedule, not \(receipt.amount.text)", "")
        }
        guard receipt.total >= receipt.amount else { return ("the running total is below the amount", "") }
        return (nil, "\(tokens) for \(receipt.amount.text) OPEN")
    }

    private static func weights(_ data: DataUse) -> (String?, String) {
        let sum = data.contributors.reduce(UInt64(0)) { $0 + UInt64($1.share.value) }
        if data.contributors.isEmpty {
            return (data.rows == nil ? nil : "names rows but no contributors", "no data of others was used")
        }
        guard data.rows != nil else { return ("names contributors but no rows", "") }
        guard sum == 1_000_000 else { return ("the contributors' shares add up to \(sum), not 1000000", "") }
        guard data.contributors.allSatisfy({ $0.share.value > 0 }),
            zip(data.contributors, data.contributors.dropFirst()).allSatisfy({ $0.account < $1.account })
        else { return ("a contributor without a share, twice, or out of order", "") }
        return (
            nil,
            data.contributors.count == 1
                ? "one contributor has all" : "\(data.contributors.count) contributors share 1000000 parts"
        )
    }

    private static func inclusion(_ bundle: ReceiptBundle) -> (String?, String) {
        guard bundle.proof.count == bundle.header.receiptCount,
            bundle.proof.verifies(leaf: bundle.receipt.encoded(), root: bundle.header.receiptsRoot)
        else { return ("the receipt is not in batch \(bundle.header.height)", "") }
        return (nil, "receipt \(bundle.proof.index) of \(bundle.proof.count) in batch \(bundle.header.height)")
    }

    private static func certificate(_ bundle: ReceiptBundle) -> (String?, String) {
        let committee = bundle.handovers.last?.next ?? bundle.committee
        do {
            try HeaderChain.verify(bundle.header, bundle.certificate, by: committee)
        } catch {
            return ("batch \(bundle.header.height) is not certified: \(error)", "")
        }
        let signers = bundle.certificate.signatures.count
        return (nil, "batch \(bundle.header.height) certified by \(signers) of \(committee.members.count) members")
    }

    private static func committee(_ bundle: ReceiptBundle, _ checkpoint: Checkpoint) -> (String?, String) {
        let committees = [bundle.committee] + bundle.handovers.map(\.next)
        guard let start = committees.firstIndex(where: { $0.digest == checkpoint.committee }) else {
            return (
                "the file does not begin at the checkpoint; ask for a bundle from it, or take a newer checkpoint", ""
            )
        }
        var current = committees[start]
        for handover in bundle.handovers[start...] {
            do {
                current = try HeaderChain.verify(handover, network: checkpoint.network, from: current)
            } catch {
                return ("the hand-over at height \(handover.header.height) does not hold: \(error)", "")
            }
        }
        let steps = bundle.handovers.count - start
        return (nil, "committee of epoch \(current.epoch), \(steps) hand-overs after the checkpoint")
    }

    private static func freshness(
        _ bundle: ReceiptBundle, _ checkpoint: Checkpoint, _ now: WallTime
    ) -> (String?, String) {
        guard bundle.header.time <= now.adding(milliseconds: aheadMillisecondsMax) else {
            return ("the batch is from the future: is the clock right?", "")
        }
        if let time = checkpoint.time {
            guard now <= time.adding(milliseconds: checkpoint.ageMillisecondsMax) else {
                return ("the checkpoint is too old to be trusted; take a newer one from several peers", "")
            }
        }
        return (nil, "batch of \(bundle.header.time.text)")
    }
}
