// What accounts have earned by settled batches, and for what: kept as sums, so that a page reads only what came since. The
// history on the disk is the truth; a restart reads it once.

import Datanets
import Ledger
import NodeCore
import Primitives
import Storage
import Synchronization

/// What something was earned with: a share's kind, and the datanet, adapter or model that it is for.
struct EarningSource: Hashable, Comparable, Sendable {
    var kind: HistoryKind
    /// Of a datanet its id, else the manifest's CID; empty for what the chain itself pays.
    var id: String

    static func < (a: Self, b: Self) -> Bool { (a.kind.rawValue, a.id) < (b.kind.rawValue, b.id) }
}

struct Earnings: Sendable {
    struct Sum: Sendable {
        var amount = Amount.zero
        var count = 0

        mutating func add(_ other: Amount) {
            amount = sum([amount, other])
            count += 1
        }
    }

    var sums: [EarningSource: Sum] = [:]
    /// By the day of the batch (UTC, days since 1970).
    private(set) var days: [Int64: Amount] = [:]
    var penalties = Sum()
    /// Of the history's newest entries that earned something or were a penalty, oldest first.
    private(set) var keys: [[UInt8]] = []
    /// Entries that were looked at.
    fileprivate var lookedAt = 0
    /// Of the last of them.
    fileprivate var last: [UInt8]?

    /// Keeps between `most` and twice as many: the others are in the history.
    mutating func remember(_ key: [UInt8], most: Int) {
        keys.append(key)
        if keys.count >= 2 * most { keys.removeFirst(keys.count - most) }
    }

    /// What there is no room for has no name of its own.
    mutating func add(_ amount: Amount, from source: EarningSource, most: Int) {
        let isKnown = sums[source] != nil || sums.count < most
        sums[isKnown ? source : EarningSource(kind: source.kind, id: ""), default: .init()].add(amount)
    }

    /// Keeps between `most` and twice as many days.
    mutating func add(_ amount: Amount, at time: WallTime, most: Int) {
        let day = time.milliseconds / Self.dayMilliseconds
        days[day] = sum([days[day] ?? .zero, amount])
        if days.count >= 2 * most {
            for day in days.keys.sorted().prefix(days.count - most) { days[day] = nil }
        }
    }

    static let dayMilliseconds: Int64 = 86_400_000

    var total: Amount { sum(sums.sorted { $0.key < $1.key }.map(\.value.amount)) }
}

final class EarningsBook: Sendable {
    /// Accounts whose sums are kept; the one that was asked for longest ago makes room.
    private static let accountsMax = 8
    private static let pageMax = 1_000
    private static let keysMax = 5_000
    private static let sourcesMax = 4_096
    private static let daysMax = 400
    /// Snapshots whose datanet is remembered; then it is looked up again.
    private static let snapshotsMax = 1_024
    static let kinds: Set<HistoryKind> = [.served, .model, .adapter, .contributor, .committee, .reward]

    private let store: NodeStore
    private let network: NetworkID
    private let known = Mutex([(account: AccountID, earnings: Earnings)]())
    private let datanets = Mutex([CID: String]())

    init(store: NodeStore, network: NetworkID) {
        self.store = store
        self.network = network
    }

    /// Reads what came since the last time.
    func earnings(of account: AccountID) throws(StorageFault) -> Earnings {
        var earnings = known.withLock { $0.first { $0.account == account }?.earnings } ?? Earnings()
        let from = earnings.last.map { $0 + [0] }
        var scan: Scan? = Scan(NodeTable.history.id, prefix: account.bytes, from: from, limit: Self.pageMax)
        var batch: (height: UInt64, time: WallTime, receipts: [Digest: Receipt])?
        while let current = scan {
            let page = try store.store.scan(current)
            for item in page.entries {
                earnings.last = item.key
                earnings.lookedAt += 1
                guard let value = try? CBOR.decode(item.value), let entry = try? HistoryEntry(cbor: value) else {
                    continue
                }
                if entry.kind == .slashed { earnings.penalties.add(entry.amount) }
                let isEarned = entry.gained && Self.kinds.contains(entry.kind)
                guard isEarned || entry.kind == .slashed else { continue }
                earnings.remember(item.key, most: Self.keysMax)
                guard isEarned else { continue }
                if batch?.height != entry.height {
                    let stored = try store.batch(entry.height)
                    let receipts = stored?.batch.contents.receipts ?? []
                    batch = (
                        entry.height, stored?.header.time ?? WallTime(milliseconds: 0),
                        Dictionary(receipts.map { ($0.id, $0.receipt) }, uniquingKeysWith: { $1 })
                    )
                }
                let receipt = batch?.receipts[entry.reference]
                if let time = batch?.time { earnings.add(entry.amount, at: time, most: Self.daysMax) }
                earnings.add(
                    entry.amount, from: source(entry.kind, receipt, account), most: Self.sourcesMax)
            }
            scan = current.continued(after: page)
        }
        let found = earnings
        known.withLock { known in
            let newer = known.first { $0.account == account }.map { $0.earnings.lookedAt > found.lookedAt } ?? false
            guard !newer else { return }
            known.removeAll { $0.account == account }
            known.append((account, found))
            if known.count > Self.accountsMax { known.removeFirst(known.count - Self.accountsMax) }
        }
        return earnings
    }

    /// - Parameter receipt: nil for what an epoch's end pays.
    func source(_ kind: HistoryKind, _ receipt: Receipt?, _ account: AccountID) -> EarningSource {
        guard let receipt else { return EarningSource(kind: kind, id: "") }
        switch kind {
        case .contributor: return EarningSource(kind: kind, id: receipt.data.snapshots.first.map(datanet) ?? "")
        case .adapter:
            let own = receipt.model.adapters.first { $0.owner == account } ?? receipt.model.adapters.first
            return EarningSource(kind: kind, id: own?.adapter.text ?? "")
        case .served, .model: return EarningSource(kind: kind, id: receipt.model.weights.text)
        default: return EarningSource(kind: kind, id: "")
        }
    }

    /// A datanet's id outlives its snapshots.
    private func datanet(_ snapshot: CID) -> String {
        if let id = datanets.withLock({ $0[snapshot] }) { return id }
        guard let bytes = try? store.block(snapshot),
            let manifest = try? DatanetManifest.open(bytes, network: network)
        else { return snapshot.text }
        let id = manifest.id.text
        datanets.withLock { datanets in
            if datanets.count >= Self.snapshotsMax { datanets = [:] }
            datanets[snapshot] = id
        }
        return id
    }
}

extension HistoryKind {
    init(_ role: FeeRole) {
        switch role {
        case .server: self = .served
        case .model: self = .model
        case .adapter: self = .adapter
        case .contributor: self = .contributor
        }
    }
}
