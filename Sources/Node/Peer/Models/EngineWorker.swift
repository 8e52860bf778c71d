// A loaded model and the thread that it lives on. The engine is not shared: jobs come in through a bounded mailbox, answers
// leave through the jobs' sinks, which are called here.
//
//     new ──first job──▶ loading ──▶ running ⇄ asleep (no work) ──close──▶ ended
//                           └── the model does not load: every job is refused, ended
//
// Adapters are known to the engine by the text of their CID. What it wants of them is read on queues of their own, and
// handed in between two steps: nobody's next token waits for a disk.

import Arithmetic
import Dispatch
import Foundation
import Inference
import ModelFiles
import Primitives
import Records
import Synchronization

struct EngineKey: Hashable, Sendable {
    let model: CID
    let form: ComputeForm
    var precision: Precision { form.weights }

    init(model: CID, form: ComputeForm) {
        self.model = model
        self.form = form
    }

    init(model: CID, precision: Precision) { self.init(model: model, form: ComputeForm(precision)) }
}

struct EngineLoad: Sendable {
    var running = 0
    var queued = 0
    var tokens: UInt64 = 0
}

// @unchecked Sendable: `mailbox` is used with `condition` locked; the rest is fixed at init. Engine and live jobs are local
// to `run`, which one thread executes.
final class EngineWorker: @unchecked Sendable {
    struct Mailbox {
        var jobs: [EngineJob] = []
        /// What people want of adapters.
        var orders: [AdapterOrder] = []
        /// Adapters that were read, or could not be.
        var loads: [(load: AdapterLoad, result: Result<LoadedAdapter, LoadFault>)] = []
        /// Handed in and not ended.
        var outstanding = 0
        var isClosed = false
        var load = EngineLoad()
    }

    let key: EngineKey
    let shelf: ModelShelf
    let limits: EngineLimits
    private let means: EngineMeans
    /// With peers that compute layers.
    private let sessions = SessionList()
    let book: AdapterBook
    let condition = NSCondition()
    var mailbox = Mailbox()

    private static let stackBytes = 8 << 20
    /// How long the thread sleeps while all that it has waits for an adapter: a client that leaves is seen so soon.
    private static let napSeconds = 0.02
    private let start = ContinuousClock.now
    let reading = DispatchQueue(label: "openledger.adapters", attributes: .concurrent)

    struct LoadFault: Error {
        let reason: String
    }

    init(_ key: EngineKey, shelf: ModelShelf, book: AdapterBook, limits: EngineLimits, means: EngineMeans) {
        self.key = key
        self.shelf = shelf
        self.book = book
        self.limits = limits
        self.means = means
    }

    func begin() {
        let thread = Thread { [self] in
            run()
            LargePages.adapters.clear()
        }
        thread.stackSize = Self.stackBytes
        thread.name = "openledger.engine"
        thread.start()
    }

    // MARK: Any thread

    var isIdle: Bool { condition.withLock { mailbox.outstanding == 0 } }
    var isClosed: Bool { condition.withLock { mailbox.isClosed } }

    var load: EngineLoad {
        condition.withLock {
            var load = mailbox.load
            load.queued += mailbox.jobs.count
            return load
        }
    }

    /// False where the mailbox is full or the worker has ended.
    func post(_ job: EngineJob) -> Bool {
        condition.withLock {
            guard !mailbox.isClosed, mailbox.outstanding < limits.queueMax else { return false }
            mailbox.jobs.append(job)
            mailbox.outstanding += 1
            condition.signal()
            return true
        }
    }

    private static let ordersMax = 256

    func post(_ order: AdapterOrder) -> Bool {
        condition.withLock {
            guard !mailbox.isClosed, mailbox.orders.count < Self.ordersMax else { return false }
            mailbox.orders.append(order)
            condition.signal()
            return true
        }
    }

    /// Ends the thread after the step that it is in; jobs that run are failed.
    func close() {
        condition.withLock {
            mailbox.isClosed = true
            condition.signal()
        }
        sessions.close()
    }

    // MARK: The thread

    struct Live {
        let job: EngineJob
        let sink: (JobEvent) -> Void
        var sequences: [SequenceID]
    }

    /// What the thread holds; never leaves it.
    struct Desk {
        let engine: Engine
        var live: [UInt64: Live] = [:]
        var owners: [SequenceID: (job: UInt64, place: Int)] = [:]
        var lastJob: UInt64 = 0
        /// Those that the engine knows.
        var adapters: Set<CID> = []
        /// Those that are read and then left to the others' need for room.
        var passing: Set<CID> = []
        var metrics = EngineMetrics()
    }

    private func run() {
        let loaded: LoadedEngine
        do {
            loaded = try EngineLoading(key: key, shelf: shelf, limits: limits, means: means, sessions: sessions).load()
        } catch {
            return end(with: error)
        }
        defer { withExtendedLifetime(loaded) {} }
        var desk = Desk(engine: loaded.engine)
        keepPinned(&desk)
        var pace = Pace.asleep
        while let work = take(pace) {
            for (load, result) in work.loads { settle(load, result, &desk) }
            for order in work.orders { perform(order, &desk) }
            for job in work.jobs { begin(job, &desk) }
            cancelAbandoned(&desk)
            // Before the step, so that they are read while it runs; and after it, for what it made room for.
            for load in desk.engine.takeLoads() { read(load, desk) }
            let outputs = desk.engine.step(now: now)
            if let lost = desk.engine.lost { return end(with: .layersMissing(lost.description), &desk) }
            for load in desk.engine.takeLoads() { read(load, desk) }
            for output in outputs { hand(output, &desk) }
            let statistics = desk.engine.statistics
            desk.metrics.tell(statistics)
            publish(statistics, tokens: outputs.reduce(0) { $0 + ($1.token == nil ? 0 : 1) })
            pace = desk.live.isEmpty ? .asleep : desk.engine.isWaitingForAdapters ? .napping : .working
        }
        end(with: .closing, &desk)
    }

    private func end(with fault: JobFault, _ desk: inout Desk) {
        for id in desk.live.keys.sorted() { finish(id, &desk, telling: .failed(fault)) }
        end(with: fault)
    }

    private var now: Instant {
        let passed = (ContinuousClock.now - start).components
        return Instant(
            nanoseconds: UInt64(clamping: passed.seconds) * 1_000_000_000
                + UInt64(clamping: passed.attoseconds / 1_000_000_000))
    }

    /// How long to wait for what is new.
    private enum Pace {
        case working
        /// All that runs waits for an adapter.
        case napping
        /// Nothing runs.
        case asleep
    }

    private struct Work {
        var jobs: [EngineJob]
        var orders: [AdapterOrder]
        var loads: [(load: AdapterLoad, result: Result<LoadedAdapter, LoadFault>)]
    }

    /// What is new. Nil when it is over.
    private func take(_ pace: Pace) -> Work? {
        condition.withLock {
            let naps = pace == .napping ? Date(timeIntervalSinceNow: Self.napSeconds) : nil
            while !mailbox.isClosed, mailbox.jobs.isEmpty, mailbox.loads.isEmpty, mailbox.orders.isEmpty,
                pace != .working
            {
                guard let naps else {
                    condition.wait()
                    continue
                }
                if !condition.wait(until: naps) { break }
            }
            guard !mailbox.isClosed else { return nil }
            defer {
                mailbox.jobs.removeAll()
                mailbox.orders.removeAll()
                mailbox.loads.removeAll()
            }
            return Work(jobs: mailbox.jobs, orders: mailbox.orders, loads: mailbox.loads)
        }
    }

    /// Refuses what is in the mailbox and lets nothing more in.
    private func end(with fault: JobFault) {
        let (left, orders) = condition.withLock {
            mailbox.isClosed = true
            defer {
                mailbox.jobs.removeAll()
                mailbox.orders.removeAll()
                mailbox.load.running = 0
                mailbox.load.queued = 0
            }
            return (mailbox.jobs, mailbox.orders)
        }
        for order in orders { order.reply(.failure(fault)) }
        for job in left {
            job.fail(fault)
            condition.withLock { mailbox.outstanding -= 1 }
        }
    }

    private func publish(_ statistics: EngineStatistics, tokens: Int) {
        condition.withLock {
            mailbox.load.running = statistics.sequencesLive
            mailbox.load.queued = statistics.sequencesQueued
            mailbox.load.tokens &+= UInt64(tokens)
        }
    }

    private func begin(_ job: EngineJob, _ desk: inout Desk) {
        var sequences: [SequenceID] = []
        do throws(JobFault) {
            for adapter in job.adapters {
                try declare(adapter, &desk)
                let isHit = desk.engine.isResident(adapter: adapter.text)
                book.asked(adapter, isHit: isHit, at: NodeDriver.wallTime())
            }
            let started = try job.begin(desk.engine.model)
            for request in started.requests {
                do throws(EngineFault) {
                    sequences.append(try desk.engine.submit(request))
                } catch {
                    throw JobFault(error)
                }
            }
            desk.lastJob += 1
            desk.live[desk.lastJob] = Live(job: job, sink: started.sink, sequences: sequences)
            for (place, sequence) in sequences.enumerated() { desk.owners[sequence] = (desk.lastJob, place) }
            started.accepted()
            if sequences.isEmpty { over(desk.lastJob, &desk) }
        } catch {
            for sequence in sequences { desk.engine.cancel(sequence) }
            job.fail(error)
            condition.withLock { mailbox.outstanding -= 1 }
        }
    }

    private func cancelAbandoned(_ desk: inout Desk) {
        for id in desk.live.keys.sorted() where desk.live[id]?.job.token.isCancelled == true {
            finish(id, &desk, telling: .cancelled)
        }
    }

    private func hand(_ output: SequenceOutput, _ desk: inout Desk) {
        guard let owner = desk.owners[output.id], let live = desk.live[owner.job] else { return }
        switch output.finish {
        case .notFinite: return finish(owner.job, &desk, telling: .failed(.notFinite))
        case .expired: return finish(owner.job, &desk, telling: .failed(.expired))
        case .adapterFailed(let reason): return finish(owner.job, &desk, telling: .failed(.adapterFailed(reason)))
        case .grammar(let reason): return finish(owner.job, &desk, telling: .failed(.grammar(reason)))
        case .end, .stop, .length, .differs, .repeated, nil: break
        }
        live.sink(.output(owner.place, output))
        guard output.finish != nil else { return }
        desk.owners[output.id] = nil
        desk.live[owner.job]?.sequences.removeAll { $0 == output.id }
        if desk.live[owner.job]?.sequences.isEmpty == true { over(owner.job, &desk) }
    }

    private func finish(_ id: UInt64, _ desk: inout Desk, telling event: JobEvent) {
        guard let live = desk.live[id] else { return }
        for sequence in live.sequences {
            desk.engine.cancel(sequence)
            desk.owners[sequence] = nil
        }
        live.sink(event)
        over(id, &desk)
    }

    private func over(_ id: UInt64, _ desk: inout Desk) {
        guard let live = desk.live.removeValue(forKey: id) else { return }
        live.job.ended()
        condition.withLock { mailbox.outstanding -= 1 }
    }
}
