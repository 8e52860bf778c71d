// A batch's header: what the committee signs. It commits to the state after the batch, to the lists of receipts and
// transactions in it, to the committee that certifies it and, at the end of an epoch, to the one that follows.

public import Primitives

/// Where all the money of the network is. The six parts add up to the genesis total, to the last unit, in every header.
public struct Supply: Hashable, Sendable {
    /// Balances that their owners can spend.
    public var free: Amount
    /// What allowances still hold, and committee pay that is not yet divided.
    public var locked: Amount
    /// Stakes, those that are being unbonded included.
    public var staked: Amount
    public var treasury: Amount
    public var bridged: Amount
    public var burned: Amount

    public init(
        free: Amount = .zero, locked: Amount = .zero, staked: Amount = .zero, treasury: Amount = .zero,
        bridged: Amount = .zero, burned: Amount = .zero
    ) {
        self.free = free
        self.locked = locked
        self.staked = staked
        self.treasury = treasury
        self.bridged = bridged
        self.burned = burned
    }

    public func total() throws(AmountFault) -> Amount {
        try free.adding(locked).adding(staked).adding(treasury).adding(bridged).adding(burned)
    }

    public var cbor: CBOR {
        .map([
            "free": .amount(free), "locked": .amount(locked), "staked": .amount(staked),
            "treasury": .amount(treasury), "bridged": .amount(bridged), "burned": .amount(burned),
        ])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Supply")
        free = try fields.amount("free")
        locked = try fields.amount("locked")
        staked = try fields.amount("staked")
        treasury = try fields.amount("treasury")
        bridged = try fields.amount("bridged")
        burned = try fields.amount("burned")
        try fields.finish()
    }
}

public enum HeaderFault: Error, Hashable, Sendable {
    case wrongNetwork
    case wrongHeight(expected: UInt64, got: UInt64)
    case wrongParent
    case timeBeforeParent
    case timeAhead(milliseconds: Int64)
    case wrongEpoch(expected: UInt64, got: UInt64)
    case wrongCommittee
    case supplyChanged
}

public struct Header: ChainObject {
    public static let bytesMax = LedgerLimits.headerBytesMax
    public static let version: UInt64 = 1

    public var network: NetworkID
    /// 0 for genesis.
    public var height: UInt64
    /// The consensus view in which this header was proposed.
    public var view: UInt64
    public var epoch: UInt64
    /// Digest of the header before; zero for genesis.
    public var parent: Digest
    /// Never before the parent's.
    public var time: WallTime
    /// Root of the sparse Merkle tree of the state after this batch.
    public var stateRoot: Digest
    /// RFC 6962 root over the encodings of the signed receipts, in the batch's order.
    public var receiptsRoot: Digest
    /// RFC 6962 root over the encodings of the signed transactions, in the batch's order.
    public var transactionsRoot: Digest
    public var receiptCount: UInt64
    public var transactionCount: UInt64
    public var proposer: AccountID
    /// Digest of the committee that certifies this header.
    public var committee: Digest
    /// Digest of the committee of the next epoch: there exactly in the last header of an epoch.
    public var next: Digest?
    /// Root of the availability chunks; zero while a network does not use them.
    public var dataRoot: Digest
    /// The election beacon after this batch.
    public var beacon: Digest
    /// The proposer's proof of his step of the beacon; absent in genesis.
    public var beaconProof: VRFProof?
    public var supply: Supply

    public init(
        network: NetworkID, height: UInt64, view: UInt64, epoch: UInt64, parent: Digest, time: WallTime,
        stateRoot: Digest, receiptsRoot: Digest, transactionsRoot: Digest, receiptCount: UInt64,
        transactionCount: UInt64, proposer: AccountID, committee: Digest, next: Digest?, dataRoot: Digest = .zero,
        beacon: Digest, beaconProof: VRFProof?, supply: Supply
    ) {
        self.network = network
        self.height = height
        self.view = view
        self.epoch = epoch
        self.parent = parent
        self.time = time
        self.stateRoot = stateRoot
        self.receiptsRoot = receiptsRoot
        self.transactionsRoot = transactionsRoot
        self.receiptCount = receiptCount
        self.transactionCount = transactionCount
        self.proposer = proposer
        self.committee = committee
        self.next = next
        self.dataRoot = dataRoot
        self.beacon = beacon
        self.beaconProof = beaconProof
        self.supply = supply
    }

    public var cid: CID { CID(.dagCBOR, digest: digest) }

    /// What can be said of a header by its parent alone.
    public func check(follows parent: Header) throws(HeaderFault) {
        guard network == parent.network else { throw .wrongNetwork }
        guard parent.height < .max, height == parent.height + 1 else {
            throw .wrongHeight(expected: parent.height &+ 1, got: height)
        }
        guard self.parent == parent.digest else { throw .wrongParent }
        guard time >= parent.time else { throw .timeBeforeParent }
        let (epoch, overflow) = parent.epoch.addingReportingOverflow(parent.next == nil ? 0 : 1)
        guard !overflow, self.epoch == epoch else { throw .wrongEpoch(expected: epoch, got: self.epoch) }
        guard committee == (parent.next ?? parent.committee) else { throw .wrongCommittee }
        guard let before = try? parent.supply.total(), let after = try? supply.total(), before == after else {
            throw .supplyChanged
        }
    }

    /// A voter's check against his own clock; a header that is already certified is not judged by it.
    public func checkTime(now: WallTime) throws(HeaderFault) {
        guard time <= now.adding(milliseconds: LedgerLimits.headerAheadMillisecondsMax) else {
            throw .timeAhead(
                milliseconds: time.milliseconds.subtractingReportingOverflow(now.milliseconds).partialValue)
        }
    }

    /// Checks that `certificate` makes this header final under `committee`.
    public func verify(_ certificate: Certificate, by committee: Committee) throws(CertificateFault) {
        guard self.committee == committee.digest, epoch == committee.epoch else { throw .wrongCommittee }
        guard certificate.vote.kind == .finalize else { throw .notFinal(certificate.vote.kind) }
        guard certificate.vote.digestVoted == digest, certificate.vote.height == height, certificate.vote.view >= view
        else { throw .otherHeader }
        try certificate.verify(network: network, committee: committee)
    }

    public var cbor: CBOR {
        var pairs: [(String, CBOR)] = [
            ("v", .unsigned(Self.version)), ("network", .network(network)), ("height", .unsigned(height)),
            ("view", .unsigned(view)), ("epoch", .unsigned(epoch)), ("parent", .digest(parent)),
            ("time", .wallTime(time)), ("stateRoot", .digest(stateRoot)), ("receiptsRoot", .digest(receiptsRoot)),
            ("transactionsRoot", .digest(transactionsRoot)), ("receiptCount", .unsigned(receiptCount)),
            ("transactionCount", .unsigned(transactionCount)), ("proposer", .account(proposer)),
            ("committee", .digest(committee)), ("dataRoot", .digest(dataRoot)), ("beacon", .digest(beacon)),
            ("supply", supply.cbor),
        ]
        pairs.add("next", ifPresent: next.map(CBOR.digest))
        pairs.add("beaconProof", ifPresent: beaconProof.map { .bytes($0.bytes) })
        return .map(pairs)
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Header")
        try fields.version(Self.version)
        network = try fields.network("network")
        height = try fields.unsigned("height")
        view = try fields.unsigned("view")
        epoch = try fields.unsigned("epoch")
        parent = try fields.digest("parent")
        time = try fields.wallTime("time")
        stateRoot = try fields.digest("stateRoot")
        receiptsRoot = try fields.digest("receiptsRoot")
        transactionsRoot = try fields.digest("transactionsRoot")
        receiptCount = try fields.unsigned("receiptCount", max: UInt64(LedgerLimits.receiptsPerBatchMax))
        transactionCount = try fields.unsigned("transactionCount", max: UInt64(LedgerLimits.transactionsPerBatchMax))
        proposer = try fields.account("proposer")
        committee = try fields.digest("committee")
        next = try fields.optional("next") { fields throws(CBORFault) in try fields.digest("next") }
        dataRoot = try fields.digest("dataRoot")
        beacon = try fields.digest("beacon")
        beaconProof = try fields.optional("beaconProof") { fields throws(CBORFault) in
            guard let proof = VRFProof(try fields.bytes("beaconProof", count: VRFProof.byteCount)) else {
                throw fields.fault("beaconProof", "is not a proof")
            }
            return proof
        }
        supply = try Supply(cbor: try fields.value("supply"))
        try fields.finish()
    }
}

/// The passage from one committee to the next: a certified last header of an epoch and the committee that it names. This
/// is all that a light client needs to follow the chain.
public struct Handover: ChainObject {
    public static let bytesMax =
        LedgerLimits.headerBytesMax + LedgerLimits.certificateBytesMax + LedgerLimits.committeeBytesMax + 64

    public let header: Header
    public let certificate: Certificate
    public let next: Committee

    public init(header: Header, certificate: Certificate, next: Committee) {
        self.header = header
        self.certificate = certificate
        self.next = next
    }

    /// - Parameter committee: of the epoch that ends, already trusted.
    /// - Returns: the committee of the epoch that begins.
    public func verify(network: NetworkID, from committee: Committee) throws(CertificateFault) -> Committee {
        guard header.network == network else { throw .wrongNetwork }
        try header.verify(certificate, by: committee)
        guard header.next == next.digest, committee.epoch < .max, next.epoch == committee.epoch + 1 else {
            throw .noHandover
        }
        return next
    }

    public var cbor: CBOR {
        .map(["header": header.cbor, "certificate": certificate.cbor, "next": next.cbor])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Handover")
        header = try fields.object("header")
        certificate = try fields.object("certificate")
        next = try fields.object("next")
        try fields.finish()
    }
}
