// The trustless gateway's reads: single blocks, and the DAG below one, depth first, each block once. Nothing is fetched
// for a stranger.

import BlockExchange
package import Gateway
package import Primitives
import Storage
import Synchronization

extension PeerService {
    package func block(_ cid: CID) async throws -> [UInt8]? {
        try stored { () throws(StorageFault) -> [UInt8]? in try peer.store.block(cid) }
    }

    package func blocks(
        below root: CID, blocksMax: Int
    ) async throws(Gateway.NodeFault) -> any AsyncSequence<Gateway.Block, any Error> & Sendable {
        let store = peer.store
        let walk = DagWalk(root, blocksMax: blocksMax) { cid throws(StorageFault) in try store.block(cid) }
        // The first block decides whether there is an answer at all.
        guard try stored({ () throws(StorageFault) -> [UInt8]? in try store.block(root) }) != nil else {
            throw Gateway.NodeFault.missing("\(root) is not held here", code: "block_not_found")
        }
        return AsyncThrowingStream<Gateway.Block, any Error>(unfolding: { try walk.next() })
    }
}

/// Where a walk over a DAG is.
private final class DagWalk: Sendable {
    private struct State {
        /// To be visited, the next one last.
        var stack: [CID]
        var seen: Set<CID> = []
    }

    private let state: Mutex<State>
    private let blocksMax: Int
    private let load: @Sendable (CID) throws(StorageFault) -> [UInt8]?

    init(_ root: CID, blocksMax: Int, load: @escaping @Sendable (CID) throws(StorageFault) -> [UInt8]?) {
        state = Mutex(State(stack: [root]))
        self.blocksMax = blocksMax
        self.load = load
    }

    func next() throws(Gateway.NodeFault) -> Gateway.Block? {
        try state.withLock { state throws(Gateway.NodeFault) in
            while let cid = state.stack.popLast() {
                guard !state.seen.contains(cid) else { continue }
                guard state.seen.count < blocksMax else {
                    throw Gateway.NodeFault(
                        .tooLarge, "the DAG has more than \(blocksMax) blocks; ask for its parts",
                        code: "too_many_blocks")
                }
                state.seen.insert(cid)
                let bytes: [UInt8]?
                do { bytes = try load(cid) } catch {
                    throw Gateway.NodeFault(.broken, "block \(cid) cannot be read: \(error)", code: "storage")
                }
                guard let bytes else {
                    throw Gateway.NodeFault(
                        .missing, "block \(cid) of this DAG is not held here", code: "block_not_found")
                }
                state.stack += Self.links(cid, bytes).reversed()
                return Gateway.Block(cid: cid, bytes: bytes)
            }
            return nil
        }
    }

    private static func links(_ cid: CID, _ bytes: [UInt8]) -> [CID] {
        switch cid.codec {
        case .raw: return []
        case .dagPB: return (try? DagNode(decoding: bytes))?.links.map(\.cid) ?? []
        case .dagCBOR:
            guard let value = try? CBOR.decode(bytes) else { return [] }
            return links(in: value)
        }
    }

    private static func links(in value: CBOR) -> [CID] {
        switch value {
        case .link(let cid): [cid]
        case .array(let items): items.flatMap(links(in:))
        case .entries(let entries): entries.flatMap { links(in: $0.value) }
        default: []
        }
    }
}
