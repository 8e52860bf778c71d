// The API of a peer that has no genesis yet: it says who it is and what it waits for; everything else is answered by that.

import Arithmetic
import Foundation
import Gateway
import Primitives

struct WaitingService: NodeService {
    let search: GenesisSearch
    let home: Home
    let settings: Settings
    let key: SigningKey
    let started: WallTime

    private var fault: NodeFault {
        NodeFault(.unavailable, search.standing.sentence, code: "no_genesis", retryAfterSeconds: 5)
    }

    func readiness() async -> Readiness {
        Readiness(isReady: false, state: PeerState.waiting.rawValue, sentence: search.standing.sentence)
    }

    func perform(_ call: NodeCall) async throws(NodeFault) -> JSONValue {
        switch call {
        case .identity:
            return .object([
                "peer": .string(key.publicKey.peerID.text), "account": .string(key.publicKey.account.text),
                "addresses": .array([]), "network": network, "role": .string(settings.text("role")),
                "version": .string(RunningPeer.version),
            ])
        case .status: return status
        case .configuration: return settings.explained
        case .shutdown: return PeerService.endProcess()
        default: throw fault
        }
    }

    private var network: JSONValue {
        .object(["genesis": .string(search.network.text), "name": .null, "local": .bool(false)])
    }

    private var status: JSONValue {
        let standing = search.standing
        let next = PeerState.waiting.next
        let none = JSONValue.amount(.zero)
        return .object([
            "sentence": .string(standing.sentence), "state": .string(PeerState.waiting.rawValue),
            "next": .object(["sentence": .string(next.sentence), "action": .string(next.action)]),
            "peer": .string(key.publicKey.peerID.text), "account": .string(key.publicKey.account.text),
            "role": .string(settings.text("role")), "version": .string(RunningPeer.version),
            "uptime_s": .integer(max(0, NodeDriver.wallTime().milliseconds - started.milliseconds) / 1000),
            "network": network.adding([
                JSONMember("height", .integer(0)), JSONMember("synced", .bool(false)),
                JSONMember("last_batch_ms", .null),
            ]),
            "balance": .object(["free": none, "locked": none, "staked": none, "pending": none]),
            "peers": .object([
                "connected": .integer(standing.connected), "known": .integer(settings.list("bootstrap").count),
            ]),
            "reachability": .object(["state": .string("unknown"), "port": .null, "remedy": .null]),
            "serving": .object(["models": .array([]), "running": .integer(0), "queued": .integer(0)]),
            "storage": .object([
                "used_bytes": .integer(0), "free_bytes": .integer(PeerService.freeBytes(at: home.path) ?? 0),
            ]),
        ])
    }

    var numericsRevision: UInt64 { KernelNumerics.revision }
    func modelCards() async throws(NodeFault) -> [ModelCard] { throw fault }
    func price() async throws(NodeFault) -> AnswerPrice { throw fault }
    func embed(_ request: EmbeddingRequest) async throws(NodeFault) -> Embeddings { throw fault }
    func generate(_ request: GenerationRequest) async throws(NodeFault) -> Generation { throw fault }
    func tokenize(_ request: TokenizeRequest) async throws(NodeFault) -> [UInt32] { throw fault }
    func detokenize(_ tokens: [UInt32], model: String) async throws(NodeFault) -> String { throw fault }
    func receiptBundle(_ id: String) async throws(NodeFault) -> [UInt8] { throw fault }
    func block(_ cid: CID) async throws -> [UInt8]? { nil }

    func stream(
        _ call: NodeStreamCall
    ) async throws(NodeFault) -> any AsyncSequence<JSONValue, any Error> & Sendable { throw fault }

    func events() async throws(NodeFault) -> any AsyncSequence<NodeEvent, any Error> & Sendable { throw fault }

    func blocks(
        below root: CID, blocksMax: Int
    ) async throws -> any AsyncSequence<Block, any Error> & Sendable { throw fault }
}
