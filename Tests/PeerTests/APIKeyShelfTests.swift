import Gateway
import Primitives
import Storage
import Synchronization
import Testing

@testable import Peer

@Suite struct APIKeyShelfTests {
    private static let record = APIKeyRecord(
        digest: Digest(sha256: [1, 2, 3]), name: "shop",
        limits: APIKeyLimits(
            requestsPerMinute: 60, tokensPerMinute: 100_000, spend: Amount(text: "1.5"), period: .month),
        created: WallTime(milliseconds: 1_700_000_000_000), spent: Amount(text: "0.25") ?? .zero, period: 7,
        requests: 12, tokens: 3_456)

    private func store(_ home: TestHome) throws -> Store {
        try Store(home: home.path, schema: Schema(version: 1, tables: APIKeyShelf.tables))
    }

    private func wait(_ change: (@escaping @Sendable (AnswerFault?) -> Void) -> Void) async -> AnswerFault? {
        await withCheckedContinuation { continuation in change { continuation.resume(returning: $0) } }
    }

    @Test func keysSurviveARestart() async throws {
        let home = try TestHome()
        let bare = APIKeyRecord(
            digest: Digest(sha256: [9]), name: "bare", limits: APIKeyLimits(), created: WallTime(milliseconds: 1))
        do {
            let store = try store(home)
            let shelf = APIKeyShelf(store: store)
            #expect(await wait { shelf.put(Self.record, done: $0) } == nil)
            #expect(await wait { shelf.put(bare, done: $0) } == nil)
            store.close()
        }
        let store = try store(home)
        let shelf = APIKeyShelf(store: store)
        #expect(Set(try shelf.records()) == [Self.record, bare])
        #expect(await wait { shelf.remove(Self.record.digest, done: $0) } == nil)
        #expect(try shelf.records() == [bare])
        // A line that is none is said, not skipped: a key whose limits cannot be read must not be without any.
        try store.write([StoreWrite(table: "apikeys", key: Digest.zero.bytes, value: [0x80])])
        #expect(throws: AnswerFault.self) { try shelf.records() }
        store.close()
    }
}
