// multiformats/unsigned-varint: at most nine bytes, shortest form only.

import Primitives
import Testing

@Suite struct VarintTests {
    @Test(
        arguments: [
            (0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (255, "ff01"), (300, "ac02"), (16384, "808001"),
            (0x7fff_ffff_ffff_ffff, "ffffffffffffffff7f"),
        ] as [(UInt64, String)])
    func foreignVectors(value: UInt64, hex: String) throws {
        #expect(Hex.encode(Varint.encode(value)) == hex)
        let (decoded, length) = try Varint.decode(bytes(hex))
        #expect(decoded == value)
        #expect(length == hex.utf8.count / 2)
    }

    @Test(arguments: ["8100", "8000", "808000", "ffffffffffffffff00"])
    func longerThanNeeded(hex: String) {
        #expect(throws: VarintFault.notCanonical) { try Varint.decode(bytes(hex)) }
    }

    @Test(arguments: ["ffffffffffffffffff01", "80808080808080808001", "ffffffffffffffffffff"])
    func moreThanNineBytes(hex: String) {
        #expect(throws: VarintFault.tooLong) { try Varint.decode(bytes(hex)) }
    }

    @Test(arguments: ["", "80", "ffff"])
    func cutShort(hex: String) {
        #expect(throws: VarintFault.truncated) { try Varint.decode(bytes(hex)) }
    }

    @Test func offsetsOutsideAreTruncation() throws {
        #expect(throws: VarintFault.truncated) { try Varint.decode([1], at: 1) }
        #expect(throws: VarintFault.truncated) { try Varint.decode([1], at: 2) }
        #expect(throws: VarintFault.truncated) { try Varint.decode([1], at: -1) }
        #expect(try Varint.decode([9, 0xac, 2][1...], at: 0).value == 300)
    }

    @Test func readerStopsAtItsEnd() throws {
        var reader = ByteReader([1, 2, 3, 0x80])
        #expect(try reader.byte() == 1)
        #expect(throws: ReadFault.truncated(wanted: 4, left: 3)) { try reader.take(4) }
        #expect(throws: ReadFault.self) { try reader.take(-1) }
        #expect(throws: ReadFault.self) { try reader.take(.max) }
        #expect(try reader.bigEndian(2) == 0x0203)
        #expect(throws: ReadFault.varint(.truncated)) { try reader.varint() }
        #expect(throws: ReadFault.trailingBytes(1)) { try reader.finish() }
        #expect(reader.rest() == [0x80])
        try reader.finish()
        #expect(throws: ReadFault.self) { try reader.byte() }
    }
}
