import Ledger
import Primitives
import Testing

@Suite struct CodecTests {
    /// One of each object, its bytes, and a reader of them.
    static func samples() throws -> [(name: String, bytes: [UInt8], read: ([UInt8]) throws -> [UInt8])] {
        func sample<Object: ChainObject>(_ object: Object) -> (String, [UInt8], ([UInt8]) throws -> [UInt8]) {
            ("\(Object.self)", object.encoded(), { bytes in try Object(decoding: bytes).encoded() })
        }
        let world = try World()
        let key = World.key("server")
        let vote = Vote(kind: .finalize, height: 3, view: 4, digestVoted: world.header.digest)
        let signed = SignedVote(vote, by: key, network: world.network)
        let other = SignedVote(
            Vote(kind: .nullify, height: 3, view: 4, digestVoted: .zero), by: key, network: world.network)
        let receipt = world.sign(world.receipt(AllowanceID(.zero)))
        let voucher = SignedVoucher(
            Voucher(allowance: AllowanceID(.zero), sequence: 1, total: .one, tokens: 64, request: .zero),
            payer: key, network: world.network)
        let grant = KeyGrant(key, for: World.account("server"), as: .signer, network: world.network)
        let actions: [Action] = [
            .transfer(to: World.account("b"), amount: .one),
            .openAllowance(server: World.account("b"), limit: .one, expiry: 9), .closeAllowance(AllowanceID(.zero)),
            .settleVoucher(voucher), .stake(.one), .unstake(.one), .claim, .registerCandidate(grant),
            .liveness(epoch: 3), .delegate(owner: nil, signer: grant, payer: nil, payout: World.account("b")),
            .registerAsset(World.model, kind: .datanet),
            .evidence(accused: World.account("server"), first: signed, second: other), .faucet,
        ]
        let transactions = actions.map { world.transaction("server", $0) }
        let certificate = try #require(
            Certificate(
                vote: vote,
                signatures: ["server", "b", "c", "d"].map {
                    (World.key($0).publicKey, World.key($0).sign(vote.signingBytes(network: world.network)))
                }, committee: world.genesis.committee))
        let next = try Committee(epoch: 1, members: world.genesis.committee.members)
        let batch = Batch(
            header: world.header, contents: BatchContents(transactions: transactions, receipts: [receipt], next: next))
        var header = world.header
        header.next = next.digest
        header.beaconProof = VRF.prove(key: key, alpha: [1])
        let proof = try SparseMerkleTree.proof(of: .chain, root: world.state.stateRoot, reader: world.state)
        return transactions.map { sample($0) } + [
            sample(vote), sample(signed), sample(receipt), sample(receipt.receipt), sample(voucher),
            sample(certificate), sample(next), sample(header), sample(batch), sample(world.genesis), sample(proof),
            sample(Handover(header: header, certificate: certificate, next: next)),
            sample(CertifiedBatch(batch: batch, certificate: certificate)),
        ]
    }

    @Test func everyObjectReadsBackToTheSameBytes() throws {
        for (name, bytes, read) in try Self.samples() {
            let again = try read(bytes)
            #expect(again == bytes, "\(name)")
        }
    }

    @Test func whatIsCutLongerOrMadeLargerIsRefused() throws {
        for (name, bytes, read) in try Self.samples() {
            #expect(throws: CBORFault.self, "\(name) cut") { try read(Array(bytes.dropLast())) }
            #expect(throws: CBORFault.self, "\(name) longer") { try read(bytes + [0]) }
            #expect(throws: CBORFault.self, "\(name) empty") { try read([]) }
        }
        let huge = [UInt8](repeating: 0, count: SignedReceipt.bytesMax + 1)
        #expect(throws: CBORFault.tooLarge(huge.count)) { try SignedReceipt(decoding: huge) }
    }

    @Test func anUnknownOrMissingKeyIsRefused() throws {
        for (name, bytes, read) in try Self.samples() {
            guard case .entries(let entries) = try CBOR.decode(bytes) else { continue }
            let pairs = entries.map { ($0.key, $0.value) }
            #expect(throws: CBORFault.self, "\(name) with one more") {
                try read(CBOR.map(pairs + [("zz", .unsigned(1))]).encoded())
            }
            for index in pairs.indices where !["next", "beaconProof", "leaf", "faucet"].contains(pairs[index].0) {
                var fewer = pairs
                let gone = fewer.remove(at: index)
                #expect(throws: CBORFault.self, "\(name) without \(gone.0)") { try read(CBOR.map(fewer).encoded()) }
            }
        }
    }

    @Test func aByteChangedAnywhereIsRefusedOrReadsBackAsItself() throws {
        var random = SeededRandom(seed: 1)
        for (name, bytes, read) in try Self.samples() {
            for _ in 0..<25 {
                var spoiled = bytes
                spoiled[Int(random.below(UInt64(bytes.count)))] ^= UInt8(1 << random.below(8))
                if let again = try? read(spoiled) { #expect(again == spoiled, "\(name)") }
            }
        }
    }

    @Test func keysOutOfOrderAndLongIntegersAreRefused() throws {
        let world = try World()
        let vote = Vote(kind: .nullify, height: 3, view: 4, digestVoted: .zero)
        let bytes = vote.encoded()
        // {"v": 1, …}: the version is the first key, in its shortest form.
        #expect(Array(bytes.prefix(4)) == [0xa5, 0x61, 0x76, 0x01])
        let long = [0xa5, 0x61, 0x76, 0x18, 0x01] + bytes.dropFirst(4)
        #expect(throws: CBORFault.self) { try Vote(decoding: Array(long)) }
        let swapped = [0xa5] + bytes.dropFirst(4) + [0x61, 0x76, 0x01]
        #expect(throws: CBORFault.self) { try Vote(decoding: Array(swapped)) }
        #expect(throws: CBORFault.self, "a nullify with a digest") {
            try Vote(
                cbor: .map([
                    "v": .unsigned(1), "kind": .text("nullify"), "height": .unsigned(1), "view": .unsigned(1),
                    "digest": .digest(world.header.digest),
                ]))
        }
    }

    @Test func aReceiptOfAnotherVersionIsNamedSo() throws {
        let world = try World()
        let signed = world.sign(world.receipt(AllowanceID(.zero)))
        #expect(try SignedReceipt.read(signed.encoded()) == signed)
        guard case .entries(let inner) = signed.receipt.cbor else { return }
        let version2 = inner.map { ($0.key, $0.key == "v" ? CBOR.unsigned(2) : $0.value) }
        let bytes = CBOR.map([
            "receipt": .map(version2), "serverSignature": .signature(signed.serverSignature),
            "payerSignature": .signature(signed.payerSignature),
        ]).encoded()
        #expect(throws: ReceiptFault.unknownVersion(2)) { try SignedReceipt.read(bytes) }
    }

    /// A batch near its limits has more values than the decoder's default bound.
    @Test func aFullBatchReadsBack() throws {
        let world = try World()
        let receipts = [SignedReceipt](repeating: world.sign(world.receipt(AllowanceID(.zero))), count: 2048)
        let batch = Batch(header: world.header, contents: BatchContents(receipts: receipts))
        #expect(throws: CBORFault.self) { try CBOR.decode(batch.encoded()) }
        #expect(try Batch(decoding: batch.encoded()) == batch)
    }

    @Test func stateValuesReadBackToTheSameBytes() throws {
        var world = try World()
        _ = try world.openAllowance()
        try world.commit([world.transaction("server", .unstake(.one))])
        for (_, bytes) in world.state.values.sorted(by: { $0.key < $1.key }) {
            #expect(try StateValue(decoding: bytes).encoded() == bytes)
        }
    }
}
