// Receipts verified a second: decoding, both signatures, price and weights, as a receipt is judged when it is
// gossiped.

import Ledger
import Primitives

enum ReceiptBenchmark {
    static func run(seconds: Int) async throws -> [JSONMember] {
        let payer = try Home.drawnKey()
        let server = try Home.drawnKey()
        let network = NetworkID(Digest(sha256: Array("bench".utf8)))
        let price = PriceSchedule(request: .zero, promptToken: Amount(baseUnits: 3), answerToken: Amount(baseUnits: 7))
        var encoded: [[UInt8]] = []
        for sequence in UInt64(1)...64 {
            let amount = try price.cost(promptTokens: 40, answerTokens: 64)
            guard
                let commitment = Commitment(
                    salt: Home.randomBytes(32), content: Commitment.content(tokens: [1, 2, 3]))
            else { throw BenchmarkFault.setUp("no commitment") }
            let receipt = Receipt(
                network: network, allowance: AllowanceID(.zero), sequence: sequence,
                request: Digest(sha256: sequence.description.utf8), expiry: 1_000,
                model: ModelUse(
                    weights: CID(.dagCBOR, hashing: [1]), owner: nil, tokenizer: nil, template: nil, precision: "f32",
                    numerics: 1),
                decoding: Decoding(maxTokens: 64), prompt: commitment, answer: commitment, promptTokens: 40,
                answerTokens: 64,
                data: DataUse(
                    rows: Digest(sha256: [1]),
                    contributors: [Contributor(account: server.publicKey.account, share: .whole)]), price: price,
                amount: amount, total: amount, payer: payer.publicKey.account, payerKey: payer.publicKey,
                server: server.publicKey.account, serverKey: server.publicKey)
            encoded.append(SignedReceipt(receipt, server: server, payer: payer).encoded())
        }
        var next = 0
        let rate = try PeerBenchmarks.rate(seconds: seconds) {
            let receipt = try SignedReceipt.read(encoded[next % encoded.count])
            try receipt.check(network: network)
            next += 1
            return 1
        }
        return [
            JSONMember("receipts_verified_per_second", .double(rate)),
            JSONMember("receipt_bytes", .integer(encoded[0].count)), JSONMember("threads", .integer(1)),
        ]
    }
}
