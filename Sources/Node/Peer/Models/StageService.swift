// Layers that this peer computes for others: a thread for each range that it serves, which reads the weights when the first
// session wants them and keeps them. What a session may use was granted when it was opened.
//
//     node ──order, by ticket──▶ mailbox ──▶ thread: open · compute · close ──▶ news

import Arithmetic
import Foundation
import Inference
import ModelFiles
package import NodeCore
import Primitives
package import Records
import Synchronization

package final class StageService: Sendable {
    private struct State {
        var served: [ServedLayers] = []
        var workers: [ServedLayers: StageWorker] = [:]
        /// Whose thread a session is on.
        var sessions: [Ticket: StageWorker] = [:]
        var isClosed = false
    }

    private let shelf: ModelShelf
    private let room: WeightRoom
    private let threads: Int
    private let pages: PageRoom
    private let state = Mutex(State())

    /// - Parameters:
    ///   - pageBytesMax: for the keys and values of all sessions.
    ///   - threads: that compute one range's rows.
    package init(shelf: ModelShelf, room: WeightRoom, pageBytesMax: Int, threads: Int) {
        self.shelf = shelf
        self.room = room
        self.threads = threads
        pages = PageRoom(bytesMax: pageBytesMax)
    }

    deinit { close() }

    package var sessions: Int { state.withLock { $0.sessions.count } }

    package func serve(_ served: [ServedLayers]) { state.withLock { $0.served = served } }

    /// Never blocks; `news` comes from a thread of the service.
    package func perform(_ order: StageOrder, _ ticket: Ticket, news: @escaping @Sendable (StageNews) -> Void) {
        let worker: StageWorker? = state.withLock { state in
            guard !state.isClosed else { return nil }
            switch order {
            case .open(let request):
                let thread = self.thread(for: request, &state)
                state.sessions[ticket] = thread
                return thread
            case .compute: return state.sessions[ticket]
            case .close: return state.sessions.removeValue(forKey: ticket)
            }
        }
        if let worker {
            worker.post(order, ticket, news)
        } else if order != .close {
            news(.failed(code: "not_serving", message: "these layers are not served here any more"))
        }
    }

    private func thread(for request: LayersRequest, _ state: inout State) -> StageWorker? {
        let found = state.served.first {
            $0.model == request.model && $0.precision == request.precision
                && $0.layers.lowerBound <= request.layers.lowerBound
                && $0.layers.upperBound >= request.layers.upperBound
        }
        guard let found else { return nil }
        if let known = state.workers[found], !known.isEnded { return known }
        let worker = StageWorker(found, shelf: shelf, room: room, pages: pages, threads: threads)
        state.workers[found] = worker
        worker.begin()
        return worker
    }

    package func close() {
        let workers = state.withLock { state in
            state.isClosed = true
            defer { state.workers = [:] }
            return Array(state.workers.values)
        }
        for worker in workers { worker.close() }
    }
}

/// Memory for the keys and values of sessions.
final class PageRoom: Sendable {
    private let left: Mutex<Int>

    init(bytesMax: Int) { left = Mutex(bytesMax) }

    /// As many as there is room for, up to half of what is left, so that the next one finds some too; nil where that is
    /// of no use.
    func take(_ wanted: Int, each: Int) -> Int? {
        left.withLock { left in
            let count = min(wanted, left / 2 / max(1, each))
            guard count >= min(wanted, Self.pagesMin) else { return nil }
            left -= count * each
            return count
        }
    }

    func give(_ count: Int, each: Int) { left.withLock { $0 += count * each } }

    private static let pagesMin = 16
}

// @unchecked Sendable: the mailbox is used with `condition` locked; the rest is fixed at init or local to the thread.
private final class StageWorker: @unchecked Sendable {
    private struct Job {
        let order: StageOrder
        let ticket: Ticket
        let news: @Sendable (StageNews) -> Void
    }

    /// What the thread holds.
    private struct Desk {
        var stage: LayerStage?
        var claim: WeightClaim?
        var sessions: [Ticket: (pages: StagePages, bytes: Int)] = [:]
    }

    private static let stackBytes = 8 << 20

    private let served: ServedLayers
    private let shelf: ModelShelf
    private let room: WeightRoom
    private let pages: PageRoom
    private let threads: Int
    private let condition = NSCondition()
    private var jobs: [Job] = []
    private var isClosed = false

    init(_ served: ServedLayers, shelf: ModelShelf, room: WeightRoom, pages: PageRoom, threads: Int) {
        self.served = served
        self.shelf = shelf
        self.room = room
        self.pages = pages
        self.threads = threads
    }

    var isEnded: Bool { condition.withLock { isClosed } }

    func begin() {
        let thread = Thread { [self] in run() }
        thread.stackSize = Self.stackBytes
        thread.name = "openledger.layers"
        thread.start()
    }

    /// The node lets in no more than its limits.
    func post(_ order: StageOrder, _ ticket: Ticket, _ news: @escaping @Sendable (StageNews) -> Void) {
        let isTaken = condition.withLock {
            guard !isClosed else { return false }
            jobs.append(Job(order: order, ticket: ticket, news: news))
            condition.signal()
            return true
        }
        if !isTaken { news(.failed(code: "closing", message: "this peer is shutting down")) }
    }

    func close() {
        condition.withLock {
            isClosed = true
            condition.signal()
        }
    }

    private func run() {
        var desk = Desk()
        while let job = next() { perform(job, &desk) }
        for session in desk.sessions.values { pages.give(session.pages.count, each: session.bytes) }
        let left = condition.withLock { jobs }
        for job in left { job.news(.failed(code: "closing", message: "this peer is shutting down")) }
    }

    private func next() -> Job? {
        condition.withLock {
            while jobs.isEmpty, !isClosed { condition.wait() }
            return isClosed ? nil : jobs.removeFirst()
        }
    }

    private func perform(_ job: Job, _ desk: inout Desk) {
        switch job.order {
        case .open(let request): job.news(open(request, job.ticket, &desk))
        case .compute(let work):
            guard let stage = desk.stage, let session = desk.sessions[job.ticket] else { return }
            do throws(LayerFault) {
                job.news(.computed(rows: try stage.compute(work, in: session.pages)))
            } catch {
                job.news(.failed(code: "malformed", message: error.description))
            }
        case .close:
            guard let session = desk.sessions.removeValue(forKey: job.ticket) else { return }
            pages.give(session.pages.count, each: session.bytes)
        }
    }

    private func open(_ request: LayersRequest, _ ticket: Ticket, _ desk: inout Desk) -> StageNews {
        do {
            let stage = try stage(&desk)
            let config = stage.model.config
            let bytes = LayerStage.pageBytes(config, layers: request.layers)
            guard let count = pages.take(request.pages, each: bytes) else {
                return .failed(code: "busy", message: "the memory for keys and values is taken")
            }
            do {
                desk.sessions[ticket] = (try stage.pages(count, layers: request.layers), bytes)
            } catch {
                pages.give(count, each: bytes)
                throw error
            }
            return .opened(pages: count, hidden: config.hidden)
        } catch let fault as StageRefusal {
            return .failed(code: fault.code, message: fault.message)
        } catch {
            return .failed(code: "model", message: "\(error)")
        }
    }

    private struct StageRefusal: Error {
        let code: String
        let message: String
    }

    private func stage(_ desk: inout Desk) throws -> LayerStage {
        if let stage = desk.stage { return stage }
        guard let precision = Precision(rawValue: served.precision) else {
            throw StageRefusal(code: "not_serving", message: "\(served.precision) is not computed here")
        }
        let folder = try shelf.folder(served.model)
        let part = ModelPart(layers: served.layers, hasEnds: false)
        let bytes = try WeightPlan(folder: folder, precision: precision).bytes(of: part)
        guard let claim = room.claim(bytes) else {
            throw StageRefusal(
                code: "busy", message: "the layers take \(bytes) bytes and other models have the memory")
        }
        let model = try LoadedModel(folder: folder, precision: precision, part: part)
        let stage = LayerStage(
            model: model, pool: WorkerThreads(width: threads, weightBytes: model.weightBytes))
        desk.claim = claim
        desk.stage = stage
        return stage
    }
}
