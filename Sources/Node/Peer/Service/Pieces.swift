// Small shapes that every answer is made of: pages, streams of lines, faults of the node in the interface's words.

import Datanets
import Gateway
import Ledger
import NodeCore
import Primitives

/// A list cut to a page; the cursor is the place of the next item.
struct PageCut {
    let range: Range<Int>
    let next: JSONValue

    init(_ page: ListPage, of count: Int) throws(NodeFault) {
        var start = 0
        if let cursor = page.cursor {
            guard let place = Int(cursor), place >= 0 else {
                throw NodeFault(
                    .invalid, "cursor is not one that an answer gave as \"next\"", param: "cursor",
                    code: "invalid_cursor")
            }
            start = min(place, count)
        }
        let end = min(count, start + max(1, min(page.limit, 200)))
        range = start..<end
        next = end < count ? .string("\(end)") : .null
    }
}

extension JSONValue {
    static func amount(_ amount: Amount) -> JSONValue { .string(amount.text) }
    static func time(_ time: WallTime) -> JSONValue { .integer(time.milliseconds) }
    static func text(_ text: String?) -> JSONValue { text.map(JSONValue.string) ?? .null }

    /// The same object with more members behind.
    func adding(_ members: [JSONMember]) -> JSONValue { .members((memberList ?? []) + members) }
}

/// A stream of JSON lines made by a task; ending the iteration cancels it. Of lines that nobody reads the oldest go.
func lines(
    _ body: @escaping @Sendable (@escaping @Sendable (JSONValue) -> Void) async throws(NodeFault) -> JSONValue
) -> AsyncThrowingStream<JSONValue, any Error> {
    AsyncThrowingStream(bufferingPolicy: .bufferingNewest(256)) { continuation in
        let task = Task {
            do {
                continuation.yield(try await body { continuation.yield($0) })
                continuation.finish()
            } catch {
                continuation.finish(throwing: error)
            }
        }
        continuation.onTermination = { _ in task.cancel() }
    }
}

func progressLine(done: UInt64, total: UInt64, blocks: Int) -> JSONValue {
    .object([
        "event": .string("progress"), "done_bytes": .integer(done), "total_bytes": .integer(max(done, total)),
        "blocks": .integer(blocks),
    ])
}

extension CBOR {
    /// DAG-JSON (ipld.io/specs/codecs/dag-json): links and bytes are objects under "/".
    var dagJSON: JSONValue {
        switch self {
        case .unsigned(let number): .integer(number)
        case .negative(let number): number == .max ? .number("-18446744073709551616") : .number("-\(number + 1)")
        case .bytes(let bytes):
            .object(["/": .object(["bytes": .string(String(Base64.encode(bytes).prefix { $0 != "=" }))])])
        case .text(let text): .string(text)
        case .array(let items): .array(items.map(\.dagJSON))
        case .entries(let entries): .members(entries.map { JSONMember($0.key, $0.value.dagJSON) })
        case .link(let cid): .object(["/": .string(cid.text)])
        case .bool(let flag): .bool(flag)
        case .null: .null
        }
    }
}

extension NodeFault {
    static func missing(_ what: String, code: String) -> NodeFault { NodeFault(.missing, what, code: code) }

    /// What the node said, in the interface's words.
    init(_ failure: NodeFailure) {
        switch failure {
        case .exchange(let fault): self.init(fault)
        case .transaction(let fault): self.init(fault)
        case .poolFull:
            self.init(
                .busy, "too many transactions wait for a batch; try again soon", code: "pool_full", retryAfterSeconds: 5
            )
        case .notConnected(let peer):
            self.init(
                .unavailable, "\(peer) is not connected; connect with: openledger peers add ADDRESS",
                code: "not_connected",
                retryAfterSeconds: 5)
        case .notReady(let reason): self.init(.unavailable, reason, code: "not_ready", retryAfterSeconds: 5)
        case .content(let reason):
            self.init(.unavailable, "the content did not come: \(reason)", code: "content", retryAfterSeconds: 10)
        case .datanet(let fault): self.init(fault)
        case .layers(let fault):
            self.init(
                .unavailable, "a peer that computes layers failed: \(fault.description)", code: "layers_missing",
                retryAfterSeconds: 10)
        case .tooMany(let what, let max):
            self.init(.busy, "\(max) \(what) run already; try again soon", code: "too_many", retryAfterSeconds: 5)
        case .timedOut(let what): self.init(.timeout, what, code: "timed_out", retryAfterSeconds: 10)
        case .audit(let fault): self.init(.unverified, "the receipt cannot be audited: \(fault)", code: fault.rawValue)
        case .auditRefused(let code, let message):
            self.init(.unavailable, "the answer was not re-executed: \(message)", code: code, retryAfterSeconds: 60)
        }
    }

    private init(_ fault: ExchangeFault) {
        switch fault {
        case .refused(let code, let message):
            let kind: Kind = code == "busy" ? .busy : code == "price" || code == "order" ? .invalid : .unavailable
            self.init(kind, "the server refused: \(message)", code: code, retryAfterSeconds: kind == .invalid ? nil : 5)
        case .tooExpensive(let cost, let max):
            self.init(
                .invalid,
                "the answer costs \(cost.text) OPEN, more than max_price \(max.text); allow more or ask for fewer tokens",
                param: "max_price", code: "too_expensive")
        case .vanished:
            self.init(
                .unavailable, "the server went away; ask again, another may answer", code: "server_vanished",
                retryAfterSeconds: 1)
        default:
            self.init(
                .unavailable, "the server broke the protocol, nothing more is paid to it: \(fault)",
                code: "server_fault", retryAfterSeconds: 1)
        }
    }

    init(_ fault: TransactionFault) {
        switch fault {
        case .insufficientBalance:
            self.init(
                .balance,
                "your free balance does not cover it; on a test network take some with: openledger account faucet",
                code: "insufficient_balance")
        case .insufficientStake(let minimum):
            self.init(.balance, "the stake is below the minimum of \(minimum.text) OPEN", code: "insufficient_stake")
        case .faucetTaken:
            self.init(.busy, "this account has taken from the faucet; it gives once an account", code: "faucet_taken")
        case .faucetBusy:
            self.init(
                .busy, "the faucet has given enough in this batch; try again soon", code: "faucet_busy",
                retryAfterSeconds: 5)
        case .noFaucet: self.init(.forbidden, "this network has no faucet", code: "no_faucet")
        case .nothingToClaim: self.init(.conflict, "nothing has finished unbonding yet", code: "nothing_to_claim")
        case .zeroAmount: self.init(.invalid, "the amount must be above 0", param: "amount", code: "out_of_range")
        default: self.init(.conflict, "the transaction was refused: \(fault)", code: "refused")
        }
    }

    init(_ fault: DatanetFault) {
        switch fault {
        case .notTheOwner: self.init(.forbidden, "only the datanet's owner decides this", code: "not_the_owner")
        case .unknownDatanet(let id):
            self.init(
                .missing, "the datanet \(id) is not held here; pull it first: openledger datanet pull \(id)",
                code: "not_held")
        case .nothingNew: self.init(.conflict, "every row is in the datanet already", code: "nothing_new")
        case .alreadyThere: self.init(.conflict, "there is one like it already", code: "exists")
        case .privateIsReserved:
            self.init(
                .unsupported, "private datanets are not built in this version; use open or approval", param: "access",
                code: "not_built")
        case .invalid(let field, let reason):
            let param = field == "licence" ? "license" : field
            self.init(.invalid, "\(param) \(reason)", param: param, code: "invalid_value")
        case .tooLarge(let what, let count, let limit):
            self.init(.tooLarge, "\(count) \(what), the limit is \(limit); split the file", code: "too_large")
        case .full(let what, let limit): self.init(.busy, "\(what) is full (\(limit))", code: "full")
        case .unavailable(let cid):
            self.init(.missing, "\(cid) waits for no decision here, or nobody has it", code: "unavailable")
        default: self.init(.unverified, "the datanet's content fails its checks: \(fault)", code: "unverified")
        }
    }
}
