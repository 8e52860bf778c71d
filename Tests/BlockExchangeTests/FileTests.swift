import Foundation
import Primitives
import Testing

@testable import BlockExchange

@Suite struct FileTests {
    /// Roots that py-libp2p built in kubo's layout (Tests/Fixtures/BlockExchange/make_fixtures.py). Left out are sizes whose
    /// last subtree has a single chunk: py-libp2p hangs that chunk below the root as it is, kubo's balanced builder (and
    /// ours) wraps it in a node, as the drawing in kubo's balanced/builder.go shows.
    @Test func rootsEqualTheForeignProducers() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../Fixtures/BlockExchange/py-libp2p-files.txt")
        let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
        #expect(lines.count == 7)
        for line in lines {
            let words = line.split(separator: " ").map(String.init)
            try #require(words.count == 5)
            let (size, chunk, links) = (
                try #require(Int(words[0])), try #require(Int(words[1])), try #require(Int(words[2]))
            )
            let (built, blocks) = FileBuilder.build(fixtureContent(size), chunkBytes: chunk, linksMax: links)
            #expect(built.root.text == words[3], "\(line)")
            if words[4] != "-" { #expect(blocks.last?.bytes == Hex.decode(words[4])) }
            #expect(built.size == UInt64(size))
        }
    }

    @Test func howTheBytesAreHandedInDoesNotMatter() {
        let content = fixtureContent(10_000)
        let whole = FileBuilder.build(content, chunkBytes: 64, linksMax: 3)
        var random = SeededRandom(seed: 1)
        var builder = FileBuilder(chunkBytes: 64, linksMax: 3)
        var blocks: [Block] = []
        var rest = content[...]
        while !rest.isEmpty {
            let piece = rest.prefix(Int(random.below(300)))
            blocks += builder.append(piece)
            rest = rest.dropFirst(piece.count)
        }
        let (file, last) = builder.finish()
        #expect(file == whole.file && blocks + last == whole.blocks)
    }

    @Test func nodesAreReadStrictly() throws {
        let leaves = (0..<3).map { Block(.raw, [UInt8($0)]) }
        let node = FileNode(parts: leaves.map { FileNode.Part(cid: $0.cid, size: 1, totalSize: 1) })
        let bytes = node.encoded()
        #expect(try FileNode(decoding: bytes) == node)
        #expect(throws: NodeFault.self) { try FileNode(decoding: []) }
        // Data before Links, as field numbers would have it.
        let dagNode = try DagNode(decoding: bytes)
        let data = DagNode(links: [], data: dagNode.data).encoded()
        let split = bytes.count - data.count
        #expect(throws: NodeFault.notCanonical) {
            try DagNode(decoding: Array(bytes[split...] + bytes[..<split]))
        }
        // An unknown field.
        #expect(throws: NodeFault.notCanonical) { try DagNode(decoding: bytes + [0x78, 0x01]) }
        // No bit can be flipped, no byte cut off, so that the same value comes out.
        for index in bytes.indices {
            for bit in 0..<8 {
                var flipped = bytes
                flipped[index] ^= 1 << UInt8(bit)
                if let other = try? DagNode(decoding: flipped) { #expect(other != dagNode) }
            }
            #expect((try? FileNode(decoding: Array(bytes.prefix(index)))) == nil)
        }
    }

    @Test func lyingNodesAreRefused() throws {
        let leaf = Block(.raw, [1])
        func node(_ data: [UInt8], links: Int = 1) -> [UInt8] {
            DagNode(links: Array(repeating: DagLink(cid: leaf.cid, totalSize: 1), count: links), data: data).encoded()
        }
        // type 2; filesize 9; one blocksize of 1
        #expect(throws: NodeFault.wrongFileSize(declared: 9)) {
            try FileNode(decoding: node([0x08, 2, 0x18, 9, 0x20, 1]))
        }
        #expect(throws: NodeFault.linksAndSizesDiffer(links: 1, sizes: 0)) {
            try FileNode(decoding: node([0x08, 2, 0x18, 1]))
        }
        #expect(throws: NodeFault.notAFile(type: 1)) { try FileNode(decoding: node([0x08, 1], links: 0)) }
        #expect(throws: NodeFault.notUnixFS) { try FileNode(decoding: node([0x18, 1])) }
        // A size in two bytes that fits one; fields out of order.
        #expect(throws: NodeFault.notUnixFS) { try FileNode(decoding: node([0x08, 2, 0x18, 0x81, 0, 0x20, 1])) }
        #expect(throws: NodeFault.notUnixFS) { try FileNode(decoding: node([0x18, 1, 0x08, 2, 0x20, 1])) }
        let huge: [UInt8] = [0x20] + [UInt8](repeating: 0xff, count: 9) + [0x01]
        #expect(throws: NodeFault.sizeOverflow) {
            try FileNode(decoding: node([0x08, 2, 0x18, 1] + huge + huge, links: 2))
        }
    }
}
