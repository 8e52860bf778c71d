// A small chain made by hand with known keys: an epoch of four members, one of seven, one of one, and a batch with five
// receipts at its end. Everything is deterministic, so the vectors under Protocol/Vectors/swift come out the same.

import Ledger
import LightClient
import Primitives

struct BundleScene {
    static let now = WallTime(milliseconds: 1_760_000_100_000)

    let network = NetworkID(Digest(sha256: Array("openledger vectors".utf8)))
    let committees: [Committee]
    let keys: [[SigningKey]]
    var handovers: [Handover] = []
    let server = Self.key("server")
    let payer = Self.key("payer")

    static func key(_ name: String) -> SigningKey {
        guard let key = try? SigningKey(seed: Digest(sha256: Array(name.utf8)).bytes) else {
            preconditionFailure("32 bytes are a seed")
        }
        return key
    }

    init(sizes: [Int] = [4, 7, 1]) throws {
        keys = sizes.enumerated().map { epoch, size in (0..<size).map { Self.key("member \(epoch) \($0)") } }
        committees = try keys.enumerated().map { epoch, keys in
            try Committee(
                epoch: UInt64(epoch),
                members: keys.enumerated().map {
                    Member(account: $1.publicKey.account, key: $1.publicKey, seats: UInt64($0 % 3 + 1))
                })
        }
        for epoch in 0..<sizes.count - 1 {
            let header = header(epoch: epoch, height: UInt64(epoch + 1) * 10, receipts: [], next: committees[epoch + 1])
            handovers.append(
                Handover(header: header, certificate: certify(header, epoch: epoch), next: committees[epoch + 1]))
        }
    }

    var checkpoint: Checkpoint { Checkpoint(network: network, committee: committees[0].digest, time: nil) }

    func header(epoch: Int, height: UInt64, receipts: [SignedReceipt], next: Committee?) -> Header {
        let contents = BatchContents(receipts: receipts)
        return Header(
            network: network, height: height, view: height + 1, epoch: UInt64(epoch),
            parent: Digest(sha256: Array("parent".utf8)),
            time: WallTime(milliseconds: 1_760_000_000_000 + Int64(clamping: height)),
            stateRoot: Digest(sha256: Array("state".utf8)), receiptsRoot: contents.receiptsRoot,
            transactionsRoot: contents.transactionsRoot, receiptCount: UInt64(receipts.count), transactionCount: 0,
            proposer: committees[epoch].members[0].account, committee: committees[epoch].digest, next: next?.digest,
            beacon: Digest(sha256: Array("beacon".utf8)),
            beaconProof: VRF.prove(key: keys[epoch][0], alpha: Array("vectors".utf8)),
            supply: Supply(free: .one, staked: .one))
    }

    func certify(_ header: Header, epoch: Int, kind: VoteKind = .finalize, by signers: [SigningKey]? = nil)
        -> Certificate
    {
        let vote = Vote(kind: kind, height: header.height, view: header.view, digestVoted: header.digest)
        let message = vote.signingBytes(network: network)
        let signatures = (signers ?? keys[epoch]).map { (key: $0.publicKey, signature: $0.sign(message)) }
        if let certificate = Certificate(vote: vote, signatures: signatures, committee: committees[epoch]) {
            return certificate
        }
        return short(vote, signers ?? [], epoch: epoch)
    }

    /// A certificate without a quorum.
    private func short(_ vote: Vote, _ signers: [SigningKey], epoch: Int) -> Certificate {
        let committee = committees[epoch]
        var bits = [UInt8](repeating: 0, count: (committee.members.count + 7) / 8)
        var signatures: [Signature] = []
        for (index, member) in committee.members.enumerated() {
            guard let key = signers.first(where: { $0.publicKey == member.key }) else { continue }
            bits[index / 8] |= 1 << UInt8(index % 8)
            signatures.append(key.sign(vote.signingBytes(network: network)))
        }
        return Certificate(vote: vote, signers: bits, signatures: signatures)
    }

    func receipt(_ number: UInt64) throws -> Receipt {
        let price = PriceSchedule(
            request: Amount(baseUnits: 5), promptToken: Amount(baseUnits: 1_000_000_000_000),
            answerToken: Amount(baseUnits: 3_000_000_000_000))
        let amount = try price.cost(promptTokens: 12 + number, answerTokens: 40)
        func digest(_ name: String) -> Digest { Digest(sha256: Array("\(name) \(number)".utf8)) }
        return Receipt(
            network: network, allowance: AllowanceID(digest("allowance")), sequence: number + 1,
            request: digest("request"), expiry: 500,
            model: ModelUse(
                weights: CID(.dagPB, digest: digest("weights")), owner: Self.key("owner").publicKey.account,
                tokenizer: CID(.raw, digest: digest("tokenizer")), template: nil,
                adapters: [
                    AdapterUse(
                        adapter: CID(.dagPB, digest: digest("adapter")), owner: Self.key("tuner").publicKey.account)
                ], precision: "int8", numerics: 1),
            decoding: Decoding(seed: number, temperature: 700_000, frequencyPenalty: -5, maxTokens: 64),
            prompt: Commitment(digest("prompt")), answer: Commitment(digest("answer")), promptTokens: 12 + number,
            answerTokens: 40,
            data: DataUse(
                snapshots: [CID(.dagCBOR, digest: digest("snapshot"))],
                retrieval: Retrieval(
                    method: "bm25", revision: 1, passages: 3, settings: ["k1": 1_200_000, "b": 750_000]),
                indexes: [], query: Commitment(digest("query")), rows: digest("rows"),
                contributors: [
                    Contributor(account: Self.key("ann").publicKey.account, share: PartsPerMillion(700_000)),
                    Contributor(account: Self.key("bob").publicKey.account, share: PartsPerMillion(300_000)),
                ]),
            price: price, amount: amount, total: try amount.multiplied(by: 3), payer: payer.publicKey.account,
            payerKey: payer.publicKey, server: server.publicKey.account, serverKey: server.publicKey)
    }

    /// A bundle of receipt 2 of 5 in the last epoch, or of one that a test has changed before it was signed.
    func bundle(changing change: (inout Receipt) throws -> Void = { _ in }) throws -> ReceiptBundle {
        var receipts: [SignedReceipt] = []
        for number in UInt64(0)..<5 {
            var receipt = try receipt(number)
            if number == 2 { try change(&receipt) }
            receipts.append(SignedReceipt(receipt, server: server, payer: payer))
        }
        let epoch = committees.count - 1
        let header = header(epoch: epoch, height: UInt64(epoch) * 10 + 3, receipts: receipts, next: nil)
        return ReceiptBundle(
            receipt: receipts[2], proof: BatchContents(receipts: receipts).proof(ofReceipt: 2), header: header,
            certificate: certify(header, epoch: epoch), committee: committees[0], handovers: handovers)
    }
}
