// The election beacon: a chain of hashes that every proposer lengthens by one verifiable random output of his own key,
// so that it is known to all and chosen by none. Committees and leaders are drawn from it.

package import Ledger
package import Primitives

/// One proposer's step of the beacon.
package struct BeaconStep: Hashable, Sendable {
    package let beacon: Digest
    package let proof: VRFProof
}

package enum Beacon {
    private static let tag = Array("openledger/1/beacon\n".utf8)

    /// What the proposer of the batch after `parent` proves: he has exactly one output for it.
    package static func alpha(after parent: Header) -> [UInt8] {
        tag + parent.network.bytes + parent.beacon.bytes + (parent.height &+ 1).bigEndianBytes
    }

    package static func step(after parent: Header, key: SigningKey) -> BeaconStep {
        let alpha = alpha(after: parent)
        let proof = VRF.prove(key: key, alpha: alpha)
        guard let output = VRF.verify(publicKey: key.publicKey, alpha: alpha, proof: proof) else {
            preconditionFailure("a proof of ours verifies")
        }
        return BeaconStep(beacon: next(parent.beacon, output), proof: proof)
    }

    /// Whether `header` carries the one beacon that the holder of `key` could make after `parent`.
    package static func isStep(_ header: Header, after parent: Header, key: PublicKey) -> Bool {
        guard let proof = header.beaconProof,
            let output = VRF.verify(publicKey: key, alpha: alpha(after: parent), proof: proof)
        else { return false }
        return header.beacon == next(parent.beacon, output)
    }

    private static func next(_ beacon: Digest, _ output: VRFOutput) -> Digest {
        Digest(sha256Of: [tag, beacon.bytes, output.bytes])
    }
}

/// Who proposes in which view of an epoch: drawn by seats from the beacon at the epoch's start, known to all of it.
package struct LeaderSchedule: Hashable, Sendable {
    package let committee: Committee
    /// The beacon of the last header before the epoch.
    package let seed: Digest

    package init(committee: Committee, seed: Digest) {
        self.committee = committee
        self.seed = seed
    }

    package func leader(of view: UInt64) -> Member {
        let draw = Digest(sha256Of: [Array("openledger/1/leader\n".utf8), seed.bytes, view.bigEndianBytes])
        // Eight bytes modulo at most 64 seats: the bias is below 2^-57.
        var seat = draw.bytes.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) } % committee.seats
        for member in committee.members {
            if seat < member.seats { return member }
            seat -= member.seats
        }
        preconditionFailure("a committee's seats are the sum of its members' seats")
    }
}

/// Views are numbered for the life of the network, so that votes of two epochs never meet: epoch e has the views from
/// e * 10^9 + 1 on.
package enum Views {
    package static let perEpoch: UInt64 = 1_000_000_000

    /// The number before the first view of `epoch`.
    package static func base(ofEpoch epoch: UInt64) -> UInt64 {
        let (product, overflow) = epoch.multipliedReportingOverflow(by: perEpoch)
        precondition(!overflow, "epochs advance one by one")
        return product
    }

    package static func epoch(of view: UInt64) -> UInt64 { view / perEpoch }
}

extension UInt64 {
    var bigEndianBytes: [UInt8] {
        stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: self >> UInt64($0)) }
    }
}
