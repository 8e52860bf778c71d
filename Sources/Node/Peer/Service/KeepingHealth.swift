// What this peer keeps for others, and how well others keep what it has (Protocol/keeping.md).

import Datanets
import Gateway
import NodeCore
import Primitives

extension PeerService {
    func keepingStatus() async throws(NodeFault) -> JSONValue {
        let state = try await read { $0.keepingState }
        return .object([
            "lent_bytes": .integer(state.lent), "used_bytes": .integer(state.used), "blocks": .integer(state.blocks),
            "datanets": .integer(state.datanets), "fetching": .integer(state.fetching),
        ])
    }

    func health(ofDatanet name: String) async throws(NodeFault) -> JSONValue {
        let id = try await datanetID(name)
        let found = try await read { ($0.health(of: id), Set($0.connectedPeers)) }
        guard let health = found.0 else {
            throw NodeFault.missing(
                "this peer does not have the datanet \(name.prefix(80)) whole; openledger datanet pull fetches it",
                code: "datanet_not_held")
        }
        let safe = health.copies[Placement.replicas]
        return .object([
            "datanet": .string(id.text), "shards": .integer(health.shardCount), "wanted": .integer(Placement.replicas),
            "safe": .integer(safe), "copies": .array(health.copies.map { .integer($0) }),
            "keepers_known": .integer(health.keepersKnown),
            "keepers": .array(
                health.keepers.map { keeper in
                    .object([
                        "peer": .string(keeper.peer.text), "shards": .integer(keeper.shards),
                        "connected": .bool(found.1.contains(keeper.peer)),
                    ])
                }),
            "sentence": .string(Self.sentence(health)),
        ])
    }

    private static func sentence(_ health: DatanetHealth) -> String {
        let safe = health.copies[Placement.replicas], wanted = Placement.replicas
        if health.shardCount == 0 { return "There are no rows to keep yet." }
        if safe == health.shardCount { return "All \(safe) shards are on \(wanted) other peers or more." }
        let lone = health.copies[0] == 0 ? "" : " \(health.copies[0]) are proved by nobody else."
        let state = "\(safe) of \(health.shardCount) shards are proved by \(wanted) other peers.\(lone)"
        guard health.keepersKnown < wanted else { return state + " Proofs are asked for every 10 minutes." }
        return state
            + " \(health.keepersKnown) other peers lend disk: connect to more (openledger peers --connect ADDRESS)."
    }
}
