// A Bitswap message as values of ours, and its two directions. Names are CIDv1 with sha2-256; the 34-byte CIDv0 of older
// peers is the dag-pb CIDv1 with the same hash, and is answered in the form in which it was asked.

internal import Messages
internal import Primitives
internal import SwiftProtobuf

struct WantEntry: Hashable, Sendable {
    enum Kind: Hashable, Sendable { case block, have }

    var cid: CID
    /// Asked as CIDv0.
    var isLegacy = false
    var kind: Kind = .block
    var priority: Int32 = 1
    var isCancel = false
    var wantsDontHave = true
}

struct Presence: Hashable, Sendable {
    var cid: CID
    var isLegacy = false
    var has: Bool
}

struct ExchangeMessage: Hashable, Sendable {
    var entries: [WantEntry] = []
    /// The entries replace everything that was wanted before.
    var isFull = false
    var blocks: [Block] = []
    var presences: [Presence] = []

    var isEmpty: Bool { entries.isEmpty && !isFull && blocks.isEmpty && presences.isEmpty }

    struct Reading {
        var message = ExchangeMessage()
        var faults: [BitswapFault] = []
    }

    static func read(_ bytes: [UInt8], parameters: BitswapParameters) throws(BitswapFault) -> Reading {
        guard bytes.count <= parameters.messageBytesMax else {
            throw .messageTooLarge(bytes: bytes.count, bytesMax: parameters.messageBytesMax)
        }
        let wire: Messages.BitswapMessage
        do {
            wire = try Messages.BitswapMessage(serializedBytes: bytes)
        } catch {
            throw .malformedMessage("not a protobuf of the message")
        }
        guard wire.wantlist.entries.count <= parameters.entriesPerMessageMax else {
            throw .malformedMessage("\(wire.wantlist.entries.count) want-list entries")
        }
        guard wire.blockPresences.count <= parameters.presencesPerMessageMax else {
            throw .malformedMessage("\(wire.blockPresences.count) presences")
        }
        var reading = Reading()
        reading.message.isFull = wire.hasWantlist && wire.wantlist.full
        for entry in wire.wantlist.entries {
            // A name that we cannot have (another hash, another codec) is passed over, as for any block that we lack.
            guard let (cid, isLegacy) = name(entry.block.octets) else { continue }
            reading.message.entries.append(
                WantEntry(
                    cid: cid, isLegacy: isLegacy, kind: entry.wantType == .have ? .have : .block,
                    priority: entry.priority, isCancel: entry.cancel, wantsDontHave: entry.sendDontHave))
        }
        for entry in wire.blockPresences {
            guard let (cid, isLegacy) = name(entry.cid.octets) else { continue }
            reading.message.presences.append(Presence(cid: cid, isLegacy: isLegacy, has: entry.type == .have))
        }
        for entry in wire.payload {
            guard entry.data.count <= parameters.blockBytesMax else {
                reading.faults.append(.blockTooLarge(bytes: entry.data.count, bytesMax: parameters.blockBytesMax))
                continue
            }
            guard let codec = codec(prefix: entry.prefix.octets) else {
                reading.faults.append(.malformedMessage("a block prefix that is not CIDv1 with sha2-256"))
                continue
            }
            reading.message.blocks.append(Block(codec, entry.data.octets))
        }
        for data in wire.blocks {
            guard data.count <= parameters.blockBytesMax else {
                reading.faults.append(.blockTooLarge(bytes: data.count, bytesMax: parameters.blockBytesMax))
                continue
            }
            reading.message.blocks.append(Block(.dagPB, data.octets))
        }
        return reading
    }

    func written() -> [UInt8] {
        var wire = Messages.BitswapMessage()
        if !entries.isEmpty || isFull {
            wire.wantlist.full = isFull
            wire.wantlist.entries = entries.map { entry in
                var item = Messages.BitswapMessage.Wantlist.Entry()
                item.block = .init(octets: Self.bytes(entry.cid, entry.isLegacy))
                item.priority = entry.priority
                item.cancel = entry.isCancel
                item.wantType = entry.kind == .have ? .have : .block
                item.sendDontHave = entry.wantsDontHave && !entry.isCancel
                return item
            }
        }
        wire.payload = blocks.map { block in
            var item = Messages.BitswapMessage.Block()
            item.prefix = .init(octets: Array(block.cid.bytes.prefix(4)))
            item.data = .init(octets: block.bytes)
            return item
        }
        wire.blockPresences = presences.map { presence in
            var item = Messages.BitswapMessage.BlockPresence()
            item.cid = .init(octets: Self.bytes(presence.cid, presence.isLegacy))
            item.type = presence.has ? .have : .dontHave
            return item
        }
        do {
            return try wire.serializedBytes()
        } catch {
            preconditionFailure("a message without required fields always serialises: \(error)")
        }
    }

    private static func name(_ bytes: [UInt8]) -> (CID, isLegacy: Bool)? {
        if bytes.count == 34, bytes.starts(with: [0x12, 0x20]), let digest = Digest(bytes.dropFirst(2)) {
            return (CID(.dagPB, digest: digest), true)
        }
        guard let cid = try? CID(bytes: bytes) else { return nil }
        return (cid, false)
    }

    private static func bytes(_ cid: CID, _ isLegacy: Bool) -> [UInt8] {
        isLegacy ? [0x12, 0x20] + cid.digest.bytes : cid.bytes
    }

    /// Version, codec, hash code, hash length; version 0 implies dag-pb.
    private static func codec(prefix: [UInt8]) -> CID.Codec? {
        guard prefix.count == 4, prefix[0] <= 1, prefix[2] == 0x12, prefix[3] == 0x20 else { return nil }
        guard let codec = CID.Codec(rawValue: prefix[1]), prefix[0] == 1 || codec == .dagPB else { return nil }
        return codec
    }
}
