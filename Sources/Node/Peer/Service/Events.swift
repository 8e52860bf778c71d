// What the node notices, as the page and programs hear it: each event carries what the matching GET returns.

import Datanets
package import Gateway
import Ledger
import NodeCore
import Primitives

extension PeerService {
    /// Events that a slow listener may be behind; beyond it is ended and reconnects.
    private static let eventsBehindMax = 256

    package func events() async throws(NodeFault) -> any AsyncSequence<Gateway.NodeEvent, any Error> & Sendable {
        let notices = handle.notices()
        return AsyncThrowingStream<Gateway.NodeEvent, any Error>(
            bufferingPolicy: .bufferingOldest(Self.eventsBehindMax)
        ) {
            [self] continuation in
            let task = Task { [self] in
                if let status = try? await status() { continuation.yield(Gateway.NodeEvent(.status, status)) }
                for await notice in notices {
                    for event in await events(of: notice) {
                        if case .dropped = continuation.yield(event) { return continuation.finish() }
                    }
                }
                continuation.finish()
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    private func events(of notice: NodeNotice) async -> [Gateway.NodeEvent] {
        switch notice {
        case .connected(let id):
            let note = (try? await connections())?.first { $0.peer == id }
            guard let note else { return [] }
            return [
                Gateway.NodeEvent(.peer, Self.json(note, serves: []).adding([JSONMember("connected", .bool(true))]))
            ]
                + (await statusEvent())
        case .disconnected(let id):
            let gone = JSONValue.object(["peer": .string(id.text), "connected": .bool(false)])
            return [Gateway.NodeEvent(.peer, gone)] + (await statusEvent())
        case .final(let batch):
            guard let json = try? json(batch) else { return [] }
            return [Gateway.NodeEvent(.batch, json)] + (await statusEvent())
        case .receipt(let id, _): return await receiptEvent(id)
        case .transaction(let id, let state):
            return [Gateway.NodeEvent(.transaction, Self.json(transaction: id, state))]
        case .contributionWaits(let datanet, let cid, let report):
            return [
                Gateway.NodeEvent(
                    .contribution,
                    .object([
                        "contribution": .string(cid.text), "contributor": .string(report.contributor.text),
                        "rows": .integer(report.rowCount), "state": .string("pending"), "created_ms": .null,
                        "reason": .null,
                        "datanet": .string(datanet.text), "duplicates": .integer(report.duplicates),
                    ]))
            ]
        case .stalled, .live, .datanet, .contentComplete: return await statusEvent()
        case .reweighed(let signed, _): return await receiptEvent(signed.verdict.receipt)
        case .audited(let signed, _):
            return await receiptEvent(signed.verdict.receipt)
        case .distrusted, .evidence: return await statusEvent()
        case .catalog, .advert, .blamed, .log: return []
        }
    }

    private func receiptEvent(_ id: Digest) async -> [Gateway.NodeEvent] {
        // Those of strangers are in their batch.
        guard let found = try? find(id.hex), found.own != nil, let names = try? await names(),
            let json = try? await json(found, names)
        else { return [] }
        return [Gateway.NodeEvent(.receipt, json)]
    }

    private func statusEvent() async -> [Gateway.NodeEvent] {
        guard let status = try? await status() else { return [] }
        return [Gateway.NodeEvent(.status, status)]
    }
}
