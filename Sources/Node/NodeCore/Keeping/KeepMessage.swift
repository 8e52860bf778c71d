// The messages of /openledger/keep/1 (Protocol/keeping.md, Proofs), dag-cbor, one a frame.

package import Primitives

package enum KeepMessage: Hashable, Sendable {
    package static let bytesMax = 4096
    package static let shardsMax = 16
    package static let nonceBytes = 16
    private static let domain = Array("openledger/1/keep\n".utf8)

    case prove(nonce: [UInt8], shards: [CID])
    case proofs([Digest?])
    case refused(code: String, message: String)

    /// What only who has the block can say, of a nonce that nobody knew, in its own name.
    package static func proof(_ nonce: [UInt8], of block: [UInt8], by peer: PeerID) -> Digest {
        Digest(sha256Of: [domain, nonce, peer.bytes, block])
    }

    package func encoded() -> [UInt8] {
        switch self {
        case .prove(let nonce, let shards):
            CBOR.map([
                "type": .text("prove"), "nonce": .bytes(nonce), "shards": .array(shards.map(CBOR.link)),
            ]).encoded()
        case .proofs(let proofs):
            CBOR.map([
                "type": .text("proofs"), "proofs": .array(proofs.map { $0.map(CBOR.digest) ?? .null }),
            ]).encoded()
        case .refused(let code, let message):
            CBOR.map(["type": .text("refused"), "code": .text(code), "message": .text(message)]).encoded()
        }
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        var fields = try CBORFields(decoding: bytes, "KeepMessage", limits: CBORLimits(bytesMax: Self.bytesMax))
        switch try fields.text("type", max: 16) {
        case "prove":
            let nonce = try fields.bytes("nonce", max: Self.nonceBytes)
            guard nonce.count == Self.nonceBytes else { throw fields.fault("nonce", "does not have 16 bytes") }
            var shards: [CID] = []
            for item in try fields.array("shards", max: Self.shardsMax) {
                guard case .link(let cid) = item, cid.codec == .dagCBOR else {
                    throw fields.fault("shards", "holds something that is no shard's link")
                }
                shards.append(cid)
            }
            guard !shards.isEmpty else { throw fields.fault("shards", "is empty") }
            self = .prove(nonce: nonce, shards: shards)
        case "proofs":
            var proofs: [Digest?] = []
            for item in try fields.array("proofs", max: Self.shardsMax) {
                switch item {
                case .null: proofs.append(nil)
                case .bytes(let raw):
                    guard let digest = Digest(raw) else { throw fields.fault("proofs", "holds no digest") }
                    proofs.append(digest)
                default: throw fields.fault("proofs", "holds something that is neither a digest nor null")
                }
            }
            self = .proofs(proofs)
        case "refused":
            self = .refused(
                code: try fields.text("code", max: 64), message: try fields.text("message", max: 512))
        default: throw fields.fault("type", "is not a known message")
        }
        try fields.finish()
    }
}
