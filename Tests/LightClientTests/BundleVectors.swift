// The vectors of Protocol/Vectors/swift: what a verifier must accept, and what it must reject with which checks
// failing.

import Ledger
import LightClient
import Primitives

struct BundleVector: Sendable {
    let name: String
    let bytes: [UInt8]
    let checkpoint: Checkpoint
    let now: WallTime
    /// The names of the checks that fail.
    let fails: [String]

    init(_ name: String, _ bytes: [UInt8], _ checkpoint: Checkpoint, now: WallTime = BundleScene.now) {
        self.name = name
        self.bytes = bytes
        self.checkpoint = checkpoint
        self.now = now
        fails = BundleVerifier.verify(bytes, checkpoint: checkpoint, now: now).filter { !$0.passed }
            .map(\.check.rawValue)
    }

    func json(folder: String) -> JSONValue {
        .object([
            "file": .string("\(folder)/\(name).cbor"), "network": .string(checkpoint.network.text),
            "checkpoint": .string(checkpoint.committee.hex),
            "checkpointTime": checkpoint.time.map { .integer($0.milliseconds) } ?? .null,
            "maxAge": .integer(checkpoint.ageMillisecondsMax), "now": .integer(now.milliseconds),
            "fails": .strings(fails),
        ])
    }
}

enum BundleVectors {
    static let valid = Result { try makeValid() }
    static let mustReject = Result { try makeMustReject() }

    private static func makeValid() throws -> [BundleVector] {
        let scene = try BundleScene()
        let one = try BundleScene(sizes: [1])
        let large = try BundleScene(sizes: [32, 4])
        let bundle = try scene.bundle()
        var later = bundle
        // Certified in a later view than the one it was proposed in.
        let vote = Vote(
            kind: .finalize, height: bundle.header.height, view: bundle.header.view + 4,
            digestVoted: bundle.header.digest)
        later.certificate = Certificate(
            vote: vote, signers: bundle.certificate.signers,
            signatures: [scene.keys[2][0].sign(vote.signingBytes(network: scene.network))])
        let recent = Checkpoint(
            network: scene.network, committee: scene.committees[1].digest,
            time: BundleScene.now.adding(milliseconds: -1000))
        let plain = try scene.bundle { receipt in receipt.data = .none }
        return [
            BundleVector("three-epochs", bundle.encoded(), scene.checkpoint),
            BundleVector("one-member", try one.bundle().encoded(), one.checkpoint),
            BundleVector("thirty-two-members", try large.bundle().encoded(), large.checkpoint),
            BundleVector("later-view", later.encoded(), scene.checkpoint),
            BundleVector("checkpoint-on-the-way", bundle.encoded(), recent),
            BundleVector("no-data-of-others", plain.encoded(), scene.checkpoint),
        ]
    }

    private static func makeMustReject() throws -> [BundleVector] {
        let scene = try BundleScene()
        let good = try scene.bundle()
        let checkpoint = scene.checkpoint
        var vectors: [BundleVector] = []
        func add(_ name: String, _ bundle: ReceiptBundle) {
            vectors.append(BundleVector(name, bundle.encoded(), checkpoint))
        }
        func add(_ name: String, _ change: (inout ReceiptBundle) throws -> Void) rethrows {
            var bundle = good
            try change(&bundle)
            add(name, bundle)
        }
        func flipped(_ signature: Signature) -> Signature {
            var bytes = signature.bytes
            bytes[40] ^= 1
            return Signature(bytes) ?? signature
        }

        // Honest in form, wrong in substance, properly signed and certified.
        add("price", try scene.bundle { $0.amount = try $0.amount.adding(Amount(baseUnits: 1)) })
        add("total-below-amount", try scene.bundle { $0.total = .zero })
        add(
            "weights-sum",
            try scene.bundle {
                let contributors = $0.data.contributors
                $0.data.contributors[0] = Contributor(account: contributors[0].account, share: PartsPerMillion(1))
            })
        add("weights-order", try scene.bundle { $0.data.contributors.reverse() })
        add("weights-without-rows", try scene.bundle { $0.data.rows = nil })
        add("other-network", try scene.bundle { $0.network = NetworkID(.zero) })

        // Signatures.
        add("server-signature") { $0.receipt.serverSignature = flipped($0.receipt.serverSignature) }
        add("payer-signature") { $0.receipt.payerSignature = flipped($0.receipt.payerSignature) }
        add("signatures-swapped") {
            $0.receipt = SignedReceipt(
                receipt: $0.receipt.receipt, serverSignature: $0.receipt.payerSignature,
                payerSignature: $0.receipt.serverSignature)
        }
        add("signature-small-order") {
            $0.receipt.serverSignature = Signature([1] + [UInt8](repeating: 0, count: 63)) ?? $0.receipt.serverSignature
        }
        add("signature-scalar-not-reduced") {
            $0.receipt.serverSignature = plusOrder($0.receipt.serverSignature)
        }

        // Inclusion.
        add("proof-index") { $0.proof = MerkleProof(index: 3, count: $0.proof.count, path: $0.proof.path) }
        add("proof-count") { $0.proof = MerkleProof(index: 2, count: 6, path: $0.proof.path) }
        add("proof-path") {
            $0.proof = MerkleProof(
                index: $0.proof.index, count: $0.proof.count, path: $0.proof.path.dropLast() + [.zero])
        }
        add("proof-short") {
            $0.proof = MerkleProof(index: $0.proof.index, count: $0.proof.count, path: $0.proof.path.dropLast())
        }

        // Certificates.
        let four = try BundleScene(sizes: [4])
        let ofFour = try four.bundle()
        func addFour(_ name: String, _ certificate: Certificate) {
            var bundle = ofFour
            bundle.certificate = certificate
            vectors.append(BundleVector(name, bundle.encoded(), four.checkpoint))
        }
        addFour("quorum-short", four.certify(ofFour.header, epoch: 0, by: [four.keys[0][0], four.keys[0][1]]))
        let full = ofFour.certificate
        addFour(
            "signer-twice",
            Certificate(
                vote: full.vote, signers: full.signers,
                signatures: full.signatures.dropLast() + [full.signatures[0]]))
        addFour(
            "signature-missing",
            Certificate(vote: full.vote, signers: full.signers, signatures: full.signatures.dropLast()))
        addFour(
            "signer-unknown",
            Certificate(vote: full.vote, signers: [0x1f], signatures: full.signatures + [full.signatures[0]]))
        addFour(
            "signer-bits-long", Certificate(vote: full.vote, signers: full.signers + [0], signatures: full.signatures))
        addFour("notarization", four.certify(ofFour.header, epoch: 0, kind: .notarize))
        let early = Vote(
            kind: .finalize, height: full.vote.height, view: ofFour.header.view - 1, digestVoted: full.vote.digestVoted)
        addFour(
            "view-before-header",
            Certificate(
                vote: early, signers: full.signers,
                signatures: four.committees[0].members.compactMap { member in
                    four.keys[0].first { $0.publicKey == member.key }?.sign(early.signingBytes(network: four.network))
                }))

        // Hand-overs.
        add("handover-missing") { $0.handovers.removeFirst() }
        add("handover-last-missing") { $0.handovers.removeLast() }
        add("handover-quorum-short") {
            let last = $0.handovers[1]
            let certificate = scene.certify(last.header, epoch: 1, by: Array(scene.keys[1][0..<3]))
            $0.handovers[1] = Handover(header: last.header, certificate: certificate, next: last.next)
        }
        try add("handover-other-committee") {
            let stranger = BundleScene.key("stranger")
            let next = try Committee(
                epoch: 2, members: [Member(account: stranger.publicKey.account, key: stranger.publicKey, seats: 1)])
            $0.handovers[1] = Handover(
                header: $0.handovers[1].header, certificate: $0.handovers[1].certificate, next: next)
        }
        let elsewhere = Checkpoint(network: scene.network, committee: Digest(sha256: [1]), time: nil)
        vectors.append(BundleVector("other-checkpoint", good.encoded(), elsewhere))
        let foreign = Checkpoint(network: NetworkID(.zero), committee: checkpoint.committee, time: nil)
        vectors.append(BundleVector("other-network-asked", good.encoded(), foreign))

        // Time.
        let old = Checkpoint(
            network: scene.network, committee: checkpoint.committee,
            time: BundleScene.now.adding(milliseconds: -Checkpoint.ageMillisecondsMax - 1))
        vectors.append(BundleVector("stale-checkpoint", good.encoded(), old))
        vectors.append(
            BundleVector(
                "from-the-future", good.encoded(), checkpoint,
                now: good.header.time.adding(milliseconds: -10_001)))

        vectors += fieldTampers(good.cbor, checkpoint)
        vectors += malformed(good, checkpoint)
        return vectors
    }

    /// Each field of the receipt, its parts and the header changed by one, alone.
    private static func fieldTampers(_ bundle: CBOR, _ checkpoint: Checkpoint) -> [BundleVector] {
        var vectors: [BundleVector] = []
        for path in [
            ["receipt", "receipt"], ["receipt", "receipt", "model"], ["receipt", "receipt", "price"], ["header"],
        ] {
            guard case .entries(let entries) = path.reduce(bundle, { $0.child($1) }) else { continue }
            for entry in entries {
                guard let value = entry.value.nudged else { continue }
                let name = (["field"] + path.drop { $0 == "receipt" } + [entry.key]).joined(separator: "-")
                let tampered = bundle.replacing(path + [entry.key], with: value)
                vectors.append(BundleVector(path.count == 1 ? name : "\(name)-receipt", tampered.encoded(), checkpoint))
            }
        }
        return vectors
    }

    private static func malformed(_ bundle: ReceiptBundle, _ checkpoint: Checkpoint) -> [BundleVector] {
        let value = bundle.cbor
        let bytes = value.encoded()
        func vector(_ name: String, _ bytes: [UInt8]) -> BundleVector { BundleVector(name, bytes, checkpoint) }
        func entries(_ change: (inout [CBOREntry]) -> Void) -> [UInt8] {
            guard case .entries(var entries) = value else { return [] }
            change(&entries)
            return CBOR.entries(entries).encoded()
        }
        var longHead = bytes
        longHead.replaceSubrange(0..<1, with: [0xb8, bytes[0] & 31])
        let smallOrder: [UInt8] = [1] + [UInt8](repeating: 0, count: 31)
        let notCanonicalKey: [UInt8] = [0xee] + [UInt8](repeating: 0xff, count: 30) + [0x7f]
        return [
            vector("empty", []),
            vector("truncated", bytes.dropLast()),
            vector("trailing-byte", bytes + [0]),
            vector("head-not-shortest", longHead),
            vector("indefinite-map", [0xbf] + bytes.dropFirst() + [0xff]),
            vector("keys-out-of-order", entries { $0.swapAt(0, 1) }),
            vector("key-twice", entries { $0.insert($0[0], at: 0) }),
            vector("unknown-field", entries { $0.append(CBOREntry("zzzzzzzzzzzz", .null)) }),
            vector("field-missing", entries { $0.removeLast() }),
            vector("version-unknown", value.replacing(["v"], with: .unsigned(2)).encoded()),
            vector(
                "server-key-small-order",
                value.replacing(["receipt", "receipt", "serverKey"], with: .bytes(smallOrder)).encoded()),
            vector(
                "payer-key-not-canonical",
                value.replacing(["receipt", "receipt", "payerKey"], with: .bytes(notCanonicalKey)).encoded()),
            vector(
                "amount-leading-zero",
                value.replacing(["receipt", "receipt", "amount"], with: .bytes([0, 1])).encoded()),
            vector(
                "null-for-number", value.replacing(["receipt", "receipt", "sequence"], with: .null).encoded()),
        ]
    }

    /// The same scalar in another encoding: s + L.
    private static func plusOrder(_ signature: Signature) -> Signature {
        let order = Hex.decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010") ?? []
        var bytes = signature.bytes
        var carry = 0
        for (index, digit) in order.enumerated() {
            let sum = Int(bytes[32 + index]) + Int(digit) + carry
            bytes[32 + index] = UInt8(truncatingIfNeeded: sum)
            carry = sum >> 8
        }
        return Signature(bytes) ?? signature
    }
}

extension CBOR {
    func child(_ key: String) -> CBOR {
        guard case .entries(let entries) = self else { return .null }
        return entries.first { $0.key == key }?.value ?? .null
    }

    func replacing(_ path: [String], with value: CBOR) -> CBOR {
        guard let key = path.first else { return value }
        guard case .entries(let entries) = self else { return self }
        return .entries(
            entries.map {
                $0.key == key ? CBOREntry(key, $0.value.replacing(Array(path.dropFirst()), with: value)) : $0
            })
    }

    /// Another value of the same kind; nil for containers.
    var nudged: CBOR? {
        switch self {
        case .unsigned(let value): .unsigned(value + 1)
        case .negative(let value): .negative(value + 1)
        case .bytes(let bytes): bytes.isEmpty ? .bytes([1]) : .bytes(bytes.dropLast() + [bytes[bytes.count - 1] ^ 1])
        case .text(let text): .text(text + "x")
        case .link(let cid): .link(CID(cid.codec, digest: Digest(sha256: cid.bytes)))
        case .bool(let flag): .bool(!flag)
        case .array, .entries, .null: nil
        }
    }
}
