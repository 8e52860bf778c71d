// A loaded model and the thread that it lives on. The engine is not shared: jobs come in through a bounded mailbox, answers
// leave through the jobs' sinks, which are called here.
//
//     new ──first job──▶ loading ──▶ running ⇄ asleep (no work) ──close──▶ ended
//                           └── the model does not load: every job is refused, ended

import ModelFiles
import Arithmetic
import Foundation
import Inference
import Primitives
import Records
import Synchronization

struct EngineKey: Hashable, Sendable {
    let model: CID
    let precision: Precision
}

struct EngineLoad: Sendable {
    var running = 0
    var queued = 0
    var tokens: UInt64 = 0
}

// @unchecked Sendable: `mailbox` is used with `condition` locked; the rest is fixed at init. Engine and live jobs are local
// to `run`, which one thread executes.
final class EngineWorker: @unchecked Sendable {
    private struct Mailbox {
        var jobs: [EngineJob] = []
        /// Handed in and not ended.
        var outstanding = 0
        var isClosed = false
        var load = EngineLoad()
    }

    private let key: EngineKey
    private let shelf: ModelShelf
    private let limits: EngineLimits
    private let condition = NSCondition()
    private var mailbox = Mailbox()

    private static let stackBytes = 8 << 20
    /// Adapters kept in memory for one model; the least recently used makes room.
    private static let adaptersMax = 64

    init(_ key: EngineKey, shelf: ModelShelf, limits: EngineLimits) {
        self.key = key
        self.shelf = shelf
        self.limits = limits
    }

    func start() {
        let thread = Thread { [self] in run() }
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

    /// Ends the thread after the step that it is in; jobs that run are failed.
    func close() {
        condition.withLock {
            mailbox.isClosed = true
            condition.signal()
        }
    }

    // MARK: The thread

    private struct Live {
        let job: EngineJob
        let sink: (JobEvent) -> Void
        var sequences: [SequenceID]
    }

    /// What the thread holds; never leaves it.
    private struct Desk {
        let engine: Engine
        var live: [UInt64: Live] = [:]
        var owners: [SequenceID: (job: UInt64, place: Int)] = [:]
        var lastJob: UInt64 = 0
        /// Adapter → when it was last asked for.
        var adapters: [CID: UInt64] = [:]
    }

    private func run() {
        let model: LoadedModel
        do {
            model = try loadModel()
        } catch {
            return end(with: error)
        }
        var desk = Desk(engine: Engine(model: model, limits: limits))
        while let jobs = take(isWorking: !desk.live.isEmpty) {
            for job in jobs { begin(job, &desk) }
            cancelAbandoned(&desk)
            let outputs = desk.engine.step()
            for output in outputs { hand(output, &desk) }
            publish(desk, tokens: outputs.reduce(0) { $0 + ($1.token == nil ? 0 : 1) })
        }
        for id in desk.live.keys.sorted() { finish(id, &desk, telling: .failed(.closing)) }
        end(with: .closing)
    }

    private func loadModel() throws(JobFault) -> LoadedModel {
        let folder: MappedFolder
        do {
            folder = try shelf.folder(key.model)
        } catch {
            throw JobFault(error, code: "model")
        }
        do {
            return try LoadedModel(folder: folder, precision: key.precision)
        } catch {
            throw JobFault(.broken, "model", "\(key.model.text) cannot be loaded: \(error)", parameter: "model")
        }
    }

    /// What is new; waits where there is no work. Nil when it is over.
    private func take(isWorking: Bool) -> [EngineJob]? {
        condition.withLock {
            while !mailbox.isClosed, mailbox.jobs.isEmpty, !isWorking { condition.wait() }
            guard !mailbox.isClosed else { return nil }
            defer { mailbox.jobs.removeAll() }
            return mailbox.jobs
        }
    }

    /// Refuses what is in the mailbox and lets nothing more in.
    private func end(with fault: JobFault) {
        let left = condition.withLock {
            mailbox.isClosed = true
            defer {
                mailbox.jobs.removeAll()
                mailbox.load.running = 0
                mailbox.load.queued = 0
            }
            return mailbox.jobs
        }
        for job in left {
            job.fail(fault)
            condition.withLock { mailbox.outstanding -= 1 }
        }
    }

    private func publish(_ desk: Desk, tokens: Int) {
        condition.withLock {
            mailbox.load.running = desk.engine.liveCount
            mailbox.load.queued = desk.engine.queuedCount
            mailbox.load.tokens &+= UInt64(tokens)
        }
    }

    private func begin(_ job: EngineJob, _ desk: inout Desk) {
        var sequences: [SequenceID] = []
        do throws(JobFault) {
            if let adapter = job.adapter { try ready(adapter, &desk) }
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

    private func ready(_ adapter: CID, _ desk: inout Desk) throws(JobFault) {
        desk.adapters[adapter] = desk.lastJob + 1
        guard !desk.engine.adapterNames.contains(adapter.text) else { return }
        do throws(ShelfFault) {
            guard let entry = shelf.entry(adapter), entry.kind == .adapter else { throw .unknown(adapter) }
            guard entry.folder.base == key.model else {
                throw .file(name: entry.name, reason: "is an adapter of another model")
            }
            let folder = try shelf.folder(adapter)
            let loaded = try inModel { () throws(ModelFault) in
                try LoadedAdapter(folder: folder, config: desk.engine.model.config)
            }
            if desk.engine.adapterNames.count >= Self.adaptersMax,
                let oldest = desk.adapters.filter({ $0.key != adapter })
                    .min(by: { ($0.value, $0.key) < ($1.value, $1.key) })?.key
            {
                desk.engine.unregister(oldest.text)
                desk.adapters[oldest] = nil
            }
            do throws(EngineFault) {
                try desk.engine.register(loaded, as: adapter.text)
            } catch {
                throw .file(name: entry.name, reason: error.description)
            }
        } catch {
            desk.adapters[adapter] = nil
            throw JobFault(error, code: "adapter")
        }
    }

    private func cancelAbandoned(_ desk: inout Desk) {
        for id in desk.live.keys.sorted() where desk.live[id]?.job.token.isCancelled == true {
            finish(id, &desk, telling: .cancelled)
        }
    }

    private func hand(_ output: SequenceOutput, _ desk: inout Desk) {
        guard let owner = desk.owners[output.id], let live = desk.live[owner.job] else { return }
        if output.finish == .notFinite { return finish(owner.job, &desk, telling: .failed(.notFinite)) }
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
