// Who is next. A value without clock, memory or model: it knows what waits, for whom, and how much each tenant was served.
//
//     offer ──▶ waiting ──begin──▶ running ──end──▶ gone
//                  ▲                  │
//                  └─────putBack──────┘
//
// Classes are strict. Within a class the tenant goes first whose virtual time, tokens served over weight, is least; within
// a tenant the oldest. A tenant that comes back starts at the least virtual time of those that are there, so that nobody
// saves up silence (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024). A waiting tenant that holds
// two places fewer than another one and is behind it by more than a quantum takes a place from it.

import Primitives

struct TenantIndex: Hashable, Sendable {
    let value: Int
}

struct Waiting: Hashable, Sendable {
    let id: SequenceID
    let priority: ServingPriority
    /// Tokens that it may take, at most.
    let cost: Int

    /// Whether it goes before the other among one tenant's.
    func precedes(_ other: Self) -> Bool {
        priority != other.priority ? priority > other.priority : id < other.id
    }
}

struct Scheduler {
    static let retryAfterMin = Span.seconds(1)
    static let retryAfterMax = Span.seconds(120)
    /// Virtual time of one token at weight one.
    private static let unit: UInt64 = 1 << 20
    /// A caller that is refused may come back when one in so many of those that wait is gone.
    private static let retryShare = 8

    struct Tenant {
        let name: String
        var weight: UInt64 = 1
        var virtual: UInt64 = 0
        var waiting: [Waiting] = []
        var running = 0
        /// Tokens that its waiting requests may take.
        var backlog = 0

        var isActive: Bool { running > 0 || !waiting.isEmpty }
    }

    private let queueMax: Int
    private let queuePerTenantMax: Int
    private let tenantsMax: Int
    private let quantum: UInt64
    private(set) var tenants: [Tenant] = []
    private var byName: [String: TenantIndex] = [:]
    private(set) var waitingCount = 0
    private var backlog = 0
    /// The virtual time at which a tenant starts when no other is there.
    private var floor: UInt64 = 0
    /// Tokens a second, smoothed; nil before the first measured step.
    private var speed: Double?

    init(_ limits: EngineLimits) {
        queueMax = limits.queueMax
        queuePerTenantMax = limits.queuePerTenantMax
        tenantsMax = max(1, limits.tenantsMax)
        quantum = UInt64(max(0, limits.fairnessTokens)) * Self.unit
    }

    // MARK: In

    mutating func offer(
        _ id: SequenceID, tenant name: String, priority: ServingPriority, cost: Int
    ) throws(EngineFault) -> TenantIndex {
        guard waitingCount < queueMax else {
            throw .queueFull(limit: queueMax, retryAfter: retryAfter(backlog, waitingCount, share: 1))
        }
        if let known = byName[name] {
            let tenant = tenants[known.value]
            guard tenant.waiting.count < queuePerTenantMax else {
                let active = max(1, tenants.count(where: \.isActive))
                throw .tenantQueueFull(
                    tenant: name, limit: queuePerTenantMax,
                    retryAfter: retryAfter(tenant.backlog, tenant.waiting.count, share: active))
            }
        }
        let index = self.index(of: name)
        wake(index)
        insert(Waiting(id: id, priority: priority, cost: cost), index)
        return index
    }

    /// A running sequence that gave up its place: it waits where it would be, had it never run.
    mutating func putBack(_ waiting: Waiting, _ index: TenantIndex) {
        tenants[index.value].running -= 1
        insert(waiting, index)
    }

    private mutating func insert(_ waiting: Waiting, _ index: TenantIndex) {
        let place =
            tenants[index.value].waiting.lastIndex { $0.precedes(waiting) }.map { $0 + 1 } ?? 0
        tenants[index.value].waiting.insert(waiting, at: place)
        tenants[index.value].backlog += waiting.cost
        backlog += waiting.cost
        waitingCount += 1
    }

    private mutating func index(of name: String) -> TenantIndex {
        if let known = byName[name] { return known }
        // A tenant that is not there and is no further ahead than one that starts now need not be remembered.
        if tenants.count >= tenantsMax,
            let old = tenants.indices.filter({ !tenants[$0].isActive })
                .min(by: { (tenants[$0].virtual, $0) < (tenants[$1].virtual, $1) })
        {
            byName[tenants[old].name] = nil
            byName[name] = TenantIndex(value: old)
            tenants[old] = Tenant(name: name)
            return TenantIndex(value: old)
        }
        let index = TenantIndex(value: tenants.count)
        tenants.append(Tenant(name: name))
        byName[name] = index
        return index
    }

    private mutating func wake(_ index: TenantIndex) {
        guard !tenants[index.value].isActive else { return }
        let least = tenants.lazy.filter(\.isActive).map(\.virtual).min()
        if let least { floor = max(floor, least) }
        tenants[index.value].virtual = max(tenants[index.value].virtual, least ?? floor)
    }

    /// Its share against that of a tenant of weight one.
    mutating func weigh(_ name: String, _ weight: Int) {
        tenants[index(of: name).value].weight = UInt64(max(1, weight))
    }

    // MARK: Out

    /// The first that may begin, of those that `isReady` says could.
    func next(where isReady: (SequenceID) -> Bool) -> (waiting: Waiting, tenant: TenantIndex)? {
        var best: (waiting: Waiting, tenant: TenantIndex)?
        for index in tenants.indices where !tenants[index].waiting.isEmpty {
            guard let first = tenants[index].waiting.first(where: { isReady($0.id) }) else { continue }
            if let known = best {
                let other = tenants[known.tenant.value].virtual, own = tenants[index].virtual
                let isBefore =
                    first.priority != known.waiting.priority
                    ? first.priority > known.waiting.priority
                    : own != other ? own < other : first.id < known.waiting.id
                if !isBefore { continue }
            }
            best = (first, TenantIndex(value: index))
        }
        return best
    }

    /// Whether the first tenant's sequence, waiting, should have the place of the second's, running.
    func takesPlace(
        _ waiting: Waiting, of tenant: TenantIndex, from running: Waiting, of other: TenantIndex
    ) -> Bool {
        if waiting.priority != running.priority { return waiting.priority > running.priority }
        guard tenant != other else { return false }
        let own = tenants[tenant.value], theirs = tenants[other.value]
        // Places in proportion to weights, after the exchange no less even than before it.
        return UInt64(theirs.running - 1) * own.weight >= UInt64(own.running + 1) * theirs.weight
            && theirs.virtual > own.virtual && theirs.virtual - own.virtual > quantum
    }

    mutating func begin(_ waiting: Waiting, _ index: TenantIndex) {
        _ = forget(waiting.id, index)
        tenants[index.value].running += 1
    }

    /// Takes a waiting request out; false where it does not wait.
    mutating func forget(_ id: SequenceID, _ index: TenantIndex) -> Bool {
        guard let place = tenants[index.value].waiting.firstIndex(where: { $0.id == id }) else { return false }
        let gone = tenants[index.value].waiting.remove(at: place)
        tenants[index.value].backlog -= gone.cost
        backlog -= gone.cost
        waitingCount -= 1
        return true
    }

    mutating func end(_ index: TenantIndex) {
        tenants[index.value].running -= 1
        floor = max(floor, tenants.lazy.filter(\.isActive).map(\.virtual).min() ?? tenants[index.value].virtual)
    }

    // MARK: Service

    /// Tokens computed for a tenant for the first time.
    mutating func charge(_ index: TenantIndex, tokens: Int) {
        tenants[index.value].virtual &+= UInt64(tokens) * Self.unit / tenants[index.value].weight
    }

    /// Of two sequences whose prompts are unfinished: whose tokens go first.
    func precedes(_ left: Waiting, _ leftTenant: TenantIndex, _ right: Waiting, _ rightTenant: TenantIndex) -> Bool {
        if left.priority != right.priority { return left.priority > right.priority }
        let own = tenants[leftTenant.value].virtual, other = tenants[rightTenant.value].virtual
        return own != other ? own < other : left.id < right.id
    }

    /// What one step did and how long it took.
    mutating func measured(tokens: Int, over span: Span) {
        guard tokens > 0, span > .zero else { return }
        let now = Double(tokens) / span.inSeconds
        speed = speed.map { $0 + (now - $0) / 16 } ?? now
    }

    private func retryAfter(_ backlog: Int, _ count: Int, share: Int) -> Span {
        guard let speed, count > 0 else { return Self.retryAfterMin }
        let gone = Double(backlog) * Double(max(1, count / Self.retryShare)) / Double(count)
        let seconds = gone * Double(share) / max(speed, 1e-3)
        guard seconds < Self.retryAfterMax.inSeconds else { return Self.retryAfterMax }
        return max(Self.retryAfterMin, Span(nanoseconds: UInt64(seconds * 1e9)))
    }
}
