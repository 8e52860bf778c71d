// What this peer remembers of its adapters beside their weights: which are pinned and which fusions have a name (on the
// disk), how often each was asked for and found in memory (since the start).

package import Primitives
package import Storage
import Synchronization

/// Several adapters of a base under one name, to be asked for like an adapter.
package struct NamedFusion: Hashable, Sendable {
    package var name: String
    package var base: CID
    /// Each with its weight in millionths.
    package var parts: [Part]
    /// As in a receipt: Protocol/fusion.md.
    package var method: String

    package struct Part: Hashable, Sendable {
        package var adapter: CID
        package var weight: Int64
    }
}

/// Since the peer's start.
struct AdapterUsage: Hashable, Sendable {
    var requests: UInt64 = 0
    /// Requests that found it in memory.
    var hits: UInt64 = 0
    var loads: UInt64 = 0
    var failures: UInt64 = 0
    var lastUsed: WallTime?
    var lastFault: String?
}

package final class AdapterBook: Sendable {
    private static let table: TableID = "adapters"
    package static let tables: [TableID] = [table]
    private static let version: UInt64 = 1
    /// Fusions with a name, and pins.
    package static let entriesMax = 1_024
    private static let pinMark = UInt8(ascii: "p"), fusionMark = UInt8(ascii: "f")

    private struct Pages {
        var pins: Set<CID> = []
        var fusions: [String: NamedFusion] = [:]
        var usage: [CID: AdapterUsage] = [:]
    }

    private let store: Store?
    private let pages: Mutex<Pages>

    /// Without a store it forgets all at the end.
    package init(store: Store?) throws(StorageFault) {
        self.store = store
        var pages = Pages()
        for entry in try store?.scan(Scan(Self.table, limit: 2 * Self.entriesMax)).entries ?? [] {
            let key = Array(entry.key.dropFirst())
            do {
                if entry.key.first == Self.pinMark {
                    pages.pins.insert(try CID(bytes: key))
                } else {
                    let fusion = try Self.decode(entry.value)
                    pages.fusions[fusion.name] = fusion
                }
            } catch {
                throw .undecodable(table: Self.table, key: Hex.encode(entry.key), reason: "\(error)")
            }
        }
        self.pages = Mutex(pages)
    }

    // MARK: Pins

    package var pins: [CID] { pages.withLock { $0.pins.sorted() } }
    package func isPinned(_ adapter: CID) -> Bool { pages.withLock { $0.pins.contains(adapter) } }

    /// Blocks until the disk has it.
    /// - Returns: whether there was room.
    package func pin(_ adapter: CID) throws(StorageFault) -> Bool {
        guard pages.withLock({ $0.pins.contains(adapter) || $0.pins.count < Self.entriesMax }) else { return false }
        try write(Self.pinMark, adapter.bytes, [])
        pages.withLock { _ = $0.pins.insert(adapter) }
        return true
    }

    package func unpin(_ adapter: CID) throws(StorageFault) {
        try write(Self.pinMark, adapter.bytes, nil)
        pages.withLock { _ = $0.pins.remove(adapter) }
    }

    // MARK: Fusions

    /// By name.
    package var fusions: [NamedFusion] { pages.withLock { $0.fusions.values.sorted { $0.name < $1.name } } }
    package func fusion(_ name: String) -> NamedFusion? { pages.withLock { $0.fusions[name] } }

    /// Blocks until the disk has it.
    /// - Returns: whether there was room.
    package func put(_ fusion: NamedFusion) throws(StorageFault) -> Bool {
        guard pages.withLock({ $0.fusions[fusion.name] != nil || $0.fusions.count < Self.entriesMax }) else {
            return false
        }
        try write(Self.fusionMark, Array(fusion.name.utf8), Self.encode(fusion))
        pages.withLock { $0.fusions[fusion.name] = fusion }
        return true
    }

    package func removeFusion(_ name: String) throws(StorageFault) {
        try write(Self.fusionMark, Array(name.utf8), nil)
        pages.withLock { $0.fusions[name] = nil }
    }

    private func write(_ mark: UInt8, _ key: [UInt8], _ value: [UInt8]?) throws(StorageFault) {
        try store?.write([StoreWrite(table: Self.table, key: [mark] + key, value: value)])
    }

    // MARK: Use

    func usage(of adapter: CID) -> AdapterUsage { pages.withLock { $0.usage[adapter] ?? AdapterUsage() } }

    func asked(_ adapter: CID, isHit: Bool, at time: WallTime) {
        change(adapter) { usage in
            usage.requests += 1
            if isHit { usage.hits += 1 }
            usage.lastUsed = time
        }
    }

    func loaded(_ adapter: CID, fault: String?) {
        change(adapter) { usage in
            if fault == nil { usage.loads += 1 } else { usage.failures += 1 }
            usage.lastFault = fault
        }
    }

    /// Of adapters on the shelf only, whose number is bounded.
    private func change(_ adapter: CID, _ body: (inout AdapterUsage) -> Void) {
        pages.withLock { body(&$0.usage[adapter, default: AdapterUsage()]) }
    }

    /// It is off the shelf.
    package func forget(_ adapter: CID) throws(StorageFault) {
        pages.withLock { $0.usage[adapter] = nil }
        if isPinned(adapter) { try unpin(adapter) }
    }

    // MARK: Codec

    private static func encode(_ fusion: NamedFusion) -> [UInt8] {
        CBOR.map([
            ("v", .unsigned(version)), ("name", .text(fusion.name)), ("base", .link(fusion.base)),
            ("method", .text(fusion.method)),
            ("parts", .array(fusion.parts.map { .array([.link($0.adapter), .integer($0.weight)]) })),
        ]).encoded()
    }

    private static func decode(_ bytes: [UInt8]) throws(CBORFault) -> NamedFusion {
        var fields = try CBORFields(decoding: bytes, "NamedFusion")
        guard try fields.unsigned("v") == version else { throw fields.fault("v", "is a version that is not known") }
        let name = try fields.text("name", max: 64), base = try fields.link("base")
        let method = try fields.text("method", max: 64)
        var parts: [NamedFusion.Part] = []
        for item in try fields.array("parts", max: 64) {
            guard case .array(let pair) = item, pair.count == 2, case .link(let adapter) = pair[0] else {
                throw fields.fault("parts", "is not a list of [adapter, weight]")
            }
            let weight: Int64? =
                switch pair[1] {
                case .unsigned(let value): Int64(exactly: value)
                case .negative(let value): Int64(exactly: value).map { -1 - $0 }
                default: nil
                }
            guard let weight else { throw fields.fault("parts", "has a weight that is no number") }
            parts.append(NamedFusion.Part(adapter: adapter, weight: weight))
        }
        try fields.finish()
        return NamedFusion(name: name, base: base, parts: parts, method: method)
    }
}
