// What a contributor signs: these rows, in these shards, to this datanet, under this licence, and it is my n-th. The
// signed envelope is a block; its CID names the contribution. An owner's manifest lists those that were accepted.

package import Primitives
import Records

/// What is wrong with something that a peer, an owner or a contributor sent.
package enum DatanetFault: Error, Hashable, Sendable {
    case malformed(CBORFault)
    case badSignature
    /// Signed by a key that is not the one that may.
    case wrongSigner(expected: AccountID, found: AccountID)
    case wrongDatanet(expected: DatanetID, found: DatanetID)
    /// Shard `index` is not of this contributor.
    case foreignShard(index: Int)
    case shardCount(expected: Int, found: Int)
    /// The block is not the one that the CID names.
    case wrongBlock(CID)
    case rowCount(claimed: UInt64, found: UInt64)
    case byteCount(claimed: UInt64, found: UInt64)
    case rowRoot
    case tooLarge(what: String, count: Int, limit: Int)
    /// Every row is in the datanet already.
    case nothingNew
    /// The contributor's sequence does not grow: a replay, or two contributions under one number.
    case sequence(last: UInt64, found: UInt64)
    case alreadyThere
    case unknownDatanet(DatanetID)
    case notTheOwner
    case staleRevision(known: UInt64, found: UInt64)
    /// Two manifests of one revision, both signed by the owner.
    case fork(revision: UInt64)
    /// The new manifest does not follow from the known one.
    case rewritten
    case wrongPrevious
    case privateIsReserved
    case invalid(field: String, reason: String)
    case refusedByOwner(reason: String)
    case full(what: String, limit: Int)
    case unavailable(CID)
}

package struct Contribution: Hashable, Sendable {
    package static let version: UInt64 = 1

    package let datanet: DatanetID
    package let contributor: AccountID
    /// In order; each once.
    package let shards: [CID]
    package let rowCount: UInt64
    /// Of the shard blocks together.
    package let byteCount: UInt64
    /// RFC 6962 tree over the rows' canonical forms, in order.
    package let rowRoot: Digest
    package let licence: String
    /// Counts this contributor's contributions to this datanet; grows.
    package let sequence: UInt64

    package init(_ shards: [Shard], to datanet: DatanetID, contributor: AccountID, licence: String, sequence: UInt64) {
        let blocks = shards.map { $0.encoded() }
        self.datanet = datanet
        self.contributor = contributor
        self.shards = blocks.map { CID(.dagCBOR, hashing: $0) }
        rowCount = UInt64(shards.reduce(0) { $0 + $1.rows.count })
        byteCount = UInt64(blocks.reduce(0) { $0 + $1.count })
        rowRoot = MerkleTree.root(of: shards.flatMap(\.rowLeaves))
        self.licence = licence
        self.sequence = sequence
    }

    package func encoded() -> [UInt8] {
        CBOR.map([
            "v": .unsigned(Self.version), "datanet": .digest(datanet.digest), "contributor": .account(contributor),
            "shards": .array(shards.map { .link($0) }), "rows": .unsigned(rowCount), "bytes": .unsigned(byteCount),
            "rowRoot": .digest(rowRoot), "license": .text(licence), "sequence": .unsigned(sequence),
        ]).encoded()
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        let limits = CBORLimits(bytesMax: DatanetLimits.contributionBytesMax, depthMax: 4)
        var fields = try CBORFields(decoding: bytes, "Contribution", limits: limits)
        guard try fields.unsigned("v") == Self.version else {
            throw fields.fault("v", "is a version that is not known")
        }
        datanet = DatanetID(try fields.digest("datanet"))
        contributor = try fields.account("contributor")
        shards = try fields.links("shards", max: DatanetLimits.shardsPerContributionMax)
        guard !shards.isEmpty, Set(shards).count == shards.count else {
            throw fields.fault("shards", "is empty or names a shard twice")
        }
        rowCount = try fields.unsigned("rows", max: UInt64(DatanetLimits.rowsPerContributionMax))
        byteCount = try fields.unsigned("bytes")
        rowRoot = try fields.digest("rowRoot")
        licence = try fields.text("license", max: DatanetLimits.licenceBytesMax)
        sequence = try fields.unsigned("sequence")
        try fields.finish()
    }

    /// Signs; the envelope's bytes are the block to store and announce.
    package func signed(by key: SigningKey, network: NetworkID) -> [UInt8] {
        SignedEnvelope(encoded(), by: key, domain: .contribution, network: network).encoded()
    }

    /// Reads a signed contribution and checks that its contributor signed it.
    package static func open(_ block: [UInt8], network: NetworkID) throws(DatanetFault) -> Contribution {
        let (payload, signer) = try openEnvelope(
            block, .contribution, network, payloadBytesMax: DatanetLimits.contributionBytesMax)
        let contribution: Contribution
        do { contribution = try Contribution(decoding: payload) } catch { throw .malformed(error) }
        guard contribution.contributor == signer else {
            throw .wrongSigner(expected: contribution.contributor, found: signer)
        }
        return contribution
    }

    /// Checks shard blocks, in order, against everything that the contribution claims. Answers the shards.
    package func verify(_ blocks: [[UInt8]]) throws(DatanetFault) -> [Shard] {
        guard blocks.count == shards.count else { throw .shardCount(expected: shards.count, found: blocks.count) }
        var found: [Shard] = []
        for (index, block) in blocks.enumerated() {
            guard shards[index].verifies(block) else { throw .wrongBlock(shards[index]) }
            let shard: Shard
            do { shard = try Shard(decoding: block) } catch { throw .malformed(error) }
            guard shard.contributor == contributor, shard.licence == licence else { throw .foreignShard(index: index) }
            found.append(shard)
        }
        let bytes = UInt64(blocks.reduce(0) { $0 + $1.count })
        let rows = UInt64(found.reduce(0) { $0 + $1.rows.count })
        guard bytes == byteCount else { throw .byteCount(claimed: byteCount, found: bytes) }
        guard rows == rowCount else { throw .rowCount(claimed: rowCount, found: rows) }
        guard MerkleTree.root(of: found.flatMap(\.rowLeaves)) == rowRoot else { throw .rowRoot }
        return found
    }
}

func openEnvelope(
    _ block: [UInt8], _ domain: Domain, _ network: NetworkID, payloadBytesMax: Int
) throws(DatanetFault) -> (payload: [UInt8], signer: AccountID) {
    do {
        let envelope = try SignedEnvelope.open(
            block, domain: domain, network: network, payloadBytesMax: payloadBytesMax)
        return (envelope.payload, envelope.signer.account)
    } catch {
        switch error {
        case .malformed(let fault): throw .malformed(fault)
        case .badSignature: throw .badSignature
        }
    }
}

extension CBORFields {
    mutating func links(_ key: String, max: Int) throws(CBORFault) -> [CID] {
        var links: [CID] = []
        for item in try array(key, max: max) {
            guard case .link(let cid) = item else { throw fault(key, "holds something that is not a link") }
            links.append(cid)
        }
        return links
    }
}
