// Whole nodes under one seed. The world hands each node its events, performs its effects on a virtual clock, network and
// disk, does harm as the seed says, and looks at everything that is said and written down.
//
//   queue ──▶ event ──▶ node ──▶ effects ──▶ network · disk · jobs · timers ──▶ queue
//                          └──▶ checker
//
// It drives values, never tasks. Chance is one seeded value; nothing depends on hash order.

import Gossip
import Ledger
import NodeCore
import Primitives
import Sequencing

/// One peer: what it is between two crashes, and what outlives them.
struct Home {
    let index: Int
    let configuration: NodeConfiguration
    /// By how much this peer's calendar is wrong, in milliseconds.
    let skew: Int64
    var node: Node?
    var disk: VirtualDisk
    /// Counts starts: what was on its way to an earlier run does not reach this one.
    var run = 0
    var timers: [NodeTimer: Instant] = [:]
    var lastCommand: UInt64 = 0
    /// Commands whose last answer has not come.
    var waiting: Set<CommandID> = []
    var generations: Set<Ticket> = []
    var isByzantine = false

    var peer: PeerID { configuration.key.publicKey.peerID }
    var account: AccountID { configuration.key.publicKey.account }
}

enum Happening {
    case event(Int, run: Int, NodeEvent)
    case timer(Int, run: Int, NodeTimer)
    case synced(Int, run: Int, Ticket)
    case dial(Int, run: Int, Int)
    case pipe(Int, to: Int, PipeNews)
    case accepted(Int)
    case broken(Int, noticedBy: Int)
    case restart(Int)
    case work
    case harm
    case reunite
}

final class SimulatedWorld {
    let options: SimulationOptions
    let genesis: Genesis
    var homes: [Home] = []
    var indexes: [PeerID: Int] = [:]
    var network = VirtualNetwork()
    var queue = EventQueue<Happening>()
    var now = Instant.start
    var random: SeededRandom
    /// Group of each peer; peers of two groups do not reach each other.
    var groups: [Int]
    var isHealing = false
    var checker: Checker
    var liar: Liar?
    var workload = Workload()
    var events = 0
    var mishaps = 0
    private(set) var digest = Digest.zero
    let planted: PlantedBug?

    static let wallStart: Int64 = 1_800_000_000_000
    static let latencyMaxMilliseconds: UInt64 = 25
    /// Virtual time within which everything must have healed.
    static let healingMax = Span.seconds(300)
    /// A run that makes no events fast enough ends its faults then.
    static let faultyMax = Span.seconds(600)

    init(
        _ options: SimulationOptions, planted: PlantedBug?, keepLent: UInt64 = 32 << 20
    ) throws(SimulationFault) {
        self.options = options
        self.planted = planted
        random = SeededRandom(seed: options.seed)
        groups = Array(repeating: 0, count: options.peers)
        let plan = try NetworkPlan(
            peers: options.peers, isSafe: !options.faults.contains(.byzantine), random: &random)
        genesis = plan.genesis
        checker = Checker(genesis: plan.genesis, exposureCap: plan.genesis.parameters.exposureCap)
        for index in 0..<options.peers {
            var configuration = plan.configuration(index, seed: random.next())
            // Somebody lends nothing.
            configuration.keepLent = index == options.peers - 1 ? 0 : keepLent
            configuration.keepLetGo = .minutes(10)
            let home = Home(
                index: index, configuration: configuration,
                skew: Int64(random.below(400)) - 200, disk: VirtualDisk(lies: planted == .lyingDisk))
            homes.append(home)
            indexes[home.peer] = index
        }
        if options.faults.contains(.byzantine), options.peers >= 4 {
            let index = Int(random.below(UInt64(options.peers)))
            homes[index].isByzantine = true
            liar = Liar(
                home: index, network: genesis.network, key: homes[index].configuration.key, random: random.fork())
        }
        checker.honest = homes.map { !$0.isByzantine }
        checker.accounts = homes.map(\.account)
    }

    // MARK: The run

    func run() -> SimulationReport {
        for index in homes.indices { start(index) }
        queue.push(.work, at: now + .milliseconds(300))
        if !options.faults.isEmpty { queue.push(.harm, at: now + .milliseconds(700)) }
        var faultyEvents = 0
        while faultyEvents < options.steps, now < Instant.start + Self.faultyMax, checker.violations.isEmpty {
            guard step() else { break }
            faultyEvents += 1
        }
        if checker.violations.isEmpty { heal() }
        return SimulationReport(
            options: options, events: events, virtualTime: now.since(.start), digest: digest,
            batches: UInt64(checker.headers.count), receipts: checker.settled.count,
            transactions: checker.transactions.count, answers: checker.acknowledged.count,
            audits: checker.audits, shareAudits: checker.shareAudits, accused: checker.accused.count, mishaps: mishaps,
            violations: checker.violations)
    }

    private func heal() {
        isHealing = true
        groups = Array(repeating: 0, count: homes.count)
        for index in homes.indices where homes[index].node == nil { start(index) }
        let deadline = now + Self.healingMax
        var look = now + .seconds(1)
        while checker.violations.isEmpty {
            guard let next = queue.next, next <= deadline else {
                checker.violations.append(
                    "not healed within \(Self.healingMax.milliseconds / 1000) s: \(unhealed() ?? "")")
                return
            }
            if next > look {
                if unhealed() == nil { break }
                look = look + .milliseconds(500)
                continue
            }
            _ = step()
        }
        if checker.violations.isEmpty { checker.final(nodes: homes.map(\.node)) }
    }

    /// What is not yet as it must be after healing; nil if all is.
    private func unhealed() -> String? {
        let honest = homes.filter { !$0.isByzantine }
        let heights = honest.map { $0.node?.height ?? 0 }
        guard Set(heights).count == 1 else {
            let reached = honest.map { $0.node?.connectedPeers.count ?? 0 }
            return "heights \(heights), connected to \(reached) peers"
        }
        for home in honest {
            guard let node = home.node else { return "peer \(home.index) is down" }
            let pooled = node.poolCounts
            if node.committee.index(of: home.account) != nil, node.hasWork {
                return "peer \(home.index), a member, still pools \(pooled.receipts) receipts and "
                    + "\(pooled.transactions) transactions at height \(node.height)"
            }
            if !home.waiting.isEmpty {
                return
                    "peer \(home.index) waits for \(home.waiting.count) commands (\(workload.names(home.waiting, home.index)))"
            }
            if !node.ownTransactions().isEmpty { return "peer \(home.index) has transactions that nobody took" }
            if !node.unclaimed.isEmpty { return "peer \(home.index) has not claimed what it is owed" }
            if node.answersRunning > 0 { return "peer \(home.index) is still answering" }
            if node.auditCounts.waiting > 0 { return "peer \(home.index) has answers to audit" }
        }
        if let lost = checker.unsettled(nodes: homes.map(\.node)) { return lost }
        return nil
    }

    /// Everything that happens before `end`.
    func run(until end: Instant) {
        while let next = queue.next, next <= end, step() {}
        now = end
    }

    private func step() -> Bool {
        guard let (at, happening) = queue.pop() else { return false }
        now = at
        switch happening {
        case .event(let index, let run, let event):
            if homes[index].run == run {
                // Nobody waits for an answer to what he cancelled.
                if case .cancelled(let id) = event { homes[index].waiting.remove(id) }
                if case .generated(let ticket, _) = event, !homes[index].generations.contains(ticket) { return true }
                feed(index, event)
            }
        case .timer(let index, let run, let timer):
            guard homes[index].run == run, homes[index].timers[timer] == at else { return true }
            homes[index].timers[timer] = nil
            feed(index, .elapsed(timer))
        case .synced(let index, let run, let ticket):
            guard homes[index].run == run else { return true }
            homes[index].disk.sync(ticket)
            feed(index, .synced(ticket))
        case .dial(let index, let run, let other): if homes[index].run == run { connect(index, other) }
        case .pipe(let id, let peer, let news): arrived(id, peer, news)
        case .accepted(let id): accepted(id)
        case .broken(let link, let peer): noticeBroken(link, peer)
        case .restart(let index): if homes[index].node == nil { start(index) }
        case .work: work()
        case .harm: harm()
        case .reunite: groups = Array(repeating: 0, count: homes.count)
        }
        return true
    }

    // MARK: Nodes

    func moment(_ index: Int) -> Moment {
        let wall = Self.wallStart + Int64(now.nanoseconds / 1_000_000) + homes[index].skew
        return Moment(now, WallTime(milliseconds: wall))
    }

    func start(_ index: Int) {
        homes[index].run += 1
        homes[index].timers = [:]
        homes[index].generations = []
        homes[index].waiting = []
        var configuration = homes[index].configuration
        configuration.firstSequence = now.nanoseconds + 1
        configuration.seed = random.next()
        let restored = Restored(reading: homes[index].disk)
        guard let node = try? Node(configuration, restored: restored, moment: moment(index)) else {
            return checker.violations.append("peer \(index) cannot start from its disk")
        }
        homes[index].node = node
        feed(index, .start)
        advertise(index)
    }

    func crash(_ index: Int, restarts: Bool = true) {
        guard homes[index].node != nil else { return }
        mishaps += 1
        homes[index].node = nil
        homes[index].run += 1
        homes[index].waiting = []
        homes[index].disk.crash(at: now, keeping: Int(random.below(4)))
        for link in network.linksOf(index) {
            cut(link)
            _ = network.noticed(link, by: index)
        }
        guard restarts else { return }
        queue.push(.restart(index), at: now + .milliseconds(300 + random.below(9000)))
    }

    func feed(_ index: Int, _ event: NodeEvent) {
        guard var node = homes[index].node else { return }
        // Taken out while it works, so that it is not copied.
        homes[index].node = nil
        events += 1
        note(index, event)
        let effects = node.handle(event, at: moment(index))
        homes[index].node = node
        for effect in effects { perform(effect, index) }
    }

    private func note(_ index: Int, _ event: NodeEvent) {
        let (kind, bytes) = EventTrace.of(event)
        digest = Digest(sha256Of: [
            digest.bytes, now.nanoseconds.bigEndianBytes, [UInt8(truncatingIfNeeded: index), kind], bytes,
        ])
    }

    // MARK: Effects

    private func perform(_ effect: NodeEffect, _ index: Int) {
        let run = homes[index].run
        switch effect {
        case .open(let stream, let peer, let names):
            open(stream, index, peer, names)
        case .send(let stream, let bytes): send(stream, index, bytes)
        case .finish(let stream): end(stream, index, forgetting: false)
        case .reset(let stream): end(stream, index, forgetting: true)
        case .disconnect(let peer, _):
            if let other = indexes[peer], let link = network.link(index, other) { cut(link) }
        case .dial(let address):
            guard let peer = address.peer, let other = indexes[peer], other != index else { return }
            queue.push(
                .dial(index, run: run, other), at: now + .milliseconds(1 + random.below(Self.latencyMaxMilliseconds)))
        case .persist(let writes, let ticket):
            homes[index].disk.persist(writes, ticket)
            let at = max(now, homes[index].disk.busyUntil) + .microseconds(500 + random.below(6000))
            homes[index].disk.busyUntil = at
            queue.push(.synced(index, run: run, ticket), at: at)
        case .load(let cid, let ticket):
            push(index, .loaded(ticket, homes[index].disk.block(cid)), after: .microseconds(300))
        case .sendBatches(let stream, let from, let through):
            for bytes in homes[index].disk.batches(from, through) { send(stream, index, bytes) }
            end(stream, index, forgetting: false)
        case .compute(.execute(let job), let ticket):
            let outcome = liar?.home == index ? liar?.run(job) ?? job.run() : job.run()
            push(index, .computed(ticket, .executed(outcome)), after: .milliseconds(1 + random.below(4)))
        case .generate(let order, let ticket): generate(order.order, ticket, index)
        case .stopGenerating(let ticket): homes[index].generations.remove(ticket)
        // Nobody here offers layers: LayersTests has a world of its own.
        case .computeLayers: break
        case .reexecute(let order, let ticket):
            push(index, .reexecuted(ticket, reexecute(order, index)), after: .milliseconds(1 + random.below(40)))
        case .weigh(let order, let ticket):
            push(index, .weighed(ticket, weigh(order, index)), after: .milliseconds(1 + random.below(60)))
        case .reweigh(let order, let ticket):
            push(index, .reweighed(ticket, reweigh(order, index)), after: .milliseconds(1 + random.below(60)))
        case .schedule(let timer, let at):
            let due = max(at, now)
            homes[index].timers[timer] = due
            queue.push(.timer(index, run: run, timer), at: due)
        case .answer(let id, let answer): answered(index, id, answer)
        case .notify(let notice):
            if case .final(let certified) = notice, homes[index].isByzantine { liar?.remember(certified) }
            checker.noticed(index, notice)
        }
    }

    func push(_ index: Int, _ event: NodeEvent, after span: Span) {
        queue.push(.event(index, run: homes[index].run, event), at: now + span)
    }

    private func answered(_ index: Int, _ id: CommandID, _ answer: NodeAnswer) {
        switch answer {
        case .accepted, .token, .progress, .sources: return
        case .answered(let signed, _): checker.acknowledged(signed, by: index)
        case .datanet(let id): workload.datanets.append(id)
        default: break
        }
        workload.over(id, index, answer)
        homes[index].waiting.remove(id)
    }
}
