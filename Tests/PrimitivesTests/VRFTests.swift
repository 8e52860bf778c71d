import Primitives
import Testing

/// RFC 9381 appendix B.3, examples 16 to 18.
private struct VRFExample: Sendable {
    let seed, publicKey, alpha, proof, output: String

    static let all = [
        VRFExample(
            seed: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            publicKey: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            alpha: "",
            proof: "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f"
                + "26f8a57ccaed74ee1b190bed1f479d9727d2d0f9b005a6e456a35d4fb0daab12"
                + "68a1b0db10836d9826a528ca76567805",
            output: "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff"
                + "66b71dda49d2de59d03450451af026798e8f81cd2e333de5cdf4f3e140fdd8ae"),
        VRFExample(
            seed: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            publicKey: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            alpha: "72",
            proof: "f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed593"
                + "3bf0864a62558b3ed7f2fea45c92a465301b3bbf5e3e54ddf2d935be3b67926d"
                + "a3ef39226bbc355bdc9850112c8f4b02",
            output: "eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb"
                + "5e33821bc613efb94db5e5b54c70a848a0bef4553a41befc57663b56373a5031"),
        VRFExample(
            seed: "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            publicKey: "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            alpha: "af82",
            proof: "9bc0f79119cc5604bf02d23b4caede71393cedfbb191434dd016d30177ccbf80"
                + "96bb474e53895c362d8628ee9f9ea3c0e52c7a5c691b6c18c9979866568add7a"
                + "2d41b00b05081ed0f58ee5e31b3a970e",
            output: "645427e5d00c62a23fb703732fa5d892940935942101e456ecca7bb217c61c45"
                + "2118fec1219202a0edcf038bb6373241578be7217ba85a2687f7a0310b2df19f"),
    ]
}

@Suite struct VRFTests {
    private func key(_ fill: UInt8) throws -> SigningKey {
        try SigningKey(seed: [UInt8](repeating: fill, count: 32))
    }

    @Test(arguments: VRFExample.all)
    private func examplesOfRFC9381(example: VRFExample) throws {
        let key = try SigningKey(seed: #require(Hex.decode(example.seed)))
        let alpha = try #require(Hex.decode(example.alpha))
        #expect(Hex.encode(key.publicKey.bytes) == example.publicKey)
        let proof = VRF.prove(key: key, alpha: alpha)
        #expect(Hex.encode(proof.bytes) == example.proof)
        let output = VRF.verify(publicKey: key.publicKey, alpha: alpha, proof: proof)
        #expect(output.map { Hex.encode($0.bytes) } == example.output)
    }

    @Test func anyOtherKeyInputOrByteProvesNothing() throws {
        let key = try key(7)
        let alpha: [UInt8] = [1, 2, 3]
        let proof = VRF.prove(key: key, alpha: alpha)
        #expect(VRF.verify(publicKey: key.publicKey, alpha: alpha, proof: proof) != nil)
        #expect(VRF.verify(publicKey: try self.key(8).publicKey, alpha: alpha, proof: proof) == nil)
        #expect(VRF.verify(publicKey: key.publicKey, alpha: [1, 2, 4], proof: proof) == nil)
        for index in 0..<VRFProof.byteCount {
            var bytes = proof.bytes
            bytes[index] ^= 1 << UInt8(index & 7)
            let altered = try #require(VRFProof(bytes))
            #expect(VRF.verify(publicKey: key.publicKey, alpha: alpha, proof: altered) == nil, "byte \(index)")
        }
    }

    @Test func lengthsAreExact() {
        #expect(VRFProof([UInt8](repeating: 0, count: 79)) == nil)
        #expect(VRFProof([UInt8](repeating: 0, count: 81)) == nil)
        #expect(VRFProof([UInt8](repeating: 0, count: 80)) != nil)
    }

    /// s + L is the same scalar in another encoding: a second proof for one input if it were taken.
    @Test func scalarNotReducedIsRefused() throws {
        let order = try #require(Hex.decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010"))
        let key = try key(9)
        let proof = VRF.prove(key: key, alpha: [5])
        var bytes = proof.bytes
        var carry = 0
        for index in 0..<32 {
            let sum = Int(bytes[48 + index]) + Int(order[index]) + carry
            bytes[48 + index] = UInt8(truncatingIfNeeded: sum)
            carry = sum >> 8
        }
        #expect(carry == 0)
        #expect(VRF.verify(publicKey: key.publicKey, alpha: [5], proof: try #require(VRFProof(bytes))) == nil)
    }

    @Test(arguments: [
        "0100000000000000000000000000000000000000000000000000000000000000",  // the identity
        "0000000000000000000000000000000000000000000000000000000000000000",  // order 4
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  // order 2
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",  // order 8
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  // the identity, not canonical
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  // zero, not canonical
    ])
    func smallOrderGammaIsRefused(hex: String) throws {
        let key = try key(3)
        let gamma = try #require(Hex.decode(hex))
        let honest = VRF.prove(key: key, alpha: []).bytes
        let proof = try #require(VRFProof(gamma + Array(honest[32..<80])))
        #expect(VRF.verify(publicKey: key.publicKey, alpha: [], proof: proof) == nil)
        let empty = try #require(VRFProof(gamma + [UInt8](repeating: 0, count: 48)))
        #expect(VRF.verify(publicKey: key.publicKey, alpha: [], proof: empty) == nil)
    }

    @Test func outputsOfManyInputsDiffer() throws {
        let key = try key(1)
        var seen: Set<VRFOutput> = []
        for index in UInt8(0)..<32 {
            let proof = VRF.prove(key: key, alpha: [index])
            let output = try #require(VRF.verify(publicKey: key.publicKey, alpha: [index], proof: proof))
            #expect(output.bytes.count == VRFOutput.byteCount)
            seen.insert(output)
        }
        #expect(seen.count == 32)
    }
}
