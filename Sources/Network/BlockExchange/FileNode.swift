// An inner node of a UnixFS file (specs.ipfs.tech/unixfs): which blocks, in order, make up how many bytes. Read strictly:
// every link has its size, the sizes add up, nothing else is a file.

internal import Messages
package import Primitives
internal import SwiftProtobuf

package struct FileNode: Hashable, Sendable {
    package struct Part: Hashable, Sendable {
        package var cid: CID
        /// Bytes of the file under this link.
        package var size: UInt64
        /// Bytes of blocks under this link.
        package var totalSize: UInt64

        package init(cid: CID, size: UInt64, totalSize: UInt64) {
            self.cid = cid
            self.size = size
            self.totalSize = totalSize
        }
    }

    package let parts: [Part]
    /// Bytes in the node itself, before those of the parts; other producers' leaves have them, ours are raw blocks.
    package let inlineData: [UInt8]
    /// Bytes of the file under this node.
    package let size: UInt64

    /// - Precondition: the sizes add up to less than 2^64.
    package init(parts: [Part]) {
        self.parts = parts
        inlineData = []
        size = parts.reduce(0) { $0 + $1.size }
    }

    package init(decoding bytes: [UInt8]) throws(NodeFault) {
        let node = try DagNode(decoding: bytes)
        let wire: Messages.UnixFSData
        do {
            wire = try Messages.UnixFSData(serializedBytes: node.data)
        } catch {
            throw .notUnixFS
        }
        let canonical: [UInt8]? = try? wire.serializedBytes()
        guard canonical == node.data else { throw .notUnixFS }
        guard wire.type == .file || wire.type == .raw else { throw .notAFile(type: wire.type.rawValue) }
        guard wire.blocksizes.count == node.links.count else {
            throw .linksAndSizesDiffer(links: node.links.count, sizes: wire.blocksizes.count)
        }
        var sum = UInt64(wire.data.count)
        var parts: [Part] = []
        for (index, (link, size)) in zip(node.links, wire.blocksizes).enumerated() {
            guard link.cid.codec != .dagCBOR else { throw .unsupportedLink(index: index) }
            let (next, overflow) = sum.addingReportingOverflow(size)
            guard !overflow else { throw .sizeOverflow }
            sum = next
            parts.append(Part(cid: link.cid, size: size, totalSize: link.totalSize))
        }
        guard wire.filesize == sum else { throw .wrongFileSize(declared: wire.filesize) }
        self.parts = parts
        inlineData = wire.data.octets
        size = sum
    }

    /// The dag-pb block. Only nodes without data of their own are made here.
    package func encoded() -> [UInt8] {
        var wire = Messages.UnixFSData()
        wire.type = .file
        wire.filesize = size
        wire.blocksizes = parts.map(\.size)
        let data: [UInt8]
        do {
            data = try wire.serializedBytes()
        } catch {
            preconditionFailure("the one required field is set: \(error)")
        }
        let links = parts.map { DagLink(cid: $0.cid, totalSize: $0.totalSize) }
        return DagNode(links: links, data: data).encoded()
    }
}
