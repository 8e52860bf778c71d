// What an account earns: estimated (a receipt is signed), pending (it waits for a batch with everybody) and settled (a batch
// pays it). Each amount is in exactly one of the three; the pending one is the same that the status and the balance show.

import Gateway
import Ledger
import NodeCore
import Primitives
import Storage

extension PeerService {
    /// Of this peer's newest receipts so many may be estimated; of those that wait so many are looked at.
    private static let estimatedMax = 64
    private static let pooledMax = 4_096
    private static let daysShown = 30

    /// By source; what waits, and what is only signed.
    private struct Expected {
        var pending: [EarningSource: Amount] = [:]
        var estimated: [EarningSource: Amount] = [:]

        static func total(_ amounts: [EarningSource: Amount]) -> Amount {
            sum(amounts.sorted { $0.key < $1.key }.map(\.value))
        }
    }

    private func expected(of account: AccountID) async throws(NodeFault) -> Expected {
        let (fees, pooled) = try await read { node in
            (node.parameters.fees, node.pooledReceipts(paying: account, countMax: Self.pooledMax))
        }
        var expected = Expected()
        func add(_ receipt: Receipt, to amounts: inout [EarningSource: Amount]) {
            let split = FeeSplit(of: receipt.amount, shares: fees, receipt: receipt)
            for payment in split.payments where payment.account == account {
                let source = earned.source(HistoryKind(payment.role), receipt, account)
                amounts[source] = sum([amounts[source] ?? .zero, payment.amount])
            }
        }
        for signed in pooled { add(signed.receipt, to: &expected.pending) }
        guard account == handle.account else { return expected }
        let newest = try stored { () throws(StorageFault) -> [[UInt8]] in try self.own.keys() }.suffix(
            Self.estimatedMax)
        for key in newest {
            guard let id = Digest(key.dropFirst(8)), try place(of: id) == nil,
                try await read({ !$0.isPooled(receipt: id) && $0.refusal(ofReceipt: id) == nil }),
                // Settled between the two looks.
                try place(of: id) == nil,
                let own = try stored({ () throws(StorageFault) -> OwnReceipt? in try self.own.receipt(at: key) })
            else { continue }
            add(own.signed.receipt, to: &expected.estimated)
        }
        return expected
    }

    /// What waits for a batch.
    func pendingEarnings() async throws(NodeFault) -> Amount {
        Expected.total(try await expected(of: handle.account).pending)
    }

    func earnings(_ text: String, _ page: ListPage) async throws(NodeFault) -> JSONValue {
        let account = try accountID(text)
        let expected = try await expected(of: account)
        let settled = try stored { () throws(StorageFault) -> Earnings in try earned.earnings(of: account) }
        let names = try await names(), height = try await read { $0.height }
        let sources = Set(settled.sums.keys).union(expected.pending.keys).union(expected.estimated.keys).sorted()
        let cut = try PageCut(page, of: settled.keys.count)
        var entries: [JSONValue] = []
        // Newest first.
        for offset in cut.range {
            let key = settled.keys[settled.keys.count - 1 - offset]
            let value = try stored { () throws(StorageFault) -> [UInt8]? in try peer.store.value(.history, key) }
            guard let value, let cbor = try? CBOR.decode(value), let entry = try? HistoryEntry(cbor: cbor) else {
                continue
            }
            let receipt = try storedBatch(entry.height)?.batch.contents.receipts.first { $0.id == entry.reference }?
                .receipt
            let source = earned.source(entry.kind, receipt, account)
            entries.append(
                try json(entry).adding([
                    JSONMember("source", .text(Self.name(of: source, names))),
                    JSONMember("receipt", receipt == nil ? .null : .string(entry.reference.hex)),
                ]))
        }
        return .object([
            "account": .string(account.text), "height": .integer(height),
            "estimated": .amount(Expected.total(expected.estimated)),
            "pending": .amount(Expected.total(expected.pending)), "settled": .amount(settled.total),
            "penalties": .amount(settled.penalties.amount),
            "sources": .array(
                sources.map { source in
                    .object([
                        "kind": .string(source.kind.rawValue), "note": .string(Self.note(source.kind)),
                        "source": .text(Self.name(of: source, names)),
                        "estimated": .amount(expected.estimated[source] ?? .zero),
                        "pending": .amount(expected.pending[source] ?? .zero),
                        "settled": .amount(settled.sums[source]?.amount ?? .zero),
                        "payments": .integer(settled.sums[source]?.count ?? 0),
                    ])
                }),
            "days": .array(
                settled.days.sorted { $0.key < $1.key }.suffix(Self.daysShown).map { day, amount in
                    .object([
                        "day_ms": .integer(day * Earnings.dayMilliseconds), "settled": .amount(amount),
                    ])
                }), "unpaid": try unpaid(account), "entries": .array(entries), "next": cut.next,
        ])
    }

    /// As people know it; nil for what the chain itself pays.
    private static func name(of source: EarningSource, _ names: NameBook) -> String? {
        guard !source.id.isEmpty else { return nil }
        if source.kind == .contributor {
            return Hex.decode(source.id).flatMap { Digest($0) }.map { names.name(datanet: $0) } ?? source.id
        }
        return (try? CID(text: source.id)).map { names.name($0) } ?? source.id
    }

    /// The account's rows that stood in prompts of this peer's newest answers and are owed nothing, by reason.
    private func unpaid(_ account: AccountID) throws(NodeFault) -> JSONValue {
        var counts: [String: Int] = [:]
        let newest = try stored { () throws(StorageFault) -> [[UInt8]] in try self.own.keys() }.suffix(
            Self.estimatedMax)
        for key in newest {
            let own = try stored { () throws(StorageFault) -> OwnReceipt? in try self.own.receipt(at: key) }
            for source in own?.sources ?? [] where source.contributor == account {
                if let reason = source.reason?.rawValue { counts[reason, default: 0] += 1 }
            }
        }
        return .array(
            counts.sorted { $0.key < $1.key }.map {
                .object(["reason": .string($0.key), "rows": .integer($0.value)])
            })
    }
}
