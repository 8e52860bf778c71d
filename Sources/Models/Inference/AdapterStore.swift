// Thousands of adapters known by name, the weights of a few in memory. The store reads no file: it says what it wants read
// (`takeLoads`), is told what came of it, and makes room before it asks, so the budget holds at every moment.
//
//     absent ──a request──▶ wanted ──room made──▶ loading ──▶ resident ──room needed──▶ absent
//                             ▲ │ parts first (a fusion)  └──▶ failed: those that wait are told, then absent
//                             └─┘
//
// What a running sequence uses, what is pinned and what was handed in from outside is never put out. What waiting
// requests need goes only for the sake of an older request.

import Primitives

final class AdapterStore {
    /// Fusions remembered before those that nobody uses are forgotten.
    private static let fusedMax = 1024

    private let bytesMax: Int
    private let knownMax: Int
    private let loadsMax: Int
    private var named: [String: AdapterEntry] = [:]
    private var fused: [FusionKey: AdapterEntry] = [:]
    /// Those with weights here or on their way, in order of serial.
    private(set) var present: [AdapterEntry] = []
    /// In the order of their first request.
    private var wanted: [AdapterEntry] = []
    /// Fusions that wait for their parts.
    private var gathering: [AdapterEntry] = []
    private var loads: [AdapterLoad] = []
    private var lastSerial: UInt64 = 0
    private var clock: UInt64 = 0
    /// Of what is present: never above the budget.
    private(set) var bytes = 0
    private(set) var loading = 0
    private(set) var loadCount: UInt64 = 0
    private(set) var failureCount: UInt64 = 0
    private(set) var hitCount: UInt64 = 0
    private(set) var missCount: UInt64 = 0
    private(set) var evictionCount: UInt64 = 0

    private struct FusionKey: Hashable {
        let serials: [UInt64]
        let weights: [Double]
        let method: AdapterFusion.Method
    }

    init(_ limits: EngineLimits) {
        bytesMax = max(0, limits.adapterBytesMax)
        knownMax = limits.adaptersMax
        loadsMax = max(1, limits.adapterLoadsMax)
    }

    // MARK: Names

    var names: [String] { named.keys.sorted() }
    var knownCount: Int { named.count }
    var residentCount: Int { present.count { $0.adapter != nil } }

    func isResident(_ name: String) -> Bool { named[name]?.adapter != nil }
    func isPinned(_ name: String) -> Bool { named[name]?.isPinned ?? false }

    /// - Parameter bytes: the most that its weights take in memory; the size of its file will do.
    func declare(_ name: String, cid: CID?, bytes: Int) throws(EngineFault) {
        try checkRoom(for: name)
        guard bytes >= 0, bytes <= bytesMax else {
            throw .adapterTooLarge(name: name, bytes: bytes, bytesMax: bytesMax)
        }
        named[name] = make(name, cid: cid, bytes: bytes)
    }

    /// Weights that nobody can load again: they stay until the name is removed.
    func handIn(_ name: String, _ adapter: LoadedAdapter) throws(EngineFault) {
        try checkRoom(for: name)
        let bytes = adapter.weightBytes
        guard bytes <= bytesMax else { throw .adapterTooLarge(name: name, bytes: bytes, bytesMax: bytesMax) }
        guard makeRoom(bytes, for: .max) else { throw .adapterMemoryFull(name: name, bytesMax: bytesMax) }
        let entry = make(name, cid: nil, bytes: bytes)
        entry.isHandedIn = true
        entry.state = .resident(adapter)
        appear(entry)
        named[name] = entry
    }

    private func checkRoom(for name: String) throws(EngineFault) {
        guard named[name] == nil else { throw .adapterKnown(name) }
        guard named.count < knownMax else { throw .adaptersFull(limit: knownMax) }
    }

    private func make(
        _ name: String, cid: CID?, bytes: Int, fusion: AdapterFusion? = nil, parts: [AdapterEntry] = []
    ) -> AdapterEntry {
        lastSerial += 1
        return AdapterEntry(serial: lastSerial, name: name, cid: cid, bytes: bytes, fusion: fusion, parts: parts)
    }

    /// Whoever runs or waits with it keeps it.
    func remove(_ name: String) {
        guard let entry = named.removeValue(forKey: name) else { return }
        entry.isPinned = false
        fused = fused.filter { key, value in
            guard key.serials.contains(entry.serial) else { return true }
            dismiss(value)
            return false
        }
        dismiss(entry)
    }

    /// Lets go of weights that nobody can ask for any more.
    private func dismiss(_ entry: AdapterEntry) {
        guard entry.users == 0, entry.waiting.isEmpty, entry.adapter != nil, !isKnown(entry) else { return }
        disappear(entry)
    }

    private func isKnown(_ entry: AdapterEntry) -> Bool {
        entry.fusion == nil
            ? named[entry.name] === entry : fused.contains { $0.value === entry }
    }

    /// A pinned adapter is loaded now and stays.
    func pin(_ name: String) throws(EngineFault) {
        guard let entry = named[name] else { throw .adapterUnknown(name) }
        let pinned = present.reduce(0) { $0 + ($1.isPinned || $1.isHandedIn ? $1.bytes : 0) }
        guard entry.isPinned || pinned + entry.bytes <= bytesMax else {
            throw .adapterMemoryFull(name: name, bytesMax: bytesMax)
        }
        entry.isPinned = true
        want(entry)
    }

    func unpin(_ name: String) { named[name]?.isPinned = false }

    // MARK: Requests

    func entry(_ name: String) throws(EngineFault) -> AdapterEntry {
        guard let entry = named[name] else { throw .adapterUnknown(name) }
        return entry
    }

    func entry(_ fusion: AdapterFusion) throws(EngineFault) -> AdapterEntry {
        var parts: [AdapterEntry] = []
        for part in fusion.parts { parts.append(try entry(part.adapter)) }
        let key = FusionKey(
            serials: parts.map(\.serial), weights: fusion.parts.map(\.weight), method: fusion.method)
        if let known = fused[key] { return known }
        if fused.count >= Self.fusedMax { fused = fused.filter { !$0.value.isAbsent || !$0.value.waiting.isEmpty } }
        var distinct: Set<UInt64> = []
        let sum = parts.reduce(0) { $0 + (distinct.insert($1.serial).inserted ? $1.bytes : 0) }
        let bytes = fusion.method == .linear ? parts.reduce(0) { $0 + $1.bytes } : parts.map(\.bytes).max() ?? 0
        guard sum + bytes <= bytesMax else {
            throw .adapterTooLarge(name: fusion.name, bytes: sum + bytes, bytesMax: bytesMax)
        }
        let entry = make(fusion.name, cid: nil, bytes: bytes, fusion: fusion, parts: parts)
        fused[key] = entry
        return entry
    }

    /// A request waits for its turn and for its adapter.
    func wait(_ entry: AdapterEntry, _ id: SequenceID, isNew: Bool) {
        let place = entry.waiting.lastIndex { $0 < id }.map { $0 + 1 } ?? 0
        entry.waiting.insert(id, at: place)
        if isNew { if entry.adapter == nil { missCount += 1 } else { hitCount += 1 } }
        want(entry)
    }

    func stopWaiting(_ entry: AdapterEntry, _ id: SequenceID) {
        entry.waiting.removeAll { $0 == id }
        dismiss(entry)
    }

    /// From waiting to running.
    func use(_ entry: AdapterEntry, _ id: SequenceID) {
        entry.users += 1
        entry.waiting.removeAll { $0 == id }
        touch(entry)
    }

    func stopUsing(_ entry: AdapterEntry) {
        precondition(entry.users > 0)
        entry.users -= 1
        dismiss(entry)
    }

    private func touch(_ entry: AdapterEntry) {
        clock += 1
        entry.lastUsed = clock
    }

    private func want(_ entry: AdapterEntry) {
        guard entry.isAbsent else { return }
        entry.state = .wanted
        wanted.append(entry)
    }

    // MARK: Loading

    /// Begins what there is room for, in the order in which it was asked for.
    func begin() {
        for entry in present { entry.drainsFor = nil }
        while let next = wanted.first, loading < loadsMax {
            guard !next.waiting.isEmpty || next.isPinned || next.users > 0 else {
                next.state = .absent
                wanted.removeFirst()
                continue
            }
            let age = next.waiting.first ?? SequenceID(value: 0)
            guard next.fusion == nil ? makeRoom(next.bytes, for: age) : gather(next, age) else {
                return drain(next.bytes, for: age)
            }
            wanted.removeFirst { $0 === next }
            reserve(next)
            if next.fusion == nil { read(next) }
        }
    }

    private func reserve(_ entry: AdapterEntry) {
        entry.state = .loading
        appear(entry)
    }

    private func read(_ entry: AdapterEntry) {
        loading += 1
        loads.append(AdapterLoad(serial: entry.serial, work: .read(name: entry.name, cid: entry.cid)))
    }

    /// Makes room for a fusion and for all its parts at once, so that two of them never wait for each other's parts.
    private func gather(_ fusion: AdapterEntry, _ age: SequenceID) -> Bool {
        var missing: [AdapterEntry] = []
        for part in fusion.parts where part.adapter == nil && !part.isLoading {
            if !missing.contains(where: { $0 === part }) { missing.append(part) }
        }
        for part in fusion.parts { part.users += 1 }
        guard makeRoom(missing.reduce(fusion.bytes) { $0 + $1.bytes }, for: age) else {
            for part in fusion.parts { part.users -= 1 }
            return false
        }
        fusion.holdsParts = true
        for part in missing {
            wanted.removeAll { $0 === part }
            reserve(part)
            read(part)
        }
        gathering.append(fusion)
        fuseWhatIsComplete()
        return true
    }

    private func fuseWhatIsComplete() {
        gathering.removeAll { entry in
            guard let fusion = entry.fusion, entry.parts.allSatisfy({ $0.adapter != nil }) else { return false }
            loading += 1
            loads.append(
                AdapterLoad(
                    serial: entry.serial,
                    work: .fuse(FusedAdapter(parts: entry.parts.compactMap(\.adapter), fusion: fusion))))
            return true
        }
    }

    private func letGoOfParts(_ entry: AdapterEntry) {
        guard entry.holdsParts else { return }
        entry.holdsParts = false
        for part in entry.parts { stopUsing(part) }
    }

    /// What the caller has to do; each is given once.
    func takeLoads() -> [AdapterLoad] {
        defer { loads.removeAll() }
        return loads
    }

    var hasLoads: Bool { !loads.isEmpty }

    /// Answers the requests that can never have it: it is larger than was said, and than the budget.
    func loaded(_ serial: UInt64, _ adapter: LoadedAdapter) -> [SequenceID] {
        guard let entry = present.first(where: { $0.serial == serial }), entry.isLoading else { return [] }
        loading -= 1
        letGoOfParts(entry)
        let more = adapter.weightBytes - entry.bytes
        guard makeRoom(more, for: entry.waiting.first ?? SequenceID(value: 0)) else {
            // It is larger than was said, and there is no room for the rest: it comes in when there is.
            let told = adapter.weightBytes > bytesMax ? giveUp(entry) : leave(entry)
            entry.bytes = adapter.weightBytes
            return told
        }
        entry.bytes += more
        bytes += more
        entry.state = .resident(adapter)
        loadCount += 1
        touch(entry)
        fuseWhatIsComplete()
        dismiss(entry)
        return []
    }

    /// Answers the requests that waited for it.
    func failed(_ serial: UInt64) -> [SequenceID] {
        guard let entry = present.first(where: { $0.serial == serial }), entry.isLoading else { return [] }
        loading -= 1
        failureCount += 1
        return giveUp(entry)
    }

    private func leave(_ entry: AdapterEntry) -> [SequenceID] {
        disappear(entry)
        want(entry)
        return []
    }

    private func giveUp(_ entry: AdapterEntry) -> [SequenceID] {
        letGoOfParts(entry)
        bytes -= entry.bytes
        present.removeAll { $0 === entry }
        entry.state = .absent
        entry.isPinned = false
        var told = entry.waiting
        for fusion in gathering where fusion.parts.contains(where: { $0 === entry }) {
            gathering.removeAll { $0 === fusion }
            told += giveUp(fusion)
        }
        return told
    }

    // MARK: Room

    private func appear(_ entry: AdapterEntry) {
        bytes += entry.bytes
        present.append(entry)
    }

    private func disappear(_ entry: AdapterEntry) {
        bytes -= entry.bytes
        present.removeAll { $0 === entry }
        entry.state = .absent
        if entry.fusion != nil { fused = fused.filter { $0.value !== entry || !entry.waiting.isEmpty } }
        if !entry.waiting.isEmpty { want(entry) }
    }

    /// Chooses whose place an older request gets as soon as those that run with it are done: otherwise adapters that are
    /// always asked for would never let another one in.
    private func drain(_ wanted: Int, for age: SequenceID) {
        var excess = bytes + wanted - bytesMax
        let candidates = present.filter { $0.adapter != nil && !$0.isPinned && !$0.isHandedIn }
            .sorted { ($0.users, $0.lastUsed, $0.serial) < ($1.users, $1.lastUsed, $1.serial) }
        for entry in candidates where excess > 0 {
            entry.drainsFor = age
            excess -= entry.bytes
        }
    }

    /// Puts adapters out until so many bytes fit: the least recently used that nobody waits for, then those for which
    /// only younger requests wait. Puts out nothing where that would not be enough.
    private func makeRoom(_ wanted: Int, for age: SequenceID) -> Bool {
        guard bytes + wanted > bytesMax else { return true }
        var candidates = present.filter { entry in
            guard entry.adapter != nil, entry.users == 0, !entry.isPinned, !entry.isHandedIn else { return false }
            return entry.waiting.first.map { $0 > age } ?? true
        }
        guard bytes - candidates.reduce(0, { $0 + $1.bytes }) + wanted <= bytesMax else { return false }
        candidates.sort {
            ($0.waiting.isEmpty ? 0 : 1, $0.lastUsed, $0.serial) < ($1.waiting.isEmpty ? 0 : 1, $1.lastUsed, $1.serial)
        }
        for entry in candidates where bytes + wanted > bytesMax {
            disappear(entry)
            evictionCount += 1
        }
        return true
    }
}

extension SequenceID {
    /// Younger than every other.
    fileprivate static let max = SequenceID(value: .max)
}

extension Array {
    fileprivate mutating func removeFirst(where matches: (Element) -> Bool) {
        if let index = firstIndex(where: matches) { remove(at: index) }
    }
}
