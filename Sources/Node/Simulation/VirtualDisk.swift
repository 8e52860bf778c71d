// A disk that keeps its word or, when told to, does not. Write sets become durable one after the other, each as a whole;
// a crash loses those that had not, the one being written included.
//
//   persist ──▶ queued ──sync──▶ durable        crash: the queue is gone

import NodeCore
import Primitives

struct VirtualDisk: TableReader {
    typealias ReadFault = Never

    private var tables: [NodeTable: [[UInt8]: [UInt8]]] = [:]
    private var blocks: [CID: [UInt8]] = [:]
    private var queue: [(ticket: Ticket, writes: [NodeWrite])] = []
    /// The planted bug: synced is said of what only the queue holds; it is written this many sets late.
    let lies: Bool
    private static let liesBehind = 24
    /// The planted bug: blocks are taken and not kept.
    var forgetsBlocks = false
    /// When the last of the queue will be durable.
    var busyUntil = Instant.start

    init(lies: Bool) { self.lies = lies }

    mutating func persist(_ writes: [NodeWrite], _ ticket: Ticket) { queue.append((ticket, writes)) }

    /// Makes the oldest set durable. Sets are synced in the order in which they were written.
    mutating func sync(_ ticket: Ticket) {
        if lies {
            while queue.count > Self.liesBehind { apply(queue.removeFirst().writes) }
            return
        }
        guard let first = queue.first, first.ticket == ticket else { return }
        queue.removeFirst()
        apply(first.writes)
    }

    /// Loses what was not synced, except for the first `kept` sets, which had reached the disk without anybody being told.
    mutating func crash(at now: Instant, keeping kept: Int) {
        if !lies { for set in queue.prefix(kept) { apply(set.writes) } }
        queue = []
        busyUntil = now
    }

    private mutating func apply(_ writes: [NodeWrite]) {
        for write in writes {
            switch write {
            case .put(let table, let key, let value): tables[table, default: [:]][key] = value
            case .delete(let table, let key): tables[table]?[key] = nil
            case .block(let cid, let bytes): if !forgetsBlocks { blocks[cid] = bytes }
            case .dropBlock(let cid): blocks[cid] = nil
            }
        }
    }

    func block(_ cid: CID) -> [UInt8]? { blocks[cid] }

    func value(_ table: NodeTable, _ key: [UInt8]) -> [UInt8]? { tables[table]?[key] }

    func all(_ table: NodeTable, prefix: [UInt8]) -> [(key: [UInt8], value: [UInt8])] {
        (tables[table] ?? [:]).filter { $0.key.starts(with: prefix) }
            .sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { ($0.key, $0.value) }
    }

    /// The certified batches of a range, as far as they are there without a gap.
    func batches(_ from: UInt64, _ through: UInt64) -> [[UInt8]] {
        var found: [[UInt8]] = []
        for height in from...through {
            guard let bytes = value(.batches, height.bigEndianBytes) else { break }
            found.append(bytes)
        }
        return found
    }
}
