// A batch: a header and the lists that it commits to. Transactions are executed first, then receipts, each in its order.

public import Primitives

/// What a builder chooses; everything else in a batch follows from it.
public struct BatchContents: Hashable, Sendable {
    public var transactions: [SignedTransaction]
    public var receipts: [SignedReceipt]
    /// The committee of the next epoch: there exactly in the last batch of an epoch.
    public var next: Committee?

    public init(transactions: [SignedTransaction] = [], receipts: [SignedReceipt] = [], next: Committee? = nil) {
        self.transactions = transactions
        self.receipts = receipts
        self.next = next
    }

    public var receiptsRoot: Digest { MerkleTree.root(of: receipts.map { $0.encoded() }) }
    public var transactionsRoot: Digest { MerkleTree.root(of: transactions.map { $0.encoded() }) }

    /// The proof that receipt `index` is under the header's receipts root.
    /// - Precondition: `index` is one of the receipts.
    public func proof(ofReceipt index: Int) -> MerkleProof {
        MerkleTree.proof(receipts.map { $0.encoded() }, index: index)
    }

    /// The proof that transaction `index` is under the header's transactions root.
    /// - Precondition: `index` is one of the transactions.
    public func proof(ofTransaction index: Int) -> MerkleProof {
        MerkleTree.proof(transactions.map { $0.encoded() }, index: index)
    }
}

public struct Batch: ChainObject {
    public static let bytesMax = LedgerLimits.batchBytesMax

    public let header: Header
    public let contents: BatchContents

    public init(header: Header, contents: BatchContents) {
        self.header = header
        self.contents = contents
    }

    /// Whether the lists are the ones that the header commits to.
    public var isConsistent: Bool {
        header.receiptCount == UInt64(contents.receipts.count)
            && header.transactionCount == UInt64(contents.transactions.count)
            && header.receiptsRoot == contents.receiptsRoot && header.transactionsRoot == contents.transactionsRoot
            && header.next == contents.next?.digest
    }

    public var cbor: CBOR {
        var pairs: [(String, CBOR)] = [
            ("header", header.cbor), ("transactions", .array(contents.transactions.map(\.cbor))),
            ("receipts", .array(contents.receipts.map(\.cbor))),
        ]
        pairs.add("next", ifPresent: contents.next?.cbor)
        return .map(pairs)
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Batch")
        header = try fields.object("header")
        let transactionsMax = LedgerLimits.transactionsPerBatchMax
        let transactions = try fields.items("transactions", max: transactionsMax) { item throws(CBORFault) in
            try SignedTransaction(cbor: item)
        }
        let receipts = try fields.items("receipts", max: LedgerLimits.receiptsPerBatchMax) { item throws(CBORFault) in
            try SignedReceipt(cbor: item)
        }
        let next: Committee? = try fields.optional("next") { fields throws(CBORFault) in try fields.object("next") }
        contents = BatchContents(transactions: transactions, receipts: receipts, next: next)
        try fields.finish()
    }
}

/// A batch that is final.
public struct CertifiedBatch: ChainObject {
    public static let bytesMax = LedgerLimits.batchBytesMax + LedgerLimits.certificateBytesMax + 64

    public let batch: Batch
    public let certificate: Certificate

    public init(batch: Batch, certificate: Certificate) {
        self.batch = batch
        self.certificate = certificate
    }

    public var header: Header { batch.header }

    public var cbor: CBOR { .map(["batch": batch.cbor, "certificate": certificate.cbor]) }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "CertifiedBatch")
        batch = try fields.object("batch")
        certificate = try fields.object("certificate")
        try fields.finish()
    }
}
