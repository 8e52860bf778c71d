// What of an event goes into the digest of a run: a number for its kind, and the bytes that tell it from others.

import NodeCore
import Primitives

enum EventTrace {
    static func of(_ event: NodeEvent) -> (kind: UInt8, bytes: [UInt8]) {
        switch event {
        case .start: (0, [])
        case .connected(let peer, let outbound): (1, peer.bytes + [outbound ? 1 : 0])
        case .disconnected(let peer): (2, peer.bytes)
        case .opened(let stream, let name): (3, stream.number.bigEndianBytes + Array(name.utf8))
        case .openFailed(let stream): (4, stream.number.bigEndianBytes)
        case .accepted(let stream, let peer, let name):
            (5, stream.number.bigEndianBytes + peer.bytes + Array(name.utf8))
        case .received(let stream, let bytes): (6, stream.number.bigEndianBytes + bytes)
        case .congested(let stream, let isFull): (7, stream.number.bigEndianBytes + [isFull ? 1 : 0])
        case .ended(let stream): (8, stream.number.bigEndianBytes)
        case .synced(let ticket): (9, ticket.number.bigEndianBytes)
        case .loaded(let ticket, let bytes): (10, ticket.number.bigEndianBytes + (bytes ?? []))
        case .computed(let ticket, _): (11, ticket.number.bigEndianBytes)
        case .generated(let ticket, _): (12, ticket.number.bigEndianBytes)
        case .staged(let ticket, _): (17, ticket.number.bigEndianBytes)
        case .reexecuted(let ticket, let result):
            (18, ticket.number.bigEndianBytes + Array("\(result)".utf8))
        case .weighed(let ticket, let weighed):
            (19, ticket.number.bigEndianBytes + (SourceLedger.root(of: weighed.sources)?.bytes ?? []))
        case .reweighed(let ticket, let result):
            (20, ticket.number.bigEndianBytes + Array("\(result)".utf8))
        case .elapsed(let timer): (13, Array("\(timer)".utf8))
        case .command(let id, _): (14, id.number.bigEndianBytes)
        case .cancelled(let id): (15, id.number.bigEndianBytes)
        case .identified(let peer, let addresses): (16, peer.bytes + addresses.flatMap(\.bytes))
        }
    }
}
