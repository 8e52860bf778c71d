// Vectors written by the Python package multiformats 0.3.1, and names that every IPFS node knows.

import Primitives
import Testing

@Suite struct CIDTests {
    @Test(arguments: [
        (CID.Codec.dagCBOR, "openledger", "bafyreihwvimvtybhaczjncmo2ow5yodm66cnjjmxjj5qhuzgx76p5ipgbm"),
        (.raw, "hello world", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
        (.dagPB, "hello world", "bafybeifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
    ])
    func foreignVectors(codec: CID.Codec, content: String, text: String) throws {
        let cid = CID(codec, hashing: Array(content.utf8))
        #expect(cid.text == text)
        #expect(try CID(text: text) == cid)
        #expect(try CID(bytes: cid.bytes) == cid)
        #expect(cid.verifies(Array(content.utf8)))
        #expect(!cid.verifies(Array(content.utf8) + [0]))
    }

    /// The empty dag-cbor map and the empty UnixFS directory, as the IPFS documentation names them.
    @Test func namesOfTheField() throws {
        #expect(CID(.dagCBOR, hashing: [0xa0]).text == "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua")
        #expect(
            CID(.dagPB, hashing: bytes("0a020801")).text
                == "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354")
    }

    @Test func binaryMustReject() throws {
        let good = CID(.raw, hashing: [1]).bytes
        #expect(throws: CIDFault.self) { try CID(bytes: []) }
        #expect(throws: CIDFault.self) { try CID(bytes: good.dropLast()) }
        #expect(throws: CIDFault.self) { try CID(bytes: good + [0]) }
        #expect(throws: CIDFault.unsupportedVersion(0)) { try CID(bytes: [0] + good.dropFirst()) }
        #expect(throws: CIDFault.unsupportedVersion(2)) { try CID(bytes: [2] + good.dropFirst()) }
        // CIDv0 is a bare multihash.
        #expect(throws: CIDFault.unsupportedVersion(0x12)) { try CID(bytes: good.dropFirst(2)) }
        #expect(throws: CIDFault.unsupportedCodec(0x72)) { try CID(bytes: [1, 0x72] + good.dropFirst(2)) }
        #expect(throws: CIDFault.unsupportedCodec(0x129)) { try CID(bytes: [1, 0xa9, 0x02] + good.dropFirst(2)) }
        // sha2-512, identity, and sha2-256 cut to 20 bytes
        #expect(throws: CIDFault.unsupportedHash(0x13)) { try CID(bytes: [1, 0x55, 0x13, 64] + repeated(0, 64)) }
        #expect(throws: CIDFault.unsupportedHash(0)) { try CID(bytes: [1, 0x55, 0, 1, 9]) }
        #expect(throws: CIDFault.self) { try CID(bytes: [1, 0x55, 0x12, 20] + repeated(0, 20)) }
        // the same number in two bytes
        #expect(throws: CIDFault.self) { try CID(bytes: [0x81, 0x00] + good.dropFirst()) }
    }

    @Test(arguments: [
        "", "b", "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
        "zb2rhk6GMPQF8p1kqXvhbnCMp2hGfFpHzZn5TgQGYHQtmbT2J",
        "BAFKREIFZJUT3TE2NHYEKKLSS27NH3K72YSCO7Y32KOAO5EEI66WOF36N5E",
        "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5",
        "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5f",
        "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e ", "b\u{0}",
    ])
    func textMustReject(text: String) {
        #expect(throws: CIDFault.self) { try CID(text: text) }
    }

    @Test func orderIsTheOrderOfTheBytes() {
        let cids = (0..<30).map { CID($0.isMultiple(of: 2) ? .raw : .dagCBOR, hashing: [UInt8($0)]) }.sorted()
        #expect(zip(cids, cids.dropFirst()).allSatisfy { $0.bytes.lexicographicallyPrecedes($1.bytes) })
    }
}

@Suite struct PeerIDTests {
    static let text = "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"
    static let key = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"

    @Test func foreignVector() throws {
        let secret = try SigningKey(seed: Array(0..<32))
        #expect(Hex.encode(secret.publicKey.bytes) == Self.key)
        #expect(secret.publicKey.peerID.text == Self.text)
        let peer = try #require(PeerID(text: Self.text))
        #expect(peer.publicKey == secret.publicKey)
        #expect(PeerID(text: "bafzaajaiaejcaa5ba677htqqxyoxbxiy45f4bglh4tldbg5fbvpr3xegmqjfkmny") == peer)
        #expect(AccountID(text: Self.text) == secret.publicKey.account)
        #expect(secret.publicKey.account.text == Self.text)
    }

    @Test func aHashIsANameWithoutAKey() throws {
        let peer = try #require(PeerID(text: "QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC"))
        #expect(Hex.encode(peer.bytes) == "1220d52ebb89d85b02a284948203a62ff28389c57c9f42beec4ec20db76a68911c0b")
        #expect(peer.publicKey == nil)
        #expect(AccountID(text: peer.text) == nil)
    }

    @Test func mustReject() {
        #expect(PeerID(multihash: []) == nil)
        #expect(PeerID(multihash: [0]) == nil)
        #expect(PeerID(multihash: [0x12, 32] + repeated(0, 31)) == nil)
        #expect(PeerID(multihash: [0x12, 31] + repeated(0, 31)) == nil)
        #expect(PeerID(multihash: [0x13, 64] + repeated(0, 64)) == nil)
        #expect(PeerID(multihash: [0x00, 62] + repeated(0, 62)) == nil)
        for text in ["", "1", "12D3KooW", "Qm", Self.text + "1", "0" + Self.text, " " + Self.text, "bafzaa"] {
            #expect(PeerID(text: text) == nil, "\(text)")
        }
    }

    /// A peer ID may carry 32 bytes that are no key; it names nobody's account.
    @Test func anInvalidKeyInsideIsNoKey() throws {
        let peer = try #require(PeerID(multihash: bytes("002408011220") + repeated(0, 32)))
        #expect(peer.publicKey == nil)
    }
}
