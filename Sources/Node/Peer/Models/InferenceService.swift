// The engines of this peer behind doors that never block: one thread for each loaded model, at most four of them, the least
// recently used making room. Paid answers (`Orders`) and free local ones (`LocalAnswers`) run in the same batches.
//
//     order ──▶ [question looked up, on the library's queue] ──▶ engine's mailbox ──▶ engine's thread ──▶ news

package import Arithmetic
import Dispatch
import Inference
import NodeCore
package import Primitives
import Records
import Synchronization

package enum InferenceLimits {
    /// Models in memory.
    package static let enginesMax = 4
    /// Questions that wait to be looked up in a datanet.
    package static let searchesMax = 256
    /// Tokenizers kept for `tokenize` and `detokenize`.
    package static let tokenizersMax = 4
}

package final class InferenceService: Sendable {
    private struct Engines {
        var workers: [EngineKey: EngineWorker] = [:]
        var used: [EngineKey: UInt64] = [:]
        var clock: UInt64 = 0
        /// Tokens of workers that are gone.
        var pastTokens: UInt64 = 0
        var isClosed = false
    }

    package let shelf: ModelShelf
    package let library: Library
    package let book: AdapterBook
    /// Of local answers by models that have none of their own; an order names its own.
    private let precision: Precision
    /// This peer, as answers name who served them.
    let peer: String
    let limits: EngineLimits
    package let room: WeightRoom
    private let door = Mutex<(any LayerDoor)?>(nil)
    /// That compute one model's answers.
    private let threads: Int
    /// Where packed weights are kept; nil where they are not.
    private let prepared: PreparedShelf?
    private let engines = Mutex(Engines())
    private let searches = Mutex(0)
    private let searching = DispatchQueue(label: "openledger.library")
    let orders = Mutex<[Ticket: JobToken]>([:])
    let texts = TextTools()
    let evidence = EvidenceShelf()
    let influences = InfluenceShelf()
    let queryPace = QueryPace()
    let querying = DispatchQueue(label: "openledger.influence", qos: .background)
    /// For others' audits: however many they ask for, this peer's own answers do not wait behind them.
    let auditing = DispatchQueue(label: "openledger.influence.audits", qos: .background)
    let pace: ScoringPace
    let weighing = DispatchQueue(label: "openledger.weighing", qos: .utility)
    let embeddings = EmbeddingDesk()

    /// - Parameters:
    ///   - precision: as the settings say.
    ///   - cache: how keys and values are kept, as the settings say.
    package convenience init(
        shelf: ModelShelf, library: Library, book: AdapterBook, peer: PeerID,
        precision: String = Precision.f32.rawValue, cache: String = CachePrecision.f32.rawValue, threads: Int = 1,
        prepared: PreparedShelf? = nil, room: WeightRoom = WeightRoom(bytesMax: nil),
        scoringTokensMax: Int = WeighingLimits.scoringTokensMax
    ) {
        var limits = EngineLimits()
        limits.cachePrecision = CachePrecision(rawValue: cache) ?? .f32
        self.init(
            shelf: shelf, library: library, book: book, peer: peer, precision: Precision(rawValue: precision) ?? .f32,
            limits: limits, threads: threads, prepared: prepared, room: room, scoringTokensMax: scoringTokensMax)
    }

    init(
        shelf: ModelShelf, library: Library, book: AdapterBook, peer: PeerID, precision: Precision,
        limits: EngineLimits,
        threads: Int = 1, prepared: PreparedShelf? = nil, room: WeightRoom = WeightRoom(bytesMax: nil),
        scoringTokensMax: Int = WeighingLimits.scoringTokensMax
    ) {
        pace = ScoringPace(tokensMax: scoringTokensMax)
        self.shelf = shelf
        self.library = library
        self.book = book
        self.peer = peer.text
        self.precision = precision
        self.limits = limits
        self.threads = threads
        self.prepared = prepared
        self.room = room
    }

    deinit { close() }

    /// Sequences being answered, requests waiting, tokens generated since the start.
    package var load: (running: Int, queued: Int, tokensGenerated: UInt64) {
        engines.withLock { engines in
            var sum = (running: 0, queued: 0, tokensGenerated: engines.pastTokens)
            for worker in engines.workers.values {
                let load = worker.load
                sum.running += load.running
                sum.queued += load.queued
                sum.tokensGenerated &+= load.tokens
            }
            sum.queued += searches.withLock { $0 }
            return sum
        }
    }

    /// Models in memory now, ascending.
    package var loadedModels: [CID] {
        let answering = engines.withLock { engines in engines.workers.filter { !$0.value.isClosed }.keys.map(\.model) }
        return Set(answering + embeddings.loadedModels).sorted()
    }

    /// Fails what runs and lets nothing more in. Does not wait for the threads.
    package func close() {
        let workers = engines.withLock { engines in
            engines.isClosed = true
            return Array(engines.workers.values)
        }
        for worker in workers { worker.close() }
    }

    /// Takes a model out of memory where nothing runs on it, and off the disk what was prepared of it: before it is
    /// removed from the shelf.
    package func unload(_ model: CID) {
        prepared?.remove(model)
        engines.withLock { engines in
            for (key, worker) in engines.workers where key.model == model && worker.isIdle {
                Self.drop(key, worker, &engines)
            }
        }
    }

    private static func drop(_ key: EngineKey, _ worker: EngineWorker, _ engines: inout Engines) {
        worker.close()
        engines.pastTokens &+= worker.load.tokens
        engines.workers[key] = nil
        engines.used[key] = nil
    }

    /// What a model of the shelf is served in.
    package func precision(of model: CID) -> Precision {
        guard let entry = shelf.entry(model) else { return precision }
        return entry.family == FolderCheck.embedderFamily ? .f32 : entry.precision ?? precision
    }

    func form(of model: CID) -> ComputeForm { ComputeForm(precision(of: model), cache: limits.cachePrecision) }

    /// As offers, orders and receipts name it.
    package func formName(of model: CID) -> String { form(of: model).text }

    // MARK: Memory and neighbours

    /// From now on models that do not fit are computed with the help of others.
    func reach(_ door: any LayerDoor) { self.door.withLock { $0 = door } }

    private var means: EngineMeans {
        EngineMeans(
            room: room, threads: threads, prepared: prepared, door: { [weak self] in self?.door.withLock { $0 } },
            makeRoom: { [weak self] in self?.dropIdle() })
    }

    private func dropIdle() {
        engines.withLock { engines in
            for (key, worker) in engines.workers where worker.isIdle { Self.drop(key, worker, &engines) }
        }
    }

    // MARK: Jobs

    /// Looks the question up, if there is one, then hands the job to the model's engine. Never blocks.
    func run(
        on key: EngineKey, question: String?, datanet: Digest?, refuse: @escaping @Sendable (JobFault) -> Void,
        job: @escaping @Sendable (Found?) -> EngineJob
    ) {
        guard let datanet else { return hand(job(nil), to: key) }
        guard let question, !question.isEmpty else {
            return refuse(
                JobFault(
                    .invalid, "datanet", "there is no question to look up: send a user message or a text",
                    parameter: "datanet"))
        }
        aside(refuse) { service in
            do throws(LibraryFault) {
                var found = try service.library.find(question, in: datanet)
                found.spans =
                    service.evidence.present(
                        found.datanet, for: key.model, on: service.shelf, from: service.library)?.corpus
                service.hand(job(found), to: key)
            } catch {
                var kind = JobFault.Kind.broken
                if case .notHere = error { kind = .missing }
                refuse(
                    JobFault(
                        kind, kind == .missing ? "datanet_missing" : "datanet", error.description, parameter: "datanet")
                )
            }
        }
    }

    /// Work that takes longer than a loop may stand still, in turn.
    func aside(
        _ refuse: @escaping @Sendable (JobFault) -> Void, work: @escaping @Sendable (InferenceService) -> Void
    ) {
        let isTaken = searches.withLock { waiting in
            guard waiting < InferenceLimits.searchesMax else { return false }
            waiting += 1
            return true
        }
        guard isTaken else {
            return refuse(JobFault(.busy, "busy", "\(InferenceLimits.searchesMax) questions are waiting already"))
        }
        searching.async { [weak self] in
            guard let self else { return refuse(.closing) }
            defer { searches.withLock { $0 -= 1 } }
            work(self)
        }
    }

    func hand(_ job: EngineJob, to key: EngineKey) {
        guard !job.token.isCancelled else { return job.fail(JobFault(.unavailable, "cancelled", "nobody waits")) }
        guard let entry = shelf.entry(key.model), entry.kind == .model else {
            return job.fail(JobFault(.unknown(key.model), code: "model"))
        }
        let refusal = engines.withLock { engines -> JobFault? in
            guard !engines.isClosed else { return .closing }
            guard let worker = start(key, &engines) else { return Self.enginesBusy }
            return worker.post(job)
                ? nil : JobFault(.busy, "busy", "\(limits.queueMax) requests are waiting already; try again later")
        }
        if let refusal { job.fail(refusal) }
    }

    private static let enginesBusy = JobFault(
        .busy, "busy", "\(InferenceLimits.enginesMax) other models are answering; try again later")

    private func start(_ key: EngineKey, _ engines: inout Engines) -> EngineWorker? {
        let worker = Self.worker(key, &engines) {
            EngineWorker(key, shelf: shelf, book: book, limits: limits, means: means)
        }
        guard let worker else { return nil }
        engines.clock += 1
        engines.used[key] = engines.clock
        return worker
    }

    /// The worker of a model, for what is wanted of its adapters.
    /// - Parameter starts: whether the model is loaded where it is not; else the answer is then nil.
    func adapterWorker(_ key: EngineKey, starts: Bool) throws(JobFault) -> EngineWorker? {
        let found: Result<EngineWorker?, JobFault> = engines.withLock { engines in
            guard !engines.isClosed else { return .failure(.closing) }
            guard starts else {
                let worker = engines.workers[key]
                return .success(worker?.isClosed == true ? nil : worker)
            }
            guard let worker = start(key, &engines) else { return .failure(Self.enginesBusy) }
            return .success(worker)
        }
        return try found.get()
    }

    /// The model's worker, made where there is room or an idle one makes it.
    private static func worker(
        _ key: EngineKey, _ engines: inout Engines, make: () -> EngineWorker
    ) -> EngineWorker? {
        // One that could not load its model, or was closed, is no use.
        for (key, worker) in engines.workers where worker.isClosed { drop(key, worker, &engines) }
        if let worker = engines.workers[key] { return worker }
        if engines.workers.count >= InferenceLimits.enginesMax {
            let idle = engines.workers.filter { $0.value.isIdle }
            guard let oldest = idle.min(by: { engines.used[$0.key] ?? 0 < engines.used[$1.key] ?? 0 }) else {
                return nil
            }
            drop(oldest.key, oldest.value, &engines)
        }
        let worker = make()
        engines.workers[key] = worker
        worker.begin()
        return worker
    }
}
