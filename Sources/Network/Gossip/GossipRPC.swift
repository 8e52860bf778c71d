// One RPC of the protocol as values of ours, and its two directions. Reading is bounded and forgiving: a message that is
// wrong is named and left out, the rest of the RPC still counts; what we do not know is ignored. Writing splits what
// would be longer than `rpcBytesMax`.

internal import Messages
internal import Primitives
internal import SwiftProtobuf

struct Subscription: Hashable, Sendable {
    var topic: GossipTopic
    var isOn: Bool
}

struct Announcement: Hashable, Sendable {
    var topic: GossipTopic
    var ids: [MessageID]
}

struct Pruning: Hashable, Sendable {
    var topic: GossipTopic
    /// Nil when the peer named none (GossipSub 1.0).
    var backoff: Span?
}

struct GossipRPC: Hashable, Sendable {
    var subscriptions: [Subscription] = []
    var messages: [GossipMessage] = []
    var ihave: [Announcement] = []
    var iwant: [MessageID] = []
    var graft: [GossipTopic] = []
    var prune: [Pruning] = []

    var isEmpty: Bool {
        subscriptions.isEmpty && messages.isEmpty && ihave.isEmpty && iwant.isEmpty && graft.isEmpty && prune.isEmpty
    }

    /// What was read, and what was wrong with the parts that were left out.
    struct Reading {
        var rpc = GossipRPC()
        var faults: [GossipFault] = []
    }

    static func read(_ bytes: [UInt8], parameters: GossipParameters) throws(GossipFault) -> Reading {
        guard bytes.count <= parameters.rpcBytesMax else {
            throw .rpcTooLarge(bytes: bytes.count, bytesMax: parameters.rpcBytesMax)
        }
        let wire: Messages.GossipsubRPC
        do {
            wire = try Messages.GossipsubRPC(serializedBytes: bytes)
        } catch {
            throw .malformedRPC("not a protobuf of the RPC")
        }
        guard wire.subscriptions.count <= parameters.subscriptionsPerRPCMax else {
            throw .malformedRPC("\(wire.subscriptions.count) subscriptions")
        }
        guard wire.publish.count <= parameters.messagesPerRPCMax else {
            throw .malformedRPC("\(wire.publish.count) messages")
        }
        let control = wire.control
        guard
            max(control.ihave.count, control.iwant.count, control.graft.count, control.prune.count)
                <= parameters.controlEntriesPerRPCMax
        else { throw .malformedRPC("too many control entries") }

        var reading = Reading()
        for entry in wire.subscriptions {
            guard let topic = reading.topic(entry.topicid, parameters) else { continue }
            reading.rpc.subscriptions.append(Subscription(topic: topic, isOn: entry.subscribe))
        }
        for entry in wire.publish {
            do throws(SigningFault) {
                let message = try WireForm.read(entry, parameters: parameters)
                reading.rpc.messages.append(message)
            } catch {
                reading.faults.append(.invalidMessage(error))
            }
        }
        // Identifiers beyond the limit of a heartbeat are not even copied.
        var room = parameters.idsPerHeartbeatMax
        for entry in control.ihave {
            guard let topic = reading.topic(entry.topicID, parameters) else { continue }
            let ids = entry.messageIds.prefix(room).map { MessageID($0.octets) }
            room -= ids.count
            reading.rpc.ihave.append(
                Announcement(topic: topic, ids: ids.filter { $0.bytes.count <= parameters.messageIDBytesMax }))
        }
        room = parameters.idsPerHeartbeatMax + 1
        for entry in control.iwant {
            let ids = entry.messageIds.prefix(room).map { MessageID($0.octets) }
            room -= ids.count
            reading.rpc.iwant += ids.filter { $0.bytes.count <= parameters.messageIDBytesMax }
        }
        for entry in control.graft {
            guard let topic = reading.topic(entry.topicID, parameters) else { continue }
            reading.rpc.graft.append(topic)
        }
        for entry in control.prune {
            guard let topic = reading.topic(entry.topicID, parameters) else { continue }
            let seconds = min(entry.backoff, parameters.backoffMax.milliseconds / 1_000)
            reading.rpc.prune.append(Pruning(topic: topic, backoff: entry.hasBackoff ? .seconds(seconds) : nil))
        }
        return reading
    }

    /// The RPCs on the wire, each within `bytesMax`. `version` decides whether PRUNE carries its backoff.
    func written(version: GossipVersion, bytesMax: Int) -> [[UInt8]] {
        var wire = Messages.GossipsubRPC()
        var rooms = SplitWriter(bytesMax: bytesMax)
        for entry in subscriptions {
            var item = Messages.GossipsubRPC.SubOpts()
            item.subscribe = entry.isOn
            item.topicid = entry.topic.name
            rooms.reserve(entry.topic.utf8.count + 16, &wire)
            wire.subscriptions.append(item)
        }
        for topic in graft {
            var item = Messages.GossipsubControlGraft()
            item.topicID = topic.name
            rooms.reserve(topic.utf8.count + 16, &wire)
            wire.control.graft.append(item)
        }
        for entry in prune {
            var item = Messages.GossipsubControlPrune()
            item.topicID = entry.topic.name
            if version != .v1_0, let backoff = entry.backoff { item.backoff = backoff.milliseconds / 1_000 }
            rooms.reserve(entry.topic.utf8.count + 24, &wire)
            wire.control.prune.append(item)
        }
        for message in messages {
            rooms.reserve(message.bytesOnWire, &wire)
            wire.publish.append(WireForm.write(message))
        }
        for entry in ihave {
            for chunk in entry.ids.chunks(of: 512) {
                var item = Messages.GossipsubControlIHave()
                item.topicID = entry.topic.name
                item.messageIds = chunk.map { .init(octets: $0.bytes) }
                rooms.reserve(entry.topic.utf8.count + chunk.reduce(32) { $0 + $1.bytes.count + 4 }, &wire)
                wire.control.ihave.append(item)
            }
        }
        for chunk in iwant.chunks(of: 512) {
            var item = Messages.GossipsubControlIWant()
            item.messageIds = chunk.map { .init(octets: $0.bytes) }
            rooms.reserve(chunk.reduce(32) { $0 + $1.bytes.count + 4 }, &wire)
            wire.control.iwant.append(item)
        }
        rooms.close(&wire)
        return rooms.finished
    }
}

extension GossipRPC.Reading {
    fileprivate mutating func topic(_ name: String, _ parameters: GossipParameters) -> GossipTopic? {
        let topic = GossipTopic(name)
        guard topic.utf8.count <= parameters.topicBytesMax else {
            faults.append(.topicTooLong(bytes: topic.utf8.count))
            return nil
        }
        return topic
    }
}

/// Starts a new RPC when the next part would not fit the present one.
private struct SplitWriter {
    let bytesMax: Int
    var used = 0
    var finished: [[UInt8]] = []

    init(bytesMax: Int) { self.bytesMax = bytesMax }

    mutating func reserve(_ bytes: Int, _ wire: inout Messages.GossipsubRPC) {
        // 64 bytes stand for the headers of the outer messages.
        if used > 0, used + bytes + 64 > bytesMax { close(&wire) }
        used += bytes
    }

    mutating func close(_ wire: inout Messages.GossipsubRPC) {
        guard used > 0 else { return }
        finished.append(WireForm.bytes(of: wire))
        wire = Messages.GossipsubRPC()
        used = 0
    }
}

extension Array {
    fileprivate func chunks(of size: Int) -> [ArraySlice<Element>] {
        stride(from: 0, to: count, by: size).map { self[$0..<Swift.min($0 + size, count)] }
    }
}
