// The dag-pb codec (ipld.io/specs/codecs/dag-pb), strict: a node that decodes is the only encoding of its value. Links
// stand before Data, against the field numbers, which is why the two are written apart.

internal import Messages
package import Primitives
internal import SwiftProtobuf

package struct DagLink: Hashable, Sendable {
    package var cid: CID
    package var name: String
    /// Bytes of the block and all that it links to.
    package var totalSize: UInt64

    package init(cid: CID, name: String = "", totalSize: UInt64) {
        self.cid = cid
        self.name = name
        self.totalSize = totalSize
    }
}

package struct DagNode: Hashable, Sendable {
    /// A file of 1 MiB chunks has at most 1,024 links a node; directories of others may have more.
    package static let linksMax = 8_192

    package var links: [DagLink]
    package var data: [UInt8]

    package init(links: [DagLink], data: [UInt8]) {
        self.links = links
        self.data = data
    }

    package init(decoding bytes: [UInt8]) throws(NodeFault) {
        let wire: Messages.DagPBNode
        do {
            wire = try Messages.DagPBNode(serializedBytes: bytes)
        } catch {
            throw .notDagPB
        }
        guard wire.links.count <= Self.linksMax else { throw .tooManyLinks(wire.links.count) }
        var links: [DagLink] = []
        for (index, link) in wire.links.enumerated() {
            guard let cid = Self.name(link.hash.octets) else { throw .unsupportedLink(index: index) }
            links.append(DagLink(cid: cid, name: link.name, totalSize: link.tsize))
        }
        self.init(links: links, data: wire.data.octets)
        // Unknown fields, fields out of order or twice, long varints: all show when the value is written again.
        guard Self.bytes(wire) == bytes else { throw .notCanonical }
    }

    package func encoded() -> [UInt8] {
        var wire = Messages.DagPBNode()
        wire.data = .init(octets: data)
        wire.links = links.map { link in
            var item = Messages.DagPBLink()
            item.hash = .init(octets: link.cid.bytes)
            item.name = link.name
            item.tsize = link.totalSize
            return item
        }
        return Self.bytes(wire)
    }

    private static func bytes(_ node: Messages.DagPBNode) -> [UInt8] {
        var links = Messages.DagPBNode()
        links.links = node.links.map { link in
            var known = link
            known.unknownFields = UnknownStorage()
            return known
        }
        var data = Messages.DagPBNode()
        if node.hasData { data.data = node.data }
        do {
            let head: [UInt8] = try links.serializedBytes()
            let tail: [UInt8] = try data.serializedBytes()
            return head + tail
        } catch {
            preconditionFailure("a message without required fields always serialises: \(error)")
        }
    }

    /// CIDv1, or the CIDv0 of older files.
    private static func name(_ bytes: [UInt8]) -> CID? {
        if bytes.count == 34, bytes.starts(with: [0x12, 0x20]), let digest = Digest(bytes.dropFirst(2)) {
            return CID(.dagPB, digest: digest)
        }
        return try? CID(bytes: bytes)
    }
}

package enum NodeFault: Error, Hashable, Sendable {
    case notDagPB
    case notCanonical
    case tooManyLinks(Int)
    /// Not a CIDv1 with sha2-256, or of a codec that cannot stand there.
    case unsupportedLink(index: Int)
    case notUnixFS
    /// A directory, symbolic link or anything else that is no file.
    case notAFile(type: Int)
    case linksAndSizesDiffer(links: Int, sizes: Int)
    case wrongFileSize(declared: UInt64)
    case sizeOverflow
    case notDagCBOR(CBORFault)
}
