// What the tests of shelf, library and engines share: a home in a temporary folder, the starter model, a few rows as shards.

import Datanets
import Foundation
import Ledger
import NodeCore
import Primitives
import Records
import Storage
import Testing

@testable import Peer

enum Starter {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Bootstrap/starter")
        .standardized.path
    static let model = "\(folder)/model"
    static let adapter = "\(folder)/adapters/food"

    /// Rows of food.jsonl that have one of `words`.
    static func rows(_ words: [String]) throws -> [Row] {
        let bytes = [UInt8](try Data(contentsOf: URL(filePath: "\(folder)/datanets/food.jsonl")))
        let lines = bytes.split(separator: 0x0a).filter { line in
            let text = String(decoding: line, as: UTF8.self)
            return words.contains { text.contains($0) }
        }
        return RowFile(jsonl: Array(lines.joined(separator: [0x0a])), name: "food.jsonl").rows.map(\.row)
    }
}

/// A home in a folder that goes when this does. It can be opened more than once, one after the other, as runs of a peer do.
final class TestHome {
    struct Open {
        let store: Store
        let blobs: BlobStore
        let shelf: ModelShelf
    }

    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.appending(path: "openledger-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func open() throws -> Open {
        let store = try Store(home: path, schema: Schema(version: 1, tables: BlobTables.all + ModelShelf.tables))
        let blobs = try BlobStore(store)
        return Open(store: store, blobs: blobs, shelf: try ModelShelf(store: store, blobs: blobs))
    }
}

/// Rows as a datanet of this machine.
struct TestDatanet: Sendable {
    let held: HeldDatanet
    private let blocks: [CID: [UInt8]]

    init(_ rows: [[Row]]) throws {
        var blocks: [CID: [UInt8]] = [:]
        func keep(_ bytes: [UInt8]) -> CID {
            let cid = CID(.dagCBOR, hashing: bytes)
            blocks[cid] = bytes
            return cid
        }
        let network = NetworkID(.zero), owner = try SigningKey(seed: [UInt8](repeating: 99, count: 32))
        func signed(_ manifest: DatanetManifest) -> CID {
            keep(SignedEnvelope(manifest.encoded(), by: owner, domain: .manifest, network: network).encoded())
        }
        var manifest = try DatanetManifest(
            owner: AccountID(owner.publicKey), name: "food", nonce: [UInt8](repeating: 0, count: 16),
            licence: "WordNet-3.0", policy: .open)
        var snapshot = signed(manifest), shards: [CID] = []
        for (index, rows) in rows.enumerated() {
            let key = try SigningKey(seed: [UInt8](repeating: UInt8(index + 1), count: 32))
            let contributor = AccountID(key.publicKey)
            let cut = Shard.cut(rows, contributor: contributor, licence: "WordNet-3.0")
            for shard in cut { shards.append(keep(shard.encoded())) }
            let contribution = Contribution(
                cut, to: manifest.id, contributor: contributor, licence: "WordNet-3.0", sequence: UInt64(index + 1))
            let envelope = SignedEnvelope(contribution.encoded(), by: key, domain: .contribution, network: network)
            manifest = try manifest.adding(keep(envelope.encoded()), contribution, after: snapshot)
            snapshot = signed(manifest)
        }
        held = HeldDatanet(
            id: manifest.id, name: "food", snapshot: snapshot, shards: shards, licence: "WordNet-3.0")
        self.blocks = blocks
    }

    var library: Library {
        Library(read: { [blocks] in blocks[$0] }, datanet: { [held] in $0 == held.id.digest ? held : nil })
    }
}

/// What the engine says of an order, gathered until it ends.
final class NewsBox: Sendable {
    private let stream: AsyncStream<GenerationNews>
    private let continuation: AsyncStream<GenerationNews>.Continuation

    init() { (stream, continuation) = AsyncStream.makeStream() }

    var take: @Sendable (GenerationNews) -> Void {
        { [continuation] news in
            continuation.yield(news)
            switch news {
            case .finished, .failed: continuation.finish()
            case .started, .token: break
            }
        }
    }

    struct Answer {
        var start: AnswerStart?
        var tokens: [UInt32] = []
        var text = ""
        var end: AnswerEnd?
        var fault: String?
    }

    func answer() async -> Answer {
        var answer = Answer()
        for await news in stream {
            switch news {
            case .started(let start): answer.start = start
            case .token(let id, let text, _):
                answer.tokens.append(id)
                answer.text += text
            case .finished(let end): answer.end = end
            case .failed(let code, _): answer.fault = code
            }
        }
        return answer
    }
}

func order(
    _ model: CID, adapters: [AdapterUse] = [], datanet: Digest? = nil,
    prompt: AskPrompt = .messages([AskMessage(role: "user", content: "Define brisket.")]),
    decoding: Decoding = Decoding(maxTokens: 64), precision: String = "int8"
) throws -> AskOrder {
    let payer = AccountID(try SigningKey(seed: [UInt8](repeating: 9, count: 32)).publicKey)
    return AskOrder(
        request: .zero, allowance: AllowanceID(.zero), sequence: 1, priorTotal: .zero,
        price: PriceSchedule(request: .zero, promptToken: .zero, answerToken: .zero), priceMax: .zero, payer: payer,
        model: model, precision: precision, adapters: adapters, datanet: datanet, prompt: prompt, decoding: decoding,
        promptSalt: [UInt8](repeating: 1, count: 32), answerSalt: [UInt8](repeating: 2, count: 32))
}

/// As the server bills it.
func billed(
    _ order: AskOrder, _ start: AnswerStart, _ answer: [UInt32], _ weighed: WeighedAnswer
) throws -> Receipt {
    let key = try SigningKey(seed: [UInt8](repeating: 8, count: 32)).publicKey
    var data = weighed.data
    data.rows = SourceLedger.root(of: weighed.sources)
    data.contributors = SourceLedger.contributors(of: weighed.sources)
    return Receipt(
        network: NetworkID(.zero), allowance: order.allowance, sequence: order.sequence, request: order.request,
        expiry: 9, model: start.model, decoding: order.decoding,
        prompt: try #require(
            Commitment(salt: order.promptSalt, content: Commitment.content(tokens: start.promptTokens))),
        answer: try #require(Commitment(salt: order.answerSalt, content: Commitment.content(tokens: answer))),
        promptTokens: UInt64(start.promptTokens.count), answerTokens: UInt64(answer.count), data: data,
        price: order.price, amount: .zero, total: .zero, payer: order.payer, payerKey: key, server: key.account,
        serverKey: key)
}
