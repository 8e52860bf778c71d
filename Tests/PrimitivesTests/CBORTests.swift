// DAG-CBOR. Valid vectors were written by the Python package dag-cbor 0.3.3; the must-reject list follows the IPLD
// DAG-CBOR specification's strictness section and RFC 8949 appendix F.

import Primitives
import Testing

@Suite struct CBORTests {
    static let link = CID(.dagCBOR, hashing: Array("openledger".utf8))

    static let foreign: [(CBOR, String)] = [
        (.map([]), "a0"),
        (.array([]), "80"),
        (.map(["b": .unsigned(1), "aa": .unsigned(2), "a": .unsigned(3), "": .null]), "a460f661610361620162616102"),
        (
            .map([
                "link": .link(link), "bytes": .bytes([0, 0xff]), "neg": .integer(-1), "big": .unsigned(1 << 63),
                "min": .integer(.min), "list": .array([.bool(true), .bool(false), .null, .text("é")]),
            ]),
            "a6636269671b8000000000000000636d696e3b7fffffffffffffff636e656720646c696e6bd82a58250001711220f6aa1959e02700b2"
                + "96898ed3addc386cf784d4a5974a7b03d326bffcfea1e60b646c69737484f5f4f662c3a96562797465734200ff"
        ),
        (
            .map([
                "z": .unsigned(23), "y": .unsigned(24), "x": .unsigned(255), "w": .unsigned(256), "v": .unsigned(65535),
                "u": .unsigned(65536), "t": .unsigned(0xffff_ffff), "s": .unsigned(0x1_0000_0000), "r": .unsigned(.max),
            ]),
            "a961721bffffffffffffffff61731b000000010000000061741affffffff61751a00010000617619ffff6177190100617818ff61791818"
                + "617a17"
        ),
        (.array([.array([.array([.array([.array([.text("deep")])])])])]), "81818181816464656570"),
        (.text(String(repeating: "a", count: 24)), "7818616161616161616161616161616161616161616161616161"),
        (.bytes(repeated(0x62, 256)), "590100" + String(repeating: "62", count: 256)),
        // -1 - (2^64 - 1): beyond Int64, still an integer of the format
        (.negative(.max), "3bffffffffffffffff"),
    ]

    @Test(arguments: foreign.indices)
    func foreignVectors(index: Int) throws {
        let (value, hex) = Self.foreign[index]
        #expect(Hex.encode(value.encoded()) == hex)
        #expect(try CBOR.decode(bytes(hex)) == value)
    }

    @Test(arguments: [
        ("an integer in two bytes", "1817"), ("an integer in three bytes", "1900ff"), ("in five", "1a0000ffff"),
        ("in nine", "1b00000000ffffffff"), ("a long negative", "3817"), ("a long length of bytes", "580161"),
        ("a long length of text", "780161"), ("a long length of an array", "980100"), ("a long tag", "d9002a4100"),
        ("keys out of order", "a2616201616101"), ("a longer key first", "a262616101616201"),
        ("a key twice", "a2616101616102"),
    ])
    func notCanonical(what: String, hex: String) {
        #expect(throws: CBORFault.self, "\(what)") { try CBOR.decode(bytes(hex)) }
        do {
            _ = try CBOR.decode(bytes(hex))
        } catch CBORFault.notCanonical {
        } catch {
            Issue.record("\(what): \(error)")
        }
    }

    @Test(arguments: [
        ("a half float", "f90000"), ("a single float", "fa00000000"), ("a double", "fb3ff8000000000000"),
        ("NaN", "f97e00"), ("undefined", "f7"), ("simple 0", "e0"), ("simple 32", "f820"),
        ("true in two bytes", "f815"),
        ("indefinite bytes", "5f4100ff"), ("indefinite text", "7f6161ff"), ("indefinite array", "9f00ff"),
        ("indefinite map", "bf616100ff"), ("a break alone", "ff"), ("reserved 28", "1c"), ("reserved 30", "3e"),
        ("a map key that is a number", "a10000"), ("a map key that is bytes", "a1416100"), ("tag 0", "c000"),
        ("tag 1", "c100"), ("big integer tag", "c249010000000000000000"), ("self-described", "d9d9f700"),
        ("a link without the zero", "d82a582401551220" + String(repeating: "00", count: 32)),
        ("a link that is text", "d82a6100"), ("an empty link", "d82a40"), ("a link of one byte", "d82a4100"),
        ("a CIDv0 link", "d82a5823001220" + String(repeating: "00", count: 32)),
        ("a link with a byte too many", "d82a58260001551220" + String(repeating: "00", count: 33)),
        ("text that is not UTF-8", "61ff"), ("text with a surrogate", "63eda080"), ("overlong UTF-8", "62c080"),
    ])
    func unsupported(what: String, hex: String) {
        #expect(throws: CBORFault.self, "\(what)") { try CBOR.decode(bytes(hex)) }
    }

    @Test(arguments: [
        "", "18", "19ff", "1a0000", "41", "6261", "81", "a1", "a16161", "d82a", "5b7fffffffffffffff",
        "9bffffffffffffffff",
        "bb7fffffffffffffff", "7bffffffffffffffff",
    ])
    func cutShort(hex: String) {
        #expect(throws: CBORFault.self) { try CBOR.decode(bytes(hex)) }
    }

    @Test func trailingBytesAreAFault() {
        #expect(throws: CBORFault.trailingBytes(1)) { try CBOR.decode([0, 0]) }
    }

    @Test func limitsHold() throws {
        let nested = repeated(0x81, 17) + [0]
        #expect(throws: CBORFault.self) { try CBOR.decode(nested) }
        #expect(try CBOR.decode(Array(nested.dropFirst())).encoded() == Array(nested.dropFirst()))
        #expect(throws: CBORFault.self) { try CBOR.decode(repeated(0x81, 100_000)) }
        #expect(throws: CBORFault.tooLarge(11)) { try CBOR.decode(repeated(0, 11), limits: CBORLimits(bytesMax: 10)) }
        let wide = CBOR.array((0..<50).map { .unsigned($0) }).encoded()
        #expect(throws: CBORFault.self) { try CBOR.decode(wide, limits: CBORLimits(bytesMax: 100, valuesMax: 50)) }
        #expect(throws: Never.self) { try CBOR.decode(wide, limits: CBORLimits(bytesMax: 100, valuesMax: 51)) }
    }

    /// What decodes is the only encoding of its value: random bytes either fail or come back the same.
    @Test func decodingIsInjective() {
        var random = SeededRandom(seed: 7)
        var accepted = 0
        for round in 0..<30_000 {
            var candidate = random.bytes(Int(random.below(12)))
            if round.isMultiple(of: 2), !candidate.isEmpty { candidate[0] = 0x60 | candidate[0] & 0x5f }
            guard let value = try? CBOR.decode(candidate) else { continue }
            accepted += 1
            #expect(value.encoded() == candidate)
        }
        #expect(accepted > 300)
    }

    /// A flipped bit gives a fault or another value, never the same one.
    @Test func everyBitCounts() throws {
        let good = Self.foreign[3].0
        let encoding = good.encoded()
        for index in encoding.indices {
            for bit in 0..<8 {
                var damaged = encoding
                damaged[index] ^= 1 << UInt8(bit)
                if let value = try? CBOR.decode(damaged) { #expect(value != good, "byte \(index) bit \(bit)") }
            }
        }
    }

    @Test func fieldsAreNamedInFaults() throws {
        let object = CBOR.map(["a": .unsigned(5), "t": .text("long"), "s": .integer(-3), "x": .null])
        var fields = try CBORFields(object, "Thing")
        #expect(try fields.unsigned("a") == 5)
        #expect(throws: CBORFault.field("a", in: "Thing", "is missing")) { try fields.unsigned("a") }
        #expect(throws: CBORFault.field("t", in: "Thing", "has more than 3 bytes")) { try fields.text("t", max: 3) }
        #expect(try fields.signed("s") == -3)
        #expect(throws: CBORFault.field("x", in: "Thing", "is not known")) { try fields.finish() }
        #expect(fields.optionalValue("x") == .null)
        #expect(fields.optionalValue("x") == nil)
        try fields.finish()
        #expect(throws: CBORFault.self) { try CBORFields(.array([]), "Thing") }
    }

    @Test func typedFieldsRefuseWhatIsOutOfBounds() throws {
        func fields(_ value: CBOR) throws -> CBORFields { try CBORFields(.map(["v": value]), "Thing") }
        func refuses(_ value: CBOR, _ read: (inout CBORFields) throws -> Void) throws {
            var made = try fields(value)
            #expect(throws: CBORFault.self) { try read(&made) }
        }
        try refuses(.unsigned(11)) { _ = try $0.unsigned("v", max: 10) }
        try refuses(.negative(0)) { _ = try $0.unsigned("v") }
        try refuses(.negative(1 << 63)) { _ = try $0.signed("v") }
        try refuses(.unsigned(1 << 63)) { _ = try $0.signed("v") }
        try refuses(.bytes(repeated(0, 33))) { _ = try $0.digest("v") }
        try refuses(.bytes(repeated(0, 31))) { _ = try $0.digest("v") }
        try refuses(.bytes(repeated(0, 32))) { _ = try $0.publicKey("v") }
        try refuses(.bytes(repeated(0, 63))) { _ = try $0.signature("v") }
        try refuses(.bytes([0, 1])) { _ = try $0.amount("v") }
        try refuses(.bytes(repeated(1, 17))) { _ = try $0.amount("v") }
        try refuses(.unsigned(1_000_001)) { _ = try $0.partsPerMillion("v") }
        try refuses(.array([.null, .null])) { _ = try $0.array("v", max: 1) }
        try refuses(.text("x")) { _ = try $0.link("v") }
        try refuses(.null) { _ = try $0.bool("v") }
        try refuses(.bytes([1, 2, 3])) { _ = try $0.peer("v") }
        var least = try fields(.negative(UInt64(Int64.max)))
        #expect(try least.signed("v") == .min)
    }
}
