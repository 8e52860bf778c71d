// Votes, and the certificates that a quorum of them makes. A vote is signed over its own dag-cbor in the domain "vote", so
// a certificate is checked by rebuilding one payload and verifying each signer's Ed25519 signature over it.
//
//   propose ──▶ notarize votes ──quorum──▶ notarization ──▶ finalize votes ──quorum──▶ finalization (the batch is final)
//        └─ time-out ──▶ nullify votes ──quorum──▶ nullification (next view, same height)

public import Primitives

public enum VoteKind: String, Hashable, Sendable, CaseIterable {
    case notarize, nullify, finalize
}

/// What a member states about one view of one height.
public struct Vote: ChainObject {
    public static let bytesMax = 256
    public static let version: UInt64 = 1

    public let kind: VoteKind
    public let height: UInt64
    public let view: UInt64
    /// The header's digest; zero for `nullify`, which is about no header.
    public let digestVoted: Digest

    public init(kind: VoteKind, height: UInt64, view: UInt64, digestVoted: Digest) {
        self.kind = kind
        self.height = height
        self.view = view
        self.digestVoted = kind == .nullify ? .zero : digestVoted
    }

    public func signingBytes(network: NetworkID) -> [UInt8] {
        signedBytes(.vote, network: network, payload: encoded())
    }

    public var cbor: CBOR {
        .map([
            "v": .unsigned(Self.version), "kind": .text(kind.rawValue), "height": .unsigned(height),
            "view": .unsigned(view), "digest": .digest(digestVoted),
        ])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Vote")
        try fields.version(Self.version)
        guard let kind = VoteKind(rawValue: try fields.text("kind", max: LedgerLimits.nameBytesMax)) else {
            throw fields.fault("kind", "is not notarize, nullify or finalize")
        }
        self.kind = kind
        height = try fields.unsigned("height")
        view = try fields.unsigned("view")
        digestVoted = try fields.digest("digest")
        guard kind != .nullify || digestVoted == .zero else { throw fields.fault("digest", "is not zero in a nullify") }
        try fields.finish()
    }
}

/// A vote with the key that signed it.
public struct SignedVote: ChainObject {
    public static let bytesMax = 512

    public let vote: Vote
    public let key: PublicKey
    public let signature: Signature

    public init(vote: Vote, key: PublicKey, signature: Signature) {
        self.vote = vote
        self.key = key
        self.signature = signature
    }

    public init(_ vote: Vote, by key: SigningKey, network: NetworkID) {
        self.init(vote: vote, key: key.publicKey, signature: key.sign(vote.signingBytes(network: network)))
    }

    public func isValid(network: NetworkID) -> Bool {
        key.verify(signature, over: vote.signingBytes(network: network))
    }

    public var cbor: CBOR {
        .map(["vote": vote.cbor, "key": .publicKey(key), "signature": .signature(signature)])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "SignedVote")
        vote = try fields.object("vote")
        key = try fields.publicKey("key")
        signature = try fields.signature("signature")
        try fields.finish()
    }
}

public enum CertificateFault: Error, Hashable, Sendable {
    /// The signer bits are not one byte per eight members, or name a member that is not there.
    case signerBits
    case signatureCount(expected: Int, got: Int)
    case badSignature(AccountID)
    case noQuorum(seats: UInt64, needed: UInt64)
    /// Not the certificate of this header.
    case otherHeader
    /// Not a finalization.
    case notFinal(VoteKind)
    case wrongNetwork
    case wrongCommittee
    case noHandover
}

/// Votes of one kind on one header (or on none) by more than two thirds of the seats.
public struct Certificate: ChainObject {
    public static let bytesMax = LedgerLimits.certificateBytesMax
    public static let version: UInt64 = 1

    public let vote: Vote
    /// One bit for each member in the committee's order, least significant bit of the first byte first.
    public let signers: [UInt8]
    /// In the order of the set bits.
    public let signatures: [Signature]

    public init(vote: Vote, signers: [UInt8], signatures: [Signature]) {
        self.vote = vote
        self.signers = signers
        self.signatures = signatures
    }

    /// Puts signatures together, in any order; of two by one member the first counts, strangers' are left out.
    /// The signatures are taken as verified.
    /// - Returns: nil without a quorum.
    public init?(vote: Vote, signatures: [(key: PublicKey, signature: Signature)], committee: Committee) {
        var chosen: [Int: Signature] = [:]
        for (key, signature) in signatures {
            guard let index = committee.index(of: key), chosen[index] == nil else { continue }
            chosen[index] = signature
        }
        var bits = [UInt8](repeating: 0, count: Self.bitmapBytes(committee))
        var ordered: [Signature] = []
        var seats: UInt64 = 0
        for (index, member) in committee.members.enumerated() {
            guard let signature = chosen[index] else { continue }
            bits[index >> 3] |= 1 << UInt8(index & 7)
            ordered.append(signature)
            seats += member.seats
        }
        guard seats >= committee.quorum else { return nil }
        self.init(vote: vote, signers: bits, signatures: ordered)
    }

    static func bitmapBytes(_ committee: Committee) -> Int { (committee.members.count + 7) / 8 }

    /// The members who signed.
    public func signers(of committee: Committee) throws(CertificateFault) -> [Member] {
        guard signers.count == Self.bitmapBytes(committee) else { throw .signerBits }
        var members: [Member] = []
        for index in 0..<signers.count * 8 where signers[index >> 3] >> UInt8(index & 7) & 1 == 1 {
            guard index < committee.members.count else { throw .signerBits }
            members.append(committee.members[index])
        }
        return members
    }

    /// Checks that a quorum of `committee` signed this vote.
    public func verify(network: NetworkID, committee: Committee) throws(CertificateFault) {
        let members = try signers(of: committee)
        guard members.count == signatures.count else {
            throw .signatureCount(expected: members.count, got: signatures.count)
        }
        let seats = members.reduce(UInt64(0)) { $0 + $1.seats }
        guard seats >= committee.quorum else { throw .noQuorum(seats: seats, needed: committee.quorum) }
        let message = vote.signingBytes(network: network)
        for (member, signature) in zip(members, signatures) {
            guard member.key.verify(signature, over: message) else { throw .badSignature(member.account) }
        }
    }

    public var cbor: CBOR {
        .map([
            "v": .unsigned(Self.version), "kind": .text(vote.kind.rawValue), "height": .unsigned(vote.height),
            "view": .unsigned(vote.view), "digest": .digest(vote.digestVoted), "signers": .bytes(signers),
            "signatures": .array(signatures.map(CBOR.signature)),
        ])
    }

    public init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "Certificate")
        signers = try fields.bytes("signers", max: LedgerLimits.committeeSeatsMax / 8)
        let malformed = fields.fault("signatures", "holds something that is not a signature")
        signatures = try fields.items("signatures", max: LedgerLimits.committeeSeatsMax) { item throws(CBORFault) in
            guard case .bytes(let bytes) = item, let signature = Signature(bytes) else { throw malformed }
            return signature
        }
        try fields.version(Self.version)
        var vote: [(String, CBOR)] = [("v", .unsigned(Vote.version))]
        for key in ["kind", "height", "view", "digest"] { vote.append((key, try fields.value(key))) }
        self.vote = try Vote(cbor: .map(vote))
        try fields.finish()
    }
}
