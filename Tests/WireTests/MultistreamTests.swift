// multistream-select alone, line by line.

import Primitives
import Testing

@testable import Wire

@Suite struct MultistreamTests {
    private let header = Multistream.line("/multistream/1.0.0")

    @Test func listensListsAndAgrees() throws {
        var listener = MultistreamListener(["/b/1", "/a/1"])
        var replies: [UInt8] = []
        let input = header + Multistream.line("ls") + Multistream.line("/c/1") + Multistream.line("/a/1") + [1, 2, 3]
        var agreed: ProtocolID?
        var cursor = 0
        // In single bytes; what follows the agreement is left.
        while agreed == nil, cursor < input.count {
            agreed = try listener.read(input, &cursor, end: cursor + 1, replies: &replies)
        }
        #expect(agreed == "/a/1" && cursor == input.count - 3)
        let listing: [UInt8] = [13] + Multistream.line("/a/1") + Multistream.line("/b/1") + [0x0a]
        #expect(replies == listing + Multistream.line("na") + Multistream.line("/a/1"))
    }

    @Test func dialsInOrder() throws {
        var dialer = MultistreamDialer(["/a/1", "/b/1"])
        #expect(dialer.opening == header + Multistream.line("/a/1"))
        var replies: [UInt8] = []
        var cursor = 0
        let first = header + Multistream.line("na")
        #expect(try dialer.read(first, &cursor, end: first.count, replies: &replies) == nil)
        #expect(replies == Multistream.line("/b/1"))
        cursor = 0
        let second = Multistream.line("/b/1")
        #expect(try dialer.read(second, &cursor, end: second.count, replies: &replies) == "/b/1")
    }

    @Test func faultsAreNamed() {
        func fault(_ input: [UInt8]) -> MultistreamFault? {
            var listener = MultistreamListener(["/a/1"])
            var replies: [UInt8] = []
            var cursor = 0
            do {
                _ = try listener.read(input, &cursor, end: input.count, replies: &replies)
                return nil
            } catch {
                return error
            }
        }
        #expect(fault([0]) == .badLength)
        #expect(fault([0xff, 0xff, 0x7f]) == .badLength)
        #expect(fault([0x81, 0x08]) == .badLength)
        #expect(fault([2, 0x61, 0x61]) == .malformedLine)
        #expect(fault([2, 0xff, 0x0a]) == .malformedLine)
        #expect(fault(Multistream.line("GET / HTTP/1.1")) == .notMultistream)
        let many = header + (0..<65).flatMap { Multistream.line("/x/\($0)") }
        #expect(fault(many) == .tooManyProposals)
        var dialer = MultistreamDialer(["/a/1"])
        var replies: [UInt8] = []
        var cursor = 0
        #expect(throws: MultistreamFault.unexpectedAnswer) {
            let input = header + Multistream.line("/z/1")
            _ = try dialer.read(input, &cursor, end: input.count, replies: &replies)
        }
    }

    @Test func messagesAreCutFromAnyPieces() throws {
        var assembler = MessageAssembler(bytesMax: 300)
        let message = [UInt8](repeating: 9, count: 300)
        let input = Varint.encode(300) + message + [0] + Varint.encode(2) + [7, 8]
        var got: [[UInt8]] = []
        for byte in input {
            var cursor = 0
            while let next = try assembler.next([byte], &cursor, end: 1) { got.append(next) }
        }
        #expect(got == [message, [], [7, 8]])
        var cursor = 0
        #expect(throws: FramingFault.tooLong(bytes: 301, max: 300)) {
            _ = try assembler.next(Varint.encode(301), &cursor, end: 2)
        }
        var strict = MessageAssembler(bytesMax: 300)
        cursor = 0
        #expect(throws: FramingFault.badLength) { _ = try strict.next([0x80, 0x00], &cursor, end: 2) }
    }
}
