// Verdicts on edge cases of Ed25519 where libraries differ (Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs",
// 2020, table 5): every category of that paper, made by an independent program. The verdicts are libsodium's, but for
// keys with a torsion part, which are no keys here. The web page and verify.py have to agree with these.

import Primitives
import Testing

@Suite struct Ed25519Tests {
    // RFC 8032 §7.1
    @Test(arguments: [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ])
    func standardVectors(seed: String, key: String, message: String, signature: String) throws {
        let secret = try SigningKey(seed: bytes(seed))
        #expect(Hex.encode(secret.publicKey.bytes) == key)
        #expect(Hex.encode(secret.sign(bytes(message)).bytes) == signature)
        let parsed = try #require(Signature(bytes(signature)))
        #expect(try PublicKey(bytes(key)).verify(parsed, over: bytes(message)))
        #expect(try !PublicKey(bytes(key)).verify(parsed, over: bytes(message) + [0]))
    }

    struct EdgeCase: Sendable, CustomStringConvertible {
        let description: String
        let key: String
        let message: String
        let signature: String
        let accepted: Bool
    }

    static let plainKey = "88aa55e6afeed8960a3191de78600347db8acd0a3795412f275f049b86260488"
    static let mixedKey = "99555efe5dbf5b50b6fb4d8c38ee05c4ea8a97011c08e11366e8c8c00e8ce5d5"
    static let smallKey = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
    static let smallR = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
    static let mixedR = "607055ca3d4aa8af26961afb12b1e60a75fac88f9c260ff25806631dbb269159"
    static let plainR = "3e54c441927f9f0ee5e13e34f0b0404c5043651a8f4b7ef087a1c42262a85d0a"
    static let looseR = "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
    static let zero = "0000000000000000000000000000000000000000000000000000000000000000"

    static let edgeCases = [
        EdgeCase(
            description: "plain", key: plainKey, message: "6f70656e6c6564676572",
            signature: plainR + "54712dd7373390befa89ff2094de138f58023eb1ca8d89d193f58db2ba86bc0e", accepted: true),
        EdgeCase(
            description: "small A, small R, S = 0", key: smallKey, message: "6f70656e6c65646765722030",
            signature: smallR + zero, accepted: false),
        EdgeCase(
            description: "small A only", key: smallKey, message: "6f70656e6c65646765722032",
            signature: mixedR + "2e77a7db3b2f65a47efd3cf9bbe5f05486e88756c8cc06c7691f6d5679727502", accepted: false),
        EdgeCase(
            description: "small R only", key: mixedKey, message: "6f70656e6c65646765722034",
            signature: smallR + "ee99c39d10cddc7d77fcf99943e1a6314d6e658279971e9736b0b7cb4aa01004", accepted: false),
        EdgeCase(
            description: "mixed A and R, the equation holds without the cofactor", key: mixedKey,
            message: "6f70656e6c65646765722034",
            signature: mixedR + "336170a606699d71cf1cd0101408430aba19dcca6671da2640b77b1cf744a802", accepted: false),
        EdgeCase(
            description: "mixed A and R, the equation holds only with the cofactor", key: mixedKey,
            message: "6f70656e6c65646765722030",
            signature: mixedR + "25d4e36bb2f34677f5ecc70f784fcf1f7117c09190d51d3881b66f31a5c62d08", accepted: false),
        EdgeCase(
            description: "S + L", key: plainKey, message: "6f70656e6c6564676572",
            signature: plainR + "414523345296a216d126f7c372d8f2a358023eb1ca8d89d193f58db2ba86bc1e", accepted: false),
        EdgeCase(
            description: "S + 8 L", key: plainKey, message: "6f70656e6c6564676572",
            signature: plainR + "bc10dcbe0a4c237fad70bc3889ad0b3659023eb1ca8d89d193f58db2ba86bc8e", accepted: false),
        EdgeCase(
            description: "S + 15 L", key: plainKey, message: "6f70656e6c6564676572",
            signature: plainR + "37dc9449c301a4e789ba81ad9f8224c859023eb1ca8d89d193f58db2ba86bcfe", accepted: false),
        EdgeCase(
            description: "R not canonical, hashed as sent", key: plainKey, message: "6f70656e6c65646765722030",
            signature: looseR + "4f95e411dc6fa23bffc9904e91a2aa4b434acd03f5a073dea2539e1ac0f7d001", accepted: false),
        EdgeCase(
            description: "R not canonical, hashed reduced", key: plainKey, message: "6f70656e6c65646765722030",
            signature: looseR + "a2650a51ddcae1bfac258d80ac7a5387cd0faa65b2f77cc6135deca3c2a3fc02", accepted: false),
        EdgeCase(
            description: "A not canonical", key: looseR, message: "6f70656e6c65646765722030",
            signature: plainR + "2e77a7db3b2f65a47efd3cf9bbe5f05486e88756c8cc06c7691f6d5679727502", accepted: false),
        EdgeCase(
            description: "A is the identity with the sign bit set",
            key: "0100000000000000000000000000000000000000000000000000000000000080",
            message: "6f70656e6c65646765722030",
            signature: plainR + "2e77a7db3b2f65a47efd3cf9bbe5f05486e88756c8cc06c7691f6d5679727502", accepted: false),
    ]

    @Test(arguments: edgeCases)
    func verdicts(edge: EdgeCase) throws {
        let signature = try #require(Signature(bytes(edge.signature)))
        let verdict = (try? PublicKey(bytes(edge.key)))?.verify(signature, over: bytes(edge.message)) ?? false
        #expect(verdict == edge.accepted)
    }

    /// The eight points of small order, and encodings of y at or above p.
    @Test(arguments: [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "f1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        // no point of the curve has y = 2
        "0200000000000000000000000000000000000000000000000000000000000000",
        // a point with a torsion part
        mixedKey,
    ])
    func keysThatAreNoKeys(key: String) {
        #expect(throws: KeyFault.invalidPoint) { try PublicKey(bytes(key)) }
        #expect(throws: KeyFault.invalidPoint) { try AccountID(bytes(key)) }
    }

    @Test func lengths() throws {
        #expect(throws: KeyFault.wrongLength(expected: 32, got: 31)) { try PublicKey(repeated(1, 31)) }
        #expect(throws: KeyFault.wrongLength(expected: 32, got: 33)) { try SigningKey(seed: repeated(1, 33)) }
        #expect(Signature(repeated(0, 63)) == nil)
        #expect(Signature(repeated(0, 65)) == nil)
        #expect(Signature(bytes("00") + repeated(7, 63))?.bytes == [0] + repeated(7, 63))
    }

    @Test func aKeyDoesNotPrintItsSecret() throws {
        let secret = try SigningKey(seed: Array(0..<32))
        #expect(!"\(secret)".contains(Hex.encode(secret.seed)))
        #expect("\(secret)".contains(secret.publicKey.peerID.text))
    }

    @Test func aSignatureServesOneDomainAndOneNetwork() throws {
        let network = NetworkID(Digest(sha256: [1]))
        let other = NetworkID(Digest(sha256: [2]))
        let payload: [UInt8] = [0xa0]
        var seen: Set<[UInt8]> = [signedBytes(.receipt, network: other, payload: payload)]
        for domain in Domain.allCases {
            #expect(seen.insert(signedBytes(domain, network: network, payload: payload)).inserted)
        }
        #expect(
            signedBytes(.vote, network: network, payload: payload)
                == Array("openledger/1/vote\n".utf8) + network.bytes + payload)
    }

    @Test func orderIsTheOrderOfTheBytes() throws {
        let keys = try (0..<20).map { try SigningKey(seed: repeated(UInt8($0), 32)).publicKey }
        let sorted = keys.sorted()
        #expect(zip(sorted, sorted.dropFirst()).allSatisfy { $0.bytes.lexicographicallyPrecedes($1.bytes) })
        #expect(keys.map(\.account).sorted().map(\.bytes) == sorted.map(\.bytes))
    }
}
