import Ledger
import Primitives
import Testing

@testable import Sequencing

@Suite struct PoolTests {
    private let network = NetworkID(.zero)

    private func key(_ name: String) throws -> SigningKey {
        try SigningKey(seed: Digest(sha256: Array(name.utf8)).bytes)
    }

    private func receipt(_ allowance: UInt8, _ sequence: UInt64, expiry: UInt64 = 100) throws -> SignedReceipt {
        let (server, payer) = (try key("server"), try key("payer"))
        let price = PriceSchedule(request: .one, promptToken: .zero, answerToken: .zero)
        let receipt = Receipt(
            network: network, allowance: AllowanceID(Digest(sha256: [allowance])), sequence: sequence, request: .zero,
            expiry: expiry,
            model: ModelUse(
                weights: CID(.raw, hashing: []), owner: nil, tokenizer: nil, template: nil, precision: "f32",
                numerics: 1),
            decoding: Decoding(maxTokens: 1), prompt: Commitment(.zero), answer: Commitment(.zero), promptTokens: 1,
            answerTokens: 1, data: .none, price: price, amount: .one, total: try Amount.one.multiplied(by: sequence),
            payer: payer.publicKey.account, payerKey: payer.publicKey, server: server.publicKey.account,
            serverKey: server.publicKey)
        return SignedReceipt(receipt, server: server, payer: payer)
    }

    private func transaction(_ sender: String, _ nonce: UInt64, fee: UInt64 = 1) throws -> SignedTransaction {
        let key = try key(sender)
        let transaction = Transaction(
            sender: key.publicKey.account, key: key.publicKey, nonce: nonce,
            fee: try Amount.one.multiplied(by: fee), action: .claim)
        return SignedTransaction(transaction, by: key, network: network)
    }

    @Test func receiptsGoInOrderOfSequenceAndOnce() throws {
        var pool = ReceiptPool()
        for sequence in [3, 1, 2] as [UInt64] { #expect(pool.offer(try receipt(1, sequence)) == .taken) }
        #expect(pool.offer(try receipt(1, 2)) == .known)
        let selected = pool.select(countMax: 10, bytesMax: 1 << 20)
        #expect(selected.map(\.receipt.sequence) == [1, 2, 3])
        pool.settled(Array(selected.prefix(2)), height: 5)
        #expect(pool.count == 1)
        pool.settled([], height: 100)
        #expect(pool.isEmpty)
    }

    @Test func aCutRotates() throws {
        var pool = ReceiptPool()
        for allowance in UInt8(0)..<6 { #expect(pool.offer(try receipt(allowance, 1)) == .taken) }
        var seen: Set<AllowanceID> = []
        for _ in 0..<3 {
            let selected = pool.select(countMax: 2, bytesMax: 1 << 20)
            #expect(selected.count == 2)
            seen.formUnion(selected.map(\.receipt.allowance))
        }
        #expect(seen.count == 6)
    }

    @Test func fullIsAnAnswerAndQuarantineRemembers() throws {
        var limits = PoolLimits()
        limits.countMax = 3
        limits.perOwnerMax = 2
        limits.quarantineMax = 2
        var pool = ReceiptPool(limits: limits)
        #expect(pool.offer(try receipt(1, 1)) == .taken)
        #expect(pool.offer(try receipt(1, 2)) == .taken)
        #expect(pool.offer(try receipt(1, 3)) == .full)
        #expect(pool.offer(try receipt(2, 1)) == .taken)
        #expect(pool.offer(try receipt(3, 1)) == .full)
        for (allowance, sequence) in [(1, 1), (1, 2), (2, 1)] as [(UInt8, UInt64)] {
            pool.refuse(try receipt(allowance, sequence).id, .unknownAllowance)
        }
        #expect(pool.isEmpty)
        #expect(pool.offer(try receipt(2, 1)) == .refused(.unknownAllowance))
        #expect(pool.offer(try receipt(1, 1)) == .taken, "two refusals are remembered, not three")
    }

    @Test func transactionsGoByNonceWithoutAGap() throws {
        var pool = TransactionPool()
        let sender = try key("ann").publicKey.account
        for nonce in [5, 7, 6, 9] as [UInt64] { #expect(pool.offer(try transaction("ann", nonce)) == .taken) }
        #expect(pool.offer(try transaction("bob", 0)) == .taken)
        #expect(pool.nextNonce(of: sender) == 10)
        let nonce: (AccountID) -> UInt64 = { $0 == sender ? 5 : 0 }
        let selected = pool.select(countMax: 10, bytesMax: 1 << 20, nonce: nonce)
        #expect(selected.filter { $0.transaction.sender == sender }.map(\.transaction.nonce) == [5, 6, 7])
        #expect(selected.count == 4)
        #expect(pool.offer(try transaction("ann", 6)) == .known)
        #expect(pool.offer(try transaction("ann", 6, fee: 2)) == .taken)
        #expect(pool.offer(try transaction("ann", 6, fee: 1)) == .full)
        // The one that took another's place can never be executed now, and that is told.
        let replaced = try transaction("ann", 6, fee: 2)
        #expect(pool.executed(selected).map(\.id) == [replaced.id])
        #expect(pool.count == 1)
        pool.refuse(try transaction("ann", 9).id, .zeroAmount)
        #expect(pool.isEmpty)
    }

    @Test func aBatchKeepsItsLimits() throws {
        var transactions = TransactionPool()
        var receipts = ReceiptPool()
        for index in UInt8(0)..<20 {
            _ = transactions.offer(try transaction("sender \(index)", 0))
            _ = receipts.offer(try receipt(index, 1))
        }
        var builder = BatchBuilder()
        builder.bytesMax = 10_000
        let contents = builder.select(transactions: &transactions, receipts: &receipts, nonce: { _ in 0 }, next: nil)
        #expect(!contents.transactions.isEmpty && !contents.receipts.isEmpty)
        let bytes = contents.transactions.map { $0.encoded().count } + contents.receipts.map { $0.encoded().count }
        #expect(bytes.reduce(0, +) <= 10_000)
    }
}
