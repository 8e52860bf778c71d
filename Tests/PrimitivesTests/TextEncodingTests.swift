// Vectors: draft-msporny-base58 §5, RFC 4648 §10, and values written by Python's base58 and base64.

import Primitives
import Testing

@Suite struct TextEncodingTests {
    @Test(arguments: [
        ("", "", "", ""),
        ("00", "1", "aa", "AA=="),
        ("000001", "112", "aaaac", "AAAB"),
        ("48656c6c6f20576f726c6421", "2NEpo7TZRRrLZSi2U", "jbswy3dpeblw64tmmqqq", "SGVsbG8gV29ybGQh"),
        ("0000287fb4cd", "11233QC4", "aaacq75uzu", "AAAof7TN"),
        (
            "54686520717569636b2062726f776e20666f78206a756d7073206f76657220746865206c617a7920646f672e",
            "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z",
            "krugkidrovuwg2zamjzg653oebtg66banj2w24dtebxxmzlseb2gqzjanrqxu6jamrxwolq",
            "VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZy4="
        ),
    ])
    func foreignVectors(hex: String, base58: String, base32: String, base64: String) {
        let content = bytes(hex)
        #expect(Hex.encode(content) == hex)
        #expect(Base58.encode(content) == base58)
        #expect(Base58.decode(base58) == content)
        #expect(Base32.encode(content) == base32)
        #expect(Base32.decode(base32) == content)
        #expect(Base64.encode(content) == base64)
        #expect(Base64.decode(base64) == content)
    }

    @Test(arguments: ["0", "O", "I", "l", "1 1", "é", "+"])
    func foreignCharactersInBase58(text: String) { #expect(Base58.decode(text) == nil) }

    /// Upper case, padding, lengths that no encoder makes, and bits that an encoder leaves zero.
    @Test(arguments: ["AA", "aa======", "a", "aaa", "aaaaaa", "ab", "aaaab", "a1", "a8", "aa aa"])
    func looseBase32(text: String) { #expect(Base32.decode(text) == nil) }

    @Test(arguments: ["AA", "A===", "AB==", "AAB=", "AA=A", "====", "AA==AA==", "A-A_", "AAAA=", " AAA"])
    func looseBase64(text: String) { #expect(Base64.decode(text) == nil) }

    @Test(arguments: ["0", "0g", "0x", "é0", " 00"])
    func looseHexadecimal(text: String) { #expect(Hex.decode(text) == nil) }

    @Test func aLongBase58TextIsNotComputed() {
        #expect(Base58.decode(String(repeating: "z", count: 100_000)) == nil)
    }

    @Test func everyShortByteStringSurvives() {
        var random = SeededRandom(seed: 1)
        for length in 0..<70 {
            let content = random.bytes(length)
            #expect(Base58.decode(Base58.encode(content)) == content)
            #expect(Base32.decode(Base32.encode(content)) == content)
            #expect(Base64.decode(Base64.encode(content)) == content)
            #expect(Hex.decode(Hex.encode(content)) == content)
        }
    }
}
