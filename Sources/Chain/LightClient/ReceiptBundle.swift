// One file that proves one receipt to someone who trusts nobody but a checkpoint: the receipt with both signatures, its
// place in a batch, the batch's certified header, and the hand-overs from a committee that the reader knows to the one
// that certified. Format in Protocol/light-client.md; the same vectors bind the other verifiers.

public import Ledger
public import Primitives

public struct ReceiptBundle: ChainObject {
    public static let version: UInt64 = 1
    public static let bytesMax = 8 << 20
    public static let handoversMax = 512
    private static let valuesMax = 1_000_000

    public var receipt: SignedReceipt
    /// That the receipt is in the batch.
    public var proof: MerkleProof
    public var header: Header
    public var certificate: Certificate
    /// Where the hand-overs begin.
    public var committee: Committee
    /// Epoch by epoch, up to the committee that certified `header`.
    public var handovers: [Handover]

    public init(
        receipt: SignedReceipt, proof: MerkleProof, header: Header, certificate: Certificate, committee: Committee,
        handovers: [Handover]
    ) {
        self.receipt = receipt
        self.proof = proof
        self.header = header
        self.certificate = certificate
        self.committee = committee
        self.handovers = handovers
    }

    /// Bundles receipt `index` of a final batch.
    /// - Parameters:
    ///   - committee: of the checkpoint to prove from.
    ///   - handovers: from there to the batch's epoch, ascending.
    /// - Returns: nil unless the batch has such a receipt and the hand-overs fit into a file.
    public init?(receipt index: Int, of batch: CertifiedBatch, committee: Committee, handovers: [Handover]) {
        let receipts = batch.batch.contents.receipts
        guard receipts.indices.contains(index), handovers.count <= Self.handoversMax else { return nil }
        self.init(
            receipt: receipts[index], proof: batch.batch.contents.proof(ofReceipt: index), header: batch.header,
            certificate: batch.certificate, committee: committee, handovers: handovers)
    }

    /// The checkpoint that the file itself begins at: for a reader who knows no other, and says so.
    public var statedCheckpoint: Checkpoint {
        Checkpoint(network: receipt.receipt.network, committee: committee.digest, time: nil)
    }

    public var cbor: CBOR {
        .map([
            "v": .unsigned(Self.version), "receipt": receipt.cbor, "proof": proof.cbor, "header": header.cbor,
            "certificate": certificate.cbor, "committee": committee.cbor, "handovers": .array(handovers.map(\.cbor)),
        ])
    }

    public init(decoding bytes: [UInt8]) throws(CBORFault) {
        let limits = CBORLimits(bytesMax: Self.bytesMax, valuesMax: Self.valuesMax)
        try self.init(cbor: CBOR.decode(bytes, limits: limits))
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "ReceiptBundle")
        guard try fields.unsigned("v") == Self.version else {
            throw fields.fault("v", "is a version that is not known")
        }
        receipt = try SignedReceipt(cbor: fields.value("receipt"))
        proof = try MerkleProof(cbor: fields.value("proof"))
        header = try Header(cbor: fields.value("header"))
        certificate = try Certificate(cbor: fields.value("certificate"))
        committee = try Committee(cbor: fields.value("committee"))
        handovers = []
        for item in try fields.array("handovers", max: Self.handoversMax) { handovers.append(try Handover(cbor: item)) }
        try fields.finish()
    }
}
